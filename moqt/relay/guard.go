package relay

import (
	"context"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A session that is refused is closed when it has had an answer that says so,
// and time to read it, since a close overtakes what streams carry. The first
// request may take refusalWait.
const (
	refusalWait   = time.Second
	refusalLinger = 200 * time.Millisecond
)

// A guard admits a session when its SETUP has come, and closes it when it is
// refused or its permit ends. It is a step function, which run drives.
type guard struct {
	p      *peer
	state  guardState
	permit Permit      // of one that was admitted
	due    time.Time   // of a refused one: when it is closed
	stop   func() bool // of what waits for the permit to end
}

type guardState uint8

const (
	guardSetup    guardState = iota // waits for SETUP
	guardAdmitted                   // until the permit ends
	guardRefused                    // until a request was answered
	guardTold                       // until the answer was read
	guardClosed                     // nothing is left to do
)

// look does what is due at now, and returns when to look again at the latest;
// zero means only when changed says so.
func (g *guard) look(now time.Time) (next time.Time) {
	p := g.p
	if g.state == guardSetup && over(p.s.Ready()) {
		var err error
		g.state = guardAdmitted
		if g.permit, err = p.admit(); err != nil {
			g.state, g.due = guardRefused, now.Add(refusalWait)
		} else {
			p.r.admitted(now, p)
		}
	}
	if g.state == guardRefused && over(p.told) {
		g.state, g.due = guardTold, now.Add(refusalLinger)
	}
	switch {
	case g.state == guardAdmitted && g.permit.Context().Err() != nil:
		p.s.Close(wire.SessionUnauthorized, context.Cause(g.permit.Context()).Error())
		g.state = guardClosed
	case g.state != guardRefused && g.state != guardTold:
	case now.Before(g.due):
		return g.due
	default:
		p.s.Close(wire.SessionUnauthorized, shown(p.refusal))
		g.state = guardClosed
	}
	return time.Time{}
}

// changed is closed when there is something new to look at.
func (g *guard) changed() <-chan struct{} {
	switch g.state {
	case guardSetup:
		return g.p.s.Ready()
	case guardRefused:
		return g.p.told
	}
	return nil
}

// run returns when the session has ended, or is left to stand guard by itself:
// most permits never end, and a session that waits should cost no goroutine for it.
func (g *guard) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var tick <-chan time.Time
		if next := g.look(time.Now()); !next.IsZero() {
			timer.Reset(time.Until(next))
			tick = timer.C
		}
		if g.state == guardAdmitted {
			if ctx := g.permit.Context(); ctx.Done() != nil {
				g.stop = context.AfterFunc(ctx, func() { g.look(time.Now()) })
			}
			return
		}
		select {
		case <-g.changed():
		case <-tick:
		case <-g.p.s.Done():
			return
		}
	}
}

// close lets go of the permit.
func (g *guard) close() {
	if g.stop != nil {
		g.stop()
	}
	if g.permit != nil {
		g.permit.Close()
	}
}

// over reports whether done is closed.
func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
