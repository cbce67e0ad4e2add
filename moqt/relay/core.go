package relay

import (
	"fmt"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/timers"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A core is the relay's state: which namespaces are published by whom, which
// tracks are carried, who waits for what. It is a step function: each method
// takes the time and what happened, and returns what is to be done. It starts
// no goroutine, reads no clock, takes no lock and does no I/O, so that a
// simulator replays it exactly. Relay.Run drives it from one goroutine. Tracks
// are memory to it.
type core struct {
	cfg    Config
	spaces map[wire.Namespace]*space
	// announced lists what each session publishes, in the order of coming.
	announced map[*peer][]*source
	tracks    map[wire.FullTrackName]*entry
	// watchers want to hear of namespaces under their prefix (SUBSCRIBE_NAMESPACE).
	watchers []*watcher
	// trackers want to hear of tracks under theirs (SUBSCRIBE_TRACKS).
	trackers []*tracker
	timers   timers.Queue[func(now time.Time)]
	pulse    timer  // looks at all tracks each second, while there are any
	held     int    // subscribers held for a publisher that is not there yet
	epoch    uint64 // of the newest upstream attempt
	shun     []shun // sources that are not asked for a track, in the order of their times
	fills    []*fill
	ended    []ended                 // tracks that some may still read, in the order of their ends
	readers  int                     // subscriptions and fetches of sessions
	paused   map[wire.Namespace]bool // by Relay.Pause
	counts   counts
	acts     []action
}

// counts are what the core counts for the metrics.
type counts struct {
	surplus    uint64 // publishers left out because a track had enough of them
	superseded uint64 // publishers released because a newer one spoke and they did not
	restarts   uint64 // tracks begun anew because their publisher counts from below again
	malformed  uint64
	cached     uint64 // FETCHes answered with what was there
	filled     uint64 // and those that had to be filled
	unfilled   uint64 // holes left unknown, because there were too many at a time
}

func (c *counts) fetch(missing bool) {
	if missing {
		c.filled++
	} else {
		c.cached++
	}
}

// A timer runs a function from the relay's loop.
type timer = timers.Timer[func(now time.Time)]

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
	// tracks are those that a publisher in this process tells of unasked.
	tracks []*track.Track
}

func (s *source) lost() bool { return !s.lostUntil.IsZero() }

// A subscriber waits for a track or reads it. Its methods do not block.
type subscriber interface {
	accept(*track.Track)
	reject(wire.RequestCode, string)
	wants() wants
	session() *peer // that it is of; nil: a part of this process
}

// wants are what a subscriber asks of the publisher through us.
type wants struct {
	paused   bool    // Forward State 0
	newGroup *uint64 // NEW_GROUP_REQUEST (section 10.2.13)
}

// An upstream is a subscription at a publisher that fills a track.
type upstream interface {
	Track() *track.Track
	Close()
	// heard returns how much has come from the publisher's session so far, 0
	// where that is unknown: a count that stands still tells of a dead one.
	heard() uint64
	// update sends REQUEST_UPDATE with what is not nil.
	update(forward *bool, newGroup *uint64)
}

// A watcher hears of namespaces under prefix.
type watcher struct {
	prefix   wire.Namespace
	theirs   wire.Namespace // how a session spells prefix
	sink     namespaceSink
	sessions bool // it hears of sessions alone, and of each that comes
}

type namespaceSink interface {
	Announce(wire.Namespace)
	Withdraw(wire.Namespace)
}

func newCore(cfg Config) *core {
	c := &core{
		cfg:       cfg,
		spaces:    make(map[wire.Namespace]*space),
		announced: make(map[*peer][]*source),
		tracks:    make(map[wire.FullTrackName]*entry),
		paused:    make(map[wire.Namespace]bool),
	}
	c.pulse.Do = c.beat
	return c
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
		t, ok := c.timers.Pop(now)
		if !ok {
			return c.take()
		}
		t.Do(now)
	}
}

// next returns the time of the earliest timer, if there is one.
func (c *core) next() (time.Time, bool) { return c.timers.Next() }

// subscribe asks for a track on behalf of sub. hold is how long it may wait for
// a publisher to appear (RENDEZVOUS_TIMEOUT, section 10.2.4).
func (c *core) subscribe(now time.Time, name wire.FullTrackName, sub subscriber, hold time.Duration) []action {
	c.route(now, name, sub, hold)
	return c.take()
}

