package cmaf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// times is a sample as the tables below write it.
type times struct {
	dts, pts int64
	dur      uint32
	sync     bool
	data     string
}

func timesOf(chunks []Chunk) []times {
	var out []times
	for _, s := range flatten(chunks) {
		out = append(out, times(s))
	}
	return out
}

const (
	sync    = FlagsSync
	nonSync = FlagsNonSync
)

// Every way in which a fragment may leave its values to defaults.
func TestDemuxerVariants(t *testing.T) {
	video := header(t, "video.mp4", "video").Init // track ID 1, 12800 ticks a second
	mfhd := mk("mfhd", u32s(0, 1))
	tfhd := mk("tfhd", u32s(0x020000, 1))
	tfdt := mk("tfdt", u32s(1<<24), u64(1000))
	// here, plus something, stands for a data offset so far into the payload of
	// an mdat right behind the moof.
	const here = 0x7777_0000
	moof := func(traf ...[]byte) []byte {
		b := mk("moof", mfhd, mk("traf", traf...))
		for i := range len(b) - 3 {
			if v := binary.BigEndian.Uint32(b[i:]); v>>16 == here>>16 {
				binary.BigEndian.PutUint32(b[i:], uint32(len(b))+8+v&0xffff)
			}
		}
		return b
	}
	trex := func(v ...uint32) []byte { // duration, size, flags
		return patch(t, video, 20, u32s(v...), "moov", "mvex", "trex")
	}
	mdat := mk("mdat", []byte("aabbcc"))
	two := []times{{1000, 1000, 512, true, "aa"}, {1512, 1512, 512, false, "bb"}}

	for _, tt := range []struct {
		name string
		in   [][]byte
		want []times
	}{
		{
			"everything in trun version 1, negative offset",
			[][]byte{video, moof(tfhd, tfdt, mk("trun", u32s(1<<24|0xf01, 2, here, 512, 2, sync, 0, 512, 2, nonSync, 0xffff_fe00))), mdat},
			[]times{{1000, 1000, 512, true, "aa"}, {1512, 1000, 512, false, "bb"}},
		},
		{
			"trun version 0 with composition offsets",
			[][]byte{video, moof(tfhd, tfdt, mk("trun", u32s(0xf01, 2, here, 512, 2, sync, 1024, 512, 2, nonSync, 0))), mdat},
			[]times{{1000, 2024, 512, true, "aa"}, {1512, 1512, 512, false, "bb"}},
		},
		{
			"everything in trex, and the first sample's flags",
			[][]byte{trex(512, 2, nonSync), moof(tfhd, tfdt, mk("trun", u32s(0x5, 2, here, sync))), mdat},
			two,
		},
		{
			"tfhd over trex",
			[][]byte{trex(1, 1, 1), moof(mk("tfhd", u32s(0x020038, 1, 512, 2, nonSync)), tfdt, mk("trun", u32s(0x5, 2, here, sync))), mdat},
			two,
		},
		{
			"two runs, the second right after the first",
			[][]byte{trex(512, 2, nonSync), moof(tfhd, tfdt, mk("trun", u32s(0x5, 1, here, sync)), mk("trun", u32s(0, 1))), mdat},
			two,
		},
		{
			"no data offset: right behind the moof's start, so the moof carries it",
			[][]byte{trex(512, 2, nonSync), mk("moof", mfhd, mk("traf", mk("tfhd", u32s(1, 1), u64(uint64(len(video)+96+8))), tfdt, mk("trun", u32s(0x4, 2, sync)))), mdat},
			two,
		},
		{
			"tfdt version 0",
			[][]byte{trex(512, 2, nonSync), moof(tfhd, mk("tfdt", u32s(0, 1000)), mk("trun", u32s(0x5, 2, here, sync))), mdat},
			two,
		},
		{
			"tfdt behind trun, unknown boxes anywhere",
			[][]byte{trex(512, 2, nonSync), mk("what", u32s(1)), moof(mk("free"), tfhd, mk("trun", u32s(0x5, 2, here+107, sync)), tfdt), mk("free", make([]byte, 99)), mdat},
			two,
		},
		{
			"no tfdt: counted on",
			[][]byte{
				trex(512, 2, nonSync), moof(tfhd, tfdt, mk("trun", u32s(0x5, 1, here, sync))), mdat,
				moof(tfhd, mk("trun", u32s(0x1, 1, here))), mk("mdat", []byte("bb")),
			},
			two,
		},
		{
			"duration 0 at the end lasts as long as the one before",
			[][]byte{trex(512, 2, nonSync), moof(tfhd, tfdt, mk("trun", u32s(0x101, 2, here, 512, 0))), mdat},
			[]times{{1000, 1000, 512, false, "aa"}, {1512, 1512, 512, false, "bb"}},
		},
		{
			"an empty sample, and bytes of no sample around",
			[][]byte{trex(512, 2, nonSync), moof(tfhd, tfdt, mk("trun", u32s(0x201, 3, here+1, 1, 0, 2))), mdat},
			[]times{{1000, 1000, 512, false, "a"}, {1512, 1512, 512, false, ""}, {2024, 2024, 512, false, "bb"}},
		},
		{
			"only an empty sample in an empty mdat",
			[][]byte{trex(512, 0, nonSync), moof(tfhd, tfdt, mk("trun", u32s(0x1, 1, here))), mk("mdat")},
			[]times{{1000, 1000, 512, false, ""}},
		},
		{
			"64-bit mdat size",
			[][]byte{trex(512, 2, nonSync), moof(tfhd, tfdt, mk("trun", u32s(0x5, 2, here+8, sync))), u32s(1), []byte("mdat"), u64(20), []byte("aabb")},
			two,
		},
		{
			"two mdat for one moof",
			[][]byte{trex(512, 2, nonSync), moof(tfhd, tfdt, mk("trun", u32s(0x5, 1, here, sync)), mk("trun", u32s(0x1, 1, here+10))), mk("mdat", []byte("aa")), mk("mdat", []byte("bb"))},
			two,
		},
		{
			"a moof without samples",
			[][]byte{trex(512, 2, nonSync), moof(mk("tfhd", u32s(0x030000, 1)), tfdt), mk("mdat")},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := bytes.Join(tt.in, nil)
			for _, piece := range []int{0, 1, 3} {
				b, err := demux(in, piece, DemuxerConfig{})
				if err != nil {
					t.Fatal(err)
				}
				if got := timesOf(b.track(t, "video").chunks); !slices.Equal(got, tt.want) {
					t.Errorf("in pieces of %d: %+v\nwant %+v", piece, got, tt.want)
				}
			}
		})
	}
}

