package cmaf

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/bits"
	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/broadcastd/broadcastd/internal/golden"
)

// threePictures is a chunk with B-frames at a late time.
func threePictures() Chunk {
	return Chunk{
		DecodeTime: 1795190400 * 12800, // UTC as media time
		Samples: []Sample{
			{Duration: 512, Size: 5, Flags: FlagsSync, CompositionOffset: 1024},
			{Duration: 512, Size: 3, Flags: FlagsNonSync, CompositionOffset: 1024},
			{Duration: 512, Size: 2, Flags: FlagsNonSync, CompositionOffset: -512},
		},
		Data: []byte("IIIIIPPPBB"),
		RAP:  true,
	}
}

// What we write, mp4ff reads as the same, and writes as the same bytes.
func TestChunkAppendTo(t *testing.T) {
	c := threePictures()
	got := c.AppendTo([]byte("before"), 7, 42)
	got, ok := bytes.CutPrefix(got, []byte("before"))
	if !ok || len(got) != c.Size() || c.HeaderSize() != len(got)-len(c.Data) {
		t.Fatalf("%d bytes, Size is %d, HeaderSize %d", len(got), c.Size(), c.HeaderSize())
	}
	golden.Check(t, "chunk.golden", dump(t, got))

	b, err := mp4.DecodeBoxSR(0, bits.NewFixedSliceReader(got))
	if err != nil {
		t.Fatal(err)
	}
	moof := b.(*mp4.MoofBox)
	traf := moof.Traf
	if moof.Mfhd.SequenceNumber != 42 || traf.Tfhd.TrackID != 7 || !traf.Tfhd.DefaultBaseIfMoof() ||
		traf.Tfdt.BaseMediaDecodeTime() != uint64(c.DecodeTime) || int(traf.Trun.DataOffset) != c.HeaderSize() {
		t.Errorf("read as %+v %+v %+v", moof.Mfhd, traf.Tfhd, traf.Trun)
	}
	for i, s := range traf.Trun.Samples {
		if g := (Sample{s.Dur, s.Size, s.Flags, s.CompositionTimeOffset}); g != c.Samples[i] {
			t.Errorf("sample %d read as %+v, want %+v", i, g, c.Samples[i])
		}
	}
	var again bytes.Buffer
	if err := moof.Encode(&again); err != nil || !bytes.Equal(again.Bytes(), got[:len(got)-len(c.Data)-8]) {
		t.Errorf("mp4ff writes it as %x (%v), want %x", again.Bytes(), err, got)
	}

	back, err := ParseChunk(got)
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("ParseChunk: %+v, %v; want %+v", back, err, c)
	}
}

func TestChunkTimes(t *testing.T) {
	c := threePictures()
	at := c.DecodeTime
	if got := []int64{c.Duration(), c.End(), c.PTS(), c.MinPTS()}; !slices.Equal(got, []int64{1536, at + 1536, at + 1024, at + 512}) {
		t.Errorf("Duration, End, PTS, MinPTS less the start are %d %d %d %d", got[0], got[1]-at, got[2]-at, got[3]-at)
	}
	if e := (Chunk{DecodeTime: 9}); e.PTS() != 9 || e.MinPTS() != 9 || e.End() != 9 {
		t.Errorf("a chunk without samples: %d %d %d, want 9", e.PTS(), e.MinPTS(), e.End())
	}
}

// dump returns mp4ff's description of the boxes in b.
func dump(t *testing.T, b []byte) []byte {
	t.Helper()
	var w bytes.Buffer
	sr := bits.NewFixedSliceReader(b)
	for pos := uint64(0); pos < uint64(len(b)); {
		box, err := mp4.DecodeBoxSR(pos, sr)
		if err != nil {
			t.Fatal(err)
		}
		if err := box.Info(&w, "all:1", "", "  "); err != nil {
			t.Fatal(err)
		}
		pos += box.Size()
	}
	return w.Bytes()
}

