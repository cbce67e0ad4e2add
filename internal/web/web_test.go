package web

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/internal/golden"
)

func newHandler(t *testing.T) *Handler {
	t.Helper()
	h, err := New(Config{MoQURL: func(r *http.Request) string { return "https://" + strings.Replace(r.Host, "8080", "4443", 1) }})
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
	h := newHandler(t)
	targets := []string{"/", "/watch/demo", "/favicon.ico", "/nothing", "/watch/", "/watch/a/b", "/assets/", "/assets/nothing.js"}
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
	h := newHandler(t)
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
	h := newHandler(t)
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
	h := newHandler(t)
	for _, target := range []string{"/", "/watch/demo"} {
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
	h := newHandler(t)
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
