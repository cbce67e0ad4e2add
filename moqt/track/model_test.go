package track

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A modelSubgroup is what a subgroup must look like.
type modelSubgroup struct {
	w       *SubgroupWriter
	s       *Subgroup
	group   uint64
	id      uint64
	objects []Object
	stream  []byte // what was written so far, whole objects and a part
	unsent  []byte // of an object that is being written in pieces
	state   State
	code    ResetCode
	next    uint64 // least ID
}

// A modelCursor reads a log as an egress scheduler does.
type modelCursor struct {
	of   *modelSubgroup
	read []byte
}

// A modelReader reads objects as a viewer does, always to where it can.
type modelReader struct {
	r    *Reader
	g    *GroupReader
	last Location
	any  bool
}

// model drives a track with random calls and compares it with what must be.
type model struct {
	tr        *Track
	clock     *fakeClock
	charged   int64
	groups    uint64
	subgroups []*modelSubgroup
	cursors   []*modelCursor
	readers   []*modelReader
	largest   Location
	some      bool
	ended     bool
	seq       uint64
	seen      []*Subgroup
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{clock: newFakeClock()}
		m.tr = newTestTrack(Config{
			MaxGroups: rapid.IntRange(2, 5).Draw(t, "MaxGroups"), MaxAge: 10 * time.Second,
			Now: m.clock.Now, Charge: func(d int64) { m.charged += d },
		})
		t.Repeat(map[string]func(*rapid.T){
			"open":   m.open,
			"write":  m.write,
			"piece":  m.piece,
			"close":  m.close,
			"abort":  m.abort,
			"cursor": m.cursor,
			"reader": m.reader,
			"read":   m.read,
			"wait": func(t *rapid.T) {
				m.clock.advance(time.Duration(rapid.IntRange(1, 4000).Draw(t, "ms")) * time.Millisecond)
			},
			"end": m.end,
			"":    m.check,
		})
		m.tr.End(DoneTrackEnded, "")
		m.tr.Drop()
		if m.charged != 0 || m.tr.Bytes() != 0 || m.tr.open != 0 {
			t.Fatalf("after Drop %d bytes are charged and %d subgroups open", m.charged, m.tr.open)
		}
	})
}

// pick draws one of the subgroups that the model believes open.
func (m *model) pick(t *rapid.T) *modelSubgroup {
	var open []*modelSubgroup
	for _, s := range m.subgroups {
		if s.state == Open {
			open = append(open, s)
		}
	}
	if len(open) == 0 {
		t.Skip("nothing is open")
	}
	return rapid.SampledFrom(open).Draw(t, "subgroup")
}

func (m *model) open(t *rapid.T) {
	if m.ended {
		t.Skip("ended")
	}
	group := m.groups
	if rapid.Bool().Draw(t, "new group") || m.groups == 0 {
		m.groups += uint64(rapid.IntRange(1, 3).Draw(t, "skip"))
		group = m.groups
	}
	id := uint64(0)
	for _, s := range m.subgroups {
		if s.group == group {
			id++
		}
	}
	w, err := m.tr.Subgroup(SubgroupHeader{Group: group, Subgroup: id, FirstObject: true, Properties: true})
	if errors.Is(err, ErrTooOld) || errors.Is(err, ErrLimit) {
		t.Skip("refused")
	}
	if err != nil {
		t.Fatal(err)
	}
	m.subgroups = append(m.subgroups, &modelSubgroup{w: w, s: w.sub, group: group, id: id})
	m.evicted()
}

// evicted takes note of what the track has evicted by now.
func (m *model) evicted() {
	cached := map[uint64]bool{}
	for _, g := range m.tr.Groups() {
		cached[g.ID] = true
	}
	for _, s := range m.subgroups {
		if !cached[s.group] {
			s.state, s.code = Aborted, ResetTooFarBehind
		}
	}
}

// draw makes an object that may be written to s. Its ID belongs to s alone: no
// object is in two subgroups.
func (m *model) draw(t *rapid.T, s *modelSubgroup) Object {
	s.next += uint64(rapid.IntRange(1, 3).Draw(t, "gap"))
	size := rapid.SampledFrom([]int{0, 1, 1, 30, 30, 3000, 20_000, 300_000}).Draw(t, "size")
	o := Object{ID: s.next*16 + s.id%16, Payload: fill(size)}
	if rapid.Bool().Draw(t, "properties") {
		o.Properties = someProps
	}
	return o
}

func (m *model) began(s *modelSubgroup, o Object) {
	if l := (Location{Group: s.group, Object: o.ID}); !m.some || m.largest.Less(l) {
		m.largest, m.some = l, true
	}
}

// encode returns o as it goes on the stream of s.
func (s *modelSubgroup) encode(o Object) []byte {
	if len(s.objects) == 0 {
		return stream(true, o)
	}
	before := s.objects[len(s.objects)-1]
	before.Payload = nil
	return stream(true, before, o)[len(stream(true, before)):]
}

