package relay

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// ErrClosed reports that the relay no longer runs.
var ErrClosed = errors.New("relay: closed")

// A Relay connects publishers and subscribers. Run must run while it is used;
// every other method may be called from any goroutine.
type Relay struct {
	cfg     Config
	metrics *metrics
	core    *core // Run's goroutine only

	// inbox holds what is to happen next. It needs no bound of its own: each
	// entry belongs to a request of a session, and sessions bound those.
	mu     sync.Mutex
	inbox  []func(now time.Time) []action
	closed bool
	wake   chan struct{} // one slot

	audience audience
	peers    map[*peer]struct{} // the sessions that are open
	draining *draining          // nil while the relay stays

	asks map[uint64]func() // what gives up the connects under way, by epoch; Run's goroutine only
	done chan struct{}
}

// New makes a Relay.
func New(cfg Config) (*Relay, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	if cfg.Session.Metrics == nil {
		cfg.Session.Metrics = moqt.NewMetrics(cfg.Session.Registerer)
	}
	return &Relay{
		cfg:     cfg,
		metrics: newMetrics(cfg.Registerer),
		core:    newCore(cfg),
		wake:    make(chan struct{}, 1),
		asks:    make(map[uint64]func()),
		peers:   make(map[*peer]struct{}),
		done:    make(chan struct{}),
	}, nil
}

