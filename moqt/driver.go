package moqt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/moqt/egress"
	"github.com/broadcastd/broadcastd/moqt/track"
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
	d := s.drv
	d.ctx, d.cancel = context.WithCancelCause(context.Background())
	d.begin()
	if err := d.openControl(ctx); err == nil {
		stop := context.AfterFunc(ctx, func() { s.call(evClose{wire.SessionNoError, "shutting down"}) })
		d.spawn(d.acceptUniStreams)
		s.loopFrom()
		d.acceptStreams()
		d.await()
		stop()
	} else {
		d.do(s.core.handle(d.now(), evLost{err}))
		d.close()
	}
	d.wg.Wait()
	se := s.core.err
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

// do carries out actions in order.
func (d *driver) do(acts []action) {
	for _, a := range acts {
		switch a := a.(type) {
		case actOpen:
			d.open(a.sid, a.wait)
		case actWrite:
			d.write(a)
		case actFin:
			if p := d.pipes[a.sid]; p != nil {
				p.fin = true
				d.flush(p)
			}
		case actReset:
			if p := d.pipes[a.sid]; p != nil {
				p.reset(a.code)
			}
		case actStop:
			d.stop(a)
		case actForget:
			d.forget(a.sid)
		case actBind:
			d.bind(a)
		case actFill:
			if u := d.unis[a.sid]; u != nil {
				u.verdict <- verdict{sink: a.sink}
			}
		default:
			d.tell(a)
		}
	}
	d.hear()
	d.measure()
}

// sender returns the egress, which starts when there is something to serve.
func (d *driver) sender() *egress.Scheduler {
	if e := d.egress.Load(); e != nil {
		return e
	}
	e := egress.New(d.s.conn, d.s.cfg.Egress, d.s.cfg.Log, d.s.met.egress)
	d.egress.Store(e)
	if d.steps == nil {
		d.spawn(func() {
			if err := e.Run(d.ctx); d.ctx.Err() == nil {
				d.post(evLost{err})
			}
		})
	}
	return e
}

// hear has datagrams read from the first track on that we ask for or are offered.
// What comes before waits with the transport, which holds a bounded number.
func (d *driver) hear() {
	if d.hearing || !d.s.core.receives() {
		return
	}
	d.hearing = true
	if d.steps == nil {
		d.spawn(d.readDatagrams)
	}
}

// measure tells the gauges what has changed.
func (d *driver) measure() {
	if l := d.s.core.load(); l != d.load {
		d.s.met.measure(d.load, l)
		d.load = l
	}
}

// tell carries out the actions that concern the application and the egress.
func (d *driver) tell(a action) {
	s := d.s
	switch a := a.(type) {
	case actServe:
		sid := a.sid
		a.d.OnDone = func(code wire.PublishDoneCode, reason string, streams uint64) {
			s.call(evServed{sid, code, reason, streams})
		}
		d.serves[sid] = d.sender().Add(a.d)
	case actServeUpdate:
		if h := d.serves[a.sid]; h != nil {
			h.Update(a.d)
		}
	case actServeStop:
		if h := d.serves[a.sid]; h != nil {
			delete(d.serves, a.sid)
			h.Remove(a.code)
		}
	case actServeFetch:
		sid := a.sid
		a.f.OnDone = func(ok bool, code wire.ResetCode) { s.call(evFetched{sid, ok, code}) }
		d.fetches[sid] = d.sender().AddFetch(a.f)
	case actServeFetchUpdate:
		if h := d.fetches[a.sid]; h != nil {
			h.Update(a.priority)
		}
	case actServeFetchStop:
		if h := d.fetches[a.sid]; h != nil {
			delete(d.fetches, a.sid)
			h.Remove(a.code)
		}
	case actCall:
		a.f()
	case actAsk:
		d.ask(a)
	case actOver:
		a.req.finish(a.cause)
	case actReply:
		a.to <- a.r
	case actStarted:
		if a.err != nil {
			a.f(nil, a.err)
		} else {
			a.f(track.NewHeldSubscription(a.t, a.hold), nil)
		}
	case actAskUpdate:
		d.consents = append(d.consents, a.ask())
	case actTold:
		_ = a.f(a.params)
	case actNewGroup:
		a.t.RequestGroup(a.n)
	case actBlocked:
		a.f(a.name)
	case actMoved:
		a.f(a.uri, a.timeout)
	case actUpdated:
		a.f(a.r, a.err)
	case actExpires:
		a.hold.setExpires(a.at)
	case actEndTrack:
		a.t.End(a.code, a.reason)
	case actTell:
		a.f(a.err)
	case actReady:
		s.peer = a.setup
		close(s.ready)
		s.cfg.Log.Debug("session ready", "implementation", a.setup.Implementation)
	case actDrain:
		s.goaway = a.goaway
		close(s.drain)
	case actNotice:
		if a.err != nil {
			a.queue.end(a.err)
		} else {
			a.queue.put(a.ev)
		}
	case actCount:
		s.met.counted.WithLabelValues(a.kind, a.outcome).Inc()
	case actClose:
		// Run closes the connection as soon as the loop returns.
	}
}

