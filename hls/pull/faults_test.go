package pull

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A segment that is not everywhere yet is asked for again; a server that is
// down for a while is waited for, as long as it asks for.
func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name   string
		path   string
		status int
		header string // Retry-After
		times  int    // that it fails
		least  time.Duration
	}{
		{"segment not there yet", "/index1.ts", 404, "", 2, 0},
		{"server busy", "/index1.ts", 503, "3", 1, 3 * time.Second},
		{"playlist at first", "/x.m3u8", 502, "", 3, 0},
		{"too many requests", "/x.m3u8", 429, "2", 1, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, segment := clip(t, "ts")
				o.set("/x.m3u8", list("ts", segment, 0, span(0, 3), endlist))
				failed := 0
				began := time.Now()
				var ok time.Duration
				o.hook = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != tt.path {
						return false
					}
					if failed++; failed > tt.times {
						ok = time.Since(began)
						return false
					}
					w.Header().Set("Retry-After", tt.header)
					w.WriteHeader(tt.status)
					return true
				}
				c := &capture{}
				if err := o.puller(t, "/x.m3u8", Config{}).Run(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				if got := c.track(t, "video").runs(); got != "30" || failed != tt.times+1 {
					t.Errorf("pictures %s after %d requests", got, failed)
				}
				if ok < tt.least {
					t.Errorf("asked again after %v, want %v at least", ok, tt.least)
				}
			})
		})
	}
}

