package moqt

import (
	"github.com/broadcastd/broadcastd/moqt/egress"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// This file carries out what the core wants done.

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
