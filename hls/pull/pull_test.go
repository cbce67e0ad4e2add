package pull

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/hls/playlist"
)

// clip returns an origin with the trees of testdata, and paths by number.
func clip(t testing.TB, kind string) (o *origin, segment func(n int) string) {
	t.Helper()
	o = folder(t, "testdata/"+kind)
	ext := map[string]string{"fmp4": "m4s", "ts": "ts"}[kind]
	return o, func(n int) string { return fmt.Sprintf("index%d.%s", n, ext) }
}

// list writes a media playlist of segments of one second. Lines other than
// numbers stand as they are, ahead of the next segment.
func list(kind string, segment func(int) string, sequence int, lines ...any) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:%d\n", sequence)
	if kind == "fmp4" {
		b.WriteString("#EXT-X-MAP:URI=\"init.mp4\"\n")
	}
	for _, l := range lines {
		switch l := l.(type) {
		case int:
			fmt.Fprintf(&b, "#EXTINF:1,\n%s\n", segment(l))
		case []int:
			for _, n := range l {
				fmt.Fprintf(&b, "#EXTINF:1,\n%s\n", segment(n))
			}
		default:
			fmt.Fprintln(&b, l)
		}
	}
	return b.String()
}

const endlist = "#EXT-X-ENDLIST"

func span(from, to int) (n []int) {
	for i := from; i < to; i++ {
		n = append(n, i)
	}
	return n
}

// kinds runs f for fMP4 and for MPEG-TS in a bubble.
func kinds(t *testing.T, f func(t *testing.T, kind string)) {
	for _, kind := range []string{"fmp4", "ts"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, kind) })
		})
	}
}

// runs returns how many pictures came in each run without a hole, and
// the seconds of the holes between.
func (t *captured) runs() string {
	var b strings.Builder
	n := 0
	for i, c := range t.chunks {
		if i > 0 {
			if hole := c.DecodeTime - t.chunks[i-1].End(); hole != 0 {
				fmt.Fprintf(&b, "%d, %+.1f s, ", n, float64(hole)/float64(t.header.Timescale))
				n = 0
			}
		}
		n += len(c.Samples)
	}
	return b.String() + fmt.Sprint(n)
}

// A live presentation begins three target durations before its end, goes on
// with what is added, at the pace of the media, and ends.
func TestLiveEdge(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		o, segment := clip(t, kind)
		began := time.Now()
		o.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/live.m3u8" {
				return false
			}
			n := min(8+int(time.Since(began)/time.Second), 12) // segments so far, of which six are listed
			lines := []any{span(max(0, n-6), n)}
			if n == 12 {
				lines = append(lines, endlist)
			}
			fmt.Fprint(w, list(kind, segment, max(0, n-6), lines...))
			return true
		}
		c := &capture{}
		if err := o.puller(t, "/live.m3u8", Config{}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		// Segments 5 to 11: begun three before the end of 0 to 7.
		if got := c.track(t, "video").runs(); got != "70" {
			t.Errorf("pictures %s, want 70 in one run: %q", got, c.log)
		}
		if o.asked("/"+segment(4)) != 0 || o.asked("/"+segment(5)) != 1 {
			t.Errorf("asked for %q", o.log)
		}
		last := c.track(t, "video").at[69]
		if last < 6800*time.Millisecond || last > 7*time.Second {
			t.Errorf("the last picture came after %v, want about 6.9s", last)
		}
		if len(c.log) != 2 {
			t.Errorf("log %q, want two tracks alone", c.log)
		}
	})
}

// Loads follow RFC 8216 section 6.3.4: a target duration after one that brought
// something, half of it after one that did not.
func TestReloadTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, segment := clip(t, "ts")
		began := time.Now()
		var at []time.Duration
		o.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/live.m3u8" {
				return false
			}
			d := time.Since(began)
			at = append(at, d)
			body := list("ts", segment, 0, span(0, 4))
			if d > 9*time.Second {
				body = list("ts", segment, 0, span(0, 5), endlist)
			} else if d > 3*time.Second {
				body = list("ts", segment, 0, span(0, 5))
			}
			fmt.Fprint(w, strings.Replace(body, "TARGETDURATION:1", "TARGETDURATION:4", 1))
			return true
		}
		if err := o.puller(t, "/live.m3u8", Config{}).Run(t.Context(), &capture{}); err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, 4 * time.Second, 8 * time.Second, 10 * time.Second}
		if !slices.Equal(at, want) {
			t.Errorf("loads at %v, want %v", at, want)
		}
	})
}

