package sessions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/compat/sessions"
	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/golden"
	"github.com/broadcastd/broadcastd/internal/live"
)

// start is when the clock of a server starts; each change takes a second.
var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// A meter has the states that a test gives it.
type meter struct{ states []live.State }

func (m *meter) State(id string) (live.State, bool) {
	for _, s := range m.states {
		if s.ID == id {
			return s, true
		}
	}
	return live.State{}, false
}

func (m *meter) States(live.Filter) []live.State { return append([]live.State(nil), m.states...) }

func (m *meter) Series(_ live.Filter, p live.Period) []live.Point {
	// A stream that ran for the second half of the period.
	return []live.Point{
		{},
		{
			Sessions: 1, Bitrate: 8000 * p.Duration().Minutes(), FrameRate: 30, Quality: 95, Loss: 0.01,
			RTT: 20 * time.Millisecond, Jitter: 3 * time.Millisecond,
		},
	}
}

func (m *meter) KPIs(live.Filter, live.Period) live.KPIs {
	return live.KPIs{Totals: live.Totals{
		Bytes: 123_456, Frames: 900, DroppedFrames: 2, Watched: 61 * time.Second, Errors: map[string]uint64{"lost": 1},
	}}
}

func (m *meter) Histogram(_ live.Filter, _ live.Measure, p live.Period) live.Histogram {
	h := live.Histogram{Bounds: []time.Duration{time.Millisecond, 10 * time.Millisecond}, Counts: []uint64{3, 1, 1}, Count: 5, Sum: 60 * time.Millisecond}
	if p != "" {
		h = live.Histogram{Bounds: h.Bounds, Counts: []uint64{1, 0, 0}, Count: 1, Sum: time.Millisecond}
	}
	return h
}

func (m *meter) Relay() live.RelayHealth { return live.RelayHealth{} }

// A server is a handler with what is behind it.
type server struct {
	*sessions.Handler
	tb      testing.TB
	control *control.Service
	meter   *meter
	key     string
	ahead   *atomic.Int64 // seconds
}

func (s *server) now() time.Time { return start.Add(time.Duration(s.ahead.Load()) * time.Second) }

