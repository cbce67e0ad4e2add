package mpegts

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A capture is a Broadcast that keeps everything.
type capture struct {
	tracks []*captured
	jumps  []string
}

type captured struct {
	name   string
	header cmaf.Header
	chunks []cmaf.Chunk
	closed int
}

func (c *capture) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	t := &captured{name: name, header: h}
	c.tracks = append(c.tracks, t)
	return t, nil
}

func (c *capture) Event(cmaf.Event) error      { return nil }
func (c *capture) Discontinuity(reason string) { c.jumps = append(c.jumps, reason) }
func (c *capture) Anchor(cmaf.Time, time.Time) {}
func (c *capture) Close(error) error           { return nil }
func (t *captured) Close() error               { t.closed++; return nil }
func (t *captured) WriteChunk(ch cmaf.Chunk) error {
	if t.closed > 0 {
		return errors.New("chunk after Close")
	}
	t.chunks = append(t.chunks, ch)
	return nil
}

// track returns the n-th track of that name.
func (c *capture) track(t testing.TB, name string, n int) *captured {
	t.Helper()
	for _, tr := range c.tracks {
		if tr.name == name {
			if n--; n < 0 {
				return tr
			}
		}
	}
	t.Fatalf("no track %s %d among %v", name, n, c.names())
	return nil
}

func (c *capture) names() (names []string) {
	for _, t := range c.tracks {
		names = append(names, t.name)
	}
	return names
}

// String shows all that was captured, for comparison.
func (c *capture) String() string {
	var b bytes.Buffer
	for _, t := range c.tracks {
		fmt.Fprintf(&b, "track %s %s closed %d\n", t.name, t.header.Codec, t.closed)
		for _, ch := range t.chunks {
			fmt.Fprintf(&b, "%d %+v %x\n", ch.DecodeTime, ch.Samples, ch.Data)
		}
	}
	fmt.Fprintln(&b, c.jumps)
	return b.String()
}

// file returns what was captured as an MP4 file that starts at time 0 or later.
func (c *capture) file(t testing.TB) []byte {
	t.Helper()
	type piece struct {
		id uint32
		c  cmaf.Chunk
		at cmaf.Time
	}
	var headers []cmaf.Header
	var pieces []piece
	for i, tr := range c.tracks {
		headers = append(headers, tr.header)
		for _, ch := range tr.chunks {
			ch.DecodeTime += 10 * int64(tr.header.Timescale)
			pieces = append(pieces, piece{uint32(i + 1), ch, cmaf.Time{Ticks: ch.DecodeTime, Scale: tr.header.Timescale}})
		}
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return a.at.Compare(b.at) })
	out, err := cmaf.BuildInit(headers)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pieces {
		out = p.c.AppendTo(out, p.id, uint32(i+1))
	}
	return out
}

// A sample is one sample with its absolute times.
type sample struct {
	dts, pts int64
	dur      uint32
	sync     bool
	data     string
}

func (t *captured) samples() (out []sample) {
	for _, c := range t.chunks {
		dts, data := c.DecodeTime, c.Data
		for _, s := range c.Samples {
			out = append(out, sample{dts, dts + int64(s.CompositionOffset), s.Duration, s.Sync(), string(data[:s.Size])})
			dts, data = dts+int64(s.Duration), data[s.Size:]
		}
	}
	return out
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// demux reads in whole, in pieces of n bytes (0: at once).
func demux(in []byte, n int) (*capture, Stats, error) {
	c := &capture{}
	d := NewDemuxer(c, Config{})
	if n == 0 {
		n = max(1, len(in))
	}
	for len(in) > 0 {
		k := min(n, len(in))
		if _, err := d.Write(in[:k]); err != nil {
			_ = d.Close()
			return c, d.Stats(), err
		}
		in = in[k:]
	}
	err := d.Close()
	return c, d.Stats(), err
}
