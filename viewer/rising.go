package viewer

import (
	"fmt"

	"github.com/broadcastd/broadcastd/cmaf"
)

// rising keeps media time from going back. It adds whole seconds, so that
// differences stay exact in every timescale. What lies between two jumps of the
// publisher is a run; all tracks of a run are moved by the same, so that they
// stay in sync.
type rising struct {
	run   uint64
	shift int64 // of the run, seconds
}

// trackRising is what rising knows of one track. It stays in the run before
// until its own time goes back.
type trackRising struct {
	run   uint64
	shift int64
	last  cmaf.Time // decode time of the last chunk
}

// move moves c to where it may be. reason is not empty if that begins a run, or
// moves up one that has begun.
func (r *rising) move(t *trackRising, c *cmaf.Chunk, scale uint32) (reason string) {
	at := func(shift int64) cmaf.Time {
		return cmaf.Time{Ticks: c.DecodeTime + shift*int64(scale), Scale: scale}
	}
	if t.last.Scale == 0 {
		t.run = r.run
	}
	if t.run == r.run {
		t.shift = r.shift
	}
	if at(t.shift).Before(t.last) {
		reason = fmt.Sprintf("decode time went back by %v", t.last.Sub(at(t.shift)).Duration())
		switch {
		case t.run == r.run:
			r.run++
			r.shift += ceilSeconds(t.last.Sub(at(t.shift)))
		case at(r.shift).Before(t.last):
			r.shift += ceilSeconds(t.last.Sub(at(r.shift)))
		default:
			reason = "" // another track has told
		}
		t.run, t.shift = r.run, r.shift
	}
	c.DecodeTime += t.shift * int64(scale)
	t.last = cmaf.Time{Ticks: c.DecodeTime, Scale: scale}
	return reason
}

// ceilSeconds returns t in whole seconds, rounded up; t is above 0.
func ceilSeconds(t cmaf.Time) int64 {
	return (t.Ticks + int64(t.Scale) - 1) / int64(t.Scale)
}
