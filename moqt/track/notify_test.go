package track

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestAttachAndDetach(t *testing.T) {
	tr := newTestTrack(Config{})
	const n = 3*notifierShard + 5
	var counts [n]int
	var detach [n]func()
	for i := range n {
		detach[i] = tr.Attach(notifyFunc(func() { counts[i]++ }))
	}
	w := open(t, tr, 0)
	for i, c := range counts {
		if c != 1 {
			t.Fatalf("notifier %d was called %d times, want once", i, c)
		}
	}
	for i := 0; i < n; i += 2 {
		detach[i]()
		detach[i]() // once more has no effect
	}
	write(t, w, Object{})
	for i, c := range counts {
		if want := 1 + i%2; c != want {
			t.Fatalf("notifier %d was called %d times, want %d", i, c, want)
		}
	}
	for i := range n { // room is used again
		detach[i] = tr.Attach(notifyFunc(func() {}))
	}
	if shards := len(tr.notifiers.list()); shards > 5 {
		t.Errorf("%d shards for %d notifiers", shards, n+n/2)
	}
}

// A flagged notifier is what the doc comment of Notifier asks for.
type flagged struct {
	dirty atomic.Bool
	wake  chan struct{}
}

func (f *flagged) Notify() {
	if f.dirty.CompareAndSwap(false, true) {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// TestNoWakeUpIsLost has readers sleep after each look at the track, while a
// writer commits as fast as it can. A lost wake-up is a reader that sleeps
// forever, which fails the test by its time limit.
func TestNoWakeUpIsLost(t *testing.T) {
	const readers, objects = 8, 20_000
	tr := newTestTrack(Config{})
	w := open(t, tr, 0)
	s := only(t, tr)
	end := int64(objects) * 3 // a header of two bytes and a byte of payload
	var wg sync.WaitGroup
	for range readers {
		f := &flagged{wake: make(chan struct{}, 1)}
		detach := tr.Attach(f)
		wg.Go(func() {
			defer detach()
			for seen := int64(0); seen < end; {
				<-f.wake
				f.dirty.Store(false)
				at := s.Committed()
				if at < seen {
					t.Errorf("the mark went back from %d to %d", seen, at)
					return
				}
				seen = at
			}
		})
	}
	for i := range uint64(objects) {
		write(t, w, Object{ID: i, Payload: []byte{1}})
		if i%64 == 0 {
			runtime.Gosched()
		}
	}
	wg.Wait()
}

// TestWaiters is the same for the readers of this package.
func TestWaiters(t *testing.T) {
	const readers, groups, objects = 8, 50, 40
	tr := newTestTrack(Config{MaxGroups: groups + 1})
	var wg sync.WaitGroup
	for range readers {
		r := tr.NewReader(From(Location{}))
		wg.Go(func() {
			for range groups {
				g, err := r.NextGroup(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				for i := range uint64(objects) {
					if o, err := g.Next(t.Context()); err != nil || o.ID != i {
						t.Errorf("group %d: object %d, %v, want %d", g.ID(), o.ID, err, i)
						return
					}
				}
			}
		})
	}
	for g := range uint64(groups) {
		w := open(t, tr, g)
		for i := range uint64(objects) {
			write(t, w, Object{ID: i, Payload: []byte{1, 2, 3}})
		}
		closed(t, w)
	}
	wg.Wait()
	if n := tr.waiters.waiting.Load(); n != 0 || tr.waiters.head != nil {
		t.Errorf("%d waiters are left", n)
	}
}

func TestReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTestTrack(Config{})
		want := func(when string, n int) {
			t.Helper()
			synctest.Wait()
			if got := tr.Readers(); got != n {
				t.Errorf("%s: Readers() = %d, want %d", when, got, n)
			}
		}
		want("new", 0)
		var detach []func()
		for range notifierShard + 1 { // more than one shard
			detach = append(detach, tr.Attach(notifyFunc(func() {})))
		}
		want("attached", notifierShard+1)
		for _, f := range detach {
			f()
		}
		want("detached", 0)
		ctx, cancel := context.WithCancel(t.Context())
		go tr.NewReader(CurrentGroup).NextGroup(ctx)
		want("one waits", 1)
		cancel()
		want("it was cancelled", 0)
	})
}
