package trpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/compat/trpc"
	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/golden"
	"github.com/broadcastd/broadcastd/internal/live"
)

// now is the time of the golden files. A server's clock is ahead of it by as many
// seconds as there were mutations, so that lists have an order.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// figures are always the same.
type figures struct{}

func (figures) Series(f live.Filter, p live.Period) []live.Point {
	return []live.Point{{Time: now.Add(-p.Duration()), Viewers: 2.5}, {Time: now, Viewers: float64(len(f.Input))}}
}

func (figures) KPIs(f live.Filter, _ live.Period) live.KPIs {
	return live.KPIs{
		LiveSessions: 1, Viewers: 3, PeakViewers: 7, Bitrate: 2_500_000, Watched: 90 * time.Second, Quality: 98,
		IngestToPublish: live.Quantiles{P50: 2 * time.Millisecond, P95: 5 * time.Millisecond, P99: 9 * time.Millisecond, Count: uint64(len(f.Org))},
	}
}

func (figures) Histogram(_ live.Filter, m live.Measure, _ live.Period) live.Histogram {
	if m != live.GlassToPublish {
		panic("asked for " + m)
	}
	return live.Histogram{
		Bounds: []time.Duration{100 * time.Millisecond, 200 * time.Millisecond}, Counts: []uint64{1, 2, 1},
		Sum: 700 * time.Millisecond, Count: 4,
	}
}

func (figures) Relay() live.RelayHealth { return live.RelayHealth{Sessions: 4, Subscriptions: 9} }

// A server is a handler with what is behind it.
type server struct {
	*trpc.Handler
	control *control.Service
	key     string
	ahead   *atomic.Int64 // seconds
}

func (s server) now() time.Time { return now.Add(time.Duration(s.ahead.Load()) * time.Second) }

