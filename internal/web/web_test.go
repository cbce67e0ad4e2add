package web

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/golden"
)

type fixed []Broadcast

func (f fixed) Broadcasts(*http.Request) ([]Broadcast, error) { return f, nil }

type refusing struct{}

func (refusing) Broadcasts(*http.Request) ([]Broadcast, error) {
	return nil, errors.New("not for you")
}

func TestListIsRefusedWithASentence(t *testing.T) {
	h, err := New(Config{Lister: refusing{}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/broadcasts", nil))
	if got, want := fmt.Sprint(w.Code, " ", w.Body), "403 not for you\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

var demo = Broadcast{
	Name: "local/demo", Namespace: "stream/local/demo", Live: true,
	Since: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC),
	Tracks: []Track{
		{Name: "video", Role: "video", Codec: "avc1.64001f", Width: 1280, Height: 720, Framerate: 30, Bitrate: 2500000},
		{Name: "audio", Role: "audio", Codec: "mp4a.40.2", SampleRate: 48000},
	},
}

func newHandler(t *testing.T, c Config) *Handler {
	t.Helper()
	if c.Lister == nil {
		c.Lister = fixed{demo, {Name: "local/cam", Namespace: "stream/local/cam"}}
	}
	c.Now = func() time.Time { return time.Date(2026, 11, 20, 12, 30, 1, 234567890, time.UTC) }
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// do sends one request; header is a list of names and values.
func do(h http.Handler, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "media.example:8080"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// assetNames are the addresses of the assets that the page names.
func assetNames(t *testing.T) []string {
	t.Helper()
	page, err := dist.ReadFile("dist/index.html")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`/assets/[\w.-]+`).FindAllString(string(page), -1)
}

func TestHeaders(t *testing.T) {
	h := newHandler(t, Config{CertificateHashes: func() []string { return []string{"00ff", "11ee"} }})
	targets := []string{"/", "/watch/demo", "/favicon.ico", "/api/v1/broadcasts", "/nothing", "/watch/", "/watch/a/b", "/assets/", "/assets/nothing.js"}
	for _, target := range append(targets, assetNames(t)...) {
		name := regexp.MustCompile(`-\w{10}\.`).ReplaceAllString(target, "-HASH.")
		t.Run(name, func(t *testing.T) {
			res := do(h, "GET", target, "Accept-Encoding", "br, gzip")
			var got bytes.Buffer
			fmt.Fprintf(&got, "GET %s\n%s\n", name, res.Status)
			res.Header.Write(&got)
			text := regexp.MustCompile(`(?m)^Etag: ".*"`).ReplaceAllString(got.String(), `Etag: "…"`)
			file := "headers" + strings.ReplaceAll(strings.TrimSuffix(name, "/"), "/", "_") + ".txt"
			if strings.HasSuffix(name, "/") {
				file = strings.TrimSuffix(file, ".txt") + "_.txt"
			}
			golden.Check(t, file, []byte(strings.ReplaceAll(text, "\r", "")))
		})
	}
}

func TestBroadcasts(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Config
	}{
		{"live", Config{CertificateHashes: func() []string { return []string{"00ff", "11ee"} }}},
		{"empty", Config{Lister: fixed(nil), MoQURL: func(*http.Request) string { return "https://relay.example:4443/moq" }}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			golden.Check(t, "broadcasts-"+tt.name+".json", body(t, do(newHandler(t, tt.c), "GET", "/api/v1/broadcasts")))
		})
	}
}

func TestListerKeepsItsSlice(t *testing.T) {
	f := fixed{{Name: "local/cam"}}
	do(newHandler(t, Config{Lister: f}), "GET", "/api/v1/broadcasts")
	if f[0].Tracks != nil {
		t.Error("the handler wrote into the Lister's slice")
	}
}

func TestSamePlace(t *testing.T) {
	for _, tt := range []struct{ host, want string }{
		{"localhost:8080", "https://localhost:4443"},
		{"media.example", "https://media.example:4443"},
		{"192.0.2.7:80", "https://192.0.2.7:4443"},
		{"[2001:db8::1]:8080", "https://[2001:db8::1]:4443"},
		{"[2001:db8::1]", "https://[2001:db8::1]:4443"},
	} {
		if got := samePlace(&http.Request{Host: tt.host}); got != tt.want {
			t.Errorf("samePlace(%q) = %q, want %q", tt.host, got, tt.want)
		}
	}
}

func TestPolicyTakesOriginsOnly(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"https://relay.example:4443/moq?tok=secret", "connect-src 'self' https://relay.example:4443;"},
		{"https://evil.example;script-src *", "connect-src 'self';"},
		{"https://a.example, b.example/", "connect-src 'self';"},
		{"javascript:alert(1)", "connect-src 'self';"},
		{"", "connect-src 'self';"},
	} {
		if got := policy(tt.url); !strings.Contains(got, tt.want) {
			t.Errorf("policy(%q) = %q, want it to contain %q", tt.url, got, tt.want)
		}
	}
}

