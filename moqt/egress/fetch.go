package egress

import (
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A Fetch is the answer to a FETCH: everything that Reader reads, on one stream
// (section 11.4.4).
type Fetch struct {
	RequestID uint64
	Track     *track.Track // whose changes wake the fetch
	Reader    FetchReader  // the scheduler's alone from now on
	Order     track.GroupOrder
	Priority  uint8 // the subscriber's, lower first
	// FillTimeout is how long in all the fetch may wait for objects that are on
	// their way (FILL_TIMEOUT, section 10.2.9); what has not come by then counts
	// as unknown. Zero: it does not wait. Below zero: no limit.
	FillTimeout time.Duration
	// OnDone is called once, in Run's goroutine, when the stream has ended: ok
	// with FIN, which means that Reader was read to its end, else with a reset
	// of this code, or before there was a stream. It must not block. It is not
	// called once Run returns.
	OnDone func(ok bool, code wire.ResetCode)
}

// A FetchReader is what a fetch needs of a *track.FetchReader.
type FetchReader interface {
	Next() (track.FetchItem, track.FetchState)
	GiveUp()
}

// A FetchHandle controls a fetch that the scheduler serves.
type FetchHandle struct {
	e   *Scheduler
	sub *subscription
}

// AddFetch starts to answer f.
func (e *Scheduler) AddFetch(f Fetch) *FetchHandle {
	s := newFetch(e, f)
	e.call(event{kind: evAdded, sub: s})
	return &FetchHandle{e: e, sub: s}
}

// Update changes the subscriber's priority.
func (h *FetchHandle) Update(priority uint8) {
	h.e.call(event{kind: evUpdated, sub: h.sub, update: &Sub{Priority: priority}})
}

// Remove ends the fetch: its stream is reset with code.
func (h *FetchHandle) Remove(code wire.ResetCode) {
	h.e.call(event{kind: evRemoved, sub: h.sub, code: code})
}

// A fetch is what a subscription has that is the answer to a FETCH. Its stream
// is filled item by item: an object is asked for when the one before it is with
// the transport.
type fetch struct {
	cfg      Fetch
	writer   wire.FetchWriter
	item     []byte        // the encoded item, its memory used again
	priority uint8         // the publisher's, of the item at hand
	ended    bool          // Reader is at its end
	broken   bool          // its items are out of order
	waiting  time.Time     // since when the next item has been on its way
	waited   time.Duration // before that
	gaveUp   bool
	owed     int  // bytes that are its share, see fetchShare
	raised   bool // the stream has the urgency of the subscriptions of its class
	ok       bool
	code     wire.ResetCode
}

const (
	// fetchShare is the part of what subscriptions of the same class get that a
	// fetch has at least, 1 in so many bytes. All else they go before it.
	fetchShare = 20
	// fetchPatience is how long a fetch waits for a stream behind subscriptions
	// of its class.
	fetchPatience = time.Second
	// smallPayload is the largest payload that is copied behind its header, so
	// that the transport gets both at once.
	smallPayload = 1 << 10
)

func newFetch(e *Scheduler, f Fetch) *subscription {
	if f.OnDone == nil {
		f.OnDone = func(bool, wire.ResetCode) {}
	}
	s := newSubscription(e, Sub{
		Track: f.Track, EndGroup: openEnd, Priority: f.Priority, Order: f.Order, Forward: true,
	})
	s.fetch = &fetch{
		cfg: f, writer: wire.NewFetchWriter(f.Order), priority: f.Track.PublisherPriority(),
		code: wire.ResetCancelled,
	}
	return s
}

// openFetch takes in a new fetch.
func (c *core) openFetch(now time.Time, s *subscription) {
	c.fetches++
	st := c.newStream(now, s, nil)
	st.fetch, st.state = s.fetch, waiting
	st.head = wire.FetchHeader{RequestID: s.fetch.cfg.RequestID}.Append(st.headBuf[:0])
	s.streams = append(s.streams, st)
}

// syncFetch looks whether what a fetch waited for is there.
func (c *core) syncFetch(now time.Time, s *subscription) {
	if len(s.streams) == 0 {
		return
	}
	if s.cfg.Track.Malformed() != nil { // section 2.4.2
		s.fetch.code = wire.ResetMalformedTrack
		c.finish(s, wire.ResetMalformedTrack, 0, "")
		return
	}
	st := s.streams[0]
	if s.cfg.Track.Malformed() != nil { // section 2.4.2
		c.finish(s, wire.ResetMalformedTrack, 0, "")
		return
	}
	if st.state != streaming || st.behind() {
		return
	}
	st.fetch.pull(now, st)
	if class := st.class(); class != s.class {
		s.class = class
		c.classify()
	}
	c.settle(now, st)
}

// pull reads items until there is something for st to send.
func (f *fetch) pull(now time.Time, st *stream) {
	for !f.ended && !f.broken && !st.behind() {
		item, state := f.cfg.Reader.Next()
		if state == track.FetchWait {
			if f.waiting.IsZero() {
				f.waiting = now
			}
			if !f.timedOut(now) {
				return
			}
			f.gaveUp = true
			f.cfg.Reader.GiveUp()
			continue
		}
		if !f.waiting.IsZero() {
			f.waited += now.Sub(f.waiting)
			f.waiting = time.Time{}
		}
		if state == track.FetchEnd {
			f.ended = true
			return
		}
		f.broken = f.encode(st, item) != nil // out of order, against what Reader promises
	}
}

// timedOut reports whether f, which waits, has waited for long enough.
func (f *fetch) timedOut(now time.Time) bool {
	at, ok := f.timeout()
	return ok && !now.Before(at)
}

// timeout returns when f, if it waits, will have waited for long enough.
func (f *fetch) timeout() (at time.Time, ok bool) {
	if f.waiting.IsZero() || f.gaveUp || f.cfg.FillTimeout < 0 {
		return time.Time{}, false
	}
	return f.waiting.Add(f.cfg.FillTimeout - f.waited), true
}

// encode makes item what st sends next. The payload is not copied unless it is
// small.
func (f *fetch) encode(st *stream, item track.FetchItem) error {
	var o wire.FetchObject
	var payload []byte
	switch item.Kind {
	case track.FetchObject:
		obj := item.Object
		payload = obj.Payload
		o = wire.FetchObject{
			Group: obj.Group, Object: obj.ID, Subgroup: obj.Subgroup, Priority: obj.Priority,
			Datagram: obj.Datagram, Properties: obj.Properties, Length: uint64(len(payload)),
		}
		if o.Datagram {
			o.Subgroup = 0
		}
	case track.FetchAbsent:
		o = wire.FetchObject{Range: wire.FetchNonExistent, Group: item.To.Group, Object: item.To.Object}
	default:
		o = wire.FetchObject{Range: wire.FetchUnknown, Group: item.To.Group, Object: item.To.Object}
	}
	b, err := f.writer.Append(f.item[:0], o)
	if err != nil {
		return err
	}
	if o.Range == wire.FetchNoRange {
		f.priority = o.Priority
	}
	if len(payload) <= smallPayload {
		b = append(b, payload...)
		payload = nil
	}
	f.item = b
	st.head, st.first = b, payload
	return nil
}

// concludeFetch ends the fetch s once its stream has ended.
func (c *core) concludeFetch(s *subscription) {
	if !s.over && len(s.streams) == 0 {
		c.finish(s, s.fetch.code, 0, "")
	}
}

// owe gives the fetches of a class their share of n bytes that a subscription
// of the class has sent. What a fetch sends of its share has to get past the
// subscriptions in the transport as well.
func (c *core) owe(class uint16, n int) {
	for _, s := range c.subs {
		f := s.fetch
		if f == nil || len(s.streams) == 0 || !s.streams[0].pending() || s.streams[0].class() != class {
			continue
		}
		f.owed = min(f.owed+(n+fetchShare-1)/fetchShare, quantum)
		if f.due() && !f.raised {
			f.raised = true
			c.rank(s.streams[0])
		}
	}
}

// due reports whether it is the turn of f by its share.
func (f *fetch) due() bool { return f.owed >= quantum/4 }

// spend takes n bytes that st, a fetch, has sent off its share. Beyond its
// share it sends only what nobody else has a use for.
func (c *core) spend(st *stream, n int) {
	f := st.fetch
	switch {
	case f.due():
		f.owed -= n // below zero, it has had what is to come
	case f.raised:
		f.raised = false
		c.rank(st)
	}
}

// rankOf orders streams of different subscriptions: by class, within it by the
// share of fetches, by subgroups, by fetches.
func (st *stream) rankOf() uint32 {
	rank := uint32(st.class())<<2 | 1
	switch f := st.fetch; {
	case f == nil:
	case f.due():
		rank--
	default:
		rank++
	}
	return rank
}
