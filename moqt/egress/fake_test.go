package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

const unlimited = 1 << 40

// A tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// A fakeOut is a Conn for a scheduler: it takes what is written within limits
// that the test sets, and keeps it.
type fakeOut struct {
	conn.Conn // no other method is called
	ctx       context.Context
	end       context.CancelCauseFunc

	mu      sync.Mutex
	slots   int // streams that may still be opened
	credit  int // bytes that all streams may still take
	window  int // credit of each new stream
	streams []*fakeStream
	stats   conn.Stats
	mtu     int      // of datagrams; 0: none are sent
	grams   [][]byte // datagrams that were sent
	exact   bool     // its streams tell what has not left
	hold    bool     // nothing leaves any more
}

func newFakeOut() *fakeOut {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &fakeOut{ctx: ctx, end: cancel, slots: unlimited, credit: unlimited, window: unlimited}
}

func (c *fakeOut) Context() context.Context { return c.ctx }

func (c *fakeOut) Stats() conn.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

func (c *fakeOut) OpenUniStream() (conn.SendStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slots == 0 {
		return nil, conn.ErrStreamLimit
	}
	c.slots--
	s := &fakeStream{conn: c, credit: c.window}
	c.streams = append(c.streams, s)
	if c.exact {
		return exactStream{s}, nil
	}
	return s, nil
}

// An exactStream is a fakeStream that tells what has not left.
type exactStream struct{ *fakeStream }

func (s exactStream) Unsent() int {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	switch {
	case s.reset != nil:
		return 0
	case !s.conn.hold && !s.hold:
		s.left = len(s.data)
	}
	return len(s.data) - s.left
}

func (c *fakeOut) SendDatagram(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b) > c.mtu {
		return errors.New("fake: too large")
	}
	c.grams = append(c.grams, bytes.Clone(b))
	return nil
}

// A fakeStream is a stream of a fakeOut. The connection's lock guards it.
type fakeStream struct {
	conn.SendStream // no other method is called
	conn            *fakeOut
	data            []byte
	boundary        int // bytes at the last SetReliableBoundary
	credit          int
	urgency         int
	stopped         bool
	left            int  // bytes, when it was last asked
	hold            bool // nothing of it leaves any more
	fin             bool
	reset           *wire.ResetCode
}

func (s *fakeStream) TryWrite(p []byte) error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	switch {
	case s.fin || s.reset != nil:
		panic("write on a stream that has ended")
	case len(p) == 0:
		panic("empty write")
	case s.stopped:
		return fmt.Errorf("fake: %w", &conn.StreamError{Code: wire.ResetCancelled, Remote: true})
	case len(p) > s.credit || len(p) > s.conn.credit:
		return conn.ErrWouldBlock
	}
	s.data = append(s.data, p...)
	s.credit -= len(p)
	s.conn.credit -= len(p)
	return nil
}

func (s *fakeStream) Close() error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.fin || s.reset != nil {
		panic("Close of a stream that has ended")
	}
	s.fin = true
	return nil
}

func (s *fakeStream) CancelWrite(code wire.ResetCode) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.reset != nil {
		panic("CancelWrite of a stream that was reset")
	}
	s.reset = &code
}

func (s *fakeStream) SetPriority(urgency int, _ bool) { s.urgency = urgency }
func (s *fakeStream) SetReliableBoundary()            { s.boundary = len(s.data) }

// A sentStream is what a receiver makes of a stream.
type sentStream struct {
	begun   bool // the header is there
	header  wire.SubgroupHeader
	ids     []uint64 // of the objects that have begun
	payload [][]byte
	whole   bool // it ends where an object ends
	end     string
}

// parse reads the stream as far as it came.
func (s *fakeStream) parse(t tester) (p sentStream) {
	t.Helper()
	switch {
	case s.fin && s.reset != nil:
		p.end = "FIN, " + s.reset.String()
	case s.fin:
		p.end = "FIN"
	case s.reset != nil:
		p.end = s.reset.String()
	}
	if len(s.data) == 0 {
		return p
	}
	h, n, err := wire.ParseSubgroupHeader(s.data)
	if errors.Is(err, wire.ErrShort) {
		return p
	}
	if err != nil {
		t.Fatalf("the header of a stream: %v", err)
	}
	if s.boundary != n {
		t.Errorf("the reliable boundary is at %d, want %d", s.boundary, n)
	}
	p.header, p.begun = h, true
	var ids wire.ObjectIDs
	for b := s.data[n:]; len(b) > 0; {
		oh, n, err := wire.ParseObjectHeader(b, h.Properties)
		if errors.Is(err, wire.ErrShort) {
			return p
		}
		if err != nil {
			t.Fatalf("object %d: %v", len(p.ids), err)
		}
		id, err := ids.Next(oh.IDDelta)
		if err != nil {
			t.Fatal(err)
		}
		b = b[n:]
		took := min(int(oh.Length), len(b))
		p.ids, p.payload = append(p.ids, id), append(p.payload, b[:took])
		b = b[took:]
		if took < int(oh.Length) {
			return p
		}
	}
	p.whole = true
	return p
}

// String says what the stream was in one line.
func (p sentStream) String() string {
	first, last := "-", ""
	if len(p.ids) > 0 {
		first, last = fmt.Sprint(p.ids[0]), fmt.Sprint("..", p.ids[len(p.ids)-1])
	}
	s := fmt.Sprintf("%d/%d %s%s", p.header.Group, p.header.Subgroup, first, last)
	if p.header.FirstObject {
		s += " first"
	}
	if !p.whole {
		s += " cut"
	}
	return s + " " + p.end
}

