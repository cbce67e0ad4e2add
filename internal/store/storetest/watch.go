package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/broadcastd/broadcastd/internal/store"
)

// collect returns the first n changes that a watch yields, in words.
func collect(t *testing.T, s store.Store, prefix string, after uint64, n int) (out []string) {
	t.Helper()
	for c, err := range s.Watch(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("Watch(%q, %d) after %q: %v", prefix, after, out, err)
		}
		text := fmt.Sprintf("%d %s=%s", c.Revision, c.Key, c.Value)
		if c.Deleted {
			text = fmt.Sprintf("%d %s gone", c.Revision, c.Key)
		}
		if out = append(out, text); len(out) == n {
			break
		}
	}
	return out
}

func testWatch(t *testing.T, d Driver) {
	s := open(t, d)
	one := put(t, s, "a/1", "x", store.New)
	two := put(t, s, "a/1", "y", one)
	three, err := s.Delete(t.Context(), "a/1", two)
	if err != nil {
		t.Fatal(err)
	}
	later := make(chan error, 1)
	go func() { // while the watch is on
		_, err := s.Put(t.Context(), "a/2", []byte("z"), store.New)
		later <- err
	}()
	all := collect(t, s, "", one-1, 4)
	if err := <-later; err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("%d a/1=x", one), fmt.Sprintf("%d a/1=y", two), fmt.Sprintf("%d a/1 gone", three), fmt.Sprintf("%d a/2=z", three+1),
	}
	if fmt.Sprint(all) != fmt.Sprint(want) {
		t.Errorf("changes %q, want %q", all, want)
	}
	if got := collect(t, s, "", two, 2); fmt.Sprint(got) != fmt.Sprint(want[2:]) {
		t.Errorf("changes after %d: %q, want %q", two, got, want[2:])
	}
}

func testWatchPrefix(t *testing.T, d Driver) {
	s := open(t, d)
	rev, err := s.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"b/1", "a/1", "b/2", "ab/1", "b/3"} {
		put(t, s, key, "", store.New)
	}
	if got, want := fmt.Sprint(collect(t, s, "b/", rev, 3)), "[1 b/1= 3 b/2= 5 b/3=]"; got != want {
		t.Errorf("changes %s, want %s", got, want)
	}
}

func testWatchEnds(t *testing.T, d Driver) {
	s := open(t, d)
	enough := errors.New("enough")
	ctx, end := context.WithCancelCause(t.Context())
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for c, err := range s.Watch(ctx, "", 0) {
			if err != nil {
				ended <- err
				return
			}
			if c.Key == "a" {
				close(started)
			}
		}
		ended <- errors.New("the watch ended without an error")
	}()
	put(t, s, "a", "", store.New)
	<-started
	end(enough)
	wantErr(t, "the end of a watch", <-ended, enough)

	go func() {
		for _, err := range s.Watch(t.Context(), "", 1) {
			ended <- err
			return
		}
	}()
	shut(t, s)
	wantErr(t, "the end of the store", <-ended, store.ErrClosed)
}

// testWatchFromThePast: what happened before the store was opened need not be
// there, and then the watch says so.
func testWatchFromThePast(t *testing.T, d Driver) {
	if d.Forgets {
		t.Skip("this driver forgets")
	}
	dir := t.TempDir()
	s := openAt(t, d, dir, nil)
	first := put(t, s, "a", "1", store.New)
	last := put(t, s, "a", "2", first)
	shut(t, s)
	s = openAt(t, d, dir, nil)
	for c, err := range s.Watch(t.Context(), "", first) {
		if err == nil && c.Revision != last || err != nil && !errors.Is(err, store.ErrCompacted) {
			t.Errorf("Watch yields %d, %v, want revision %d or ErrCompacted", c.Revision, err, last)
		}
		break
	}
	next := put(t, s, "a", "3", last)
	if got, want := fmt.Sprint(collect(t, s, "", last, 1)), fmt.Sprintf("[%d a=3]", next); got != want {
		t.Errorf("changes %s, want %s", got, want)
	}
}

// testWatchSlow: a reader that falls behind misses nothing without being told.
func testWatchSlow(t *testing.T, d Driver) {
	s := open(t, d)
	put(t, s, "a", "", store.New)
	const more = 5_000
	var seen uint64
	for c, err := range s.Watch(t.Context(), "", 0) {
		if errors.Is(err, store.ErrCompacted) {
			return // it said so
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.Revision != seen+1 {
			t.Fatalf("revision %d after %d", c.Revision, seen)
		}
		if seen = c.Revision; seen == 1 {
			inParallel(t, 50, func(ctx context.Context, i int) error {
				for range more / 50 {
					if _, err := s.Put(ctx, fmt.Sprintf("k/%d", i), nil, store.AnyRevision); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if seen == more+1 {
			return
		}
	}
}

// testWatchConcurrent: whatever many writers do, every watch sees each change
// once, in the order of revisions, and what it saw is what there is.
func testWatchConcurrent(t *testing.T, d Driver) {
	s := open(t, d)
	const writers, each = 8, 40
	replicas := make(chan map[string]string, 3)
	for range cap(replicas) {
		go func() {
			replica, last := make(map[string]string), uint64(0)
			defer func() { replicas <- replica }()
			for c, err := range s.Watch(t.Context(), "", 0) {
				if err != nil || c.Revision != last+1 {
					t.Errorf("revision %d after %d, %v", c.Revision, last, err)
					return
				}
				last = c.Revision
				switch {
				case c.Key == "end":
					return
				case c.Deleted:
					delete(replica, c.Key)
				default:
					replica[c.Key] = string(c.Value)
				}
			}
		}()
	}
	inParallel(t, writers, func(ctx context.Context, w int) error {
		for i := range each {
			key := fmt.Sprintf("k/%d", (w+i)%5) // of all writers
			_, err := s.Put(ctx, key, fmt.Appendf(nil, "%d-%d", w, i), store.AnyRevision)
			if err == nil && i%3 == 0 {
				_, err = s.Delete(ctx, key, store.AnyRevision)
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	have := make(map[string]string)
	list, err := s.List(t.Context(), "k/", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		have[e.Key] = string(e.Value)
	}
	put(t, s, "end", "", store.New)
	for range cap(replicas) {
		if got := <-replicas; fmt.Sprint(got) != fmt.Sprint(have) {
			t.Errorf("a watch saw %v, there is %v", got, have)
		}
	}
}
