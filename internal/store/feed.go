package store

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
)

// feedSize is how many changes a Feed keeps, and by how many a watch may lag.
const feedSize = 4096

// feedBytes bounds the values that a Feed keeps.
const feedBytes = 16 << 20

// A Feed keeps the latest changes for the watches of a driver that has its
// writes in this process. NewFeed makes it; Publish is called in the order of
// revisions.
type Feed struct {
	mu      sync.Mutex
	changes []Change // ascending revisions
	bytes   int
	floor   uint64 // the changes after this revision are all here
	last    uint64
	closed  bool
	grown   chan struct{} // closed when changes or closed change
}

// NewFeed returns a Feed of the changes after revision last.
func NewFeed(last uint64) *Feed {
	return &Feed{floor: last, last: last, grown: make(chan struct{})}
}

// Publish adds changes, whose values belong to the feed from then on.
func (f *Feed) Publish(changes ...Change) {
	if len(changes) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range changes {
		f.changes = append(f.changes, c)
		f.bytes += len(c.Value)
		f.last = c.Revision
	}
	drop := 0
	for len(f.changes)-drop > feedSize || f.bytes > feedBytes && len(f.changes)-drop > 1 {
		f.bytes -= len(f.changes[drop].Value)
		f.floor = f.changes[drop].Revision
		drop++
	}
	f.changes = slices.Delete(f.changes, 0, drop)
	close(f.grown)
	f.grown = make(chan struct{})
}

// Close ends the watches.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.grown)
	}
}

// Watch implements Store.Watch.
func (f *Feed) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if err := CheckPrefix(prefix); err != nil {
			yield(Change{}, err)
			return
		}
		for ctx.Err() == nil {
			changes, last, grown, err := f.since(prefix, after)
			for _, c := range changes {
				if !yield(c, nil) {
					return
				}
			}
			if err != nil {
				yield(Change{}, err)
				return
			}
			after = last
			if grown == nil {
				continue
			}
			select {
			case <-ctx.Done():
			case <-grown:
			}
		}
		yield(Change{}, context.Cause(ctx))
	}
}

// watchBatch is how many changes a watch copies at a time.
const watchBatch = 256

// since returns copies of changes after a revision, with the revision that they
// reach to, or, if there are none, a channel that is closed when there are.
func (f *Feed) since(prefix string, after uint64) (out []Change, last uint64, grown <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if after < f.floor {
		return nil, 0, nil, ErrCompacted
	}
	i, _ := slices.BinarySearchFunc(f.changes, after+1, func(c Change, rev uint64) int {
		if c.Revision < rev {
			return -1
		}
		return 1
	})
	last = max(after, f.last)
	for _, c := range f.changes[i:] {
		if len(out) == watchBatch {
			return out, out[len(out)-1].Revision, nil, nil
		}
		if strings.HasPrefix(c.Key, prefix) {
			c.Value = slices.Clone(c.Value)
			out = append(out, c)
		}
	}
	if f.closed {
		return out, last, nil, ErrClosed
	}
	if len(out) > 0 {
		return out, last, nil, nil
	}
	return nil, last, f.grown, nil
}
