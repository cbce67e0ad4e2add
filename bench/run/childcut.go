package run

import (
	"bytes"
	"context"
	"runtime"
	"time"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/mp4ff"
	"github.com/broadcastd/broadcastd/cmaf"
)

// The ways to cut that recut measures. A copy is the least that any way can cost:
// of samples that were read already into memory that is there, or of what was read
// into memory of its own, as what others keep has to be.
const (
	WayCopy      = "copy"
	WayChunk     = "chunk"
	WayMP4FF     = "mp4ff"
	WayReadCopy  = "read and copy"
	WayReadChunk = "read and chunk"
	WayReadMP4FF = "read and mp4ff"
)

// cutTurns is how often each way has its turn.
const cutTurns = 5

// recut cuts fragments of one group of the first track into chunks of one sample
// each, in our way, in mp4ff's, and as the bare copy.
func (c *child) recut(ctx context.Context, prof load.Profile) error {
	list, err := load.Headers(ctx, prof)
	if err != nil {
		return err
	}
	t := prof.Tracks[0]
	frag := cmaf.Chunk{RAP: true}
	var ones []cmaf.Chunk
	for i := range t.Before(prof.Group) {
		ch := t.Chunk(i, list[0].Timescale, make([]byte, prof.Size(t, i)), i == 0)
		ones = append(ones, ch)
		frag.Samples = append(frag.Samples, ch.Samples...)
		frag.Data = append(frag.Data, ch.Data...)
	}
	ways, err := cutWays(list[0].Init, frag.AppendTo(nil, 1, 1), ones)
	if err != nil {
		return err
	}
	turns, took := 0, make(map[string]float64)
	each := c.job.Arm.Duration / time.Duration(cutTurns*len(ways))
	return c.work(ctx, func(w *Work) error {
		turns++
		for _, way := range ways {
			runtime.GC() // the garbage of one is not another's
			n, began := 0, time.Now()
			for ; n == 0 || time.Since(began) < each; n++ {
				if err := way.do(); err != nil {
					return err
				}
			}
			took[way.name] += time.Since(began).Seconds() / float64(n)
			w.Bytes += int64(n * len(frag.Data))
		}
		return nil
	}, func() error { return nil }, func(w *Work) error {
		for name := range took {
			took[name] /= float64(turns)
		}
		w.Group, w.Ways = int64(len(frag.Data)), took
		return nil
	})
}

type cutWay struct {
	name string
	do   func() error // cuts one group
}

// cutWays are all ways to cut a fragment, whose samples are ones.
func cutWays(init, fragment []byte, ones []cmaf.Chunk) ([]cutWay, error) {
	out := &cutOutput{}
	d := cmaf.NewDemuxer(out, cmaf.DemuxerConfig{})
	if _, err := d.Write(init); err != nil {
		return nil, err
	}
	var other mp4ff.Cutter
	buf := make([]byte, 0, len(fragment))
	return []cutWay{
		{WayCopy, func() error {
			for _, o := range ones {
				buf = append(buf[:0], o.Data...)
			}
			return nil
		}},
		{WayChunk, func() error {
			for i, o := range ones {
				buf = o.AppendTo(buf[:0], 1, uint32(i))
			}
			return nil
		}},
		{WayMP4FF, func() error {
			other.Reset()
			for _, o := range ones {
				if err := other.Chunk(o.Data, uint64(o.DecodeTime), o.Samples[0].Duration, o.Samples[0].Flags); err != nil {
					return err
				}
			}
			return nil
		}},
		{WayReadCopy, func() error {
			for _, o := range ones {
				out.copied = bytes.Clone(o.Data)
			}
			return nil
		}},
		{WayReadChunk, func() error {
			_, err := d.Write(fragment)
			return err
		}},
		{WayReadMP4FF, func() error { return other.Cut(fragment) }},
	}, nil
}

// A cutOutput writes each chunk as it goes to a viewer: its header.
type cutOutput struct {
	copied []byte
	header []byte
	seq    uint32
}

func (o *cutOutput) AddTrack(string, cmaf.Header) (cmaf.Sink, error) { return cutSink{o}, nil }
func (o *cutOutput) Event(cmaf.Event) error                          { return nil }
func (o *cutOutput) Discontinuity(string)                            {}
func (o *cutOutput) Anchor(cmaf.Time, time.Time)                     {}
func (o *cutOutput) Close(error) error                               { return nil }

type cutSink struct{ *cutOutput }

// WriteChunk implements cmaf.Sink.
func (o cutSink) WriteChunk(c cmaf.Chunk) error {
	o.seq++
	o.header = c.AppendMoof(o.header[:0], 1, o.seq)
	return nil
}

// Close implements cmaf.Sink.
func (o cutSink) Close() error { return nil }
