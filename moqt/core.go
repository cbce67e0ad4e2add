package moqt

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/moqt/timers"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// optionSolicit is the setup option with which moq-dev's stack asks not to be
// told of namespaces unasked.
const optionSolicit = 0x40b5a

// optionHop is the setup option with which moq-dev's stack tells its node ID,
// in browsers from @moq/net 0.3 on.
const optionHop = 0x40b55

// maxReason is the longest reason of a close that every transport takes, in
// bytes.
const maxReason = 1024

// ownControl is the control stream that we open. It is neither the peer's nor a
// request stream, and takes no events.
const ownControl streamID = 0

// A core is the state of one session: setup, requests, aliases, limits. It is a
// step function: handle takes the time and what happened, and returns what is
// to be done. It starts no goroutine, reads no clock, takes no lock and does no
// I/O, so that a seed replays exactly. Tracks are memory to it.
type core struct {
	cfg  *Config // as checked; never changes
	info ConnInfo
	now  time.Time // of the event in hand
	out  []action
	err  *SessionError // why the session is over; nil while it is not

	streams map[streamID]*stream
	held    int      // bytes of unfinished messages, over all streams
	control streamID // the peer's; 0 before it comes
	setup   *wire.Setup
	timers  timers.Queue[func() error]
	clock   timer // of SETUP
	// goawayClock closes the session after our GOAWAY.
	goawayClock timer

	ids        requestIDs
	nextID     uint64 // of our next request
	unanswered int    // requests of the peer

	goawaySent, goawayReceived bool

	tokens tokenCache // what the peer has registered

	// As publisher.
	served    map[track.Name]*stream // by SUBSCRIBE or our PUBLISH
	leaving   map[track.Name]*stream // of served, that have ended; the peer has not closed them yet
	nextAlias uint64
	announced []*announced
	watchers  []*stream // SUBSCRIBE_NAMESPACE of the peer
	trackers  []*stream // SUBSCRIBE_TRACKS of the peer
	offering  int       // what we offer to them
	offered   int       // PUBLISH_NAMESPACE of the peer
	fetching  int       // FETCH of the peer
	joins     []*stream // of them, those that wait for their subscription

	// As subscriber.
	feeds     map[track.Name]*feed // our SUBSCRIBEs and accepted PUBLISHes
	offers    map[track.Name]*feed // PUBLISHes that are not answered yet
	incoming  int                  // SUBSCRIBEs of the peer
	aliases   map[uint64]*feed
	cancelled recent
	data      map[streamID]*dataStream
	parked    []*dataStream // they wait for their alias, in order of arrival
	early     earlyDatagrams
	fetches   map[uint64]*fetch   // our FETCHes by request ID
	filling   map[streamID]*fetch // their data streams
}

func newCore(info ConnInfo, cfg *Config) *core {
	c := &core{
		cfg:     cfg,
		info:    info,
		streams: make(map[streamID]*stream),
		served:  make(map[track.Name]*stream),
		leaving: make(map[track.Name]*stream),
		feeds:   make(map[track.Name]*feed),
		offers:  make(map[track.Name]*feed),
		aliases: make(map[uint64]*feed),
		data:    make(map[streamID]*dataStream),
		fetches: make(map[uint64]*fetch),
		filling: make(map[streamID]*fetch),
	}
	c.tokens = tokenCache{max: uint64(max(0, cfg.Limits.TokenCache)), largest: cfg.Limits.Token}
	c.ids.parity = 1
	if !info.Client {
		c.nextID, c.ids.parity = 1, 0
	}
	c.ids.low = c.ids.parity
	return c
}

