package demo

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A checker is a Broadcast that checks what every track brings.
type checker struct {
	t      *testing.T
	began  time.Time
	tracks map[string]*checkedTrack
}

type checkedTrack struct {
	c       *checker
	header  cmaf.Header
	end     int64
	samples int
	lastRAP int64
}

func (c *checker) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	c.tracks[name] = &checkedTrack{c: c, header: h, lastRAP: -int64(h.Timescale)}
	return c.tracks[name], nil
}

func (c *checker) Event(cmaf.Event) error      { return nil }
func (c *checker) Discontinuity(reason string) { c.t.Errorf("discontinuity: %s", reason) }
func (c *checker) Anchor(cmaf.Time, time.Time) {}
func (c *checker) Close(error) error           { return nil }
func (k *checkedTrack) Close() error           { return nil }

func (k *checkedTrack) WriteChunk(ch cmaf.Chunk) error {
	t := k.c.t
	if ch.DecodeTime != k.end {
		t.Errorf("%s: chunk at %d, want %d", k.header.Kind, ch.DecodeTime, k.end)
	}
	k.end = ch.End()
	k.samples += len(ch.Samples)
	at := cmaf.Time{Ticks: ch.DecodeTime, Scale: k.header.Timescale}.Duration()
	if late := time.Since(k.c.began) - at; late < 0 || late > 50*time.Millisecond {
		t.Errorf("%s: chunk of %v came %v after its time", k.header.Kind, at, late)
	}
	if k.header.Kind != cmaf.KindVideo {
		return nil
	}
	if ch.Samples[0].CompositionOffset != 0 {
		t.Errorf("the picture at %d has a composition offset: B-frames", ch.DecodeTime)
	}
	if ch.RAP {
		if gop := ch.DecodeTime - k.lastRAP; gop != int64(k.header.Timescale) {
			t.Errorf("key frame at %d, %d ticks after the one before, want one second", ch.DecodeTime, gop)
		}
		k.lastRAP = ch.DecodeTime
	}
	return nil
}

// TestLoops runs for 20 s, into the third round of the clip.
func TestLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &checker{t: t, began: time.Now(), tracks: map[string]*checkedTrack{}}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second-time.Millisecond)
		defer cancel()
		if err := (Source{}).Run(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		v, a := c.tracks["video"], c.tracks["audio"]
		if v == nil || a == nil || len(c.tracks) != 2 {
			t.Fatalf("tracks = %v, want video and audio", c.tracks)
		}
		if v.samples != 600 || a.samples != 938 { // 937.5 AAC frames
			t.Errorf("%d pictures and %d AAC frames in 20 s, want 600 and 938", v.samples, a.samples)
		}
		if v.header.Width != 640 || v.header.Height != 360 || a.header.SampleRate != 48000 {
			t.Errorf("headers = %+v, %+v", v.header, a.header)
		}
		if len(file) > 600_000 {
			t.Errorf("the clip has %d bytes, at most 600 000 go into the binary", len(file))
		}
	})
}
