package auth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrNoKey reports that there is no key of that id.
var ErrNoKey = errors.New("auth: no such key")

// What a key directory may hold: more is an error that says so, and a larger
// file is not read.
const (
	maxKeys    = 10_000
	maxKeyFile = 64 << 10
	// watchInterval is how often the directory is looked at. A revocation must
	// act within 2 s.
	watchInterval = 500 * time.Millisecond
)

// A KeyringConfig configures a Keyring.
type KeyringConfig struct {
	// Dir holds one file for each key. It is made, mode 0700, when missing.
	Dir string
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	Log *slog.Logger // nil discards
}

// A Keyring is a directory of keys. Other processes may add and change files
// in it: Run notices. Its methods may be called from any goroutine.
type Keyring struct {
	cfg  KeyringConfig
	salt []byte // the key of the hashes of stream keys

	mu    sync.Mutex
	keys  map[string]*Key      // by ID
	seen  string               // what the directory looked like when it was last read
	asked time.Time            // when an unknown key last had it looked at
	told  map[int]func(Change) // of OnChange
	next  int
}

// OpenKeyring reads the keys of a directory.
func OpenKeyring(cfg KeyringConfig) (*Keyring, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("auth: make the key directory: %w", err)
	}
	k := &Keyring{cfg: cfg, seen: "not yet", told: make(map[int]func(Change))}
	var err error
	if k.salt, err = k.readSalt(); err != nil {
		return nil, err
	}
	return k, k.reload()
}

// readSalt reads the secret that stream keys are hashed with, and makes it the
// first time. Of two processes that do so at once, both use the one that won.
func (k *Keyring) readSalt() ([]byte, error) {
	path := filepath.Join(k.cfg.Dir, "hash.key")
	salt := make([]byte, 32)
	rand.Read(salt)
	if err := writeNew(path, []byte(hex.EncodeToString(salt)+"\n")); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("auth: make the hash key: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("auth: read the hash key: %w", err)
	}
	salt, err = hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(salt) < 32 {
		return nil, fmt.Errorf("auth: %s does not hold 32 bytes in hexadecimal", path)
	}
	return salt, nil
}

// Run follows changes of the directory until ctx ends, and returns its cause.
func (k *Keyring) Run(ctx context.Context) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	var last string // the last complaint
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		err := k.reload()
		if text := fmt.Sprint(err); err != nil && text != last {
			k.cfg.Log.Error("keys not read; those read before stay", "err", err)
			last = text
		} else if err == nil {
			last = ""
		}
	}
}

// reload reads the keys again if any file has changed, and tells of it.
func (k *Keyring) reload() error {
	files, seen, err := k.list()
	if err != nil {
		return err
	}
	k.mu.Lock()
	unchanged := seen == k.seen
	k.mu.Unlock()
	if unchanged {
		return nil
	}
	keys := make(map[string]*Key, len(files))
	var faults []error
	for _, path := range files {
		key, err := readKey(path)
		if err != nil {
			faults = append(faults, err) // one bad file must not revive or hide others
			continue
		}
		keys[key.ID] = key
	}
	k.mu.Lock()
	k.keys, k.seen = keys, seen
	tell := slices.Collect(maps.Values(k.told))
	k.mu.Unlock()
	for _, f := range tell {
		f(Change{Kind: ChangedSigningKey})
	}
	return errors.Join(faults...)
}

// refreshInterval bounds how often unknown keys have the directory looked at.
const refreshInterval = 10 * time.Millisecond

