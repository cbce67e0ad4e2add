package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/golden"
)

// A tester calls a Handler with a control plane in memory.
type tester struct {
	testing.TB
	*Handler
	control *control.Service
	now     time.Time // of the Handler alone
}

func newTester(t testing.TB, change ...func(*Config)) *tester {
	t.Helper()
	ts := &tester{TB: t, control: controltest.New(t), now: time.Date(2026, 11, 20, 12, 30, 1, 234567890, time.UTC)}
	c := Config{
		Control: ts.control, Gate: tokenGate{}, Broadcasts: twoBroadcasts{}, Analytics: someFigures{}, Version: "test",
		MoQURL:            func(*http.Request) string { return "https://media.example:4443" },
		RelayURL:          func(*http.Request) string { return "moq://media.example:4443" },
		CertificateHashes: func() []string { return []string{"00ff", "11ee"} },
		Publish: func(_ *http.Request, external string) map[string]string {
			return map[string]string{
				"fmp4": "http://media.example/ingest/" + external, "moqt": "moqt://media.example:4443/publish/" + external,
				"rtmp": "rtmp://media.example/live/" + external, "rtmps": "rtmps://media.example/live/" + external,
				"srt": "srt://media.example:8890?streamid=" + external,
			}
		},
		OwnOrigin: func(origin string) bool { return origin == "https://media.example" },
		Now:       func() time.Time { return ts.now },
	}
	for _, f := range change {
		f(&c)
	}
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	ts.Handler = h
	return ts
}

// tokenGate lets in who shows the token of one stream.
type tokenGate struct{ closed }

func (tokenGate) Page(r *http.Request) (func([]string) bool, error) {
	if tok := r.URL.Query().Get("tok"); tok != "" && tok != "of-demo" {
		return nil, errors.New("auth_failed: the token does not count")
	} else if tok == "" && r.RemoteAddr != "127.0.0.1:1" {
		return nil, errors.New("only this machine may play without a token")
	}
	return func(ns []string) bool { return ns[len(ns)-1] == "demo" }, nil
}

type twoBroadcasts struct{}

var demo = Broadcast{
	Name: "local/demo", Namespace: "stream/local/demo", Live: true,
	Since: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC),
	Tracks: []Track{
		{Name: "video", Role: "video", Codec: "avc1.64001f", Width: 1280, Height: 720, Framerate: 30, Bitrate: 2500000},
		{Name: "audio", Role: "audio", Codec: "mp4a.40.2", SampleRate: 48000},
	},
}

func (twoBroadcasts) Broadcasts() []Broadcast {
	return []Broadcast{demo, {Name: "acme/cam", Namespace: "stream/acme/cam"}}
}

type someFigures struct{}

func (someFigures) Overview(string, time.Duration) Overview { return Overview{Viewers: 7} }
func (someFigures) Viewers(_, _ string, _ time.Duration) []ViewerPoint {
	return []ViewerPoint{{Viewers: 3}}
}

func (someFigures) Latency(_, _, measure string, _ time.Duration) Histogram {
	return Histogram{BoundsMs: []float64{1, 2}, Counts: []uint64{1, 2, uint64(len(measure))}}
}
func (someFigures) Relay() RelayHealth { return RelayHealth{Sessions: 2} }

// An answer is what came back.
type answer struct {
	*http.Response
	text string
}

// call sends a request. body is text, or what is encoded as JSON; header is a
// list of names and values. Without an Authorization or an X-API-Key among them
// the admin key goes along; an empty name sends none.
func (ts *tester) call(method, target string, body any, header ...string) answer {
	ts.Helper()
	var text string
	switch b := body.(type) {
	case nil:
	case string:
		text = b
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			ts.Fatal(err)
		}
		text = string(encoded)
	}
	if strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "/api/") && !strings.HasPrefix(target, "/.") {
		target = Base + target
	}
	r := httptest.NewRequest(method, target, strings.NewReader(text))
	r.Host, r.RemoteAddr = "media.example:8080", "192.0.2.1:1234"
	if text != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+controltest.AdminKey)
	for i := 0; i < len(header); i += 2 {
		switch header[i] {
		case "", "X-API-Key":
			r.Header.Del("Authorization")
		case "Remote":
			r.RemoteAddr = header[i+1]
			continue
		}
		if header[i] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	ts.ServeHTTP(w, r)
	res := w.Result()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		ts.Fatal(err)
	}
	return answer{res, string(got)}
}

