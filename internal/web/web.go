package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

//go:embed dist
var dist embed.FS

// Config configures a Handler. The zero value is ready to use.
type Config struct {
	// MoQURL gives the WebTransport address for whoever sent the request,
	// such as "https://example.org:4443". Nil, or an empty one, means that there is
	// none. The page may connect to this address and no other.
	MoQURL func(*http.Request) string
}

// A Handler serves the pages and their assets. It answers the paths `/`,
// `/watch/{id}`, `/assets/…` and `/favicon.ico`, and 404 to any other.
type Handler struct {
	c      Config
	mux    *http.ServeMux
	page   asset
	assets map[string]asset
}

// New reads the embedded pages.
func New(c Config) (*Handler, error) {
	if c.MoQURL == nil {
		c.MoQURL = func(*http.Request) string { return "" }
	}
	h := &Handler{c: c, mux: http.NewServeMux(), assets: map[string]asset{}}
	var err error
	if h.page, err = readAsset("dist/index.html"); err != nil {
		return nil, err
	}
	names, err := fs.Glob(dist, "dist/assets/*")
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	for _, name := range names {
		if h.assets[path.Base(name)], err = readAsset(name); err != nil {
			return nil, err
		}
	}
	h.mux.HandleFunc("GET /{$}", h.servePage)
	h.mux.HandleFunc("GET /watch/{id}", h.servePage)
	h.mux.HandleFunc("GET /assets/{name}", h.serveAsset)
	h.mux.HandleFunc("GET /favicon.ico", h.serveIcon)
	return h, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// servePage answers both pages: the script reads its address bar.
func (h *Handler) servePage(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy(h.c.MoQURL(r)))
	header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	// An address may hold a playback token, which no other site shall see.
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cache-Control", "no-cache")
	h.page.serve(w, r)
}

// policy is a Content-Security-Policy (level 3) that lets a page run its own
// script and style, read its own server, and open WebTransport to moqURL.
func policy(moqURL string) string {
	connect := "'self'"
	// Only an origin goes into the header: no path, no query, no separators.
	if u, err := url.Parse(moqURL); err == nil && u.Scheme == "https" && u.Host != "" && !strings.ContainsAny(u.Host, " ;,'") {
		connect += " https://" + u.Host
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src blob:; " +
		"connect-src " + connect + "; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; " +
		"require-trusted-types-for 'script'"
}

// serveAsset answers a file whose name holds a hash of its content.
func (h *Handler) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := h.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	a.serve(w, r)
}

// serveIcon answers browsers that ask for the icon by its old name.
func (h *Handler) serveIcon(w http.ResponseWriter, r *http.Request) {
	for name, a := range h.assets {
		if strings.HasPrefix(name, "icon-") {
			w.Header().Set("Cache-Control", "public, max-age=86400")
			a.serve(w, r)
			return
		}
	}
	http.NotFound(w, r)
}

// An asset is one file in both forms in which it is sent.
type asset struct {
	contentType string
	etag        string // of the plain form, with its quotes
	plain       []byte
	gzip        []byte
}

func readAsset(name string) (asset, error) {
	b, err := dist.ReadFile(name)
	if err != nil {
		return asset{}, fmt.Errorf("web: %w", err)
	}
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		return asset{}, fmt.Errorf("web: %w", err)
	}
	if _, err = w.Write(b); err == nil {
		err = w.Close()
	}
	if err != nil {
		return asset{}, fmt.Errorf("web: %s: %w", name, err)
	}
	sum := sha256.Sum256(b)
	return asset{
		contentType: contentType(name),
		etag:        `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
		plain:       b,
		gzip:        z.Bytes(),
	}, nil
}

// contentType does not leave to the machine's tables what our files are.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(path.Ext(name))
}

// serve answers with a, or 304 to a browser that has it.
func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	body, etag := a.plain, a.etag
	header := w.Header()
	header.Set("Content-Type", a.contentType)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Add("Vary", "Accept-Encoding")
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		body, etag = a.gzip, strings.TrimSuffix(etag, `"`)+`-gzip"`
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("ETag", etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// acceptsGzip reports whether an Accept-Encoding (RFC 9110 section 12.5.3)
// names gzip with a weight above zero. The wildcard is not looked for: no
// browser sends it.
func acceptsGzip(accept string) bool {
	for coding := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		weight, ok := strings.CutPrefix(strings.TrimSpace(params), "q=")
		return !ok || strings.Trim(weight, "0.") != ""
	}
	return false
}
