package sim

import (
	"time"
)

// answered holds that a request was answered in time (I8). Where the relay has
// to ask a publisher, or was asked to wait for one, that adds to it.
func (sc *scene) answered(name, what string, r *request) {
	c := r.cl.c
	bound := max(r.slack, c.slack()) + 3*connect + grace + 2*time.Second
	if took := sc.w.now.Sub(c.sendable(r.since)); took > bound {
		sc.w.fail("I8 control", "%s: %s was answered after %v, want %v", name, what, took, bound)
	}
}

// updated holds that a REQUEST_UPDATE was answered in time (I8): nobody else has
// to be asked.
func (sc *scene) updated(v *viewer, u update) {
	bound := max(u.slack, v.cl.c.slack())
	if took := sc.w.now.Sub(v.cl.c.sendable(u.since)); took > bound {
		sc.w.fail("I8 control", "%s: REQUEST_UPDATE was answered after %v, want %v", v.name, took, bound)
	}
}

// sendable returns from when on the relay could answer what c asked at since.
func (c *conn) sendable(since time.Time) time.Time {
	if at := c.peer.creditAt; at.After(since) {
		return at
	}
	return since
}

// slack returns how long a message and its answer may take on a connection: two
// round trips, the packets that are under way at the moment, what is sent again,
// and what was done to the connection.
func (c *conn) slack() time.Duration {
	d := 20*time.Millisecond + c.excused
	for _, l := range []*link{c.out, c.peer.out} {
		packet := time.Duration(float64(packetSize+signalSize) / float64(l.cfg.rate) * float64(time.Second))
		d += 2*l.cfg.delay + 2*l.cfg.jitter + 8*packet
		if l.cfg.loss > 0 {
			d += 8 * (3*l.cfg.delay + 10*time.Millisecond)
		}
	}
	return d
}
