package relay

import (
	"slices"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An audience counts which sessions subscribe to tracks of which namespace.
type audience struct {
	mu      sync.Mutex
	readers map[wire.Namespace]map[*peer]int
}

// enter counts a subscription of p; leave is its end.
func (a *audience) enter(ns wire.Namespace, p *peer) (leave func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.readers == nil {
		a.readers = make(map[wire.Namespace]map[*peer]int)
	}
	of := a.readers[ns]
	if of == nil {
		of = make(map[*peer]int)
		a.readers[ns] = of
	}
	of[p]++
	return func() { a.leave(ns, p) }
}

func (a *audience) leave(ns wire.Namespace, p *peer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	of := a.readers[ns]
	if of[p]--; of[p] <= 0 {
		delete(of, p)
	}
	if len(of) == 0 {
		delete(a.readers, ns)
	}
}

// reads counts a subscription of p among the readers, unless the track is a
// listing.
func (p *peer) reads(name wire.FullTrackName) (leave func()) {
	if slices.Contains(p.r.cfg.Listings, name.Name) {
		return func() {}
	}
	return p.r.audience.enter(name.Namespace, p)
}

// Readers returns how many sessions subscribe to tracks of each namespace, those
// that wait for a publisher included. Config.Listings do not count.
func (r *Relay) Readers() map[wire.Namespace]int {
	r.audience.mu.Lock()
	defer r.audience.mu.Unlock()
	out := make(map[wire.Namespace]int, len(r.audience.readers))
	for ns, of := range r.audience.readers {
		out[ns] = len(of)
	}
	return out
}

// Publisher returns the connection of the newest session that publishes ns, if
// one does.
func (r *Relay) Publisher(ns wire.Namespace) (moqt.Conn, bool) {
	ch := make(chan moqt.Conn, 1)
	r.post(func(time.Time) []action {
		ch <- r.core.publisher(ns)
		return nil
	})
	select {
	case c := <-ch:
		return c, c != nil
	case <-r.done:
		return nil, false
	}
}

func (c *core) publisher(ns wire.Namespace) moqt.Conn {
	for _, s := range slices.Backward(c.publishing(ns)) {
		if !s.lost() {
			return s.peer.s.Conn()
		}
	}
	return nil
}

// publishing returns the sessions' sources of ns itself.
func (c *core) publishing(ns wire.Namespace) []*source {
	sp := c.spaces[ns]
	if sp == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(sp.sources), func(s *source) bool { return s.peer == nil })
}

// Pause has the sessions that publish ns send no objects, with Forward State 0
// (section 9.2), or go on. Subscriptions stay as they are. A publisher that does not
// know REQUEST_UPDATE goes on all the same.
func (r *Relay) Pause(ns wire.Namespace, paused bool) {
	r.post(func(time.Time) []action { return r.core.pause(ns, paused) })
}

func (c *core) pause(ns wire.Namespace, paused bool) []action {
	if paused == c.paused[ns] {
		return c.take()
	}
	if paused {
		c.paused[ns] = true
	} else {
		delete(c.paused, ns)
	}
	for _, e := range c.under(ns) {
		if e.name.Namespace != ns {
			continue
		}
		for _, l := range e.links {
			if l.up == nil || l.paused == paused || !paused && !e.wanted() {
				continue
			}
			l.paused = paused
			c.do(actUpdate{up: l.up, forward: new(!paused)})
		}
	}
	return c.take()
}

// Evict closes the sessions that publish ns. What they published is withdrawn at
// once: its viewers are told that it has ended.
func (r *Relay) Evict(ns wire.Namespace, reason string) {
	r.post(func(now time.Time) []action {
		var acts []action
		for _, s := range r.core.publishing(ns) {
			acts = append(acts, r.core.withdraw(now, s)...)
			s.peer.s.Close(wire.SessionNoError, reason)
		}
		delete(r.core.paused, ns)
		for _, e := range r.core.under(ns) {
			if e.track != nil && e.name.Namespace == ns {
				r.core.end(now, e, wire.PublishDoneTrackEnded, reason)
			}
		}
		return append(acts, r.core.take()...)
	})
}
