package cmaf

import "math"

// A Meter measures what a header did not say: the bitrate and frame rate of
// one track, from its chunks. The zero value is ready; one goroutine owns it.
type Meter struct {
	windowStart int64 // ticks
	windowBytes int64
	samples     int
	begun       bool
	peak        float64 // bits per second over one window
	frameRate   float64
}

// Add counts a chunk of the track that h describes. It measures over windows
// of a second, because a single key frame says nothing about the rate.
func (m *Meter) Add(h Header, c Chunk) {
	if h.Timescale == 0 {
		return
	}
	if span := c.DecodeTime - m.windowStart; m.begun && (span >= int64(h.Timescale) || span < 0) {
		if span > 0 {
			seconds := float64(span) / float64(h.Timescale)
			m.peak = max(m.peak, float64(8*m.windowBytes)/seconds)
			m.frameRate = float64(m.samples) / seconds
		}
		m.begun = false
	}
	if !m.begun {
		*m = Meter{begun: true, windowStart: c.DecodeTime, peak: m.peak, frameRate: m.frameRate}
	}
	m.samples += len(c.Samples)
	m.windowBytes += int64(len(c.Data))
}

// Fill sets h's Bitrate, and a video track's FrameRate, where they are 0 and
// known by now, and reports whether it set any. The bitrate is the highest of
// any second so far, rounded up to two digits, so that it seldom changes.
func (m *Meter) Fill(h *Header) bool {
	set := false
	if h.Bitrate == 0 && m.peak > 0 {
		unit := math.Pow(10, max(0, math.Floor(math.Log10(m.peak))-1))
		h.Bitrate, set = int(math.Ceil(m.peak/unit)*unit), true
	}
	if h.FrameRate == 0 && h.Kind == KindVideo && m.frameRate > 0 {
		h.FrameRate, set = math.Round(m.frameRate*1000)/1000, true
	}
	return set
}
