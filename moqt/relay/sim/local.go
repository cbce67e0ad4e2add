package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A source publishes the tracks of an encoder from within the relay's process.
type source struct {
	sc       *scene
	tracks   map[string]*track.Track
	open     map[lot]*track.SubgroupWriter
	withdraw func()
}

// A lot names a subgroup.
type lot struct {
	p               *plan
	group, subgroup uint64
}

func newSource(sc *scene, tracks []*encoder) *source {
	s := &source{sc: sc, tracks: make(map[string]*track.Track), open: make(map[lot]*track.SubgroupWriter)}
	for _, e := range tracks {
		s.tracks[e.p.name.Name] = track.New(e.p.name, track.Info{Local: true}, sc.trackConfig())
		e.outlets = append(e.outlets, s)
	}
	return s
}

// Track implements track.Source.
func (s *source) Track(name string) (*track.Track, bool) {
	t, ok := s.tracks[name]
	return t, ok
}

func (s *source) made(e *encoder, group uint64, k int) {
	p, w := e.p, s.sc.w
	it := p.item(group, k)
	t := s.tracks[p.name.Name]
	if p.datagrams {
		d, _ := wire.ParseDatagram(p.datagram(0, group, k))
		o := track.Object{
			Group: group, ID: it.id, Datagram: true, Priority: wire.DefaultPriority, Status: d.Status, EndOfGroup: d.EndOfGroup,
			Properties: d.Properties, Payload: d.Payload,
		}
		if p.hasPriority {
			o.Priority = p.priority
		}
		if err := t.WriteDatagram(o); err != nil {
			w.fail("I6 progress", "the publisher in the process cannot write: %v", err)
		}
		return
	}
	key := lot{p, group, it.subgroup}
	wr := s.open[key]
	if wr == nil {
		var err error
		wr, err = t.Subgroup(track.HeaderFromWire(p.header(0, group, it.subgroup, true)))
		if err != nil {
			w.fail("I6 progress", "the publisher in the process cannot open a subgroup: %v", err)
		}
		s.open[key] = wr
	}
	o := track.Object{ID: it.id, Status: it.status, Properties: p.objectProperties(group, it), Payload: p.appendPayload(nil, group, it)}
	if err := wr.WriteObject(o); err != nil {
		w.fail("I6 progress", "the publisher in the process cannot write: %v", err)
	}
	if it.last {
		delete(s.open, key)
		if err := wr.Close(); err != nil {
			w.fail("I6 progress", "the publisher in the process cannot end a subgroup: %v", err)
		}
	}
}

// restarted cuts what will never be finished.
func (s *source) restarted(e *encoder) {
	s.tracks[e.p.name.Name].AbortOpen(track.ResetInternalError)
	maps.DeleteFunc(s.open, func(l lot, _ *track.SubgroupWriter) bool { return l.p == e.p })
}

// end ends the tracks.
func (s *source) end() {
	for _, name := range slices.Sorted(maps.Keys(s.tracks)) {
		s.tracks[name].End(track.DoneTrackEnded, "over")
	}
}

// drop lets go of what they hold.
func (s *source) drop() {
	for _, t := range s.tracks {
		t.Drop()
	}
}

// A local reads a track from within the relay's process, and keeps a copy of
// every byte that it was shown (I2).
type local struct {
	sc     *scene
	name   string
	p      *plan
	node   *node
	woken  bool
	sub    *track.Subscription
	detach func()
	reader *track.Reader
	group  *track.GroupReader
	last   uint64 // object of group that was read, plus 1
	seen   uint64
	logs   []*shadow
	reads  int
	asked  bool
	ended  error
}

// A shadow is a copy of what a subgroup has committed so far.
type shadow struct {
	s *track.Subgroup
	b []byte
}

func newLocal(sc *scene, i int, p *plan) *local {
	l := &local{sc: sc, name: fmt.Sprintf("local%d", i), p: p}
	l.node = sc.w.join(l.name, l)
	return l
}