func (m *model) write(t *rapid.T) {
	s := m.pick(t)
	if len(s.unsent) > 0 {
		t.Skip("in the middle of an object")
	}
	for range rapid.SampledFrom([]int{1, 1, 3, 40}).Draw(t, "objects") {
		o := m.draw(t, s)
		err := s.w.WriteObject(o)
		if m.evicted(); s.state != Open {
			if err != nil && !errors.Is(err, ErrTooOld) {
				t.Fatalf("WriteObject into an evicted group = %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		s.stream = append(s.stream, s.encode(o)...)
		s.objects = append(s.objects, o)
		m.began(s, o)
	}
}

func (m *model) piece(t *rapid.T) {
	s := m.pick(t)
	if len(s.unsent) == 0 {
		o := m.draw(t, s)
		s.unsent = s.encode(o)
		s.objects = append(s.objects, o)
	}
	n := rapid.IntRange(1, len(s.unsent)).Draw(t, "n")
	_, err := s.w.Write(s.unsent[:n])
	if m.evicted(); s.state != Open {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	s.stream = append(s.stream, s.unsent[:n]...)
	s.unsent = s.unsent[n:]
	if s.s.Objects() == len(s.objects) { // its header is whole
		m.began(s, s.objects[len(s.objects)-1])
	}
}

func (m *model) close(t *rapid.T) {
	s := m.pick(t)
	err := s.w.Close()
	if (err != nil) != (len(s.unsent) > 0) {
		t.Fatalf("Close with %d bytes of an object missing = %v", len(s.unsent), err)
	}
	s.state = Complete
	if err != nil {
		s.state, s.code = Aborted, ResetInternalError
	}
}

func (m *model) abort(t *rapid.T) {
	s := m.pick(t)
	s.w.Abort(ResetDeliveryTimeout)
	s.state, s.code = Aborted, ResetDeliveryTimeout
}

func (m *model) end(t *rapid.T) {
	if m.ended || rapid.IntRange(0, 20).Draw(t, "end") > 0 {
		t.Skip("not yet")
	}
	m.tr.End(DoneTrackEnded, "")
	m.ended = true
	for _, s := range m.subgroups {
		if s.state == Open {
			s.state, s.code = Aborted, ResetCancelled
		}
	}
}

func (m *model) cursor(t *rapid.T) {
	if len(m.subgroups) == 0 {
		t.Skip("nothing to read")
	}
	m.cursors = append(m.cursors, &modelCursor{of: rapid.SampledFrom(m.subgroups).Draw(t, "subgroup")})
}

func (m *model) reader(t *rapid.T) {
	start := rapid.SampledFrom([]Start{CurrentGroup, NextGroup, NextObject, From(Location{})}).Draw(t, "start")
	m.readers = append(m.readers, &modelReader{r: m.tr.NewReader(start)})
}

// read moves every cursor by a random piece, and every reader as far as it goes.
func (m *model) read(t *rapid.T) {
	for _, c := range m.cursors {
		b := c.of.s.Bytes(int64(len(c.read)), rapid.IntRange(1, 40_000).Draw(t, "limit"))
		c.read = append(c.read, b...)
		if !bytes.HasPrefix(c.of.stream, c.read) {
			t.Fatalf("a cursor read %d bytes that are not a prefix of what was written", len(c.read))
		}
	}
	for _, r := range m.readers {
		m.follow(t, r)
	}
}

// follow reads what r can read without waiting.
func (m *model) follow(t *rapid.T, r *modelReader) {
	for {
		if r.g == nil {
			g := m.tr.groupFrom(r.r.next)
			if g == nil {
				return
			}
			gr, err := r.r.NextGroup(t.Context())
			if err != nil {
				t.Fatalf("NextGroup with group %d there: %v", g.id, err)
			}
			r.g = gr
		}
		o, ok, err := r.g.poll()
		if err != nil {
			if _, cut := errors.AsType[*AbortError](err); err != io.EOF && !cut {
				t.Fatal(err)
			}
			r.g = nil
			continue
		}
		if !ok {
			return
		}
		if r.any && !r.last.Less(o.Location()) {
			t.Fatalf("object %v was read after %v", o.Location(), r.last)
		}
		r.last, r.any = o.Location(), true
		m.known(t, o)
	}
}

// known checks that o is what was written.
func (m *model) known(t *rapid.T, o Object) {
	for _, s := range m.subgroups {
		if s.group != o.Group || s.id != o.Subgroup {
			continue
		}
		for _, w := range s.objects {
			if w.ID == o.ID && bytes.Equal(w.Payload, o.Payload) && bytes.Equal(w.Properties, o.Properties) {
				return
			}
		}
	}
	t.Fatalf("object %v of subgroup %d was never written", o.Location(), o.Subgroup)
}

// check compares the track with the model after each call.
func (m *model) check(t *rapid.T) {
	if l, ok := m.tr.Largest(); l != m.largest || ok != m.some {
		t.Fatalf("Largest() = %v, %t, want %v, %t", l, ok, m.largest, m.some)
	}
	if m.charged != m.tr.Bytes() || m.charged < 0 {
		t.Fatalf("%d bytes charged, Bytes() = %d", m.charged, m.tr.Bytes())
	}
	more, next := m.tr.Since(m.seq)
	m.seq, m.seen = next, append(m.seen, more...)
	m.evicted()
	open := 0
	for _, s := range m.subgroups {
		state, code := s.s.State()
		if state != s.state || code != s.code {
			t.Fatalf("subgroup %d/%d is %v with %v, want %v with %v", s.group, s.id, state, code, s.state, s.code)
		}
		if state == Open {
			open++
		}
		if !slices.Contains(m.seen, s.s) {
			t.Fatalf("Since has left out subgroup %d/%d", s.group, s.id)
		}
		if at := s.s.Committed(); at > int64(len(s.stream)) || state == Complete && at != int64(len(s.stream)) {
			t.Fatalf("%d bytes of %d are committed in state %v", at, len(s.stream), state)
		}
	}
	if m.tr.open != open {
		t.Fatalf("the track counts %d open subgroups, want %d", m.tr.open, open)
	}
}
