package relay

import (
	"fmt"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A core is the relay's state: which namespaces are published by whom, which
// tracks are carried, who waits for what. It is a step function: each method
// takes the time and what happened, and returns what is to be done. It starts
// no goroutine, reads no clock, takes no lock and does no I/O, so that a
// simulator replays it exactly. Relay.Run drives it from one goroutine.
type core struct {
	cfg    Config
	spaces map[wire.Namespace]*space
	tracks map[wire.FullTrackName]*entry
	// watchers want to hear of namespaces under their prefix (SUBSCRIBE_NAMESPACE).
	watchers []*watcher
	timers   timers
	held     int    // subscribers held for a publisher that is not there yet
	epoch    uint64 // of the newest upstream attempt
	acts     []action
}

// A space is a namespace that somebody publishes.
type space struct {
	ns      wire.Namespace
	since   time.Time
	sources []*source // in the order in which they came: the last one is preferred
	remote  bool      // some of them are sessions
}

// A source is one publisher of a namespace.
type source struct {
	ns     wire.Namespace
	theirs wire.Namespace // how the session spells ns
	local  track.Source   // a publisher in this process
	peer   *peer          // a session
	// routable is false for a source that came by PUBLISH: it offers its
	// tracks one by one and takes no SUBSCRIBE for others (section 9.5).
	routable bool
	// lostUntil is set while the session is gone and the grace runs.
	lostUntil time.Time
}

func (s *source) lost() bool { return !s.lostUntil.IsZero() }

// A subscriber waits for a track or reads it. Its methods do not block.
type subscriber interface {
	accept(*track.Track)
	reject(wire.RequestCode, string)
}

// An upstream is a subscription at a publisher that fills a track.
type upstream interface {
	Track() *track.Track
	Close()
}

// A watcher hears of namespaces under prefix.
type watcher struct {
	prefix   wire.Namespace
	sink     namespaceSink
	sessions bool // it hears of sessions alone, and of each that comes
}

type namespaceSink interface {
	Announce(wire.Namespace)
	Withdraw(wire.Namespace)
}

type trackState int

const (
	stateHeld       trackState = iota // no publisher yet, subscribers wait
	stateConnecting                   // subscribing at a publisher
	stateLive
	stateOrphan // publisher lost, the grace runs
)

// An entry is one track that comes from a session. Tracks of publishers in
// this process need none: their subscribers read the publisher's own track.
type entry struct {
	name    wire.FullTrackName
	state   trackState
	src     *source
	tried   []*source // refused or failed since the last success
	epoch   uint64    // of the upstream attempt in force: a late answer of an older one is dropped
	asking  bool      // an attempt has not been answered yet
	track   *track.Track
	up      upstream
	subs    map[subscriber]bool // true for one that reads sessions alone
	fed     bool                // this is the input track, and was read as one
	waiting []waiter
	idle    time.Time // when it ends for want of subscribers; zero while there is one
	grace   time.Time // when it ends for want of a publisher; zero while there is one
	timer   timer     // the earliest of the times above and of waiting
}

type waiter struct {
	sub      subscriber
	until    time.Time // zero: as long as the connect takes
	sessions bool      // it reads sessions alone
}

// input reports whether a part of this process reads e as an input: what it
// makes of it is published in place of e. Such a track is not continued by
// another session, because a byte stream starts over there.
func (e *entry) input() bool {
	if e.fed {
		return true
	}
	for _, sessions := range e.subs {
		if sessions {
			return true
		}
	}
	return false
}

func newCore(cfg Config) *core {
	return &core{
		cfg:    cfg,
		spaces: make(map[wire.Namespace]*space),
		tracks: make(map[wire.FullTrackName]*entry),
	}
}

// take hands out the actions that have gathered.
func (c *core) take() []action {
	a := c.acts
	c.acts = nil
	return a
}

func (c *core) do(a action) { c.acts = append(c.acts, a) }

// expire runs what is due. next says when to call it again.
func (c *core) expire(now time.Time) []action {
	for {
		t, ok := c.timers.pop(now)
		if !ok {
			return c.take()
		}
		t.f(now)
	}
}

// next returns the time of the earliest timer, if there is one.
func (c *core) next() (time.Time, bool) { return c.timers.next() }

// subscribe asks for a track on behalf of sub. hold is how long it may wait for
// a publisher to appear (RENDEZVOUS_TIMEOUT, section 10.2.4).
func (c *core) subscribe(now time.Time, name wire.FullTrackName, sub subscriber, hold time.Duration) []action {
	src := c.pick(name.Namespace, nil)
	if t, ok := src.offers(name); ok {
		// Ahead of what a session feeds, which this publisher may be made of.
		c.do(actAccept{sub, t})
		return c.take()
	}
	if e := c.tracks[name]; e != nil {
		c.join(now, e, sub, hold)
		return c.take()
	}
	switch {
	case src != nil && src.local != nil:
		c.hold(now, name, sub, hold)
	case src != nil && !src.lost():
		e := c.open(name)
		e.waiting = append(e.waiting, waiter{sub: sub})
		c.connect(e, src)
	case src != nil:
		// Its session is gone, but may be back before the grace ends.
		c.hold(now, name, sub, max(hold, src.lostUntil.Sub(now)))
	default:
		c.hold(now, name, sub, hold)
	}
	return c.take()
}

// subscribeSession is subscribe at sessions alone: publishers in this process
// are passed over, and nobody is waited for.
func (c *core) subscribeSession(now time.Time, name wire.FullTrackName, sub subscriber) []action {
	e := c.tracks[name]
	src := c.pickSession(name.Namespace, nil)
	switch {
	case e != nil && (e.state == stateLive || e.state == stateOrphan):
		e.subs[sub], e.fed = true, name.Name == c.cfg.InputTrack
		c.linger(now, e)
		c.do(actAccept{sub, e.track})
	case e != nil && e.state == stateConnecting:
		e.waiting = append(e.waiting, waiter{sub: sub, sessions: true})
	case e == nil && src != nil && !src.lost():
		e = c.open(name)
		e.waiting = append(e.waiting, waiter{sub: sub, sessions: true})
		c.connect(e, src)
	default:
		c.do(actReject{sub, wire.RequestDoesNotExist, fmt.Sprintf("no session publishes %s", name)})
	}
	return c.take()
}

// newEpoch returns a number that no attempt had, for this name or another: a
// track that ends may be followed at once by one of the same name.
func (c *core) newEpoch() uint64 {
	c.epoch++
	return c.epoch
}

func (c *core) open(name wire.FullTrackName) *entry {
	e := &entry{name: name, subs: make(map[subscriber]bool)}
	e.timer.f = func(now time.Time) { c.sweep(now, e) }
	c.tracks[name] = e
	return e
}

// arm sets e's timer to the earliest time at which something of it is due.
func (c *core) arm(e *entry) {
	at := e.idle
	earlier := func(t time.Time) {
		if at.IsZero() || !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	if !e.asking {
		earlier(e.grace) // an attempt under way is given its time
	}
	for _, w := range e.waiting {
		earlier(w.until)
	}
	c.timers.set(&e.timer, at)
}

// offers returns the track of this name if s is a publisher in this process
// that has it. It publishes its own namespace; a longer one under it has no
// track.
func (s *source) offers(name wire.FullTrackName) (*track.Track, bool) {
	if s == nil || s.local == nil || s.ns != name.Namespace {
		return nil, false
	}
	return s.local.Track(name.Name)
}

func (c *core) joinLocal(now time.Time, src *source, name wire.FullTrackName, sub subscriber, hold time.Duration) {
	if t, ok := src.offers(name); ok {
		c.do(actAccept{sub, t})
		return
	}
	c.hold(now, name, sub, hold)
}

func (c *core) join(now time.Time, e *entry, sub subscriber, hold time.Duration) {
	switch e.state {
	case stateLive, stateOrphan:
		e.subs[sub] = false
		c.linger(now, e)
		c.do(actAccept{sub, e.track})
	case stateConnecting:
		e.waiting = append(e.waiting, waiter{sub: sub})
	case stateHeld:
		c.hold(now, e.name, sub, hold)
	}
}

// hold keeps sub until a publisher appears, within bounds.
func (c *core) hold(now time.Time, name wire.FullTrackName, sub subscriber, d time.Duration) {
	d = min(d, c.cfg.MaxRendezvous)
	if d <= 0 {
		c.do(actReject{sub, wire.RequestDoesNotExist, fmt.Sprintf("no publisher has announced a namespace of %s", name)})
		return
	}
	if c.held >= c.cfg.MaxHeld {
		c.do(actReject{sub, wire.RequestExcessiveLoad, "too many subscriptions wait for a publisher"})
		return
	}
	e := c.tracks[name]
	if e == nil {
		e = c.open(name)
	}
	c.held++
	e.waiting = append(e.waiting, waiter{sub: sub, until: now.Add(d)})
	c.arm(e)
}

// sweep ends what is due of e.
func (c *core) sweep(now time.Time, e *entry) {
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	switch {
	case due(e.grace) && !e.asking:
		c.end(e, wire.PublishDoneInternalError, "the publisher was lost and did not return")
	case due(e.idle):
		c.end(e, wire.PublishDoneTrackEnded, "nobody subscribes any more")
	case e.state == stateHeld:
		c.expireHeld(now, e)
	default:
		c.arm(e)
	}
}

func (c *core) expireHeld(now time.Time, e *entry) {
	e.waiting = slices.DeleteFunc(e.waiting, func(w waiter) bool {
		if w.until.After(now) {
			return false
		}
		c.held--
		c.do(actReject{w.sub, wire.RequestTimeout, fmt.Sprintf("no publisher of %s came in time", e.name)})
		return true
	})
	if len(e.waiting) == 0 {
		c.drop(e)
		return
	}
	c.arm(e)
}

// connect subscribes at src; the answer comes as connected.
func (c *core) connect(e *entry, src *source) {
	if e.state == stateHeld {
		c.held -= len(e.waiting)
		for i := range e.waiting {
			e.waiting[i].until = time.Time{}
		}
	}
	if e.track == nil {
		e.state = stateConnecting
	}
	e.src = src
	e.epoch = c.newEpoch()
	e.asking = true
	c.arm(e)
	c.do(actConnect{src, e.name, e.epoch, e.track})
}

// connected takes the answer to a connect: an upstream, or why there is none.
func (c *core) connected(now time.Time, name wire.FullTrackName, epoch uint64, up upstream, err error) []action {
	e := c.tracks[name]
	if e == nil || e.epoch != epoch {
		if up != nil {
			c.do(actRelease{up})
		}
		return c.take()
	}
	e.asking = false
	if err != nil {
		c.failed(now, e, err)
		return c.take()
	}
	c.live(now, e, up)
	return c.take()
}

// live makes e a live track that up fills.
func (c *core) live(now time.Time, e *entry, up upstream) {
	e.state, e.up, e.tried, e.grace, e.asking = stateLive, up, nil, time.Time{}, false
	e.track = up.Track()
	for _, w := range e.waiting {
		e.subs[w.sub] = w.sessions
		e.fed = e.fed || w.sessions && e.name.Name == c.cfg.InputTrack
		c.do(actAccept{w.sub, e.track})
	}
	e.waiting = nil
	c.linger(now, e)
}

// failed goes on to the next source, and gives up when there is none.
func (c *core) failed(now time.Time, e *entry, err error) {
	e.tried = append(e.tried, e.src)
	src := c.pickSession(e.name.Namespace, e.tried)
	if src != nil && !src.lost() {
		c.connect(e, src)
		return
	}
	if e.track != nil {
		c.orphan(now, e)
		return
	}
	if e.src.lost() || src != nil && src.lost() {
		// The session went away under the request. It may be back in time.
		waiting := e.waiting
		e.waiting = nil
		c.drop(e)
		for _, w := range waiting {
			if w.sessions { // it looks after returns itself
				c.do(actReject{w.sub, wire.RequestTimeout, "the publisher's session ended"})
				continue
			}
			c.hold(now, e.name, w.sub, c.cfg.Grace)
		}
		return
	}
	code, reason := requestCode(err)
	for _, w := range e.waiting {
		c.do(actReject{w.sub, code, reason})
	}
	e.waiting = nil
	c.drop(e)
}

// upstreamEnded tells that the upstream of an attempt is over. ended is set when
// its publisher said that the track is; otherwise it was lost.
func (c *core) upstreamEnded(now time.Time, name wire.FullTrackName, epoch uint64, ended *track.EndError) []action {
	e := c.tracks[name]
	if e == nil || e.epoch != epoch || e.up == nil {
		return c.take()
	}
	e.up = nil
	if ended != nil && ended.Code != wire.PublishDoneGoingAway {
		c.end(e, ended.Code, ended.Reason)
		return c.take()
	}
	c.do(actAbortOpen{e.track, wire.ResetInternalError})
	if e.input() {
		c.end(e, wire.PublishDoneInternalError, "the publisher's session ended")
		return c.take()
	}
	if src := c.pickSession(name.Namespace, []*source{e.src}); src != nil && !src.lost() {
		c.connect(e, src)
		return c.take()
	}
	c.orphan(now, e)
	return c.take()
}

// orphan keeps a track that has lost its publisher, so that one that returns
// within the grace continues it.
func (c *core) orphan(now time.Time, e *entry) {
	e.state, e.up = stateOrphan, nil
	e.epoch = c.newEpoch()
	if e.grace.IsZero() { // a failed attempt to return does not prolong it
		e.grace = now.Add(c.cfg.Grace)
	}
	c.arm(e)
}

// unsubscribe tells that sub has gone, whatever the reason.
func (c *core) unsubscribe(now time.Time, name wire.FullTrackName, sub subscriber) []action {
	e := c.tracks[name]
	if e == nil {
		return nil
	}
	if i := slices.IndexFunc(e.waiting, func(w waiter) bool { return w.sub == sub }); i >= 0 {
		e.waiting = slices.Delete(e.waiting, i, i+1)
		if e.state == stateHeld {
			c.held--
			if len(e.waiting) == 0 {
				c.drop(e)
			}
		}
		return c.take()
	}
	if _, ok := e.subs[sub]; !ok {
		return c.take()
	}
	delete(e.subs, sub)
	c.linger(now, e)
	return c.take()
}

// linger keeps a track without subscribers for a while: the next viewer often
// comes soon, and finds the current group in memory.
func (c *core) linger(now time.Time, e *entry) {
	e.idle = time.Time{}
	if len(e.subs) == 0 {
		e.idle = now.Add(c.cfg.Linger)
	}
	c.arm(e)
}

// end ends a track for everybody. A closed track is never revived: the next
// subscriber gets a new one.
func (c *core) end(e *entry, code wire.PublishDoneCode, reason string) {
	if e.up != nil {
		c.do(actRelease{e.up})
		e.up = nil
	}
	if e.track != nil {
		c.do(actEnd{e.track, code, reason})
	}
	c.drop(e)
}

func (c *core) drop(e *entry) {
	e.epoch = c.newEpoch()
	c.timers.stop(&e.timer)
	delete(c.tracks, e.name)
}