func newServer(tb testing.TB) *server {
	tb.Helper()
	s := &server{tb: tb, key: controltest.AdminKey, meter: &meter{}, ahead: new(atomic.Int64)}
	s.control = controltest.Open(tb, control.Config{Now: s.now})
	var err error
	s.Handler, err = sessions.New(sessions.Config{Control: s.control, Meter: s.meter, Now: s.now})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// input makes a live input and returns its external id.
func (s *server) input(org string) string {
	s.tb.Helper()
	if err := s.control.EnsureOrg(context.Background(), controltest.Admin, org); err != nil {
		s.tb.Fatal(err)
	}
	in, _, err := s.control.CreateInput(context.Background(), control.NewInput{Org: org, Name: "cam"})
	if err != nil {
		s.tb.Fatal(err)
	}
	return in.External
}

// run begins a session as an encoder does.
func (s *server) run(name string, protocol auth.Ingest) control.Session {
	s.tb.Helper()
	s.ahead.Add(1)
	got, err := s.control.SessionStarted(context.Background(), name, protocol)
	if err != nil {
		s.tb.Fatal(err)
	}
	return got
}

// apiKey makes an API key and returns it in clear text.
func (s *server) apiKey(org string, scopes ...control.Scope) string {
	s.tb.Helper()
	_, key, err := s.control.CreateAPIKey(context.Background(), control.NewAPIKey{Name: "k", Orgs: []string{org}, Scopes: scopes})
	if err != nil {
		s.tb.Fatal(err)
	}
	return key
}

// send sends a request and returns status, content type and body.
func (s *server) send(method, path, body string) (status int, kind, text string) {
	s.ahead.Add(1)
	r := httptest.NewRequest(method, sessions.Prefix+path, strings.NewReader(body))
	if s.key != "" {
		r.Header.Set("X-API-Key", s.key)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Header().Get("Content-Type"), w.Body.String()
}

// object sends a request and returns the JSON object that it is answered with.
func (s *server) object(method, path, body string, want int) map[string]any {
	s.tb.Helper()
	status, _, text := s.send(method, path, body)
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil || status != want {
		s.tb.Fatalf("%s %s %s: %d %s (%v), want %d", method, path, body, status, text, err, want)
	}
	return out
}

// feed gives a session the figures of one that runs.
func (s *server) feed(of control.Session, protocol string) {
	loss, skew, glass := 0.0125, -12*time.Millisecond, 180*time.Millisecond
	s.meter.states = append(s.meter.states, live.State{
		ID: of.ID, Org: of.Org, Input: of.Input, Protocol: protocol, Live: true, Since: of.Started,
		Connection: live.Connection{State: "connected", RemoteAddress: "192.0.2.7:49152", UserAgent: "OBS", Encrypted: true, RTT: 20 * time.Millisecond},
		Video: &live.Video{
			Bitrate: 2_345_678, FrameRate: 29.97003, Width: 1280, Height: 720, Codec: "avc1.64001F",
			KeyFrameInterval: 2 * time.Second, DroppedFrames: 3,
		},
		Audio: &live.Audio{Bitrate: 128_000, SampleRate: 48_000, Channels: 2, Codec: "mp4a.40.2"},
		Network: live.Network{
			RTT: 20 * time.Millisecond, Jitter: 1500 * time.Microsecond, Loss: &loss, Bytes: 9_876_543, Skew: &skew,
			IngestToPublish: 2 * time.Millisecond, GlassToPublish: &glass,
		},
		Viewers: 5, PeakViewers: 8, Quality: 97,
	})
}

var random = regexp.MustCompile(`(sess_\d+_|lv_|li_)[A-Za-z0-9]+`)

// TestShapes compares what each call answers with the golden file.
func TestShapes(t *testing.T) {
	s := newServer(t)
	var out bytes.Buffer
	show := func(method, path, body string) {
		status, kind, text := s.send(method, path, body)
		fmt.Fprintf(&out, "%s %s %s\n%d %s\n%s\n", method, path, body, status, kind, text)
	}
	lv := s.input("org_abc")
	ran := s.run("org_abc/"+lv, auth.WHIP)
	s.feed(ran, "whip")
	show("GET", "sessions/"+ran.ID, "")
	show("PATCH", "sessions/"+ran.ID, `{"status":"paused","quality":{"targetLatency":200,"maxBitrate":8000,"adaptiveBitrate":true},"metadata":{"title":"Final","court":1},"customProperties":{"a":{"b":[1]}}}`)
	show("PATCH", "sessions/"+ran.ID, `{"metadata":{"court":null,"umpire":"B"},"quality":{"maxBitrate":0}}`)
	show("DELETE", "sessions/"+ran.ID, "")
	show("GET", "sessions/"+ran.ID, "")
	s.meter.states = nil

	made := s.object("POST", "sessions", `{"streamId":"`+lv+`","protocol":"srt","constraints":{"video":{"width":1920,"height":1080,"frameRate":50,"codec":"hevc"},"audio":{"sampleRate":48000,"channels":2,"codec":"aac"}},"metadata":{"title":"Later"}}`, 201)
	id := fmt.Sprint(made["sessionId"])
	show("GET", "sessions/"+id, "")
	show("GET", "sessions", "")
	show("GET", "sessions/"+id+"/webrtc/candidates?type=host&limit=10&since=2026-11-21T12:00:00Z", "")
	for _, body := range []string{
		`{"status":"paused"}`, `{"status":"gone"}`, `{"status":7}`, `{"quality":{"targetLatency":-1}}`, `{"quality":{"maxBitrate":"fast"}}`,
		`{"quality":{"targetLatency":90000}}`, `{"metadata":[]}`, `[]`, `{`,
	} {
		show("PATCH", "sessions/"+id, body)
	}
	show("PATCH", "sessions/"+id, `{"status":"live"}`)
	show("DELETE", "sessions/"+id, "")
	show("PATCH", "sessions/"+id, `{"status":"ended"}`)
	show("PATCH", "sessions/"+id, `{"status":"live"}`)
	show("GET", "sessions/sess_1234_abc123", "")
	show("GET", "nothing", "")
	show("PUT", "sessions", "")
	s.key = ""
	show("GET", "sessions/"+id, "")
	golden.Check(t, "shapes.txt", random.ReplaceAll(out.Bytes(), []byte("${1}…")))
}

// TestTransitions tries every change of status from every status.
func TestTransitions(t *testing.T) {
	ways := map[string]string{ // how to get there
		"idle": "", "live": "live", "paused": "live paused", "ended": "ended",
	}
	allowed := map[string]bool{
		"idle live": true, "live paused": true, "paused live": true, "idle ended": true, "live ended": true, "paused ended": true,
	}
	for from, way := range ways {
		for to := range ways {
			t.Run(from+" to "+to, func(t *testing.T) {
				s := newServer(t)
				id := fmt.Sprint(s.object("POST", "sessions", `{"streamId":"cam"}`, 201)["sessionId"])
				for _, step := range strings.Fields(way) {
					s.object("PATCH", "sessions/"+id, `{"status":"`+step+`"}`, 200)
				}
				status, _, body := s.send("PATCH", "sessions/"+id, `{"status":"`+to+`"}`)
				want := 400
				if from == to || allowed[from+" "+to] {
					want = 200
				}
				if status != want || want == 400 && (!strings.Contains(body, from) || !strings.Contains(body, to)) {
					t.Errorf("%d %s, want %d that names both", status, body, want)
				}
			})
		}
	}
}

// TestDelete: a live session stays, one that is deleted is unknown.
func TestDelete(t *testing.T) {
	s := newServer(t)
	id := s.run("cam", auth.SRT).ID
	if status, _, body := s.send("DELETE", "sessions/"+id, ""); status != 409 || !strings.Contains(body, "set its status to ended first") {
		t.Errorf("a live one: %d %s, want 409", status, body)
	}
	s.object("PATCH", "sessions/"+id, `{"status":"ended"}`, 200)
	if got := s.object("DELETE", "sessions/"+id, "", 200); got["sessionId"] != id || got["deletedAt"] == "" || len(got) != 2 {
		t.Errorf("deleted: %v", got)
	}
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		s.object(method, "sessions/"+id, "{}", 404)
	}
	s.object("GET", "sessions/"+id+"/webrtc/candidates", "", 404)
}

// TestList: the contract's protocols, by cursor, and others when they are asked
// for.
func TestList(t *testing.T) {
	s := newServer(t)
	for i, p := range []auth.Ingest{auth.SRT, auth.FMP4, auth.WHIP, auth.MoQT, auth.RTMP} {
		s.run(fmt.Sprintf("cam%d", i), p)
	}
	names := func(query string) (out []string) {
		for cursor := ""; ; {
			got := s.object("GET", "sessions?"+query+"&cursor="+url.QueryEscape(cursor), "", 200)
			for _, row := range got["sessions"].([]any) {
				out = append(out, fmt.Sprint(row.(map[string]any)["protocol"]))
			}
			cursor, _ = got["nextCursor"].(string)
			if cursor == "" {
				return out
			}
		}
	}
	for query, want := range map[string]string{
		"": "[srt webrtc rtmp]", "limit=1": "[srt webrtc rtmp]", "limit=2": "[srt webrtc rtmp]", "protocol=fmp4": "[fmp4]",
		"streamId=cam2": "[webrtc]", "status=live&limit=1": "[srt webrtc rtmp]", "status=idle": "[]", "org=local": "[srt webrtc rtmp]",
	} {
		if got := fmt.Sprint(names(query)); got != want {
			t.Errorf("?%s: %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{"limit=0", "limit=501", "limit=x", "status=gone", "cursor=nonsense", "x=%zz"} {
		s.object("GET", "sessions?"+query, "", 400)
	}
	s.object("GET", "sessions?org="+strings.Repeat("x", 5000), "", 414)
}

// TestKeys: scopes, organisations, and both headers.
func TestKeys(t *testing.T) {
	s := newServer(t)
	lv := s.input("org_abc")
	other := s.run("cam", auth.SRT).ID // of local
	own := s.run("org_abc/"+lv, auth.SRT).ID
	keys := map[string]string{
		"reader": s.apiKey("org_abc", "sessions:read"), "writer": s.apiKey("org_abc", "sessions:*"),
		"metrics": s.apiKey("org_abc", "metrics:read"), "nobody": "", "unknown": "tqs_live_x_y",
	}
	for _, tt := range []struct {
		key, method, path, body string
		status                  int
	}{
		{"reader", "GET", "sessions/" + own, "", 200},
		{"reader", "GET", "sessions/" + other, "", 404},
		{"reader", "PATCH", "sessions/" + own, "{}", 403},
		{"reader", "DELETE", "sessions/" + own, "", 403},
		{"reader", "POST", "sessions", `{"streamId":"` + lv + `"}`, 403},
		{"reader", "GET", "sessions?org=local", "", 403},
		{"reader", "GET", "analytics/prometheus", "", 403},
		{"writer", "PATCH", "sessions/" + own, "{}", 200},
		{"writer", "PATCH", "sessions/" + other, "{}", 404},
		{"writer", "POST", "sessions", `{"streamId":"` + lv + `"}`, 201},
		{"writer", "POST", "sessions", `{"protocol":"webrtc"}`, 201},
		{"writer", "POST", "sessions", `{"org":"local"}`, 403},
		{"writer", "POST", "sessions", `{"protocol":"smoke"}`, 400},
		{"writer", "POST", "sessions", `{"streamId":"` + strings.Repeat("x", 70_000) + `"}`, 413},
		{"metrics", "GET", "analytics/prometheus", "", 200},
		{"metrics", "GET", "sessions/" + own, "", 403},
		{"nobody", "GET", "sessions/" + own, "", 401},
		{"unknown", "GET", "sessions/" + own, "", 401},
		{"unknown", "GET", "analytics/prometheus", "", 401},
	} {
		s.key = keys[tt.key]
		if status, _, body := s.send(tt.method, tt.path, tt.body); status != tt.status {
			t.Errorf("%s: %s %s %.60s: %d %s, want %d", tt.key, tt.method, tt.path, tt.body, status, body, tt.status)
		}
	}
	s.key = keys["reader"]
	if got := s.object("GET", "sessions", "", 200)["sessions"].([]any); len(got) != 3 {
		t.Errorf("the list has %d sessions, want the key's three", len(got))
	}
	r := httptest.NewRequest("GET", sessions.Prefix+"sessions/"+own, nil)
	r.Header.Set("Authorization", "Bearer "+keys["reader"])
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("with a bearer: %d %s", w.Code, w.Body)
	}
}

// TestCandidates checks the parameters of the ICE call.
func TestCandidates(t *testing.T) {
	s := newServer(t)
	id := s.run("cam", auth.WHIP).ID
	for query, want := range map[string]int{
		"": 200, "type=host": 200, "type=srflx": 200, "type=prflx": 200, "type=relay": 200, "type=tcp": 400,
		"since=2026-11-21T12:00:00Z": 200, "since=2026-11-21T12:00:00.123%2B01:00": 200, "since=yesterday": 400,
		"limit=1": 200, "limit=1000": 200, "limit=0": 400, "limit=1001": 400, "limit=-1": 400, "x=%zz": 400,
	} {
		s.object("GET", "sessions/"+id+"/webrtc/candidates?"+query, "", want)
	}
}

// FuzzRequest sends any request: never a status of 5xx, and JSON always.
func FuzzRequest(f *testing.F) {
	s := newServer(f)
	id := s.run("cam", auth.SRT).ID
	for _, body := range []string{
		`{"status":"live","quality":{"targetLatency":200,"maxBitrate":8000,"adaptiveBitrate":true}}`,
		`{"metadata":{"a":null,"\u0000":1},"customProperties":{"":{}}}`, `{"quality":{"maxBitrate":1e999}}`,
		`{"streamId":"cam","protocol":"srt","constraints":{"video":{"frameRate":-1}}}`, ``, `null`,
	} {
		f.Add(uint8(2), "sessions/"+id, "", body)
		f.Add(uint8(1), "sessions", "", body)
	}
	f.Add(uint8(0), "sessions", "limit=1&cursor=1.x&status=live&org=local", "")
	f.Add(uint8(0), "analytics/prometheus", "period=1min&streamId=li_x", "")
	f.Add(uint8(0), "sessions/"+id+"/webrtc/candidates", "since=2026-11-21T12:00:00Z&limit=1&type=host", "")
	methods := []string{"GET", "POST", "PATCH", "DELETE"}
	f.Fuzz(func(t *testing.T, method uint8, path, query, body string) {
		r := httptest.NewRequest(methods[int(method)%len(methods)], "/", strings.NewReader(body))
		r.URL = &url.URL{Path: sessions.Prefix + path, RawQuery: query}
		r.Header.Set("X-API-Key", s.key)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%s %q?%q %q: %d %s", r.Method, path, query, body, w.Code, w.Body)
		}
		if strings.Contains(w.Header().Get("Content-Type"), "json") && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}
