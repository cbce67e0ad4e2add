package cmaf

import (
	"fmt"
	"time"
)

const (
	maxChunkTarget  = 10 * time.Second
	maxChunkSamples = 4096
	maxChunkBytes   = 8 << 20 // beyond it no further sample is added
	maxFirstAlloc   = 1 << 20 // what a size alone may make us allocate
	sampleBlock     = 64
)

// A ChunkPolicy says how samples are cut into chunks. The zero value makes
// one chunk of every sample, the lowest delay.
type ChunkPolicy struct {
	// Target is how long a chunk lasts: it ends with the sample that reaches
	// Target. Zero means one sample per chunk; more than 10 s means 10 s.
	Target time.Duration
}

// A Cutter cuts one track's samples into chunks for a Sink. A chunk starts at
// every random access point of a video track and wherever decode times are
// not continuous. Video samples whose flags are 0, which says nothing, get
// flags from their bytes. One goroutine owns it; it does not close the Sink.
type Cutter struct {
	sink   Sink
	h      Header
	target int64 // ticks; 0: one sample per chunk

	cur      Chunk
	dur      int64    // of cur's whole samples
	block    []Sample // cur.Samples is its tail
	lastSize int      // of the chunk before, to allocate the next at once
	open     bool     // cur's last sample still lacks bytes
}

// NewCutter returns a Cutter that writes to sink. h is the track's header.
func NewCutter(sink Sink, h Header, p ChunkPolicy) *Cutter {
	target := FromDuration(min(max(p.Target, 0), maxChunkTarget), h.Timescale)
	return &Cutter{sink: sink, h: h, target: target.Ticks}
}

// WriteSample adds the next sample in decode order. dts is its decode time in
// ticks of the track's timescale; data's length must be s.Size. It takes
// data: the caller must not touch it again.
func (c *Cutter) WriteSample(dts int64, s Sample, data []byte) error {
	if uint64(s.Size) != uint64(len(data)) {
		return fmt.Errorf("cmaf: sample of %d bytes has size %d", len(data), s.Size)
	}
	if err := c.startChunk(dts, s); err != nil {
		return err
	}
	if c.cur.Data == nil && c.target == 0 {
		c.cur.Data = data
	} else {
		c.reserve(len(data))
		c.cur.Data = append(c.cur.Data, data...)
	}
	return c.endSample(s)
}

// beginSample adds a sample whose bytes follow through write.
func (c *Cutter) beginSample(dts int64, s Sample) error {
	if err := c.startChunk(dts, s); err != nil {
		return err
	}
	c.reserve(int(min(s.Size, maxFirstAlloc)))
	c.open = true
	return nil
}

// write adds bytes of the sample that began last.
func (c *Cutter) write(p []byte) { c.cur.Data = append(c.cur.Data, p...) }

// startChunk begins a chunk if s has to start one.
func (c *Cutter) startChunk(dts int64, s Sample) error {
	n := len(c.cur.Samples)
	full := n == maxChunkSamples || len(c.cur.Data) >= maxChunkBytes
	if n > 0 && (full || dts != c.cur.DecodeTime+c.dur || c.h.Kind == KindVideo && s.Sync()) {
		if err := c.Flush(); err != nil {
			return err
		}
		n = 0
	}
	if n == 0 {
		c.cur = Chunk{DecodeTime: dts, RAP: c.h.Kind == KindAudio || s.Sync()}
		c.dur = 0
	}
	c.pushSample(s)
	return nil
}

// pushSample appends s to the chunk's samples. They are taken from blocks, so
// that one-sample chunks do not cost an allocation each; what was handed on
// is never written again.
func (c *Cutter) pushSample(s Sample) {
	n := len(c.cur.Samples)
	if len(c.block) == cap(c.block) {
		block := make([]Sample, n, n+max(n, sampleBlock))
		copy(block, c.cur.Samples)
		c.block = block
	}
	c.block = append(c.block, s)
	at := len(c.block) - n - 1
	c.cur.Samples = c.block[at:len(c.block):len(c.block)]
}

// reserve makes room for n more bytes.
func (c *Cutter) reserve(n int) {
	if n <= cap(c.cur.Data)-len(c.cur.Data) {
		return
	}
	want := n
	if c.target > 0 {
		want = max(n, min(c.lastSize+c.lastSize/8, maxFirstAlloc)-len(c.cur.Data), len(c.cur.Data))
	}
	data := make([]byte, len(c.cur.Data), len(c.cur.Data)+want)
	copy(data, c.cur.Data)
	c.cur.Data = data
}

// endSample completes the sample that began last, and the chunk if it is full.
func (c *Cutter) endSample(s Sample) error {
	c.open = false
	if n := len(c.cur.Samples); s.Flags == 0 && c.h.Kind == KindVideo {
		last := &c.cur.Samples[n-1]
		last.Flags = c.h.sampleFlags(0, c.cur.Data[len(c.cur.Data)-int(s.Size):])
		c.cur.RAP = c.cur.Samples[0].Sync()
	}
	c.dur += int64(s.Duration)
	if c.dur >= c.target {
		return c.Flush()
	}
	return nil
}

// drop takes back the sample that began last, of whose bytes only got came.
func (c *Cutter) drop(got int) {
	if !c.open {
		return
	}
	c.open = false
	n := len(c.cur.Samples) - 1
	c.cur.Samples = c.cur.Samples[:n:n]
	c.cur.Data = c.cur.Data[:len(c.cur.Data)-got]
	c.block = c.block[:len(c.block)-1] // it was never handed on
}

// Flush writes the chunk that is not full yet, if any.
func (c *Cutter) Flush() error {
	if len(c.cur.Samples) == 0 || c.open {
		return nil
	}
	chunk := c.cur
	c.lastSize = len(chunk.Data)
	c.cur, c.dur = Chunk{}, 0
	return c.sink.WriteChunk(chunk)
}
