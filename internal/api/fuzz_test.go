package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"pgregory.net/rapid"

	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
)

// A generator makes requests from the OpenAPI description: mostly of the form
// that it describes, and wrong in one place or another.
type generator struct {
	*rand.Rand
	schemas huma.Registry
	ids     []string // of things that there are
}

// texts are what strings are made of besides what a schema asks for.
var texts = []string{
	"", "local", "x", "lv_x", "stream/local/cam", "stream/acme/cam", "192.0.2.0/24", "https://user:pw@a.example/x.m3u8", "*", "streams:*", "keys:read",
	"2027-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "%00", "\x00", "../..", "\u202e", "é", "live", "ended", "paused", "latest", "1", "-1", "1e999",
	strings.Repeat("a", 300), strings.Repeat("/", 50), "{}", "null",
}

func pick[T any](g *generator, of []T) T { return of[g.IntN(len(of))] }

func (g *generator) text() string {
	if len(g.ids) > 0 && g.IntN(4) == 0 {
		return pick(g, g.ids)
	}
	return pick(g, texts)
}

// value makes a value for a schema, or of any kind.
func (g *generator) value(s *huma.Schema, depth int) any {
	for s != nil && s.Ref != "" {
		s = g.schemas.SchemaFromRef(s.Ref)
	}
	if s == nil || g.IntN(12) == 0 {
		return g.anything(depth)
	}
	if len(s.Enum) > 0 && g.IntN(8) > 0 {
		return pick(g, s.Enum)
	}
	if len(s.Examples) > 0 && g.IntN(3) > 0 {
		return pick(g, s.Examples)
	}
	switch s.Type {
	case "object":
		out := map[string]any{}
		for name, p := range s.Properties {
			if slices.Contains(s.Required, name) && g.IntN(10) > 0 || g.IntN(3) == 0 {
				out[name] = g.value(p, depth+1)
			}
		}
		if len(s.Properties) == 0 || g.IntN(15) == 0 {
			out[g.text()] = g.anything(depth + 1)
		}
		return out
	case "array":
		out := []any{}
		for range g.IntN(4) {
			out = append(out, g.value(s.Items, depth+1))
		}
		return out
	case "integer":
		return pick(g, []any{0, 1, 30, 1000, 5_000_000, -1, int64(1) << 62, 1.5, json.Number("1e400")})
	case "number":
		return pick(g, []any{0, 1.5, -1, 1e300, json.Number("-1e999")})
	case "boolean":
		return g.IntN(2) == 0
	}
	return g.text()
}

func (g *generator) anything(depth int) any {
	kinds := 6
	if depth > 5 {
		kinds = 4
	}
	switch g.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return g.IntN(2) == 0
	case 2:
		return g.NormFloat64() * 1e9
	case 3:
		return g.text()
	case 4:
		return []any{g.anything(depth + 1), g.anything(depth + 1)}
	}
	return map[string]any{g.text(): g.anything(depth + 1), "x": g.anything(depth + 1)}
}

// request makes a request for an operation. body replaces what it would send,
// query goes behind what it asks, both if they are not empty.
func (g *generator) request(method, path string, op *huma.Operation, body []byte, query string) *http.Request {
	q := url.Values{}
	header := http.Header{"Authorization": {"Bearer " + controltest.AdminKey}}
	for _, p := range op.Parameters {
		switch v := fmt.Sprint(g.value(p.Schema, 0)); p.In {
		case "path":
			if g.IntN(3) > 0 && len(g.ids) > 0 {
				v = pick(g, g.ids)
			}
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(v+"x"[:g.IntN(2)]))
		case "query":
			if g.IntN(2) == 0 {
				q.Set(p.Name, v)
			}
		case "header":
			if g.IntN(3) == 0 {
				header.Set(p.Name, strings.Map(printable, v))
			}
		}
	}
	if op.RequestBody != nil && len(body) == 0 && g.IntN(20) > 0 {
		body, _ = json.Marshal(g.value(op.RequestBody.Content["application/json"].Schema, 0))
		if len(body) > 2 && g.IntN(30) == 0 {
			body = body[:g.IntN(len(body))]
		}
	}
	r := httptest.NewRequest(method, "http://media.example/", strings.NewReader(string(body)))
	r.URL.RawQuery = q.Encode()
	if query != "" {
		r.URL.RawQuery += "&" + query
	}
	// As the server would have parsed it.
	if u, err := url.ParseRequestURI(path); err == nil {
		r.URL.Path, r.URL.RawPath = u.Path, u.RawPath
	} else {
		r.URL.Path = path
	}
	r.Header = header
	return r
}

func printable(c rune) rune {
	if c < ' ' || c > '~' {
		return -1
	}
	return c
}

// A target is a Handler that stands random requests.
type target struct {
	*tester
	ops []struct {
		method, path string
		op           *huma.Operation
	}
}

