package moqt

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// A stepper is what Step keeps between two calls.
type stepper struct {
	now   time.Time
	queue []event   // what would come from goroutines
	until time.Time // of the opening of our control stream
	open  bool      // it is open
	over  bool
	// egress is when that wants to go on.
	egress time.Time
	buf    []byte
}

// Step does what Run would do at now, as far as it goes without waiting, and
// returns when to do so again at the latest; zero means only when Pending says
// so, or something happens on the connection. It serves simulators: no goroutine
// runs and no clock is read, so that the same calls do the same. The session's
// Conn must not wait either: where another would, its methods return
// ErrWouldBlock, and OpenStream ErrStreamLimit.
//
// The error is the *SessionError for which the session has ended. Step must not
// be mixed with Run.
func (s *Session) Step(now time.Time) (next time.Time, err error) {
	d := s.drv
	if d.steps == nil {
		st := &stepper{now: now, until: now.Add(s.cfg.SetupTimeout), buf: make([]byte, readSize)}
		d.steps, d.now = st, func() time.Time { return st.now }
		d.begin()
	}
	st := d.steps
	st.now = now
	if st.over {
		return time.Time{}, s.err
	}
	if err := d.stepAll(); err != nil && (st.open || !errors.Is(err, ErrStreamLimit)) {
		d.do(s.core.handle(now, evLost{err}))
	}
	if s.core.err != nil {
		d.stepEnd()
		return time.Time{}, s.err
	}
	return d.stepNext(), nil
}

// Held reports whether a lock of the session is held, for simulators: neither the
// connection nor the application may be called meanwhile.
func (s *Session) Held() bool {
	if !s.mu.TryLock() {
		return true
	}
	s.mu.Unlock()
	e := s.drv.egress.Load()
	return e != nil && e.Held()
}

// Pending reports whether a call to the session, or something that happened to a
// track that it sends, waits for Step.
func (s *Session) Pending() bool {
	e := s.drv.egress.Load()
	return len(s.wake) > 0 || e != nil && e.Pending()
}

// stepAll goes on until there is nothing left to do now. The error is why the
// connection is gone.
func (d *driver) stepAll() error {
	s, st := d.s, d.steps
	if !st.open {
		if err := d.stepControl(); err != nil {
			return err
		}
	}
	for {
		if s.conn.Context().Err() != nil {
			return context.Cause(s.conn.Context())
		}
		select {
		case <-s.wake:
		default:
		}
		d.stepConn()
		d.stepPipes()
		d.stepUnis()
		busy := d.stepQueue()
		if at, ok := s.core.next(); ok && !at.After(st.now) {
			d.step(evTimer{})
			busy = true
		}
		var err error
		if e := d.egress.Load(); e != nil && s.core.err == nil {
			st.egress, err = e.Step(st.now)
		}
		if err != nil || s.core.err != nil || !busy && !s.Pending() {
			return err
		}
	}
}

// stepControl tries to open our control stream. ErrStreamLimit says that there is
// time to try again.
func (d *driver) stepControl() error {
	err := d.tryControl()
	if errors.Is(err, ErrStreamLimit) && !d.steps.now.Before(d.steps.until) {
		return errNoControl
	}
	d.steps.open = err == nil
	return err
}

// stepQueue hands over what has come, and what the application wants.
func (d *driver) stepQueue() (busy bool) {
	for {
		events := append(d.steps.queue, d.s.takeCalls()...)
		d.steps.queue = nil
		if len(events) == 0 {
			return busy
		}
		for _, ev := range events {
			d.step(ev)
		}
		busy = true
	}
}

// stepConn takes what the peer has opened and sent besides streams.
func (d *driver) stepConn() {
	ctx := context.Background()
	for {
		st, err := d.s.conn.AcceptStream(ctx)
		if err != nil {
			break
		}
		d.post(drvAccepted{st})
	}
	for {
		st, err := d.s.conn.AcceptUniStream(ctx)
		if err != nil {
			break
		}
		d.post(drvAcceptedUni{st})
	}
	for d.hearing {
		b, err := d.s.conn.ReceiveDatagram(ctx)
		if err != nil {
			break
		}
		d.post(evDatagram{b})
	}
	d.stepQueue()
}

// stepPipes does for each control and request stream what its goroutines would.
func (d *driver) stepPipes() {
	for _, sid := range slices.Sorted(maps.Keys(d.pipes)) {
		p := d.pipes[sid]
		if p.send == nil {
			d.stepOpen(p)
			continue
		}
		if code, ok := stopped(p.send.Context()); ok && !p.told {
			p.told = true
			d.post(evStopped{sid, code})
		}
		if p.recv != nil && !p.read {
			p.read = !errors.Is(d.read(sid, p.recv, d.steps.buf), ErrWouldBlock)
		}
		if p.busy {
			d.stepWrite(p)
		}
	}
}

// stepOpen tries to open a request stream.
func (d *driver) stepOpen(p *pipe) {
	if p.tried {
		return
	}
	st, err := d.s.conn.OpenStream(context.Background())
	if errors.Is(err, ErrStreamLimit) {
		if d.steps.now.Before(p.until) {
			return
		}
		err = context.DeadlineExceeded
	}
	p.tried = true
	d.post(drvOpened{p.sid, st, err})
}

// stepWrite goes on with what writeAside has left, as Write does: in pieces.
func (d *driver) stepWrite(p *pipe) {
	for n := len(p.aside); len(p.aside) > 0; {
		err := p.send.TryWrite(p.aside[:n])
		switch {
		case err == nil:
			p.aside = p.aside[n:]
			n = min(n, len(p.aside))
		case !errors.Is(err, ErrWouldBlock):
			d.post(drvWritten{p.sid, err})
			p.aside = nil
			return
		case n > 1:
			n /= 2
		case d.steps.now.Before(p.until):
			return
		default:
			d.post(drvWritten{p.sid, context.DeadlineExceeded})
			p.aside = nil
			return
		}
	}
	d.post(drvWritten{sid: p.sid})
}

// stepUnis reads the inbound unidirectional streams.
func (d *driver) stepUnis() {
	for _, sid := range slices.Sorted(maps.Keys(d.unis)) {
		u := d.unis[sid]
		if ev, err := d.readUni(u); err == nil {
			d.post(drvUniEnd{sid, ev})
		}
	}
}

// stepEnd ends what is open.
func (d *driver) stepEnd() {
	se := d.s.core.err
	_ = d.s.conn.CloseWithError(se.Code, se.Reason) // it may be closed already
	d.stepUnis()                                    // which cuts the groups that they fill
	if e := d.egress.Load(); e != nil {
		_, _ = e.Step(d.steps.now) // which resets its streams
	}
	d.steps.queue, d.steps.over = nil, true
	d.finish(se)
}

// stepNext returns when something is due.
func (d *driver) stepNext() time.Time {
	next := d.steps.egress
	earlier := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if !d.steps.open {
		earlier(d.steps.now.Add(controlRetry))
	}
	if at, ok := d.s.core.next(); ok {
		earlier(at)
	}
	for _, p := range d.pipes {
		if p.send == nil || p.busy {
			earlier(p.until)
		}
	}
	for _, u := range d.unis {
		if u.state == uniHeader {
			earlier(u.until)
		}
		if d.paced.Load() == uint64(u.sid) {
			earlier(d.steps.now.Add(paceCheck))
		}
		if u.w != nil && u.state == uniFill && u.w.Partial() {
			earlier(u.stalls)
		}
	}
	return next
}
