package cmaf

import "time"

// A ChunkPolicy says how samples are cut into chunks. The zero value makes
// one chunk of every sample, the lowest delay.
type ChunkPolicy struct {
	// Target is how long a chunk lasts: it ends with the sample that reaches
	// Target. Zero means one sample per chunk; the range is up to 10 s.
	Target time.Duration
}

// A Cutter cuts one track's samples into chunks for a Sink. A chunk starts at
// every random access point of a video track and wherever decode times are
// not continuous. One goroutine owns it.
type Cutter struct {
	sink Sink
}

// NewCutter returns a Cutter that writes to sink. h is the track's header.
func NewCutter(sink Sink, h Header, p ChunkPolicy) *Cutter {
	return &Cutter{sink: sink}
}

// WriteSample adds the next sample in decode order. dts is its decode time in
// ticks of the track's timescale. It takes data, whose length must be s.Size.
func (c *Cutter) WriteSample(dts int64, s Sample, data []byte) error { return nil }

// Flush writes the chunk that is not full yet, if any.
func (c *Cutter) Flush() error { return nil }
