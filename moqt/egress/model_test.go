package egress

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A model drives a core with random calls over a transport that behaves
// at random, and checks after each step that every stream is what it may be.
type model struct {
	*rig
	tracks []*modelTrack
	subs   []*modelSub
}

type modelTrack struct {
	tr     *track.Track
	group  uint64
	open   []*modelLog
	logs   map[string]*modelLog // by group and subgroup
	ended  bool
	nextID uint64
}

// A modelLog is the truth about a subgroup.
type modelLog struct {
	w        *track.SubgroupWriter
	id       uint64
	payload  map[uint64][]byte
	last     uint64
	complete bool
}

type modelSub struct {
	s      *subscription
	of     *modelTrack
	paused bool // at least once
	done   int
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{rig: newRig(t, Config{MaxStreams: rapid.SampledFrom([]int{2, 8, 256}).Draw(t, "MaxStreams")})}
		for i := range rapid.IntRange(1, 3).Draw(t, "tracks") {
			tr := m.track(fmt.Sprint("t", i), priority(uint64(rapid.SampledFrom([]int{0, 64, 64}).Draw(t, "priority"))))
			m.tracks = append(m.tracks, &modelTrack{tr: tr, logs: map[string]*modelLog{}})
		}
		t.Repeat(map[string]func(*rapid.T){
			"open":      m.openGroup,
			"write":     m.write,
			"close":     m.closeLog,
			"end":       m.end,
			"subscribe": m.subscribe,
			"update":    m.update,
			"remove":    m.remove,
			"transport": m.transport,
			"stop":      m.stop,
			"time":      func(t *rapid.T) { m.pass(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond) },
			"":          m.check,
		})
		m.windUp(t)
	})
}

func (m *model) draw(t *rapid.T) *modelTrack {
	return rapid.SampledFrom(m.tracks).Draw(t, "track")
}

func (m *model) openGroup(t *rapid.T) {
	mt := m.draw(t)
	if mt.ended {
		t.Skip("ended")
	}
	id := uint64(0)
	if rapid.IntRange(0, 2).Draw(t, "new") > 0 || mt.group == 0 {
		mt.group++
		mt.nextID = 0
	} else {
		for mt.logs[fmt.Sprint(mt.group, "/", id)] != nil {
			id++
		}
	}
	w, err := mt.tr.Subgroup(track.SubgroupHeader{Group: mt.group, Subgroup: id, FirstObject: true})
	if err != nil {
		t.Skip("refused")
	}
	l := &modelLog{w: w, id: id, payload: map[uint64][]byte{}}
	mt.open = append(mt.open, l)
	mt.logs[fmt.Sprint(mt.group, "/", id)] = l
}

func (m *model) write(t *rapid.T) {
	mt := m.draw(t)
	if len(mt.open) == 0 {
		t.Skip("nothing is open")
	}
	l := rapid.SampledFrom(mt.open).Draw(t, "subgroup")
	mt.nextID += uint64(rapid.IntRange(1, 2).Draw(t, "gap"))
	b := bytes.Repeat([]byte{byte(mt.nextID)}, rapid.SampledFrom([]int{0, 1, 500, 30_000, 300_000}).Draw(t, "size"))
	if l.w.WriteObject(track.Object{ID: mt.nextID, Payload: b}) == nil {
		l.payload[mt.nextID], l.last = b, mt.nextID
	}
}

func (m *model) closeLog(t *rapid.T) {
	mt := m.draw(t)
	if len(mt.open) == 0 {
		t.Skip("nothing is open")
	}
	i := rapid.IntRange(0, len(mt.open)-1).Draw(t, "subgroup")
	l := mt.open[i]
	mt.open = append(mt.open[:i], mt.open[i+1:]...)
	if rapid.IntRange(0, 3).Draw(t, "how") > 0 {
		l.complete = l.w.Close() == nil
	} else {
		l.w.Abort(wire.ResetGoingAway)
	}
}

func (m *model) end(t *rapid.T) {
	mt := m.draw(t)
	if mt.ended || rapid.IntRange(0, 10).Draw(t, "end") > 0 {
		t.Skip("not yet")
	}
	mt.tr.End(track.DoneTrackEnded, "")
	mt.ended, mt.open = true, nil
}

func (m *model) subscribe(t *rapid.T) {
	if len(m.subs) >= 5 {
		t.Skip("enough")
	}
	mt := m.draw(t)
	ms := &modelSub{of: mt}
	alias := uint64(len(m.subs))
	m.subs = append(m.subs, ms)
	ms.s = m.add(mt.tr, func(s *Sub) {
		s.Alias = alias
		s.Start = mt.tr.Resolve(rapid.SampledFrom([]track.Start{
			track.CurrentGroup, track.NextGroup, track.NextObject, track.From(track.Location{}),
		}).Draw(t, "start"))
		s.EndGroup = s.Start.Group + uint64(rapid.SampledFrom([]int{0, 2, 1000}).Draw(t, "end"))
		s.Order = rapid.SampledFrom([]track.GroupOrder{track.Ascending, track.Descending}).Draw(t, "order")
		s.Priority = rapid.SampledFrom([]uint8{1, 128}).Draw(t, "priority")
		s.Forward = rapid.IntRange(0, 4).Draw(t, "forward") > 0
		s.OnDone = func(_ wire.PublishDoneCode, _ string, streams uint64) {
			ms.done++
			m.finished(t, alias, streams)
		}
		ms.paused = !s.Forward
	})
}

