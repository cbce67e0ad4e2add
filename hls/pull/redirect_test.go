package pull

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/broadcastd/broadcastd/internal/safenet"
)

// What a pull was given for authorisation reaches its own host and no other,
// whatever playlists and redirects say; on the way back it is there again.
func TestHeadersStayAtHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, segment := clip(t, "ts")
		o.set("/x.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/away\n#EXTINF:1,\nhttp://cdn.example/"+segment(1)+"\n#EXTINF:1,\n"+segment(2)+"\n"+endlist)
		o.hook = func(w http.ResponseWriter, r *http.Request) bool {
			home := r.URL.Host == "origin.example"
			_, _, basic := r.BasicAuth()
			if got := r.Header.Get("X-Key") == "secret" && basic; got != home {
				t.Errorf("%s got its key and password: %t, want %t", r.URL, got, home)
			}
			if s := fmt.Sprint(r.Header) + r.URL.RawQuery; !home && strings.Contains(s, "secret") {
				t.Errorf("%s was told a secret: %s", r.URL, s)
			}
			to := map[string]string{"/away": "http://cdn.example/back", "/back": "http://user:secret@origin.example/" + segment(0)}[r.URL.Path]
			if to != "" {
				w.Header().Set("Location", to)
				w.WriteHeader(http.StatusFound)
			}
			return to != ""
		}
		var log bytes.Buffer
		c := &capture{}
		err := o.puller(t, "/x.m3u8", Config{
			Headers: http.Header{"x-key": {"secret"}},
			Log:     slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}).Run(t.Context(), c)
		if err != nil || c.track(t, "video").runs() != "30" {
			t.Errorf("Run = %v: %q", err, c.log)
		}
		if strings.Contains(log.String(), "secret") {
			t.Errorf("a secret is in the log:\n%s", &log)
		}
	})
}

func TestRedirects(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"http://a.example", "https://b.example", ""},
		{"https://a.example", "https://b.example", ""},
		{"https://a.example", "http://a.example", "leads from https to http"},
		{"http://a.example", "file:///etc/passwd", "leads away from HTTP"},
		{"http://a.example", "gopher://b.example", "leads away from HTTP"},
	} {
		synctest.Test(t, func(t *testing.T) {
			o, segment := clip(t, "ts")
			o.set("/y.m3u8", list("ts", segment, 0, 0, endlist))
			o.hook = redirect("/x.m3u8", tt.to+"/y.m3u8")
			p, err := New(Config{URL: tt.from + "/x.m3u8", Client: o.client()})
			if err != nil {
				t.Fatal(err)
			}
			err = p.Run(t.Context(), &capture{})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s to %s: %v, want %q", tt.from, tt.to, err, tt.want)
			}
		})
	}
}

func TestHeaderFaults(t *testing.T) {
	for name, h := range map[string]http.Header{
		"not yours": {"host": {"secret"}}, "none": {"A B": {"secret"}}, "control": {"A": {"secret\r\nB: c"}},
	} {
		_, err := New(Config{URL: "http://a.example/", Headers: h})
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: %v, want %q", h, err, name)
		}
	}
}

// A playlist may come compressed; one that is much larger than it looks does
// no harm.
func TestGzip(t *testing.T) {
	for _, tt := range []struct {
		name, encoding, want string
		bomb                 bool
	}{
		{name: "small", encoding: "gzip"},
		{name: "bomb", encoding: "gzip", bomb: true, want: "is too large: at most 8388608 bytes are taken"},
		{name: "another", encoding: "br", want: "the encoding br that it was not asked for"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, segment := clip(t, "ts")
				var b bytes.Buffer
				z := gzip.NewWriter(&b)
				fmt.Fprint(z, list("ts", segment, 0, 0, endlist))
				if tt.bomb {
					for range 100 { // 100 MB
						_, _ = z.Write(make([]byte, 1<<20))
					}
				}
				z.Close()
				o.hook = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/x.m3u8" {
						w.Header().Set("Content-Encoding", tt.encoding)
						_, _ = w.Write(b.Bytes())
					} else if got := r.Header.Get("Accept-Encoding"); got != "identity" {
						t.Errorf("a segment was asked for in %q", got)
					}
					return r.URL.Path == "/x.m3u8"
				}
				err := o.puller(t, "/x.m3u8", Config{}).Run(t.Context(), &capture{})
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Run = %v, want %q", err, tt.want)
				}
			})
		})
	}
}

// Every request is dialled by the guard: the URL's own, those of playlists and
// those of redirects.
func TestGuard(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("what lies inside was asked") }))
	defer inside.Close()
	o, _ := clip(t, "ts")
	origin := httptest.NewServer(o)
	defer origin.Close()
	o.set("/segment.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n"+inside.URL+"/a.ts\n"+endlist)
	o.set("/variant.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n"+inside.URL+"/a.m3u8\n")
	o.set("/map.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MAP:URI=\""+inside.URL+"/init.mp4\"\n#EXTINF:1,\nindex0.ts\n"+endlist)
	o.hook = redirect("/redirect.m3u8", inside.URL+"/x.m3u8")
	at := strings.TrimPrefix(origin.URL, "http://")
	for _, path := range []string{"/segment.m3u8", "/variant.m3u8", "/map.m3u8", "/redirect.m3u8"} {
		p, err := New(Config{URL: origin.URL + path, Dial: safenet.Dialer{Trusted: at}.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		if err = p.Run(t.Context(), &capture{}); err == nil || !strings.Contains(err.Error(), "add 127.0.0.1/32 to pull.allow") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
