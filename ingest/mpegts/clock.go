package mpegts

import "sync/atomic"

// A Clock unwraps the 33-bit times of one presentation, which begin again at 0
// every 26.5 hours. The zero value is ready to use. Demuxers of one
// presentation, such as an audio rendition and a video rendition of HLS, share
// one, so that times on both sides of a wrap stay together; they may do so
// from several goroutines.
type Clock struct {
	last  atomic.Int64
	begun atomic.Bool
}

const (
	clockRate = 90_000
	clockWrap = 1 << 33
)

// now returns the time that was read last, false before the first.
func (c *Clock) now() (int64, bool) { return c.last.Load(), c.begun.Load() }

// near is unwrap for a time that is not the stream's own: the next time is held
// to the one before.
func (c *Clock) near(t int64) int64 {
	last := c.last.Load()
	// The difference as a signed number of 33 bits.
	return last + ((t-last)&(clockWrap-1) ^ (clockWrap / 2) - clockWrap/2)
}

// unwrap returns t on the side of the wrap that is nearest to the time before.
func (c *Clock) unwrap(t int64) int64 {
	if c.begun.Load() {
		t = c.near(t)
	}
	c.last.Store(t)
	c.begun.Store(true)
	return t
}