func TestNotModified(t *testing.T) {
	h := newHandler(t, Config{})
	for _, target := range append([]string{"/", "/watch/demo"}, assetNames(t)...) {
		plain := do(h, "GET", target).Header.Get("ETag")
		packed := do(h, "GET", target, "Accept-Encoding", "gzip").Header.Get("ETag")
		if plain == packed || plain == "" {
			t.Errorf("%s: ETag %q plain and %q packed, want two", target, plain, packed)
		}
		if res := do(h, "GET", target, "If-None-Match", plain); res.StatusCode != 304 {
			t.Errorf("%s with its ETag: %s, want 304", target, res.Status)
		}
		if res := do(h, "GET", target, "If-None-Match", plain, "Accept-Encoding", "gzip"); res.StatusCode != 200 {
			t.Errorf("%s with the plain form's ETag: %s, want 200", target, res.Status)
		}
	}
}

func TestGzipHoldsTheSame(t *testing.T) {
	h := newHandler(t, Config{})
	for _, target := range append([]string{"/"}, assetNames(t)...) {
		z, err := gzip.NewReader(do(h, "GET", target, "Accept-Encoding", "gzip").Body)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		got, err := io.ReadAll(z)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		if want := body(t, do(h, "GET", target)); !bytes.Equal(got, want) {
			t.Errorf("%s: the packed form has %d bytes unpacked, the plain form %d", target, len(got), len(want))
		}
	}
}

func TestAcceptsGzip(t *testing.T) {
	for _, tt := range []struct {
		accept string
		want   bool
	}{
		{"gzip", true},
		{"deflate, GZIP;q=0.5", true},
		{"br, gzip; q=1.0, *;q=0", true},
		{"gzip;q=0", false},
		{"gzip;q=0.000", false},
		{"br", false},
		{"xgzip", false},
		{"", false},
	} {
		if got := acceptsGzip(tt.accept); got != tt.want {
			t.Errorf("acceptsGzip(%q) = %t, want %t", tt.accept, got, tt.want)
		}
	}
}

func TestMethods(t *testing.T) {
	h := newHandler(t, Config{})
	for _, target := range []string{"/", "/watch/demo", "/api/v1/broadcasts"} {
		if res := do(h, "POST", target); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %s, Allow %q, want 405 and GET, HEAD", target, res.Status, res.Header.Get("Allow"))
		}
		if res := do(h, "HEAD", target); res.StatusCode != 200 {
			t.Errorf("HEAD %s: %s, want 200", target, res.Status)
		}
	}
}

// What the Content-Security-Policy refuses must not be in the page.
func TestPageHasNothingInline(t *testing.T) {
	page, err := dist.ReadFile("dist/index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{`\sstyle=`, `<style`, `\son\w+=`, `<script>`, `javascript:`, `(src|href)="(https?:)?//`} {
		if m := regexp.MustCompile(bad).Find(page); m != nil {
			t.Errorf("index.html has %q", m)
		}
	}
}

// Each asset is used, each used one is there, and together they are small.
func TestAssets(t *testing.T) {
	h := newHandler(t, Config{})
	names := assetNames(t)
	size := 0
	for name, a := range h.assets {
		size += len(a.plain)
		if !slices.Contains(names, "/assets/"+name) {
			t.Errorf("index.html does not use %s", name)
		}
	}
	if len(names) != len(h.assets) {
		t.Errorf("index.html names %d assets, there are %d", len(names), len(h.assets))
	}
	if size > 40<<10 {
		t.Errorf("the assets have %d bytes, want 40 KiB at most", size)
	}
}

func TestNewWantsALister(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("New without a Lister succeeded")
	}
}
