package mpegts

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts/codecs"
)

func mustDemux(t *testing.T, in []byte, n int) (*capture, Stats) {
	t.Helper()
	c, stats, err := demux(in, n)
	if err != nil {
		t.Fatal(err)
	}
	return c, stats
}

// The same comes out however the bytes are cut.
func TestPieces(t *testing.T) {
	in := fixture(t, "av.ts")
	whole, _ := mustDemux(t, in, 0)
	v, a := whole.track(t, "video", 0), whole.track(t, "audio", 0)
	if v.header.Width != 96 || v.header.Height != 64 || v.header.FrameRate != 25 || v.header.Timescale != 90000 || v.closed != 1 {
		t.Errorf("video header %+v", v.header)
	}
	if a.header.SampleRate != 48000 || a.header.Channels != 1 || a.header.Timescale != 48000 || a.header.Codec != "mp4a.40.2" {
		t.Errorf("audio header %+v", a.header)
	}
	if len(v.samples()) != 25 || !slices.Equal(whole.names(), []string{"video", "audio"}) {
		t.Errorf("%d pictures of %q", len(v.samples()), whole.names())
	}
	for i, s := range v.samples() {
		if s.dur != 3600 || s.sync != (i%12 == 0) {
			t.Errorf("picture %d: %d ticks, sync %t", i, s.dur, s.sync)
		}
	}
	for _, n := range []int{1, 7, 187, 188, 189, 1316, 5000} {
		if got, _ := mustDemux(t, in, n); got.String() != whole.String() {
			t.Errorf("in pieces of %d bytes something else came out", n)
		}
	}
}

// The demuxer that was meant for this reads the same times, pictures and
// audio frames.
func TestAgainstMediacommon(t *testing.T) {
	in := fixture(t, "av.ts")
	type unit struct {
		pts, dts int64
		data     string
	}
	var pictures []unit
	var sounds []string
	var firstSound int64 = -1
	r := &mpegts.Reader{R: bytes.NewReader(in)}
	if err := r.Initialize(); err != nil {
		t.Fatal(err)
	}
	for _, track := range r.Tracks() {
		switch track.Codec.(type) {
		case *codecs.H264:
			r.OnDataH264(track, func(pts, dts int64, au [][]byte) error {
				var b []byte
				for _, nal := range au {
					if typ := nal[0] & 31; typ == avcSPS || typ == avcPPS {
						continue
					}
					b = binary.BigEndian.AppendUint32(b, uint32(len(nal)))
					b = append(b, nal...)
				}
				pictures = append(pictures, unit{pts, dts, string(b)})
				return nil
			})
		case *codecs.MPEG4Audio:
			r.OnDataMPEG4Audio(track, func(pts int64, aus [][]byte) error {
				if firstSound < 0 {
					firstSound = pts
				}
				for _, au := range aus {
					sounds = append(sounds, string(au))
				}
				return nil
			})
		}
	}
	for r.Read() == nil { //nolint:revive // it calls the functions above
	}
	c, _ := mustDemux(t, in, 0)
	var got []unit
	for _, s := range c.track(t, "video", 0).samples() {
		got = append(got, unit{s.pts, s.dts, s.data})
	}
	if len(pictures) != 25 || !slices.Equal(got, pictures) {
		t.Errorf("%d pictures, want the same %d", len(got), len(pictures))
	}
	var gotSounds []string
	audio := c.track(t, "audio", 0).samples()
	for i, s := range audio {
		gotSounds = append(gotSounds, s.data)
		if want := audio[0].dts + int64(i)*1024; s.dts != want || s.dur != 1024 {
			t.Fatalf("audio frame %d at %d, want %d", i, s.dts, want)
		}
	}
	if len(sounds) < 40 || !slices.Equal(gotSounds, sounds) {
		t.Errorf("%d audio frames, want the same %d", len(gotSounds), len(sounds))
	}
	if want := (firstSound*48000 + 45000) / 90000; audio[0].dts != want {
		t.Errorf("audio begins at %d, want %d", audio[0].dts, want)
	}
}