// Edit lists move decode times; presentation stays as a player showed it.
func TestDemuxerEditList(t *testing.T) {
	video := header(t, "video.mp4", "video").Init
	at, _ := find(t, video, "moov", "mvhd")
	scale := uint64(video[at+8+14])<<8 | uint64(video[at+8+15]) // 1000
	elst := func(version uint32, entries ...[]byte) []byte {
		return mk("edts", mk("elst", u32s(version<<24, uint32(len(entries))), bytes.Join(entries, nil)))
	}
	edit := func(dur, media uint32) []byte { return u32s(dur, media, 1<<16) }
	for _, tt := range []struct {
		name string
		edts []byte
		want int64 // decode time of a sample whose tfdt is 0
		fail string
	}{
		{"B-frames: media starts at 1024", elst(0, edit(0, 1024)), -1024, ""},
		{"delay of 500 ms", elst(0, edit(500, 0xffff_ffff), edit(0, 0)), 6400, ""},
		{"delay and start", elst(0, edit(500, 0xffff_ffff), edit(0, 400)), 6000, ""},
		{"two delays", elst(0, edit(250, 0xffff_ffff), edit(250, 0xffff_ffff)), 6400, ""},
		{"version 1", elst(1, append(append(u64(0), u64(1024)...), u32s(1<<16)...)), -1024, ""},
		{"two with media", elst(0, edit(10, 0), edit(0, 100)), 0, "more than one edit"},
		{"rate 2", elst(0, u32s(0, 0, 2<<16)), 0, "rate 1"},
		{"negative start", elst(0, edit(0, 0xffff_fff0)), 0, "media time -16"},
		{"more edits than bytes", mk("edts", mk("elst", u32s(0, 1<<30))), 0, "1073741824 edits in 0 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if scale != 1000 {
				t.Fatalf("mvhd timescale %d", scale)
			}
			in := insert(t, video, tt.edts, "moov", "trak")
			h, err := ParseHeader(in)
			if tt.fail != "" {
				checkBoxError(t, err, "moov/trak/edts/elst", -1, tt.fail)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c := Chunk{Samples: []Sample{{Duration: 1, Size: 1}}, Data: []byte("x")}.AppendTo(nil, 1, 1)
			chunks, err := h.ParseChunks(c)
			if err != nil || chunks[0].DecodeTime != tt.want {
				t.Errorf("ParseChunks: %+v, %v; want decode time %d", chunks, err, tt.want)
			}
			b, err := demux(append(in, c...), 0, DemuxerConfig{})
			if err != nil || b.tracks[0].chunks[0].DecodeTime != tt.want {
				t.Errorf("Demuxer: %v; want decode time %d", err, tt.want)
			}
			if _, err := find1(b.tracks[0].header.Init, "edts"); err == nil {
				t.Error("the written header has an edit list")
			}
		})
	}
}

