package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const jwksURL = "https://keys.example/jwks"

// A keySite serves a JWKS that tests change.
type keySite struct {
	mu     sync.Mutex
	keys   []SigningKeyInfo
	down   bool
	slow   time.Duration
	header http.Header
	asked  atomic.Int32
}

func (s *keySite) set(keys ...SigningKeyInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
}

func (s *keySite) serve(r *http.Request) (int, http.Header, string) {
	s.asked.Add(1)
	s.mu.Lock()
	slow, down, keys, header := s.slow, s.down, s.keys, s.header
	s.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-r.Context().Done():
	}
	if down {
		return 503, nil, ""
	}
	if etag := header.Get("ETag"); etag != "" && r.Header.Get("If-None-Match") == etag {
		return 304, header, ""
	}
	return 200, header, jwksOf(keys...)
}

func TestJWKSURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, site := newBook(), &keySite{}
		site.set(issuer.sign("ed", "", Ed25519), issuer.sign("rs", "", RS256))
		g := openGate(t, Config{JWKS: jwksURL, Transport: remote(site.serve)})
		synctest.Wait()
		if n := site.asked.Load(); n != 1 {
			t.Fatalf("asked %d times at the start, want once", n)
		}
		ed := issuer.token(t, "ed", nil)
		for _, token := range []string{ed, issuer.token(t, "rs", nil)} {
			if got := try(t, g, token, attempt{}); got != 0 {
				t.Errorf("code %d, want it taken", got)
			}
		}
		// A key that is new there counts at once, if nothing unknown was asked for lately.
		time.Sleep(unknownURL)
		newer := issuer.sign("newer", "", Ed25519)
		site.set(issuer.signing["ed"], newer)
		if got := try(t, g, issuer.token(t, "newer", nil), attempt{}); got != 0 {
			t.Errorf("a new key: code %d, want it taken", got)
		}
		// Unknown ones have it fetched once in a while, whatever comes.
		before := site.asked.Load()
		stranger := newBook()
		for i := range 50 {
			kid := fmt.Sprint("k", i)
			stranger.sign(kid, "", Ed25519)
			if got := try(t, g, stranger.token(t, kid, nil), attempt{}); got != CodeUnknown {
				t.Errorf("a stranger's: code %d", got)
			}
		}
		if n := site.asked.Load() - before; n != 0 {
			t.Errorf("fetched %d times within %v of the last time, want none", n, unknownURL)
		}
		// Nobody who shows no token has anything fetched.
		p, err := g.Session(far.String(), "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(unknownURL)
		p.Play([]string{"stream", "local", "cam"}, nil)
		p.Close()
		if n := site.asked.Load() - before; n != 0 {
			t.Errorf("an anonymous session had it fetched %d times", n)
		}
		// A key that is taken out counts until the set is stale, and what it let in ends.
		grant, err := g.check(issuer.token(t, "newer", func(c *Claims) { c.Expires += int64(48 * 3600) }), attempt{})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		site.set()
		<-grant.Context().Done()
		wantCode(t, errCause(grant), CodeRevoked)
		if d := time.Since(start); d > defaultFresh+time.Second {
			t.Errorf("the grant ended %v after its key was taken out, want %v at most", d, defaultFresh)
		}
	})
}

// When nothing can be fetched the keys stay, for a day.
func TestJWKSStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, site := newBook(), &keySite{header: http.Header{"Cache-Control": {"public, max-age=120"}, "Etag": {`"1"`}}}
		site.set(issuer.sign("ed", "", Ed25519))
		g := openGate(t, Config{JWKS: jwksURL, Transport: remote(site.serve)})
		synctest.Wait()
		time.Sleep(121 * time.Second)
		if n := site.asked.Load(); n != 2 {
			t.Errorf("fetched %d times in two minutes, want 2: max-age=120", n)
		}
		site.mu.Lock()
		site.down = true
		site.mu.Unlock()
		grant, err := g.check(issuer.token(t, "ed", func(c *Claims) { c.Expires += int64(48 * 3600) }), attempt{})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.Sleep(23 * time.Hour)
		if got := try(t, g, issuer.token(t, "ed", nil), attempt{}); got != 0 || grant.Context().Err() != nil {
			t.Errorf("after 23 h: code %d, grant %v; want both to count", got, errCause(grant))
		}
		<-grant.Context().Done()
		if d := time.Since(start); d > maxStale+2*time.Second {
			t.Errorf("the keys counted for %v, want %v", d, maxStale)
		}
	})
}

// One fetch is for all who wait, and who needs none does not wait.
func TestJWKSSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, site, b := newBook(), &keySite{slow: time.Hour}, newBook()
		b.sign("own", "", Ed25519)
		issuer.sign("late", "", Ed25519)
		g := openGate(t, Config{Directory: b, JWKS: jwksURL, Transport: remote(site.serve)})
		synctest.Wait()
		time.Sleep(time.Second)
		start := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if got := try(t, g, issuer.token(t, "late", nil), attempt{}); got != CodeUnknown {
					t.Errorf("code %d, want %d", got, CodeUnknown)
				}
			})
		}
		synctest.Wait()
		if got := try(t, g, b.token(t, "own", nil), attempt{}); got != 0 || time.Since(start) != 0 {
			t.Errorf("a token of our own: code %d after %v, want it at once", got, time.Since(start))
		}
		wg.Wait()
		if d, n := time.Since(start), site.asked.Load(); d > askTimeout || n != 1 {
			t.Errorf("those who waited took %v and %d fetches, want %v and 1", d, n, askTimeout)
		}
	})
}

