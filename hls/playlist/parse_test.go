package playlist

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/golden"
)

func base(t testing.TB) *url.URL {
	t.Helper()
	u, err := url.Parse("http://origin.example/live/main/index.m3u8?session=1")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// text shows all of p, one thing a line.
func text(p Playlist) []byte {
	var b bytes.Buffer
	if m := p.Multivariant; m != nil {
		for _, v := range m.Variants {
			fmt.Fprintf(&b, "variant %+v\n", v)
		}
		for _, r := range m.Renditions {
			fmt.Fprintf(&b, "rendition %+v\n", r)
		}
		return b.Bytes()
	}
	m := *p.Media
	segments, start := m.Segments, m.Start
	m.Segments, m.Start = nil, nil
	fmt.Fprintf(&b, "%+v lasts %v, next %d\n", m, p.Media.Duration(), p.Media.Next())
	if start != nil {
		fmt.Fprintf(&b, "start %+v\n", *start)
	}
	for _, s := range segments {
		fmt.Fprintf(&b, "%d.%d line %d %v gap=%t %s", s.Discontinuity, s.Sequence, s.Line, s.Duration, s.Gap, s.URI)
		if s.Range != nil {
			fmt.Fprintf(&b, " range %+v", *s.Range)
		}
		if s.Map != nil {
			fmt.Fprintf(&b, " map %s", s.Map.URI)
			if s.Map.Range != nil {
				fmt.Fprintf(&b, " range %+v", *s.Map.Range)
			}
		}
		if !s.Time.IsZero() {
			fmt.Fprintf(&b, " at %s", s.Time.UTC().Format(time.RFC3339Nano))
		}
		fmt.Fprintf(&b, " keys %+v\n", s.Keys)
	}
	return b.Bytes()
}

func TestGolden(t *testing.T) {
	for _, name := range []string{"multivariant", "live", "ranges"} {
		t.Run(name, func(t *testing.T) {
			in, err := os.ReadFile(filepath.Join("testdata", name+".m3u8"))
			if err != nil {
				t.Fatal(err)
			}
			p, err := Parse(base(t), in)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, name+".golden", text(p))
			// As other systems write it.
			dos := append([]byte("\ufeff"), bytes.ReplaceAll(in, []byte("\n"), []byte("\r\n"))...)
			if q, err := Parse(base(t), dos); err != nil || !reflect.DeepEqual(q, p) {
				t.Errorf("with CRLF and a byte order mark: %v, or another playlist", err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	const head = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n"
	long := strings.Repeat("x", MaxURI+1)
	for _, tt := range []struct {
		name, in string
		line     int
		want     string // in the error
	}{
		{"nothing", "", 0, "is empty"},
		{"HTML", "<!DOCTYPE html>\n<p>", 1, `does not begin with #EXTM3U: "<!DOCTYPE html>"`},
		{"a media file", "\x00\x00\x00\x18ftypmp42", 1, "#EXTM3U"},
		{"too large", strings.Repeat("#\n", MaxSize/2+1), 0, "at most 8388608"},
		{"neither kind", "#EXTM3U\n", 0, "neither"},
		{"both kinds", head + "#EXT-X-STREAM-INF:BANDWIDTH=1\n", 3, "another kind"},
		{"a URI alone", head + "a.ts\n", 3, "without EXTINF"},
		{"EXTINF alone", head + "#EXTINF:4,\n", 3, "the playlist ends"},
		{"EXTINF twice", head + "#EXTINF:4,\n#EXTINF:4,\na.ts\n", 3, "has no URI"},
		{"no number", head + "#EXTINF:four,\na.ts\n", 3, "number"},
		{"no duration", head + "#EXTINF:NaN,\na.ts\n", 4, "duration NaN"},
		{"below 0", head + "#EXTINF:-1,\na.ts\n", 4, "duration -1"},
		{"bad sequence", head + "#EXT-X-MEDIA-SEQUENCE:x\n#EXTINF:4,\na.ts\n", 3, "cannot be read"},
		{"sequence at the end", head + "#EXT-X-MEDIA-SEQUENCE:18446744073709551615\n#EXTINF:4,\na.ts\n", 0, "too large"},
		{"a name at the end", head + "#EXT-X-KEY:METHOD\n#EXTINF:4,\na.ts\n", 3, "without a value"},
		{"an open quote", head + "#EXT-X-MAP:URI=\"a\n#EXTINF:4,\na.ts\n", 3, "without an end"},
		{"range without offset", head + "#EXTINF:4,\n#EXT-X-BYTERANGE:10\na.ts\n", 4, "no offset"},
		{"range of nothing", head + "#EXTINF:4,\n#EXT-X-BYTERANGE:0@0\na.ts\n", 4, "range 0@0"},
		{"range beyond", head + "#EXTINF:4,\n#EXT-X-BYTERANGE:9223372036854775807@9\na.ts\n", 4, "range"},
		{"a file", head + "#EXTINF:4,\nfile:///etc/passwd\n", 4, "not of http"},
		{"a bad URI", head + "#EXTINF:4,\nhttp://a b/%zz\n", 4, "cannot be read"},
		{"a long URI", head + "#EXTINF:4,\n" + long + "\n", 4, "at most 8192"},
		{"a long map", head + "#EXT-X-MAP:URI=\"" + long + "\"\n#EXTINF:4,\na.ts\n", 3, "more than 8192"},
		{"a name of none", head + "#EXT-X-MAP:=0\n", 3, "name"},
		{"variables", "#EXTM3U\n#EXT-X-DEFINE:NAME=\"a\",VALUE=\"b\"\n", 2, "not supported"},
		{"no text", head + "#EXTINF:4,\xff\na.ts\n", 3, "UTF-8"},
		{"a variant's file", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:///x\n", 3, "not of http"},
		{"a rendition's file", "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"n\",URI=\"data:,x\"\n#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\nx\n", 0, `"n" has a URI that is not of http`},
		{"many variants", "#EXTM3U\n" + strings.Repeat("#EXT-X-STREAM-INF:BANDWIDTH=1\nx\n", MaxVariants+1), 2 + 2*MaxVariants, "more than 256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(base(t), []byte(tt.in))
			e, ok := errors.AsType[*LineError](err)
			if !ok || e.Line != tt.line || !strings.Contains(e.Error(), tt.want) {
				t.Errorf("Parse = %v; want line %d and %q", err, tt.line, tt.want)
			}
		})
	}
}

// A long playlist costs what its size lets expect, and one segment more than
// the bound is refused.
func TestBounds(t *testing.T) {
	list := func(n int) []byte {
		return []byte("#EXTM3U\n#EXT-X-TARGETDURATION:4\n" + strings.Repeat("#EXTINF:4,\na.ts\n", n))
	}
	p, err := Parse(base(t), list(MaxSegments))
	if err != nil || len(p.Media.Segments) != MaxSegments {
		t.Fatalf("%d segments: %v", MaxSegments, err)
	}
	if _, err := Parse(base(t), list(MaxSegments+1)); err == nil {
		t.Error("one segment more was taken")
	}
	// Tags that are not used must not cost more than their bytes: the library
	// would go over all parts again with each one.
	parts := append(list(1), bytes.Repeat([]byte("#EXT-X-PART:DURATION=1,URI=\"a\"\n"), 200_000)...)
	start := time.Now()
	if _, err := Parse(base(t), parts); err != nil || time.Since(start) > 2*time.Second {
		t.Errorf("200 000 parts: %v after %v", err, time.Since(start))
	}
}

// FuzzParse looks for panics, and for results outside their bounds.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.m3u8")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("#EXTM3U\n#EXT-X-KEY:METHOD\n#EXTINF:,\na\n"))
	from := base(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(from, b)
		if err != nil {
			if _, ok := errors.AsType[*LineError](err); !ok {
				t.Fatalf("error %T: %v", err, err)
			}
			return
		}
		if (p.Media == nil) == (p.Multivariant == nil) {
			t.Fatal("not one of the two kinds")
		}
		if p.Multivariant != nil {
			for _, v := range p.Multivariant.Variants {
				if v.URI.Host == "" || v.Width < 0 || v.Height < 0 {
					t.Fatalf("variant %+v", v)
				}
			}
			return
		}
		for i, s := range p.Media.Segments {
			if s.Sequence != p.Media.Sequence+uint64(i) || s.Duration < 0 || s.URI.Host == "" || s.Line == 0 ||
				s.Range != nil && (s.Range.Length <= 0 || s.Range.Offset < 0) || s.Discontinuity < p.Media.DiscontinuitySequence {
				t.Fatalf("segment %d of %d: %+v", i, p.Media.Sequence, s)
			}
		}
	})
}
