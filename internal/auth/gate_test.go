package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	here  = "127.0.0.1:5000"
	there = "192.0.2.7:5000"
)

// A kit is a gate with a stream key and tokens for stream/local/cam.
type kit struct {
	gate         *Gate
	book         *book
	sk, tok, old string
}

func newKit(t *testing.T) kit {
	k := kit{book: newBook()}
	k.book.sign("ed", "local", Ed25519)
	k.gate = openGate(t, Config{Directory: k.book, Loopback: Loopback{Enabled: true}})
	k.sk, _ = k.book.key("", "stream", "local", "cam")
	k.tok = k.book.token(t, "ed", nil)
	k.old = k.book.token(t, "ed", func(c *Claims) { c.Expires = time.Now().Add(-time.Hour).Unix() })
	return k
}

func wantCode(t *testing.T, err error, want Code) {
	t.Helper()
	refusal, ok := errors.AsType[*CredentialError](err)
	if !ok || refusal.Code != want {
		t.Errorf("error %v, want code %d", err, want)
	}
	if err != nil && !strings.HasPrefix(err.Error(), "auth") {
		t.Errorf("%q does not begin with auth", err)
	}
}

func TestGateSession(t *testing.T) {
	k := newKit(t)
	const (
		admit = -1 // by the session
		local = -2 // by the loopback rule
		none  = -3 // let in to show something
	)
	for _, tt := range []struct {
		name, remote, path string
		tokens             []string
		want               int // or a Code
	}{
		{"nothing, from here", here, "/moq", nil, local},
		{"nothing, from elsewhere", there, "/moq", nil, none},
		{"token, from elsewhere", there, "/playback/cam?tok=" + k.tok, nil, admit},
		{"token on any path", there, "/?tok=" + k.tok, nil, admit},
		{"token in the SETUP", there, "", []string{k.tok}, admit},
		{"token of another input", there, "/playback/other?tok=" + k.tok, nil, int(CodeWrongInput)},
		{"expired, also from here", here, "/playback/cam?tok=" + k.old, nil, int(CodeExpired)},
		{"stream key", there, "/publish/cam?sk=" + k.sk, nil, admit},
		{"stream key of another input", there, "/publish/other?sk=" + k.sk, nil, int(CodeWrongInput)},
		{"a token publishes nothing", there, "/publish/cam?tok=" + k.tok, nil, int(CodeWrongInput)},
		{"nonsense, also from here", here, "/?tok=abc", nil, int(CodeMalformed)},
		{"a query that cannot be read", here, "/?tok=%zz", nil, int(CodeMalformed)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := k.gate.Session(tt.remote, tt.path, tt.tokens)
			if p != nil {
				defer p.Close()
				if expires := !p.Expires().IsZero(); expires != (tt.want == admit && tt.name != "stream key") {
					t.Errorf("the pass expires at %v", p.Expires())
				}
			}
			got := int(CodeOf(err))
			switch {
			case err == nil && len(p.grants) > 0:
				got = admit
			case err == nil && p.lacks == nil:
				got = local
			case err == nil:
				got = none
			}
			if got != tt.want {
				t.Errorf("got %d (%v), want %d", got, err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), k.tok) || strings.Contains(err.Error(), k.old)) {
				t.Errorf("the error %q quotes the token", err)
			}
		})
	}
}

