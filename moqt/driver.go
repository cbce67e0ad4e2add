package moqt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/moqt/egress"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A driver runs one session's core: it turns what the connection does into
// events and carries out the actions. All its fields but events belong to the
// loop; readers run in goroutines of their own. Under Step there are none: what
// they would wait for is looked at in turn.
type driver struct {
	s      *Session
	now    func() time.Time
	steps  *stepper        // of Step; nil under Run
	ctx    context.Context // of the readers
	wg     sync.WaitGroup
	events chan event // from the readers

	lastSID streamID
	pipes   map[streamID]*pipe
	unis    map[streamID]*uni
	egress  *egress.Scheduler
	serves  map[streamID]*egress.Handle
	load    load // that the gauges were told
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
		events:  make(chan event, 64),
		pipes:   make(map[streamID]*pipe),
		unis:    make(map[streamID]*uni),
		serves:  make(map[streamID]*egress.Handle),
		fetches: make(map[streamID]*egress.FetchHandle),
		egress:  egress.New(s.conn, s.cfg.Egress, s.cfg.Log, s.met.egress),
	}
}

// Run serves the session until ctx ends, the peer leaves or a protocol error
// closes it. It is called once, and returns after every goroutine that it
// started: nil when the peer left cleanly, context.Cause(ctx) when ctx ended,
// else the *SessionError.
func (s *Session) Run(ctx context.Context) error {
	d := s.drv
	rctx, cancel := context.WithCancelCause(context.Background())
	d.ctx = rctx
	d.begin()
	err := d.openControl(ctx)
	if err == nil {
		d.spawn(d.acceptStreams)
		d.spawn(d.acceptUniStreams)
		d.spawn(d.readDatagrams)
		d.spawn(func() {
			if err := d.egress.Run(rctx); rctx.Err() == nil {
				d.post(evLost{err})
			}
		})
		d.loop(ctx)
	} else {
		d.do(s.core.handle(d.now(), evLost{err}))
	}
	se := s.core.err
	_ = s.conn.CloseWithError(se.Code, se.Reason) // unblocks every read; it may be closed already
	cancel(se)
	d.wg.Wait()
	d.finish(se)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case se.Code == wire.SessionNoError && se.Err == nil:
		return nil
	}
	return se
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

// loop drives the core until the session is over.
func (d *driver) loop(ctx context.Context) {
	s := d.s
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for _, ev := range s.takeCalls() {
			d.step(ev)
		}
		if s.core.err != nil {
			return
		}
		wait := time.Hour
		if at, ok := s.core.next(); ok {
			wait = time.Until(at)
		}
		timer.Reset(wait)
		select {
		case ev := <-d.events:
			d.step(ev)
		case <-s.wake:
		case <-timer.C:
			d.step(evTimer{})
		case <-s.conn.Context().Done():
			d.step(evLost{context.Cause(s.conn.Context())})
		case <-ctx.Done():
			d.step(evClose{wire.SessionNoError, "shutting down"})
		}
	}
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
	d.measure()
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
		d.serves[sid] = d.egress.Add(a.d)
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
		d.fetches[sid] = d.egress.AddFetch(a.f)
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
		return true
	case <-d.ctx.Done():
		return false
	}
}

func (d *driver) acceptStreams() {
	for {
		st, err := d.s.conn.AcceptStream(d.ctx)
		if err != nil || !d.post(drvAccepted{st}) {
			return // the connection's context ends the loop
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

// readSize is how much of a control or request stream is read at a time.
const readSize = 1 << 10
