package moqt

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/moqt/egress"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A driver runs one session's core: it turns what the connection does into
// events and carries out the actions. All its fields but events belong to the
// loop; readers run in goroutines of their own. Under Step there are none: what
// they would wait for is looked at in turn.
//
// Most sessions of a relay wait, and what waits costs a stack. So the loop runs
// only while there is something to do, and what a session may never need is
// started when it does: the egress, and the reader of datagrams.
type driver struct {
	s      *Session
	now    func() time.Time
	steps  *stepper        // of Step; nil under Run
	ctx    context.Context // of the readers
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	events chan event // from the readers

	timer *time.Timer // wakes the loop at due
	due   time.Time

	hearing bool // datagrams are read

	lastSID streamID
	pipes   map[streamID]*pipe
	unis    map[streamID]*uni
	egress  atomic.Pointer[egress.Scheduler] // nil until there is something to serve
	serves  map[streamID]*egress.Handle
	load    load // that the gauges were told
	// paced is the stream that is held up, 0 for none; readers' goroutines set it.
	paced atomic.Uint64
	// consents are what was said to updates. The core hears of them before it
	// hears anything that was said since.
	consents []evUpdateAnswer
	fetches  map[streamID]*egress.FetchHandle // of the peer's FETCHes
}

// What the driver tells itself.
type (
	drvAccepted    struct{ stream Stream }
	drvAcceptedUni struct{ recv ReceiveStream }
	drvOpened      struct {
		sid    streamID
		stream Stream
		err    error
	}
	drvWritten struct {
		sid streamID
		err error
	}
	// drvUniEnd: a reader has returned; ev, unless nil, is for the core.
	drvUniEnd struct {
		sid streamID
		ev  event
	}
)

func newDriver(s *Session) *driver {
	return &driver{
		s:       s,
		now:     time.Now,
		events:  make(chan event, maxPosted),
		pipes:   make(map[streamID]*pipe),
		unis:    make(map[streamID]*uni),
		serves:  make(map[streamID]*egress.Handle),
		fetches: make(map[streamID]*egress.FetchHandle),
	}
}

// maxPosted is how many events of readers wait for the loop. Then the readers do.
const maxPosted = 8

// Run serves the session until ctx ends, the peer leaves or a protocol error
// closes it. It is called once, and returns after every goroutine that it
// started: nil when the peer left cleanly, context.Cause(ctx) when ctx ended,
// else the *SessionError.
func (s *Session) Run(ctx context.Context) error {
	if stop, ok := s.drv.start(ctx); ok {
		s.drv.acceptStreams() // for most of a session's life
		stop()
	}
	return s.drv.end(ctx)
}

// start opens the session and starts what reads it, but for the streams that the
// peer opens. It reports whether there is something to read, and what stop does:
// it returns when the session is over.
//
// It is apart from Run, as is end: what they need would stay on the stack below
// acceptStreams, and the collector halves a stack only if less than a quarter is
// in use.
//
//go:noinline
func (d *driver) start(ctx context.Context) (stop func(), ok bool) {
	d.ctx, d.cancel = context.WithCancelCause(context.Background())
	d.begin()
	if err := d.openControl(ctx); err != nil {
		d.do(d.s.core.handle(d.now(), evLost{err}))
		d.close()
		return nil, false
	}
	release := context.AfterFunc(ctx, func() { d.s.call(evClose{wire.SessionNoError, "shutting down"}) })
	d.spawn(d.acceptUniStreams)
	d.s.loopFrom()
	return func() {
		d.await()
		release()
	}, true
}

// end waits for all that Run started, and returns what Run does.
//
//go:noinline
func (d *driver) end(ctx context.Context) error {
	d.wg.Wait()
	se := d.s.core.err
	d.finish(se)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case se.Code == wire.SessionNoError && se.Err == nil:
		return nil
	}
	return se
}

// close ends the connection of a session that is over, and all that reads it.
func (d *driver) close() {
	se := d.s.core.err
	_ = d.s.conn.CloseWithError(se.Code, se.Reason) // unblocks every read; it may be closed already
	d.cancel(se)
}

// await returns when the session is over, or the loop knows that the connection
// is.
func (d *driver) await() {
	select {
	case <-d.ctx.Done():
	case <-d.s.conn.Context().Done():
		d.s.call(evLost{context.Cause(d.s.conn.Context())})
	}
}

// begin takes note that the session runs.
func (d *driver) begin() {
	d.s.met.opened.Inc()
	d.s.met.open.WithLabelValues(kindSession).Inc()
}

