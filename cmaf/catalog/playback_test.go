package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/internal/golden"
)

// playback returns the document of a broadcast in several codecs.
func playback(t testing.TB) Playback {
	t.Helper()
	var s []Source
	for _, f := range []struct{ file, name string }{{"hevc10.mp4", "video/120p"}, {"av110.mp4", "video/av1"}, {"opus.mp4", "audio"}, {"flac.mp4", "audio2"}} {
		in, err := os.ReadFile(filepath.Join("..", "testdata", f.file))
		if err != nil {
			t.Fatal(err)
		}
		b := &collector{}
		d := cmaf.NewDemuxer(b, cmaf.DemuxerConfig{})
		if _, err := d.Write(in); err != nil {
			t.Fatal(err)
		}
		b.tracks[0].Name = f.name
		s = append(s, b.tracks[0])
	}
	s[0].Header.Bitrate = 900_000
	s[2].Header.Language = "deu"
	return NewPlayback(s, Options{
		GeneratedAt:      time.UnixMilli(1795190400000),
		MediaTimeOrigin:  time.Unix(0, 123_456_000),
		MaxGroupDuration: time.Second,
	})
}

// What a simple player receives, for HEVC, AV1, Opus and FLAC.
func TestPlaybackGolden(t *testing.T) {
	b, err := playback(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "playback.golden.json", append(pretty.Bytes(), '\n'))
	b, err = CompletePlayback(time.UnixMilli(1795190400000)).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), `{"version":1,"live":false,"generatedAt":1795190400000,"isComplete":true,"tracks":[]}`; got != want {
		t.Errorf("the last document is %s, want %s", got, want)
	}
	if b, err := (Playback{Version: 1}).Marshal(); err != nil || !bytes.Contains(b, []byte(`"tracks":[]`)) {
		t.Errorf("no tracks is %s, %v; want an empty array", b, err)
	}
}

// Each of the two kinds of readers finds its own fields.
func TestPlaybackReaders(t *testing.T) {
	want := playback(t)
	b, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePlayback(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("ParsePlayback: %+v, %v\nwant %+v", got, err, want)
	}
	video, _ := got.VideoTrack()
	audio, _ := got.AudioTrack()
	for _, tt := range []struct {
		track PlaybackTrack
		name  string
		mse   string
	}{
		{video, "init/video/120p", `video/mp4; codecs="hev1.2.4.L30.90"`},
		{audio, "init/audio", `audio/mp4; codecs="opus"`},
	} {
		if tt.track.Name != tt.name || tt.track.MSEType() != tt.mse {
			t.Errorf("%s with %s, want %s with %s", tt.track.Name, tt.track.MSEType(), tt.name, tt.mse)
		}
		if h, err := tt.track.Header(); err != nil || h.Codec != tt.track.Codec {
			t.Errorf("%s: header %+v, %v", tt.name, h, err)
		}
	}

	msf, err := Parse(b) // as MSF-00
	if err != nil || msf.Version != "1" || len(msf.Tracks) != 4 {
		t.Fatalf("Parse: %+v, %v", msf, err)
	}
	if h, err := msf.Header(msf.Tracks[2]); err != nil || h.SampleRate != 48000 || msf.Tracks[2].SampleRate != 48000 || msf.Tracks[2].ChannelConfig != "2" {
		t.Errorf("MSF-00: %+v, %v", msf.Tracks[2], err)
	}
	var sdk struct {
		Version float64
		Live    bool
		Tracks  []map[string]any
	}
	if err := json.Unmarshal(b, &sdk); err != nil || sdk.Version != 1 || !sdk.Live {
		t.Fatalf("as an SDK: %+v, %v", sdk, err)
	}
	for key, want := range map[string]any{"name": "init/audio", "kind": "audio", "codec": "opus", "mimeType": "audio/mp4", "sampleRate": 48000., "channels": 2.} {
		if got := sdk.Tracks[2][key]; got != want {
			t.Errorf("as an SDK: %s is %v, want %v", key, got, want)
		}
	}
}

