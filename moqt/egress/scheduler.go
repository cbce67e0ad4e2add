package egress

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An egress writes all subgroup streams of one connection. run drives it, in
// one goroutine; add and the handles' methods may be called from any.
//
// What to do next is decided by core. The egress executes that on the
// Conn and feeds back how it went.
type Scheduler struct {
	conn    conn.Conn
	log     *slog.Logger
	metrics *Metrics
	core    *core // run's goroutine only
	now     func() time.Time

	wake  chan struct{}                // one slot
	dirty atomic.Pointer[subscription] // a stack of those to look at

	mu     sync.Mutex
	calls  []event // add, update and remove, for run to take
	closed bool    // run has returned
}

// New makes the scheduler for conn. A nil metrics counts nothing.
func New(conn conn.Conn, cfg Config, log *slog.Logger, metrics *Metrics) *Scheduler {
	return &Scheduler{
		conn: conn, log: log, metrics: metrics,
		core: newCore(cfg),
		now:  time.Now,
		wake: make(chan struct{}, 1),
	}
}

// An Sub is what a subscriber gets of a track.
type Sub struct {
	Alias    uint64
	Track    *track.Track
	Start    track.Location // nothing before it is sent
	EndGroup uint64         // nor after this group; 2^64-1: open-ended
	Priority uint8          // the subscriber's, lower first
	Order    track.GroupOrder
	Forward  bool
	// OnDone is called once, in run's goroutine, when no stream will be opened
	// any more and all are closed: the track has ended, the end group has
	// passed, the subscriber has stalled, or remove was called. streams is how
	// many were opened. It must not block. It is not called once run returns.
	OnDone func(code wire.PublishDoneCode, reason string, streams uint64)
}

// A Handle controls a subscription that the egress serves.
type Handle struct {
	e   *Scheduler
	sub *subscription
}

// Add starts to serve sub.
func (e *Scheduler) Add(sub Sub) *Handle {
	s := newSubscription(e, sub)
	e.call(event{kind: evAdded, sub: s})
	return &Handle{e: e, sub: s}
}

// Update changes what the subscriber gets: start, endGroup, priority and
// forward of u; the rest is ignored. Where forward goes from false to true, the
// subgroups that were held are entered at the new start.
func (h *Handle) Update(u Sub) {
	h.e.call(event{kind: evUpdated, sub: h.sub, update: u})
}

// Remove ends the subscription: its streams are reset with code.
func (h *Handle) Remove(code wire.ResetCode) {
	h.e.call(event{kind: evRemoved, sub: h.sub, code: code})
}

func (e *Scheduler) call(ev event) {
	e.mu.Lock()
	if !e.closed {
		e.calls = append(e.calls, ev)
	}
	e.mu.Unlock()
	e.signal()
}

// signal wakes run. It is the one way in which run is woken.
func (e *Scheduler) signal() {
	select {
	case e.wake <- struct{}{}:
	default: // run has yet to take the last one, and will look at everything
	}
}

// push puts s onto the stack of subscriptions to look at. The caller has just
// set s.dirty, so s is on it once at most.
func (e *Scheduler) push(s *subscription) {
	for {
		head := e.dirty.Load()
		s.below = head
		if e.dirty.CompareAndSwap(head, s) {
			break
		}
	}
	e.signal()
}