// start returns the first actions: our SETUP.
func (c *core) start(now time.Time) []action {
	c.now = now
	m := wire.Setup{
		Implementation: c.cfg.Implementation, Tokens: byValue(c.cfg.Tokens),
		MaxAuthTokenCacheSize: c.tokens.max, Other: grease(c.info),
	}
	if c.info.Client && c.info.Transport == QUIC {
		if c.cfg.Authority != "" {
			m.Authority = &c.cfg.Authority
		}
		if c.cfg.Path != "" {
			m.Path = &c.cfg.Path
		}
	}
	c.write(&stream{sid: ownControl}, m)
	c.arm(&c.clock, c.cfg.SetupTimeout, func() error {
		return closing(wire.SessionControlMessageTimeout, "no SETUP within %v", c.cfg.SetupTimeout)
	})
	return c.take()
}

// receives reports whether the peer may have objects for us.
func (c *core) receives() bool { return len(c.feeds)+len(c.offers) > 0 }

// next returns the time at which evTimer is due, if there is one.
func (c *core) next() (time.Time, bool) { return c.timers.Next() }

// handle takes one event. After the session is over it only tells callers so.
func (c *core) handle(now time.Time, ev event) []action {
	if c.err != nil {
		c.late(ev)
		return c.take()
	}
	c.now = now
	if err := c.step(ev); err != nil {
		c.close(err)
	}
	c.resumeJoins()
	return c.take()
}

func (c *core) step(ev event) error {
	switch ev := ev.(type) {
	case evOpened:
		c.opened(ev.sid)
		return nil
	case evControl:
		if c.control != 0 {
			return violation("second control stream")
		}
		c.control = ev.sid
		c.streams[ev.sid] = &stream{sid: ev.sid, sendDone: true}
		return nil
	case evBytes:
		return c.received(ev.sid, ev.b)
	case evFin:
		return c.finished(ev.sid)
	case evStarted:
		if st := c.streams[ev.sid]; st != nil {
			st.started = true
		}
		return nil
	case evReset:
		return c.aborted(ev.sid, ev.code, true)
	case evStopped:
		return c.aborted(ev.sid, ev.code, false)
	case evFailed:
		return c.failed(ev)
	case evSubgroup:
		c.subgroup(ev.sid, ev.header)
		return nil
	case evSubgroupEnd:
		return c.subgroupEnd(ev)
	case evDatagram:
		return c.datagram(ev.b)
	case evFetchStream:
		return c.fetchStream(ev.sid, ev.header)
	case evFetchEnd:
		return c.fetchEnd(ev)
	case evFetched:
		c.fetched(ev)
		return nil
	case evViolation:
		return ev.err
	case evTimer:
		for {
			t, ok := c.timers.Pop(c.now)
			if !ok {
				return nil
			}
			if err := t.Do(); err != nil {
				return err
			}
		}
	case evLost:
		c.end(lost(ev.err))
		return nil
	case evServed:
		c.serveEnded(ev)
		return nil
	}
	return c.call(ev)
}

// call takes what the application wants.
func (c *core) call(ev event) error {
	switch ev := ev.(type) {
	case evSubscribe:
		c.subscribe(ev)
	case evUpdate:
		c.update(ev)
	case evPublish:
		c.publish(ev)
	case evAnnounce:
		c.announce(ev)
	case evNamespaces:
		c.watch(ev)
	case evFetch:
		c.fetch(ev)
	case evTrackStatus:
		c.inquire(ev)
	case evCancel:
		c.cancel(ev)
	case evAcceptSubscribe:
		c.acceptSubscribe(ev.sid, ev.t)
	case evAcceptPublish:
		return c.acceptPublish(ev)
	case evAcceptFetch:
		c.acceptFetch(ev)
	case evAcceptStatus:
		c.acceptStatus(ev)
	case evAccept:
		c.accept(ev.sid)
	case evReject:
		st := c.pendingRequest(ev.sid)
		switch {
		case st == nil:
		case ev.retry == 0 && ev.redirect == nil:
			c.refuse(st, ev.code, ev.reason)
		default:
			c.refuseWith(st, &RequestError{Code: ev.code, Reason: ev.reason, RetryAfter: ev.retry, Redirect: ev.redirect})
		}
	case evExpire:
		c.expire(ev)
	case evUpdateAnswer:
		c.updateAnswered(ev)
	case evRequestGoaway:
		c.requestGoaway(ev)
	case evOffer:
		c.offerTrack(ev)
	case evTracks:
		c.tracks(ev)
	case evMoveTracks:
		c.moveTracks(ev)
	case evNamespace:
		c.tellNamespace(ev)
	case evGoaway:
		c.sendGoaway(ev)
	case evClose:
		return &SessionError{Code: ev.code, Reason: ev.reason}
	default:
		panic(fmt.Sprintf("moqt: unknown event %T", ev))
	}
	return nil
}