// find1 reports whether a box type stands anywhere in b.
func find1(b []byte, typ string) (int, error) {
	if i := bytes.Index(b, []byte(typ)); i >= 0 {
		return i, nil
	}
	return 0, errors.New("none")
}

// A whole sample is handed on before the rest of its fragment has come.
func TestDemuxerLowDelay(t *testing.T) {
	in := fixture(t, "keyframe.mp4")
	b := &capture{}
	d := NewDemuxer(b, DemuxerConfig{})
	end := 0 // of the last sample's bytes, by the oracle
	pos, _ := find(t, in, "mdat")
	pos += 8
	for _, s := range oracle(t, in)[1] {
		i := bytes.Index(in[pos:], []byte(s.data))
		if i != 0 {
			break // audio comes in between
		}
		pos += len(s.data)
		if _, err := d.Write(in[end:pos]); err != nil {
			t.Fatal(err)
		}
		end = pos
		chunks := b.track(t, "video").chunks
		if got := chunks[len(chunks)-1]; string(got.Data) != s.data {
			t.Fatalf("after byte %d the last chunk has decode time %d, want %d", pos, got.DecodeTime, s.dts)
		}
	}
	if end == 0 {
		t.Fatal("the fixture is not as expected")
	}
}

// With a moov that comes again, tracks that are as they were go on; a change
// closes the old and adds the new under the same name.
func TestDemuxerSecondMoov(t *testing.T) {
	both, video := fixture(t, "keyframe.mp4"), fixture(t, "video.mp4")
	_, initEnd := find(t, both, "moov")
	_, firstEnd := find(t, both, "mdat")
	other := patch(t, video, 11, []byte{31}, "moov", "trak", "mdia", "minf", "stbl", "stsd", "avc1", "avcC") // a higher level…
	at, _ := find(t, other, "moov", "trak", "mdia", "minf", "stbl", "stsd", "avc1", "avcC")
	other[at+19] = 31 // …in its SPS as well

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
	write(both[:firstEnd])
	write(append(bytes.Clone(both[:initEnd]), both[firstEnd:]...))
	if len(b.tracks) != 2 {
		t.Fatalf("%d tracks after the same moov, want 2", len(b.tracks))
	}
	checkSamples(t, b.tracks[0], oracle(t, both)[1])
	checkSamples(t, b.tracks[1], oracle(t, both)[2])
	write(other)
	if len(b.tracks) != 3 || b.tracks[0].closed != 1 || b.tracks[1].closed != 1 || b.tracks[2].name != "video" {
		t.Fatalf("after a change: %v", b.log[len(b.log)-30:])
	}
	if got := b.tracks[2].header.Codec; got != "avc1.64001f" {
		t.Errorf("codec %s, want avc1.64001f", got)
	}
	if err := d.Close(); err != nil || b.tracks[2].closed != 1 {
		t.Errorf("Close: %v, closed %d times", err, b.tracks[2].closed)
	}
}