// Run writes until ctx ends or the connection does, and says which: it never
// returns nil. It waits only for its one signal, and for a timer while it has
// data that the transport would not take.
func (e *Scheduler) Run(ctx context.Context) error {
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

// Step does what Run would do at now, without waiting, and returns when to do so
// again at the latest; zero means only when Pending says so. It serves
// simulators, and must not be mixed with Run. When the connection has ended it
// lets go of everything and returns why.
func (e *Scheduler) Step(now time.Time) (next time.Time, err error) {
	if err := context.Cause(e.conn.Context()); err != nil {
		e.shutdown()
		return time.Time{}, err
	}
	e.now = func() time.Time { return now }
	select {
	case <-e.wake:
	default:
	}
	e.take()
	if next, err = e.work(); err != nil {
		e.shutdown()
	}
	return next, err
}

// Pending reports whether something has happened that Step would look at.
func (e *Scheduler) Pending() bool { return len(e.wake) > 0 }

// take hands the core everything that came in.
func (e *Scheduler) take() {
	e.mu.Lock()
	calls := e.calls
	e.calls = nil
	e.mu.Unlock()
	now := e.now()
	for _, ev := range calls {
		if ev.kind == evAdded {
			// Attach first: what is committed from here on is notified, what was
			// before, the core sees.
			ev.sub.detach = ev.sub.cfg.Track.Attach(ev.sub)
		}
		e.core.handle(now, ev)
	}
	for s := e.dirty.Swap(nil); s != nil; {
		// s may be pushed again as soon as its flag is clear: read below before,
		// look at the track after.
		below := s.below
		s.below = nil
		s.dirty.Store(false)
		e.core.handle(now, event{kind: evDirty, sub: s})
		s = below
	}
	e.core.handle(now, event{kind: evMeasured, stats: e.conn.Stats()})
}

// work does what the core says until there is nothing left to do, and returns
// when to come back; zero means only when woken.
func (e *Scheduler) work() (deadline time.Time, err error) {
	defer e.count()
	for {
		now := e.now()
		a := e.core.next(now)
		if a.op == opSleep {
			return a.until, nil
		}
		if err := e.do(now, a); err != nil {
			return time.Time{}, err
		}
		// Something better may have come meanwhile.
		if a.op == opWrite && e.dirty.Load() != nil {
			e.take()
		}
	}
}

// do executes one action.
func (e *Scheduler) do(now time.Time, a action) error {
	switch a.op {
	case opOpen:
		out, err := e.conn.OpenUniStream()
		result, err := e.result(err)
		if err != nil {
			return err
		}
		a.stream.out = out
		e.core.handle(now, event{kind: evOpened, stream: a.stream, result: result})
	case opWrite:
		result, err := e.result(a.stream.out.TryWrite(a.data))
		if err != nil {
			return err
		}
		if a.boundary && result == resultOK {
			a.stream.out.SetReliableBoundary()
		}
		e.core.handle(now, event{kind: evWrote, stream: a.stream, result: result, n: len(a.data)})
	case opRank:
		a.stream.out.SetPriority(a.urgency, false)
	case opFin:
		if _, err := e.result(a.stream.out.Close()); err != nil {
			return err
		}
	case opReset:
		a.stream.out.CancelWrite(a.code)
	case opDone:
		a.sub.detach()
		a.sub.cfg.OnDone(a.doneCode, a.reason, a.streams)
	}
	return nil
}

// result tells what the transport did from what ends the connection.
func (e *Scheduler) result(err error) (result, error) {
	if err == nil {
		return resultOK, nil
	}
	if errors.Is(err, conn.ErrWouldBlock) || errors.Is(err, conn.ErrStreamLimit) {
		return resultBlocked, nil
	}
	if _, ok := errors.AsType[*conn.StreamError](err); ok {
		return resultStopped, nil
	}
	return 0, err
}

// shutdown resets what is open and lets go of the tracks.
func (e *Scheduler) shutdown() {
	e.mu.Lock()
	e.closed, e.calls = true, nil
	e.mu.Unlock()
	for a, ok := e.core.dequeue(); ok; a, ok = e.core.dequeue() {
		switch a.op {
		case opFin, opReset:
			a.stream.out.CancelWrite(wire.ResetSessionClosed)
		case opDone:
			a.sub.detach()
		}
	}
	for _, s := range e.core.subs {
		s.detach()
		for _, st := range s.streams {
			if st.state == streaming {
				st.out.CancelWrite(wire.ResetSessionClosed)
			}
		}
	}
	e.count()
}

// count moves the core's counts to the metrics.
func (e *Scheduler) count() {
	e.metrics.add(e.core.counts)
	e.core.counts = counts{}
}
