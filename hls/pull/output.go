package pull

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

const (
	vodAhead = 10 * time.Second // of VOD that waits at most, but for one segment
	gateWait = 10 * time.Second // for the first chunk of every rendition
	lateBy   = 500 * time.Millisecond
	// fastRate is how fast a live presentation goes out that has more waiting
	// than it began with, as where the origin's clock runs faster than ours.
	fastRate = 1.05
	// jumpBack and jumpAhead are what decode times may step by without a word
	// from the presentation and without being a jump.
	jumpBack, jumpAhead = time.Second, 10 * time.Second
	// jumpTogether is how far apart tracks show the same jump.
	jumpTogether = 2 * time.Second
)

// An output holds what renditions bring until it is due, and puts their tracks
// in order. Its next is a step function; send drives it.
type output struct {
	maxBytes int64
	changed  chan struct{} // one slot: something was queued, or a feed ended

	mu    sync.Mutex
	freed chan struct{} // closed and replaced when something went out
	feeds []*feed
	bytes int64         // of all chunks that wait
	ahead time.Duration // of a rendition that waits at most, but for one segment

	isLive   bool
	distance time.Duration // from the edge at which a live presentation began
	target   time.Duration // its target duration

	started bool
	first   time.Time // when the first chunk came
	epoch   int       // of what goes out
	stuck   time.Time // since when some feed keeps the others in epoch; zero: none does
	resume  time.Time // when the first chunk of epoch is due; zero: when it has come
	jumped  time.Time // when the media after the last jump was due
	pace    pace
}

func newOutput(maxBytes int64) *output {
	return &output{
		maxBytes: maxBytes, changed: make(chan struct{}, 1), freed: make(chan struct{}),
		ahead: vodAhead,
	}
}

// feed returns a feed for another rendition. All are made ahead of send.
func (o *output) feed(index int) *feed {
	f := &feed{out: o, index: index}
	o.feeds = append(o.feeds, f)
	return f
}

func (o *output) setLive(distance, target time.Duration) {
	o.isLive = true
	o.distance, o.target = max(o.distance, distance), max(o.target, target)
	o.ahead = max(o.ahead, o.distance+3*o.target)
}

func (o *output) wake() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// send sends everything to b until all feeds have ended, ctx ends or b fails,
// and closes the Sinks.
func (o *output) send(ctx context.Context, b cmaf.Broadcast, log *slog.Logger) error {
	s := sender{b: b, log: log}
	defer s.close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		o.mu.Lock()
		step := o.next(time.Now())
		o.mu.Unlock()
		if err := s.do(step); err != nil {
			return err
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case step.done:
			return nil
		case step.again:
			continue
		}
		wait := time.Hour
		if !step.wake.IsZero() {
			wait = time.Until(step.wake)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-o.changed:
		case <-timer.C:
		}
	}
}

// A step is what next wants done.
type step struct {
	discontinuity string    // not empty: tell it first
	track         *outTrack // nil: nothing to do for a track
	item          item
	again         bool      // there is more to do at once
	done          bool      // all feeds have ended and nothing waits
	wake          time.Time // when there is something to do; zero: when something changes
}

