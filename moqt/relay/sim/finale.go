package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// finale ends everything in good order, and holds that nothing is left.
func (sc *scene) finale() {
	w := sc.w
	sc.ending = true
	w.note("world", "ends", 0, 0, 0)
	for _, e := range sc.encoders {
		e.p.stopped = true
	}
	w.run(sc.longest(1) + time.Second)
	for _, v := range sc.viewers {
		v.checkLast()
	}
	if w.chance(0.3) {
		sc.leaveFirst()
	}
	for _, p := range sc.publishers {
		p.leaving = true
		for _, f := range p.feeds {
			if f.live {
				f.done()
			}
		}
	}
	for _, s := range sc.sources {
		s.end()
	}
	w.run(3 * time.Second)
	for _, l := range sc.locals {
		l.checkEnded()
	}
	for _, v := range sc.viewers {
		v.checkEnded()
		sc.results.Objects += v.objects
	}
	sc.dismiss()
	for _, p := range sc.publishers {
		if p.cl != nil && !p.cl.gone {
			_ = p.cl.c.CloseWithError(wire.SessionNoError, "")
		}
	}
	for _, s := range sc.sources {
		s.withdraw()
		s.drop()
	}
	w.run(grace + linger + connect + remain + 3*time.Second)
	sc.checkNothingLeft()
	if w.chance(0.2) {
		sc.shut()
	}
}

// dismiss has all viewers leave.
func (sc *scene) dismiss() {
	for _, v := range sc.viewers {
		v.leaving = true
		if v.cl != nil && !v.cl.gone {
			_ = v.cl.c.CloseWithError(wire.SessionNoError, "")
		}
	}
}

// leaveFirst has everybody leave who reads, and holds that the relay lets go of
// them while the publishers are still there (I10).
func (sc *scene) leaveFirst() {
	sc.dismiss()
	for _, l := range sc.locals {
		l.close()
	}
	sc.w.run(2 * time.Second)
	if n := sc.sums()["broadcastd_relay_upstream_track_subscribers"]; n != 0 {
		sc.w.fail("I10 opened-closed", "tracks have %v subscribers when all have left", n)
	}
}

// checkLast holds that the last group has come whole, though none follows that
// would push it along.
func (v *viewer) checkLast() {
	if v.sc.tainted() {
		return
	}
	for _, s := range v.subs {
		last := s.p.made.Group - 1
		if s.live && s.p.made.Object == 0 && s.p.made.Group > s.p.group(0) && v.sc.w.now.Sub(s.since) > 2*s.p.period+2*time.Second {
			s.checkWhole(last)
		}
	}
}

// checkEnded holds that a viewer was told of the end of every track and waits
// for nothing (I4).
func (v *viewer) checkEnded() {
	w := v.sc.w
	v.waits()
	for _, s := range v.subs {
		if s.live {
			w.fail("I4 waiting", "%s waits for %v, whose publisher has ended it", v.name, s.p.name)
		}
	}
	if v.cl == nil {
		return
	}
	for _, in := range v.cl.ins {
		if in.kind == wire.StreamSubgroup {
			w.fail("I4 waiting", "%s waits on stream %d, though every track has ended: %+v", v.name, in.e.st.id, in.sink)
		}
	}
}

// checkEnded holds that a reader in the process was told of the end (I16), and
// was not left waiting.
func (l *local) checkEnded() {
	w := l.sc.w
	l.sc.results.Objects += l.reads
	if l.sub == nil {
		return
	}
	if _, _, ended := l.sub.Track().Ended(); !ended {
		w.fail("I4 waiting", "%s waits for %v, whose publisher has ended it", l.name, l.p.name)
	}
	l.read()
	if l.ended == nil {
		w.fail("I16 end", "%s reads %v, which has ended, and is not told so", l.name, l.p.name)
	}
}

// checkNothingLeft holds that what was opened is closed (I10) and that the
// accounting is back at zero (I9).
func (sc *scene) checkNothingLeft() {
	w := sc.w
	sums := sc.sums()
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if n := sums[name]; !strings.HasSuffix(name, "_total") && n != 0 {
			w.fail("I10 opened-closed", "%s is %v when all is over", name, n)
		}
	}
	same := func(opened string, closed ...string) {
		n := sums[opened]
		for _, c := range closed {
			n -= sums[c]
		}
		if n != 0 {
			w.fail("I10 opened-closed", "%s is %v, %v of that not in %v", opened, sums[opened], n, closed)
		}
	}
	same("broadcastd_moqt_sessions_opened_total", "broadcastd_moqt_sessions_closed_total")
	if sums["broadcastd_moqt_sessions_opened_total"] != float64(sc.results.Connections) {
		w.fail("I10 opened-closed", "%v sessions were counted, there were %d", sums["broadcastd_moqt_sessions_opened_total"], sc.results.Connections)
	}
	if sc.charged != 0 {
		w.fail("I9 accounting", "tracks charge %d bytes when all is over", sc.charged)
	}
}

// sums returns each gauge and counter, over all its labels.
func (sc *scene) sums() map[string]float64 {
	families, err := sc.registry.Gather()
	if err != nil {
		panic(err)
	}
	sums := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetHistogram() == nil {
				sums[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sums
}
