package sim

import (
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A flow is a subgroup on its way to a viewer, as the relay writes it.
type flow struct {
	h      *half
	head   []byte // until the header is whole
	header int64  // its length
	sub    *sub
	lane   *lane     // of the only publisher that has sent it
	due    int64     // bytes of objects that were there to be written
	since  time.Time // at this time
	wire   wire.SubgroupHeader
	timing timing
	known  bool // the header is whole
	behind int  // bytes of less urgent streams since it was last written, while it could have been
}

// An outflow watches what the relay writes on one connection: what is less
// urgent must not go while something more urgent could (I7).
type outflow struct {
	sc    *scene
	c     *conn
	flows []*flow
}

// late is after how long something more urgent counts as left waiting: its turn is
// tried again by then. allowed is how many bytes may be written meanwhile.
const (
	late    = 25 * time.Millisecond
	allowed = 16 << 10
)

// someRoom is how many bytes there must be room for, for that to count: the relay
// tries with less and less, but not for the last few.
const someRoom = 1 << 10

// partHeader is how much of an object the relay may have read and not have for
// its readers yet: the beginning of a header.
const partHeader = 64

// follow watches a connection.
func (sc *scene) follow(server *conn) {
	o := &outflow{sc: sc, c: server}
	server.tap = o.wrote
}

// wrote is called before p is written.
func (o *outflow) wrote(h *half, p []byte) {
	if h.st.kind == 0 || h.urgency == 0 {
		return
	}
	f := o.flow(h)
	if f.sub == nil {
		if !f.known {
			o.parse(f, p)
		}
		return
	}
	f.behind = 0
	o.timed(f, f.sub, p)
	w := o.sc.w
	kept := o.flows[:0]
	for _, other := range o.flows {
		if other.h.err != nil || other.h.fin {
			continue
		}
		kept = append(kept, other)
		if !other.starved(w.now) || f.sub.class() <= other.sub.class() {
			continue
		}
		if other.behind += len(p); other.behind > allowed {
			w.fail("I7 priority", "%s: stream %d of class %#x is written, %d bytes after stream %d of class %#x should have been",
				o.c.name, h.st.id, f.sub.class(), other.behind, other.h.st.id, other.sub.class())
		}
	}
	o.flows = kept
}

func (o *outflow) flow(h *half) *flow {
	for _, f := range o.flows {
		if f.h == h {
			return f
		}
	}
	f := &flow{h: h}
	o.flows = append(o.flows, f)
	return f
}

// parse finds out what f carries.
func (o *outflow) parse(f *flow, p []byte) {
	f.head = append(f.head, p...)
	header, n, err := wire.ParseSubgroupHeader(f.head)
	if err != nil {
		return // a fetch, or there is more to come
	}
	f.header = int64(n)
	f.wire, f.known = header, true
	for _, v := range o.sc.viewers {
		if v.cl == nil || v.cl.c != o.c.peer {
			continue
		}
		for _, s := range v.subs {
			if s.live && s.alias == header.Alias && header.FirstObject {
				o.timed(f, s, f.head[n:])
				f.sub, f.lane = s, o.sc.source(s.p, header.Group, header.Subgroup)
			}
		}
	}
	f.head = nil
}

// source returns the stream that has brought a subgroup to the relay, nil if it
// was not exactly one, from its first object on.
func (sc *scene) source(p *plan, group, subgroup uint64) (found *lane) {
	for _, pub := range sc.publishers {
		for _, l := range pub.sent {
			if l.plan == p && l.group == group && l.subgroup == subgroup {
				if found != nil || !l.whole {
					return nil
				}
				found = l
			}
		}
	}
	return found
}

// class orders as the relay has to: by the subscriber's priority, then by the
// publisher's.
func (s *sub) class() uint16 {
	publisher := uint8(wire.DefaultPriority)
	if s.p.hasPriority {
		publisher = s.p.priority
	}
	return uint16(s.priority)<<8 | uint16(publisher)
}

// starved reports whether f could have been written for a while.
func (f *flow) starved(now time.Time) bool {
	if f.sub == nil || f.lane == nil || f.lane.out.e == nil || f.sub.over || len(f.sub.updates) > 0 || now.Sub(f.sub.settled) < 200*time.Millisecond {
		return false
	}
	written := f.h.wrote - f.header
	if written >= f.due {
		// What the relay has read by now is to be written next.
		f.due, f.since = f.lane.out.e.send.read-f.lane.header, now
	}
	e := &end{c: f.h.from, st: f.h.st, send: f.h}
	return written+partHeader < f.due && e.room() >= someRoom &&
		now.Sub(f.since) > late && now.Sub(f.h.from.roomAt) > late && now.Sub(f.h.roomAt) > late
}

// An unsentEnd is the end of a stream whose transport tells what it holds.
type unsentEnd struct{ *end }

// Unsent implements conn.Unsender.
func (e unsentEnd) Unsent() int { return len(e.send.unsent) }

var _ moqt.SendStream = unsentEnd{}