// A body that breaks off loses only its broken sample; the next body goes on.
func TestDemuxerEndBody(t *testing.T) {
	in := fixture(t, "video.mp4")
	_, first := find(t, in, "mdat")
	for _, target := range []time.Duration{0, time.Second} {
		b := &capture{}
		d := NewDemuxer(b, DemuxerConfig{Video: ChunkPolicy{target}})
		if _, err := d.Write(in[:first-1]); err != nil {
			t.Fatal(err)
		}
		err := d.EndBody()
		checkBoxError(t, err, "mdat", -1, "1 bytes short")
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("EndBody: %v does not wrap io.ErrUnexpectedEOF", err)
		}
		_, err = d.Write([]byte{0, 0, 0, 0, 'm', 'o', 'o', 'f'})
		checkBoxError(t, err, "moof", 0, "size 0")
		checkBoxError(t, d.EndBody(), "moof", 0, "size 0")
		if _, err := d.Write(in[first:]); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		want := oracle(t, in)[1]
		lost := slices.IndexFunc(want, func(s flatSample) bool { return s.dts > 0 && s.sync }) - 1
		checkSamples(t, b.tracks[0], slices.Delete(want, lost, lost+1))
	}
}

// Media time that jumps is reported and left as it is.
func TestDemuxerDiscontinuity(t *testing.T) {
	h := header(t, "video.mp4", "video")
	at := func(dts int64) []byte {
		return Chunk{DecodeTime: dts, Samples: []Sample{{Duration: 512, Size: 1, Flags: sync}}, Data: []byte("x")}.AppendTo(nil, 1, 1)
	}
	for _, tt := range []struct {
		name  string
		dts   []int64
		jumps []string
	}{
		{"steady", []int64{0, 512, 1024}, nil},
		{"gap of a second", []int64{0, 512 + 12800}, nil},
		{"gap over a second", []int64{0, 512 + 12801}, []string{"the decode time of track video steps by +1.000 s"}},
		{"back", []int64{128000, 0, 512}, []string{"the decode time of track video steps by -10.040 s"}},
		{"overlap within a sample is not a jump", []int64{0, 256}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := bytes.Clone(h.Init)
			for _, dts := range tt.dts {
				in = append(in, at(dts)...)
			}
			b, err := demux(in, 0, DemuxerConfig{})
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			for _, c := range b.tracks[0].chunks {
				got = append(got, c.DecodeTime)
			}
			if !slices.Equal(got, tt.dts) || !slices.Equal(b.jumps, tt.jumps) {
				t.Errorf("times %v, jumps %q; want %v, %q", got, b.jumps, tt.dts, tt.jumps)
			}
		})
	}
}