// want fails the test unless the answer has a status, and decodes it into out.
func (ts *tester) want(status int, a answer, out any) answer {
	ts.Helper()
	if a.StatusCode != status {
		ts.Fatalf("got %s %s, want %d", a.Status, a.text, status)
	}
	if out != nil {
		reflect.ValueOf(out).Elem().SetZero() // what the answer leaves out
		if err := json.Unmarshal([]byte(a.text), out); err != nil {
			ts.Fatalf("%v in %s", err, a.text)
		}
	}
	return a
}

// refused fails the test unless the answer is a problem with a status whose
// field or detail holds about.
func (ts *tester) refused(status int, a answer, about string) {
	ts.Helper()
	var p Problem
	ts.want(status, a, &p)
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		ts.Errorf("Content-Type is %q, want application/problem+json", got)
	}
	if p.Status != status || p.Title == "" || p.Detail == "" || !strings.HasPrefix(p.Type, "/docs#") {
		ts.Errorf("problem is %+v, want its status, title, detail and type", p)
	}
	if !strings.Contains(p.Field+" "+p.Detail, about) {
		ts.Errorf("problem is about %q: %s, want %q", p.Field, p.Detail, about)
	}
}

// key makes an API key.
func (ts *tester) key(orgs []string, scopes ...control.Scope) string {
	ts.Helper()
	for _, org := range orgs {
		if org == control.AnyOrg {
			continue
		}
		if err := ts.control.EnsureOrg(ts.Context(), controltest.Admin, org); err != nil {
			ts.Fatal(err)
		}
	}
	_, key, err := ts.control.CreateAPIKey(ts.Context(), control.NewAPIKey{Name: "of a test", Orgs: orgs, Scopes: scopes})
	if err != nil {
		ts.Fatal(err)
	}
	return key
}

func (ts *tester) input(org, name string) (control.LiveInput, string) {
	ts.Helper()
	if err := ts.control.EnsureOrg(ts.Context(), controltest.Admin, org); err != nil {
		ts.Fatal(err)
	}
	in, key, err := ts.control.CreateInput(ts.Context(), control.NewInput{Org: org, Name: name})
	if err != nil {
		ts.Fatal(err)
	}
	return in, key
}

func TestNewWantsControl(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("New without Control succeeded")
	}
}

// What a client can rely on. A difference is a change of the API.
func TestDescription(t *testing.T) {
	ts := newTester(t)
	a := ts.call("GET", "http://x/openapi.json", nil, "", "")
	golden.Check(t, "openapi.json", []byte(ts.want(200, a, nil).text))
	yaml := ts.want(200, ts.call("GET", "http://x/openapi.yaml", nil, "", ""), nil)
	if !strings.Contains(yaml.text, "\n  /api/v1/live-inputs:\n") {
		t.Errorf("openapi.yaml lacks a path: %.300s", yaml.text)
	}
	if a := ts.call("GET", "http://x/openapi.json", nil, "If-None-Match", a.Header.Get("ETag")); a.StatusCode != 304 || a.text != "" {
		t.Errorf("openapi.json with its ETag: %s %.80s, want 304", a.Status, a.text)
	}
}