func TestBuildInit(t *testing.T) {
	video, audio := header(t, "keyframe.mp4", "video"), header(t, "keyframe.mp4", "audio")
	golden.Check(t, "header-video.golden", dump(t, video.Init))
	golden.Check(t, "header-audio.golden", dump(t, audio.Init))
	both, err := BuildInit([]Header{video, audio})
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "header-both.golden", dump(t, both))
	if one, err := BuildInit([]Header{video}); err != nil || !bytes.Equal(one, video.Init) {
		t.Errorf("BuildInit of one header is not its Init (%v)", err)
	}
	// The sample entry is the input's, byte for byte.
	in := fixture(t, "keyframe.mp4")
	path := []string{"moov", "trak", "mdia", "minf", "stbl", "stsd"}
	a, b := find(t, in, path...)
	if !bytes.Contains(video.Init, in[a:b]) {
		t.Error("the stsd was changed")
	}
	if _, err := BuildInit(nil); err == nil {
		t.Error("BuildInit of nothing succeeds")
	}
	if _, err := BuildInit([]Header{{Init: []byte("nonsense")}}); err == nil {
		t.Error("BuildInit of nonsense succeeds")
	}
	if _, err := ParseHeader(both); err == nil || !strings.Contains(err.Error(), "second track") {
		t.Errorf("ParseHeader of two tracks: %v", err)
	}
}

// A foreign track's objects may lean on its header: another track ID, trex.
func TestHeaderParseChunks(t *testing.T) {
	in := fixture(t, "video.mp4")
	_, initEnd := find(t, in, "moov")
	init := patch(t, in[:initEnd], 20, u32s(77), "moov", "trak", "tkhd")
	init = patch(t, init, 12, u32s(77, 1, 512, 4, FlagsNonSync), "moov", "mvex", "trex")
	h, err := ParseHeader(init)
	if err != nil {
		t.Fatal(err)
	}
	moof := mk("moof", mk("mfhd", u32s(0, 1)), mk("traf", mk("tfhd", u32s(0x020000, 77)), mk("tfdt", u32s(0, 5)), mk("trun", u32s(0x5, 2, 96, FlagsSync))))
	object := append(append(mk("styp", []byte("msdh")), moof...), mk("mdat", []byte("iiiipppp"))...)
	object = append(object, object...)
	want := Chunk{
		DecodeTime: 5, RAP: true, Data: []byte("iiiipppp"),
		Samples: []Sample{{512, 4, FlagsSync, 0}, {512, 4, FlagsNonSync, 0}},
	}
	got, err := h.ParseChunks(object)
	if err != nil || !reflect.DeepEqual(got, []Chunk{want, want}) {
		t.Errorf("ParseChunks: %+v, %v; want twice %+v", got, err, want)
	}
	_, err = h.ParseChunks(threePictures().AppendTo(nil, 1, 1))
	checkBoxError(t, err, "moof/traf/tfhd", 32, "names track 1")
	own, err := ParseHeader(h.Init)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.ParseChunks(threePictures().AppendTo(nil, 1, 1)); err != nil {
		t.Errorf("with the header written anew: %v", err)
	}
}

func TestParseChunkMalformed(t *testing.T) {
	c := threePictures().AppendTo(nil, 1, 1)
	moof, mdat := c[:len(c)-18], c[len(c)-18:]
	for _, tt := range []struct {
		name   string
		in     []byte
		box    string
		off    int64
		reason string
		eof    bool
	}{
		{"nothing", nil, "moof", 0, "missing", true},
		{"half a header", c[:5], "header", 0, "5 bytes are left", true},
		{"no mdat", moof, "mdat", int64(len(moof)), "missing", true},
		{"two moofs", append(bytes.Clone(moof), c...), "mdat", int64(len(moof)), "missing", true},
		{"only mdat", mdat, "mdat", 0, "before any moof", false},
		{"cut", c[:len(c)-1], "mdat", int64(len(moof)), "only 17 bytes came", true},
		{"two chunks", append(bytes.Clone(c), patch(t, c, 12, u64(0), "moof", "traf", "tfdt")...), "moof", 0, "2 chunks", false},
		{"sample beyond mdat", patch(t, c, 24, u32s(math.MaxUint32), "moof", "traf", "trun"), "moof/traf/trun", 68, "the mdat has", false},
		{"100 000 samples of nothing", mk("moof", mk("traf", mk("tfhd", u32s(0x020010, 1, 0)), mk("trun", u32s(1, 100_000, 76)))), "moof/traf/trun", 36, "100000 samples of 0 bytes each, where 56 bytes", false},
		{"size 0", append(u32s(0), moof[4:]...), "moof", 0, "size 0", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseChunk(tt.in)
			checkBoxError(t, err, tt.box, tt.off, tt.reason)
			if errors.Is(err, io.ErrUnexpectedEOF) != tt.eof {
				t.Errorf("%v: wraps io.ErrUnexpectedEOF: %t, want %t", err, !tt.eof, tt.eof)
			}
		})
	}
}