// ask hands a request of the peer to the source or the handler that answers it.
func (d *driver) ask(a actAsk) {
	h := d.s.cfg.Handler
	switch r := a.req.(type) {
	case *SubscribeRequest:
		r.s = d.s
		if a.src == nil {
			h.HandleSubscribe(r)
		} else if t, ok := a.src.Track(r.Name.Name); ok {
			r.Accept(t)
		} else {
			r.Reject(wire.RequestDoesNotExist, "no such track")
		}
	case *FetchRequest:
		r.s = d.s
		if a.src == nil {
			h.HandleFetch(r)
		} else if t, ok := a.src.Track(r.Name.Name); ok {
			r.Serve(t)
		} else {
			r.Reject(wire.RequestDoesNotExist, "no such track")
		}
	case *TrackStatusRequest:
		r.s = d.s
		if a.src == nil {
			h.HandleTrackStatus(r)
		} else if t, ok := a.src.Track(r.Name.Name); ok {
			r.Serve(t)
		} else {
			r.Reject(wire.RequestDoesNotExist, "no such track")
		}
	case *PublishRequest:
		r.s, r.hold.s, r.hold.sid = d.s, d.s, r.sid
		h.HandlePublish(r)
	case *SubscribeTracksRequest:
		r.s = d.s
		h.HandleSubscribeTracks(r)
	case *PublishNamespaceRequest:
		r.s = d.s
		h.HandlePublishNamespace(r)
	case *SubscribeNamespaceRequest:
		r.s = d.s
		h.HandleSubscribeNamespace(r)
	}
}

// spawn runs f in a goroutine that Run waits for.
func (d *driver) spawn(f func()) { d.wg.Go(f) }

// post hands ev to the loop. It reports false once the session is over.
func (d *driver) post(ev event) bool {
	if d.steps != nil {
		d.steps.queue = append(d.steps.queue, ev)
		return true
	}
	select {
	case d.events <- ev:
		d.s.nudge()
		return true
	case <-d.ctx.Done():
		return false
	}
}

func (d *driver) acceptStreams() {
	for {
		st, err := d.s.conn.AcceptStream(d.ctx)
		if err != nil || !d.post(drvAccepted{st}) {
			return // the connection's context tells
		}
	}
}

func (d *driver) acceptUniStreams() {
	for {
		st, err := d.s.conn.AcceptUniStream(d.ctx)
		if err != nil || !d.post(drvAcceptedUni{st}) {
			return
		}
	}
}

func (d *driver) readDatagrams() {
	for {
		b, err := d.s.conn.ReceiveDatagram(d.ctx)
		if err != nil || !d.post(evDatagram{b}) {
			return
		}
	}
}

// read passes on what comes on a request or control stream, in pieces of buf. It
// returns why that is over, or ErrWouldBlock where Read does not wait.
func (d *driver) read(sid streamID, recv ReceiveStream, buf []byte) error {
	for {
		n, err := recv.Read(buf)
		if n > 0 && !d.post(evBytes{sid, bytes.Clone(buf[:n])}) {
			return io.EOF // the loop is over
		}
		if errors.Is(err, io.EOF) {
			d.post(evFin{sid})
		}
		if se, ok := errors.AsType[*StreamError](err); ok && se.Remote {
			d.post(evReset{sid, se.Code})
		}
		if err != nil {
			return err
		}
	}
}

// How much is read at a time of a request stream, whose first message is the
// largest, and of the control stream, whose reader mostly waits.
const (
	readSize        = 1 << 10
	controlReadSize = 256
)
