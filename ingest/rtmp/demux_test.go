package rtmp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/bluenviron/gortmplib/pkg/amf0"

	"github.com/broadcastd/broadcastd/ingest"
)

// avcConfig is of 320x240 at 30 fps, avcConfig2 says another level; from ffmpeg
// 5.1.9 with libx264.
const (
	avcConfig  = "0164000dffe1001967 64000dacd94141fb0110000003001000000303c0f14299 6001000668ebe3cb22c0fdf8f800"
	avcConfig2 = "0164000cffe1001967 64000cacd94141fb0110000003001000000303c0f14299 6001000668ebe3cb22c0fdf8f800"
)

// A script is messages as a test writes them: "ms kind", where kind is V and v
// for a key frame and another one of H.264, with its composition time behind,
// a for AAC, C and c for their configurations, D for the second one of H.264.
type script struct {
	t testing.TB
	d *demuxer
	b *fakeBroadcast
}

func newScript(t testing.TB) *script {
	b := new(fakeBroadcast)
	return &script{t, &demuxer{b: b, maxGroup: 1 << 20, log: slog.New(slog.DiscardHandler)}, b}
}

func (s *script) send(lines ...string) error {
	s.t.Helper()
	for _, line := range lines {
		var at, cts int64
		var what byte
		if n, err := fmt.Sscanf(line, "%d %c%d", &at, &what, &cts); n < 2 {
			s.t.Fatalf("%q: %v", line, err)
		}
		m := message{typ: typeVideo, timestamp: uint32(at)}
		switch offset := fmt.Sprintf("%06x", uint32(cts)&0xff_ffff); what {
		case 'C':
			m.body = unhex(s.t, "1700000000"+avcConfig)
		case 'D':
			m.body = unhex(s.t, "1700000000"+avcConfig2)
		case 'c':
			m = message{typeAudio, uint32(at), unhex(s.t, "af001190")}
		case 'V':
			m.body = unhex(s.t, "1701"+offset+"00000001 65")
		case 'v':
			m.body = unhex(s.t, "2701"+offset+"00000001 41")
		case 'a':
			m = message{typeAudio, uint32(at), unhex(s.t, "af0121")}
		default:
			s.t.Fatalf("%q", line)
		}
		if _, err := s.d.message(m); err != nil {
			return err
		}
	}
	return nil
}

func TestDemuxer(t *testing.T) {
	for _, tt := range []struct {
		name, script, want string
		stats              demuxStats
	}{
		{
			"video with B-frames and audio", "0 C, 0 c, 0 V67, 0 a, 21 a, 33 v133, 67 v33, 43 a",
			`add video avc1.64000d
add audio mp4a.40.2
audio 0+1024 1024+1024
video 0+2970@6030* 2970+3060@11970
audio 2048+1024
video 6030+3060@2970
close video
close audio`,
			demuxStats{Frames: 6},
		},
		{
			"pictures before a key frame are left out", "0 C, 0 v, 33 V, 67 v",
			"add video avc1.64000d\nvideo 2970+3060* 6030+3060\nclose video",
			demuxStats{Frames: 2, Dropped: 1},
		},
		{
			"audio alone waits half a second for video", "0 c, 0 a, 400 a, 500 a, 500 C, 520 V, 560 v",
			"add audio mp4a.40.2\naudio 0+1024 19200+1024 24000+1024\nadd video avc1.64000d\nvideo 46800+3600* 50400+3600\nclose audio\nclose video",
			demuxStats{Frames: 5},
		},
		{
			"audio that starts late", "0 C, 0 V, 500 v, 1000 v, 1500 v, 1500 c, 1500 a, 2000 v",
			`add video avc1.64000d
video 0+45000* 45000+45000 90000+45000
add audio mp4a.40.2
audio 72000+1024
video 135000+45000 180000+45000
close video
close audio`,
			demuxStats{Frames: 6},
		},
		{
			"timestamps wrap", "4294967200 C, 4294967200 c, 4294967200 V, 4294967200 a, 4294967221 a, 4294967240 v, 4294967280 v, 24 v, 64 v",
			`add video avc1.64000d
add audio mp4a.40.2
audio 206158425600+1024 206158426624+1024
video 386547048000+3600* 386547051600+3600 386547055200+3600 386547058800+3600 386547062400+3600
close video
close audio`,
			demuxStats{Frames: 7},
		},
		{
			"decode times that do not rise", "0 C, 0 c, 0 a, 0 V, 40 v40, 40 v0, 30 v90, 120 v",
			`add video avc1.64000d
add audio mp4a.40.2
audio 0+1024
video 0+3600* 3600+1@3600 3601+1@-1 3602+7198@7198 10800+7198
close video
close audio`,
			demuxStats{Frames: 6, Late: 2},
		},
		{
			"times that jump ahead, and back", "0 C, 0 c, 0 V, 0 a, 21 a, 40 v, 60040 V, 60040 a, 60061 a, 60080 v, 80 V, 80 a, 120 v",
			`add video avc1.64000d
add audio mp4a.40.2
audio 0+1024 1024+1024
video 0+3600* 3600+3600
jump: the timestamps of video jumped by 1m0s
jump: the timestamps of audio jumped by 59.997s
audio 2881920+1024 2882944+1024
video 5403600+3600* 5407200+3600
jump: the timestamps of video jumped by -1m0s
jump: the timestamps of audio jumped by -1m0.003s
audio 3840+1024
video 7200+3600* 10800+3600
close video
close audio`,
			demuxStats{Frames: 11, Jumps: 4},
		},
		{
			"audio with a hole, and with an overlap", "0 C, 0 V, 0 c, 0 a, 21 a, 43 a, 164 a, 185 a, 100 a, 228 a",
			`add video avc1.64000d
add audio mp4a.40.2
audio 0+1024 1024+1024 2048+1024 7872+1024 8896+1024 9920+1024
video 0+3000*
close video
close audio`,
			demuxStats{Frames: 7, Dropped: 1},
		},
		{
			"a configuration again, and another", "0 C, 0 c, 0 V, 0 a, 40 C, 40 v, 80 D, 80 v, 120 V, 160 v",
			`add video avc1.64000d
add audio mp4a.40.2
audio 0+1024
video 0+3600* 3600+7200
close video
add video avc1.64000c
video 10800+3600* 14400+3600
close video
close audio`,
			demuxStats{Frames: 5, Dropped: 1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScript(t)
			if err := s.send(strings.Split(tt.script, ", ")...); err != nil {
				t.Fatal(err)
			}
			if err := s.d.close(); err != nil {
				t.Fatal(err)
			}
			if got := s.b.String(); got != tt.want || s.d.stats != tt.stats {
				t.Errorf("got %+v\n%s\nwant %+v\n%s", s.d.stats, got, tt.stats, tt.want)
			}
		})
	}
}

