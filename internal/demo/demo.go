// Package demo feeds a built-in clip, over and over, with times that go on, so
// that there are pictures without an encoder.
package demo

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

//go:embed clip/demo.mp4
var file []byte

// A clip is the file, read.
type clip struct {
	tracks []clipTrack
	order  []clipChunk // by decode time
	length time.Duration
}

type clipTrack struct {
	name   string
	header cmaf.Header
}

type clipChunk struct {
	track int
	at    time.Duration
	cmaf.Chunk
}

// load reads the clip once, when it is first wanted.
var load = sync.OnceValues(func() (*clip, error) {
	c := &clip{}
	d := cmaf.NewDemuxer((*loader)(c), cmaf.DemuxerConfig{})
	if _, err := d.Write(file); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	if err := d.Close(); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	slices.SortStableFunc(c.order, func(a, b clipChunk) int { return cmp.Compare(a.at, b.at) })
	for _, ch := range c.order {
		end := cmaf.Time{Ticks: ch.End(), Scale: c.tracks[ch.track].header.Timescale}
		c.length = max(c.length, end.Duration())
	}
	if c.length == 0 || c.length%time.Second != 0 {
		return nil, fmt.Errorf("demo: the clip lasts %v, want whole seconds", c.length)
	}
	return c, nil
})

// Source is an ingest.Source. It ends with its context only, or when b takes
// no more.
type Source struct{}

// Run implements ingest.Source.
func (Source) Run(ctx context.Context, b cmaf.Broadcast) error {
	c, err := load()
	if err != nil {
		return err
	}
	sinks := make([]cmaf.Sink, len(c.tracks))
	for i, t := range c.tracks {
		if sinks[i], err = b.AddTrack(t.name, t.header); err != nil {
			return err
		}
	}
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for round := int64(0); ; round++ {
		for _, ch := range c.order {
			timer.Reset(time.Until(start.Add(time.Duration(round*int64(c.length)) + ch.at)))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			out := ch.Chunk // its bytes are shared by all rounds; nobody changes them
			out.DecodeTime += round * int64(c.length/time.Second) * int64(c.tracks[ch.track].header.Timescale)
			if err := sinks[ch.track].WriteChunk(out); err != nil {
				return err
			}
		}
	}
}

// A loader collects the clip from the demuxer.
type loader clip

func (l *loader) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	l.tracks = append(l.tracks, clipTrack{name, h})
	return &loaderSink{l, len(l.tracks) - 1}, nil
}

func (l *loader) Event(cmaf.Event) error      { return nil }
func (l *loader) Discontinuity(string)        {}
func (l *loader) Anchor(cmaf.Time, time.Time) {}
func (l *loader) Close(error) error           { return nil }

type loaderSink struct {
	l     *loader
	track int
}

func (s *loaderSink) WriteChunk(c cmaf.Chunk) error {
	at := cmaf.Time{Ticks: c.DecodeTime, Scale: s.l.tracks[s.track].header.Timescale}
	s.l.order = append(s.l.order, clipChunk{track: s.track, at: at.Duration(), Chunk: c})
	return nil
}

func (s *loaderSink) Close() error { return nil }
