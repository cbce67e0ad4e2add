package moqt

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An egress writes all subgroup streams of one connection. run drives it, in
// one goroutine; add and the handles' methods may be called from any.
//
// What to do next is decided by egressCore. The egress executes that on the
// Conn and feeds back how it went.
type egress struct {
	conn    Conn
	log     *slog.Logger
	metrics *egressMetrics
	core    *egressCore // run's goroutine only

	wake  chan struct{}                      // one slot
	dirty atomic.Pointer[egressSubscription] // a stack of those to look at

	mu     sync.Mutex
	calls  []egressEvent // add, update and remove, for run to take
	closed bool          // run has returned
}

// newEgress makes the scheduler for conn. A nil metrics counts nothing.
func newEgress(conn Conn, cfg EgressConfig, log *slog.Logger, metrics *egressMetrics) *egress {
	return &egress{
		conn: conn, log: log, metrics: metrics,
		core: newEgressCore(cfg),
		wake: make(chan struct{}, 1),
	}
}

// An egressSub is what a subscriber gets of a track.
type egressSub struct {
	alias    uint64
	track    *track.Track
	start    track.Location // nothing before it is sent
	endGroup uint64         // nor after this group; 2^64-1: open-ended
	priority uint8          // the subscriber's, lower first
	order    track.GroupOrder
	forward  bool
	// onDone is called once, in run's goroutine, when no stream will be opened
	// any more and all are closed: the track has ended, the end group has
	// passed, the subscriber has stalled, or remove was called. streams is how
	// many were opened. It must not block. It is not called once run returns.
	onDone func(code wire.PublishDoneCode, reason string, streams uint64)
}

// An egressHandle controls a subscription that the egress serves.
type egressHandle struct {
	e   *egress
	sub *egressSubscription
}

// add starts to serve sub.
func (e *egress) add(sub egressSub) *egressHandle {
	s := newEgressSubscription(e, sub)
	e.call(egressEvent{kind: egressAdded, sub: s})
	return &egressHandle{e: e, sub: s}
}

// update changes what the subscriber gets: start, endGroup, priority and
// forward of u; the rest is ignored. Where forward goes from false to true, the
// subgroups that were held are entered at the new start.
func (h *egressHandle) update(u egressSub) {
	h.e.call(egressEvent{kind: egressUpdated, sub: h.sub, update: u})
}

// remove ends the subscription: its streams are reset with code.
func (h *egressHandle) remove(code wire.ResetCode) {
	h.e.call(egressEvent{kind: egressRemoved, sub: h.sub, code: code})
}

func (e *egress) call(ev egressEvent) {
	e.mu.Lock()
	if !e.closed {
		e.calls = append(e.calls, ev)
	}
	e.mu.Unlock()
	e.signal()
}

// signal wakes run. It is the one way in which run is woken.
func (e *egress) signal() {
	select {
	case e.wake <- struct{}{}:
	default: // run has yet to take the last one, and will look at everything
	}
}

// push puts s onto the stack of subscriptions to look at. The caller has just
// set s.dirty, so s is on it once at most.
func (e *egress) push(s *egressSubscription) {
	for {
		head := e.dirty.Load()
		s.below = head
		if e.dirty.CompareAndSwap(head, s) {
			break
		}
	}
	e.signal()
}

// run writes until ctx ends or the connection does, and says which: it never
// returns nil. It waits only for its one signal, and for a timer while it has
// data that the transport would not take.
func (e *egress) run(ctx context.Context) error {
	defer e.shutdown()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for {
		e.take()
		deadline, err := e.work()
		if err != nil {
			return err
		}
		var tick <-chan time.Time
		if !deadline.IsZero() {
			timer.Reset(time.Until(deadline))
			tick = timer.C
		}
		select {
		case <-e.wake:
		case <-tick:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-e.conn.Context().Done():
			return context.Cause(e.conn.Context())
		}
		timer.Stop()
	}
}

// take hands the core everything that came in.
func (e *egress) take() {
	e.mu.Lock()
	calls := e.calls
	e.calls = nil
	e.mu.Unlock()
	now := time.Now()
	for _, ev := range calls {
		if ev.kind == egressAdded {
			// Attach first: what is committed from here on is notified, what was
			// before, the core sees.
			ev.sub.detach = ev.sub.cfg.track.Attach(ev.sub)
		}
		e.core.handle(now, ev)
	}
	for s := e.dirty.Swap(nil); s != nil; {
		// s may be pushed again as soon as its flag is clear: read below before,
		// look at the track after.
		below := s.below
		s.below = nil
		s.dirty.Store(false)
		e.core.handle(now, egressEvent{kind: egressDirty, sub: s})
		s = below
	}
	e.core.handle(now, egressEvent{kind: egressMeasured, stats: e.conn.Stats()})
}

// work does what the core says until there is nothing left to do, and returns
// when to come back; zero means only when woken.
func (e *egress) work() (deadline time.Time, err error) {
	defer e.count()
	for {
		now := time.Now()
		a := e.core.next(now)
		if a.op == egressSleep {
			return a.until, nil
		}
		if err := e.do(now, a); err != nil {
			return time.Time{}, err
		}
		// Something better may have come meanwhile.
		if a.op == egressWrite && e.dirty.Load() != nil {
			e.take()
		}
	}
}

// do executes one action.
func (e *egress) do(now time.Time, a egressAction) error {
	switch a.op {
	case egressOpen:
		out, err := e.conn.OpenUniStream()
		result, err := e.result(err)
		if err != nil {
			return err
		}
		a.stream.out = out
		e.core.handle(now, egressEvent{kind: egressOpened, stream: a.stream, result: result})
	case egressWrite:
		result, err := e.result(a.stream.out.TryWrite(a.data))
		if err != nil {
			return err
		}
		if a.boundary && result == egressOK {
			a.stream.out.SetReliableBoundary()
		}
		e.core.handle(now, egressEvent{kind: egressWrote, stream: a.stream, result: result, n: len(a.data)})
	case egressRank:
		a.stream.out.SetPriority(a.urgency, false)
	case egressFin:
		if _, err := e.result(a.stream.out.Close()); err != nil {
			return err
		}
	case egressReset:
		a.stream.out.CancelWrite(a.code)
	case egressDone:
		a.sub.detach()
		a.sub.cfg.onDone(a.doneCode, a.reason, a.streams)
	}
	return nil
}

// result tells what the transport did from what ends the connection.
func (e *egress) result(err error) (egressResult, error) {
	if err == nil {
		return egressOK, nil
	}
	if errors.Is(err, ErrWouldBlock) || errors.Is(err, ErrStreamLimit) {
		return egressBlocked, nil
	}
	if _, ok := errors.AsType[*StreamError](err); ok {
		return egressStopped, nil
	}
	return 0, err
}

// shutdown resets what is open and lets go of the tracks.
func (e *egress) shutdown() {
	e.mu.Lock()
	e.closed, e.calls = true, nil
	e.mu.Unlock()
	for a, ok := e.core.dequeue(); ok; a, ok = e.core.dequeue() {
		switch a.op {
		case egressFin, egressReset:
			a.stream.out.CancelWrite(wire.ResetSessionClosed)
		case egressDone:
			a.sub.detach()
		}
	}
	for _, s := range e.core.subs {
		s.detach()
		for _, st := range s.streams {
			if st.state == egressStreaming {
				st.out.CancelWrite(wire.ResetSessionClosed)
			}
		}
	}
	e.count()
}

// count moves the core's counts to the metrics.
func (e *egress) count() {
	e.metrics.add(e.core.counts)
	e.core.counts = egressCounts{}
}