// lookup returns a key by its id. For one that is not known it looks at the
// directory first: a key counts as soon as it is made, not half a second later.
func (k *Keyring) lookup(id string) *Key {
	k.mu.Lock()
	key := k.keys[id]
	look := key == nil && time.Since(k.asked) >= refreshInterval
	if look {
		k.asked = time.Now()
	}
	k.mu.Unlock()
	if !look {
		return key
	}
	if err := k.reload(); err != nil {
		k.cfg.Log.Debug("keys not read", "err", err) // Run complains
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys[id]
}

// list returns the key files, and a text that changes when one of them does.
func (k *Keyring) list() (files []string, seen string, err error) {
	entries, err := os.ReadDir(k.cfg.Dir)
	if err != nil {
		return nil, "", fmt.Errorf("auth: read the key directory: %w", err)
	}
	var b strings.Builder
	stamp := func(path string, info fs.FileInfo) {
		fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano())
	}
	for _, e := range entries {
		info, err := e.Info()
		if filepath.Ext(e.Name()) != ".json" || err != nil || !info.Mode().IsRegular() {
			continue // gone, or none of ours
		}
		path := filepath.Join(k.cfg.Dir, e.Name())
		files = append(files, path)
		stamp(path, info)
	}
	if len(files) > maxKeys {
		return nil, "", fmt.Errorf("auth: %s holds %d keys, at most %d are read", k.cfg.Dir, len(files), maxKeys)
	}
	return files, b.String(), nil
}

func readKey(path string) (*Key, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("auth: read a key: %w", err)
	}
	key := new(Key)
	if err := json.Unmarshal(text, key); err != nil {
		// The error of encoding/json may quote what it read.
		return nil, fmt.Errorf("auth: %s is no key file", path)
	}
	if key.ID != strings.TrimSuffix(filepath.Base(path), ".json") {
		return nil, fmt.Errorf("auth: %s holds a key of another id", path)
	}
	if err := key.resolve(); err != nil {
		return nil, fmt.Errorf("auth: %s: %w", path, err)
	}
	return key, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read", path, info.Size(), maxKeyFile)
	}
	return os.ReadFile(path)
}

// Create makes a signing key.
func (k *Keyring) Create(alg Algorithm) (Key, error) {
	key, err := newSigningKey(alg, k.cfg.Now())
	if err != nil {
		return Key{}, err
	}
	return *key, k.add(key)
}

// CreateStream makes a stream key for a namespace, such as stream/local/cam.
// The cleartext is not kept.
func (k *Keyring) CreateStream(namespace string) (cleartext string, key Key, err error) {
	cleartext, id, secret := NewStreamKey()
	stream := &Key{
		ID: id, Kind: StreamKey, Created: k.cfg.Now().UTC().Truncate(time.Second),
		Stream: namespace, Hash: HashSecret(k.salt, secret),
	}
	if err := k.add(stream); err != nil {
		return "", Key{}, err
	}
	return cleartext, *stream, nil
}

func (k *Keyring) add(key *Key) error {
	text, err := json.MarshalIndent(key, "", "  ")
	if err != nil {
		return err
	}
	if err := writeNew(k.path(key.ID), append(text, '\n')); err != nil {
		return fmt.Errorf("auth: write a key: %w", err)
	}
	return k.reload()
}

func (k *Keyring) path(id string) string { return filepath.Join(k.cfg.Dir, id+".json") }

// List returns the keys of the directory, the oldest first.
func (k *Keyring) List() []Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Key, 0, len(k.keys))
	for _, key := range k.keys {
		out = append(out, *key)
	}
	slices.SortFunc(out, func(a, b Key) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Revoke makes a key count no longer. What was granted on it ends at once in
// this process, and within a second in others.
func (k *Keyring) Revoke(id string) error {
	k.mu.Lock()
	key := k.keys[id]
	k.mu.Unlock()
	if key == nil {
		return fmt.Errorf("%w: %.40q", ErrNoKey, id)
	}
	if !key.Active() {
		return nil
	}
	revoked := *key
	revoked.Revoked = k.cfg.Now().UTC().Truncate(time.Second)
	revoked.Private = "" // it signs no more
	text, err := json.MarshalIndent(revoked, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(k.path(id), append(text, '\n')); err != nil {
		return fmt.Errorf("auth: revoke a key: %w", err)
	}
	return k.reload()
}