// No route exists without saying who may use it, and each is what it says.
func TestEveryRouteHasAPolicy(t *testing.T) {
	ts := newTester(t)
	scopes := map[string][]control.Scope{} // those that do not cover it
	for _, s := range []control.Scope{control.StreamsWrite, control.SessionsWrite, control.KeysWrite, control.MetricsRead} {
		area, _, _ := strings.Cut(string(s), ":")
		for _, other := range []string{"streams", "sessions", "keys", "metrics"} {
			if other != area {
				scopes[other] = append(scopes[other], s)
			}
		}
	}
	described := map[string]string{}
	for path, item := range ts.openapi().Paths {
		for method, op := range operations(item) {
			described[method+" "+path], _ = op.Extensions["x-access"].(string)
		}
	}
	public := map[string]bool{
		"GET /api/v1/version": true, "GET /api/v1/playback/{id}": true, "GET /.well-known/jwks.json": true,
		"GET /openapi.json": true, "GET /openapi.yaml": true, "GET /docs": true, "GET /docs/docs.js": true, "GET /docs/docs.css": true,
	}
	if len(ts.Routes()) < 30 {
		t.Errorf("there are %d routes, which cannot be all", len(ts.Routes()))
	}
	for _, r := range ts.Routes() {
		name := r.Method + " " + r.Path
		if got, ok := described[name]; ok && got != r.Access {
			t.Errorf("%s is described as %q, and is %q", name, got, r.Access)
		}
		target := "http://x" + strings.ReplaceAll(r.Path, "{id}", "nothing")
		// The loopback rule opens none of them: the list of broadcasts alone asks for it.
		anybody := ts.call(r.Method, target, nil, "", "", "Remote", "127.0.0.1:1").StatusCode
		switch area, _, scoped := strings.Cut(r.Access, ":"); {
		case r.Access == "public":
			if !public[name] {
				t.Errorf("%s is public, and not in the list of those that are meant to be", name)
			}
			if anybody == 401 || anybody == 403 {
				t.Errorf("%s is public, and answers %d", name, anybody)
			}
		case name == "GET /api/v1/broadcasts":
			if elsewhere := ts.call(r.Method, target, nil, "", "").StatusCode; anybody != 200 || elsewhere != 403 {
				t.Errorf("%s without a key: %d from here and %d from elsewhere, want 200 and 403", name, anybody, elsewhere)
			}
		case r.Access == "admin" || scoped:
			if anybody != 401 {
				t.Errorf("%s without a key = %d, want 401", name, anybody)
			}
			without := scopes[area]
			if !scoped {
				without = []control.Scope{"*"}
			}
			if a := ts.call(r.Method, target, nil, "X-API-Key", ts.key([]string{"local"}, without...)); a.StatusCode != 403 {
				t.Errorf("%s with a key that lacks %s = %d, want 403", name, r.Access, a.StatusCode)
			}
		default:
			t.Errorf("%s has the policy %q", name, r.Access)
		}
	}
}