func TestSplitChunks(t *testing.T) {
	c := threePictures().AppendTo(nil, 1, 1)
	styled := append(append(mk("styp"), Prft{}.Append(nil)...), c...)
	for _, tt := range []struct {
		name string
		in   []byte
		want [][]byte
		box  string // of the error
		eof  bool
	}{
		{"none", nil, nil, "", false},
		{"one", c, [][]byte{c}, "", false},
		{"two, one with boxes ahead", append(bytes.Clone(c), styled...), [][]byte{c, styled}, "", false},
		{"one and a half", append(bytes.Clone(c), c[:60]...), [][]byte{c}, "moof", true},
		{"one and a moof", append(bytes.Clone(c), c[:len(c)-18]...), [][]byte{c}, "mdat", true},
		{"one and a styp", append(bytes.Clone(c), mk("styp")...), [][]byte{c}, "mdat", true},
		{"a moov", append(bytes.Clone(c), mk("moov")...), [][]byte{c}, "moov", false},
		{"mdat alone", mk("mdat"), nil, "mdat", false},
		{"emsg inside", append(c[:len(c)-18:len(c)-18], mk("emsg")...), nil, "emsg", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := SplitChunks(tt.in)
			if !slices.EqualFunc(got, tt.want, bytes.Equal) {
				t.Errorf("SplitChunks = %d chunks, want %d", len(got), len(tt.want))
			}
			if tt.box == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			checkBoxError(t, err, tt.box, -1, "")
			if errors.Is(err, io.ErrUnexpectedEOF) != tt.eof {
				t.Errorf("%v: wraps io.ErrUnexpectedEOF: %t, want %t", err, !tt.eof, tt.eof)
			}
		})
	}
}

func TestPrft(t *testing.T) {
	for _, wall := range []time.Time{
		time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 11, 20, 18, 8, 0, 123456789, time.UTC),
		time.Date(2036, 2, 7, 6, 28, 15, 999999999, time.UTC), // the last second of NTP's first era
		time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC),
		time.Date(2099, 12, 31, 23, 59, 59, 1, time.UTC),
	} {
		p := Prft{TrackID: 3, Flags: 24, Wall: wall, MediaTime: 1 << 40}
		got, err := ParsePrft(p.Append(nil))
		if err != nil || got != p {
			t.Errorf("%v came back as %v, %v", p, got, err)
		}
		b, err := mp4.DecodeBoxSR(0, bits.NewFixedSliceReader(p.Append(nil)))
		if err != nil || b.(*mp4.PrftBox).MediaTime != p.MediaTime || uint64(b.(*mp4.PrftBox).NTPTimestamp) != toNTP(wall) {
			t.Errorf("mp4ff reads %v as %+v, %v", p, b, err)
		}
	}
	v0 := mk("prft", u32s(24, 3), u64(toNTP(time.Unix(5, 0))), u32s(77))
	if got, err := ParsePrft(v0); err != nil || got.MediaTime != 77 || !got.Wall.Equal(time.Unix(5, 0)) {
		t.Errorf("version 0 read as %+v, %v", got, err)
	}
	_, err := ParsePrft(append(v0, 0))
	checkBoxError(t, err, "prft", 0, "one whole")
}