// finish tells that the session is over, for which se is the reason.
func (d *driver) finish(se *SessionError) {
	s := d.s
	s.mu.Lock()
	s.err, s.closed = se, true
	late := s.calls
	s.calls = nil
	s.mu.Unlock()
	for _, ev := range late {
		d.do(s.core.handle(d.now(), ev))
	}
	d.measure()
	s.met.open.WithLabelValues(kindSession).Dec()
	close(s.done)
	s.met.closed.WithLabelValues(s.met.code(se)).Inc()
	s.cfg.Log.Info("session ended", "err", se)
}

// controlRetry is how soon the opening of our control stream is tried again.
const controlRetry = 5 * time.Millisecond

// openControl opens our control stream, before any other. The peer may not have
// granted a stream yet.
func (d *driver) openControl(ctx context.Context) error {
	deadline := time.NewTimer(d.s.cfg.SetupTimeout)
	defer deadline.Stop()
	for {
		if err := d.tryControl(); !errors.Is(err, ErrStreamLimit) {
			return err
		}
		retry := time.NewTimer(controlRetry)
		select {
		case <-retry.C:
		case <-deadline.C:
			return errNoControl
		case <-ctx.Done():
			return &SessionError{Code: wire.SessionNoError, Reason: "shutting down"}
		case <-d.s.conn.Context().Done():
			return context.Cause(d.s.conn.Context())
		}
	}
}

var errNoControl = closing(wire.SessionControlMessageTimeout, "the peer grants no control stream")

func (d *driver) tryControl() error {
	send, err := d.s.conn.OpenUniStream()
	if err != nil {
		return err
	}
	send.SetPriority(0, false) // ahead of everything else (section 7.2)
	d.pipes[ownControl] = newPipe(ownControl, send, nil)
	d.watch(d.pipes[ownControl])
	d.do(d.s.core.start(d.now()))
	return nil
}

// loop drives the core until there is nothing left to do, or the session is over.
// Whoever has something new then starts it again.
func (d *driver) loop() {
	defer d.wg.Done()
	s := d.s
	for {
		for _, ev := range s.takeCalls() {
			d.step(ev)
		}
		if s.core.err != nil {
			if d.timer != nil {
				d.timer.Stop()
			}
			d.close()
			return
		}
		at, ok := s.core.next()
		if ok && time.Until(at) <= 0 {
			d.step(evTimer{})
			continue
		}
		select {
		case ev := <-d.events:
			d.step(ev)
			continue
		default:
		}
		d.arm(at)
		if s.rest() {
			return
		}
	}
}

// arm has the loop wake at at, never if that is zero.
func (d *driver) arm(at time.Time) {
	switch {
	case at.Equal(d.due):
		return
	case at.IsZero():
		d.timer.Stop()
	case d.timer == nil:
		d.timer = time.AfterFunc(time.Until(at), d.s.nudge)
	default:
		d.timer.Reset(time.Until(at))
	}
	d.due = at
}

// step takes one event, of the core or of the driver itself.
func (d *driver) step(ev event) {
	switch e := ev.(type) {
	case drvAccepted:
		p := newPipe(d.newSID(), e.stream, e.stream)
		d.pipes[p.sid] = p
		ev = evOpened{p.sid}
		d.attach(p)
	case drvAcceptedUni:
		d.accepted(e.recv)
		return
	case drvOpened:
		p := d.pipes[e.sid]
		switch {
		case p == nil && e.err == nil: // cancelled meanwhile
			e.stream.CancelWrite(wire.ResetCancelled)
			e.stream.CancelRead(wire.ResetCancelled)
			return
		case p == nil:
			return
		case e.err == nil:
			p.send, p.recv = e.stream, e.stream
			d.handle(evStarted{e.sid})
			d.attach(p)
			d.flush(p)
			return
		}
		ev = evFailed{e.sid, e.err}
	case drvWritten:
		ev = d.written(e)
	case drvUniEnd:
		delete(d.unis, e.sid)
		ev = e.ev
	}
	if ev != nil {
		d.handle(ev)
	}
}

// handle has the core take an event, and what is said to updates that it brings.
func (d *driver) handle(ev event) {
	d.do(d.s.core.handle(d.now(), ev))
	for len(d.consents) > 0 {
		next := d.consents[0]
		d.consents = d.consents[1:]
		d.do(d.s.core.handle(d.now(), next))
	}
}

func (d *driver) newSID() streamID {
	d.lastSID++
	return d.lastSID
}
