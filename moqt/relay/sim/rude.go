package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A rude client sends what nobody should. It must come to no harm but its own.
type rude struct {
	sc   *scene
	name string
	c    *conn
	node *node
	bidi []*end
}

func newRude(sc *scene, i int) *rude {
	r := &rude{sc: sc, name: fmt.Sprintf("rude%d", i)}
	r.connect()
	return r
}

func (r *rude) connect() {
	w := r.sc.w
	if w.calm {
		return
	}
	r.c = r.sc.dial(r.name)
	r.bidi = nil
	r.node = w.join(r.name, r)
	r.c.owner = r.node
	if w.chance(0.85) {
		r.uni(w.chance(0.9), wire.Setup{Implementation: "rude"})
	}
	w.after(w.between(0, 300*time.Millisecond), r.act)
}

func (r *rude) pending() bool { return false }

// step reads nothing, and accepts what may be answered to.
func (r *rude) step(time.Time) time.Time {
	w := r.sc.w
	if r.c.closed {
		w.leave(r.node)
		w.after(w.between(0, time.Second), r.connect)
		return time.Time{}
	}
	for {
		s, err := r.c.AcceptStream(context.Background())
		if err != nil {
			return time.Time{}
		}
		r.bidi = append(r.bidi, s.(*end))
	}
}

// uni opens a unidirectional stream with m, or a part of it.
func (r *rude) uni(whole bool, m wire.Message) {
	b, _ := wire.AppendMessage(nil, m)
	r.raw(whole, b)
}

func (r *rude) raw(whole bool, b []byte) {
	w := r.sc.w
	s, err := r.c.OpenUniStream()
	if err != nil {
		return
	}
	if !whole {
		b = b[:w.number(0, len(b))]
	}
	r.put(s.(*end), b)
}

func (r *rude) put(e *end, b []byte) {
	w := r.sc.w
	_ = e.TryWrite(b) // it may have no room, or be closed
	switch w.number(0, 5) {
	case 0:
		_ = e.Close()
	case 1:
		e.CancelWrite(wire.ResetCode(w.number(0, 40)))
	}
}

// garbage returns n bytes at most, of any kind.
func (r *rude) garbage(n int) []byte {
	b := make([]byte, r.sc.w.number(0, n))
	for i := range b {
		b[i] = byte(r.sc.w.rand.Uint32())
	}
	return b
}

// message returns a message that makes some sense.
func (r *rude) message() wire.Message {
	w := r.sc.w
	name := pick(w, r.sc.encoders...).p.name
	id := uint64(w.number(0, 12))
	switch w.number(0, 9) {
	case 0:
		return wire.PublishNamespace{RequestID: id, Namespace: wire.MustNamespace("rude")}
	case 1:
		ns, _ := r.sc.prefix.Join(wire.MustNamespace(r.name))
		return wire.PublishNamespace{RequestID: id, Namespace: ns}
	case 2:
		return wire.SubscribeNamespace{RequestID: id, Prefix: r.sc.prefix}
	case 3:
		return wire.Publish{RequestID: id, Track: wire.FullTrackName{Namespace: wire.MustNamespace("rude"), Name: "t"}, TrackAlias: id}
	case 4:
		return wire.Fetch{RequestID: id, FetchType: wire.FetchStandalone, Track: name, Start: wire.Location{}, End: wire.Location{Group: 1 << 40}}
	case 5:
		return wire.TrackStatus{RequestID: id, Track: name}
	case 6:
		return wire.Goaway{}
	case 7:
		return wire.RequestUpdate{RequestID: id}
	}
	return wire.Subscribe{RequestID: id, Track: name}
}

func (r *rude) act() {
	w := r.sc.w
	if w.calm {
		_ = r.c.CloseWithError(wire.SessionNoError, "")
	}
	if r.c.closed {
		return
	}
	switch w.number(0, 9) {
	case 0:
		r.raw(true, r.garbage(200))
	case 1:
		h := wire.SubgroupHeader{Alias: uint64(w.number(0, 5)), Group: uint64(w.number(0, 5)), DefaultPriority: true}
		r.raw(w.chance(0.8), append(h.Append(nil), r.garbage(200)...))
	case 2:
		_ = r.c.SendDatagram(r.garbage(60))
	case 3:
		if len(r.bidi) > 0 {
			e := pick(w, r.bidi...)
			b, _ := wire.AppendMessage(nil, r.message())
			r.put(e, pick(w, b, r.garbage(60)))
		}
	case 4:
		if len(r.bidi) > 0 {
			pick(w, r.bidi...).CancelRead(wire.ResetCancelled)
		}
	default:
		s, err := r.c.OpenStream(context.Background())
		if err != nil {
			break
		}
		b, _ := wire.AppendMessage(nil, r.message())
		if w.chance(0.2) {
			b = r.garbage(100)
		}
		r.put(s.(*end), b)
		r.bidi = append(r.bidi, s.(*end))
	}
	w.after(w.between(0, 200*time.Millisecond), r.act) // in the end to leave
}
