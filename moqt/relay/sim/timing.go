package sim

import (
	"errors"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A timing finds out which object the relay is at on a stream.
type timing struct {
	ids  wire.ObjectIDs
	rest []byte // of a header that is not whole
	left uint64 // bytes of the payload
	k    int
}

// inProcess reports whether the publisher of p is in the relay's process: what it
// makes is there at once.
func (sc *scene) inProcess(p *plan) bool {
	for _, s := range sc.sources {
		if t := s.tracks[p.name.Name]; t != nil && t.Name() == p.name {
			return true
		}
	}
	return false
}

// timed holds that the relay writes nothing of s that is too late by its delivery
// timeouts (section 8). They count from when the relay had it, or the subscription.
func (o *outflow) timed(f *flow, s *sub, b []byte) {
	if s.object == 0 && s.subgroup == 0 || !o.sc.inProcess(s.p) {
		return
	}
	w, p, t := o.sc.w, s.p, &f.timing
	for len(b) > 0 {
		if t.left > 0 {
			n := min(t.left, uint64(len(b)))
			o.late(f, s, t.k)
			t.left -= n
			b = b[n:]
			continue
		}
		t.rest = append(t.rest, b...)
		h, n, err := wire.ParseObjectHeader(t.rest, f.wire.Properties)
		if errors.Is(err, wire.ErrShort) {
			return
		}
		if err != nil {
			w.fail("protocol", "%s: %v", o.c.name, err)
		}
		id, _ := t.ids.Next(h.IDDelta)
		t.k, _ = p.find(f.wire.Group, id)
		t.left = h.Length
		b = b[n-(len(t.rest)-len(b)):]
		t.rest = nil
		o.late(f, s, t.k)
	}
}

func (o *outflow) late(f *flow, s *sub, k int) {
	w, p := o.sc.w, s.p
	if len(s.updates) > 0 || s.again != 0 {
		return // it is not known when the relay began anew
	}
	begun := p.times[wire.Location{Group: f.wire.Group, Object: uint64(k)}]
	if over := w.now.Sub(later(begun, s.since)); s.object > 0 && over > s.object+time.Millisecond {
		w.fail("timeout", "%s: object %d of group %d of %v is written %v after it was there, want %v at most", o.c.name, k, f.wire.Group, p.name, over, s.object)
	}
	for i := p.count() - 1; i >= 0 && s.subgroup > 0; i-- {
		if p.lane(i) != f.wire.Subgroup {
			continue
		}
		whole, ok := p.times[wire.Location{Group: f.wire.Group, Object: uint64(i)}]
		if over := w.now.Sub(later(whole, s.since)); ok && over > s.subgroup+time.Millisecond {
			w.fail("timeout", "%s: subgroup %d of group %d of %v is written %v after it was whole, want %v at most",
				o.c.name, f.wire.Subgroup, f.wire.Group, p.name, over, s.subgroup)
		}
		return
	}
}
