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

// A Scheduler writes all data streams and datagrams of one connection. Run drives
// it, in one goroutine; every other method may be called from any.
//
// What to do next is decided by core. The Scheduler executes that on the Conn and
// feeds back how it went.
type Scheduler struct {
	conn    conn.Conn
	log     *slog.Logger
	metrics *Metrics
	core    *core    // Run's goroutine only, as is shown
	shown   Estimate // what estimate is

	wake  chan struct{}                // one slot
	dirty atomic.Pointer[subscription] // a stack of those to look at

	mu       sync.Mutex
	calls    []event // Add, Update and Remove, for Run to take
	closed   bool    // Run has returned
	estimate Estimate
}

// New makes the scheduler for conn. A nil metrics counts nothing.
func New(conn conn.Conn, cfg Config, log *slog.Logger, metrics *Metrics) *Scheduler {
	return &Scheduler{
		conn: conn, log: log, metrics: metrics,
		core: newCore(cfg),
		wake: make(chan struct{}, 1),
	}
}

// A Sub is what a subscriber gets of a track.
type Sub struct {
	Alias    uint64
	Track    *track.Track
	Start    track.Location // nothing before it is sent
	EndGroup uint64         // nor after this group; 2^64-1: open-ended
	Priority uint8          // the subscriber's, lower first
	Order    track.GroupOrder
	Forward  bool
	// ObjectTimeout is how long after its first byte arrived an object may
	// still be handed to the transport (OBJECT_DELIVERY_TIMEOUT, section 8);
	// then its stream is reset with DELIVERY_TIMEOUT, and its subgroup is not
	// sent again. For what was published before the subscription began, it
	// counts from then. Zero: no timeout.
	ObjectTimeout time.Duration
	// SubgroupTimeout is how long after a subgroup is complete its stream may
	// take (SUBGROUP_DELIVERY_TIMEOUT, section 8); then the stream is reset with
	// DELIVERY_TIMEOUT, also after its FIN. Transports do not tell what was
	// acknowledged. A stream counts as delivered, and is let be, once all of it
	// has left and then, for four round trips, the peer was heard and no packet
	// was lost; a reset that comes too late is one that the peer ignores. Zero:
	// no timeout.
	SubgroupTimeout time.Duration
	// OnDone is called once, in Run's goroutine, when no stream will be opened
	// any more and all are closed: the track has ended, the end group has
	// passed, the subscriber has stalled, or Remove was called. streams is how
	// many were opened. It must not block. It is not called once Run returns.
	OnDone func(code wire.PublishDoneCode, reason string, streams uint64)
}

// A Handle controls a subscription that the scheduler serves.
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

// Update changes what the subscriber gets: Start, EndGroup, Priority, Forward
// and the timeouts of u; the rest is ignored. Where forward goes from false to true, the
// subgroups that were held are entered at the new start.
func (h *Handle) Update(u Sub) {
	h.e.call(event{kind: evUpdated, sub: h.sub, update: &u})
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

// signal wakes Run. It is the one way in which Run is woken.
func (e *Scheduler) signal() {
	select {
	case e.wake <- struct{}{}:
	default: // Run has yet to take the last one, and will look at everything
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
// data that the transport would not take, or data that a timeout ends.
func (e *Scheduler) Run(ctx context.Context) error {
	defer e.shutdown()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for {
		next, err := e.step(time.Now())
		if err != nil {
			return err
		}
		var tick <-chan time.Time
		if !next.IsZero() {
			timer.Reset(time.Until(next))
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

// Held reports whether the scheduler's lock is held, for simulators: nothing of
// the connection may be called meanwhile.
func (e *Scheduler) Held() bool {
	if !e.mu.TryLock() {
		return true
	}
	e.mu.Unlock()
	return false
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
	select {
	case <-e.wake:
	default:
	}
	if next, err = e.step(now); err != nil {
		e.shutdown()
	}
	return next, err
}

// Pending reports whether something has happened that Step would look at.
func (e *Scheduler) Pending() bool { return len(e.wake) > 0 }

// step does everything for one wake-up, and returns when to come back; zero
// means only when woken.
func (e *Scheduler) step(now time.Time) (next time.Time, err error) {
	e.take(now)
	return e.work(now)
}

// take hands the core everything that came in.
func (e *Scheduler) take(now time.Time) {
	e.mu.Lock()
	calls := e.calls
	e.calls = nil
	e.mu.Unlock()
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
	e.measure(now)
}

// measure tells the core what the transport has sent.
func (e *Scheduler) measure(now time.Time) {
	e.core.handle(now, event{kind: evMeasured, stats: e.conn.Stats()})
	for _, st := range e.core.inTransport() {
		e.core.measured(now, st, st.out.(conn.Unsender).Unsent())
	}
}

// work does what the core says until there is nothing left to do, and returns
// when to come back; zero means only when woken.
func (e *Scheduler) work(now time.Time) (next time.Time, err error) {
	defer e.count()
	for {
		a := e.core.next(now)
		if a.op == opSleep {
			return a.until, nil
		}
		if err := e.do(now, a); err != nil {
			return time.Time{}, err
		}
		// Something better may have come meanwhile.
		if a.op == opWrite && e.dirty.Load() != nil {
			e.take(now)
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
		a.stream.shared, _ = out.(conn.SharedWriter)
		_, exact := out.(conn.Unsender)
		e.core.handle(now, event{kind: evOpened, stream: a.stream, result: result, exact: exact})
	case opWrite:
		result, err := e.result(a.stream.write(a.data, a.shared))
		if err != nil {
			return err
		}
		if a.boundary && result == resultOK {
			a.stream.out.SetReliableBoundary()
		}
		e.core.handle(now, event{kind: evWrote, stream: a.stream, result: result, n: len(a.data)})
	case opDatagram:
		return e.sendDatagram(a.data)
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
		a.sub.done(a)
	}
	return nil
}

// sendDatagram sends b, or drops it if the transport cannot take it now, or ever
// (section 11.3).
func (e *Scheduler) sendDatagram(b []byte) error {
	err := e.conn.SendDatagram(b)
	_, ended := errors.AsType[*conn.SessionError](err)
	switch {
	case ended:
		return err
	case err == nil:
		e.core.counts.datagrams++
	default:
		e.core.counts.datagramsDropped++
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

// count moves the core's counts to the metrics, and shows its estimate.
func (e *Scheduler) count() {
	e.metrics.add(e.core.counts)
	e.core.counts = counts{}
	e.metrics.observe(e.core.waits)
	e.core.waits = e.core.waits[:0]
	e.core.estimator.Unsent = e.core.backlog.total()
	if est := e.core.estimator.Estimate; est != e.shown {
		e.shown = est
		e.mu.Lock()
		e.estimate = est
		e.mu.Unlock()
	}
}
