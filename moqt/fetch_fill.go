package moqt

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

const (
	// fetchReadSize is how much of a FETCH stream is read at a time.
	fetchReadSize = 32 << 10
	// keptPayload is the largest buffer that is kept from one object to the next.
	keptPayload = 1 << 20
)

var (
	// errOutside reports an object that is not in the range of its FETCH.
	errOutside = errors.New("moqt: the publisher sends what was not asked for")
	// errFetchOver is what a reader finds when the loop has ended its fetch.
	errFetchOver = errors.New("moqt: the fetch is over")
)

// fetchFault makes the error for bytes on a FETCH stream that close the session.
func fetchFault(format string, args ...any) error {
	return &wire.Error{Code: wire.SessionProtocolViolation, In: "fetch response", What: fmt.Sprintf(format, args...)}
}

// A fetchSink fills a hole in a track from the data stream that answers a FETCH
// (section 11.4.4). The stream's reader writes and finishes it; the loop may
// abort it at any time.
type fetchSink struct {
	rng   track.Range // what the response covers
	order track.GroupOrder
	limit uint64        // bytes of an object's payload
	taken atomic.Uint64 // grows with what comes, for the loop to see, and when held ends
	held  atomic.Bool   // nothing is read of the stream, because readers lag behind

	items   wire.FetchReader
	head    []byte           // the header of an item that is not whole yet
	object  wire.FetchObject // whose payload is not
	missing uint64           // bytes of that
	payload []byte           // what has come of it
	last    place            // of the last item

	mu     sync.Mutex
	filler *track.Filler
	told   place // the last that filler was told of
	ended  bool
	// tail is the last location of a part of the hole that begins where rng ends,
	// and of which the publisher says nothing.
	tail    track.Location
	hasTail bool
}

// A place is how far a response has come.
type place struct {
	at   track.Location
	some bool // at is valid
}

// before reports whether l lies behind p in a response in this order.
func (p place) before(l track.Location, order track.GroupOrder) bool {
	switch {
	case !p.some:
		return true
	case l.Group == p.at.Group:
		return p.at.Object < l.Object
	}
	return (l.Group < p.at.Group) == (order == track.Descending)
}

// newFetchSink makes a sink for the hole asked, of which the publisher says that
// its response ends at end, if that is earlier.
func newFetchSink(f *track.Filler, asked track.Range, end track.Location, order track.GroupOrder, limit uint64) *fetchSink {
	s := &fetchSink{rng: asked, order: order, limit: limit, items: wire.NewFetchReader(order), filler: f}
	f.SetOrder(order)
	if !end.Less(asked.End) {
		return s
	}
	s.rng.End = end
	s.tail, s.hasTail = before(asked.End), true
	if order == track.Descending {
		s.skipGroups()
	}
	return s
}

// skipGroups says, in front of a descending response, that nothing is known of
// the groups above it. The rest of its first group then remains for the tail.
func (s *fetchSink) skipGroups() {
	end, lowest := s.rng.End, s.rng.End.Group
	if end.Object > 0 {
		lowest++
	}
	if lowest <= s.tail.Group && lowest >= end.Group {
		_ = s.filler.Unknown(earlier(s.tail, lastOf(lowest))) // it fails later, too, if it has ended
	}
	s.tail, s.hasTail = earlier(s.tail, lastOf(end.Group)), end.Object > 0
}

// fill fills with what was read of the stream and what r yields, and ends the
// hole as the stream ends. The error says why the response is not whole;
// ErrWouldBlock, that there is more to come.
func (s *fetchSink) fill(rest []byte, r io.Reader, buf []byte) error {
	err := s.write(rest)
	for err == nil {
		var n int
		n, err = r.Read(buf)
		if e := s.write(buf[:n]); e != nil {
			err = e
		}
	}
	if errors.Is(err, ErrWouldBlock) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = s.finish()
	}
	if err == nil {
		return nil
	}
	code := stopCode(err)
	if se, ok := errors.AsType[*StreamError](err); ok {
		code = se.Code
	} else if _, ok := errors.AsType[*SessionError](err); ok {
		code = wire.ResetSessionClosed
	}
	s.abort(code)
	return err
}

