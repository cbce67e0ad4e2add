package fidelity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// patience is how long a test waits for what has to come.
const patience = 10 * time.Second

// An end is how a stream ended.
type end struct {
	fin   bool
	reset bool
	code  wire.ResetCode // of reset
	lost  bool           // the connection ended, or the viewer itself stopped it
}

func (e end) open() bool { return e == end{} }

func (e end) String() string {
	switch {
	case e.fin:
		return "FIN"
	case e.reset:
		return "reset " + e.code.String()
	case e.lost:
		return "lost"
	}
	return "open"
}

// A received is an object as it arrived, whole or not.
type received struct {
	group, subgroup, id uint64
	payload             []byte
	length              int
}

func (r received) whole() bool { return len(r.payload) == r.length }

// An arrival is what came on one stream of the relay.
type arrival struct {
	fetch   bool
	header  wire.SubgroupHeader
	objects []received
	unknown []wire.Location // End of Unknown Range markers
	absent  []wire.Location // End of Non-Existent Range markers
	end     end
	recv    moqt.ReceiveStream
}

// A viewer is a raw peer of the relay: it sends exact messages, and takes down
// everything that arrives.
type viewer struct {
	t    *testing.T
	conn moqt.Conn
	peer *moqttest.Peer
	next uint64 // request ID

	mu      sync.Mutex
	changed chan struct{}
	streams []*arrival
}

func newViewer(t *testing.T, conn moqt.Conn) *viewer {
	t.Helper()
	v := &viewer{t: t, conn: conn, peer: moqttest.NewPeer(t, conn), changed: make(chan struct{})}
	v.peer.Setup(wire.Setup{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			recv, err := conn.AcceptUniStream(context.Background())
			if err != nil {
				return
			}
			wg.Go(func() { v.take(recv) })
		}
	})
	t.Cleanup(func() {
		conn.CloseWithError(0, "")
		wg.Wait()
	})
	return v
}

// update changes what is known, and wakes await.
func (v *viewer) update(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
	close(v.changed)
	v.changed = make(chan struct{})
}

// await waits until ok says so of everything that has arrived, and returns a
// copy of that. It fails the test when that takes too long.
func (v *viewer) await(what string, ok func([]arrival) bool) []arrival {
	v.t.Helper()
	late := time.After(patience)
	for {
		v.mu.Lock()
		changed := v.changed
		all := v.snapshot()
		v.mu.Unlock()
		if ok(all) {
			return all
		}
		select {
		case <-changed:
		case <-late:
			v.t.Fatalf("no %s within %v; there is %v", what, patience, describe(all))
		}
	}
}

func (v *viewer) snapshot() []arrival {
	all := make([]arrival, len(v.streams))
	for i, a := range v.streams {
		all[i] = *a
		all[i].objects = slices.Clone(a.objects)
	}
	return all
}

func describe(all []arrival) string {
	var s string
	for _, a := range all {
		s += fmt.Sprintf("\n  fetch %t, %+v:", a.fetch, a.header)
		for _, o := range a.objects {
			s += fmt.Sprintf(" {%d,%d} %d/%d", o.group, o.id, len(o.payload), o.length)
		}
		s += fmt.Sprintf(", unknown %v, absent %v, %v", a.unknown, a.absent, a.end)
	}
	return s
}

// take reads one stream of the relay to its end.
func (v *viewer) take(recv moqt.ReceiveStream) {
	a := &arrival{recv: recv}
	p := parser{a: a}
	buf := make([]byte, 4<<10)
	shown := false
	for {
		n, err := recv.Read(buf)
		v.update(func() {
			if perr := p.feed(buf[:n]); perr != nil {
				v.t.Errorf("a stream of the relay: %v", perr)
			}
			if !shown && p.known {
				shown = true
				v.streams = append(v.streams, a)
			}
			if err == nil {
				return
			}
			se, stream := errors.AsType[*moqt.StreamError](err)
			switch {
			case errors.Is(err, io.EOF):
				a.end = end{fin: true}
				if p.inside() {
					v.t.Errorf("FIN inside an object, behind %v", describe([]arrival{*a}))
				}
			case stream && se.Remote:
				a.end = end{reset: true, code: se.Code}
			default:
				a.end = end{lost: true}
			}
		})
		if err != nil {
			return
		}
	}
}

// A parser reads the bytes of one data stream.
type parser struct {
	a       *arrival
	b       []byte
	known   bool // the header was read
	ids     wire.ObjectIDs
	fetch   wire.FetchReader
	missing int // bytes of the last object's payload
}

// inside reports whether the stream may not end here.
func (p *parser) inside() bool { return p.known && (p.missing > 0 || len(p.b) > 0) }

func (p *parser) feed(b []byte) error {
	p.b = append(p.b, b...)
	for len(p.b) > 0 {
		if p.missing > 0 {
			n := min(p.missing, len(p.b))
			o := &p.a.objects[len(p.a.objects)-1]
			o.payload = append(o.payload, p.b[:n]...)
			p.b, p.missing = p.b[n:], p.missing-n
			continue
		}
		n, err := p.header()
		if errors.Is(err, wire.ErrShort) {
			return nil
		}
		if err != nil {
			return err
		}
		p.b = p.b[n:]
	}
	return nil
}

// header reads the header of the stream, or of the next object.
func (p *parser) header() (n int, err error) {
	a := p.a
	switch {
	case !p.known:
		kind, _, err := wire.ParseStreamType(p.b)
		if err != nil {
			return 0, err
		}
		if a.fetch = kind == wire.StreamFetch; a.fetch {
			_, n, err = wire.ParseFetchHeader(p.b)
			p.fetch = wire.NewFetchReader(wire.GroupAscending)
		} else {
			a.header, n, err = wire.ParseSubgroupHeader(p.b)
		}
		p.known = err == nil
		return n, err
	case a.fetch:
		o, n, err := p.fetch.Parse(p.b)
		switch {
		case err != nil:
			return 0, err
		case o.Range == wire.FetchUnknown:
			a.unknown = append(a.unknown, o.Location())
		case o.Range == wire.FetchNonExistent:
			a.absent = append(a.absent, o.Location())
		default:
			p.missing = int(o.Length)
			a.objects = append(a.objects, received{group: o.Group, subgroup: o.Subgroup, id: o.Object, length: int(o.Length)})
		}
		return n, nil
	}
	h, n, err := wire.ParseObjectHeader(p.b, a.header.Properties)
	if err != nil {
		return 0, err
	}
	id, err := p.ids.Next(h.IDDelta)
	if err != nil {
		return 0, err
	}
	p.missing = int(h.Length)
	a.objects = append(a.objects, received{group: a.header.Group, subgroup: a.header.Subgroup, id: id, length: int(h.Length)})
	return n, nil
}

// request sends m and takes the answer, which must be of type want.
func (v *viewer) request(m wire.Message, want wire.MessageType) (*moqttest.PeerStream, []byte) {
	v.t.Helper()
	st := v.peer.Open(m)
	got, body := st.Message()
	if got != want {
		v.t.Fatalf("%v was answered with %v %x, want %v", m.Type(), got, body, want)
	}
	return st, body
}

func (v *viewer) id() uint64 {
	v.next += 2
	return v.next - 2
}

// subscribe subscribes to the track from a filter on, and returns the ID of the
// request.
func (v *viewer) subscribe(name wire.FullTrackName, f *wire.Filter) (id uint64) {
	v.t.Helper()
	id = v.id()
	v.request(wire.Subscribe{RequestID: id, Track: name, Params: wire.Params{Filter: f}}, wire.TypeSubscribeOK)
	return id
}
