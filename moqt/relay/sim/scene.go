package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A scene is a world with a relay in it, publishers and viewers.
type scene struct {
	w          *world
	relay      *relay.Relay
	registry   *prometheus.Registry
	prefix     wire.Namespace
	strict     bool
	encoders   []*encoder
	publishers []*publisher
	viewers    []*viewer
	sources    []*source
	locals     []*local
	ending     bool
	drained    bool // the relay goes away, or has gone
	members    []*member
	twisted    map[string]bool // publishers that have sent a wrong object
	largest    map[string]wire.Location
	charged    int64 // by the relay's tracks, in bytes
	conns      []*conn
	results    Result
}

// A member is a session of the relay.
type member struct {
	sc   *scene
	m    *relay.Member
	node *node
}

func (m *member) pending() bool { return m.m.Pending() }

func (m *member) step(now time.Time) time.Time {
	next, err := m.m.Step(now)
	if err != nil {
		m.sc.w.note(m.node.name, "ended", 0, 0, 0)
		m.sc.w.leave(m.node)
		m.sc.members = slices.DeleteFunc(m.sc.members, func(o *member) bool { return o == m })
		return time.Time{}
	}
	return next
}

// A core is the relay itself.
type core struct{ r *relay.Relay }

func (c core) pending() bool                     { return c.r.Pending() }
func (c core) step(now time.Time) (at time.Time) { return c.r.Step(now) }

// Times that are shorter than those of a real relay, so that a run needs not be
// long.
const (
	grace   = time.Second
	linger  = 1500 * time.Millisecond
	connect = 2 * time.Second
)

// remain is how long the relay keeps what an ended track holds.
const remain = 10 * time.Second

// newScene sets a scene, in which anything may be that the seed says.
func newScene(seed uint64) *scene {
	w := newWorld(seed)
	sc := &scene{
		w: w, registry: prometheus.NewRegistry(), prefix: wire.MustNamespace("live"),
		twisted: make(map[string]bool), largest: make(map[string]wire.Location),
	}
	sc.strict = w.chance(0.3)
	r, err := relay.New(sc.config())
	if err != nil {
		panic(err)
	}
	sc.relay = r
	w.join("relay", core{r})
	sc.addPublishers()
	for i := range w.number(1, 12) {
		sc.addViewer(i)
	}
	for i := range w.number(0, 2) {
		l := newLocal(sc, i, pick(w, sc.encoders...).p)
		sc.locals = append(sc.locals, l)
	}
	if w.chance(0.2) {
		newRude(sc, 0)
	}
	return sc
}

func (sc *scene) config() relay.Config {
	return relay.Config{
		Authorizer: warden{sc},
		Grace:      grace, Linger: linger, Connect: connect, Registerer: sc.registry,
		Session: moqt.Config{
			JoinStrict: sc.strict, Registerer: sc.registry,
			TrackConfig: sc.trackConfig(), Limits: moqt.Limits{FillTimeout: fill},
		},
	}
}

func (sc *scene) trackConfig() track.Config {
	w := sc.w
	return track.Config{
		Now: w.clock, MaxGroups: w.number(3, 64), MaxAge: w.between(time.Second, 10*time.Second), Roll: w.chance(0.2),
		Charge: func(n int64) { sc.charged += n },
	}
}

