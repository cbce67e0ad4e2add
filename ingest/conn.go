package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A Conn is one connection of an input. It is a cmaf.Broadcast, which its
// input feeds; several goroutines may call it. Pause it when nothing comes, Close
// it when nothing will.
type Conn struct {
	r      *Registry
	name   string
	peer   Peer
	limits Limits

	mu sync.Mutex // guards s; the session's own mutex guards all else
	s  *session

	// Under the session's mutex.
	log    *slog.Logger
	rate   rateLimit
	fresh  bool      // nothing was written yet
	video  bool      // it has added a track with pictures
	jumped time.Time // when Discontinuity was last passed on

	once sync.Once
	err  error         // why it failed; set before done is closed
	done chan struct{} // closed when the session has no use for it any more
}

// Done is closed when the connection was replaced or its session ended. Err
// then says which.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns ErrReplaced or ErrEnded once Done is closed.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

func (c *Conn) fail(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.done)
	})
}

// AddTrack implements cmaf.Broadcast. The first call takes the session over
// from whoever had it. A track with the same name and header continues.
func (c *Conn) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	s, err := c.lockOrJoin()
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	begun := s.b == nil
	if err := s.open(context.Background(), c); err != nil {
		return nil, err
	}
	s.resume()
	c.video = c.video || h.Kind == cmaf.KindVideo
	f := &trackSink{c: c, name: name, header: h, turn: s.turn - 1}
	if !s.backedUp() { // else it has its track when the session comes back to it
		if err := s.bind(f); err != nil {
			return nil, err
		}
	}
	if begun {
		c.log.Info("broadcast began")
	}
	c.log.Debug("track", "track", name, "codec", h.Codec)
	return f, nil
}

// lockOrJoin returns the connection's session, locked and owned by it.
func (c *Conn) lockOrJoin() (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.s != nil {
		return c.s, c.lock()
	}
	if err := c.Err(); err != nil {
		return nil, err
	}
	s, err := c.r.session(c.name)
	if err != nil {
		return nil, err
	}
	if err := s.acquire(c); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	c.s, c.fresh = s, true
	return s, nil
}

// lock locks the session, or says why the connection no longer has it.
func (c *Conn) lock() error {
	c.s.mu.Lock()
	if c.s.owner == c {
		return nil
	}
	c.s.mu.Unlock()
	if err := c.Err(); err != nil {
		return err
	}
	return ErrEnded // Close was called
}

// locked calls f with the session locked, if the connection has one.
func (c *Conn) locked(f func(*session) error) error {
	c.mu.Lock()
	s := c.s
	c.mu.Unlock()
	if s == nil {
		return c.Err()
	}
	if err := c.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return f(s)
}

// Event implements cmaf.Broadcast. Before the first track there is nobody to
// tell, and it does nothing.
func (c *Conn) Event(e cmaf.Event) error {
	err := c.locked(func(s *session) error {
		if s.backedUp() {
			return nil
		}
		return s.b.Event(e)
	})
	c.r.forOthers(c.name, func(s *session) {
		if s.backedUp() {
			s.b.Event(e) //nolint:errcheck // the other session's own calls tell
		}
	})
	return err
}

// Discontinuity implements cmaf.Broadcast. Renditions that come in bodies of
// their own each find that their times jump; the first one tells for all.
func (c *Conn) Discontinuity(reason string) {
	told := false
	c.locked(func(s *session) error { //nolint:errcheck // the next chunk tells
		c.fresh = false
		if now := time.Now(); now.Sub(c.jumped) > jumpTogether {
			c.jumped, told = now, true
			if !s.backedUp() {
				s.b.Discontinuity(reason)
			}
		}
		return nil
	})
	if told {
		c.tellOthers(reason)
	}
}

// tellOthers passes a discontinuity on to the sessions that this input backs up.
func (c *Conn) tellOthers(reason string) {
	c.r.forOthers(c.name, func(s *session) {
		if s.backedUp() {
			s.b.Discontinuity(reason)
		}
	})
}

// jumpTogether is how far apart the tracks of one input notice the same jump.
const jumpTogether = 2 * time.Second

// Anchor implements cmaf.Broadcast.
func (c *Conn) Anchor(media cmaf.Time, wall time.Time) {
	c.locked(func(s *session) error { //nolint:errcheck // the next chunk tells
		if !s.backedUp() {
			s.b.Anchor(media, wall)
		}
		return nil
	})
	c.r.forOthers(c.name, func(s *session) {
		if s.backedUp() {
			s.b.Anchor(media, wall)
		}
	})
}

// Close implements cmaf.Broadcast: it ends the session without a grace. A nil
// reason is a planned end.
func (c *Conn) Close(reason error) error {
	err := c.locked(func(s *session) error {
		s.end(reason)
		return nil
	})
	c.fail(ErrEnded)
	return err
}

