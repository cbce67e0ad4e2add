package moqt

import "time"

// This file is how a FETCH of ours is read no faster than those read it whom it
// is for. A track caches so much; what a response brings beyond that would push
// out what a slow reader has not had.

// paceCheck is how often a stream that is held up is looked at, though nothing
// was heard of its readers.
const paceCheck = time.Second

// A paced reads the data stream that answers a FETCH. While readers lag behind,
// it reads nothing, so that flow control holds up the publisher.
//
// Of a session's streams no more than one is held up at a time: what lies unread
// counts against the connection's window, which is little more than that of one
// stream, and with that used up live media would stand still. The others go on
// and push out what was not read, of which nothing is known then.
type paced struct {
	d *driver
	u *uni
}

func (r paced) Read(p []byte) (int, error) {
	d, u := r.d, r.u
	for d.holds(u) {
		if d.steps != nil {
			return 0, ErrWouldBlock // room wakes the session
		}
		check := time.NewTimer(paceCheck)
		select {
		case <-u.room.wake:
		case <-check.C:
		case <-d.ctx.Done(): // the core has ended all fetches, or is about to
		}
		check.Stop()
	}
	return u.recv.Read(p)
}

// A room hears of the readers of what a stream fills.
type room struct {
	wake   chan struct{} // one slot
	detach func()
}

// Notify implements track.Notifier.
func (r *room) Notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// holds reports whether u is to be held up, and has its room be told when to look
// again.
func (d *driver) holds(u *uni) bool {
	id := uint64(u.sid)
	held := d.paced.Load() == id
	switch {
	case held && (!u.sink.full() || d.ctx != nil && d.ctx.Err() != nil):
		u.sink.taken.Add(1) // first, so that the loop sees one or the other
		u.sink.held.Store(false)
		u.room.detach()
		d.paced.Store(0)
		return false
	case held:
		return true
	case !u.sink.full() || !d.paced.CompareAndSwap(0, id):
		return false
	}
	u.sink.held.Store(true)
	u.room.wake = make(chan struct{}, 1)
	if d.steps != nil {
		u.room.wake = d.s.wake
	}
	u.room.detach = u.sink.filler.Attach(&u.room)
	u.room.Notify() // of what has changed since it was full
	return true
}