func newServer(tb testing.TB) server {
	tb.Helper()
	s := server{key: controltest.AdminKey, ahead: new(atomic.Int64)}
	s.control = controltest.Open(tb, control.Config{Now: s.now})
	var err error
	s.Handler, err = trpc.New(trpc.Config{
		Control: s.control, Analytics: figures{}, Now: s.now,
		Relay: func(r *http.Request) string { return "moq://" + r.Host },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// send sends a request and returns its status and body.
func (s server) send(method, target, body string, header ...string) (int, string) {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if s.key != "" {
		r.Header.Set("Authorization", "Bearer "+s.key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// query and mutate call one procedure.
func (s server) query(procedure, input string) (int, string) {
	return s.send("GET", trpc.Prefix+procedure+"?input="+url.QueryEscape(input), "")
}

func (s server) mutate(procedure, input string) (int, string) {
	return s.send("POST", trpc.Prefix+procedure, input)
}

// field returns a field of the row that a call has answered with.
func field(tb testing.TB, body, name string) string {
	tb.Helper()
	var e struct {
		Result struct{ Data map[string]any }
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		tb.Fatalf("%v in %s", err, body)
	}
	text, _ := e.Result.Data[name].(string)
	return text
}

// random is what differs from one run to the next: ids, secrets, keys, tokens.
var random = regexp.MustCompile(`\b((?:li|lv|ak|sk_live|tqs_live)_)[A-Za-z0-9_]{6,}|(BEGIN PUBLIC KEY-----\\n)[^-]+|(tok=|"token":")[\w.-]+|("kid":"|"id":")[\w-]{8,}`)

// TestEnvelopes compares what each procedure answers with the golden file.
func TestEnvelopes(t *testing.T) {
	s := newServer(t)
	var out bytes.Buffer
	show := func(procedure, input string, mutation bool) string {
		call, verb := s.query, "query"
		if mutation {
			s.ahead.Add(1)
			call, verb = s.mutate, "mutation"
		}
		status, body := call(procedure, input)
		fmt.Fprintf(&out, "%s %s %s\n%d %s\n", verb, procedure, input, status, body)
		return body
	}
	made := show("streams.liveInputs.create", `{"orgId":"org_abc","name":"Main <stage>"}`, true)
	id := field(t, made, "id")
	named := fmt.Sprintf(`{"orgId":"org_abc","id":%q}`, id)
	org := `{"orgId":"org_abc"}`
	show("streams.liveInputs.create", `{"orgId":"org_abc","name":"OBS","ingest":"rtmp"}`, true)
	show("streams.liveInputs.get", named, false)
	show("streams.liveInputs.get", fmt.Sprintf(`{"orgId":"org_abc","id":%q}`, field(t, made, "external_input_id")), false)
	show("streams.liveInputs.list", org, false)
	show("streams.liveInputs.list", `{"orgId":"org_abc","page":2,"perPage":1}`, false)
	show("streams.liveInputs.list", `{"orgId":"org_abc","page":3,"perPage":1}`, false)
	show("streams.liveInputs.rotateStreamKey", named, true)
	show("streams.liveInputs.mintPlaybackToken", named, true)
	key := show("streams.signingKeys.create", `{"orgId":"org_abc","alg":"RS256","use":"playback"}`, true)
	show("streams.signingKeys.list", org, false)
	show("streams.signingKeys.deactivate", fmt.Sprintf(`{"orgId":"org_abc","id":%q}`, field(t, key, "id")), true)
	api := show("streams.apiKeys.create", `{"orgId":"org_abc","name":"ci","scopes":["streams:*"],"expiresAt":"2027-01-01T00:00:00Z"}`, true)
	ofKey := fmt.Sprintf(`{"orgId":"org_abc","id":%q}`, field(t, api, "id"))
	show("streams.apiKeys.get", ofKey, false)
	show("streams.apiKeys.list", org, false)
	show("streams.apiKeys.revoke", ofKey, true)
	show("streams.assets.list", org, false)
	show("streams.assets.get", `{"orgId":"org_abc","id":"pb_1"}`, false)
	show("streams.analytics.overview", org, false)
	show("streams.analytics.viewers", `{"orgId":"org_abc","period":"1min"}`, false)
	show("streams.analytics.latency", named, false)
	show("streams.analytics.relay", org, false)

	show("streams.liveInputs.get", `{"orgId":"org_abc","id":"li_none"}`, false)
	show("streams.liveInputs.get", fmt.Sprintf(`{"orgId":"local","id":%q}`, id), false)
	show("streams.liveInputs.create", `{"orgId":"org_abc","name":"x","ingest":"pigeon"}`, true)
	show("streams.liveInputs.create", `{"orgId":"org_abc"}`, true)
	show("streams.liveInputs.create", `{"orgId":"no spaces","name":"x"}`, true)
	show("streams.liveInputs.create", `{"orgId":7}`, true)
	show("streams.liveInputs.create", `{"orgId":`, true)
	show("streams.liveInputs.create", `[]`, true)
	show("streams.liveInputs.create", ``, true)
	show("streams.liveInputs.create", `{"orgId":"org_abc","name":"x"}`, false)
	show("streams.nothing", org, false)
	s.key = "tqs_live_x_y"
	show("streams.liveInputs.list", org, false)
	s.key = ""
	show("streams.liveInputs.list", org, false)
	golden.Check(t, "envelopes.txt", random.ReplaceAll(out.Bytes(), []byte("${1}${2}${3}${4}…")))
}

// TestBatch: the calls of a batch are answered in their order, each on its own.
func TestBatch(t *testing.T) {
	s := newServer(t)
	for _, tt := range []struct {
		name, method, target, body string
		status                     int
		codes                      []string // of each call, "" for a result
	}{
		{"queries", "GET", "streams.liveInputs.list,streams.signingKeys.list?batch=1&input={\"0\":{\"orgId\":\"local\"},\"1\":{\"orgId\":\"local\"}}", "", 200, []string{"", ""}},
		{"one query", "GET", "streams.liveInputs.list?batch=1&input={\"0\":{\"orgId\":\"local\"}}", "", 200, []string{""}},
		{"mutations", "POST", "streams.liveInputs.create,streams.liveInputs.create?batch=1", `{"0":{"orgId":"local","name":"a"},"1":{"orgId":"local","name":"b"}}`, 200, []string{"", ""}},
		{"one of two fails", "POST", "streams.liveInputs.create,streams.nothing?batch=1", `{"0":{"orgId":"local","name":"a"}}`, 207, []string{"", "NOT_FOUND"}},
		{"all fail alike", "POST", "streams.a,streams.b?batch=1", ``, 404, []string{"NOT_FOUND", "NOT_FOUND"}},
		{"no object", "POST", "streams.liveInputs.create,streams.nothing?batch=1", `[1,2]`, 400, []string{"BAD_REQUEST", "BAD_REQUEST"}},
		{"no JSON", "POST", "streams.liveInputs.create?batch=1", `{`, 400, []string{"PARSE_ERROR"}},
		{"too many", "GET", strings.Repeat("a,", 100) + "a?batch=1", "", 413, []string{"PAYLOAD_TOO_LARGE"}},
		{"commas without batch", "GET", "streams.liveInputs.list,streams.signingKeys.list", "", 404, []string{"NOT_FOUND"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, query, _ := strings.Cut(tt.target, "?")
			status, body := s.send(tt.method, trpc.Prefix+path+"?"+strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22").Replace(query), tt.body)
			var list []struct {
				Error *struct{ Data struct{ Code string } }
			}
			if !strings.HasPrefix(body, "[") {
				body = "[" + body + "]"
			} else if tt.name == "commas without batch" {
				t.Errorf("an array: %s", body)
			}
			if err := json.Unmarshal([]byte(body), &list); err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			var codes []string
			for _, e := range list {
				if e.Error == nil {
					codes = append(codes, "")
					continue
				}
				codes = append(codes, e.Error.Data.Code)
			}
			if status != tt.status || !slices.Equal(codes, tt.codes) {
				t.Errorf("status %d, codes %q, want %d and %q", status, codes, tt.status, tt.codes)
			}
		})
	}
}

// TestBounds: what is too large, or comes by another method, is refused with an
// envelope.
func TestBounds(t *testing.T) {
	s := newServer(t)
	for _, tt := range []struct {
		name, method, target, body string
		status                     int
	}{
		{"body", "POST", "streams.liveInputs.create", `{"orgId":"local","name":"` + strings.Repeat("x", 256<<10) + `"}`, 413},
		{"name", "POST", "streams.liveInputs.create", `{"orgId":"local","name":"` + strings.Repeat("x", 1000) + `"}`, 400},
		{"query", "GET", "streams.liveInputs.list?input=" + strings.Repeat("x", 17<<10), "", 413},
		{"perPage", "GET", "streams.liveInputs.list?input=" + url.QueryEscape(`{"orgId":"local","perPage":501}`), "", 400},
		{"page", "GET", "streams.liveInputs.list?input=" + url.QueryEscape(`{"orgId":"local","page":1e300}`), "", 400},
		{"half a page", "GET", "streams.liveInputs.list?input=" + url.QueryEscape(`{"orgId":"local","page":1.5}`), "", 400},
		{"long procedure", "GET", strings.Repeat("x", 5000), "", 404},
		{"method", "PUT", "streams.liveInputs.create", "{}", 405},
		{"query that is none", "GET", "streams.liveInputs.list?input=%zz", "", 400},
		{"deep", "POST", "streams.liveInputs.create", strings.Repeat("[", 100_000), 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := s.send(tt.method, trpc.Prefix+tt.target, tt.body)
			if status != tt.status || !strings.HasPrefix(body, `{"error":{"message":"`) || len(body) > 1000 {
				t.Errorf("%d %.300s, want %d and a short envelope", status, body, tt.status)
			}
		})
	}
}

// TestKeyHeaders: both headers carry the key, and the wire is open to pages.
func TestKeyHeaders(t *testing.T) {
	s := newServer(t)
	s.key = ""
	target := trpc.Prefix + "streams.liveInputs.list?input=" + url.QueryEscape(`{"orgId":"local"}`)
	for _, tt := range []struct {
		header, value string
		status        int
	}{
		{"Authorization", "Bearer " + controltest.AdminKey, 200},
		{"X-API-Key", controltest.AdminKey, 200},
		{"Authorization", "Basic " + controltest.AdminKey, 401},
		{"X-API-Key", "wrong", 401},
		{"Cookie", "key=" + controltest.AdminKey, 401},
	} {
		if status, body := s.send("GET", target, "", tt.header, tt.value); status != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.header, status, body, tt.status)
		}
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("OPTIONS", target, nil))
	if h := w.Header(); w.Code != 204 || h.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "authorization") {
		t.Errorf("preflight: %d %v", w.Code, h)
	}
}

// TestOrganisations: a key acts where it is scoped to, and makes no organisation
// unless it is the administrator's.
func TestOrganisations(t *testing.T) {
	s := newServer(t)
	if status, body := s.query("streams.liveInputs.list", `{"orgId":"org_new"}`); status != 200 {
		t.Fatalf("an organisation that the administrator names: %d %s", status, body)
	}
	_, body := s.mutate("streams.apiKeys.create", `{"orgId":"org_new","name":"k","scopes":["streams:*"]}`)
	_, other := s.mutate("streams.liveInputs.create", `{"orgId":"local","name":"theirs"}`)
	s.key = field(t, body, "api_key_cleartext")
	for _, tt := range []struct {
		procedure, input string
		mutation         bool
		status           int
	}{
		{"streams.liveInputs.list", `{"orgId":"org_new"}`, false, 200},
		{"streams.signingKeys.list", `{"orgId":"org_new"}`, false, 200}, // streams:* covers the keys too
		{"streams.liveInputs.list", `{"orgId":"local"}`, false, 403},
		{"streams.liveInputs.list", `{"orgId":"org_newer"}`, false, 403},
		{"streams.liveInputs.get", `{"orgId":"org_new","id":"` + field(t, other, "id") + `"}`, false, 404},
		{"streams.liveInputs.rotateStreamKey", `{"orgId":"org_new","id":"` + field(t, other, "id") + `"}`, true, 404},
		{"streams.apiKeys.create", `{"orgId":"org_new","name":"k","scopes":["streams:read"]}`, true, 200},
		{"streams.apiKeys.create", `{"orgId":"org_new","name":"k","scopes":["sessions:read"]}`, true, 403},
	} {
		call := s.query
		if tt.mutation {
			call = s.mutate
		}
		if status, body := call(tt.procedure, tt.input); status != tt.status {
			t.Errorf("%s %s: %d %s, want %d", tt.procedure, tt.input, status, body, tt.status)
		}
	}
}

// TestTTL: the life of a token is clamped.
func TestTTL(t *testing.T) {
	s := newServer(t)
	_, made := s.mutate("streams.liveInputs.create", `{"orgId":"local","name":"a"}`)
	for _, tt := range []struct {
		asked string
		want  time.Duration
	}{
		{"", time.Hour},
		{`,"ttlSeconds":null`, time.Hour},
		{`,"ttlSeconds":0`, 30 * time.Second},
		{`,"ttlSeconds":-1e300`, 30 * time.Second},
		{`,"ttlSeconds":29`, 30 * time.Second},
		{`,"ttlSeconds":90.9`, 90 * time.Second},
		{`,"ttlSeconds":86400`, 24 * time.Hour},
		{`,"ttlSeconds":86401`, 24 * time.Hour},
		{`,"ttlSeconds":1e300`, 24 * time.Hour},
	} {
		_, body := s.mutate("streams.liveInputs.mintPlaybackToken", fmt.Sprintf(`{"orgId":"local","id":%q%s}`, field(t, made, "id"), tt.asked))
		var got struct {
			Result struct {
				Data struct {
					ExpiresAt int64 `json:"expires_at"`
				}
			}
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || got.Result.Data.ExpiresAt != s.now().Add(tt.want).Unix() {
			t.Errorf("ttlSeconds %q: %s (%v), want %v", tt.asked, body, err, tt.want)
		}
	}
}

// FuzzCall sends any request: never a status of 5xx, always an envelope.
func FuzzCall(f *testing.F) {
	s := newServer(f)
	f.Add("POST", "streams.liveInputs.create", "", `{"orgId":"local","name":"a"}`)
	f.Add("GET", "streams.liveInputs.list", `input={"orgId":"local"}`, "")
	f.Add("GET", "streams.liveInputs.list,streams.signingKeys.list", `batch=1&input={"0":{"orgId":"local"},"1":{"orgId":"x"}}`, "")
	f.Add("POST", "streams.liveInputs.mintPlaybackToken", "batch=1", `{"0":{"orgId":"local","id":"li_x","ttlSeconds":1e999}}`)
	f.Add("POST", "streams.apiKeys.create", "", `{"orgId":"local","name":"\u0000","scopes":[null],"expiresAt":"x"}`)
	for _, p := range trpc.Procedures() {
		f.Add("POST", p, "", `{"orgId":"local","id":"x","name":"x","page":0,"perPage":-1,"period":"1min"}`)
		f.Add("GET", p, `input={"orgId":"local","id":"x","page":1,"perPage":2}`, "")
	}
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		if method != "POST" {
			method = "GET"
		}
		r := httptest.NewRequest(method, "/", strings.NewReader(body))
		r.URL = &url.URL{Path: trpc.Prefix + path, RawQuery: query}
		r.Header.Set("Authorization", "Bearer "+s.key)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%s %q?%q %q: %d %s", method, path, query, body, w.Code, w.Body)
		}
		if out := w.Body.Bytes(); !json.Valid(out) || !bytes.Contains(out, []byte(`{"error":`)) && !bytes.Contains(out, []byte(`{"result":`)) {
			t.Fatalf("%d %s", w.Code, out)
		}
	})
}

// TestClientLeaves: a batch goes no further than somebody waits for it.
func TestClientLeaves(t *testing.T) {
	s := newServer(t)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	r := httptest.NewRequestWithContext(ctx, "POST", trpc.Prefix+"streams.liveInputs.create,streams.liveInputs.create?batch=1",
		strings.NewReader(`{"0":{"orgId":"local","name":"a"},"1":{"orgId":"local","name":"b"}}`))
	r.Header.Set("Authorization", "Bearer "+s.key)
	s.ServeHTTP(httptest.NewRecorder(), r)
	if l, err := s.control.Inputs(t.Context(), "local", control.Page{}); err != nil || len(l.Items) != 0 {
		t.Errorf("%d inputs, %v, want none", len(l.Items), err)
	}
}
