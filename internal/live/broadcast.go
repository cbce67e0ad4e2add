package live

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
)

// A broadcast is what the ingest feeds: it meters what comes, and passes it on
// unless the session's settings say otherwise. Its calls come from one
// goroutine at a time; the run's lock guards what others read.
type broadcast struct {
	*run
	out Output // the run's, for as long as the ingest feeds it
}

// SessionID implements ingest.Observer.
func (b *broadcast) SessionID() string { return b.rec.ID }

// Connected implements ingest.Observer.
func (b *broadcast) Connected(p ingest.Peer) {
	b.s.mu.Lock()
	b.s.add(b.place(), func(t *Totals) { t.Connections++ })
	b.s.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.run.connected(p, time.Now())
}

// Lost implements ingest.Observer.
func (b *broadcast) Lost() { b.setLost(true) }

// Resumed implements ingest.Observer.
func (b *broadcast) Resumed() { b.setLost(false) }

func (b *broadcast) setLost(lost bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = lost
}

// A liveTrack is one track of a session.
type liveTrack struct {
	meter
	schedule schedule
	name     string

	// Under the run's lock.
	waiting  bool // for a random access point, ahead of which nothing is passed on
	withheld bool // by the cap

	sink cmaf.Sink // viewers'; nil: they have no such track. The broadcast's goroutine only
}

// rate returns the bitrate that counts for the cap: what is measured, and
// before there is a measure what the input states.
func (t *liveTrack) rate() float64 {
	if b := t.bitrate(); b > 0 {
		return b
	}
	return float64(t.header.Bitrate)
}

// AddTrack implements cmaf.Broadcast.
func (b *broadcast) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	sink, err := b.out.AddTrack(name, h)
	if err != nil {
		return nil, err
	}
	t := &liveTrack{meter: meter{header: h}, name: name, sink: sink}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retire(func(o *liveTrack) bool { return o.name == name })
	t.waiting = b.settings.Paused
	b.tracks = append(b.tracks, t)
	b.choose(true)
	return &liveSink{b, t}, nil
}

// retire forgets tracks, but what they brought.
func (r *run) retire(which func(*liveTrack) bool) {
	r.tracks = slices.DeleteFunc(r.tracks, func(t *liveTrack) bool {
		if which(t) {
			r.retired = r.retired.plus(&t.meter)
			return true
		}
		return false
	})
}

// Event implements cmaf.Broadcast.
func (b *broadcast) Event(e cmaf.Event) error {
	b.mu.Lock()
	paused := b.settings.Paused
	b.mu.Unlock()
	if paused {
		return nil
	}
	return b.out.Event(e)
}

// Discontinuity implements cmaf.Broadcast.
func (b *broadcast) Discontinuity(reason string) {
	b.mu.Lock()
	b.jump()
	b.mu.Unlock()
	b.out.Discontinuity(reason)
}

// Anchor implements cmaf.Broadcast.
func (b *broadcast) Anchor(media cmaf.Time, wall time.Time) {
	b.mu.Lock()
	b.anchor = anchor{media.Duration(), wall, true}
	b.mu.Unlock()
	b.out.Anchor(media, wall)
}

// Close implements cmaf.Broadcast.
func (b *broadcast) Close(reason error) error {
	err := b.out.Close(reason)
	b.s.end(b.run, reason)
	return err
}

// A liveSink takes one track.
type liveSink struct {
	b *broadcast
	t *liveTrack
}

// WriteChunk implements cmaf.Sink.
func (s *liveSink) WriteChunk(c cmaf.Chunk) error {
	pass := s.b.take(s.t, c)
	switch {
	case !pass:
		return s.withdraw()
	case s.t.sink == nil:
		sink, err := s.b.out.AddTrack(s.t.name, s.t.header)
		if err != nil {
			return err
		}
		s.t.sink = sink
	}
	err := s.t.sink.WriteChunk(c)
	s.b.aged(s.t, c)
	return err
}

// withdraw takes a track from the viewers that the cap withholds. One of a session
// that is paused stays: it goes on in a moment.
func (s *liveSink) withdraw() error {
	s.b.mu.Lock()
	withheld := s.t.withheld
	s.b.mu.Unlock()
	if !withheld || s.t.sink == nil {
		return nil
	}
	sink := s.t.sink
	s.t.sink = nil
	return sink.Close()
}

// take measures a chunk and says whether viewers get it.
func (r *run) take(t *liveTrack, c cmaf.Chunk) (pass bool) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	a := t.add(now, c)
	r.observe(now, Lateness, t.schedule.late(now, a.offset))
	switch {
	case r.settings.Paused:
		t.waiting = true
		return false
	case t.withheld:
		t.waiting = true
		return false
	case !t.waiting:
		return true
	case t.header.Kind == cmaf.KindVideo:
		t.waiting = !c.RAP
	default:
		t.waiting = r.held() // sound without its picture would run ahead of it
	}
	return !t.waiting
}

// held reports whether all video that is passed on waits for a random access
// point.
func (r *run) held() bool {
	some := false
	for _, t := range r.tracks {
		if t.header.Kind != cmaf.KindVideo || t.withheld {
			continue
		}
		if !t.waiting {
			return false
		}
		some = true
	}
	return some
}

// aged measures how old a chunk is that viewers may have now.
func (r *run) aged(t *liveTrack, c cmaf.Chunk) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(c.Samples); r.anchor.known && n > 0 && t.header.Kind == cmaf.KindVideo {
		last := cmaf.Time{Ticks: c.End() - int64(c.Samples[n-1].Duration), Scale: t.header.Timescale}
		d := now.Sub(r.anchor.wall.Add(last.Duration() - r.anchor.media))
		if d > -time.Minute && d < time.Hour { // else the producer's clock is not ours
			r.glass, r.hasGlass = max(d, 0), true
			r.observe(now, GlassToPublish, d)
		}
	}
}

// Close implements cmaf.Sink.
func (s *liveSink) Close() error {
	s.b.mu.Lock()
	s.b.retire(func(t *liveTrack) bool { return t == s.t })
	s.b.mu.Unlock()
	if s.t.sink == nil {
		return nil
	}
	return s.t.sink.Close()
}