func TestCutter(t *testing.T) {
	video := Header{Kind: KindVideo, Timescale: 1000}
	audio := Header{Kind: KindAudio, Timescale: 1000}
	type in struct {
		dts  int64
		dur  uint32
		sync bool
		data string
	}
	for _, tt := range []struct {
		name   string
		h      Header
		target time.Duration
		in     []in
		want   string // chunks as start+duration:bytes, R for a random access point
	}{
		{"one each", video, 0, []in{{0, 40, true, "a"}, {40, 40, false, "b"}}, "0+40:a:R 40+40:b"},
		{"whole ones up to the target", audio, 50 * time.Millisecond, []in{{0, 20, true, "a"}, {20, 20, true, "b"}, {40, 20, true, "c"}, {60, 20, true, "d"}}, "0+60:abc:R 60+20:d:R"},
		{"a random access point starts one", video, time.Second, []in{{0, 40, true, "a"}, {40, 40, false, "b"}, {80, 40, true, "c"}}, "0+80:ab:R 80+40:c:R"},
		{"audio is not cut at each", audio, time.Second, []in{{0, 20, false, "a"}, {20, 20, true, "b"}}, "0+40:ab:R"},
		{"a gap starts one", video, time.Second, []in{{0, 40, true, "a"}, {41, 40, false, "b"}}, "0+40:a:R 41+40:b"},
		{"back in time starts one", video, time.Second, []in{{0, 40, true, "a"}, {0, 40, false, "b"}}, "0+40:a:R 0+40:b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sink := &captureTrack{b: &capture{}}
			c := NewCutter(sink, tt.h, ChunkPolicy{tt.target})
			for _, s := range tt.in {
				flags := FlagsNonSync
				if s.sync {
					flags = FlagsSync
				}
				if err := c.WriteSample(s.dts, Sample{Duration: s.dur, Size: uint32(len(s.data)), Flags: flags}, []byte(s.data)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := c.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, k := range sink.chunks {
				s := Time{k.DecodeTime, 1}.String()
				s = strings.TrimSuffix(s, "/1") + "+" + strings.TrimSuffix(Time{k.Duration(), 1}.String(), "/1") + ":" + string(k.Data)
				if k.RAP {
					s += ":R"
				}
				got = append(got, s)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("chunks %s\nwant   %s", s, tt.want)
			}
			if err := c.WriteSample(0, Sample{Size: 2}, []byte("a")); err == nil {
				t.Error("a sample of the wrong size was taken")
			}
		})
	}
}

// However short samples say they are, a chunk stays bounded.
func TestCutterBounds(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		size, samples, chunk int
	}{
		{"samples of 0 ticks", 1, 2*maxChunkSamples + 1, maxChunkSamples},
		{"large samples", maxChunkBytes / 2, 5, 2},
	} {
		sink := &captureTrack{b: &capture{}}
		c := NewCutter(sink, Header{Kind: KindAudio, Timescale: 1000}, ChunkPolicy{time.Hour})
		data := make([]byte, tt.size)
		for range tt.samples {
			if err := c.WriteSample(0, Sample{Size: uint32(tt.size)}, data); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		if n := len(sink.chunks); n != 3 || len(sink.chunks[0].Samples) != tt.chunk {
			t.Errorf("%s: %d chunks, the first of %d samples; want 3 and %d", tt.name, n, len(sink.chunks[0].Samples), tt.chunk)
		}
	}
}

// A chunk that was handed on never changes, however many follow.
func TestCutterNeverRewrites(t *testing.T) {
	for _, target := range []time.Duration{0, 30 * time.Millisecond} {
		sink := &captureTrack{b: &capture{}}
		c := NewCutter(sink, Header{Kind: KindAudio, Timescale: 1000}, ChunkPolicy{target})
		for i := range 5 * sampleBlock {
			s := Sample{Duration: 10, Size: 1, CompositionOffset: int32(i)}
			if err := c.WriteSample(int64(10*i), s, []byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, k := range sink.chunks {
			for i, s := range k.Samples {
				if int(s.CompositionOffset) != n || k.Data[i] != byte(n) {
					t.Fatalf("target %v: sample %d holds what belongs to %d", target, n, s.CompositionOffset)
				}
				n++
			}
			if cap(k.Samples) != len(k.Samples) {
				t.Fatalf("target %v: appending to a chunk's samples would write into the next", target)
			}
		}
		if n != 5*sampleBlock {
			t.Fatalf("%d samples came out, want %d", n, 5*sampleBlock)
		}
	}
}

func TestMeter(t *testing.T) {
	h := Header{Kind: KindVideo, Timescale: 12800}
	var m Meter
	for i := range 51 { // two seconds of 25 frames and the start of a third
		m.Add(h, Chunk{DecodeTime: int64(512 * i), Samples: []Sample{{Duration: 512}}, Data: make([]byte, 1001+i/25*1000)})
		if known := m.Fill(&Header{}); known != (i >= 25) {
			t.Fatalf("after %d frames a rate is known: %t", i+1, known)
		}
	}
	got := h
	if !m.Fill(&got) || got.Bitrate != 410_000 || got.FrameRate != 25 {
		t.Errorf("measured %d bit/s and %g fps, want 410000 and 25", got.Bitrate, got.FrameRate)
	}
	stated := Header{Kind: KindVideo, Bitrate: 1, FrameRate: 2}
	if m.Fill(&stated) || stated.Bitrate != 1 {
		t.Error("what the header states was overwritten")
	}
}