// A rig steps a core by hand, in its own time, over a fakeOut.
type rig struct {
	t        tester
	e        *Scheduler // only what executes actions is used
	core     *core
	conn     *fakeOut
	now      time.Time
	trace    []string // writes and ends, in order
	done     []string // of subscriptions, in order
	finished []uint8  // the priorities of fetches that ended with FIN, in order
	names    map[*track.Track]string
}

func newRig(t tester, cfg Config) *rig {
	r := &rig{t: t, conn: newFakeOut(), now: time.Unix(1_800_000_000, 0), names: map[*track.Track]string{}}
	r.e = New(r.conn, cfg, nil, nil)
	r.core = r.e.core
	return r
}

func (r *rig) Now() time.Time { return r.now }

// track makes a track in the rig's time, known by that name in traces.
func (r *rig) track(name string, props ...track.Property) *track.Track {
	tr := track.New(track.Name{Namespace: track.MustNamespace("test"), Name: name},
		track.Info{Properties: track.NewProperties(props...)}, track.Config{Now: r.Now})
	r.names[tr] = name
	return tr
}

// add subscribes to tr from its current group on, with what set changes.
func (r *rig) add(tr *track.Track, set func(*Sub)) *subscription {
	sub := Sub{
		Alias: uint64(len(r.names)), Track: tr, Start: tr.Resolve(track.CurrentGroup), EndGroup: openEnd,
		Priority: track.DefaultPriority, Order: tr.GroupOrder(), Forward: true,
		OnDone: func(code wire.PublishDoneCode, reason string, streams uint64) {
			r.done = append(r.done, fmt.Sprintf("%s %v %d", r.names[tr], code, streams))
		},
	}
	if set != nil {
		set(&sub)
	}
	s := newSubscription(nil, sub)
	r.core.handle(r.now, event{kind: evAdded, sub: s})
	return s
}

// look tells the core that something changed on all tracks.
func (r *rig) look() {
	for _, s := range append([]*subscription(nil), r.core.subs...) {
		r.core.handle(r.now, event{kind: evDirty, sub: s})
	}
}

// run has the core look at everything, then does what it says until it sleeps.
func (r *rig) run() action {
	r.t.Helper()
	r.look()
	r.e.measure(r.now)
	for i := 0; ; i++ {
		if i > 1_000_000 {
			r.t.Fatal("the core never sleeps")
		}
		a := r.core.next(r.now)
		if a.op == opSleep {
			return a
		}
		r.note(a)
		if err := r.e.do(r.now, a); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) note(a action) {
	st := a.stream
	if st == nil {
		return
	}
	if st.fetch != nil {
		if a.op == opFin {
			r.finished = append(r.finished, st.sub.cfg.Priority)
		}
		return
	}
	name := fmt.Sprintf("%s %d/%d", r.names[st.sub.cfg.Track], st.group, st.log.Header().Subgroup)
	switch a.op {
	case opOpen:
		r.trace = append(r.trace, "open  "+name)
	case opWrite:
		r.trace = append(r.trace, fmt.Sprintf("write %s %d", name, len(a.data)))
	case opFin:
		r.trace = append(r.trace, "fin   "+name)
	case opReset:
		r.trace = append(r.trace, fmt.Sprintf("reset %s %v", name, a.code))
	case opRank:
		r.trace = append(r.trace, fmt.Sprintf("rank  %s %d", name, a.urgency))
	}
}

// pass lets time pass in ticks, as long as the core asks for them.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	for end := r.now.Add(d); ; {
		a := r.run()
		if a.until.IsZero() || a.until.After(end) {
			r.now = end
			r.run()
			return
		}
		if !a.until.After(r.now) {
			r.t.Fatalf("the core sleeps until %v, now is %v", a.until, r.now)
		}
		r.now = a.until
	}
}

// sent returns what a receiver sees of each stream.
func (r *rig) sent() (lines []string) {
	r.t.Helper()
	for _, s := range r.conn.streams {
		lines = append(lines, s.parse(r.t).String())
	}
	return lines
}

// expect compares lines.
func expect(t tester, what string, got []string, want ...string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("%s: line %d is %q, want %q; all:\n%q", what, i, g, w, got)
		}
	}
}

// subgroup opens a subgroup as an original publisher does.
func subgroup(t tester, tr *track.Track, group, id uint64) *track.SubgroupWriter {
	t.Helper()
	w, err := tr.Subgroup(track.SubgroupHeader{Group: group, Subgroup: id, EndOfGroup: id == 0, FirstObject: true})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// objects writes objects from first to last, each of size bytes.
func objects(t tester, w *track.SubgroupWriter, first, last uint64, size int) {
	t.Helper()
	for id := first; id <= last; id++ {
		if err := w.WriteObject(track.Object{ID: id, Payload: bytes.Repeat([]byte{byte(id)}, size)}); err != nil {
			t.Fatal(err)
		}
	}
}

func finish(t tester, w *track.SubgroupWriter) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// wholeGroup publishes a group of one subgroup.
func wholeGroup(t tester, tr *track.Track, group uint64, count, size int) {
	t.Helper()
	w := subgroup(t, tr, group, 0)
	objects(t, w, 0, uint64(count-1), size)
	finish(t, w)
}
