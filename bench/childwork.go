package bench

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/proc"
	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/viewer/recorder"
)

// maxRecorded bounds what a recorder writes to the disk in one run.
const maxRecorded = 4 << 30

// work does some work for as long as the arm says, between the readings of this
// process's CPU time, and reports it.
func (c *child) work(ctx context.Context, step func(*Work) error) error {
	if err := c.out.Encode(message{Event: eventReady, Pid: os.Getpid()}); err != nil {
		return err
	}
	if _, err := c.begin(ctx); err != nil {
		return err
	}
	began, err := proc.Read(os.Getpid())
	if err != nil {
		return err
	}
	var w Work
	for time.Since(began.At) < c.job.Arm.Duration && w.Bytes < maxRecorded {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := step(&w); err != nil {
			return err
		}
	}
	ended, err := proc.Read(os.Getpid())
	if err != nil {
		return err
	}
	w.Seconds, w.CPUSeconds = ended.At.Sub(began.At).Seconds(), (ended.CPU() - began.CPU()).Seconds()
	if err := c.out.Encode(message{Event: eventDone, Work: &w}); err != nil {
		return err
	}
	return c.idle(ctx)
}

// record gives a recorder the profile's chunks, a second of media at a time, as
// fast as it takes them.
func (c *child) record(ctx context.Context, prof load.Profile) (err error) {
	list, err := load.Headers(ctx, prof)
	if err != nil {
		return err
	}
	rec, err := recorder.Create(filepath.Join(c.job.Dir, "bench.mp4"), recorder.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rec.Close(nil)) }()
	var sinks []cmaf.Sink
	data := make([][]byte, len(prof.Tracks))
	for i, t := range prof.Tracks {
		s, err := rec.AddTrack(t.Name, list[i])
		if err != nil {
			return err
		}
		sinks = append(sinks, s)
		data[i] = make([]byte, max(t.First, t.Size))
	}
	sent := make([]int, len(prof.Tracks))
	second := 0
	return c.work(ctx, func(w *Work) error {
		second++
		for i, t := range prof.Tracks {
			for end := t.Before(time.Duration(second) * time.Second); sent[i] < end; sent[i]++ {
				size := prof.Size(t, sent[i])
				ch := t.Chunk(sent[i], list[i].Timescale, data[i][:size], size != t.Size)
				if err := sinks[i].WriteChunk(ch); err != nil {
					return err
				}
				w.Bytes += int64(size)
			}
		}
		return nil
	})
}

// recut cuts fragments of one group of the first track into chunks of one sample
// each, and copies the same bytes for comparison.
func (c *child) recut(ctx context.Context, prof load.Profile) error {
	list, err := load.Headers(ctx, prof)
	if err != nil {
		return err
	}
	t := prof.Tracks[0]
	frag := cmaf.Chunk{RAP: true}
	for i := range t.Before(prof.Group) {
		size := prof.Size(t, i)
		ch := t.Chunk(i, list[0].Timescale, make([]byte, size), i == 0)
		frag.Samples = append(frag.Samples, ch.Samples...)
		frag.Data = append(frag.Data, ch.Data...)
	}
	in := frag.AppendTo(nil, 1, 1)
	out := &cutOutput{}
	d := cmaf.NewDemuxer(out, cmaf.DemuxerConfig{})
	if _, err := d.Write(list[0].Init); err != nil {
		return err
	}
	return c.work(ctx, func(w *Work) error {
		began := time.Now()
		rest := frag.Data
		for _, s := range frag.Samples { // a reader of a network buffer copies at least once
			out.copied = bytes.Clone(rest[:s.Size])
			rest = rest[s.Size:]
		}
		w.FloorSeconds += time.Since(began).Seconds()
		if _, err := d.Write(in); err != nil {
			return err
		}
		w.Bytes += int64(len(frag.Data))
		return nil
	})
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
