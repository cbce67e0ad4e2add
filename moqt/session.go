package moqt

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A Session is one MoQT session, client or server, publisher and subscriber
// both. Run drives it; every other method may be called from any goroutine,
// also before Run, and fails with the *SessionError that ended the session.
type Session struct {
	conn Conn
	cfg  Config
	id   uint64 // for the log
	core *core  // Run's goroutine only
	drv  *driver
	met  *Metrics

	// calls are what the application wants, for the loop to take. Their number
	// is bounded by the requests that the application and the peer have open.
	mu     sync.Mutex
	calls  []event
	closed bool
	wake   chan struct{} // one slot; Step's
	looped bool          // Run has got to its loop
	busy   bool          // the loop runs, or never will again
	again  bool          // something has come since it looked

	nextSID atomic.Int64  // of the streams that we open
	ready   chan struct{} // closed once peer is set
	peer    PeerSetup
	drain   chan struct{} // closed once goaway is set
	goaway  wire.Goaway
	done    chan struct{} // closed once err is set
	err     error
}

// A PeerSetup is what the peer's SETUP says (section 10.3).
type PeerSetup struct {
	Implementation  string // for people and logs; may hold any bytes
	Authority, Path string // of a client on raw QUIC, with the query
	// Solicit: the peer wants to hear of namespaces only when it asks for them
	// (setup option 0x40B5A).
	Solicit bool
	Tokens  []wire.Token
}

var lastSession atomic.Uint64

// NewSession makes a session on conn. It does nothing until Run.
func NewSession(conn Conn, cfg Config) (*Session, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	s := &Session{
		conn: conn, cfg: cfg,
		id:    lastSession.Add(1),
		wake:  make(chan struct{}, 1),
		ready: make(chan struct{}),
		drain: make(chan struct{}),
		done:  make(chan struct{}),
	}
	s.cfg.Log = cfg.Log.With("moqt_session", s.id)
	if s.met = cfg.Metrics; s.met == nil {
		s.met = NewMetrics(cfg.Registerer)
	}
	s.core = newCore(conn.Info(), &s.cfg)
	s.drv = newDriver(s)
	return s, nil
}

// ID returns a number that no other session of this process has, the one in
// its log records.
func (s *Session) ID() uint64 { return s.id }

// Conn returns the session's connection. It belongs to the session.
func (s *Session) Conn() Conn { return s.conn }

// Estimate returns what is known of how much the session's connection can carry
// to the peer.
func (s *Session) Estimate() Estimate {
	if e := s.drv.egress.Load(); e != nil {
		return e.Estimate()
	}
	return Estimate{}
}

// Ready is closed when the peer's SETUP has arrived.
func (s *Session) Ready() <-chan struct{} { return s.ready }

// PeerSetup returns what the peer's SETUP says. It is empty before Ready.
func (s *Session) PeerSetup() PeerSetup {
	select {
	case <-s.ready:
		return s.peer
	default:
		return PeerSetup{}
	}
}

// Draining is closed when the peer's GOAWAY has arrived (section 3.6). New
// requests then fail with GOING_AWAY; what runs continues.
func (s *Session) Draining() <-chan struct{} { return s.drain }