// A route that forgets to say who may use it fails the start.
func TestRouteWithoutAPolicyIsRefused(t *testing.T) {
	ts := newTester(t)
	register(ts.Handler, access{}, operation{id: "forgotten", method: "GET", path: "/forgotten"}, ts.listOrgs)
	huma.Get(ts.huma, "/past-register", func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
	if err := errors.Join(ts.faults...); err == nil || strings.Count(err.Error(), "does not say who may use it") != 2 {
		t.Errorf("faults are %v, want two", err)
	}
	if a := ts.call("GET", "/forgotten", nil); a.StatusCode != 404 {
		t.Errorf("GET of it = %s, want 404", a.Status)
	}
}

func operations(p *huma.PathItem) map[string]*huma.Operation {
	all := map[string]*huma.Operation{"GET": p.Get, "POST": p.Post, "PATCH": p.Patch, "DELETE": p.Delete, "PUT": p.Put}
	for method, op := range all {
		if op == nil {
			delete(all, method)
		}
	}
	return all
}

func TestCredentials(t *testing.T) {
	ts := newTester(t)
	key := ts.key([]string{"local"}, "streams:*")
	gone, goneKey, err := ts.control.CreateAPIKey(t.Context(), control.NewAPIKey{Name: "gone", Orgs: []string{"local"}, Scopes: []control.Scope{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ts.control.RevokeAPIKey(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		header []string
		want   int
	}{
		{"bearer", []string{"Authorization", "Bearer " + key}, 200},
		{"any case, more spaces", []string{"Authorization", "bearer   " + key}, 200},
		{"X-API-Key", []string{"X-API-Key", key}, 200},
		{"both", []string{"X-API-Key", key, "Authorization", "Bearer " + key}, 200},
		{"two different ones", []string{"X-API-Key", key, "Authorization", "Bearer " + controltest.AdminKey}, 401},
		{"none", []string{"", ""}, 401},
		{"basic", []string{"Authorization", "Basic " + key}, 401},
		{"no key", []string{"Authorization", "Bearer "}, 401},
		{"another secret", []string{"X-API-Key", key[:len(key)-1]}, 401},
		{"revoked", []string{"X-API-Key", goneKey}, 401},
		{"endless", []string{"X-API-Key", strings.Repeat("x", 10_000)}, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := ts.call("GET", "/live-inputs", nil, tt.header...)
			if a.StatusCode != tt.want {
				t.Errorf("got %s %s, want %d", a.Status, a.text, tt.want)
			}
			if challenge := a.Header.Get("WWW-Authenticate"); (challenge != "") != (tt.want == 401) {
				t.Errorf("WWW-Authenticate is %q", challenge)
			}
			if strings.Contains(a.text, key) {
				t.Errorf("the answer holds the key: %s", a.text)
			}
		})
	}
}

func TestNotFoundAndMethods(t *testing.T) {
	ts := newTester(t)
	ts.refused(404, ts.call("GET", "/nothing", nil), "/docs")
	ts.refused(404, ts.call("GET", "/live-inputs/lv_x/more", nil, "", ""), "/docs")
	a := ts.call("PUT", "/live-inputs", nil)
	ts.refused(405, a, "PUT")
	if got := a.Header.Get("Allow"); got != "GET, HEAD, POST" {
		t.Errorf("Allow is %q", got)
	}
	if a := ts.call("HEAD", "/live-inputs", nil); a.StatusCode != 200 || a.Header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %s, Content-Length %q", a.Status, a.Header.Get("Content-Length"))
	}
}

func TestCORS(t *testing.T) {
	ts := newTester(t)
	const elsewhere = "https://evil.example"
	for _, tt := range []struct {
		name, target string
		header       []string
		want         string
	}{
		{"who has a key may read", "/live-inputs", []string{"Origin", elsewhere}, "*"},
		{"also a refusal", "/live-inputs/lv_x", []string{"Origin", elsewhere}, "*"},
		{"public", "/version", []string{"", "", "Origin", elsewhere}, "*"},
		{"a list that loopback opened, to another site's page", "/broadcasts", []string{"", "", "Remote", "127.0.0.1:1", "Origin", elsewhere}, ""},
		{"to our own", "/broadcasts", []string{"", "", "Remote", "127.0.0.1:1", "Origin", "https://media.example"}, "https://media.example"},
		{"that a token opened", "/broadcasts?tok=of-demo", []string{"", "", "Origin", elsewhere}, "*"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := ts.call("GET", tt.target, nil, tt.header...)
			if got := a.Header.Get("Access-Control-Allow-Origin"); got != tt.want {
				t.Errorf("Access-Control-Allow-Origin is %q, want %q", got, tt.want)
			}
			if a.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("credentials are allowed, and there are none")
			}
		})
	}
	a := ts.call("OPTIONS", "/live-inputs/lv_x", nil, "", "", "Origin", elsewhere, "Access-Control-Request-Method", "PATCH")
	if got := fmt.Sprint(a.StatusCode, a.Header.Get("Access-Control-Allow-Methods")); got != "204GET, PATCH, DELETE" {
		t.Errorf("preflight = %s", got)
	}
}

func TestLater(t *testing.T) {
	ts := newTester(t)
	for _, target := range []string{"/create-pipeline", "/get?eventID=x", "/api/keys/verify", "/api/live/session/x/signed-manifest"} {
		var body struct{ Message, Error, Detail string }
		ts.want(501, ts.call("POST", "http://x"+target, "a=b", "", ""), &body)
		if body.Message == "" || body.Message != body.Error || body.Message != body.Detail {
			t.Errorf("%s: %+v, want a sentence, three times", target, body)
		}
	}
	mux := http.NewServeMux()
	for _, path := range ts.Paths() { // none of them in the way of another
		mux.Handle(path, ts)
	}
	if _, pattern := mux.Handler(&http.Request{Method: "GET", URL: &url.URL{Path: "/iptv"}}); pattern != "/iptv" {
		t.Errorf("/iptv is not among the paths")
	}
}

func TestAPanicIsA500(t *testing.T) {
	ts := newTester(t, func(c *Config) { c.Publish = func(*http.Request, string) map[string]string { panic("secret") } })
	in, _ := ts.input("local", "cam")
	a := ts.call("GET", "/live-inputs/"+in.ID, nil)
	ts.refused(500, a, "log")
	if strings.Contains(a.text, "secret") {
		t.Errorf("the answer says why: %s", a.text)
	}
}
