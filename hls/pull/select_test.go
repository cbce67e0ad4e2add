package pull

import (
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

func redactBase(t testing.TB) *url.URL {
	t.Helper()
	u, err := url.Parse("http://origin.example/master.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

const ladder = `#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="Deutsch",LANGUAGE="de",URI="de.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="English",LANGUAGE="en",DEFAULT=YES,URI="en.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="dd",NAME="English",LANGUAGE="en",DEFAULT=YES,URI="dd.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="in",NAME="in the video",DEFAULT=YES
#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=640x360,AUDIO="aac"
360.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=9000000,CODECS="avc1.640028,ec-3",RESOLUTION=1920x1080,AUDIO="dd"
1080.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=5000000,CODECS="avc1.640028,mp4a.40.2",RESOLUTION=1920x1080,AUDIO="aac",NAME="best"
1080.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=100000,AUDIO="in"
low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2",AUDIO="aac"
en.m3u8
`

func TestChoose(t *testing.T) {
	m := parse(t, ladder)
	for _, tt := range []struct {
		name string
		s    Selection
		want string
	}{
		{"highest that can be carried", Selection{}, "1080.m3u8(video) en.m3u8"},
		{"up to a height", Selection{MaxHeight: 720}, "360.m3u8(video) en.m3u8"},
		{"by NAME", Selection{Name: "best"}, "1080.m3u8(video) en.m3u8"},
		{"by size", Selection{Name: "640x360"}, "360.m3u8(video) en.m3u8"},
		{"by height", Selection{Name: "360p", Audio: "de"}, "360.m3u8(video) de.m3u8"},
		{"another audio by name", Selection{Audio: "Deutsch"}, "1080.m3u8(video) de.m3u8"},
		{"audio within", Selection{Name: "100000 bit/s"}, "low.m3u8"},
		{"audio alone", Selection{Name: "64000 bit/s"}, "en.m3u8"},
		{"all", Selection{All: true}, "1080.m3u8(video) 360.m3u8(video) low.m3u8 en.m3u8(video) de.m3u8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chosen, err := tt.s.choose(m)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range chosen {
				s := path.Base(c.uri.Path)
				if c.noAudio {
					s += "(video)"
				}
				got = append(got, s)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("%+v chooses %s, want %s", tt.s, s, tt.want)
			}
		})
	}
	for _, s := range []Selection{{Name: "4k"}, {Audio: "fr"}, {MaxHeight: 100, Name: "best"}} {
		if c, err := s.choose(m); !errors.Is(err, ErrNoRendition) {
			t.Errorf("%+v chooses %v, %v; want ErrNoRendition", s, c, err)
		}
	}
}

// Renditions apart stay in step over discontinuities, and each has its name.
func TestRenditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, segment := clip(t, "ts")
		o.set("/master.m3u8", "#EXTM3U\n"+
			"#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"English\",LANGUAGE=\"en\",DEFAULT=YES,URI=\"b.m3u8\"\n"+
			"#EXT-X-STREAM-INF:BANDWIDTH=2,AUDIO=\"a\",NAME=\"high\"\na.m3u8\n"+
			"#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\",NAME=\"low\"\nc.m3u8\n")
		lines := []any{span(4, 7), "#EXT-X-DISCONTINUITY", span(0, 3), endlist}
		for _, name := range []string{"/a.m3u8", "/b.m3u8", "/c.m3u8"} {
			o.set(name, list("ts", segment, 0, lines...))
		}
		c := &capture{}
		if err := o.puller(t, "/master.m3u8", Config{Renditions: Selection{All: true}}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		// The variants' own audio is left out, for the rendition that they name;
		// that one is a transport stream with pictures here, so they come too.
		want := []string{
			"add video avc1.64000a", "add video2 avc1.64000a", "add video3 avc1.64000a", "add audio mp4a.40.2",
			"discontinuity: the presentation says so",
			"add video avc1.64000a", "add video2 avc1.64000a", "add video3 avc1.64000a", "add audio mp4a.40.2",
		}
		if !slices.Equal(c.log, want) {
			t.Errorf("log\n%q, want\n%q", c.log, want)
		}
		for _, name := range []string{"video", "video2", "video3"} {
			if n := c.count(name); n != 60 {
				t.Errorf("%s: %d pictures, want 60", name, n)
			}
		}
		for _, tr := range c.tracks {
			if tr.name == "audio" && tr.header.Language != "eng" {
				t.Errorf("the audio's language is %q", tr.header.Language)
			}
			for i, at := range tr.at {
				if d := at - time.Duration(i)*100*time.Millisecond; tr.header.Kind == cmaf.KindVideo && tr.at[0] < time.Second && d.Abs() > 150*time.Millisecond {
					t.Fatalf("%s picture %d came after %v", tr.name, i, at)
				}
			}
		}
	})
}
