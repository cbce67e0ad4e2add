package recorder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrNoHeader reports a file that does not hold a whole header: there is
// nothing in it to recover.
var ErrNoHeader = errors.New("recorder: the file holds no whole header")

// maxMeta is the largest ftyp, moov or moof that Recover believes, in bytes.
const maxMeta = 16 << 20

// A Recovery says what Recover found.
type Recovery struct {
	Size   int64 // bytes that the file has now
	Cut    int64 // bytes that were removed from its end
	Chunks int   // whole chunks in it
}

// Recover removes from the end of a recording what a crash left unfinished:
// everything after the last whole moof and mdat, or after the index of a
// recording that had ended. A file without a whole header is left as it is.
func Recover(path string) (Recovery, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return Recovery{}, fmt.Errorf("recorder: recover: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Recovery{}, fmt.Errorf("recorder: recover: %w", err)
	}
	end, chunks, err := scan(f, info.Size())
	if err != nil {
		return Recovery{}, fmt.Errorf("recorder: recover %s: %w", path, err)
	}
	if cut := info.Size() - end; cut > 0 {
		if err := errors.Join(f.Truncate(end), f.Sync()); err != nil {
			return Recovery{}, fmt.Errorf("recorder: recover: %w", err)
		}
	}
	return Recovery{Size: end, Cut: info.Size() - end, Chunks: chunks}, nil
}

// scan returns where the whole part of a file of size bytes ends, and how many
// chunks it holds. Errors of r other than a short read are returned.
func scan(r io.ReaderAt, size int64) (end int64, chunks int, err error) {
	var off int64
	moov, moof := false, false
	for off < size {
		typ, n, err := boxAt(r, off, size)
		if err != nil {
			return 0, 0, err
		}
		if n == 0 {
			break
		}
		meta := typ == "ftyp" || typ == "moov" || typ == "moof"
		whole := !meta
		if meta && n <= maxMeta {
			if whole, err = containerWhole(r, typ, off, n); err != nil {
				return 0, 0, err
			}
		}
		if !whole || !moov && typ != "moov" && typ != "ftyp" || typ == "mdat" && !moof {
			break
		}
		off += n
		switch typ {
		case "moov":
			moov, end = true, off
		case "moof":
			moof = true
		case "mdat":
			moof, end = false, off
			chunks++
		case "mfra":
			end = off
		}
	}
	if !moov {
		return 0, 0, ErrNoHeader
	}
	return end, chunks, nil
}

// boxAt reads the header of the box at off, which must end by limit. n is 0 if
// no whole box of a known type is there.
func boxAt(r io.ReaderAt, off, limit int64) (typ string, n int64, err error) {
	var h [16]byte
	if limit-off < 8 {
		return "", 0, nil
	}
	got, err := r.ReadAt(h[:min(16, limit-off)], off)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", 0, err
	}
	if got < 8 {
		return "", 0, nil
	}
	typ = string(h[4:8])
	n = int64(binary.BigEndian.Uint32(h[:]))
	least := int64(8)
	if n == 1 {
		if got < 16 {
			return "", 0, nil
		}
		n, least = int64(binary.BigEndian.Uint64(h[8:])), 16
	}
	if n < least || n > limit-off || !known[typ] {
		return "", 0, nil
	}
	return typ, n, nil
}

// known are the boxes that stand at the top of a recording, ours or another's.
var known = map[string]bool{
	"ftyp": true, "moov": true, "moof": true, "mdat": true, "mfra": true, "styp": true,
	"prft": true, "emsg": true, "sidx": true, "free": true, "skip": true,
}

// containerWhole reports whether the boxes inside the moov or moof of n bytes
// at off fill it exactly.
func containerWhole(r io.ReaderAt, typ string, off, n int64) (bool, error) {
	if typ == "ftyp" {
		return n >= 16, nil
	}
	b := make([]byte, n)
	if _, err := r.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	for b = b[8:]; len(b) > 0; {
		if len(b) < 8 {
			return false, nil
		}
		n := binary.BigEndian.Uint32(b)
		if n < 8 || uint64(n) > uint64(len(b)) {
			return false, nil
		}
		b = b[n:]
	}
	return true, nil
}