// Bytes between packets and before the first, and packets that do not belong,
// cost nothing.
func TestLostSync(t *testing.T) {
	in := fixture(t, "av.ts")
	want, _ := mustDemux(t, in, 0)
	junk := bytes.Repeat([]byte(" not\x47a packet "), 9)
	var out []byte
	out = append(out, junk...)
	for i := 0; i < len(in); i += packetSize {
		if i == 20*packetSize || i == 60*packetSize {
			out = append(out, junk...)
		}
		out = append(out, in[i:i+packetSize]...)
		if i%7 == 0 { // null packets, and a PID that nobody announced
			null := make([]byte, packetSize)
			copy(null, []byte{0x47, 0x1f, 0xff, 0x10})
			out = append(out, null...)
			copy(null, []byte{0x47, 0x51, 0x23, 0x1f})
			out = append(out, null...)
		}
	}
	got, stats := mustDemux(t, out, 100)
	if got.String() != want.String() {
		t.Error("something else came out")
	}
	if stats.Skipped != int64(3*len(junk)) {
		t.Errorf("skipped %d bytes, want %d", stats.Skipped, 3*len(junk))
	}
}

// A packet that is lost costs the picture or the frames that it was part of,
// nothing else, and never shows as a picture with a hole.
func TestLostPackets(t *testing.T) {
	in := fixture(t, "av.ts")
	want, _ := mustDemux(t, in, 0)
	whole := map[string]bool{}
	for _, tr := range want.tracks {
		for _, s := range tr.samples() {
			whole[s.data] = true
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var out []byte
		lost := 0
		for i := 0; i < len(in); i += packetSize {
			// Not the tables, and not the end, whose loss nothing shows.
			if i >= 4*packetSize && i < len(in)-12*packetSize && rng.IntN(12) == 0 {
				lost++
				continue
			}
			out = append(out, in[i:i+packetSize]...)
		}
		got, stats := mustDemux(t, out, 0)
		n := 0
		for _, tr := range got.tracks {
			for _, s := range tr.samples() {
				n++
				if !whole[s.data] {
					t.Fatalf("a sample of %s came out that never went in", tr.name)
				}
			}
		}
		if lost > 0 && n == len(whole) || stats.Gaps > int64(lost) {
			t.Fatalf("%d packets lost: %d of %d samples, %+v", lost, n, len(whole), stats)
		}
	}
}

// Segments of HLS each begin their continuity counters as they like; nothing
// is lost where one ends.
func TestBodies(t *testing.T) {
	in := fixture(t, "av.ts")
	want, _ := mustDemux(t, in, 0)
	c := &capture{}
	d := NewDemuxer(c, Config{})
	// The second half of the pictures, from the packet that begins the 13th.
	cut := 0
	starts := 0
	for i := 0; i < len(in); i += packetSize {
		p, _ := parsePacket(in[i:])
		if p.pid == 256 && p.start {
			if starts++; starts == 13 {
				cut = i
			}
		}
	}
	for n, part := range [][]byte{in[:cut], in[cut:]} {
		body := bytes.Clone(part)
		for i := 0; i < len(body); i += packetSize {
			body[i+3] = body[i+3]&0xf0 | (body[i+3]+byte(5*n))&0x0f
		}
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
	if got := c.track(t, "video", 0).samples(); !slices.Equal(got, want.track(t, "video", 0).samples()) {
		t.Errorf("%d pictures, want the same 25", len(got))
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		is   error
		want string
	}{
		{"several programs", fixture(t, "programs.ts"), ErrPrograms, "programs 1, 2"},
		{"a codec that is not carried", fixture(t, "mp2.ts"), ErrNoMedia, "program 1 has MPEG-1 audio (PID 256)"},
		{"no transport stream", bytes.Repeat([]byte("not a transport stream "), 4000), ErrFormat, "no packet in the first"},
		{"a little of anything", []byte("<html>"), ErrFormat, "no packet in 6 bytes"},
		{"nothing announced", bytes.Repeat(fixture(t, "av.ts")[3*packetSize:4*packetSize], 9), ErrNoMedia, "no program"},
		{"scrambled", scrambled(fixture(t, "av.ts")), ErrNoMedia, "scrambled"},
		{"nothing but tables", fixture(t, "av.ts")[:3*packetSize], ErrNoMedia, "ended before"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := demux(tt.in, 1000)
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if len(c.tracks) > 0 {
				t.Errorf("tracks %q", c.names())
			}
		})
	}
	if c, _, err := demux(nil, 0); err != nil || len(c.tracks) > 0 {
		t.Errorf("nothing at all: %v, want no error", err)
	}
}

// scrambled marks the packets of both elementary streams.
func scrambled(in []byte) []byte {
	out := bytes.Clone(in)
	for i := 0; i < len(out); i += packetSize {
		if p, _ := parsePacket(out[i:]); p.pid == 256 || p.pid == 257 {
			out[i+3] |= 0x80
		}
	}
	return out
}

// A PES packet without an end, and a picture larger than any, cost no more
// than their bound.
func TestBounds(t *testing.T) {
	s, _ := parameterSets(t)
	m := newMuxer(t)
	m.picture(0, 0, s[0], s[1], idr)
	m.picture(3600, 3600, slice)
	c := &capture{}
	d := NewDemuxer(c, Config{})
	if _, err := d.Write(m.out.Bytes()); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, packetSize) // goes on with the picture, for ever
	copy(p, []byte{0x47, 0x01, 0x2c, 0x10})
	for i := 4; i < packetSize; i++ {
		p[i] = 0xa5
	}
	last := 0
	for i := 0; i < m.out.Len(); i += packetSize {
		if q, _ := parsePacket(m.out.Bytes()[i:]); q.pid == 300 {
			last = int(q.counter)
		}
	}
	for i := range 3 * maxAccessUnit / 184 {
		p[3] = 0x10 | byte(last+1+i)&0x0f
		if _, err := d.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	unit := d.list[0].pes.out.(*video).unit
	if cap(unit) > 2*maxAccessUnit {
		t.Errorf("%d bytes are held", cap(unit))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(c.track(t, "video", 0).samples()); n != 1 || d.Stats().Dropped != 1 {
		t.Errorf("%d pictures, %+v; want the first alone", n, d.Stats())
	}
}

// A program that gains and loses streams.
func TestProgramChange(t *testing.T) {
	s, _ := parameterSets(t)
	m := newMuxer(t)
	for i := range int64(3) {
		m.picture(i*3600, i*3600, s[0], s[1], idr)
		m.frames(i*3600, 2)
	}
	alone := &mpegts.Writer{W: &m.out, Tracks: []*mpegts.Track{m.video}}
	if err := alone.Initialize(); err != nil {
		t.Fatal(err)
	}
	for i := range int64(3) {
		if err := alone.WriteH264(m.video, (3+i)*3600, (3+i)*3600, [][]byte{s[0], s[1], idr}); err != nil {
			t.Fatal(err)
		}
	}
	c, _ := mustDemux(t, m.out.Bytes(), 0)
	if got := c.names(); !slices.Equal(got, []string{"video", "audio"}) {
		t.Fatalf("tracks %q", got)
	}
	if n := len(c.track(t, "video", 0).samples()); n < 5 {
		t.Errorf("%d pictures, want all that have no lost packet", n)
	}
	if a := c.track(t, "audio", 0); a.closed != 1 || len(a.samples()) != 6 {
		t.Errorf("%d audio frames, closed %d times", len(a.samples()), a.closed)
	}
}
