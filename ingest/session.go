package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A session is one run of an input. Its mutex also makes calls on the
// broadcast come from one goroutine at a time.
type session struct {
	r    *Registry
	name string

	mu       sync.Mutex
	b        cmaf.Broadcast // nil until the first AddTrack succeeded
	observer Observer       // b, if it is one
	since    time.Time
	owner    *Conn     // the connection that feeds it, or did last
	deadline time.Time // when it ends unless its input goes on; zero: it does
	tracks   map[string]*sessionTrack
	turn     uint64  // counts changes between the input and its backup
	backup   *backup // nil: it has none
	ended    bool
}

// A sessionTrack outlives the connections that feed it.
type sessionTrack struct {
	name   string
	header cmaf.Header
	sink   cmaf.Sink
	end    cmaf.Time // where its last chunk ended, on its connection's timeline
	began  cmaf.Time // where the first since the last Pause began
	feeder *trackSink
	idle   time.Time // since when nothing feeds it; zero: something does
}

// trackIdle is how long a track may be without a feeder while others have one,
// as between the requests that bring the headers of several renditions.
const trackIdle = 2 * time.Second

// slack is how far a new connection's first chunk may be from the end of what
// came before and still continue its timeline, without a discontinuity.
const slack = time.Second

// acquire makes c the owner.
func (s *session) acquire(c *Conn) error {
	if s.owner == c {
		return nil
	}
	switch {
	case s.owner == nil:
	case s.deadline.IsZero() && c.limits.Takeover == TakeoverRefuse:
		return ErrBusy
	case !s.deadline.IsZero():
		c.log.Info("input returned")
		s.owner.fail(ErrReplaced)
	default:
		s.r.metrics.takeovers.Inc()
		s.owner.log.Info("input replaced by a newer connection")
		s.owner.fail(ErrReplaced)
	}
	s.r.metrics.connections.Inc()
	s.owner, s.deadline = c, time.Time{}
	if s.observer != nil {
		c.log = bindLog(c.log, s.observer)
		s.observer.Connected(c.peer)
	}
	now := time.Now()
	for _, t := range s.tracks {
		t.drop(now)
	}
	return nil
}

// resume ends the wait for what comes next.
func (s *session) resume() {
	if s.deadline.IsZero() {
		return
	}
	s.deadline = time.Time{}
	if s.observer != nil {
		s.observer.Resumed()
	}
}

func (t *sessionTrack) drop(now time.Time) {
	t.feeder = nil
	if t.idle.IsZero() {
		t.idle = now
	}
}

// addTrack gives the feeder a track: the one that is there when it has the
// same header, else a new one.
func (s *session) addTrack(f *trackSink, name string, h cmaf.Header) error {
	if t := s.tracks[name]; t != nil {
		if bytes.Equal(t.header.Init, h.Init) {
			f.t, t.feeder, t.idle = t, f, time.Time{}
			return nil
		}
		delete(s.tracks, name)
		if err := t.sink.Close(); err != nil {
			return err
		}
	}
	most := s.r.cfg.MaxTracks
	if n := f.c.limits.MaxTracks; n > 0 {
		most = min(most, n)
	}
	if len(s.tracks) >= most {
		return fmt.Errorf("%w: at most %d", ErrTooManyTracks, most)
	}
	sink, err := s.b.AddTrack(name, h)
	if err != nil {
		return err
	}
	f.t = &sessionTrack{name: name, header: h, sink: sink, feeder: f}
	s.tracks[name] = f.t
	return nil
}

// sweep closes the tracks that nobody has fed for a while.
func (s *session) sweep(now time.Time) error {
	for name, t := range s.tracks {
		if !t.idle.IsZero() && now.Sub(t.idle) > trackIdle {
			delete(s.tracks, name)
			if err := t.sink.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// end closes the broadcast. A nil reason is an end that was asked for.
func (s *session) end(reason error) {
	if s.ended {
		return
	}
	s.ended = true
	if s.owner != nil {
		if errors.Is(reason, ErrBitrate) {
			s.owner.fail(reason)
		}
		s.owner.fail(ErrEnded)
		s.owner = nil
	}
	defer s.r.remove(s) // last: the next of this name begins when this one has ended
	if s.b == nil {
		return
	}
	log := bindLog(s.r.cfg.Log, s.b).With("broadcast", s.name)
	for _, t := range s.tracks {
		if err := t.sink.Close(); err != nil {
			log.Warn("track not closed", "track", t.name, "err", err)
		}
	}
	clear(s.tracks)
	if err := s.b.Close(reason); err != nil {
		log.Warn("broadcast not closed", "err", err)
	}
	log.Info("broadcast ended", "after", time.Since(s.since).Round(time.Millisecond), "reason", reason)
}

// open makes the broadcast if there is none yet.
func (s *session) open(ctx context.Context, c *Conn) error {
	if s.b != nil {
		return nil
	}
	b, err := s.r.cfg.Opener.Open(ctx, s.name, c.peer)
	if err != nil {
		s.end(err)
		return fmt.Errorf("ingest: open %q: %w", s.name, err)
	}
	s.b, s.since = b, time.Now()
	s.observer, _ = b.(Observer)
	c.log = bindLog(c.log, b)
	s.backUp(c)
	return nil
}