func (c *core) route(now time.Time, name wire.FullTrackName, sub subscriber, hold time.Duration) {
	src := c.pick(name.Namespace, nil)
	if t, ok := src.offers(name); ok {
		// Ahead of what a session feeds, which this publisher may be made of.
		c.do(actAccept{sub, t})
		return
	}
	if e := c.tracks[name]; e != nil {
		c.join(now, e, sub, hold)
		return
	}
	switch {
	case src != nil && src.local != nil:
		c.hold(now, name, sub, hold)
	case src != nil && !src.lost():
		able := c.candidates(now, name)
		if len(able) == 0 {
			c.do(actReject{sub, wire.RequestMalformedTrack, "what its publisher sends was malformed a moment ago"})
			break
		}
		e := c.open(now, name)
		e.waiting = append(e.waiting, c.waiter(now, sub, hold))
		c.connect(now, e, able[0])
	case src != nil:
		// Its session is gone, but may be back before the grace ends.
		c.hold(now, name, sub, max(hold, src.lostUntil.Sub(now)))
	default:
		c.hold(now, name, sub, hold)
	}
}

// subscribeSession is subscribe at sessions alone: publishers in this process
// are passed over, and nobody is waited for.
func (c *core) subscribeSession(now time.Time, name wire.FullTrackName, sub subscriber) []action {
	e := c.tracks[name]
	src := c.pickSession(name.Namespace, nil)
	switch {
	case e != nil && e.track != nil:
		e.fed = name.Name == c.cfg.InputTrack
		c.admit(now, e, sub, true)
	case e != nil && len(e.links) > 0:
		e.waiting = append(e.waiting, waiter{sub: sub, sessions: true})
	case e == nil && src != nil && !src.lost():
		e = c.open(now, name)
		e.waiting = append(e.waiting, waiter{sub: sub, sessions: true})
		c.connect(now, e, src)
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
	switch {
	case e.track != nil && e.track.Malformed() != nil:
		// It ends as soon as it is known whose fault that is.
		e.waiting = append(e.waiting, c.waiter(now, sub, hold))
	case e.track != nil:
		c.admit(now, e, sub, false)
	case len(e.links) > 0:
		e.waiting = append(e.waiting, c.waiter(now, sub, hold))
	default:
		c.hold(now, e.name, sub, hold)
	}
}

// waiter returns sub as one that waits for an answer, and for a publisher for d.
func (c *core) waiter(now time.Time, sub subscriber, d time.Duration) waiter {
	return waiter{sub: sub, patience: now.Add(min(d, c.cfg.MaxRendezvous))}
}

// hold keeps sub until a publisher appears, within bounds.
func (c *core) hold(now time.Time, name wire.FullTrackName, sub subscriber, d time.Duration) {
	d = min(d, c.cfg.MaxRendezvous)
	if d <= 0 {
		c.do(actReject{sub, wire.RequestDoesNotExist, fmt.Sprintf("no publisher has announced a namespace of %s", name)})
		return
	}
	if p := sub.session(); c.held >= c.cfg.MaxHeld || p != nil && p.held >= (c.cfg.MaxHeld+1)/2 {
		c.do(actReject{sub, wire.RequestExcessiveLoad, "too many subscriptions wait for a publisher"})
		return
	}
	e := c.tracks[name]
	if e == nil {
		e = c.open(now, name)
	}
	c.holds(sub, 1)
	w := c.waiter(now, sub, d)
	w.until = w.patience
	e.waiting = append(e.waiting, w)
	c.arm(e)
}

// holds counts n more subscribers that are held.
func (c *core) holds(sub subscriber, n int) {
	c.held += n
	if p := sub.session(); p != nil {
		p.held += n
	}
}

func (c *core) expireHeld(now time.Time, e *entry) {
	e.waiting = slices.DeleteFunc(e.waiting, func(w waiter) bool {
		if w.until.After(now) {
			return false
		}
		c.holds(w.sub, -1)
		c.do(actReject{w.sub, wire.RequestTimeout, fmt.Sprintf("no publisher of %s came in time", e.name)})
		return true
	})
	if len(e.waiting) == 0 {
		c.drop(e)
		return
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
		if e.held() {
			c.holds(sub, -1)
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

// released takes all who are held out of e, because there is somebody to ask.
func (c *core) released(e *entry) {
	for i := range e.waiting {
		if !e.waiting[i].until.IsZero() {
			c.holds(e.waiting[i].sub, -1)
			e.waiting[i].until = time.Time{}
		}
	}
}
