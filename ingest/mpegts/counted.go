package mpegts

import (
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// audioSlack is how far a PTS may lie from the time that counting samples gives:
// PTS are rounded, and come from clocks that jitter.
const audioSlack = 30 * time.Millisecond

// counted is the time of a stream of audio, which is that of its samples.
type counted struct {
	begun bool
	scale uint32
	next  int64 // where the next frame begins, ticks of scale
	skip  int64 // frames to leave out, whose time others had
}

// rescale changes the scale.
func (c *counted) rescale(scale uint32) {
	if c.begun {
		c.next = cmaf.Time{Ticks: c.next, Scale: c.scale}.In(scale).Ticks
	}
	c.scale = scale
}

// restamp holds the counted time to the PTS of the next frame, at in ticks of
// 90 kHz, which has as many samples. Small steps back and forth are jitter;
// beyond them the PTS is right. Where it lies ahead there is a hole; where it
// lies back, frames are left out until it has caught up, as where a splice makes
// audio overlap.
func (c *counted) restamp(s *stream, at, samples int64) {
	want := cmaf.Time{Ticks: at, Scale: clockRate}.In(c.scale).Ticks
	if !c.begun {
		c.begun, c.next, c.skip = true, want, 0
		return
	}
	off := cmaf.Time{Ticks: want - c.next, Scale: c.scale}
	catching := c.skip > 0
	c.skip = 0
	switch d := off.Duration(); {
	case d.Abs() > jumpThreshold:
		s.d.jump(s, off.In(clockRate).Ticks)
		c.next = want
	case d > audioSlack:
		c.next = want
	case d < -audioSlack || catching && d < 0:
		c.skip = (-off.Ticks + samples/2) / samples
	}
}
