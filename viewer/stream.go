package viewer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// subscribeWait is how long a track that the catalog lists may not be there:
// catalog and tracks reach a relay one after the other.
const subscribeWait = 10 * time.Second

var errLate = errors.New("viewer: a newer group is there")

// readTrack reads one track until it ends.
func (v *Viewer) readTrack(ctx context.Context, t *viewTrack) {
	err := v.follow(ctx, t)
	if ctx.Err() == nil {
		v.send(ctx, endEvent{t, clean(err)})
	}
}

func (v *Viewer) follow(ctx context.Context, t *viewTrack) error {
	sub, err := v.subscribeTrack(ctx, t.name)
	if err != nil {
		return err
	}
	defer sub.Close()
	s := &stream{
		v: v, t: t, track: sub.Track(), r: sub.Track().NewReader(track.CurrentGroup),
		changed: make(signal, 1), patience: v.cfg.GapWait,
	}
	s.read = s.objects
	if v.cfg.Mode == Live {
		s.patience = v.cfg.Target
	}
	defer s.track.Attach(s.changed)()
	for {
		if err := s.group(ctx); err != nil {
			return err
		}
	}
}

// subscribeTrack subscribes to a track, again if it is not there yet.
func (v *Viewer) subscribeTrack(ctx context.Context, name string) (*track.Subscription, error) {
	deadline := v.cfg.Now().Add(subscribeWait)
	for backoff := backoffMin; ; backoff = min(2*backoff, backoffMax) {
		sub, err := v.subscribe(ctx, name)
		if err == nil || !absent(err) || !v.cfg.Now().Before(deadline) {
			return sub, err
		}
		timer := time.NewTimer(retryAfter(err, backoff))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// A signal is a track.Notifier: a channel of one slot.
type signal chan struct{}

// Notify says that something changed.
func (s signal) Notify() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// A stream reads the groups of one track, on a goroutine of its own.
type stream struct {
	v        *Viewer
	t        *viewTrack
	track    *track.Track
	r        *track.Reader
	changed  signal
	patience time.Duration // with groups that are missing

	// read reads the objects of a group and returns what is missing at its end.
	read  func(context.Context, *track.GroupReader) *Gap
	begun bool   // the group to start with is agreed on
	next  uint64 // the group that follows the last one, once begun
}

// group reads the next group. The error is io.EOF or why the track ended, or
// that ctx ended.
func (s *stream) group(ctx context.Context) error {
	if s.begun {
		if err := s.awaitNext(ctx); err != nil {
			return err
		}
	}
	g, err := s.r.NextGroup(ctx)
	if err != nil {
		return err
	}
	late, done := s.watchLate(ctx, g.ID())
	rest := s.read(late, g)
	done()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if rest != nil && s.begun {
		s.gap(ctx, *rest)
		if rest.Reason == GapLate {
			s.skipLate(ctx)
		}
	}
	return nil
}

// awaitNext waits while the next group is missing, newer ones are there, and
// nothing says that it does not exist: until patience ends.
func (s *stream) awaitNext(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	waiting := false
	for {
		_, _, ended := s.track.Ended()
		groups := s.track.Groups()
		i := slices.IndexFunc(groups, func(g track.GroupInfo) bool { return g.ID >= s.next })
		if ended || i >= 0 && (groups[i].ID == s.next || s.declared(groups[i].ID)) {
			return nil
		}
		if i >= 0 && !waiting {
			waiting = true
			timer.Reset(s.patience)
		}
		select {
		case <-s.changed:
		case <-timer.C:
			if waiting {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// declared reports whether a group says that all between it and the next one
// do not exist.
func (s *stream) declared(group uint64) bool {
	subgroups, _ := s.track.Since(0)
	for _, sub := range subgroups {
		if h := sub.Header(); h.Group != group || !h.FirstObject {
			continue
		}
		if o, ok := sub.Load(0); ok && s.missing(group, o.Properties) == 0 {
			return true
		}
	}
	return false
}

// missing returns how many groups between the last one and this one should
// exist, where props are those of this one's first object.
func (s *stream) missing(group uint64, props track.Properties) uint64 {
	if !s.begun || group <= s.next {
		return 0
	}
	gap, _ := props.Uint(track.PropPriorGroupIDGap)
	return group - s.next - min(gap, group-s.next)
}

// watchLate returns a context that ends with errLate when a live viewer should
// leave the group: a newer one has been there for Target.
func (s *stream) watchLate(ctx context.Context, group uint64) (late context.Context, done func()) {
	if s.v.cfg.Mode != Live {
		return ctx, func() {}
	}
	late, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if newest, ok := s.track.CurrentGroup(); ok && newest > group {
				break
			}
			select {
			case <-s.changed:
			case <-late.Done():
				return
			}
		}
		timer := time.NewTimer(s.v.cfg.Target)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(errLate)
		case <-late.Done():
		}
	})
	return late, func() { cancel(nil); wg.Wait() }
}

// skipLate goes on at the newest group.
func (s *stream) skipLate(ctx context.Context) {
	newest, ok := s.r.Newest()
	if !ok || newest < s.next {
		return
	}
	if newest > s.next {
		s.gap(ctx, Gap{Reason: GapLate, From: track.Location{Group: s.next}, To: newest})
	}
	s.r.SkipTo(newest)
	s.next = newest
}

// gap tells Run what is missing.
func (s *stream) gap(ctx context.Context, g Gap) {
	g.Track = s.t.name
	s.v.send(ctx, gapEvent{g})
}

// objects reads the objects of g. It returns what is missing at its end, nil
// for nothing, and returns early when ctx ends.
func (s *stream) objects(ctx context.Context, g *track.GroupReader) (rest *Gap) {
	id := g.ID()
	var header *cmaf.Header
	rest = &Gap{From: track.Location{Group: id}, To: id + 1}
	for first := true; ; first = false {
		o, err := g.Next(ctx)
		if err == nil && first {
			o, err = firstMedia(ctx, g, o)
		}
		if err != nil {
			s.next = max(s.next, id+1)
			return s.ended(ctx, rest, err)
		}
		if first {
			header = s.t.headerOf(id, o.Properties)
		}
		if header == nil {
			return nil // from before the catalog that we joined with
		}
		chunks, err := header.ParseChunks(o.Payload)
		if err != nil {
			s.v.log.Warn("object cannot be read", "track", s.t.name, "group", id, "object", o.ID, "err", err)
			s.next = max(s.next, id+1)
			rest.Reason = GapInvalid
			return rest
		}
		if first && !s.enter(ctx, o, header, chunks) {
			return nil
		}
		if err := s.hand(ctx, header, chunks, o); err != nil {
			s.next = max(s.next, id+1)
			return s.ended(ctx, rest, err)
		}
		rest.From.Object = o.ID + 1
	}
}

// firstMedia returns the first object of a group that is media, where o is the
// first of all. In an init-first view that one is the track's header, which
// then counts as if the media had brought it, with the gap that it tells of.
func firstMedia(ctx context.Context, g *track.GroupReader, o track.Object) (track.Object, error) {
	if len(o.Payload) < 8 || string(o.Payload[4:8]) != "ftyp" && string(o.Payload[4:8]) != "moov" {
		return o, nil
	}
	media, err := g.Next(ctx)
	if err != nil {
		return media, err
	}
	gap, _ := o.Properties.Uint(track.PropPriorGroupIDGap)
	media.Properties = track.NewProperties(
		track.Property{Type: track.PropPriorGroupIDGap, Uint: gap}, track.Property{Type: propInitData, Bytes: o.Payload})
	return media, nil
}

// ended returns what err, which ended the reading of a group, left out.
func (s *stream) ended(ctx context.Context, rest *Gap, err error) *Gap {
	if cut, ok := errors.AsType[*track.AbortError](err); ok {
		rest.Reason, rest.Code = GapCut, cut.Code
		return rest
	}
	if errors.Is(context.Cause(ctx), errLate) {
		rest.Reason = GapLate
		return rest
	}
	return nil // io.EOF, or nobody listens any more
}

// enter is called with the first object of each group and reports whether to go
// on with it. The first time, it agrees with the other tracks on where to
// start; later it tells what is missing before the group.
func (s *stream) enter(ctx context.Context, o track.Object, h *cmaf.Header, chunks []cmaf.Chunk) bool {
	if s.begun {
		if n := s.missing(o.Group, o.Properties); n > 0 {
			s.gap(ctx, Gap{Reason: GapMissing, From: track.Location{Group: s.next}, To: s.next + n})
		}
		return true
	}
	rap := h.Kind != cmaf.KindVideo || chunks[0].RAP
	if !s.v.send(ctx, beginEvent{s.t, o.Group, rap}) {
		return false
	}
	select {
	case start := <-s.t.start:
		s.begun, s.next = true, start
		s.r.SkipTo(start)
		return start <= o.Group
	case <-ctx.Done():
		return false
	}
}

// hand gives one object to Run, when there is room for it.
func (s *stream) hand(ctx context.Context, h *cmaf.Header, chunks []cmaf.Chunk, o track.Object) error {
	select {
	case s.t.credit <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	at := track.Location{Group: o.Group, Object: o.ID}
	e := objectEvent{
		entry: entry{track: s.t, header: h, chunks: chunks, location: at, bytes: len(o.Payload)},
		info: Object{
			Track: s.t.name, Location: at, Arrival: o.Arrival, Size: len(o.Payload),
			Time: cmaf.Time{Ticks: chunks[0].DecodeTime, Scale: h.Timescale},
		},
	}
	if !s.v.send(ctx, e) {
		return context.Cause(ctx)
	}
	return nil
}
