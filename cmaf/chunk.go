package cmaf

// Sample flags as they stand in trun, ISO/IEC 14496-12 section 8.8.3.1.
const (
	// FlagsSync marks a sample that depends on no other: a key frame, any AAC
	// frame.
	FlagsSync uint32 = 0x0200_0000
	// FlagsNonSync marks a sample that depends on others.
	FlagsNonSync uint32 = 0x0101_0000

	flagNonSync uint32 = 0x0001_0000
)

// A Sample describes one sample (a picture, an audio frame) of a chunk.
type Sample struct {
	Duration          uint32 // ticks of the track's timescale
	Size              uint32 // bytes
	Flags             uint32 // sample flags as in trun
	CompositionOffset int32  // presentation time less decode time, ticks
}

// Sync reports whether decoding can start at this sample.
func (s Sample) Sync() bool { return s.Flags&flagNonSync == 0 }

// A Chunk is one CMAF chunk of one track: one or more samples in decode order,
// and their bytes. It is a value; Samples and Data are shared between all
// copies and never change once the chunk was handed on.
type Chunk struct {
	DecodeTime int64    // of the first sample, ticks of the track's timescale
	Samples    []Sample // at least one
	Data       []byte   // all samples' bytes, back to back
	RAP        bool     // the first sample is a random access point (SAP type 1 or 2)
}

// Duration returns the sum of the samples' durations in ticks.
func (c Chunk) Duration() int64 {
	var d int64
	for i := range c.Samples {
		d += int64(c.Samples[i].Duration)
	}
	return d
}

// End returns the decode time at which the chunk ends, in ticks.
func (c Chunk) End() int64 { return c.DecodeTime + c.Duration() }

// PTS returns the presentation time of the first sample, in ticks.
func (c Chunk) PTS() int64 {
	if len(c.Samples) == 0 {
		return c.DecodeTime
	}
	return c.DecodeTime + int64(c.Samples[0].CompositionOffset)
}

// MinPTS returns the earliest presentation time in the chunk, in ticks. It is
// below PTS where pictures after the first are shown before it.
func (c Chunk) MinPTS() int64 {
	least, dts := c.PTS(), c.DecodeTime
	for i := range c.Samples {
		least = min(least, dts+int64(c.Samples[i].CompositionOffset))
		dts += int64(c.Samples[i].Duration)
	}
	return least
}

// HeaderSize returns how many bytes AppendMoof appends.
func (c Chunk) HeaderSize() int { return moofSize(len(c.Samples)) + boxHeaderSize }

// Size returns how many bytes AppendTo appends.
func (c Chunk) Size() int { return c.HeaderSize() + len(c.Data) }