// write takes the next bytes of the stream, behind its header.
func (s *fetchSink) write(b []byte) error {
	s.taken.Add(uint64(len(b)))
	for len(b) > 0 {
		if s.missing > 0 {
			n := int(min(s.missing, uint64(len(b))))
			s.payload = append(s.payload, b[:n]...)
			s.missing -= uint64(n)
			b = b[n:]
			if s.missing > 0 {
				return nil
			}
			if err := s.store(s.payload); err != nil {
				return err
			}
			if s.payload = s.payload[:0]; cap(s.payload) > keptPayload {
				s.payload = nil
			}
			continue
		}
		src, held := b, len(s.head)
		if held > 0 {
			s.head = append(s.head, b...)
			src = s.head
		}
		o, n, err := s.items.Parse(src)
		if errors.Is(err, wire.ErrShort) {
			if held == 0 {
				s.head = append(s.head, b...)
			}
			return nil
		}
		if err != nil {
			return err
		}
		b = b[n-held:]
		err = s.item(o)
		s.head = s.head[:0] // of which o.Properties may be a part
		if err != nil {
			return err
		}
	}
	return nil
}

// item takes an object's header, or a range.
func (s *fetchSink) item(o wire.FetchObject) error {
	l := o.Location()
	switch {
	case o.Range != wire.FetchNoRange:
		return s.gap(l, o.Range == wire.FetchNonExistent)
	case !s.last.before(l, s.order):
		// A publisher MUST send in order (section 10.12.3), and what is in a range
		// that it has passed is not there.
		return fetchFault("object %v does not come after %v", l, s.last.at)
	case l.Less(s.rng.Start) || !l.Less(s.rng.End):
		return fmt.Errorf("%w: object %v", errOutside, l)
	case o.Length > s.limit:
		return fmt.Errorf("%w: object %v has %d bytes", track.ErrLimit, l, o.Length)
	}
	s.last = place{l, true}
	s.object, s.missing = o, o.Length
	s.object.Properties = append(track.Properties(nil), o.Properties...)
	if o.Length == 0 {
		return s.store(nil)
	}
	return nil
}

// store writes the object that is whole now.
func (s *fetchSink) store(payload []byte) error {
	o := s.object
	return s.locked(func() error {
		if err := s.reach(o.Location()); err != nil {
			return err
		}
		return s.filler.WriteObject(track.Object{
			Group: o.Group, Subgroup: o.Subgroup, ID: o.Object, Priority: o.Priority,
			Datagram: o.Datagram, Properties: o.Properties, Payload: payload,
		})
	})
}

// gap takes a range in which objects do not exist, or are unknown, up to and
// including to. What of it lies behind the response says nothing.
func (s *fetchSink) gap(to track.Location, absent bool) error {
	if to.Less(s.rng.Start) {
		return fmt.Errorf("%w: a range up to %v", errOutside, to)
	}
	if to = earlier(to, before(s.rng.End)); !s.last.before(to, s.order) {
		return nil
	}
	s.last = place{to, true}
	return s.locked(func() error {
		if err := s.reach(to); err != nil {
			return err
		}
		if absent {
			return s.filler.Absent(to)
		}
		return s.filler.Unknown(to)
	})
}

// reach goes on to l. If that is in a lower group than the tail, the tail is told
// of first. The lock is held.
func (s *fetchSink) reach(l track.Location) error {
	if s.hasTail && s.order == track.Descending && l.Group < s.tail.Group {
		if err := s.tellTail(); err != nil {
			return err
		}
	}
	s.told = place{l, true}
	return nil
}

// tellTail says that nothing is known of the tail. What is left in front of it
// does not exist. The lock is held.
func (s *fetchSink) tellTail() error {
	s.hasTail = false
	if to := before(s.rng.End); s.told.before(to, s.order) {
		if err := s.filler.Absent(to); err != nil {
			return err
		}
	}
	return s.filler.Unknown(s.tail)
}

// finish closes the hole after FIN: what was not told of does not exist (section
// 10.12.3).
func (s *fetchSink) finish() error {
	if s.missing > 0 || len(s.head) > 0 {
		return fetchFault("the stream ends inside an object") // section 11.4
	}
	return s.locked(func() error {
		if s.hasTail {
			if err := s.tellTail(); err != nil {
				return err
			}
		}
		s.ended = true
		s.filler.Close()
		return nil
	})
}

// abort ends the hole, if it has not ended: of the rest nothing is known.
func (s *fetchSink) abort(code wire.ResetCode) {
	_ = s.locked(func() error { // it fails where there is nothing left to do
		s.ended = true
		s.filler.Abort(code)
		return nil
	})
}

// full reports whether readers lag so far behind that what comes next would push
// out what they have not read.
func (s *fetchSink) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && s.filler.Full()
}

func (s *fetchSink) locked(f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errFetchOver
	}
	return f()
}