// next returns what is to be done at now, with mu held.
func (o *output) next(now time.Time) step {
	if !o.started {
		if st, ok := o.gate(now); !ok {
			return st
		}
		o.started = true
	}
	if t := o.prelude(); t != nil {
		it := t.queue[0]
		t.pop()
		return step{track: t, item: it, again: true}
	}
	t := o.head()
	if t == nil {
		return o.advance(now)
	}
	o.stuck = time.Time{}
	it := t.queue[0]
	if !o.pace.set {
		o.pace.move(it.time(), later(o.resume, now), 1)
	}
	if it.jump != "" {
		t.queue[0].jump = ""
		if off := o.pace.due(it.time()).Sub(now); now.Sub(o.jumped) > jumpTogether || off.Abs() > jumpTogether {
			o.jumped = later(o.pace.due(o.pace.end), now)
			o.pace.move(it.time(), o.jumped, 1)
			o.pace.end = it.time()
			return step{discontinuity: it.jump, again: true}
		}
	}
	if at := o.pace.due(it.time()); now.Before(at) {
		return step{wake: at}
	} else if now.Sub(at) > lateBy && o.starved(t, now) {
		o.pace.move(it.time(), now, 1) // it came late, and so will all that follows
	}
	t.pop()
	o.release(&it)
	end := cmaf.Time{Ticks: it.chunk.End(), Scale: it.scale}
	if o.pace.end.Scale == 0 || o.pace.end.Before(end) {
		o.pace.end = end
	}
	o.steer(now, it.time())
	return step{track: t, item: it, again: true}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// release takes a chunk off what waits.
func (o *output) release(it *item) {
	o.bytes -= int64(len(it.chunk.Data))
	close(o.freed)
	o.freed = make(chan struct{})
}

// gate reports whether sending may start: every rendition has brought media,
// or was waited for long enough. If not, it says what to wait for.
func (o *output) gate(now time.Time) (step, bool) {
	all, some, ended := true, false, true
	for _, f := range o.feeds {
		has := false
		for _, t := range f.tracks {
			if it := t.firstChunk(); it != nil {
				if !some && !has || it.epoch < o.epoch {
					o.epoch = it.epoch
				}
				has = true
			}
		}
		some = some || has
		all = all && (has || f.ended)
		ended = ended && f.ended
	}
	if !some {
		return step{done: ended}, false
	}
	if o.first.IsZero() {
		o.first = now
	}
	at := o.first.Add(gateWait)
	return step{wake: at}, all || !now.Before(at)
}

// prelude returns a track whose queue begins with something other than a chunk
// of this epoch or, to be thrown away, with anything of one before.
func (o *output) prelude() *outTrack {
	for _, f := range o.feeds {
		for _, t := range f.tracks {
			for len(t.queue) > 0 && t.queue[0].isChunk() && t.queue[0].epoch < o.epoch {
				it := t.queue[0]
				t.pop()
				o.release(&it)
			}
			if len(t.queue) > 0 && !t.queue[0].isChunk() && t.queue[0].epoch <= o.epoch {
				return t
			}
		}
	}
	return nil
}

// head returns the track whose chunk of this epoch is the first in time.
func (o *output) head() *outTrack {
	var least *outTrack
	for _, f := range o.feeds {
		for _, t := range f.tracks {
			if len(t.queue) == 0 || t.queue[0].epoch != o.epoch {
				continue
			}
			if least == nil || t.queue[0].time().Before(least.queue[0].time()) {
				least = t
			}
		}
	}
	return least
}

// advance goes on to the next epoch when every feed has, or was waited for
// long enough.
func (o *output) advance(now time.Time) step {
	next := -1
	waiting := false
	reason := ""
	for _, f := range o.feeds {
		empty := true
		for _, t := range f.tracks {
			if len(t.queue) == 0 {
				continue
			}
			empty = false
			if it := &t.queue[0]; next < 0 || it.epoch < next {
				next, reason = it.epoch, it.reason
			}
		}
		waiting = waiting || empty && !f.ended
	}
	switch {
	case next < 0 && !waiting:
		return step{done: true}
	case next < 0:
		return step{}
	case waiting && o.stuck.IsZero():
		o.stuck = now
	}
	if at := o.stuck.Add(max(gateWait, 3*o.target)); waiting && now.Before(at) {
		return step{wake: at}
	}
	o.epoch, o.stuck = next, time.Time{}
	if o.pace.set {
		// The new times begin where the old ones end.
		o.resume, o.pace = o.pace.due(o.pace.end), pace{}
	}
	return step{discontinuity: reason, again: true}
}

// starved reports whether nothing else waits that is in time.
func (o *output) starved(late *outTrack, now time.Time) bool {
	for _, f := range o.feeds {
		for _, t := range f.tracks {
			if t != late && len(t.queue) > 0 && t.queue[0].epoch == o.epoch && t.queue[0].isChunk() &&
				now.Before(o.pace.due(t.queue[0].time())) {
				return false
			}
		}
	}
	return true
}

// steer sets the rate of a live presentation by how much of it waits. at is
// the time of the chunk that goes out now.
func (o *output) steer(now time.Time, at cmaf.Time) {
	if !o.isLive {
		return
	}
	var waits time.Duration
	for _, f := range o.feeds {
		for _, t := range f.tracks {
			if t.end.Scale != 0 && t.epoch == o.epoch {
				waits = max(waits, t.end.Sub(at).Duration())
			}
		}
	}
	rate := o.pace.rate
	switch {
	case waits > o.distance+o.target*3/2:
		rate = fastRate
	case waits < o.distance+o.target/2:
		rate = 1
	}
	if rate != o.pace.rate {
		o.pace.move(at, now, rate)
	}
}

// A sender does what next wants done, on one goroutine.
type sender struct {
	b      cmaf.Broadcast
	log    *slog.Logger
	tracks []*outTrack
	names  map[cmaf.Kind]int
}

func (s *sender) do(st step) error {
	if st.discontinuity != "" {
		s.log.Info("discontinuity", "reason", st.discontinuity)
		s.b.Discontinuity(st.discontinuity)
	}
	t, it := st.track, &st.item
	switch {
	case t == nil:
		return nil
	case it.closed:
		return s.closeTrack(t)
	case it.header != nil:
		return s.addTrack(t, *it.header)
	}
	if !it.wall.IsZero() {
		s.b.Anchor(cmaf.Time{Ticks: it.chunk.PTS(), Scale: it.scale}, it.wall)
	}
	for _, e := range it.events {
		if err := s.b.Event(e); err != nil {
			return err
		}
	}
	return t.sink.WriteChunk(it.chunk)
}

// addTrack gives t the header h. A track that is named so already keeps its
// name; others count by kind: video, video2, audio.
func (s *sender) addTrack(t *outTrack, h cmaf.Header) error {
	if t.sink != nil {
		if bytes.Equal(t.header.Init, h.Init) {
			return nil
		}
		if err := s.closeTrack(t); err != nil {
			return err
		}
	}
	if t.name == "" {
		if s.names == nil {
			s.names = make(map[cmaf.Kind]int)
		}
		s.names[h.Kind]++
		t.name = string(h.Kind)
		if n := s.names[h.Kind]; n > 1 {
			t.name = fmt.Sprintf("%s%d", h.Kind, n)
		}
		s.tracks = append(s.tracks, t)
	}
	sink, err := s.b.AddTrack(t.name, h)
	if err != nil {
		return err
	}
	s.log.Debug("track", "track", t.name, "codec", h.Codec)
	t.sink, t.header = sink, h
	return nil
}

func (s *sender) closeTrack(t *outTrack) error {
	if t.sink == nil {
		return nil
	}
	sink := t.sink
	t.sink = nil
	return sink.Close()
}

func (s *sender) close() {
	for _, t := range s.tracks {
		if err := s.closeTrack(t); err != nil {
			s.log.Debug("track not closed", "track", t.name, "err", err)
		}
	}
}