// Run drives the relay until ctx ends, and returns its cause. It is called
// once. Sessions that Serve runs are their callers' to end.
func (r *Relay) Run(ctx context.Context) error {
	defer r.close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		wait := time.Hour
		if at := r.turn(now); !at.IsZero() {
			wait = at.Sub(now)
		}
		timer.Reset(wait)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (r *Relay) close() {
	r.mu.Lock()
	r.inbox, r.closed = nil, true
	r.mu.Unlock()
	close(r.done)
}

// post makes step run in Run's goroutine. It never blocks, so that a session
// may call it from its loop while the relay answers that same session.
func (r *Relay) post(step func(now time.Time) []action) {
	r.mu.Lock()
	if !r.closed {
		r.inbox = append(r.inbox, step)
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Relay) drain() []func(now time.Time) []action {
	r.mu.Lock()
	defer r.mu.Unlock()
	steps := r.inbox
	r.inbox = nil
	return steps
}

// Announce publishes the tracks of src under ns from within this process. They
// are gone from the table when withdraw is called; the tracks themselves end
// when their publisher ends them.
func (r *Relay) Announce(ctx context.Context, ns track.Namespace, src track.Source) (withdraw func(), err error) {
	added := make(chan struct{})
	withdraw = r.announce(&source{ns: ns, local: src, routable: true}, func() { close(added) })
	select {
	case <-added:
		return withdraw, nil
	case <-ctx.Done():
		withdraw()
		return nil, context.Cause(ctx)
	case <-r.done:
		return nil, ErrClosed
	}
}

// announce publishes a source of this process, and the tracks that it tells of,
// and calls added then.
func (r *Relay) announce(s *source, added func()) (withdraw func()) {
	r.post(func(now time.Time) []action {
		defer added()
		return r.core.announce(now, s)
	})
	stop := func() {}
	if l, ok := s.local.(track.Lister); ok {
		stop = l.Tracks(func(t *track.Track) {
			r.post(func(time.Time) []action { return r.core.listed(s, t) })
		})
	}
	return sync.OnceFunc(func() {
		stop()
		r.post(func(now time.Time) []action { return r.core.withdraw(now, s) })
	})
}

// Subscribe reads a track from within this process, wherever it comes from. It
// waits for the publisher's answer; the error wraps a *track.RequestError where
// there is no such track.
func (r *Relay) Subscribe(ctx context.Context, name track.Name, opt track.SubscribeOptions) (*track.Subscription, error) {
	return r.subscribe(ctx, name, func(now time.Time, sub subscriber) []action {
		return r.core.subscribe(now, name, sub, 0)
	})
}

// SubscribeSession is Subscribe at sessions alone, for a part of this process
// that takes a session's track as an input and publishes what it makes of it
// under the same namespace. The track ends when its session is lost or a newer
// one publishes it: none goes on where another was.
func (r *Relay) SubscribeSession(ctx context.Context, name track.Name, _ track.SubscribeOptions) (*track.Subscription, error) {
	return r.subscribe(ctx, name, func(now time.Time, sub subscriber) []action {
		return r.core.subscribeSession(now, name, sub)
	})
}

func (r *Relay) subscribe(ctx context.Context, name track.Name, ask func(time.Time, subscriber) []action) (*track.Subscription, error) {
	sub := &localSubscriber{answer: make(chan answer, 1)}
	r.post(func(now time.Time) []action { return ask(now, sub) })
	leave := func() {
		r.post(func(now time.Time) []action { return r.core.unsubscribe(now, name, sub) })
	}
	select {
	case a := <-sub.answer:
		if a.err != nil {
			return nil, a.err
		}
		return track.NewSubscription(a.t, leave), nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	case <-r.done:
		return nil, ErrClosed
	}
}

type answer struct {
	t   *track.Track
	err error
}

// A localSubscriber waits for one answer.
type localSubscriber struct{ answer chan answer }

func (*localSubscriber) wants() wants   { return wants{} }
func (*localSubscriber) session() *peer { return nil }

func (s *localSubscriber) accept(t *track.Track) { s.answer <- answer{t: t} }

func (s *localSubscriber) reject(code wire.RequestCode, reason string) {
	s.answer <- answer{err: &track.RequestError{Code: code, Reason: reason}}
}

// An asyncSubscriber is told of one answer.
type asyncSubscriber struct {
	started func(*track.Subscription, error)
	leave   func()
}

func (*asyncSubscriber) wants() wants   { return wants{} }
func (*asyncSubscriber) session() *peer { return nil }

func (s *asyncSubscriber) accept(t *track.Track) { s.started(track.NewSubscription(t, s.leave), nil) }

func (s *asyncSubscriber) reject(code wire.RequestCode, reason string) {
	s.started(nil, &track.RequestError{Code: code, Reason: reason})
}

// Namespaces yields the namespaces under prefix, those that are published now
// first, then each change, until ctx ends or the loop is left.
func (r *Relay) Namespaces(ctx context.Context, prefix track.Namespace) iter.Seq2[track.NamespaceEvent, error] {
	return r.namespaces(ctx, prefix, false)
}

// SessionNamespaces is Namespaces for what sessions publish, whatever is
// published from within this process. A namespace is yielded again, as active,
// when another session comes to publish it.
func (r *Relay) SessionNamespaces(ctx context.Context, prefix track.Namespace) iter.Seq2[track.NamespaceEvent, error] {
	return r.namespaces(ctx, prefix, true)
}

func (r *Relay) namespaces(ctx context.Context, prefix track.Namespace, sessions bool) iter.Seq2[track.NamespaceEvent, error] {
	return func(yield func(track.NamespaceEvent, error) bool) {
		q := &namespaceQueue{wake: make(chan struct{}, 1), active: make(map[wire.Namespace]bool), repeat: sessions}
		w := &watcher{prefix: prefix, theirs: prefix, sink: q, sessions: sessions}
		r.post(func(time.Time) []action { return r.core.watch(w) })
		defer r.post(func(time.Time) []action { return r.core.unwatch(w) })
		for {
			for _, ev := range q.take() {
				if !yield(ev, nil) {
					return
				}
			}
			select {
			case <-q.wake:
			case <-ctx.Done():
				yield(track.NamespaceEvent{}, context.Cause(ctx))
				return
			case <-r.done:
				yield(track.NamespaceEvent{}, ErrClosed)
				return
			}
		}
	}
}

// A namespaceQueue holds what a reader of Namespaces has not taken yet. It is
// bounded by what is published: a namespace that comes and goes while nobody
// reads leaves one entry, its latest state.
type namespaceQueue struct {
	mu     sync.Mutex
	order  []wire.Namespace
	latest map[wire.Namespace]bool
	active map[wire.Namespace]bool // as the reader knows it
	repeat bool                    // that one is active is told again
	wake   chan struct{}
}

func (q *namespaceQueue) Announce(ns wire.Namespace) { q.put(ns, true) }
func (q *namespaceQueue) Withdraw(ns wire.Namespace) { q.put(ns, false) }

func (q *namespaceQueue) put(ns wire.Namespace, active bool) {
	q.mu.Lock()
	if q.latest == nil {
		q.latest = make(map[wire.Namespace]bool)
	}
	if _, ok := q.latest[ns]; !ok {
		q.order = append(q.order, ns)
	}
	q.latest[ns] = active
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *namespaceQueue) take() []track.NamespaceEvent {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []track.NamespaceEvent
	for _, ns := range q.order {
		active := q.latest[ns]
		if q.active[ns] == active && !(q.repeat && active) {
			continue // came and went
		}
		if active {
			q.active[ns] = true
		} else {
			delete(q.active, ns)
		}
		out = append(out, track.NamespaceEvent{Namespace: ns, Active: active})
	}
	q.order, q.latest = nil, nil
	return out
}

// A Published is a namespace that somebody publishes.
type Published struct {
	Namespace wire.Namespace
	Since     time.Time
}

// Published returns the namespaces that are published now, in order.
func (r *Relay) Published(ctx context.Context) ([]Published, error) {
	ch := make(chan []Published, 1)
	r.post(func(time.Time) []action {
		var out []Published
		for _, sp := range r.core.sorted() {
			out = append(out, Published{Namespace: sp.ns, Since: sp.since})
		}
		ch <- out
		return nil
	})
	select {
	case out := <-ch:
		return out, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-r.done:
		return nil, ErrClosed
	}
}