// addPublishers adds encoders, and who publishes what they make.
func (sc *scene) addPublishers() {
	w := sc.w
	for i := range w.number(1, 2) {
		ns, _ := sc.prefix.Join(wire.MustNamespace(fmt.Sprintf("cam%d", i)))
		var tracks []*encoder
		for _, name := range []string{"video", "audio"}[:w.number(1, 2)] {
			e := &encoder{w: w, p: w.newPlan(track.Name{Namespace: ns, Name: name})}
			w.after(w.between(0, 500*time.Millisecond), e.run)
			tracks = append(tracks, e)
		}
		sc.encoders = append(sc.encoders, tracks...)
		if w.chance(0.25) {
			sc.addSource(ns, tracks)
			continue
		}
		push := w.chance(0.5)
		redundant := 1
		if !push {
			redundant = w.number(1, 2)
		}
		for j := range redundant {
			p := &publisher{
				sc: sc, name: fmt.Sprintf("pub%d.%d", i, j), ns: ns, tracks: tracks, push: push,
				strict: w.chance(0.2), follows: w.chance(0.2), faults: pick(w, 0, 0, 0.02, 0.1),
			}
			if w.chance(0.03) {
				p.twists = 0.02
			}
			for _, e := range tracks {
				e.outlets = append(e.outlets, p)
			}
			sc.publishers = append(sc.publishers, p)
			w.after(w.between(0, 400*time.Millisecond), p.connect)
			if w.chance(0.5) {
				w.after(w.between(time.Second, 4*time.Second), func() { sc.disturb(p) })
			}
		}
	}
}

// addSource publishes tracks from within the process. What a session then
// publishes under the same names must not be seen by anyone (I11).
func (sc *scene) addSource(ns wire.Namespace, tracks []*encoder) {
	w := sc.w
	s := newSource(sc, tracks)
	sc.sources = append(sc.sources, s)
	s.withdraw = sc.relay.AnnounceAsync(ns, s)
	for _, e := range tracks {
		if w.chance(0.3) {
			w.after(w.between(time.Second, 4*time.Second), func() {
				if !w.calm {
					e.restart()
				}
			})
		}
	}
	if w.chance(0.4) {
		p := &publisher{sc: sc, name: "impostor" + ns.String(), ns: ns, tracks: tracks, push: w.chance(0.5), impostor: true}
		for _, e := range tracks {
			e.outlets = append(e.outlets, p)
		}
		sc.publishers = append(sc.publishers, p)
		w.after(w.between(0, 400*time.Millisecond), p.connect)
	}
}

// disturb does something to a publisher, and again later.
func (sc *scene) disturb(p *publisher) {
	w := sc.w
	if w.calm {
		return
	}
	if cl := p.cl; cl != nil && !cl.gone {
		switch w.number(0, 4) {
		case 0:
			w.note(p.name, "cuts", 0, 0, 0)
			cl.c.cut(w.between(0, 1500*time.Millisecond))
		case 1:
			w.note(p.name, "leaves", 0, 0, 0)
			_ = cl.c.CloseWithError(wire.SessionNoError, "")
		case 2:
			w.note(p.name, "restarts", 0, 0, 0)
			pick(w, p.tracks...).restart()
		case 3:
			sc.darken(cl.c)
		case 4:
			d := w.between(0, 300*time.Millisecond)
			cl.node.asleep = w.now.Add(d)
			sc.excuse(cl.c, d)
		}
	}
	w.after(w.between(200*time.Millisecond, 3*time.Second), func() { sc.disturb(p) })
}

// darken lets nothing through a connection for a while.
func (sc *scene) darken(c *conn) {
	d := sc.w.between(10*time.Millisecond, 1200*time.Millisecond)
	sc.w.note(c.name, "dark", uint64(d), 0, 0)
	c.out.dark, c.peer.out.dark = sc.w.now.Add(d), sc.w.now.Add(d)
	sc.excuse(c, 2*d)
}

// excuse adds d to what a connection's messages may be late.
func (sc *scene) excuse(c *conn, d time.Duration) {
	c.excused += d
	c.peer.excused += d
}

func (sc *scene) addViewer(i int) {
	w := sc.w
	v := &viewer{sc: sc, name: fmt.Sprintf("viewer%d", i), few: w.chance(0.15), restive: w.chance(0.6), watch: w.chance(0.3)}
	for _, e := range sc.encoders {
		if len(v.plans) == 0 || w.chance(0.5) {
			v.plans = append(v.plans, e.p)
		}
	}
	if len(v.plans) > 1 && w.chance(0.5) {
		v.plans = v.plans[1:]
	}
	v.follows, v.badge = w.chance(0.2), w.chance(0.3)
	sc.viewers = append(sc.viewers, v)
	w.after(w.between(0, 3*time.Second), v.connect)
}