// What a playlist can say or do, and what comes out of it as video: pictures
// without a hole between, and the holes.
func TestPresentations(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []any
		gone  []int // segments that are not there
		want  string
		log   string // what happened besides tracks
	}{
		{"whole", []any{span(0, 12)}, nil, "120", ""},
		{"gap", []any{span(0, 3), "#EXT-X-GAP", 3, span(4, 6)}, []int{3}, "30, +1.0 s, 20", ""},
		{"missing", []any{span(0, 6)}, []int{2, 3}, "20, +2.0 s, 20", ""},
		{"long hole", []any{0, 10}, nil, "10, +9.0 s, 10", ""},
		{"discontinuity", []any{span(4, 6), "#EXT-X-DISCONTINUITY", span(0, 2)}, nil, "20, -6.0 s, 20", "discontinuity: the presentation says so"},
		{"jump without a word", []any{span(4, 6), span(0, 2)}, nil, "20, -6.0 s, 20", "discontinuity: the decode time of"},
		{"start at an offset", []any{"#EXT-X-START:TIME-OFFSET=2.5", span(0, 4)}, nil, "20", ""},
		{"start from the end", []any{"#EXT-X-START:TIME-OFFSET=-2.5", span(0, 4)}, nil, "30", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kinds(t, func(t *testing.T, kind string) {
				o, segment := clip(t, kind)
				o.set("/x.m3u8", list(kind, segment, 0, append(tt.lines, endlist)...))
				for _, n := range tt.gone {
					delete(o.files, "/"+segment(n))
				}
				c := &capture{}
				if err := o.puller(t, "/x.m3u8", Config{}).Run(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				var parts []string
				for _, tr := range c.tracks {
					if tr.name == "video" {
						parts = append(parts, tr.runs())
					}
				}
				// A discontinuity adds the tracks again.
				got := strings.Join(parts, " | ")
				want := tt.want
				if strings.Contains(tt.log, "says so") {
					want = "20 | 20"
				}
				if got != want {
					t.Errorf("pictures %s, want %s: %q", got, want, c.log)
				}
				log := slices.DeleteFunc(slices.Clone(c.log), func(s string) bool { return strings.HasPrefix(s, "add ") })
				if tt.log == "" && len(log) > 0 || tt.log != "" && (len(log) != 1 || !strings.HasPrefix(log[0], tt.log)) {
					t.Errorf("log %q, want %q", log, tt.log)
				}
			})
		})
	}
}

// After a discontinuity media goes on when what was before has played.
func TestDiscontinuityPace(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		o, segment := clip(t, kind)
		o.set("/x.m3u8", list(kind, segment, 0, span(6, 9), "#EXT-X-DISCONTINUITY", span(0, 2), "#EXT-X-DISCONTINUITY", span(9, 10), endlist))
		c := &capture{}
		began := time.Now()
		if err := o.puller(t, "/x.m3u8", Config{}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < 5800*time.Millisecond || d > 6200*time.Millisecond {
			t.Errorf("six seconds took %v", d)
		}
		if n := c.count("video"); n != 60 {
			t.Errorf("%d pictures, want 60", n)
		}
	})
}

// A playlist whose numbers begin anew is joined anew; one that an old cache
// answers for a moment is not.
func TestSetBack(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		o, segment := clip(t, kind)
		began := time.Now()
		o.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/live.m3u8" {
				return false
			}
			switch d := time.Since(began); {
			case d < 1*time.Second:
				fmt.Fprint(w, list(kind, segment, 100, span(0, 4)))
			case d < 2*time.Second: // from an old cache
				fmt.Fprint(w, list(kind, segment, 100, span(0, 3)))
			case d < 3*time.Second:
				fmt.Fprint(w, list(kind, segment, 101, span(1, 5)))
			default: // the encoder began anew, with other names
				fmt.Fprint(w, list(kind, segment, 0, span(8, 11), endlist))
			}
			return true
		}
		c := &capture{}
		if err := o.puller(t, "/live.m3u8", Config{}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		want := []string{"discontinuity: the playlist was set back"}
		log := slices.DeleteFunc(slices.Clone(c.log), func(s string) bool { return strings.HasPrefix(s, "add ") })
		if !slices.Equal(log, want) {
			t.Errorf("log %q, want %q", log, want)
		}
		if n := c.count("video"); n != 40+30 { // 1 to 4, then 8 to 10
			t.Errorf("%d pictures, want 70", n)
		}
	})
}

// A playlist that moved on past what was due is taken up where it now begins.
func TestWindowMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, segment := clip(t, "fmp4")
		loads := 0
		o.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/live.m3u8" {
				return false
			}
			if loads++; loads == 1 {
				fmt.Fprint(w, list("fmp4", segment, 10, span(0, 3)))
			} else {
				fmt.Fprint(w, list("fmp4", segment, 16, span(6, 9), endlist))
			}
			return true
		}
		c := &capture{}
		if err := o.puller(t, "/live.m3u8", Config{}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := c.track(t, "video").runs(); got != "30, +3.0 s, 30" {
			t.Errorf("pictures %s", got)
		}
	})
}

