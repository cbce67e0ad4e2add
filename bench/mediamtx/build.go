package mediamtx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// Build returns the path of a MediaMTX binary. It is built once, with the go
// command and its module proxy, and kept in the user's cache directory. say is
// told what goes on.
//
// The module lacks two files that its release makes: its version, and a copy of
// hls.js, which only its HLS pages need and which is empty here.
func Build(ctx context.Context, say func(string)) (binary string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "broadcastd-bench")
	binary = filepath.Join(dir, "mediamtx-"+Version)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		return "", fmt.Errorf("mediamtx: building MediaMTX needs the go command: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp("", "broadcastd-mediamtx")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	say("fetching MediaMTX " + Version)
	src := filepath.Join(work, "src")
	if err := source(ctx, goTool, work, src); err != nil {
		return "", err
	}
	say("building MediaMTX " + Version + " (once; it takes a minute or two)")
	built := binary + fmt.Sprintf(".%d", os.Getpid()) // beside it, so that it can be renamed
	build := exec.CommandContext(ctx, goTool, "build", "-trimpath", "-o", built, ".")
	build.Dir = src
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mediamtx: go build: %w\n%s", err, bytes.TrimSpace(out))
	}
	return binary, os.Rename(built, binary)
}

// source copies the module out of the module cache to dir, and adds what it
// lacks. work is an empty directory to call the go command in.
func source(ctx context.Context, goTool, work, dir string) error {
	get := exec.CommandContext(ctx, goTool, "mod", "download", "-json", Module+"@"+Version)
	get.Dir = work
	out, err := get.Output()
	var mod struct{ Dir, Error string }
	if jerr := json.Unmarshal(out, &mod); jerr != nil || mod.Dir == "" {
		return fmt.Errorf("mediamtx: go mod download: %w: %s", errors.Join(err, jerr), mod.Error)
	}
	if err := copyTree(dir, mod.Dir); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"internal/core/VERSION":           Version,
		"internal/servers/hls/hls.min.js": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies a tree of files that may be read-only to one that is not.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(dst, 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(dst, b, 0o644)
	})
}
