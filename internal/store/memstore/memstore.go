// Package memstore is a store that forgets: for tests, and for a daemon that is
// to leave nothing behind.
package memstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/internal/store"
)

// A Store is a store.Store in memory. New makes it.
type Store struct {
	now  func() time.Time
	feed *store.Feed

	mu     sync.RWMutex
	closed bool
	last   uint64
	data   map[string]store.Entry
	logs   map[string]*log
}

type log struct {
	last    uint64
	records []store.Record
}

// New returns an empty store. now is its clock; nil means time.Now.
func New(now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	return &Store{now: now, feed: store.NewFeed(0), data: make(map[string]store.Entry), logs: make(map[string]*log)}
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.feed.Close()
	return nil
}

// open locks the store, for reading or writing, if nothing speaks against it.
func (s *Store) open(ctx context.Context, l sync.Locker, faults ...error) error {
	if err := errors.Join(append(faults, context.Cause(ctx))...); err != nil {
		return err
	}
	l.Lock()
	if s.closed {
		l.Unlock()
		return store.ErrClosed
	}
	return nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := s.open(ctx, s.mu.RLocker(), store.CheckName(key)); err != nil {
		return store.Entry{}, err
	}
	defer s.mu.RUnlock()
	e, ok := s.data[key]
	if !ok {
		return store.Entry{}, fmt.Errorf("%w: %s", store.ErrNotFound, key)
	}
	e.Value = slices.Clone(e.Value)
	return e, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	if err := s.open(ctx, s.mu.RLocker(), store.CheckPrefix(prefix), store.CheckPrefix(after)); err != nil {
		return nil, err
	}
	defer s.mu.RUnlock()
	var out []store.Entry
	for _, key := range slices.Sorted(maps.Keys(s.data)) {
		if len(out) == store.Page(limit) {
			break
		}
		if strings.HasPrefix(key, prefix) && key > after {
			e := s.data[key]
			e.Value = slices.Clone(e.Value)
			out = append(out, e)
		}
	}
	return out, nil
}

// Revision implements store.Store.
func (s *Store) Revision(ctx context.Context) (uint64, error) {
	if err := s.open(ctx, s.mu.RLocker()); err != nil {
		return 0, err
	}
	defer s.mu.RUnlock()
	return s.last, nil
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[store.Change, error] {
	return s.feed.Watch(ctx, prefix, after)
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if err := s.open(ctx, &s.mu, store.CheckWrite(key, value)); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if have := s.data[key].Revision; rev != store.AnyRevision && rev != have {
		return 0, fmt.Errorf("%w: %s has revision %d, not %d", store.ErrConflict, key, have, rev)
	}
	s.last++
	e := store.Entry{Key: key, Value: slices.Clone(value), Revision: s.last}
	s.data[key] = e
	s.feed.Publish(store.Change{Entry: e})
	return s.last, nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key string, rev uint64) (uint64, error) {
	if err := s.open(ctx, &s.mu, store.CheckName(key)); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	e, ok := s.data[key]
	switch {
	case !ok:
		return 0, fmt.Errorf("%w: %s", store.ErrNotFound, key)
	case rev != store.AnyRevision && rev != e.Revision:
		return 0, fmt.Errorf("%w: %s has revision %d, not %d", store.ErrConflict, key, e.Revision, rev)
	}
	s.last++
	delete(s.data, key)
	s.feed.Publish(store.Change{Entry: store.Entry{Key: key, Revision: s.last}, Deleted: true})
	return s.last, nil
}

// Append implements store.Store.
func (s *Store) Append(ctx context.Context, name string, data []byte) (uint64, error) {
	if err := s.open(ctx, &s.mu, store.CheckWrite(name, data)); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	l := s.logs[name]
	if l == nil {
		l = new(log)
		s.logs[name] = l
	}
	at := time.Unix(0, s.now().UnixNano()).UTC()
	if n := len(l.records); n > 0 && at.Before(l.records[n-1].Time) {
		at = l.records[n-1].Time
	}
	l.last++
	l.records = append(l.records, store.Record{Seq: l.last, Time: at, Data: slices.Clone(data)})
	return l.last, nil
}

// Read implements store.Store.
func (s *Store) Read(ctx context.Context, name string, after uint64, limit int) ([]store.Record, error) {
	return s.read(ctx, name, limit, func(r store.Record) bool { return r.Seq > after })
}

// ReadSince implements store.Store.
func (s *Store) ReadSince(ctx context.Context, name string, since time.Time, limit int) ([]store.Record, error) {
	return s.read(ctx, name, limit, func(r store.Record) bool { return !r.Time.Before(since) })
}

// read returns the records from the first on for which from holds; it holds for
// all after that.
func (s *Store) read(ctx context.Context, name string, limit int, from func(store.Record) bool) ([]store.Record, error) {
	if err := s.open(ctx, s.mu.RLocker(), store.CheckName(name)); err != nil {
		return nil, err
	}
	defer s.mu.RUnlock()
	l := s.logs[name]
	if l == nil {
		return nil, nil
	}
	i, _ := slices.BinarySearchFunc(l.records, true, func(r store.Record, _ bool) int {
		if from(r) {
			return 1
		}
		return -1
	})
	var out []store.Record
	for _, r := range l.records[i:min(len(l.records), i+store.Page(limit))] {
		r.Data = slices.Clone(r.Data)
		out = append(out, r)
	}
	return out, nil
}

// Bounds implements store.Store.
func (s *Store) Bounds(ctx context.Context, name string) (first, last uint64, err error) {
	if err := s.open(ctx, s.mu.RLocker(), store.CheckName(name)); err != nil {
		return 0, 0, err
	}
	defer s.mu.RUnlock()
	l := s.logs[name]
	if l == nil {
		return 0, 0, nil
	}
	return l.last + 1 - uint64(len(l.records)), l.last, nil
}

// Trim implements store.Store.
func (s *Store) Trim(ctx context.Context, name string, keep int, age time.Duration) (int, error) {
	if err := s.open(ctx, &s.mu, store.CheckName(name)); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	l := s.logs[name]
	if l == nil {
		return 0, nil
	}
	n := 0
	if keep > 0 {
		n = max(0, len(l.records)-keep)
	}
	if age > 0 {
		i, _ := slices.BinarySearchFunc(l.records, s.now().Add(-age), func(r store.Record, t time.Time) int {
			return cmp.Or(r.Time.Compare(t), 1)
		})
		n = max(n, i)
	}
	n = min(n, store.MaxTrim)
	l.records = slices.Delete(l.records, 0, n)
	return n, nil
}
