package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A script is a server that answers one request after the other.
type script struct {
	answers []answer
	got     []*http.Request
	bodies  []string
	at      []time.Duration
	began   time.Time
}

type answer struct {
	status int // 0: the network fails
	header map[string]string
	body   string
}

var errCut = errors.New("connection reset")

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.got = append(s.got, r)
	s.at = append(s.at, time.Since(s.began))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.bodies = append(s.bodies, string(body))
	if len(s.answers) == 0 {
		return nil, errors.New("the script is over")
	}
	a := s.answers[0]
	s.answers = s.answers[1:]
	if a.status == 0 {
		return nil, errCut
	}
	res := &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}
	for k, v := range a.header {
		res.Header.Set(k, v)
	}
	return res, nil
}

func scripted(t *testing.T, answers ...answer) (*Client, *script) {
	t.Helper()
	s := &script{answers: answers, began: time.Now()}
	c, err := New(Config{URL: "https://live.example", Key: "tqs_live_1", HTTPClient: &http.Client{Transport: s}})
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

func ok(body string) answer { return answer{status: 200, body: body} }

func TestRetries(t *testing.T) {
	get := func(ctx context.Context, c *Client) error { _, err := c.LiveInputs.Get(ctx, "lv_1"); return err }
	create := func(ctx context.Context, c *Client) error {
		_, err := c.LiveInputs.Create(ctx, NewLiveInput{Name: "Studio"})
		return err
	}
	update := func(ctx context.Context, c *Client) error {
		_, err := c.LiveInputs.Update(ctx, "lv_1", `"7"`, LiveInputPatch{})
		return err
	}
	remove := func(ctx context.Context, c *Client) error { return c.LiveInputs.Delete(ctx, "lv_1") }
	lost, broken, busy, wait := answer{}, answer{status: 502}, answer{status: 503}, answer{status: 429, header: map[string]string{"Retry-After": "3"}}
	for _, tt := range []struct {
		name    string
		call    func(context.Context, *Client) error
		answers []answer
		want    error
		tries   int
		least   time.Duration
	}{
		{"at once", get, []answer{ok("{}")}, nil, 1, 0},
		{"lost twice", get, []answer{lost, lost, ok("{}")}, nil, 3, 300 * time.Millisecond},
		{"lost for good", get, []answer{lost, lost, lost, lost, lost, lost}, ErrUnreachable, 5, 1500 * time.Millisecond},
		{"the server fails", get, []answer{broken, ok("{}")}, nil, 2, 100 * time.Millisecond},
		{"a create too", create, []answer{lost, broken, ok("{}")}, nil, 3, 300 * time.Millisecond},
		{"Retry-After", get, []answer{wait, ok("{}")}, nil, 2, 3 * time.Second},
		{"Retry-After on a create", create, []answer{wait, wait, ok("{}")}, nil, 3, 6 * time.Second},
		{"a Retry-After that is too long", get, []answer{{status: 429, header: map[string]string{"Retry-After": "3600"}}}, ErrRateLimited, 1, 0},
		{"not against a refusal", get, []answer{{status: 404}}, ErrNotFound, 1, 0},
		{"not against a conflict", create, []answer{{status: 409}}, ErrConflict, 1, 0},
		{"a conditional update that was lost", update, []answer{lost}, ErrUnreachable, 1, 0},
		{"a conditional update that was not begun", update, []answer{busy, ok("{}")}, nil, 2, 100 * time.Millisecond},
		{"changed meanwhile", update, []answer{{status: 412}}, ErrChanged, 1, 0},
		{"a deletion whose answer was lost", remove, []answer{lost, {status: 404}}, nil, 2, 0},
		{"a deletion of nothing", remove, []answer{{status: 404}}, ErrNotFound, 1, 0},
		{"no JSON", get, []answer{ok("<html>")}, ErrResponse, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := scripted(t, tt.answers...)
				err := tt.call(t.Context(), c)
				if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if took := time.Since(s.began); len(s.got) != tt.tries || took < tt.least || took > 2*tt.least+3*time.Second {
					t.Errorf("%d requests in %v, want %d in %v or a little more", len(s.got), took, tt.tries, tt.least)
				}
				for _, r := range s.got {
					if r.Header.Get("Idempotency-Key") != s.got[0].Header.Get("Idempotency-Key") || (r.Header.Get("Idempotency-Key") != "") != (r.Method == "POST") {
						t.Errorf("%s with Idempotency-Key %q", r.Method, r.Header.Get("Idempotency-Key"))
					}
					if r.Header.Get("Authorization") != "Bearer tqs_live_1" {
						t.Errorf("Authorization %q", r.Header.Get("Authorization"))
					}
				}
			})
		})
	}
}

