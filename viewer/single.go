package viewer

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// SingleTrack is the name of the track that carries a whole broadcast: its
// objects together are a byte stream of boxes. Simple clients publish it, box by
// box or fragment by fragment, and broadcastd offers it too, with the header in
// front of each group.
const SingleTrack = "broadcast"

const (
	microseconds = 1_000_000
	// firstObjectWait bounds the wait for the first object of a group of which
	// another has come: they may travel on streams of their own.
	firstObjectWait = time.Second
)

// A SingleChunk is one piece of a single track: a header (ftyp, moov) or a
// fragment (moof, mdat, and what stands ahead of them).
type SingleChunk struct {
	Data      []byte // shared: never write to it
	Timestamp int64  // presentation time, microseconds
	Priority  uint8  // the publisher's, lower first; 0 for a header
	Init      bool   // a header

	Location track.Location // of the object that completed it
	Arrival  time.Time      // when that object's first byte came
}

// A Single reads the single-track form of one broadcast, once.
type Single struct{ v *Viewer }

// NewSingle returns a reader of the track "broadcast" of ns. It starts nothing;
// see Run. Of cfg, Mode, Wait, Target, GapWait, Priority, OnGap, Now and Log
// count.
func NewSingle(src Source, ns track.Namespace, cfg Config) (*Single, error) {
	v, err := New(src, ns, cfg)
	if err != nil {
		return nil, err
	}
	return &Single{v}, nil
}

// Run calls hand with one chunk after the other, from this goroutine, until the
// track ends (nil). The first chunk is a header, however late the reader
// comes: what comes before one is left out. A header that is repeated unchanged
// is handed on once. Errors are those of Viewer.Run, and hand's.
//
// The timestamp is the one that the publisher gives (LOC properties). Where it
// gives none, it is the media time, or for a header that no fragment has
// preceded the time since Run was called.
func (s *Single) Run(ctx context.Context, hand func(SingleChunk) error) error {
	v := s.v
	inner, cancel := context.WithCancel(ctx)
	defer v.wg.Wait()
	defer cancel()
	sub, _, err := v.find(inner, SingleTrack)
	if err != nil {
		return err
	}
	return v.runSingle(inner, sub, &singleRun{hand: hand})
}

// A singleRun is what is particular to the reading of a single track.
type singleRun struct {
	hand  func(SingleChunk) error
	due   func() (time.Time, bool) // when over may become true; nil: never
	over  func(now time.Time) bool
	begun bool // a header came
	ended bool
}