func TestPass(t *testing.T) {
	k := newKit(t)
	pass := func(remote, path string) *Pass {
		p, err := k.gate.Session(remote, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	viewer, encoder, local := pass(there, "/?tok="+k.tok), pass(there, "/?sk="+k.sk), pass(here, "/")
	cam, other := []string{"stream", "local", "cam"}, []string{"stream", "local", "other"}
	alias, input := []string{"playback", "cam"}, []string{"stream", "acme", "lv_1"}
	for _, tt := range []struct {
		name      string
		do        func(namespace, tokens []string) ([]string, error)
		namespace []string
		tokens    []string
		want      []string
	}{
		{"viewer plays", viewer.Play, cam, nil, cam},
		{"viewer plays by the path of its URL", viewer.Play, alias, nil, cam},
		{"viewer plays by one field", viewer.Play, []string{"stream/local/cam"}, nil, cam},
		{"viewer plays another", viewer.Play, other, nil, nil},
		{"viewer publishes", viewer.Publish, cam, nil, nil},
		{"viewer watches", viewer.Watch, cam[:2], nil, cam[:2]},
		{"viewer watches all", viewer.Watch, nil, nil, []string{}},
		{"viewer watches elsewhere", viewer.Watch, other, nil, nil},
		{"encoder publishes", encoder.Publish, cam, nil, cam},
		{"encoder publishes another", encoder.Publish, other, nil, nil},
		{"encoder plays its own", encoder.Play, cam, nil, cam},
		{"local plays", local.Play, other, nil, other},
		{"local publishes", local.Publish, other, nil, other},
		{"local plays a live input", local.Play, input, nil, nil},
		{"local with a token plays what that says", local.Play, cam, []string{k.tok}, cam},
		{"local with a token plays nothing else", local.Play, other, []string{k.tok}, nil},
		{"local with a bad token plays nothing", local.Play, other, []string{k.old}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.do(tt.namespace, tt.tokens)
			if tt.want == nil && err == nil || tt.want != nil && (err != nil || !slices.Equal(got, tt.want)) {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	if !viewer.Visible(cam) || viewer.Visible(other) {
		t.Error("the viewer sees more or less than its stream")
	}
	k.book.deactivate("ed")
	<-viewer.Context().Done()
	wantCode(t, context.Cause(viewer.Context()), CodeRevoked)
	<-local.Context().Done() // it has shown the token too
	if encoder.Context().Err() != nil {
		t.Error("a revoked signing key has ended what a stream key granted")
	}
}

func TestGateHTTP(t *testing.T) {
	k := newKit(t)
	push := func(r *http.Request, name string) error {
		a, err := k.gate.Ingest(r, name)
		if err == nil {
			a.Close()
		}
		return err
	}
	ingest := func(r *http.Request) error { return push(r, "cam") }
	page := func(r *http.Request) error {
		visible, err := k.gate.Page(r)
		if err == nil && r.URL.Query().Has("tok") && (!visible(Namespace("cam")) || visible(Namespace("other"))) {
			t.Error("a token shows more or less than its stream")
		}
		return err
	}
	elsewhere := func(r *http.Request) error { return push(r, "other") }
	for _, tt := range []struct {
		name          string
		do            func(*http.Request) error
		remote, query string
		header        string
		ok            bool
	}{
		{"ingest from here", ingest, here, "", "", true},
		{"ingest from elsewhere", ingest, there, "", "", false},
		{"ingest with a key", ingest, there, "sk=" + k.sk, "", true},
		{"ingest with a key in the header", ingest, there, "", "Bearer " + k.sk, true},
		{"ingest with a key of another", elsewhere, there, "sk=" + k.sk, "", false},
		{"ingest with a token", ingest, there, "", "Bearer " + k.tok, false},
		{"ingest with a bad key, from here", ingest, here, "sk=sk_live_a_b", "", false},
		{"ingest with another scheme", ingest, here, "", "Basic abc", false},
		{"page from here", page, here, "", "", true},
		{"page from elsewhere", page, there, "", "", false},
		{"page with a token", page, there, "tok=" + k.tok, "", true},
		{"page with an expired token, from here", page, here, "tok=" + k.old, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "http://localhost/ingest/cam?"+tt.query, nil)
			r.RemoteAddr = tt.remote
			if tt.header != "" {
				r.Header.Set("Authorization", tt.header)
			}
			if err := tt.do(r); (err == nil) != tt.ok {
				t.Errorf("got %v, want ok %t", err, tt.ok)
			}
		})
	}
}

func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, namespace string
		want               bool
	}{
		{"stream/org/cam", "stream/org/cam", true},
		{"stream/org/cam", "stream/org/cam/x", false},
		{"stream/org/cam", "stream/org", false},
		{"stream/org/*", "stream/org/cam", true},
		{"stream/org/*", "stream/org/cam/x", true},
		{"stream/org/*", "stream/org", false},
		{"stream/org/*", "stream/other/cam", false},
		{"*", "stream/org/cam", true},
		{"playback/cam", "stream/org/cam", true},
		{"playback/cam", "stream/other/cam", false},
		{"playback/*", "stream/org/cam", true},
		{"stream/*/cam", "stream/org/cam", false}, // only a last field is a wildcard
		{"", "stream/org/cam", false},
	} {
		p, ok := parsePattern(tt.pattern, "org")
		if got := ok && p.covers(strings.Split(tt.namespace, "/")); got != tt.want {
			t.Errorf("%q covers %q: %t, want %t", tt.pattern, tt.namespace, got, tt.want)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, tt := range []struct{ in, want []string }{
		{[]string{"stream", "org", "cam"}, []string{"stream", "org", "cam"}},
		{[]string{"stream/org/cam"}, []string{"stream", "org", "cam"}},
		{[]string{"playback", "cam"}, []string{"stream", "org", "cam"}},
		{[]string{"publish/cam"}, []string{"stream", "org", "cam"}},
	} {
		if got := resolve(tt.in, "org"); strings.Join(got, "|") != strings.Join(tt.want, "|") {
			t.Errorf("resolve(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}