func TestNoRetries(t *testing.T) {
	s := &script{answers: []answer{{}, {}}}
	c, err := New(Config{URL: "http://h", HTTPClient: &http.Client{Transport: s}, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Version(t.Context()); !errors.Is(err, ErrUnreachable) || !errors.Is(err, errCut) || len(s.got) != 1 {
		t.Errorf("%v after %d requests", err, len(s.got))
	}
}

// A context ends a call and its pauses, and is what the error says.
func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := scripted(t, answer{status: 429, header: map[string]string{"Retry-After": "20"}})
		gone := errors.New("nobody waits")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, gone)
		defer cancel()
		if _, err := c.LiveInputs.Get(ctx, "lv_1"); !errors.Is(err, gone) || !errors.Is(err, ErrRateLimited) || time.Since(s.began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(s.began))
		}
	})
}

type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{URL: "http://h", HTTPClient: &http.Client{Transport: silent{}}, Timeout: time.Second, Retries: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Version(t.Context()); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "no answer within 1s") {
			t.Errorf("%v", err)
		}
	})
}

func TestErrors(t *testing.T) {
	problem := map[string]string{"Content-Type": "application/problem+json"}
	for _, tt := range []struct {
		name string
		a    answer
		is   error
		want string
	}{
		{
			"a problem",
			answer{404, problem, `{"title":"Not Found","status":404,"detail":"there is no live input lv_1"}`},
			ErrNotFound,
			"GET /api/v1/live-inputs/lv_1: 404: there is no live input lv_1",
		},
		{
			"fields",
			answer{422, problem, `{"title":"Unprocessable Entity","detail":"validation failed","errors":[{"message":"too long","location":"body.name"}]}`},
			ErrInvalid,
			"GET /api/v1/live-inputs/lv_1: 422: validation failed; body.name: too long",
		},
		{
			"a page",
			answer{403, map[string]string{"Content-Type": "text/html"}, "<h1>proxy</h1>"},
			ErrForbidden,
			"GET /api/v1/live-inputs/lv_1: 403: Forbidden",
		},
		{"a broken problem", answer{401, problem, "{"}, ErrUnauthorized, "GET /api/v1/live-inputs/lv_1: 401: Unauthorized"},
		{"gone", answer{410, nil, ""}, ErrNotFound, "GET /api/v1/live-inputs/lv_1: 410: Gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := scripted(t, tt.a)
			_, err := c.LiveInputs.Get(t.Context(), "lv_1")
			if !errors.Is(err, tt.is) || text(err) != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if e, ok := errors.AsType[*Error](err); !ok || e.Status != tt.a.status {
				t.Errorf("no *Error: %#v", err)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		text string
		want time.Duration
	}{
		{"", 0},
		{"5", 5 * time.Second},
		{"-5", 0},
		{"soon", 0},
		{"99999999999999999999", 0},
		{"Sat, 21 Nov 2026 12:00:30 GMT", 30 * time.Second},
		{"Sat, 21 Nov 2026 11:00:00 GMT", 0},
	} {
		if got := retryAfter(http.Header{"Retry-After": {tt.text}}, now); got != tt.want {
			t.Errorf("retryAfter(%q) = %v, want %v", tt.text, got, tt.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	for attempt, want := range map[int]time.Duration{0: backoffFirst, 1: 2 * backoffFirst, 4: 16 * backoffFirst, 5: backoffMost, 1000: backoffMost} {
		var differ bool
		first := backoff(attempt)
		for range 100 {
			d := backoff(attempt)
			if d < want/2 || d >= want {
				t.Errorf("backoff(%d) = %v, want %v to %v", attempt, d, want/2, want)
			}
			differ = differ || d != first
		}
		if !differ {
			t.Errorf("backoff(%d) has no jitter", attempt)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"plain", Config{URL: "http://h:8080"}, ""},
		{"below a path", Config{URL: "https://h/broadcast/"}, ""},
		{"nothing", Config{}, "http://host:port"},
		{"another scheme", Config{URL: "moqt://h"}, "http://host:port"},
		{"a user", Config{URL: "http://admin:secret@h"}, "has a user"},
		{"a line break in the key", Config{URL: "http://h", Key: "secret\n"}, "Key has characters"},
		{"a negative timeout", Config{URL: "http://h", Timeout: -1}, "Timeout"},
	} {
		_, err := New(tt.c)
		if got := text(err); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || strings.Contains(got, "secret") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestPaths(t *testing.T) {
	s := &script{answers: []answer{ok("{}"), ok("{}")}}
	c, err := New(Config{URL: "https://h/below/", HTTPClient: &http.Client{Transport: s}, Org: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.LiveInputs.Get(t.Context(), "../x y"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sessions.List(t.Context(), SessionFilter{Input: "lv_1"}, Page{Limit: 2, Cursor: "a&b"}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"https://h/below/api/v1/live-inputs/..%2Fx%20y",
		"https://h/below/api/v1/sessions?cursor=a%26b&input=lv_1&limit=2&org=acme",
	} {
		if got := s.got[i].URL.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestAll(t *testing.T) {
	c, s := scripted(t, ok(`{"items":[{"id":"a"},{"id":"b"}],"next":"n1"}`), ok(`{"items":[{"id":"c"}],"next":"n2"}`), answer{status: 403})
	var got []string
	var last error
	for in, err := range All(t.Context(), c.LiveInputs.List, Page{Limit: 2}) {
		got, last = append(got, in.ID), err
	}
	if fmt.Sprint(got) != "[a b c ]" || !errors.Is(last, ErrForbidden) || s.got[1].URL.RawQuery != "cursor=n1&limit=2" {
		t.Errorf("%q, %v, %s", got, last, s.got[1].URL.RawQuery)
	}
}

func TestFromStateDir(t *testing.T) {
	dir := t.TempDir()
	if _, err := FromStateDir(dir, Config{}); !errors.Is(err, ErrNoServer) {
		t.Errorf("an empty directory: %v", err)
	}
	for name, data := range map[string]string{"server.json": `{"url":"http://127.0.0.1:8080","pid":1}`, "admin.key": "secret\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := FromStateDir(dir, Config{}); err != nil || got.URL != "http://127.0.0.1:8080" || got.Key != "secret" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := FromStateDir(dir, Config{Key: "mine"}); err != nil || got.Key != "mine" {
		t.Errorf("%+v, %v", got, err)
	}
}

// A certificate counts by its hash alone, and another one does not.
func TestPinned(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"version":"1"}`)
	}))
	defer s.Close()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	pin := sha256.Sum256(s.Certificate().Raw)
	for _, tt := range []struct {
		name string
		c    Config
		ok   bool
	}{
		{"unknown", Config{}, false},
		{"pinned", Config{CertSHA256: [][]byte{make([]byte, 32), pin[:]}}, true},
		{"another", Config{CertSHA256: [][]byte{make([]byte, 32)}}, false},
		{"insecure", Config{Insecure: true}, true},
	} {
		tt.c.URL = s.URL
		c, err := New(tt.c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Version(t.Context()); (err == nil) != tt.ok || err != nil && (!errors.Is(err, ErrUntrusted) || !errors.Is(err, ErrUnreachable)) {
			t.Errorf("%s: %v, want ok %t", tt.name, err, tt.ok)
		}
		if t, ok := c.cfg.HTTPClient.Transport.(*http.Transport); ok {
			t.CloseIdleConnections()
		}
	}
}
