package cmaf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
)

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A capture is a Broadcast that keeps everything.
type capture struct {
	tracks []*captureTrack
	events []Event
	jumps  []string
	prfts  []string
	log    []string // order of what happened
	fail   error    // what sinks answer
}

type captureTrack struct {
	b      *capture
	name   string
	header Header
	chunks []Chunk
	closed int
}

func (c *capture) AddTrack(name string, h Header) (Sink, error) {
	c.log = append(c.log, "add "+name)
	t := &captureTrack{b: c, name: name, header: h}
	c.tracks = append(c.tracks, t)
	return t, nil
}

func (c *capture) Event(e Event) error {
	c.events = append(c.events, e)
	c.log = append(c.log, "event "+e.Scheme)
	return nil
}

func (c *capture) Discontinuity(reason string) { c.jumps = append(c.jumps, reason) }

func (c *capture) Anchor(media Time, wall time.Time) {
	c.prfts = append(c.prfts, fmt.Sprintf("%v %s", media, wall.Format(time.RFC3339Nano)))
}

func (c *capture) Close(error) error { return nil }

func (t *captureTrack) WriteChunk(c Chunk) error {
	if t.b.fail != nil {
		return t.b.fail
	}
	if t.closed > 0 {
		return errors.New("chunk after Close")
	}
	t.chunks = append(t.chunks, c)
	t.b.log = append(t.b.log, "chunk "+t.name)
	return nil
}

func (t *captureTrack) Close() error {
	t.closed++
	t.b.log = append(t.b.log, "close "+t.name)
	return nil
}

// track returns the only track of that name.
func (c *capture) track(t testing.TB, name string) *captureTrack {
	t.Helper()
	var found *captureTrack
	for _, tr := range c.tracks {
		if tr.name == name {
			if found != nil {
				t.Fatalf("two tracks %s", name)
			}
			found = tr
		}
	}
	if found == nil {
		t.Fatalf("no track %s", name)
	}
	return found
}

// demux reads in whole, in pieces of n bytes (0: at once).
func demux(in []byte, n int, c DemuxerConfig) (*capture, error) {
	b := &capture{}
	d := NewDemuxer(b, c)
	if n == 0 {
		n = max(1, len(in))
	}
	for len(in) > 0 {
		k := min(n, len(in))
		if _, err := d.Write(in[:k]); err != nil {
			_ = d.Close()
			return b, err
		}
		in = in[k:]
	}
	return b, d.Close()
}

// A flatSample is a sample with its absolute times and bytes.
type flatSample struct {
	dts, pts int64
	dur      uint32
	sync     bool
	data     string
}

func flatten(chunks []Chunk) []flatSample {
	var out []flatSample
	for _, c := range chunks {
		dts, data := c.DecodeTime, c.Data
		for _, s := range c.Samples {
			out = append(out, flatSample{dts, dts + int64(s.CompositionOffset), s.Duration, s.Sync(), string(data[:s.Size])})
			dts += int64(s.Duration)
			data = data[s.Size:]
		}
		if len(data) > 0 {
			out = append(out, flatSample{data: "left over"})
		}
	}
	return out
}

// oracle reads a whole file with mp4ff's boxes and returns each track's
// samples, with the edit list applied to the times.
func oracle(t testing.TB, in []byte) map[uint32][]flatSample {
	t.Helper()
	out := map[uint32][]flatSample{}
	var moov *mp4.MoovBox
	for pos := uint64(0); pos < uint64(len(in)); {
		b, err := mp4.DecodeBox(pos, bytes.NewReader(in[pos:]))
		if err != nil {
			t.Fatal(err)
		}
		switch b := b.(type) {
		case *mp4.MoovBox:
			moov = b
		case *mp4.MoofBox:
			end := pos // of the previous traf's data
			for _, traf := range b.Trafs {
				end = oracleTraf(moov, b, traf, pos, end, in, out)
			}
		}
		pos += b.Size()
	}
	for _, samples := range out {
		for i := 1; i < len(samples); i++ {
			if samples[i].dur == 0 { // ffmpeg did not know; the Demuxer takes that before
				samples[i].dur = samples[i-1].dur
			}
		}
	}
	return out
}

func oracleTraf(moov *mp4.MoovBox, moof *mp4.MoofBox, traf *mp4.TrafBox, pos, end uint64, in []byte, out map[uint32][]flatSample) uint64 {
	id := traf.Tfhd.TrackID
	trex, _ := moov.Mvex.GetTrex(id)
	var shift int64
	for _, trak := range moov.Traks {
		if trak.Tkhd.TrackID != id || trak.Edts == nil {
			continue
		}
		for _, e := range trak.Edts.Elst[0].Entries {
			if e.MediaTime == -1 {
				shift += int64(Rescale(e.SegmentDuration, moov.Mvhd.Timescale, trak.Mdia.Mdhd.Timescale))
			} else {
				shift -= e.MediaTime
			}
		}
	}
	base := end
	if traf.Tfhd.DefaultBaseIfMoof() {
		base = pos
	}
	if traf.Tfhd.HasBaseDataOffset() {
		base = traf.Tfhd.BaseDataOffset
	}
	dts := int64(traf.Tfdt.BaseMediaDecodeTime()) + shift
	for _, trun := range traf.Truns {
		trun.AddSampleDefaultValues(traf.Tfhd, trex)
		off := int64(base) + int64(trun.DataOffset)
		for _, s := range trun.Samples {
			out[id] = append(out[id], flatSample{
				dts: dts, pts: dts + int64(s.CompositionTimeOffset), dur: s.Dur,
				sync: s.IsSync(), data: string(in[off : off+int64(s.Size)]),
			})
			dts += int64(s.Dur)
			off += int64(s.Size)
		}
		end = uint64(off)
	}
	return end
}

var _ io.Writer = (*Demuxer)(nil)