// PeerGoaway returns where the peer wants the session to move, empty for the
// same URI, and how long it will wait, 0 if it does not say. It is valid once
// Draining is closed.
func (s *Session) PeerGoaway() (uri string, timeout time.Duration) {
	select {
	case <-s.drain:
		return s.goaway.NewSessionURI, s.goaway.Timeout
	default:
		return "", 0
	}
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Goaway asks the peer to move to uri, which a client leaves empty (section
// 10.4). Requests that come later are refused with GOING_AWAY. After timeout
// the session is closed; 0 sets no time. Only the first call has an effect.
func (s *Session) Goaway(uri string, timeout time.Duration) error {
	if err := checkGoaway(uri, s.conn.Info().Client); err != nil {
		return err
	}
	s.call(evGoaway{uri: uri, timeout: timeout})
	return s.ended()
}

// Close ends the session with a code and a reason of at most 1024 bytes.
func (s *Session) Close(code wire.SessionCode, reason string) {
	s.call(evClose{code: code, reason: reason})
}

// Subscribe asks for a track and waits for SUBSCRIBE_OK. The track is filled
// until it ends, at the latest with the session. The error wraps a
// *RequestError if the peer refuses.
func (s *Session) Subscribe(ctx context.Context, name track.Name, opt track.SubscribeOptions) (*track.Subscription, error) {
	return s.subscribe(ctx, evSubscribe{name: name, opt: opt})
}

// SubscribeInto is Subscribe for a track that outlives the subscription: into,
// which another source may have begun, or a new one if into is nil. The session
// never ends it. Instead ended is called, once, from the session's loop, when
// nothing more will come and Close was not the reason: with a *track.EndError
// if the peer said so, else with a *StreamError or *SessionError.
func (s *Session) SubscribeInto(ctx context.Context, name track.Name, into *track.Track, opt track.SubscribeOptions, ended func(error)) (*track.Subscription, error) {
	return s.subscribe(ctx, evSubscribe{name: name, opt: opt, into: into, keep: true, ended: ended})
}

// SubscribeAsync is SubscribeInto without the wait: started is called once, from
// the session's loop, with the subscription or with why there is none, and ended
// after it. cancel, which may be called at any time and more than once, gives up
// a subscription that has not started, and else closes it. If the session has
// ended already, started is called before SubscribeAsync returns.
func (s *Session) SubscribeAsync(name track.Name, into *track.Track, opt track.SubscribeOptions, started func(*track.Subscription, error), ended func(error)) (cancel func()) {
	return s.start(evSubscribe{name: name, opt: opt, into: into, keep: true, ended: ended, started: started})
}

// start posts a SUBSCRIBE. It returns what cancels it.
func (s *Session) start(ev evSubscribe) (cancel func()) {
	ev.hold = &hold{s: s, sid: s.newSID()}
	ev.sid = ev.hold.sid
	if !s.call(ev) {
		ev.started(nil, s.err)
	}
	return ev.hold.Release
}

func (s *Session) subscribe(ctx context.Context, ev evSubscribe) (*track.Subscription, error) {
	var sub *track.Subscription
	var err error
	answered := make(chan struct{})
	ev.started = func(got *track.Subscription, e error) {
		sub, err = got, e
		close(answered)
	}
	cancel := s.start(ev)
	select {
	case <-answered:
	case <-ctx.Done():
		cancel()
		return nil, fmt.Errorf("moqt: subscribe to %v: %w", ev.name, context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("moqt: subscribe to %v: %w", ev.name, err)
	}
	return sub, nil
}

// Publish offers t with PUBLISH and waits for the answer, then sends t until it
// ends or the peer is no longer interested. A peer that takes no PUBLISH but
// asks for tracks itself answers NOT_SUPPORTED. release ends it from our side.
func (s *Session) Publish(ctx context.Context, t *track.Track) (release func(), err error) {
	answered := make(chan reply, 1)
	ev := evPublish{sid: s.newSID(), t: t, answer: func(err error) { answered <- reply{err: err} }}
	if _, err := s.request(ctx, ev.sid, ev, answered); err != nil {
		return nil, fmt.Errorf("moqt: publish %v: %w", t.Name(), err)
	}
	return s.cancel(ev.sid), nil
}

// Announce makes the tracks of src available under ns: subscriptions to them
// are answered from src. The peer is told with PUBLISH_NAMESPACE, whose answer
// Announce waits for, unless its SETUP says that it would rather ask; and with
// NAMESPACE, when it asks. withdraw undoes it, without ending any track.
func (s *Session) Announce(ctx context.Context, ns track.Namespace, src track.Source) (withdraw func(), err error) {
	ev := evAnnounce{sid: s.newSID(), ns: ns, src: src, reply: make(chan reply, 1)}
	if _, err := s.request(ctx, ev.sid, ev, ev.reply); err != nil {
		return nil, fmt.Errorf("moqt: announce %v: %w", ns, err)
	}
	return s.cancel(ev.sid), nil
}

// Namespaces asks with SUBSCRIBE_NAMESPACE for the namespaces under prefix and
// yields them, then every change, until ctx ends, the session ends, or the peer
// ends the request. The last pair is then an error.
func (s *Session) Namespaces(ctx context.Context, prefix track.Namespace) iter.Seq2[track.NamespaceEvent, error] {
	return func(yield func(track.NamespaceEvent, error) bool) {
		q := newNamespaceQueue()
		ev := evNamespaces{sid: s.newSID(), prefix: prefix, queue: q}
		s.call(ev)
		defer s.cancel(ev.sid)()
		for {
			events, err := q.take()
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
			if err != nil {
				yield(track.NamespaceEvent{}, fmt.Errorf("moqt: namespaces under %v: %w", prefix, err))
				return
			}
			select {
			case <-q.wake:
			case <-ctx.Done():
				yield(track.NamespaceEvent{}, context.Cause(ctx))
				return
			case <-s.done:
				q.end(s.err)
			}
		}
	}
}

// request posts ev and waits for the answer to the request on stream sid.
func (s *Session) request(ctx context.Context, sid streamID, ev event, answer <-chan reply) (reply, error) {
	s.call(ev)
	select {
	case r := <-answer:
		return r, r.err
	case <-ctx.Done():
		s.cancel(sid)()
		return reply{}, context.Cause(ctx)
	case <-s.done:
		return reply{}, s.err
	}
}

// cancel returns a function that ends the request on stream sid from our side.
func (s *Session) cancel(sid streamID) func() {
	return sync.OnceFunc(func() { s.call(evCancel{sid: sid, code: wire.ResetCancelled}) })
}

func (s *Session) newSID() streamID { return streamID(-s.nextSID.Add(1)) }

// call hands ev to the loop. It never blocks, so that a handler may answer from
// within the loop. It reports false, and drops ev, once the session is over.
func (s *Session) call(ev event) bool {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.calls = append(s.calls, ev)
	}
	s.loopLocked()
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return !closed
}

// nudge has the loop look at what there is.
func (s *Session) nudge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loopLocked()
}

// loopFrom lets the loop run from now on, and looks for the first time.
func (s *Session) loopFrom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looped = true
	s.loopLocked()
}

func (s *Session) loopLocked() {
	s.again = true
	if s.looped && !s.busy {
		s.busy = true
		s.drv.wg.Add(1)
		go s.drv.loop()
	}
}

// rest ends the loop, unless something has come since takeCalls.
func (s *Session) rest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = s.again
	return !s.again
}

func (s *Session) takeCalls() []event {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls, s.again = nil, false
	return calls
}

// ended returns why the session has ended, nil while it has not.
func (s *Session) ended() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}