// A group's bytes are bounded, and the encoder is told what to set.
func TestGroupIsBounded(t *testing.T) {
	s := newScript(t)
	s.d.maxGroup = 12
	err := s.send("0 C", "0 V", "40 v", "80 V", "120 v", "160 v")
	if !errors.Is(err, errGroup) || !strings.Contains(err.Error(), "key frame interval") {
		t.Errorf("%v, want errGroup", err)
	}
}

func TestTracksAreBounded(t *testing.T) {
	s := newScript(t)
	for id := range maxTracks + 1 {
		_, err := s.d.message(message{typeVideo, 0, append(unhex(t, "9600 61766331"), byte(id))})
		if want := id == maxTracks; errors.Is(err, ingest.ErrTooManyTracks) != want {
			t.Fatalf("track %d: %v", id, err)
		}
	}
}

// The tracks of multitrack become tracks of their own, which all are there
// before media is.
func TestMultitrack(t *testing.T) {
	s := newScript(t)
	send := func(m message) {
		t.Helper()
		if _, err := s.d.message(m); err != nil {
			t.Fatal(err)
		}
	}
	meta := amf0.Data{"@setDataFrame", "onMetaData", amf0.ECMAArray{
		{Key: "videocodecid", Value: 7.0},
		{Key: "videoTrackIdInfoMap", Value: amf0.Object{{Key: "1", Value: amf0.Object{{Key: "width", Value: 320.0}}}}},
	}}
	body, err := meta.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	send(message{typeData, 0, body})
	frame := func(kind string, at uint32, typ string) {
		send(message{typeVideo, at, unhex(t, kind+typ)})
	}
	if err := s.send("0 C", "0 V", "40 v"); err != nil {
		t.Fatal(err)
	}
	if len(s.b.lines) > 0 {
		t.Fatalf("media before the second track: %s", s.b)
	}
	frame("9600 61766331 01", 40, avcConfig2)
	frame("9603 61766331 01", 40, "0000000165")
	frame("a603 61766331 01", 80, "0000000141")
	if err := errors.Join(s.send("80 v"), s.d.close()); err != nil {
		t.Fatal(err)
	}
	want := `add video avc1.64000d
add video2 avc1.64000c
video 0+3600*
video2 3600+3600*
video 3600+3600 7200+3600
video2 7200+3600
close video
close video2`
	if s.b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", s.b, want)
	}
}

