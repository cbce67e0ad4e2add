package catalog

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/internal/golden"
)

// sources returns the tracks of a real H.264 and AAC file.
func sources(t testing.TB) []Source {
	t.Helper()
	in, err := os.ReadFile(filepath.Join("..", "testdata", "keyframe.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	b := &collector{}
	d := cmaf.NewDemuxer(b, cmaf.DemuxerConfig{})
	if _, err := d.Write(in); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return b.tracks
}

// A collector is a Broadcast that keeps the tracks' headers.
type collector struct{ tracks []Source }

type nowhere struct{}

func (nowhere) WriteChunk(cmaf.Chunk) error { return nil }
func (nowhere) Close() error                { return nil }

func (c *collector) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	c.tracks = append(c.tracks, Source{name, h})
	return nowhere{}, nil
}
func (*collector) Event(cmaf.Event) error      { return nil }
func (*collector) Discontinuity(string)        {}
func (*collector) Anchor(cmaf.Time, time.Time) {}
func (*collector) Close(error) error           { return nil }

func live(t testing.TB) Catalog {
	t.Helper()
	s := sources(t)
	s[0].Header.Bitrate = 1_500_000
	s[1].Header.Language = "deu"
	return New(s, Options{
		GeneratedAt:      time.UnixMilli(1795190400000),
		MediaTimeOrigin:  time.Unix(0, 123_456_000),
		MaxGroupDuration: time.Second,
		TargetLatency:    500 * time.Millisecond,
	})
}

// What a client receives for H.264 and AAC.
func TestGolden(t *testing.T) {
	b, err := live(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "live.golden.json", append(pretty.Bytes(), '\n'))
	if i, j := bytes.Index(b, []byte(`"tracks"`)), bytes.Index(b, []byte(`"initDataList"`)); i < 0 || j < i {
		t.Error("initDataList does not come after tracks")
	}
	if bytes.Contains(b, []byte("namespace")) {
		t.Error("a track has a namespace")
	}
	b, err = Complete(time.UnixMilli(1795190400000)).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), `{"version":"draft-01","generatedAt":1795190400000,"isComplete":true,"tracks":[]}`; got != want {
		t.Errorf("the last catalog is %s, want %s", got, want)
	}
}

func TestRoundTrip(t *testing.T) {
	want := live(t)
	want.Tracks[1].InitGroup = 1795190401
	b, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("Parse: %+v, %v\nwant %+v", got, err, want)
	}
	if origin, ok := got.Origin(); !ok || !origin.Equal(time.Unix(0, 123_456_000)) {
		t.Errorf("Origin = %v, %t", origin, ok)
	}
	for i, s := range sources(t) {
		track, ok := got.Track(s.Name)
		if !ok {
			t.Fatalf("no track %s", s.Name)
		}
		for _, with := range []string{"both", "initData", "initRef"} {
			tr := track
			switch with {
			case "initData":
				tr.InitRef = ""
			case "initRef":
				tr.InitData = ""
			}
			h, err := got.Header(tr)
			if err != nil {
				t.Fatalf("%s by %s: %v", s.Name, with, err)
			}
			if !bytes.Equal(h.Init, s.Header.Init) || h.Codec != s.Header.Codec || h.Timescale != s.Header.Timescale {
				t.Errorf("%s by %s: %+v", s.Name, with, h)
			}
			if want := []int{1_500_000, s.Header.Bitrate}[i]; h.Bitrate != want {
				t.Errorf("%s by %s: bitrate %d, want %d", s.Name, with, h.Bitrate, want)
			}
		}
	}
}

func TestOriginPrecision(t *testing.T) {
	for _, want := range []time.Time{
		time.Date(2026, 11, 20, 18, 0, 0, 123_457_000, time.UTC),
		time.Date(1970, 1, 1, 0, 0, 0, 999_999_000, time.UTC),
		time.Date(1969, 12, 31, 23, 59, 59, 750_000_000, time.UTC),
	} {
		got, ok := New(nil, Options{MediaTimeOrigin: want}).Origin()
		if d := got.Sub(want).Abs(); !ok || d > time.Microsecond {
			t.Errorf("%v came back as %v", want, got)
		}
	}
}

