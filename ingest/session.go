package ingest

import (
	"bytes"
	"context"
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
	since    time.Time
	owner    *Conn     // the connection that feeds it, or did last
	deadline time.Time // when it ends unless its input goes on; zero: it does
	tracks   map[string]*sessionTrack
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
func (s *session) acquire(c *Conn) {
	if s.owner == c {
		return
	}
	s.r.metrics.connections.Inc()
	switch {
	case s.owner == nil:
	case !s.deadline.IsZero():
		c.log.Info("input returned")
		s.owner.fail(ErrReplaced)
	default:
		s.r.metrics.takeovers.Inc()
		s.owner.log.Info("input replaced by a newer connection")
		s.owner.fail(ErrReplaced)
	}
	s.owner, s.deadline = c, time.Time{}
	now := time.Now()
	for _, t := range s.tracks {
		t.drop(now)
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
	if len(s.tracks) >= s.r.cfg.MaxTracks {
		return fmt.Errorf("%w: at most %d", ErrTooManyTracks, s.r.cfg.MaxTracks)
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
		s.owner.fail(ErrEnded)
		s.owner = nil
	}
	s.r.remove(s)
	if s.b == nil {
		return
	}
	for _, t := range s.tracks {
		if err := t.sink.Close(); err != nil {
			s.r.cfg.Log.Warn("track not closed", "broadcast", s.name, "track", t.name, "err", err)
		}
	}
	clear(s.tracks)
	if err := s.b.Close(reason); err != nil {
		s.r.cfg.Log.Warn("broadcast not closed", "broadcast", s.name, "err", err)
	}
	s.r.cfg.Log.Info("broadcast ended", "broadcast", s.name, "after", time.Since(s.since).Round(time.Millisecond), "reason", reason)
}

// open makes the broadcast if there is none yet.
func (s *session) open(ctx context.Context) error {
	if s.b != nil {
		return nil
	}
	b, err := s.r.cfg.Opener.Open(ctx, s.name)
	if err != nil {
		s.end(err)
		return fmt.Errorf("ingest: open %q: %w", s.name, err)
	}
	s.b, s.since = b, time.Now()
	return nil
}