// Faults are told by what was asked for and what was wrong, without what is
// secret in the URL, in errors and in the log alike.
func TestFaults(t *testing.T) {
	head := "#EXTM3U\n#EXT-X-TARGETDURATION:1\n"
	for _, tt := range []struct {
		name  string
		body  string // of the playlist
		hook  func(w http.ResponseWriter, r *http.Request) bool
		cfg   Config
		want  string
		is    error
		quick bool // no retries
	}{
		{name: "no playlist", hook: status("/x.m3u8", 404), want: "http://origin.example/x.m3u8: 404 Not Found", quick: true},
		{name: "refused", hook: status("/x.m3u8", 401), want: "401 Unauthorized", quick: true},
		{name: "server down", hook: status("/x.m3u8", 503), want: "x.m3u8: 503 Service Unavailable"},
		{name: "HTML", body: "<html>", want: `x.m3u8: playlist: line 1: does not begin with #EXTM3U: "<html>"`, quick: true},
		{name: "a broken line", body: head + "#EXTINF:x,\nindex0.ts\n", want: "x.m3u8: playlist: line 3: ", quick: true},
		{name: "too large", body: strings.Repeat("#", 9<<20), want: "x.m3u8: 200 OK: is too large: it has 9437184 bytes, at most 8388608 are taken", quick: true},
		{name: "no segment there", body: head + "#EXTINF:1,\nnone.ts?key=secret\n" + endlist, want: "http://origin.example/none.ts: 404 Not Found"},
		{
			name: "encrypted samples", body: head + "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"k\"\n#EXTINF:1,\nindex0.ts\n" + endlist,
			want: "index0.ts: hls: not supported: it is encrypted with SAMPLE-AES of the key format \"identity\"", is: ErrUnsupported, quick: true,
		},
		{
			name: "another key system", body: head + "#EXT-X-KEY:METHOD=AES-128,URI=\"skd://k\",KEYFORMAT=\"com.apple.streamingkeydelivery\"\n#EXTINF:1,\nindex0.ts\n" + endlist,
			want: "AES-128 of the key format \"com.apple.streamingkeydelivery\"", is: ErrUnsupported, quick: true,
		},
		{
			name: "key of another scheme", body: head + "#EXT-X-KEY:METHOD=AES-128,URI=\"data:text/plain,0123456789abcdef\"\n#EXTINF:1,\nindex0.ts\n" + endlist,
			want: "the key has no URI of http or https", is: ErrUnsupported, quick: true,
		},
		{
			name: "a page instead of a key", body: head + "#EXT-X-KEY:METHOD=AES-128,URI=\"k?secret\"\n#EXTINF:1,\nindex0.ts\n" + endlist, hook: body("/k", "<html>"),
			want: "origin.example/k: has 6 bytes, a key has 16", quick: true,
		},
		{
			name: "encrypted with another key", body: head + "#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:1,\nx.ts\n" + endlist,
			hook: func(w http.ResponseWriter, r *http.Request) bool {
				text := map[string]string{"/k": "0123456789abcdef", "/x.ts": "0123456789abcdef"}[r.URL.Path]
				fmt.Fprint(w, text)
				return text != ""
			},
			want: "x.ts: does not decrypt with the key and the IV", quick: true,
		},
		{
			name: "half a block", body: head + "#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:1,\nx.ts\n" + endlist,
			hook: func(w http.ResponseWriter, r *http.Request) bool {
				text := map[string]string{"/k": "0123456789abcdef", "/x.ts": "01234567"}[r.URL.Path]
				fmt.Fprint(w, text)
				return text != ""
			},
			want: "x.ts: has 8 bytes, which is no multiple of the 16 of AES", quick: true,
		},
		{
			name: "a wrong IV", body: head + "#EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=0x0g\n#EXTINF:1,\nindex0.ts\n" + endlist,
			want: "index0.ts: has an IV that is not hexadecimal", quick: true,
		},
		{name: "packed audio", body: head + "#EXTINF:1,\na.aac\n" + endlist, hook: body("/a.aac", "\xff\xf1abc"), want: "packed audio", is: ErrUnsupported, quick: true},
		{name: "subtitles", body: head + "#EXTINF:1,\na.vtt\n" + endlist, hook: body("/a.vtt", "WEBVTT\n"), want: "WebVTT", is: ErrUnsupported, quick: true},
		{name: "not media", body: head + "#EXTINF:1,\na.ts\n" + endlist, hook: body("/a.ts", "<html>"), want: `a.ts: is neither MPEG-TS nor fMP4; it begins with "<html>"`, quick: true},
		{name: "nothing", body: head + "#EXTINF:1,\na.ts\n" + endlist, hook: body("/a.ts", ""), want: "a.ts: is empty", quick: true},
		{name: "large segment", body: head + "#EXTINF:1,\nindex0.ts\n" + endlist, cfg: Config{MaxSegment: 1000}, want: "at most 1000 are taken", quick: true},
		{name: "large range", body: head + "#EXTINF:1,\n#EXT-X-BYTERANGE:2000@0\nindex0.ts\n" + endlist, cfg: Config{MaxSegment: 1000}, want: "it has 2000 bytes", quick: true},
		{name: "endless redirect", hook: redirect("/x.m3u8", "http://other.example/x.m3u8?tok=secret"), want: "x.m3u8: the redirect is not followed: it is one of more than 5", quick: true},
		{name: "redirect to nowhere", hook: redirect("/x.m3u8", "http://a b?secret"), want: "x.m3u8: the server's answer cannot be followed"},
		{name: "I-frames", body: head + "#EXT-X-I-FRAMES-ONLY\n#EXTINF:1,\nindex0.ts\n" + endlist, want: "I-frames", is: ErrUnsupported, quick: true},
		{name: "a variant that is multivariant", body: "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8?secret\n", want: "a multivariant playlist where", quick: true},
		{name: "stale", body: head + "#EXTINF:1,\nindex0.ts\n", want: "nothing new for", is: ErrStale},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _ := clip(t, "ts")
				if tt.body != "" {
					o.set("/x.m3u8", tt.body)
				}
				o.hook = tt.hook
				var log bytes.Buffer
				tt.cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				began := time.Now()
				err := o.puller(t, "/x.m3u8", tt.cfg).Run(t.Context(), &capture{})
				if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("Run = %v; want %q", err, tt.want)
				}
				if strings.Contains(fmt.Sprint(err)+log.String(), "secret") {
					t.Errorf("a secret is in %v, or in the log:\n%s", err, &log)
				}
				if d := time.Since(began); tt.quick && d > 0 || d > 2*time.Minute {
					t.Errorf("it took %v", d)
				}
			})
		})
	}
}

func status(path string, code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == path {
			w.WriteHeader(code)
		}
		return r.URL.Path == path
	}
}

func body(path, s string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == path {
			fmt.Fprint(w, s)
		}
		return r.URL.Path == path
	}
}

func redirect(path, to string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == path {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
		}
		return r.URL.Path == path
	}
}