func newTarget(t testing.TB) *target {
	plenty := Limits{Key: 1e9, KeyBurst: 1e9, Address: 1e9, AddressBurst: 1e9}
	few := control.Limits{Orgs: 20, Inputs: 20, APIKeys: 20, StreamKeys: 20, SigningKeys: 5, Sessions: 20, Events: 1000}
	ts := &target{tester: newTester(t, func(c *Config) {
		c.Limits, c.Control = plenty, controltest.Open(t, control.Config{Limits: few})
	})}
	ts.control = ts.cfg.Control
	for _, path := range slices.Sorted(maps.Keys(ts.openapi().Paths)) {
		all := operations(ts.openapi().Paths[path])
		for _, method := range slices.Sorted(maps.Keys(all)) {
			if op := all[method]; op.OperationID != "follow-events" { // which would not end
				ts.ops = append(ts.ops, struct {
					method, path string
					op           *huma.Operation
				}{method, path, op})
			}
		}
	}
	return ts
}

// ids are those of some things that there are.
func (ts *target) ids() []string {
	ids := []string{"local", "demo", "k_x"}
	page := control.Page{Limit: 5}
	if l, err := ts.control.Inputs(context.Background(), "", page); err == nil {
		for _, i := range l.Items {
			ids = append(ids, i.ID, i.External)
		}
	}
	if l, err := ts.control.Sessions(context.Background(), control.Filter{}, page); err == nil {
		for _, s := range l.Items {
			ids = append(ids, s.ID)
		}
	}
	if l, err := ts.control.SigningKeys(context.Background(), "", page); err == nil {
		for _, k := range l.Items {
			ids = append(ids, k.ID)
		}
	}
	if l, err := ts.control.StreamKeys(context.Background(), "", page); err == nil {
		for _, k := range l.Items {
			ids = append(ids, k.ID)
		}
	}
	if l, err := ts.control.APIKeys(context.Background(), "", page); err == nil {
		for _, k := range l.Items {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// try sends a request and says what is wrong with the answer.
func (ts *target) try(r *http.Request, body string) (status int, fault string) {
	w := httptest.NewRecorder()
	ts.ServeHTTP(w, r)
	kind := w.Header().Get("Content-Type")
	switch {
	case w.Code >= 500:
		fault = "the server failed"
	case w.Code == 304 || w.Code == 204 || w.Code >= 301 && w.Code <= 308:
	case !json.Valid(w.Body.Bytes()):
		fault = "the answer is no JSON"
	case w.Code >= 400 && kind != "application/problem+json", w.Code < 300 && !strings.HasPrefix(kind, "application/"):
		fault = "the answer's type is " + kind
	case w.Code >= 400:
		var p Problem
		if json.Unmarshal(w.Body.Bytes(), &p) != nil || p.Detail == "" || p.Status != w.Code {
			fault = "the problem says nothing"
		}
	}
	if fault != "" {
		fault = fmt.Sprintf("%s %s %s %q: %d %s: %s", r.Method, r.URL, r.Header, body, w.Code, w.Body, fault)
	}
	return w.Code, fault
}

// FuzzRequests sends the bytes as body and query of every operation: a fuzzer
// finds no 5xx.
func FuzzRequests(f *testing.F) {
	for i, s := range []string{
		`{"name":"x"}`, `{"name":"x","settings":{"allowFrom":["::1"],"pull":""}}`, `{"namespace":"stream/local/cam","ttlSeconds":-1}`,
		`{"status":"ended","metadata":{"a":null},"quality":{"maxBitrate":null}}`, `{"id":"\u0000"}`, `[[[`, `{"a":1,"a":2}`, `null`,
		`{"name":"x","expiresAt":"9999-12-31T23:59:59Z","orgs":[],"scopes":[null]}`, `{"ttlSeconds":9223372036854775807}`, `1e999`, "\xff",
		`{"constraints":{"video":{"frameRate":1e308}}}`, `{"alg":"RS257"}`,
	} {
		f.Add(uint64(i), []byte(s), "cursor=1.x&limit=0")
	}
	f.Add(uint64(99), []byte(""), "org=%zz&input=%00&tok=a.b.c")
	ts := newTarget(f)
	f.Fuzz(func(t *testing.T, seed uint64, body []byte, query string) {
		g := &generator{rand.New(rand.NewPCG(seed, 1)), ts.openapi().Components.Schemas, ts.ids()}
		for _, o := range ts.ops {
			if strings.Contains(string(body), "RS256") { // takes its time to make
				break
			}
			if _, fault := ts.try(g.request(o.method, o.path, o.op, body, query), string(body)); fault != "" {
				t.Error(fault)
			}
		}
	})
}

// Requests of the described form, and nearly of it, are never answered with 5xx,
// and every operation is reached.
func TestRandomRequests(t *testing.T) {
	ts := newTarget(t)
	good := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		g := &generator{rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)), ts.openapi().Components.Schemas, nil}
		for i := range 8 * len(ts.ops) {
			o := ts.ops[i%len(ts.ops)]
			if i%len(ts.ops) == 0 {
				g.ids = ts.ids()
			}
			r := g.request(o.method, o.path, o.op, nil, "")
			body, err := io.ReadAll(r.Body)
			if err != nil {
				rt.Fatal(err)
			}
			if bytes.Contains(body, []byte("RS256")) { // takes its time to make
				continue
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			status, fault := ts.try(r, string(body))
			if fault != "" {
				rt.Fatal(fault)
			}
			if status < 300 {
				good[o.op.OperationID]++
			}
		}
	})
	for _, o := range ts.ops {
		if good[o.op.OperationID] == 0 {
			t.Errorf("no request to %s was answered well: the others are not worth much", o.op.OperationID)
		}
	}
}
