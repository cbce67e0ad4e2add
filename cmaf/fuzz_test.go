package cmaf

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func addFixtures(f *testing.F, add func(in []byte)) {
	names, err := filepath.Glob("testdata/*.mp4")
	if err != nil || len(names) == 0 {
		f.Fatal("no fixtures", err)
	}
	for _, name := range names {
		add(fixture(f, filepath.Base(name)))
	}
}

// Whatever comes, the Demuxer neither panics nor answers anything but a
// BoxError, and how the input is cut into pieces changes nothing. Its chunks
// can be written and read again.
func FuzzDemuxer(f *testing.F) {
	addFixtures(f, func(in []byte) { f.Add(in[:min(len(in), 6000)], uint16(100), uint16(0)) })
	f.Add(threePictures().AppendTo(header(f, "video.mp4", "video").Init, 1, 1), uint16(3), uint16(20))
	f.Fuzz(func(t *testing.T, in []byte, piece, target uint16) {
		p := ChunkPolicy{time.Duration(target) * time.Millisecond}
		c := DemuxerConfig{Video: p, Audio: p, MaxMoov: 64 << 10, MaxMoof: 64 << 10, MaxMdat: 1 << 20}
		whole, err := demux(in, 0, c)
		pieces, err2 := demux(in, int(piece)+1, c)
		if err != nil {
			if _, ok := errors.AsType[*BoxError](err); !ok {
				t.Fatalf("%v is not a BoxError", err)
			}
		}
		if fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Fatalf("whole: %v\nin pieces of %d: %v", err, int(piece)+1, err2)
		}
		if len(whole.tracks) != len(pieces.tracks) {
			t.Fatalf("%d tracks, in pieces %d", len(whole.tracks), len(pieces.tracks))
		}
		for i, tr := range whole.tracks {
			if !reflect.DeepEqual(tr.chunks, pieces.tracks[i].chunks) {
				t.Fatalf("track %d: %d chunks, in pieces %d, or not alike", i, len(tr.chunks), len(pieces.tracks[i].chunks))
			}
			if tr.closed != 1 {
				t.Fatalf("track %d: closed %d times", i, tr.closed)
			}
			for _, c := range tr.chunks {
				checkWellFormed(t, tr.header, c)
			}
		}
	})
}

// checkWellFormed checks what every reader of chunks may rely on.
func checkWellFormed(t *testing.T, h Header, c Chunk) {
	t.Helper()
	size := 0
	for _, s := range c.Samples {
		size += int(s.Size)
	}
	if len(c.Samples) == 0 || size != len(c.Data) {
		t.Fatalf("%d samples of %d bytes, data of %d", len(c.Samples), size, len(c.Data))
	}
	if c.DecodeTime < 0 {
		return // cannot be written
	}
	got, err := h.ParseChunks(c.AppendTo(nil, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	// A last sample of no duration comes back with that of the one before.
	if c.Samples[len(c.Samples)-1].Duration == 0 || c.End() > maxMediaTime {
		return
	}
	if len(got) != 1 {
		return // samples of no duration inside; the times are still the same
	}
	if h.Kind != KindAudio && got[0].RAP != c.RAP || !reflect.DeepEqual(got[0].Samples, c.Samples) || !bytes.Equal(got[0].Data, c.Data) {
		t.Fatalf("%+v\nread back as %+v", c, got[0])
	}
}

// A header that parses is written anew as one that parses to the same.
func FuzzParseHeader(f *testing.F) {
	addFixtures(f, func(in []byte) {
		if _, to := find(f, in, "moov"); to < 4000 {
			f.Add(in[:to])
		}
	})
	f.Add(header(f, "keyframe.mp4", "video").Init)
	f.Add(header(f, "keyframe.mp4", "audio").Init)
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := ParseHeader(in)
		if err != nil {
			if _, ok := errors.AsType[*BoxError](err); !ok {
				t.Fatalf("%v is not a BoxError", err)
			}
			return
		}
		again, err := ParseHeader(h.Init)
		if err != nil {
			t.Fatalf("our own header: %v", err)
		}
		if !bytes.Equal(again.Init, h.Init) || !reflect.DeepEqual(brief(again), brief(h)) {
			t.Fatalf("%+v\nwritten anew: %+v", brief(h), brief(again))
		}
		if both, err := BuildInit([]Header{h, h}); err != nil || len(both) < 2*len(h.Init)-400 {
			t.Fatalf("BuildInit: %d bytes, %v", len(both), err)
		}
	})
}

// A chunk that parses is written as one that parses to the same, and no part
// of it does.
func FuzzParseChunk(f *testing.F) {
	f.Add(threePictures().AppendTo(nil, 1, 1))
	f.Add(append(Prft{}.Append(mk("styp")), oneSample(3).AppendTo(nil, 9, 9)...))
	f.Add(mk("moof", mk("traf", mk("tfhd", u32s(0x3b, 1), u64(0), u32s(1, 2, 3, 4)), mk("trun", u32s(0x5, 1, 90, 0)))))
	in := fixture(f, "everyframe.mp4")
	_, from := find(f, in, "moov")
	f.Add(in[from:2200])
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := ParseChunk(in)
		if err != nil {
			if _, ok := errors.AsType[*BoxError](err); !ok {
				t.Fatalf("%v is not a BoxError", err)
			}
			return
		}
		enc := c.AppendTo(nil, 1, 1)
		again, err := ParseChunk(enc)
		if err != nil || again.DecodeTime != c.DecodeTime || again.RAP != c.RAP || !bytes.Equal(again.Data, c.Data) || !reflect.DeepEqual(again.Samples, c.Samples) {
			t.Fatalf("%+v\nread back as %+v, %v", c, again, err)
		}
		for n := range min(len(enc), 4096) {
			if c, err := ParseChunk(enc[:n]); err == nil {
				t.Fatalf("accepted the first %d of %d bytes as %+v", n, len(enc), c)
			}
		}
	})
}

// Together the parts are the input, or its start where there is an error.
func FuzzSplitChunks(f *testing.F) {
	c := threePictures().AppendTo(nil, 1, 1)
	f.Add(append(c, c...))
	f.Add(append(Prft{}.Append(mk("styp")), c[:len(c)-1]...))
	f.Fuzz(func(t *testing.T, in []byte) {
		parts, err := SplitChunks(in)
		joined := bytes.Join(parts, nil)
		if !bytes.HasPrefix(in, joined) || err == nil && len(joined) != len(in) {
			t.Fatalf("%d parts of %d bytes together from %d, %v", len(parts), len(joined), len(in), err)
		}
		if _, ok := errors.AsType[*BoxError](err); err != nil && !ok {
			t.Fatalf("%v is not a BoxError", err)
		}
	})
}
