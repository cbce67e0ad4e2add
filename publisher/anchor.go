package publisher

import (
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

const (
	// settle is how long after an offset was fixed the first arrivals still set
	// the anchor outright: an input may open with a burst.
	settle = 500 * time.Millisecond
	// The anchor moves by at most one part in these of the media time that
	// passed: quickly to where an input states it or where an earlier arrival
	// proves it, slowly when media merely comes later.
	slewFast, slewSlow = 100, 10_000
	// anchorStep and anchorEvery are how far the anchor must have moved, and
	// how much media time must have passed, to be told again.
	anchorStep  = time.Millisecond
	anchorEvery = time.Second
)

// An anchor follows the UTC of media time 0. It is a step function: media and
// wall times come in, and nothing else moves it.
type anchor struct {
	stated  bool // by the input; then arrivals do not count
	set     bool
	rem     time.Duration // UTC less media time
	at      time.Duration // media time at which rem was set last
	started time.Time     // when the offset was fixed

	told    bool
	toldRem time.Duration
	toldAt  time.Duration
}

// restart forgets the anchor, because media time has a new offset.
func (a *anchor) restart(now time.Time) { *a = anchor{started: now} }

// state takes a wall time that the input vouches for.
func (a *anchor) state(media cmaf.Time, wall time.Time) {
	at := media.Duration()
	rem := time.Duration(wall.UnixNano()) - at
	first := !a.stated
	a.stated = true
	if !a.set || first && !a.told {
		a.set, a.rem, a.at = true, rem, at
		return
	}
	a.slew(rem, at, slewFast)
}

// arrival takes the arrival of a sample, captured at or before now.
func (a *anchor) arrival(media cmaf.Time, now time.Time) {
	if a.stated {
		return
	}
	at := media.Duration()
	rem := time.Duration(now.UnixNano()) - at
	switch {
	case !a.set || rem < a.rem && now.Sub(a.started) < settle:
		a.set, a.rem, a.at = true, rem, at
	case rem < a.rem:
		a.slew(rem, at, slewFast)
	default:
		a.slew(rem, at, slewSlow)
	}
}

// slew moves the anchor towards rem.
func (a *anchor) slew(rem, at time.Duration, rate int64) {
	passed := at - a.at
	if passed <= 0 {
		return
	}
	most := passed / time.Duration(rate)
	a.rem += min(max(rem-a.rem, -most), most)
	a.at = at
}

// due returns the wall time at media when it is to be told: at first, and when
// it has moved since.
func (a *anchor) due(media cmaf.Time) (time.Time, bool) {
	if !a.set {
		return time.Time{}, false
	}
	at := media.Duration()
	if a.told && ((a.rem-a.toldRem).Abs() < anchorStep || at-a.toldAt < anchorEvery) {
		return time.Time{}, false
	}
	a.told, a.toldRem, a.toldAt = true, a.rem, at
	return time.Unix(0, int64(at+a.rem)), true
}