// What does not say whether it is a key frame is looked into.
func TestKeyFramesWithoutFrameType(t *testing.T) {
	s := newScript(t)
	for i, hex := range []string{"9061766331" + avcConfig, "8361766331 0000000141", "8361766331 0000000165", "8361766331 0000000141"} {
		if _, err := s.d.message(message{typeVideo, uint32(40 * i), unhex(t, hex)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.d.close(); err != nil {
		t.Fatal(err)
	}
	if got, want := s.b.String(), "add video avc1.64000d\nvideo 7200+3600* 10800+3600\nclose video"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAggregate(t *testing.T) {
	s := newScript(t)
	tag := func(typ byte, at uint32, hex string) []byte {
		body := unhex(t, hex)
		b := []byte{typ, 0, 0, byte(len(body)), byte(at >> 16), byte(at >> 8), byte(at), byte(at >> 24), 0, 0, 0}
		return append(append(b, body...), 0, 0, 0, byte(len(body)+11))
	}
	b := tag(typeVideo, 1000, "1700000000"+avcConfig)
	b = append(b, tag(typeAudio, 1000, "af001190")...)
	b = append(b, tag(typeVideo, 1000, "1701000000 0000000165")...)
	b = append(b, tag(typeVideo, 1040, "2701000000 0000000141")...)
	b = append(b, tag(typeAudio, 1040, "af0121")...)
	if _, err := s.d.message(message{typeAggregate, 5000, b}); err != nil {
		t.Fatal(err)
	}
	if err := s.d.close(); err != nil {
		t.Fatal(err)
	}
	want := "add video avc1.64000d\nadd audio mp4a.40.2\nvideo 450000+3600*\naudio 241920+1024\nvideo 453600+3600\nclose video\nclose audio"
	if s.b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", s.b, want)
	}
	nested := tag(typeAggregate, 0, "00")
	if _, err := s.d.message(message{typeAggregate, 0, nested}); !errors.Is(err, errProtocol) {
		t.Errorf("an aggregate in an aggregate: %v", err)
	}
}

func TestCues(t *testing.T) {
	section := []byte{0xfc, 0x30, 0x11, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff}
	for _, tt := range []struct {
		name   string
		values amf0.Data
		want   string
	}{
		{
			"SCTE-35",
			amf0.Data{"onAdCue", amf0.Object{{Key: "type", Value: "scte35"}, {Key: "cue", Value: base64.StdEncoding.EncodeToString(section)}}},
			fmt.Sprintf("event urn:scte:scte35:2013:bin %q 5000/1000 %q", "", section),
		},
		{
			"a cue point",
			amf0.Data{"onCuePoint", amf0.Object{{Key: "name", Value: "ad"}, {Key: "time", Value: 1.5}}},
			`event urn:broadcastd:rtmp:data "onCuePoint" 5000/1000 "[{\"name\":\"ad\",\"time\":1.5}]"`,
		},
		{"metadata", amf0.Data{"onMetaData", amf0.Object{}}, ""},
		{"what says nothing", amf0.Data{"|RtmpSampleAccess", true}, ""},
	} {
		s := newScript(t)
		body, err := tt.values.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.d.message(message{typeData, 5000, body}); err != nil {
			t.Fatal(err)
		}
		if s.b.String() != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s.b, tt.want)
		}
	}
}

// FuzzDemuxer sends messages of any bytes: their data is handed on at most once.
func FuzzDemuxer(f *testing.F) {
	f.Add(unhex(f, "1700000000"+avcConfig), unhex(f, "1701000000 0000000165"), unhex(f, "af001190"), uint32(40))
	f.Add(unhex(f, "90 76703039 000b820202020000"), unhex(f, "93 76703039 8249834200 13f00b3000"), unhex(f, "91 61632d33 0b775f8c1e40ebf8"), uint32(1<<31))
	f.Add(unhex(f, "90 61763031 81000c00"), unhex(f, "91 61763031 0a0b"), unhex(f, "90 4f707573 4f707573486561640102380180bb0000000000"), uint32(5))
	f.Fuzz(func(t *testing.T, a, b, c []byte, step uint32) {
		s := newScript(t)
		size := 0
		for i := range uint32(4) {
			for typ, body := range map[uint8][]byte{typeVideo: b, typeAudio: c, typeData: a} {
				if typ == typeData && i%2 == 0 {
					typ = typeVideo
				}
				size += len(body)
				if _, err := s.d.message(message{typ, i * step, body}); err != nil {
					return
				}
			}
		}
		if err := s.d.close(); err != nil {
			t.Fatal(err)
		}
		if s.b.bytes > size {
			t.Fatalf("%d bytes handed on, %d came", s.b.bytes, size)
		}
	})
}
