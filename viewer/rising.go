package viewer

import (
	"fmt"

	"github.com/broadcastd/broadcastd/cmaf"
)

// rising keeps media time from going back. It adds whole seconds, so that
// differences stay exact in every timescale.
type rising struct {
	shift int64 // seconds; the newest
}

// trackRising is what rising knows of one track.
type trackRising struct {
	shift int64 // seconds, in use
	last  cmaf.Time
}

// move moves c to where it may be. reason is not empty if the publisher's time
// went back and c starts a new timeline.
func (r *rising) move(t *trackRising, c *cmaf.Chunk, scale uint32) (reason string) {
	at := func(shift int64) cmaf.Time {
		return cmaf.Time{Ticks: c.DecodeTime + shift*int64(scale), Scale: scale}
	}
	if back := t.last.Sub(at(t.shift)); t.last.Scale != 0 && at(t.shift).Before(t.last) {
		// Another track may have found the same jump before.
		if t.shift >= r.shift || at(r.shift).Before(t.last) {
			reason = fmt.Sprintf("decode time went back by %v", back.Duration())
			r.shift = t.shift + ceilSeconds(back)
		}
		t.shift = r.shift
	}
	c.DecodeTime += t.shift * int64(scale)
	t.last = cmaf.Time{Ticks: c.DecodeTime, Scale: scale}
	return reason
}

// ceilSeconds returns t in whole seconds, rounded up; t is above 0.
func ceilSeconds(t cmaf.Time) int64 {
	return (t.Ticks + int64(t.Scale) - 1) / int64(t.Scale)
}