// What a playlist says is relative to where redirects led, requests carry what
// they should, and a server that sends all for a range is no trouble.
func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, segment := clip(t, "ts")
		a, b := o.files["/"+segment(0)], o.files["/"+segment(1)]
		o.files["/cdn/all.ts"] = slices.Concat(a, b)
		o.set("/cdn/x.m3u8", fmt.Sprintf("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n#EXT-X-BYTERANGE:%d@0\nall.ts\n#EXTINF:1,\n#EXT-X-BYTERANGE:%d\nall.ts\n%s\n",
			len(a), len(b), endlist))
		o.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.UserAgent() != "test/1" {
				t.Errorf("user agent %q", r.UserAgent())
			}
			switch {
			case r.URL.Path == "/x.m3u8":
				if user, _, _ := r.BasicAuth(); user != "user" || r.URL.RawQuery != "tok=secret" {
					t.Errorf("user %q, query %q", user, r.URL.RawQuery)
				}
				http.Redirect(w, r, "/cdn/x.m3u8", http.StatusMovedPermanently)
				return true
			case r.Header.Get("Range") == fmt.Sprintf("bytes=%d-%d", len(a), len(a)+len(b)-1):
				r.Header.Del("Range") // the whole resource, with 200
			}
			return false
		}
		c := &capture{}
		if err := o.puller(t, "/x.m3u8", Config{UserAgent: "test/1"}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := c.track(t, "video").runs(); got != "20" {
			t.Errorf("pictures %s", got)
		}
	})
}

// An origin that stops for a while costs that while, and nothing goes out in a
// lump afterwards.
func TestUnderrun(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		o, segment := clip(t, kind)
		began := time.Now()
		o.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/live.m3u8" {
				return false
			}
			switch d := time.Since(began); {
			case d < 10*time.Second:
				fmt.Fprint(w, list(kind, segment, 0, span(0, 3)))
			default:
				fmt.Fprint(w, list(kind, segment, 0, span(0, 6), endlist))
			}
			return true
		}
		c := &capture{}
		if err := o.puller(t, "/live.m3u8", Config{}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		v := c.track(t, "video")
		if v.runs() != "60" {
			t.Fatalf("pictures %s", v.runs())
		}
		if d := v.at[59] - v.at[32]; d < 2500*time.Millisecond || d > 2900*time.Millisecond {
			t.Errorf("27 pictures after the stop took %v, want about 2.7s", d)
		}
	})
}

// A live presentation of which more waits than at its start goes out a little
// faster, until it is as near to the edge as before.
func TestCatchUp(t *testing.T) {
	o := newOutput(1 << 30)
	o.setLive(3*time.Second, time.Second)
	f := o.feed(0)
	sink, err := f.AddTrack("audio", audioHeader(t))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(0, 0)
	next := int64(0)
	add := func(n int) {
		for range n {
			if err := sink.WriteChunk(audioChunk(next)); err != nil {
				t.Fatal(err)
			}
			next++
		}
	}
	add(3 * 50)
	var sent int64
	drive := func(until time.Time) {
		for {
			st := o.next(now)
			switch {
			case st.again:
				if st.track != nil && st.item.isChunk() {
					sent++
				}
			case st.wake.IsZero() || st.wake.After(until):
				now = until
				return
			default:
				now = st.wake
			}
		}
	}
	for s := range 100 { // the origin brings 1.03 s each second
		add(51)
		if s%2 == 0 {
			add(1)
		}
		drive(now.Add(time.Second))
	}
	if waits := next - sent; waits < 2*50 || waits > 5*50 {
		t.Errorf("%d frames of 20 ms wait after 100 s, want between 2 s and 5 s of them", waits)
	}
}

func TestCancel(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		o, segment := clip(t, kind)
		o.set("/x.m3u8", list(kind, segment, 0, span(0, 12), endlist))
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(2050*time.Millisecond, func() { cancel(cause) })
		c := &capture{}
		if err := o.puller(t, "/x.m3u8", Config{}).Run(ctx, c); !errors.Is(err, cause) {
			t.Errorf("Run = %v, want the cause", err)
		}
		if v := c.track(t, "video"); v.closed != 1 || len(v.chunks) < 20 || len(v.chunks) > 22 {
			t.Errorf("%d pictures, closed %d times; want 21 and once", len(v.chunks), v.closed)
		}
	})
}

func TestSinkFails(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		o, segment := clip(t, kind)
		o.set("/x.m3u8", list(kind, segment, 0, span(0, 12), endlist))
		c := &capture{fail: errors.New("replaced")}
		if err := o.puller(t, "/x.m3u8", Config{}).Run(t.Context(), c); !errors.Is(err, c.fail) {
			t.Errorf("Run = %v, want what the Sink returned", err)
		}
	})
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{URL: "file:///etc/passwd?secret"}, "not one of http"},
		{Config{URL: "http://a b/secret"}, "not one of http"},
		{Config{URL: "http://h/x", RetryFor: time.Nanosecond, StaleAfter: 48 * time.Hour}, "RetryFor is 1ns, want 1ms to 1h\nhls: StaleAfter"},
		{Config{URL: "http://h/x", MaxBuffer: -1}, "MaxBuffer"},
	} {
		_, err := New(tt.cfg)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("New(%+v) = %v, want %q", tt.cfg, err, tt.want)
		}
	}
}

func parse(t *testing.T, s string) *playlist.Multivariant {
	t.Helper()
	u := redactBase(t)
	p, err := playlist.Parse(u, []byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return p.Multivariant
}