// emsg and prft come out ahead of the fragment that they stand before.
func TestDemuxerEvents(t *testing.T) {
	h := header(t, "video.mp4", "video")
	chunk := Chunk{DecodeTime: 25600, Samples: []Sample{{Duration: 512, Size: 1, Flags: sync, CompositionOffset: 1024}}, Data: []byte("x")}.AppendTo(nil, 1, 1)
	v1 := mk("emsg", u32s(1<<24, 90000), u64(270000), u32s(9000, 7), []byte("urn:scte:scte35:2013:bin\x001001\x00"), []byte{0xfc, 0x30})
	v0 := mk("emsg", u32s(0), []byte("https://aomedia.org/emsg/ID3\x00\x00"), u32s(1000, 40, 0xffff_ffff, 8), []byte("ID3"))
	wall := time.Date(2026, 11, 20, 12, 0, 0, 123456789, time.UTC)
	prft := Prft{TrackID: 1, Flags: 24, Wall: wall, MediaTime: 25600}.Append(nil)
	b, err := demux(bytes.Join([][]byte{h.Init, v1, prft, v0, chunk, prft}, nil), 0, DemuxerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	want := []Event{
		{Scheme: "urn:scte:scte35:2013:bin", Value: "1001", ID: 7, Time: Time{270000, 90000}, Duration: Time{9000, 90000}, Payload: []byte{0xfc, 0x30}},
		{Scheme: "https://aomedia.org/emsg/ID3", ID: 8, Time: Time{2120, 1000}, Payload: []byte("ID3")},
	}
	if fmt.Sprintf("%+v", b.events) != fmt.Sprintf("%+v", want) {
		t.Errorf("events %+v\nwant %+v", b.events, want)
	}
	if got, want := strings.Join(b.log, ", "), "add video, event urn:scte:scte35:2013:bin, event https://aomedia.org/emsg/ID3, chunk video, close video"; got != want {
		t.Errorf("order %s\nwant %s", got, want)
	}
	if got := "25600/12800 2026-11-20T12:00:00.123456789Z"; !slices.Equal(b.prfts, []string{got, got}) {
		t.Errorf("anchors %q, want twice %q", b.prfts, got)
	}
}

// What a Sink answers ends the reading, once.
func TestDemuxerSinkError(t *testing.T) {
	want := errors.New("full")
	b := &capture{fail: want}
	d := NewDemuxer(b, DemuxerConfig{})
	if _, err := d.Write(fixture(t, "keyframe.mp4")); !errors.Is(err, want) {
		t.Errorf("Write: %v, want %v", err, want)
	}
	if _, err := d.Write([]byte{0}); !errors.Is(err, want) {
		t.Errorf("second Write: %v, want %v", err, want)
	}
	if err := d.Close(); !errors.Is(err, want) || b.tracks[0].closed != 1 {
		t.Errorf("Close: %v, want %v; closed %d times", err, want, b.tracks[0].closed)
	}
}

// Tracks of a kind are told apart by number, or as the caller names them.
func TestDemuxerNames(t *testing.T) {
	v, a := header(t, "video.mp4", "video"), header(t, "audio.mp4", "audio")
	in, err := BuildInit([]Header{v, v, a})
	if err != nil {
		t.Fatal(err)
	}
	in = oneSample(1).AppendTo(in, 2, 1)
	for _, tt := range []struct {
		name func(Header, int) string
		want string
	}{
		{nil, "add video, add video2, add audio, chunk video2, close video, close video2, close audio"},
		{
			func(h Header, n int) string { return fmt.Sprintf("%s-%d", h.Codec, n) },
			"add avc1.64000b-0, add avc1.64000b-1, add mp4a.40.2-0, chunk avc1.64000b-1, close avc1.64000b-0, close avc1.64000b-1, close mp4a.40.2-0",
		},
	} {
		b, err := demux(in, 0, DemuxerConfig{Name: tt.name})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(b.log, ", "); got != tt.want {
			t.Errorf("%s\nwant %s", got, tt.want)
		}
	}
}

// A track that is neither video nor audio is left out, and the others whole.
func TestDemuxerLeavesOut(t *testing.T) {
	in := fixture(t, "keyframe.mp4")
	b, err := demux(bytes.ReplaceAll(in, []byte("soun"), []byte("meta")), 0, DemuxerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if len(b.tracks) != 1 {
		t.Fatalf("%d tracks, want 1", len(b.tracks))
	}
	checkSamples(t, b.tracks[0], oracle(t, in)[1])
}

// Header and media may come in bodies of their own.
func TestDemuxerHeaderAlone(t *testing.T) {
	in := fixture(t, "keyframe.mp4")
	_, end := find(t, in, "moov")
	b := &capture{}
	d := NewDemuxer(b, DemuxerConfig{})
	for _, body := range [][]byte{in[:end], in[end:]} {
		if _, err := d.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := d.EndBody(); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	checkSamples(t, b.track(t, "video"), oracle(t, in)[1])
	if n, err := d.Write(nil); n != 0 || err == nil {
		t.Errorf("Write after Close: %d, %v; want an error", n, err)
	}
}