// dial connects a client with the relay, and returns the client's end.
func (sc *scene) dial(name string) *conn {
	w := sc.w
	cfg := connConfig{up: sc.link(), down: sc.link()}
	for i := range 2 {
		cfg.window[i] = int64(pick(w, 4<<10, 32<<10, 256<<10))
		if w.calm {
			cfg.window[i] = 256 << 10
		}
		cfg.total[i] = cfg.window[i] * int64(w.number(4, 16))
		cfg.bidi[i], cfg.uni[i] = 64, 256
	}
	if i := slices.IndexFunc(sc.viewers, func(v *viewer) bool { return v.name == name }); i >= 0 && sc.viewers[i].few {
		cfg.uni[0] = 16
	}
	client, server := w.connect(name, cfg)
	m, err := sc.relay.Enter(server)
	if err != nil {
		panic(err)
	}
	mb := &member{sc: sc, m: m}
	server.owner = w.join(server.name, mb)
	mb.node = server.owner
	sc.members = append(sc.members, mb)
	server.probe = func() {
		if m.Held() {
			w.fail("I5 locks", "%s: a lock is held where the transport is called", server.name)
		}
	}
	sc.conns = append(sc.conns, client)
	sc.results.Connections++
	server.tells = w.chance(0.5)
	sc.follow(server)
	return client
}

// link returns one direction of a connection, of any kind while the world is
// not calm.
func (sc *scene) link() linkConfig {
	w := sc.w
	if w.calm {
		return goodLink(w.between(0, 30*time.Millisecond))
	}
	l := linkConfig{
		rate: pick(w, 40_000, 200_000, 1_000_000, 10_000_000), delay: w.between(time.Millisecond, 120*time.Millisecond),
		queue: pick(w, 8<<10, 64<<10, 512<<10),
	}
	if w.chance(0.4) {
		l.jitter = w.between(0, 60*time.Millisecond)
	}
	if w.chance(0.3) {
		l.loss = pick(w, 0.005, 0.03, 0.1)
	}
	return l
}

func goodLink(delay time.Duration) linkConfig {
	return linkConfig{rate: 10_000_000, delay: delay, queue: 512 << 10}
}

// lost takes the end of a connection that the client did not want.
func (sc *scene) lost(name string, err error, guilty bool) {
	se, ok := errors.AsType[*moqt.SessionError](err)
	if ok && se.Remote && sc.drained && se.Code == wire.SessionGoawayTimeout {
		return
	}
	if ok && se.Remote && se.Code != wire.SessionNoError && !guilty {
		sc.w.fail("protocol", "%s, which does nothing wrong, was closed: %v", name, err)
	}
}

// tainted reports whether somebody has published wrong objects.
func (sc *scene) tainted() bool { return len(sc.twisted) > 0 }

// largestOf returns the largest object of a track that name was told of.
func (sc *scene) largestOf(name string, p *plan) wire.Location {
	return sc.largest[name+p.name.String()]
}

// sawLargest holds that the largest object of a track never goes back (I12).
//
// floor is what it was when the question was put: answers overtake each other.
func (sc *scene) sawLargest(name string, p *plan, floor wire.Location, at *wire.Location) {
	if at == nil {
		return
	}
	if at.Less(floor) {
		sc.w.fail("I12 monotonic", "%s: the largest object of %v was %v and is %v", name, p.name, floor, *at)
	}
	if key := name + p.name.String(); sc.largest[key].Less(*at) {
		sc.largest[key] = *at
	}
	if !p.exists(*at) {
		sc.w.fail("nothing invented", "%s: the largest object of %v is %v, which was not made", name, p.name, *at)
	}
}