// Notify implements track.Notifier.
func (l *local) Notify() { l.woken = true }

func (l *local) pending() bool { return l.woken }

func (l *local) step(now time.Time) time.Time {
	l.woken = false
	if l.sub == nil {
		if !l.asked && !l.sc.ending {
			l.asked = true
			l.sc.relay.SubscribeAsync(l.p.name, l.started)
		}
		return time.Time{}
	}
	l.look()
	l.read()
	return time.Time{}
}

// started takes the relay's answer.
func (l *local) started(sub *track.Subscription, err error) {
	w := l.sc.w
	if err != nil {
		w.after(300*time.Millisecond, func() {
			l.asked = false
			w.wake(l.node)
		})
		return
	}
	l.sub, l.seen, l.logs, l.group, l.ended = sub, 0, nil, nil, nil
	l.detach = sub.Track().Attach(l)
	l.reader = sub.Track().NewReader(track.CurrentGroup)
	w.wake(l.node)
}

// look copies what is new, and holds the copies against what is there.
func (l *local) look() {
	logs, next := l.sub.Track().Since(l.seen)
	l.seen = next
	for _, s := range logs {
		l.logs = append(l.logs, &shadow{s: s})
	}
	if len(l.logs) > 64 {
		l.logs = l.logs[len(l.logs)-64:]
	}
	for _, sh := range l.logs {
		for {
			b := sh.s.Bytes(int64(len(sh.b)), 64<<10)
			if len(b) == 0 {
				break
			}
			sh.b = append(sh.b, b...)
		}
	}
	if len(l.logs) == 0 {
		return
	}
	sh := l.logs[l.sc.w.rand.IntN(len(l.logs))]
	for off := 0; off < len(sh.b); {
		b := sh.s.Bytes(int64(off), 64<<10)
		if len(b) == 0 {
			return // it is gone
		}
		n := min(len(b), len(sh.b)-off)
		if !bytes.Equal(b[:n], sh.b[off:off+n]) {
			l.sc.w.fail("I2 immutable", "%s: byte %d and on of subgroup %+v have changed", l.name, off, sh.s.Header())
		}
		off += n
	}
}

// past is a context that has ended: nothing is waited for.
var past = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// read reads whole objects in order, as a viewer in the process does.
func (l *local) read() {
	w := l.sc.w
	for l.ended == nil {
		if l.group == nil {
			g, err := l.reader.NextGroup(past)
			if errors.Is(err, context.Canceled) {
				return
			}
			if err != nil {
				l.over(err)
				return
			}
			l.group, l.last = g, 0
		}
		o, err := l.group.Next(past)
		switch {
		case errors.Is(err, context.Canceled):
			return
		case err != nil:
			if _, cut := errors.AsType[*track.AbortError](err); !cut && !errors.Is(err, io.EOF) {
				l.over(err)
				return
			}
			l.group = nil
			continue
		}
		l.reads++
		g := l.group.ID()
		k, ok := l.p.find(g, o.ID)
		if !ok || o.ID < l.last || !l.p.exists(wire.Location{Group: g, Object: o.ID}) {
			w.fail("nothing invented", "%s: object %d of group %d of %v", l.name, o.ID, g, l.p.name)
		}
		l.last = o.ID + 1
		if want := l.p.appendPayload(nil, g, l.p.item(g, k)); !bytes.Equal(o.Payload, want) && !l.sc.tainted() {
			w.fail("I3 content", "%s: object %d of group %d of %v is another than was published", l.name, o.ID, g, l.p.name)
		}
	}
}

// over takes the end of the track, and asks for it again.
func (l *local) over(err error) {
	l.ended = err
	l.close()
	if !l.sc.ending {
		l.sc.w.after(300*time.Millisecond, func() {
			l.asked = false
			l.sc.w.wake(l.node)
		})
	}
}

func (l *local) close() {
	if l.sub != nil {
		l.detach()
		l.sub.Close()
		l.sub = nil
	}
}
