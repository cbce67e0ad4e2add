package sim

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// A Result is what a run came to.
type Result struct {
	Seed        uint64
	Hash        uint64 // of everything that happened
	Took        time.Duration
	Events      int
	Connections int
	Objects     int    // that viewers have received whole
	Fetched     int    // of these, in answer to FETCH
	Fills       int    // FETCHes of the relay
	Datagrams   int    // that viewers have received
	Failure     string // empty: every invariant has held
}

// Run plays the scene of a seed to its end. Every line of the trace goes to
// trace, unless that is nil. The same seed gives the same Result.
func Run(seed uint64, trace io.Writer) Result {
	sc := newSceneTraced(seed, trace)
	v := sc.w.guarded(sc.play)
	res := sc.results
	res.Seed, res.Hash, res.Took, res.Events = seed, sc.w.trace.hash, sc.w.since(), sc.w.trace.n
	if v != nil {
		res.Failure = fmt.Sprintf("seed %d: %v\nThe last of what happened:\n%s\nReplay it with\n\tgo test ./moqt/relay/sim -run TestSeeds -sim.seed=%d -v",
			seed, v, sc.w.trace.tail(), seed)
	}
	return res
}

func newSceneTraced(seed uint64, trace io.Writer) *scene {
	sc := newScene(seed)
	sc.w.trace.out = trace
	return sc
}

// play is the scene from beginning to end.
func (sc *scene) play() {
	w := sc.w
	w.after(0, sc.progress)
	w.run(w.between(2*time.Second, 6*time.Second))
	if w.chance(0.15) {
		sc.drain()
		return
	}
	sc.calmDown()
	w.run(4 * time.Second)
	from := w.now
	w.run(sc.longest(3) + 2*time.Second)
	for _, v := range sc.viewers {
		v.checkCalm(from)
	}
	sc.finale()
}

// longest returns n periods of the slowest track.
func (sc *scene) longest(n int) (d time.Duration) {
	for _, e := range sc.encoders {
		d = max(d, time.Duration(n)*e.p.period)
	}
	return d
}

// calmDown ends all faults.
func (sc *scene) calmDown() {
	w := sc.w
	w.calm, w.calmed = true, w.now
	w.note("world", "calm", 0, 0, 0)
	for _, c := range sc.conns {
		if c.closed || c.peer.closed {
			continue
		}
		sc.excuse(c, c.slack()) // for what is still on its way
		if c.peer.limit-c.peer.wrote < someRoom {
			sc.excuse(c, longestStall) // for what its stall kept from leaving
		}
		for _, l := range []*link{c.out, c.peer.out} {
			l.cfg = goodLink(l.cfg.delay)
		}
		c.cfg.window = [2]int64{256 << 10, 256 << 10}
		c.cfg.total = [2]int64{4 << 20, 4 << 20}
		c.consumed(0)
		c.peer.consumed(0)
	}
	for _, v := range sc.viewers {
		w.after(w.between(500*time.Millisecond, 2*time.Second), v.recall)
		for _, s := range v.subs {
			if s.paused && s.live {
				s.update()
			}
		}
	}
}

// abandoned is how long a stream may stay open that nobody sends any more.
const abandoned = 3 * time.Second

// checkCalm holds that a viewer has got everything since the world has calmed
// down, and is at the newest group (liveness, I4).
func (v *viewer) checkCalm(from time.Time) {
	w := v.sc.w
	v.waits()
	if v.sc.tainted() {
		return
	}
	if v.follows {
		v.checkOffered()
	}
	for _, p := range v.plans {
		s := v.current(p)
		if s == nil && v.follows && !v.blocked[p.name] {
			continue // nobody offers it
		}
		if s == nil || !s.live || s.endGroup != ^uint64(0) {
			w.fail("liveness", "%s has no subscription to %v, %v after the world calmed down", v.name, p.name, w.now.Sub(from)+4*time.Second)
		}
		if len(s.updates) > 0 && w.now.Sub(s.updates[0].since) > max(s.updates[0].slack, v.cl.c.slack()) {
			w.fail("I8 control", "%s: REQUEST_UPDATE was not answered within %v", v.name, w.now.Sub(s.updates[0].since))
		}
		newest := p.made.Group - 1 // the last that is whole
		if lag := uint64(500*time.Millisecond/p.period) + 2; s.newest+lag < p.made.Group {
			w.fail("liveness", "%s is at group %d of %v, which is at %d", v.name, s.newest, p.name, p.made.Group)
		}
		oldest := slices.SortedFunc(maps.Keys(s.open), func(a, b *checker) int { return cmp.Compare(a.header.Group, b.header.Group) })
		for _, c := range oldest {
			if over := time.Duration(p.made.Group-c.header.Group) * p.period; c.header.Group/epochGroups < p.epoch || over > 8*time.Second+2*p.period {
				w.fail("I4 waiting", "%s has a stream of group %d of %v open, which is at %d", v.name, c.header.Group, p.name, p.made.Group)
			} else if over > abandoned+2*p.period && !v.sc.sending(p, c.header.Group, c.header.Subgroup) {
				w.fail("I4 waiting", "%s has a stream of group %d of %v open, which nobody sends any more", v.name, c.header.Group, p.name)
			}
		}
		settled := w.now.Add(-500 * time.Millisecond)
		for g := newest; g > p.group(0); g-- {
			// Group g began and ended about this long ago.
			end := w.now.Add(-time.Duration(p.made.Group-g-1) * p.period)
			begin := end.Add(-2 * p.period)
			if begin.Before(from) || begin.Before(s.since) {
				break
			}
			if end.After(settled) {
				continue
			}
			s.checkWhole(g)
		}
	}
}

// checkWhole holds that a group has come whole, each stream of it to its FIN.
func (s *sub) checkWhole(g uint64) {
	w, p := s.v.sc.w, s.p
	if p.datagrams || s.object > 0 || s.subgroup > 0 {
		return // any may be lost, or be too late
	}
	for k := range p.count() {
		if loc := s.at(g, k); !s.delivered[loc] && !p.denied[loc] {
			w.fail("completeness", "%s has not got object %v of %v", s.v.name, loc, p.name)
		}
	}
	for lane := range p.subgroups {
		if !s.finished[[2]uint64{g, uint64(lane)}] {
			w.fail("completeness", "%s has not got the FIN of subgroup %d of group %d of %v", s.v.name, lane, g, p.name)
		}
	}
}
