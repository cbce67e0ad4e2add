// Package boltstore is the store of one machine: a bbolt file, which one process
// at a time has open. Writers that come at once share one commit, and so one
// fsync, whose cost none of them pays alone.
package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/broadcastd/broadcastd/internal/store"
)

// ErrCorrupt reports a value whose bytes are not those that were written.
var ErrCorrupt = errors.New("store: damaged")

// ErrFormat reports a file that another version of broadcastd wrote, or that is
// none of ours.
var ErrFormat = errors.New("store: unknown format")

// format is how the file is laid out: the bucket data holds values by key, the
// bucket logs a bucket for each log, with records by number (eight bytes, big
// endian). A value begins with its revision, a record with its time in
// nanoseconds since 1970 (eight bytes each, big endian), then the CRC-32C of all
// the rest. The sequences of the buckets count revisions and records.
const format = "1"

const prologue = 8 + 4

var (
	bucketMeta = []byte("meta")
	bucketData = []byte("data")
	bucketLogs = []byte("logs")
	keyFormat  = []byte("format")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// A Config configures a Store.
type Config struct {
	// Path is the file. It is made, mode 0600, and its directory, mode 0700, when
	// they are missing.
	Path string
	// LockTimeout is how long Open waits for another process that has the file
	// open. Zero means 1 s.
	LockTimeout time.Duration
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// A Store is a store.Store in one file.
type Store struct {
	now  func() time.Time
	db   *bolt.DB
	feed *store.Feed
	turn chan struct{} // held by whoever commits

	mu    sync.Mutex
	queue []*write
}

// A write waits for its commit.
type write struct {
	apply func(*bolt.Tx) (store.Change, error) // changes nothing if it fails
	done  chan struct{}
	err   error // valid once done is closed
}

// maxBatch is how many writes share a commit at most.
const maxBatch = 512

// Open opens the file. If another process has it open the error is
// store.ErrInUse.
func Open(cfg Config) (*Store, error) {
	if cfg.LockTimeout == 0 {
		cfg.LockTimeout = time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	db, err := bolt.Open(cfg.Path, 0o600, &bolt.Options{Timeout: cfg.LockTimeout, FreelistType: bolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", store.ErrInUse, cfg.Path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, cfg.Path, err)
	case err != nil:
		return nil, fmt.Errorf("store: open %s: %w", cfg.Path, err)
	}
	s := &Store{now: cfg.Now, db: db, turn: make(chan struct{}, 1)}
	if err := errors.Join(os.Chmod(cfg.Path, 0o600), s.prepare(cfg.Path)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// prepare makes the buckets of a new file, and checks those of an old one.
func (s *Store) prepare(path string) error {
	var last uint64
	var found string
	read := func(tx *bolt.Tx) error {
		if meta := tx.Bucket(bucketMeta); meta != nil && tx.Bucket(bucketData) != nil && tx.Bucket(bucketLogs) != nil {
			found, last = string(meta.Get(keyFormat)), tx.Bucket(bucketData).Sequence()
		}
		return nil
	}
	if err := s.db.View(read); err != nil {
		return err
	}
	if found == "" {
		err := s.db.Update(func(tx *bolt.Tx) error {
			meta, err := tx.CreateBucketIfNotExists(bucketMeta)
			if err != nil {
				return err
			}
			_, err1 := tx.CreateBucketIfNotExists(bucketData)
			_, err2 := tx.CreateBucketIfNotExists(bucketLogs)
			return errors.Join(err1, err2, meta.Put(keyFormat, []byte(format)))
		})
		if err != nil {
			return fmt.Errorf("store: prepare %s: %w", path, err)
		}
		found = format
	}
	if found != format {
		return fmt.Errorf("%w: %s has format %.20q, this version of broadcastd reads %s", ErrFormat, path, found, format)
	}
	s.feed = store.NewFeed(last)
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.feed.Close()
	return s.db.Close()
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (e store.Entry, err error) {
	if err := errors.Join(context.Cause(ctx), store.CheckName(key)); err != nil {
		return store.Entry{}, err
	}
	err = s.view(func(tx *bolt.Tx) error {
		raw := tx.Bucket(bucketData).Get([]byte(key))
		if raw == nil {
			return fmt.Errorf("%w: %s", store.ErrNotFound, key)
		}
		e, err = entry([]byte(key), raw)
		return err
	})
	return e, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) (out []store.Entry, err error) {
	if err := errors.Join(context.Cause(ctx), store.CheckPrefix(prefix), store.CheckPrefix(after)); err != nil {
		return nil, err
	}
	limit = store.Page(limit)
	err = s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketData).Cursor()
		k, v := c.Seek([]byte(max(prefix, after)))
		if after != "" && string(k) == after {
			k, v = c.Next()
		}
		for ; k != nil && len(out) < limit && strings.HasPrefix(string(k), prefix); k, v = c.Next() {
			e, err := entry(k, v)
			if err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	return out, err
}

// Revision implements store.Store.
func (s *Store) Revision(ctx context.Context) (rev uint64, err error) {
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	err = s.view(func(tx *bolt.Tx) error {
		rev = tx.Bucket(bucketData).Sequence()
		return nil
	})
	return rev, err
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[store.Change, error] {
	return s.feed.Watch(ctx, prefix, after)
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if err := store.CheckWrite(key, value); err != nil {
		return 0, err
	}
	if err := s.precheck(key, rev, true); err != nil {
		return 0, err
	}
	var next uint64
	err := s.write(ctx, func(tx *bolt.Tx) (c store.Change, err error) {
		data := tx.Bucket(bucketData)
		if err := checkRevision(data.Get([]byte(key)), key, rev, true); err != nil {
			return c, err
		}
		if next, err = data.NextSequence(); err != nil {
			return c, err
		}
		c = store.Change{Entry: store.Entry{Key: key, Value: slices.Clone(value), Revision: next}}
		return c, data.Put([]byte(key), seal(next, value))
	})
	return next, err
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key string, rev uint64) (uint64, error) {
	if err := store.CheckName(key); err != nil {
		return 0, err
	}
	if err := s.precheck(key, rev, false); err != nil {
		return 0, err
	}
	var next uint64
	err := s.write(ctx, func(tx *bolt.Tx) (c store.Change, err error) {
		data := tx.Bucket(bucketData)
		if err := checkRevision(data.Get([]byte(key)), key, rev, false); err != nil {
			return c, err
		}
		if next, err = data.NextSequence(); err != nil {
			return c, err
		}
		c = store.Change{Entry: store.Entry{Key: key, Revision: next}, Deleted: true}
		return c, data.Delete([]byte(key))
	})
	return next, err
}

// precheck refuses without a commit what a commit would refuse too, if nothing
// else is written meanwhile.
func (s *Store) precheck(key string, rev uint64, put bool) error {
	return s.view(func(tx *bolt.Tx) error {
		return checkRevision(tx.Bucket(bucketData).Get([]byte(key)), key, rev, put)
	})
}

// checkRevision says whether a key whose stored bytes are raw may be written by
// someone who states rev.
func checkRevision(raw []byte, key string, rev uint64, put bool) error {
	var have uint64
	if len(raw) >= prologue {
		have = binary.BigEndian.Uint64(raw)
	}
	switch {
	case raw == nil && !put:
		return fmt.Errorf("%w: %s", store.ErrNotFound, key)
	case rev != store.AnyRevision && rev != have:
		return fmt.Errorf("%w: %s has revision %d, not %d", store.ErrConflict, key, have, rev)
	}
	return nil
}

// write queues a change and waits for its commit. Whoever has the turn commits
// all that is queued.
func (s *Store) write(ctx context.Context, apply func(*bolt.Tx) (store.Change, error)) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	w := &write{apply: apply, done: make(chan struct{})}
	s.mu.Lock()
	s.queue = append(s.queue, w)
	s.mu.Unlock()
	select {
	case <-w.done:
		return w.err
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		if s.withdraw(w) {
			return context.Cause(ctx)
		}
		<-w.done // its commit has begun
		return w.err
	}
	for {
		select {
		case <-w.done:
			return w.err
		default:
			s.commit(s.take())
		}
	}
}

func (s *Store) withdraw(w *write) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queue, w)
	if i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	return i >= 0
}

func (s *Store) take() []*write {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.queue), maxBatch)
	batch := slices.Clone(s.queue[:n])
	s.queue = slices.Delete(s.queue, 0, n)
	return batch
}

// commit writes a batch. The caller has the turn, so that changes are published
// in the order of their revisions.
func (s *Store) commit(batch []*write) {
	var changes []store.Change
	err := s.db.Update(func(tx *bolt.Tx) error {
		for _, w := range batch {
			var c store.Change
			if c, w.err = w.apply(tx); w.err == nil && c.Key != "" {
				changes = append(changes, c)
			}
		}
		return nil
	})
	if err == nil {
		s.feed.Publish(changes...)
	}
	for _, w := range batch {
		if err != nil && w.err == nil {
			w.err = closedError(fmt.Errorf("store: not written: %w", err))
		}
		close(w.done)
	}
}

func (s *Store) view(read func(*bolt.Tx) error) error { return closedError(s.db.View(read)) }

func closedError(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	return err
}

// seal returns what is kept of bytes with their revision or time.
func seal(number uint64, data []byte) []byte {
	out := make([]byte, prologue, prologue+len(data))
	binary.BigEndian.PutUint64(out, number)
	out = append(out, data...)
	sum := crc32.Update(crc32.Checksum(out[:8], castagnoli), castagnoli, data)
	binary.BigEndian.PutUint32(out[8:], sum)
	return out
}

// unseal is the opposite of seal. The data is a copy.
func unseal(name string, raw []byte) (number uint64, data []byte, err error) {
	if len(raw) < prologue {
		return 0, nil, fmt.Errorf("%w: %s has %d bytes", ErrCorrupt, name, len(raw))
	}
	sum := crc32.Update(crc32.Checksum(raw[:8], castagnoli), castagnoli, raw[prologue:])
	if sum != binary.BigEndian.Uint32(raw[8:]) {
		return 0, nil, fmt.Errorf("%w: the checksum of %s is wrong", ErrCorrupt, name)
	}
	return binary.BigEndian.Uint64(raw), slices.Clone(raw[prologue:]), nil
}

func entry(key, raw []byte) (store.Entry, error) {
	rev, value, err := unseal(string(key), raw)
	return store.Entry{Key: string(key), Value: value, Revision: rev}, err
}

// Check reads everything and says what is damaged.
func (s *Store) Check() error {
	return s.view(func(tx *bolt.Tx) error {
		var faults []error
		for err := range tx.Check() {
			faults = append(faults, fmt.Errorf("%w: %w", ErrCorrupt, err))
		}
		values := func(name string, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				if v == nil {
					return nil // a bucket
				}
				_, _, err := unseal(fmt.Sprintf("%s %q", name, k), v)
				faults = append(faults, err)
				return nil
			})
		}
		logs := tx.Bucket(bucketLogs)
		faults = append(faults, values("value", tx.Bucket(bucketData)), logs.ForEachBucket(func(name []byte) error {
			return values("record of "+string(name), logs.Bucket(name))
		}))
		return errors.Join(faults...)
	})
}
