package relay

import (
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// Step does what Run would do at now, without waiting, and returns when to do so
// again at the latest; zero means only when Pending says so. It serves
// simulators: no goroutine runs and no clock is read, so that the same calls do
// the same. Sessions are then those of Enter. Step must not be mixed with Run.
func (r *Relay) Step(now time.Time) (next time.Time) {
	for {
		select {
		case <-r.wake:
		default:
		}
		next = r.turn(now)
		if !r.Pending() {
			return next
		}
	}
}

// Pending reports whether something has happened that Step would look at.
func (r *Relay) Pending() bool { return len(r.wake) > 0 }

// Shut ends a relay that was driven by Step, as the end of Run does.
func (r *Relay) Shut() { r.close() }

// turn does what is due at now, and returns when something is due again; zero if
// nothing is.
func (r *Relay) turn(now time.Time) time.Time {
	for _, step := range r.drain() {
		r.perform(step(now))
	}
	r.perform(r.core.expire(now))
	r.metrics.observe(r.core)
	next, _ := r.core.next()
	return next
}

// A Member is a session of a relay that its owner steps.
type Member struct {
	p    *peer
	left bool
}

// Enter is Serve for a session that is driven by Step.
func (r *Relay) Enter(conn moqt.Conn) (*Member, error) {
	p, err := r.enter(conn)
	if err != nil {
		return nil, err
	}
	return &Member{p: p}, nil
}

// Session returns the session.
func (m *Member) Session() *moqt.Session { return m.p.s }

// Step is that of the session, and of the relay's watch on it.
func (m *Member) Step(now time.Time) (next time.Time, err error) {
	for {
		next, err = m.p.s.Step(now)
		if err != nil {
			if !m.left {
				m.left = true
				m.p.leave()
			}
			return next, err
		}
		if at := m.p.guard.look(now); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		if !m.Pending() {
			return next, nil
		}
	}
}

// Pending is that of the session.
func (m *Member) Pending() bool { return m.p.s.Pending() }

// Held reports whether a lock of the relay or the session is held: none may be
// where a connection or an Authorizer is called.
func (m *Member) Held() bool {
	r := m.p.r
	if !r.mu.TryLock() {
		return true
	}
	r.mu.Unlock()
	return m.p.s != nil && m.p.s.Held()
}

// DrainAsync is Drain by steps. It returns at once; Step does the rest.
func (r *Relay) DrainAsync(uri string, timeout time.Duration) {
	r.post(func(now time.Time) []action {
		d := &draining{uri: uri, until: now.Add(timeout), timeout: timeout}
		r.dismiss(now, d, r.depart(d))
		var look timer
		look.Do = func(at time.Time) {
			if at.Before(d.until.Add(drainPulse)) && (at.Sub(now) < settled || r.core.readers > 0) {
				r.core.timers.Set(&look, at.Add(drainPulse))
				return
			}
			r.evict()
		}
		r.core.timers.Set(&look, now.Add(drainPulse))
		return nil
	})
}

// AnnounceAsync is Announce without the wait: the namespace is published as soon
// as the relay has taken the call.
func (r *Relay) AnnounceAsync(ns track.Namespace, src track.Source) (withdraw func()) {
	return r.announce(&source{ns: ns, local: src, routable: true}, func() {})
}

// SubscribeAsync is Subscribe without the wait: started is called once, from the
// relay's loop, and must not block. cancel gives up a subscription that has not
// started; one that has is closed by its Close.
func (r *Relay) SubscribeAsync(name track.Name, started func(*track.Subscription, error)) (cancel func()) {
	sub := &asyncSubscriber{started: started}
	sub.leave = func() {
		r.post(func(now time.Time) []action { return r.core.unsubscribe(now, name, sub) })
	}
	r.post(func(now time.Time) []action { return r.core.subscribe(now, name, sub, 0) })
	return sub.leave
}