func TestJWKSRefusals(t *testing.T) {
	issuer := newBook()
	key := issuer.sign("ed", "", Ed25519)
	for name, tt := range map[string]struct {
		status int
		body   string
		header http.Header
	}{
		"not found":     {404, jwksOf(key), nil},
		"a redirect":    {302, jwksOf(key), http.Header{"Location": {"https://evil.example/"}}},
		"no JSON":       {200, "<html>", nil},
		"too many keys": {200, `{"keys":[` + strings.Repeat(`{},`, maxJWKSKeys) + `{}]}`, nil},
		"too long":      {200, `{"keys":[]}` + strings.Repeat(" ", maxJWKS), nil},
		"not changed":   {304, "", nil},
	} {
		s, err := newKeySet(Config{JWKS: jwksURL, Now: time.Now, Transport: remote(func(*http.Request) (int, http.Header, string) {
			return tt.status, tt.header, tt.body
		})})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.fetch(); err == nil {
			t.Errorf("%s is taken as a JWKS", name)
		}
	}
	for name, m := range map[string]map[string]any{
		"for encryption":          {"use": "enc"},
		"of another algorithm":    {"alg": "PS256"},
		"without a kid":           {"kid": ""},
		"with a kid of any text":  {"kid": "a b"},
		"of a curve that is none": {"crv": "P-256"},
		"with a short key":        {"x": "AAAA"},
		"of low order":            {"x": b64(string(append([]byte{1}, make([]byte, 31)...)))},
		"symmetric":               {"kty": "oct", "k": "AAAA"},
	} {
		all := map[string]any{}
		for k, v := range jwk("ed", key.Public) {
			all[k] = v
		}
		for k, v := range m {
			all[k] = v
		}
		text, err := json.Marshal(map[string]any{"keys": []any{all, jwk("good", key.Public), jwk("good", issuer.sign("x", "", RS256).Public)}})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := parseJWKS(text)
		if err != nil || len(keys) != 1 || !samePublic(keys["good"].Public, key.Public) {
			t.Errorf("a key %s: %v, %v, want it left out, and the first of two of one kid", name, keys, err)
		}
	}
	for name, url := range map[string]string{
		"http elsewhere": "http://keys.example/jwks", "a user": "https://a:b@keys.example/", "a scheme": "ftp://keys.example/", "no host": "https://",
		"http on a private address": "http://10.0.0.1/", "a name that only looks local": "http://localhost.example/",
	} {
		if _, err := NewGate(Config{JWKS: url}); err == nil || !strings.Contains(err.Error(), "auth.jwks") || strings.Contains(err.Error(), "b@") {
			t.Errorf("%s: %v, want an error that names auth.jwks", name, err)
		}
	}
}

// Over real HTTP, with its own transport: no redirect is followed.
func TestJWKSOverHTTP(t *testing.T) {
	issuer := newBook()
	key := issuer.sign("ed", "", Ed25519)
	mux := http.NewServeMux()
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, jwksOf(key)) })
	mux.Handle("/moved", http.RedirectHandler("/jwks", http.StatusFound))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for path, want := range map[string]Code{"/jwks": 0, "/moved": CodeUnknown} {
		g, err := NewGate(Config{JWKS: srv.URL + path})
		if err != nil {
			t.Fatal(err)
		}
		if got := try(t, g, issuer.token(t, "ed", nil), attempt{}); got != want {
			t.Errorf("%s: code %d, want %d", path, got, want)
		}
		g.jwks.ask.end()
	}
}

func TestJWKSFile(t *testing.T) {
	issuer := newBook()
	ed, rs := issuer.sign("ed", "", Ed25519), issuer.sign("rs", "", RS256)
	path := filepath.Join(t.TempDir(), "jwks.json")
	write := func(keys ...SigningKeyInfo) {
		if err := os.WriteFile(path+".new", []byte(jwksOf(keys...)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(ed, rs)
	g := openGate(t, Config{JWKS: path})
	grant, err := g.check(issuer.token(t, "rs", nil), attempt{})
	if err != nil {
		t.Fatal(err)
	}
	if got := try(t, g, issuer.token(t, "ed", nil), attempt{}); got != 0 {
		t.Errorf("code %d, want it taken", got)
	}
	start := time.Now()
	write(ed)
	<-grant.Context().Done()
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("a key that was taken out of the file counted for %v, want 2 s at most", d)
	}
	if _, err := NewGate(Config{JWKS: path + ".not"}); err == nil || !strings.Contains(err.Error(), "auth.jwks") {
		t.Errorf("missing JWKS: %v, want an error that names auth.jwks", err)
	}
}

// errCause returns why a grant ended.
func errCause(g *Grant) error {
	if g.Context().Err() == nil {
		return errors.New("it has not ended")
	}
	return causeOf(g.Context())
}
