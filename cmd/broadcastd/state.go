package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// openState makes the state directory, which is this user's alone.
func openState(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w; choose another with state_dir, BROADCASTD_STATE_DIR or --state-dir", err)
	}
	return nil
}

const adminKeyFile = "admin.key"

// adminKey returns the key that the settings name, or the kept one, or a new
// one; made says that it is new, which is the one time to show it.
func adminKey(dir, configured string) (key string, made bool, err error) {
	if configured != "" {
		return configured, false, nil
	}
	path := filepath.Join(dir, adminKeyFile)
	text, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(text))) >= 16 {
		return strings.TrimSpace(string(text)), false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false, fmt.Errorf("admin key: %w", err)
	}
	key = rand.Text() // 128 bits and more
	if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
		return "", false, fmt.Errorf("admin key: %w", err)
	}
	return key, true, nil
}

// cacheBytes returns what all tracks may cache: what is configured, or a quarter
// of the memory that there is, at most 2 GiB.
func cacheBytes(configured int64) int64 {
	const most = int64(2 << 30)
	if configured > 0 {
		return configured
	}
	have := debug.SetMemoryLimit(-1) // math.MaxInt64 if nobody has set it
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		have = min(have, memTotal(string(text)))
	}
	return min(have/4, most)
}