// runSingle reads the single track until it ends.
func (v *Viewer) runSingle(ctx context.Context, sub *track.Subscription, run *singleRun) error {
	defer sub.Close()
	v.single = run
	v.wg.Go(func() { v.readSingle(ctx, sub) })
	v.patience = v.cfg.Now().Add(v.cfg.Wait + firstCatalog)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := v.cfg.Now()
		at := now.Add(time.Hour)
		if run.due != nil {
			if run.over(now) {
				return nil
			}
			if due, ok := run.due(); ok {
				at = due
			}
		}
		if !run.begun && v.patience.Before(at) {
			if at = v.patience; !now.Before(at) {
				return fmt.Errorf("%w: no header came on %q of %v", ErrNoTracks, SingleTrack, v.ns)
			}
		}
		timer.Reset(max(at.Sub(now), time.Millisecond))
		select {
		case e := <-v.events:
			if err := e.apply(ctx, v); err != nil {
				return err
			}
			if run.ended {
				return v.err
			}
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A singleEvent is one chunk.
type singleEvent struct{ chunk SingleChunk }

func (e singleEvent) apply(_ context.Context, v *Viewer) error {
	v.single.begun = true
	return v.single.hand(e.chunk)
}

// A singleEnd says that the single track has ended: err is nil or why.
type singleEnd struct{ err error }

func (e singleEnd) apply(_ context.Context, v *Viewer) error {
	v.single.ended = true
	if e.err != nil {
		v.fail(fmt.Errorf("viewer: track %q: %w", SingleTrack, e.err))
	}
	return nil
}

// readSingle reads the single track until it ends.
func (v *Viewer) readSingle(ctx context.Context, sub *track.Subscription) {
	s := &singleStream{
		stream: stream{
			v: v, t: &viewTrack{name: SingleTrack}, track: sub.Track(), r: sub.Track().NewReader(track.CurrentGroup),
			changed: make(signal, 1), patience: v.cfg.GapWait,
		},
		began: v.cfg.Now(),
	}
	if v.cfg.Mode == Live {
		s.patience = v.cfg.Target
	}
	s.first = min(s.patience, firstObjectWait)
	s.read = s.objects
	defer s.track.Attach(s.changed)()
	for {
		if err := s.group(ctx); err != nil {
			if ctx.Err() == nil {
				v.send(ctx, singleEnd{clean(err)})
			}
			return
		}
	}
}

// A singleStream makes chunks of the objects of a single track.
type singleStream struct {
	stream
	frame framer
	init  []byte // the header that was handed on last
	began time.Time
	first time.Duration // patience with the first object of a group
	stamp stamper
	skips int // groups in a row that did not follow the one before by number

	stated   bool // a timestamp came with the unit that is not whole
	statedAt int64
}

// objects reads the objects of g, as stream.objects does.
func (s *singleStream) objects(ctx context.Context, g *track.GroupReader) (rest *Gap) {
	id := g.ID()
	s.awaitFirst(ctx, id)
	rest = &Gap{From: track.Location{Group: id}, To: id + 1}
	for first := true; ; first = false {
		o, err := g.Next(ctx)
		if err == nil {
			if first {
				s.enter(ctx, o)
			}
			if rest.From.Object = o.ID + 1; s.hand(ctx, o) {
				continue
			}
			err = context.Cause(ctx)
		}
		s.next = max(s.next, id+1)
		if rest = s.ended(ctx, rest, err); rest != nil {
			s.lose()
		}
		return rest
	}
}

// lose forgets what is not whole, because what follows is missing.
func (s *singleStream) lose() {
	s.frame.reset()
	s.stated = false
}

// maxSkips is how many groups in a row may skip numbers until that is taken for
// the publisher's way of counting, and no longer for a loss.
const maxSkips = 2

// enter is called with the first object of each group.
func (s *singleStream) enter(ctx context.Context, o track.Object) {
	n := s.missing(o.Group, o.Properties)
	if s.skips++; n == 0 {
		s.skips = 0
	}
	if s.skips > maxSkips {
		s.patience = 0
	} else if n > 0 {
		s.gap(ctx, Gap{Reason: GapMissing, From: track.Location{Group: s.next}, To: s.next + n})
		s.lose()
	}
	if !s.begun {
		s.begun, s.next = true, o.Group
	}
}

// awaitFirst waits for the first object of a group of which others have come.
func (s *singleStream) awaitFirst(ctx context.Context, group uint64) {
	timer := time.NewTimer(s.first)
	defer timer.Stop()
	for !s.hasFirst(group) {
		select {
		case <-s.changed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// hasFirst reports whether the first object of a group is there, or will not
// come.
func (s *singleStream) hasFirst(group uint64) bool {
	if _, _, ended := s.track.Ended(); ended {
		return true
	}
	subgroups, _ := s.track.Since(0)
	for _, sub := range subgroups {
		h := sub.Header()
		if h.Group != group {
			continue
		}
		if ref, ok := sub.Object(0); ok && ref.ID == 0 || h.Subgroup == 0 && (ok || !h.FirstObject) {
			return true
		}
	}
	return false
}

// hand hands on the chunks that o completes, and reports whether to go on.
func (s *singleStream) hand(ctx context.Context, o track.Object) bool {
	if at, ok := statedTime(o.Properties, s.track.Properties()); ok && !s.stated {
		s.stated, s.statedAt = true, at
	}
	units, err := s.frame.write(o.Payload)
	for _, u := range units {
		at, ok := s.statedAt, s.stated
		s.stated = false
		if u.init && bytes.Equal(u.data, s.init) || !u.init && s.init == nil {
			continue
		}
		if !ok {
			at = s.stamp.time(s.init, u, s.v.cfg.Now().Sub(s.began))
		}
		c := SingleChunk{Data: u.data, Timestamp: at, Priority: o.Priority, Init: u.init, Location: o.Location(), Arrival: o.Arrival}
		if u.init {
			s.init, c.Priority = u.data, 0
		}
		if !s.v.send(ctx, singleEvent{c}) {
			return false
		}
	}
	if err != nil {
		s.v.log.Warn("object cannot be read", "track", SingleTrack, "group", o.Group, "object", o.ID, "err", err)
		s.stated = false
		s.gap(ctx, Gap{Reason: GapInvalid, From: o.Location(), To: o.Group + 1})
	}
	return ctx.Err() == nil
}

// statedTime returns the presentation time that an object's properties give, in
// microseconds. The timescale is the object's, else the track's, else
// microseconds.
func statedTime(object, whole track.Properties) (us int64, ok bool) {
	ticks, ok := object.Uint(track.PropTimestamp)
	if !ok {
		return 0, false
	}
	scale, ok := object.Uint(track.PropTimescale)
	if !ok {
		scale, ok = whole.Uint(track.PropTimescale)
	}
	if !ok || scale == 0 || scale > 1<<32-1 {
		scale = microseconds
	}
	return int64(min(cmaf.Rescale(ticks, uint32(scale), microseconds), 1<<63-1)), true
}

// A stamper finds the media time of units that come without a time.
type stamper struct {
	demux *cmaf.Demuxer
	init  []byte // that demux has
	found bool
	at    int64 // microseconds
}

// time returns the presentation time of u, where init is the header before it,
// or since if it has none.
func (s *stamper) time(init []byte, u unit, since time.Duration) int64 {
	if s.demux == nil {
		s.demux = cmaf.NewDemuxer(stampBroadcast{s}, cmaf.DemuxerConfig{})
	}
	if !u.init {
		if !bytes.Equal(s.init, init) {
			s.init = init
			s.write(init)
		}
		before := s.at
		s.found = false
		if s.write(u.data); !s.found {
			s.at = before
		}
	}
	if s.init == nil {
		return since.Microseconds()
	}
	return s.at
}

func (s *stamper) write(b []byte) {
	if _, err := s.demux.Write(b); err != nil {
		s.demux.EndBody() //nolint:errcheck // whoever uses the bytes hears of it
	}
}

// A stampBroadcast notes the time of the first sample that it gets.
type stampBroadcast struct{ s *stamper }

type stampSink struct {
	s     *stamper
	scale uint32
}

func (b stampBroadcast) AddTrack(_ string, h cmaf.Header) (cmaf.Sink, error) {
	return stampSink{b.s, h.Timescale}, nil
}
func (stampBroadcast) Event(cmaf.Event) error      { return nil }
func (stampBroadcast) Discontinuity(string)        {}
func (stampBroadcast) Anchor(cmaf.Time, time.Time) {}
func (stampBroadcast) Close(error) error           { return nil }

func (k stampSink) WriteChunk(c cmaf.Chunk) error {
	if !k.s.found {
		k.s.found, k.s.at = true, cmaf.Time{Ticks: c.PTS(), Scale: k.scale}.In(microseconds).Ticks
	}
	return nil
}
func (stampSink) Close() error { return nil }
