package cmaf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/golden"
)

// Where an input states no flags, the bytes of every codec say what can be
// started at.
func TestWithoutFlags(t *testing.T) {
	for _, file := range []string{"video.mp4", "hevc.mp4", "hevc10.mp4", "av1.mp4", "av110.mp4", "avc10.mp4"} {
		h := header(t, file, "video")
		var want []bool
		var chunks []byte
		for _, s := range oracle(t, fixture(t, file))[1] {
			want = append(want, s.sync)
			c := Chunk{DecodeTime: s.dts + 12800, Samples: []Sample{{Duration: s.dur, Size: uint32(len(s.data))}}, Data: []byte(s.data)}
			chunks = c.AppendTo(chunks, 1, 1)
		}
		if n := slices.Index(want[1:], true); n < 0 {
			t.Fatalf("%s has one key frame", file)
		}
		check := func(how string, chunks []Chunk) {
			t.Helper()
			var got []bool
			for _, c := range chunks {
				if c.RAP != c.Samples[0].Sync() {
					t.Errorf("%s %s: RAP is %t, the flags say %t", file, how, c.RAP, c.Samples[0].Sync())
				}
				for _, s := range c.Samples {
					got = append(got, s.Sync())
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s %s: random access points %v, want %v", file, how, got, want)
			}
		}
		for _, target := range []time.Duration{0, time.Second} {
			b, err := demux(append(bytes.Clone(h.Init), chunks...), 100, DemuxerConfig{Video: ChunkPolicy{target}})
			if err != nil {
				t.Fatal(err)
			}
			check("by the Demuxer", b.tracks[0].chunks)
		}
		parsed, err := h.ParseChunks(chunks)
		if err != nil {
			t.Fatal(err)
		}
		check("by ParseChunks", parsed)
	}
}

// A change of codec or of its configuration closes the Sink and adds the track
// again under its name; the samples before and after are whole.
func TestParameterSetChange(t *testing.T) {
	hevc := fixture(t, "hevc.mp4")
	higher := bytes.ReplaceAll(hevc, unhex("000003001e95"), unhex("000003003c95")) // level 2 in VPS and SPS
	higher = bytes.ReplaceAll(higher, unhex("000003001ea0"), unhex("000003003ca0"))
	at := bytes.Index(higher, []byte("hvcC"))
	higher[at+4+12] = 60
	other := fixture(t, "hevc10.mp4")
	b := &capture{}
	d := NewDemuxer(b, DemuxerConfig{})
	for _, in := range [][]byte{hevc, hevc, higher, other, fixture(t, "video.mp4"), fixture(t, "av1.mp4")} {
		if _, err := d.Write(in); err != nil {
			t.Fatal(err)
		}
		if err := d.EndBody(); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"hvc1.1.6.L30.90", "hvc1.1.6.L60.90", "hev1.2.4.L30.90", "avc1.64000b", "av01.0.00M.08"}
	var got []string
	for _, tr := range b.tracks {
		if got = append(got, tr.header.Codec); tr.name != "video" || tr.closed != 1 {
			t.Errorf("%s: name %s, closed %d times", tr.header.Codec, tr.name, tr.closed)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("tracks %v, want %v", got, want)
	}
	first := oracle(t, hevc)[1]
	checkSamples(t, b.tracks[0], append(slices.Clone(first), first...))
	checkSamples(t, b.tracks[1], oracle(t, higher)[1])
	checkSamples(t, b.tracks[2], oracle(t, other)[1])
	order := strings.Join(slices.DeleteFunc(b.log, func(s string) bool { return s == "chunk video" }), ", ")
	if want := strings.TrimSuffix(strings.Repeat("add video, close video, ", 5), ", "); order != want {
		t.Errorf("order %s\nwant %s", order, want)
	}
}

func unhex(s string) []byte {
	var b []byte
	if _, err := fmt.Sscanf(s, "%x", &b); err != nil {
		panic(err)
	}
	return b
}

// Several tracks of a kind have names and languages of their own, and keep the
// names when others end or join.
func TestSeveralTracks(t *testing.T) {
	in := fixture(t, "tracks.mp4")
	_, initEnd := find(t, in, "moov")
	want := oracle(t, in)
	b := &capture{}
	d := NewDemuxer(b, DemuxerConfig{})
	write := func(p []byte) {
		t.Helper()
		if _, err := d.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := d.EndBody(); err != nil {
			t.Fatal(err)
		}
	}
	write(in)
	var got []string
	for i, tr := range b.tracks {
		h := tr.header
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %dx%d %s", tr.name, h.Codec, h.Width, h.Height, h.Language)))
		checkSamples(t, tr, want[uint32(i+1)])
	}
	if want := []string{
		"video avc1.64000b 160x120", "video2 avc1.64000a 80x60", "audio mp4a.40.2 0x0 eng", "audio2 opus 0x0 deu", "audio3 mp4a.40.2 0x0",
	}; !slices.Equal(got, want) {
		t.Errorf("tracks %q, want %q", got, want)
	}

	without := remove(t, in[:initEnd], "moov", "trak") // the first video ends
	chunk := func(id uint32) []byte {
		return Chunk{DecodeTime: 12800, Samples: []Sample{{Duration: 512, Size: 1, Flags: FlagsSync}}, Data: []byte("x")}.AppendTo(nil, id, 1)
	}
	write(append(bytes.Clone(without), chunk(2)...))
	trak, _ := find(t, in, "moov", "trak")
	_, trakEnd := find(t, in, "moov", "trak")
	joined := bytes.Clone(in[trak:trakEnd]) // and comes back, last and under another ID
	at, _ := find(t, joined, "trak", "tkhd")
	binary.BigEndian.PutUint32(joined[at+20:], 9)
	b.log = nil
	write(append(insert(t, without, joined, "moov"), chunk(9)...))
	if got, want := strings.Join(b.log, ", "), "add video, chunk video"; got != want {
		t.Errorf("with the video back: %s, want %s", got, want)
	}
	for i, closed := range []int{1, 0, 0, 0, 0, 0} {
		if b.tracks[i].closed != closed {
			t.Errorf("%s: closed %d times, want %d", b.tracks[i].name, b.tracks[i].closed, closed)
		}
	}
	if _, err := demux(in, 0, DemuxerConfig{Name: func(Header, int) string { return "one" }}); err == nil || !strings.Contains(err.Error(), `"one" is taken`) {
		t.Errorf("one name for all: %v", err)
	}
}

// Negative composition offsets show the first picture at 0, where an input
// without them needs an edit list; either way it comes out at the same time.
func TestNegativeOffsets(t *testing.T) {
	for _, tt := range []struct {
		file  string
		first int64 // decode time
	}{{"cmaf.mp4", 0}, {"hevc.mp4", 0}, {"editlist.mp4", -1024}, {"hevc10.mp4", -1024}} {
		b, err := demux(fixture(t, tt.file), 0, DemuxerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		samples := flatten(b.track(t, "video").chunks)
		least, negative := samples[0].pts, false
		for _, s := range samples {
			least, negative = min(least, s.pts), negative || s.pts < s.dts
		}
		if samples[0].dts != tt.first || least != 0 || negative != (tt.first == 0) {
			t.Errorf("%s: decodes from %d, shows from %d, negative offsets %t", tt.file, samples[0].dts, least, negative)
		}
	}
}

// The samples that the pre-skip drops lie before time 0, so that what is heard
// first is at 0; the decoder reads how many it drops from the header.
func TestOpusPreSkip(t *testing.T) {
	b, err := demux(fixture(t, "opus.mp4"), 0, DemuxerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	tr := b.track(t, "audio")
	if got := tr.chunks[0].DecodeTime; got != -312 {
		t.Errorf("the first sample is at %d, want -312", got)
	}
	at := bytes.Index(tr.header.Init, []byte("dOps"))
	if got := binary.BigEndian.Uint16(tr.header.Init[at+6:]); got != 312 {
		t.Errorf("the header has a pre-skip of %d, want 312", got)
	}
}

// Times need 64 bits everywhere: decode times since 1970, and boxes of version
// 1 in the header.
func TestTimes64(t *testing.T) {
	const epoch = 1_795_190_400 // seconds
	video := header(t, "video.mp4", "video").Init
	// wide rewrites a header box of version 0 with 64-bit times.
	wide := func(in []byte, times, rest int, path ...string) []byte {
		from, to := find(t, in, path...)
		old := in[from:to]
		body := append(u32s(1<<24|binary.BigEndian.Uint32(old[8:])), u64(epoch+2_082_844_800)...)
		body = append(append(body, u64(epoch+2_082_844_800)...), old[20:20+times]...)
		body = append(append(body, u64(1<<40)...), old[20+times+rest:]...)
		return insert(t, remove(t, in, path...), mk(path[len(path)-1], body), path[:len(path)-1]...)
	}
	elst := func(delay, media uint64) []byte {
		return mk("edts", mk("elst", u32s(1<<24, 2), u64(delay), u64(1<<64-1), u32s(1<<16), u64(0), u64(media), u32s(1<<16)))
	}
	for _, tt := range []struct {
		name  string
		scale uint32
		tfdt  uint64
		edits []byte
		want  int64
	}{
		{"beyond 2^32", 12800, 1<<32 + 512, nil, 1<<32 + 512},
		{"since 1970 at 90 kHz", 90000, epoch * 90000, nil, epoch * 90000},
		{"since 1970 at 10 MHz", 10_000_000, epoch * 10_000_000, nil, epoch * 10_000_000},
		{"since 1970 in nanoseconds", 1_000_000_000, epoch * 1_000_000_000, nil, epoch * 1_000_000_000},
		{"an edit list takes it back to 0", 90000, epoch * 90000, elst(0, epoch*90000), 0},
		{"an edit list of 2^33 ms", 90000, 0, elst(1<<33, 0), 1 << 33 * 90},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := wide(video, 4, 4, "moov", "mvhd")
			in = wide(in, 8, 4, "moov", "trak", "tkhd")
			in = wide(in, 4, 4, "moov", "trak", "mdia", "mdhd")
			in = patch(t, in, 28, u32s(tt.scale), "moov", "trak", "mdia", "mdhd")
			in = insert(t, in, tt.edits, "moov", "trak")
			h, err := ParseHeader(in)
			if err != nil {
				t.Fatal(err)
			}
			if h.Timescale != tt.scale || h.Width != 160 || h.Language != "" {
				t.Errorf("header %+v", brief(h))
			}
			for i := range int64(3) {
				c := Chunk{DecodeTime: int64(tt.tfdt) + i, Samples: []Sample{{Duration: 1, Size: 1, Flags: FlagsSync}}, Data: []byte("x")}
				in = c.AppendTo(in, 1, uint32(i))
			}
			b, err := demux(in, 0, DemuxerConfig{})
			if err != nil || len(b.jumps) > 0 {
				t.Fatalf("%v, jumps %v", err, b.jumps)
			}
			for i, c := range b.tracks[0].chunks {
				if c.DecodeTime != tt.want+int64(i) {
					t.Errorf("chunk %d has decode time %d, want %d", i, c.DecodeTime, tt.want+int64(i))
				}
				if back, err := ParseChunk(c.AppendTo(nil, 1, 1)); err != nil || back.DecodeTime != c.DecodeTime {
					t.Errorf("written and read: %d, %v", back.DecodeTime, err)
				}
			}
		})
	}
}

// The headers that players receive, codec by codec.
func TestCodecHeaderGolden(t *testing.T) {
	for file, track := range map[string]string{"hevc10": "video", "av110": "video", "opus": "audio", "flac": "audio"} {
		golden.Check(t, "header-"+file+".golden", dump(t, header(t, file+".mp4", track).Init))
	}
}
