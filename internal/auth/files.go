package auth

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// writeNew writes a file that must not be there yet, readable by the owner
// alone. Nobody ever sees a part of it.
func writeNew(path string, text []byte) error {
	tmp, err := writeBeside(path, text)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); err != nil { // unlike a rename, it never replaces
		if errors.Is(err, fs.ErrExist) {
			return fs.ErrExist
		}
		return err
	}
	return syncDir(path)
}

// replace writes a file in the place of one that may be there.
func replace(path string, text []byte) error {
	tmp, err := writeBeside(path, text)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(path)
}

// writeBeside writes text, synced, into a new file in the folder of path.
func writeBeside(path string, text []byte) (tmp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// syncDir makes the entry of path in its folder survive a power cut.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
