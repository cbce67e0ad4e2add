package srt

import (
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest/mpegts"
)

// chunksOf counts the chunks of a transport stream.
func chunksOf(t testing.TB, in []byte) int {
	t.Helper()
	c := new(counter)
	d := mpegts.NewDemuxer(c, mpegts.Config{})
	if _, err := d.Write(in); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return c.chunks
}

// A counter is a Broadcast that counts.
type counter struct{ chunks int }

func (c *counter) AddTrack(string, cmaf.Header) (cmaf.Sink, error) { return sink{c}, nil }
func (c *counter) Event(cmaf.Event) error                          { return nil }
func (c *counter) Discontinuity(string)                            {}
func (c *counter) Anchor(cmaf.Time, time.Time)                     {}
func (c *counter) Close(error) error                               { return nil }

type sink struct{ c *counter }

func (s sink) WriteChunk(cmaf.Chunk) error { s.c.chunks++; return nil }
func (s sink) Close() error                { return nil }