// Pause says that nothing comes for now, because the connection broke or a
// request ended. The session waits, for the grace and extra, for this Conn to
// go on or for another one; then it ends. An encoder that sends a request per
// segment is not late before its next segment is due, which is what extra is
// for. A connection that was replaced, or that never had a track, changes nothing.
func (c *Conn) Pause(extra time.Duration) {
	c.locked(func(s *session) error { //nolint:errcheck // replaced: nothing to do
		c.log.Debug("input paused", "grace", s.r.cfg.Grace+extra)
		if s.observer != nil && s.deadline.IsZero() {
			s.observer.Lost()
		}
		now := time.Now()
		s.deadline = now.Add(s.r.cfg.Grace + extra + s.patience(now))
		for _, t := range s.tracks {
			t.began = cmaf.Time{}
		}
		s.r.nudge()
		return nil
	})
}

// Media returns how much media was written since the last Pause, of the track
// that has most.
func (c *Conn) Media() (longest time.Duration) {
	c.locked(func(s *session) error { //nolint:errcheck // then it is nothing
		for _, t := range s.tracks {
			if t.began.Scale != 0 {
				longest = max(longest, t.end.Sub(t.began).Duration())
			}
		}
		return nil
	})
	return longest
}

// A trackSink feeds one track of the session from one connection.
type trackSink struct {
	c      *Conn
	name   string
	header cmaf.Header
	turn   uint64        // the session's, when it had its track; see session.bind
	t      *sessionTrack // nil: it never had
}

// WriteChunk implements cmaf.Sink.
func (f *trackSink) WriteChunk(ch cmaf.Chunk) error {
	if err := f.c.lock(); err != nil {
		return err
	}
	jumped, err := f.write(ch)
	f.c.s.mu.Unlock()
	if err != nil {
		return err
	}
	if jumped {
		f.c.tellOthers(newConnection)
	}
	f.c.r.forOthers(f.c.name, func(s *session) { s.other(f.name, f.header, ch) })
	return nil
}

const newConnection = "a new connection of the input"

// write hands ch on, with the session locked. It says whether times jump with it.
func (f *trackSink) write(ch cmaf.Chunk) (jumped bool, err error) {
	s, now := f.c.s, time.Now()
	if f.turn == s.turn && f.t.feeder != f {
		return false, ErrReplaced // another Sink of the same connection took the track
	}
	if !f.c.rate.take(now, len(ch.Data)) {
		err := fmt.Errorf("%w: more than %d bit/s", ErrBitrate, f.c.rate.bits)
		s.end(err)
		return false, err
	}
	s.resume()
	if !s.mine(f, ch, now) {
		return false, nil
	}
	if err := s.bind(f); err != nil {
		return false, err
	}
	if f.c.fresh {
		f.c.fresh = false
		if jumped = !f.t.continues(ch); jumped {
			f.c.jumped = now
			s.b.Discontinuity(newConnection)
		}
	}
	return jumped, s.put(f.t, ch, now)
}

// put hands ch on to its track.
func (s *session) put(t *sessionTrack, ch cmaf.Chunk, now time.Time) error {
	if err := s.sweep(now); err != nil {
		return err
	}
	t.end = cmaf.Time{Ticks: ch.End(), Scale: t.header.Timescale}
	if t.began.Scale == 0 {
		t.began = cmaf.Time{Ticks: ch.DecodeTime, Scale: t.header.Timescale}
	}
	return t.sink.WriteChunk(ch)
}

// continues reports whether ch follows what came before on the same timeline.
// A track that is new is no reason to doubt that.
func (t *sessionTrack) continues(ch cmaf.Chunk) bool {
	if t.end.Scale == 0 {
		return true
	}
	gap := cmaf.Time{Ticks: ch.DecodeTime, Scale: t.header.Timescale}.Sub(t.end).Duration()
	return gap >= 0 && gap <= slack
}

// Close implements cmaf.Sink. The track itself stays for a moment, in case it
// is added again.
func (f *trackSink) Close() error {
	if err := f.c.lock(); err != nil {
		return nil // the session closes its own tracks
	}
	defer f.c.s.mu.Unlock()
	if f.t != nil && f.t.feeder == f {
		f.t.drop(time.Now())
	}
	return nil
}

// SessionID returns the id of the session that the connection has joined, empty
// if there is none or it has no name.
func (c *Conn) SessionID() string {
	c.mu.Lock()
	s := c.s
	c.mu.Unlock()
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.observer == nil {
		return ""
	}
	return s.observer.SessionID()
}

// Joined reports whether the connection has had a track, and so the session.
func (c *Conn) Joined() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.s != nil
}