// finished checks what onDone promises.
func (m *model) finished(t *rapid.T, alias, streams uint64) {
	n := uint64(0)
	for _, s := range m.conn.streams {
		if p := s.parse(t); p.begun && p.header.Alias == alias {
			if n++; !s.fin && s.reset == nil {
				t.Fatalf("subscription %d is done with a stream open", alias)
			}
		}
	}
	if streams < n {
		t.Fatalf("subscription %d is done after %d streams, but has %d", alias, streams, n)
	}
}

func (m *model) any(t *rapid.T) *modelSub {
	if len(m.subs) == 0 {
		t.Skip("nobody is subscribed")
	}
	return rapid.SampledFrom(m.subs).Draw(t, "subscription")
}

func (m *model) update(t *rapid.T) {
	ms := m.any(t)
	u := ms.s.cfg
	u.Priority = rapid.SampledFrom([]uint8{1, 128}).Draw(t, "priority")
	u.Forward = rapid.Bool().Draw(t, "forward")
	if u.Forward && !ms.s.cfg.Forward {
		if l := ms.of.tr.Resolve(track.NextObject); u.Start.Less(l) {
			u.Start = l
		}
	}
	ms.paused = ms.paused || !u.Forward
	m.core.handle(m.now, event{kind: evUpdated, sub: ms.s, update: &u})
}

func (m *model) remove(t *rapid.T) {
	ms := m.any(t)
	if rapid.IntRange(0, 3).Draw(t, "remove") > 0 {
		t.Skip("not yet")
	}
	m.core.handle(m.now, event{kind: evRemoved, sub: ms.s, code: wire.ResetCancelled})
}

// transport changes what the transport has room for.
func (m *model) transport(t *rapid.T) {
	c := m.conn
	c.slots = rapid.SampledFrom([]int{0, 1, 5, unlimited}).Draw(t, "slots")
	c.credit = rapid.SampledFrom([]int{0, 1, 1000, 40_000, unlimited}).Draw(t, "credit")
	c.window = rapid.SampledFrom([]int{0, 100, 50_000, unlimited}).Draw(t, "window")
	for _, s := range c.streams {
		s.credit = max(s.credit, c.window)
	}
	c.stats.BytesSent += uint64(rapid.IntRange(0, 100_000).Draw(t, "sent"))
}

func (m *model) stop(t *rapid.T) {
	if len(m.conn.streams) == 0 {
		t.Skip("no stream")
	}
	rapid.SampledFrom(m.conn.streams).Draw(t, "stream").stopped = true
}

// check runs the core and looks at every stream.
func (m *model) check(t *rapid.T) {
	m.run()
	open := 0
	seen := map[string]int{}
	for i, s := range m.conn.streams {
		if !s.fin && s.reset == nil {
			open++
		}
		p := s.parse(t)
		if !p.begun {
			if s.fin {
				t.Fatal("a stream ended with FIN inside its header")
			}
			continue
		}
		ms := m.subs[p.header.Alias]
		l := ms.of.logs[fmt.Sprint(p.header.Group, "/", p.header.Subgroup)]
		if l == nil {
			t.Fatalf("stream %v has a subgroup that was never written", p)
		}
		for j, id := range p.ids {
			want, ok := l.payload[id]
			if !ok || !bytes.HasPrefix(want, p.payload[j]) || j < len(p.ids)-1 && len(want) != len(p.payload[j]) {
				t.Fatalf("stream %v: object %d has %d bytes, written %d, %t", p, id, len(p.payload[j]), len(want), ok)
			}
		}
		if s.fin && (!l.complete || !p.whole || len(p.ids) > 0 && p.ids[len(p.ids)-1] != l.last) {
			t.Fatalf("stream %v ended with FIN; its log is complete: %t, its last object %d", p, l.complete, l.last)
		}
		key := fmt.Sprint(p.header.Alias, " ", p.header.Group, "/", p.header.Subgroup)
		if before, ok := seen[key]; ok && (!ms.paused || m.conn.streams[before].fin) {
			t.Fatalf("subgroup %s was sent on streams %d and %d", key, before, i)
		}
		seen[key] = i
	}
	if open != m.core.open {
		t.Fatalf("%d streams are open, the core counts %d", open, m.core.open)
	}
	for i, ms := range m.subs {
		if ms.done > 1 || ms.s.over != (ms.done == 1) {
			t.Fatalf("subscription %d is over: %t, and was done %d times", i, ms.s.over, ms.done)
		}
	}
}

// windUp ends all tracks and gives the transport time: everyone is done.
func (m *model) windUp(t *rapid.T) {
	for _, mt := range m.tracks {
		mt.tr.End(track.DoneTrackEnded, "")
	}
	m.conn.slots, m.conn.credit, m.conn.window = unlimited, unlimited, unlimited
	for _, s := range m.conn.streams {
		s.credit = unlimited
	}
	for range 100 {
		m.conn.stats.BytesSent += 1 << 20
		m.pass(100 * time.Millisecond)
	}
	m.check(t)
	for i, ms := range m.subs {
		if ms.done != 1 {
			t.Fatalf("subscription %d was done %d times after everything ended", i, ms.done)
		}
	}
	if m.core.open != 0 || len(m.core.subs) != 0 || len(m.core.queue) != 0 {
		t.Fatalf("%d streams, %d subscriptions and %d actions are left", m.core.open, len(m.core.subs), len(m.core.queue))
	}
	if a := m.run(); !a.until.IsZero() {
		t.Fatal("the timer goes on after everything ended")
	}
}