// Catalogs of others, as they are in the wild.
func TestParseForeign(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     Track
	}{
		{
			"MSF-00, version a number, namespace, inline init",
			`{"version":1,"supportsDeltaUpdates":true,"tracks":[{"namespace":"live/cam","name":"v","packaging":"cmaf","isLive":true,
			"role":"video","initData":"AAAA","width":1920.0,"bitrate":4.5e6,"framerate":29.97}]}`,
			Track{Namespace: "live/cam", Name: "v", Packaging: "cmaf", IsLive: true, Role: "video", InitData: "AAAA", Width: 1920, Bitrate: 4_500_000, FrameRate: 29.97},
		},
		{
			"channels as a number, unknown fields, nulls",
			`{"version":"draft-01","x":{"y":[1]},"generatedAt":1.5e12,"tracks":[{"name":"a","packaging":"cmaf","isLive":true,"channelConfig":2,
			"samplerate":48000.4,"bitrate":null,"label":null,"buffers":{"min":1}}],"initDataList":[]}`,
			Track{Name: "a", Packaging: "cmaf", IsLive: true, ChannelConfig: "2", SampleRate: 48000},
		},
		{
			"numbers out of range",
			`{"version":"draft-01","tracks":[{"name":"a","packaging":"loc","isLive":false,"width":-5,"bitrate":1e300,"trackDuration":12345}]}`,
			Track{Name: "a", Packaging: "loc", Bitrate: math.MaxInt32, TrackDuration: 12345},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse([]byte(tt.in))
			if err != nil || len(got.Tracks) != 1 || !reflect.DeepEqual(got.Tracks[0], tt.want) {
				t.Errorf("Parse: %+v, %v\nwant %+v", got.Tracks, err, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	track := func(fields string) string {
		return `{"version":"draft-01","tracks":[{"name":"a","packaging":"cmaf","isLive":true` + fields + `}]}`
	}
	for _, tt := range []struct {
		name, in string
		is       error  // or
		says     string // what it names
	}{
		{"not JSON", "<html>", nil, "invalid character"},
		{"nothing", "", nil, "unexpected end"},
		{"an array", "[]", nil, "array"},
		{"two documents", `{"version":"draft-01","tracks":[]}{}`, nil, "after top-level value"},
		{"no version", `{"tracks":[]}`, ErrVersion, ""},
		{"a later version", `{"version":"draft-02","tracks":[]}`, ErrVersion, "draft-02"},
		{"version 2", `{"version":2,"tracks":[]}`, ErrVersion, "2"},
		{"a delta", `{"deltaUpdate":[{"op":"add","tracks":[]}],"generatedAt":1}`, ErrDelta, ""},
		{"no tracks", `{"version":"draft-01"}`, nil, "tracks is missing"},
		{"tracks of the wrong type", `{"version":"draft-01","tracks":{}}`, nil, "tracks"},
		{"no name", `{"version":"draft-01","tracks":[{"packaging":"cmaf"}]}`, nil, "tracks[0] lacks a name"},
		{"no packaging", `{"version":"draft-01","tracks":[{"name":"a"}]}`, nil, "tracks[0] lacks"},
		{"a number as name", `{"version":"draft-01","tracks":[{"name":1,"packaging":"cmaf"}]}`, nil, "name"},
		{"a name twice", `{"version":"draft-01","tracks":[{"name":"a","packaging":"cmaf"},{"name":"a","packaging":"cmaf"}]}`, nil, "of another"},
		{"a long string", track(`,"label":"` + strings.Repeat("x", 5000) + `"`), nil, "5000 bytes"},
		{"65 tracks", `{"version":"draft-01","tracks":[` + strings.Repeat(`{},`, 64) + `{}]}`, nil, "65 tracks"},
		{"too large", track(`,"initData":"` + strings.Repeat("A", MaxSize) + `"`), nil, "at most 1048576"},
		{"origin beyond all time", `{"version":"draft-01","mediaTimeOrigin":1e300,"tracks":[]}`, nil, "mediaTimeOrigin"},
		{"deep nesting", `{"x":` + strings.Repeat("[", 100_000) + `}`, nil, "depth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse([]byte(tt.in))
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Parse: %v, want %v …%s…", err, tt.is, tt.says)
			}
			if !reflect.DeepEqual(got, Catalog{}) {
				t.Errorf("with the error came %+v", got)
			}
		})
	}
}

func TestHeaderRefuses(t *testing.T) {
	c := Catalog{InitData: []InitData{
		{ID: "prop", Type: "track-property", Data: "79"},
		{ID: "bad", Type: TypeInline, Data: "%%%"},
		{ID: "short", Type: TypeInline, Data: base64.StdEncoding.EncodeToString([]byte{0, 0, 0, 0, 'm', 'o', 'o', 'v'})},
	}}
	for _, tt := range []struct {
		track Track
		says  string
		box   bool
	}{
		{Track{Packaging: "loc"}, `packaging is "loc"`, false},
		{Track{Packaging: "cmaf"}, "names none", false},
		{Track{Packaging: "cmaf", InitRef: "gone"}, `"gone" names none`, false},
		{Track{Packaging: "cmaf", InitRef: "prop"}, `"track-property"`, false},
		{Track{Packaging: "cmaf", InitRef: "bad"}, "base64", false},
		{Track{Packaging: "cmaf", InitRef: "short"}, "box moov at byte 0", true},
	} {
		_, err := c.Header(tt.track)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("Header(%+v): %v, want …%s…", tt.track, err, tt.says)
		}
		if _, ok := errors.AsType[*cmaf.BoxError](err); ok != tt.box {
			t.Errorf("Header(%+v): %v is a BoxError: %t", tt.track, err, ok)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	if _, err := (Catalog{Tracks: []Track{{FrameRate: math.Inf(1)}}}).Marshal(); err == nil {
		t.Error("an infinite frame rate was written")
	}
	if b, err := (Catalog{Version: Version}).Marshal(); err != nil || !bytes.Contains(b, []byte(`"tracks":[]`)) {
		t.Errorf("no tracks is %s, %v; want an empty array", b, err)
	}
}

func TestLanguage(t *testing.T) {
	for in, want := range map[string]string{"eng": "en", "zho": "zh", "ara": "ar", "haw": "haw", "": "", "mul": "mul"} {
		if got := bcp47(in); got != want {
			t.Errorf("bcp47(%q) = %q, want %q", in, got, want)
		}
	}
}

// What parses is written as what parses to the same.
func FuzzParse(f *testing.F) {
	b, err := live(f).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"tracks":[{"name":"v","packaging":"cmaf","isLive":true,"channelConfig":2,"bitrate":1e6,"depends":["a"]}]}`))
	f.Add([]byte(`{"version":"draft-01","isComplete":true,"tracks":[],"mediaTimeOrigin":-0.5}`))
	f.Add([]byte(`{"deltaUpdate":[]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := Parse(in)
		if err != nil {
			return
		}
		for _, tr := range c.Tracks {
			_, _ = c.Header(tr)
		}
		enc, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(enc)
		if err != nil {
			t.Fatalf("%s: %v", enc, err)
		}
		// Empty and absent lists are one on the wire.
		if enc2, err := again.Marshal(); err != nil || !bytes.Equal(enc, enc2) {
			t.Fatalf("%s\nread and written again: %s, %v", enc, enc2, err)
		}
		for n := range min(len(enc), 2048) {
			if _, err := Parse(enc[:n]); err == nil {
				t.Fatalf("accepted the prefix %s", enc[:n])
			}
		}
	})
}
