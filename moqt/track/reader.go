package track

import (
	"context"
	"io"
	"slices"
)

// A Reader reads a track group by group, as viewers and recorders do. One
// goroutine calls NextGroup and SkipTo. It holds no goroutine and needs no
// Close.
type Reader struct {
	t     *Track
	start Location // where the first group is entered
	next  uint64   // the least group that NextGroup may return
	done  bool     // the last group number was read
	wait  *waiter
}

// NewReader returns a reader that begins at start.
func (t *Track) NewReader(start Start) *Reader {
	at := t.Resolve(start)
	return &Reader{t: t, start: at, next: at.Group, wait: newWaiter()}
}

// Track returns the track that is read.
func (r *Reader) Track() *Track { return r.t }

// NextGroup waits for the next group, in the order of their IDs. Numbers that
// do not occur, or are no longer cached, are passed over; the caller sees that
// from GroupReader.ID. A group whose first stream comes after a newer group was
// returned is left out.
//
// After the last group the error is io.EOF if the track ended cleanly
// (DoneTrackEnded or DoneSubscriptionEnded), else an *EndError. When ctx ends it
// is context.Cause(ctx).
func (r *Reader) NextGroup(ctx context.Context) (*GroupReader, error) {
	var g *group
	err := r.t.await(ctx, r.wait, func() (ok bool, err error) {
		if r.done {
			return false, io.EOF
		}
		// An end seen now has no group after it that the look-up would miss.
		end := r.t.ended.Load()
		if g = r.t.groupFrom(r.next); g != nil {
			return true, nil
		}
		return false, end.err()
	})
	if err != nil {
		return nil, err
	}
	gr := &GroupReader{t: r.t, g: g, wait: newWaiter()}
	if g.id == r.start.Group {
		gr.next = r.start.Object
	}
	r.next, r.done = g.id+1, g.id+1 == 0
	return gr, nil
}

// err returns what a reader gets at the end of the track: nil if e is, io.EOF
// for a clean end.
func (e *EndError) err() error {
	switch {
	case e == nil:
		return nil
	case e.Code == DoneTrackEnded || e.Code == DoneSubscriptionEnded:
		return io.EOF
	}
	return e
}

// Newest returns the newest group that is cached, for deciding about late ones.
func (r *Reader) Newest() (group uint64, ok bool) {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	for _, g := range slices.Backward(r.t.groups) {
		if g.visible() {
			return g.id, true
		}
	}
	return 0, false
}

// SkipTo leaves out the groups before group. It never goes back.
func (r *Reader) SkipTo(group uint64) { r.next = max(r.next, group) }

// visible reports whether readers can see anything of g.
func (g *group) visible() bool { return len(g.shown) > 0 || len(g.datagrams) > 0 }

// groupFrom returns the first visible group from id on.
func (t *Track) groupFrom(id uint64) *group {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, i := t.find(id)
	for _, g := range t.groups[i:] {
		if g.visible() {
			return g
		}
	}
	return nil
}

// await calls ready until it is done or has an error, and sleeps in between
// until something on the track changes or ctx ends.
func (t *Track) await(ctx context.Context, w *waiter, ready func() (ok bool, err error)) error {
	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		t.waiters.add(w)
		// Whatever changed before add woke nobody: look again.
		if ok, err := ready(); ok || err != nil {
			t.waiters.remove(w)
			return err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			t.waiters.remove(w)
			return context.Cause(ctx)
		}
	}
}
