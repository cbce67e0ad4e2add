package mpegts

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts/codecs"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A muxer writes streams of pictures and frames with mediacommon's writer,
// which knows nothing of our reader.
type muxer struct {
	t            *testing.T
	w            *mpegts.Writer
	out          bytes.Buffer
	video, audio *mpegts.Track
}

func newMuxer(t *testing.T) *muxer {
	m := &muxer{t: t}
	m.video = &mpegts.Track{PID: 300, Codec: &codecs.H264{}}
	m.audio = &mpegts.Track{PID: 301, Language: "deu", Codec: &codecs.MPEG4Audio{Config: mpeg4audio.AudioSpecificConfig{
		Type: mpeg4audio.ObjectTypeAACLC, SampleRate: 44100, ChannelConfig: 2, ChannelCount: 2,
	}}}
	m.w = &mpegts.Writer{W: &m.out, Tracks: []*mpegts.Track{m.video, m.audio}}
	if err := m.w.Initialize(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *muxer) picture(pts, dts int64, nals ...[]byte) {
	m.t.Helper()
	if err := m.w.WriteH264(m.video, pts&(clockWrap-1), dts&(clockWrap-1), nals); err != nil {
		m.t.Fatal(err)
	}
}

func (m *muxer) frames(pts int64, n int) {
	m.t.Helper()
	aus := make([][]byte, n)
	for i := range aus {
		aus[i] = []byte{0x21, 0, byte(i), 0x1c}
	}
	if err := m.w.WriteMPEG4Audio(m.audio, pts&(clockWrap-1), aus); err != nil {
		m.t.Fatal(err)
	}
}

// parameterSets returns the SPS and PPS of the fixture, and of a stream of another size.
func parameterSets(t *testing.T) (a, b [2][]byte) {
	t.Helper()
	read := func(in []byte) (out [2][]byte) {
		r := &mpegts.Reader{R: bytes.NewReader(in)}
		if err := r.Initialize(); err != nil {
			t.Fatal(err)
		}
		r.OnDataH264(r.Tracks()[0], func(_, _ int64, au [][]byte) error {
			for _, nal := range au {
				switch nal[0] & 31 {
				case avcSPS:
					out[0] = bytes.Clone(nal)
				case avcPPS:
					out[1] = bytes.Clone(nal)
				}
			}
			return nil
		})
		for r.Read() == nil { //nolint:revive // it calls the function above
		}
		return out
	}
	return read(fixture(t, "av.ts")), read(fixture(t, "large.ts"))
}

var (
	idr   = []byte{0x65, 0x88, 0x84, 1}
	slice = []byte{0x41, 0x9a, 2}
	// A recovery point with a count of 0, then trailing bits.
	recovery = []byte{0x06, 0x06, 0x01, 0xc4, 0x80}
)

// Times rise through the wrap of 33 bits, on both tracks, wherever each of
// them crosses it.
func TestWrap(t *testing.T) {
	s, _ := parameterSets(t)
	m := newMuxer(t)
	base := int64(clockWrap - 5*3600)
	for i := range int64(10) {
		nals := [][]byte{slice}
		if i == 0 {
			nals = [][]byte{s[0], s[1], idr}
		}
		m.picture(base+i*3600+7200, base+i*3600, nals...)
		m.frames(base+i*3600-4000, 2)
	}
	c, _ := mustDemux(t, m.out.Bytes(), 0)
	for i, got := range c.track(t, "video", 0).samples() {
		if want := base + int64(i)*3600; got.dts != want || got.pts != want+7200 || got.dur != 3600 {
			t.Errorf("picture %d: %d+%d for %d, want %d", i, got.dts, got.pts-got.dts, got.dur, want)
		}
	}
	audio := c.track(t, "audio", 0)
	first := cmaf.Time{Ticks: audio.samples()[0].dts, Scale: 44100}
	if off := first.Sub(cmaf.Time{Ticks: base - 4000, Scale: clockRate}).Duration(); off.Abs() > 20_000 {
		t.Errorf("audio begins %v from its PTS", off)
	}
	if audio.header.Language != "deu" || len(c.jumps) > 0 {
		t.Errorf("language %q, jumps %q", audio.header.Language, c.jumps)
	}
}

// Parameter sets that change make another track of the same name, at the
// random access point that has them; what repeats changes nothing.
func TestParameterSets(t *testing.T) {
	a, b := parameterSets(t)
	m := newMuxer(t)
	dts := int64(0)
	picture := func(nals ...[]byte) { m.picture(dts, dts, nals...); dts += 3600 }
	picture(slice) // before any parameter sets: left out
	picture(a[0], a[1], idr)
	picture(slice)
	picture(a[0], a[1], idr)
	picture(recovery, slice)
	picture(b[0], b[1], idr)
	picture(slice)
	m.frames(0, 20)
	c, stats := mustDemux(t, m.out.Bytes(), 0)
	first, second := c.track(t, "video", 0), c.track(t, "video", 1)
	if first.header.Width != 96 || second.header.Width != 160 || first.closed != 1 || stats.Dropped != 1 {
		t.Errorf("widths %d and %d, first closed %d, %+v", first.header.Width, second.header.Width, first.closed, stats)
	}
	var got []int64
	var sync []bool
	for _, s := range append(first.samples(), second.samples()...) {
		got, sync = append(got, s.dts), append(sync, s.sync)
		if strings.Contains(s.data, string(a[0])) || strings.Contains(s.data, string(b[0])) {
			t.Error("parameter sets are left in a sample")
		}
	}
	if !slices.Equal(got, []int64{3600, 7200, 10800, 14400, 18000, 21600}) || !slices.Equal(sync, []bool{true, false, true, true, true, false}) {
		t.Errorf("times %d, random access points %t", got, sync)
	}
	if len(second.samples()) != 2 {
		t.Errorf("%d samples under the second header", len(second.samples()))
	}
	if _, err := cmaf.BuildInit([]cmaf.Header{first.header, second.header}); err != nil {
		t.Error(err)
	}
}

// Times that jump are passed on as they are and told once, for all streams.
func TestJump(t *testing.T) {
	s, _ := parameterSets(t)
	m := newMuxer(t)
	for _, base := range []int64{1_000_000, 90_000_000, 500} {
		for i := range int64(5) {
			m.picture(base+i*3600, base+i*3600, s[0], s[1], idr)
			m.frames(base+i*3600, 2)
		}
	}
	c, _ := mustDemux(t, m.out.Bytes(), 0)
	var got []int64
	for _, s := range c.track(t, "video", 0).samples() {
		got = append(got, s.dts)
		if s.dur != 3600 {
			t.Errorf("the picture at %d lasts %d", s.dts, s.dur)
		}
	}
	if len(got) != 15 || got[5] != 90_000_000 || got[10] != 500 || len(c.jumps) != 2 {
		t.Errorf("pictures at %d, jumps %q; want two", got, c.jumps)
	}
}

// Audio is timed by its samples. A PTS that jitters changes nothing; one that
// runs ahead leaves a hole, one that lies back costs the frames that overlap.
func TestAudioTimes(t *testing.T) {
	const scale = 44100
	tick := func(frames int64) int64 { return frames * 1024 * clockRate / scale }
	for _, tt := range []struct {
		name   string
		offset []int64 // of each PES packet of one frame, in ticks of 90 kHz
		want   []int64 // frames' times in frames
	}{
		{"rounded", []int64{0, 1, -1, 0}, []int64{0, 1, 2, 3}},
		{"jitter", []int64{0, 2000, -2000, 900}, []int64{0, 1, 2, 3}},
		{"a hole", []int64{0, 0, tick(4), tick(4)}, []int64{0, 1, 6, 7}},
		{"overlap", []int64{0, 0, -tick(2), -tick(2), -tick(2), -tick(2)}, []int64{0, 1, 2, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMuxer(t)
			for i, off := range tt.offset {
				m.frames(clockRate+tick(int64(i))+off, 1)
			}
			c, _ := mustDemux(t, m.out.Bytes(), 0)
			var got []int64
			for _, s := range c.track(t, "audio", 0).samples() {
				got = append(got, (s.dts-scale+2)/1024)
			}
			if !slices.Equal(got, tt.want) || len(c.jumps) > 0 {
				t.Errorf("frames at %d, want %d; jumps %q", got, tt.want, c.jumps)
			}
		})
	}
}