func TestPlaybackForeign(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		live     bool
		want     PlaybackTrack
		mse      string
	}{
		{
			"an SDK's",
			`{"version":1,"live":true,"tracks":[{"name":"video/720p","kind":"video","codec":"avc1.42E01F","width":1280,"height":720,"bitrate":2.5e6}]}`,
			true,
			PlaybackTrack{Kind: "video", Track: Track{Name: "video/720p", Packaging: "cmaf", Codec: "avc1.42E01F", Width: 1280, Height: 720, Bitrate: 2_500_000}},
			`video/mp4; codecs="avc1.42E01F"`,
		},
		{
			"an SDK's, on demand",
			`{"version":1,"tracks":[{"name":"a","kind":"audio","codec":"mp4a.40.2","mimeType":"audio/mp4","initData":"AAAA","sampleRate":44100,"channels":2}]}`,
			false,
			PlaybackTrack{
				Kind: "audio", SampleRate: 44100, Channels: 2,
				Track: Track{Name: "a", Packaging: "cmaf", Codec: "mp4a.40.2", MIMEType: "audio/mp4", InitData: "AAAA"},
			},
			`audio/mp4; codecs="mp4a.40.2"`,
		},
		{
			"MSF-00",
			`{"version":1,"tracks":[{"name":"a","packaging":"loc","isLive":true,"role":"audio","codec":"opus","samplerate":48000,"channelConfig":"6"}]}`,
			true,
			PlaybackTrack{
				Kind: "audio", SampleRate: 48000, Channels: 6,
				Track: Track{Name: "a", Packaging: "loc", IsLive: true, Role: "audio", Codec: "opus", SampleRate: 48000, ChannelConfig: "6"},
			},
			`audio/mp4; codecs="opus"`,
		},
		{"no codec", `{"version":1,"tracks":[{"name":"x"}]}`, false, PlaybackTrack{Track: Track{Name: "x", Packaging: "cmaf"}}, "application/mp4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePlayback([]byte(tt.in))
			if err != nil || len(got.Tracks) != 1 || !reflect.DeepEqual(got.Tracks[0], tt.want) || got.Live != tt.live {
				t.Fatalf("ParsePlayback: %+v, %v\nwant %+v, live %t", got, err, tt.want, tt.live)
			}
			if mse := got.Tracks[0].MSEType(); mse != tt.mse {
				t.Errorf("MSEType = %s, want %s", mse, tt.mse)
			}
		})
	}
	if _, ok := (Playback{}).VideoTrack(); ok {
		t.Error("a video track in an empty document")
	}
}

func TestPlaybackRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		is       error
		says     string
	}{
		{"not JSON", "<html>", nil, "invalid character"},
		{"no version", `{"tracks":[]}`, ErrVersion, ""},
		{"version 2", `{"version":2,"tracks":[]}`, ErrVersion, "2"},
		{"MSF's draft-01", `{"version":"draft-01","tracks":[]}`, ErrVersion, "draft-01"},
		{"a delta", `{"version":1,"deltaUpdate":[]}`, ErrDelta, ""},
		{"no tracks", `{"version":1}`, nil, "tracks is missing"},
		{"no name", `{"version":1,"tracks":[{"kind":"video"}]}`, nil, "tracks[0] lacks a name"},
		{"a name twice", `{"version":1,"tracks":[{"name":"a"},{"name":"a"}]}`, nil, "of another"},
		{"a kind of the wrong type", `{"version":1,"tracks":[{"name":"a","kind":1}]}`, nil, "kind"},
		{"a long kind", `{"version":1,"tracks":[{"name":"a","kind":"` + strings.Repeat("x", 5000) + `"}]}`, nil, "5000 bytes"},
		{"65 tracks", `{"version":1,"tracks":[` + strings.Repeat(`{},`, 64) + `{}]}`, nil, "65 tracks"},
		{"too large", `{"version":1,"x":"` + strings.Repeat("A", MaxSize) + `"}`, nil, "at most 1048576"},
		{"origin beyond all time", `{"version":1,"mediaTimeOrigin":1e300,"tracks":[]}`, nil, "mediaTimeOrigin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePlayback([]byte(tt.in))
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("ParsePlayback: %v, want %v …%s…", err, tt.is, tt.says)
			}
			if !reflect.DeepEqual(got, Playback{}) {
				t.Errorf("with the error came %+v", got)
			}
		})
	}
}

func TestInitName(t *testing.T) {
	for plain, view := range map[string]string{"video/720p": "init/video/720p", "audio": "init/audio", "init/x": "init/init/x"} {
		if got := InitName(plain); got != view {
			t.Errorf("InitName(%s) = %s, want %s", plain, got, view)
		}
		if got, ok := PlainName(view); !ok || got != plain {
			t.Errorf("PlainName(%s) = %s, %t, want %s", view, got, ok, plain)
		}
	}
	for _, name := range []string{"", "audio", "init", "init/", ".catalog"} {
		if got, ok := PlainName(name); ok {
			t.Errorf("PlainName(%q) = %s, want none", name, got)
		}
	}
}

// What parses is written as what parses to the same.
func FuzzParsePlayback(f *testing.F) {
	p := playback(f)
	p.Tracks = p.Tracks[2:]
	b, err := p.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"live":true,"tracks":[{"name":"v","kind":"video","channels":-1,"channelConfig":"9999999999","sampleRate":1e9}]}`))
	f.Add([]byte(`{"version":"1","isComplete":true,"tracks":[],"mediaTimeOrigin":-0.5}`))
	f.Add([]byte(`{"version":1,"tracks":[{"name":"v","packaging":"loc","isLive":true,"role":"audio","depends":["a"],"SampleRate":2}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := ParsePlayback(in)
		if err != nil {
			return
		}
		for _, tr := range p.Tracks {
			_, _ = tr.Header()
			_ = tr.MSEType()
		}
		enc, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParsePlayback(enc)
		if err != nil {
			t.Fatalf("%s: %v", enc, err)
		}
		if enc2, err := again.Marshal(); err != nil || !bytes.Equal(enc, enc2) {
			t.Fatalf("%s\nread and written again: %s, %v", enc, enc2, err)
		}
		for n := 0; n < len(enc); n += 1 + len(enc)/128 {
			if _, err := ParsePlayback(enc[:n]); err == nil {
				t.Fatalf("accepted the prefix %s", enc[:n])
			}
		}
	})
}