// late answers a call that came after the end.
func (c *core) late(ev event) {
	switch ev := ev.(type) {
	case evSubscribe:
		c.do(actStarted{f: ev.started, err: c.err})
	case evFetch:
		ev.fail(c.err, func(f func()) { c.do(actCall{f}) })
	case evTrackStatus:
		err := c.err
		c.do(actCall{func() { ev.done(TrackStatus{}, err) }})
	case evOffer:
		c.answerOffer(ev.offer, c.err)
	case evUpdate:
		if ev.u.Done != nil {
			c.do(actUpdated{f: ev.u.Done, err: c.err})
		}
	}
}

func (c *core) do(a action) { c.out = append(c.out, a) }

func (c *core) take() []action {
	out := c.out
	c.out = nil
	return out
}

// A timer runs a function from the core's loop.
type timer = timers.Timer[func() error]

// arm has f run in d, instead of what t was to run before.
func (c *core) arm(t *timer, d time.Duration, f func() error) { c.at(t, c.now.Add(d), f) }

// at has f run at a time, instead of what t was to run before.
func (c *core) at(t *timer, at time.Time, f func() error) {
	t.Do = f
	c.timers.Set(t, at)
}

// close ends the session from our side.
func (c *core) close(err error) {
	if c.err != nil {
		return
	}
	se, ok := errors.AsType[*SessionError](err)
	if !ok {
		se = &SessionError{Code: wire.SessionInternalError, Reason: err.Error()}
		if we, ok := errors.AsType[*wire.Error](err); ok {
			se.Code = we.Code
		}
	}
	if len(se.Reason) > maxReason {
		short := *se
		short.Reason = strings.ToValidUTF8(short.Reason[:maxReason], "")
		se = &short
	}
	c.do(actClose{se})
	c.end(se)
}

// end ends everything, because the session is over.
func (c *core) end(err *SessionError) {
	c.err = err
	for _, sid := range slices.Sorted(maps.Keys(c.streams)) {
		st := c.streams[sid]
		st.sendDone, st.recvDone = true, true // there is nobody to tell
		c.over(st, err)
	}
	for _, a := range c.announced {
		a.answer(c, err)
	}
	c.timers = timers.Queue[func() error]{}
}

// lost makes the error of a connection that ended.
func lost(err error) *SessionError {
	if se, ok := errors.AsType[*SessionError](err); ok {
		return se
	}
	return &SessionError{Code: wire.SessionInternalError, Err: err}
}

func closing(code wire.SessionCode, format string, args ...any) error {
	return &SessionError{Code: code, Reason: fmt.Sprintf(format, args...)}
}

func violation(format string, args ...any) error {
	return closing(wire.SessionProtocolViolation, format, args...)
}

// grease returns setup options that mean nothing, so that no peer gets used to
// the known ones alone (section 14). Which ones depends on the peer, but not on
// when.
func grease(info ConnInfo) []wire.KeyValue {
	h := fnv.New32a()
	if info.Remote != nil {
		_, _ = h.Write([]byte(info.Remote.String())) // it never fails
	}
	n := 2 * uint64(h.Sum32()%64)
	// Every other value is even: a number; those between are bytes.
	a, b := wire.Grease(n), wire.Grease(n+1)
	if a%2 != 0 {
		a, b = b, a
	}
	out := []wire.KeyValue{{Type: a, Uint: n}, {Type: b, Bytes: []byte("grease")}}
	slices.SortFunc(out, func(x, y wire.KeyValue) int { return cmp.Compare(x.Type, y.Type) })
	return out
}
