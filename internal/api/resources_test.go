package api

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/control"
)

// TestAddresses: an input shows the addresses that it takes an encoder at, and no
// others.
func TestAddresses(t *testing.T) {
	ts := newTester(t)
	for _, tt := range []struct{ body, want string }{
		{`{"name":"a"}`, "[fmp4 moqt]"},
		{`{"name":"a","ingest":"rtmp"}`, "[rtmp rtmps]"},
		{`{"name":"a","ingest":"srt"}`, "[srt]"},
		{`{"name":"a","ingest":"hls"}`, "[]"},
		{`{"name":"a","ingest":"rtmp","settings":{"requireEncryption":true}}`, "[rtmps]"},
		{`{"name":"a","settings":{"anyIngest":true}}`, "[fmp4 moqt rtmp rtmps srt]"},
		{`{"name":"a","settings":{"anyIngest":true,"requireEncryption":true}}`, "[moqt rtmps srt]"},
	} {
		var made LiveInput
		ts.want(201, ts.call("POST", "/live-inputs", tt.body), &made)
		if got := fmt.Sprint(slices.Sorted(maps.Keys(made.Publish))); got != tt.want {
			t.Errorf("%s: addresses for %s, want %s", tt.body, got, tt.want)
		}
	}
}

func TestLiveInputs(t *testing.T) {
	ts := newTester(t)
	var made LiveInput
	a := ts.want(201, ts.call("POST", "/live-inputs", map[string]any{
		"name": "Camera", "ingest": "rtmp",
		"settings": map[string]any{"allowFrom": []string{"192.0.2.7", "10.1.2.3/8"}, "groupDurationMs": 2000, "startoverWindowSeconds": 60},
	}), &made)
	if !strings.HasPrefix(made.ID, "li_") || !strings.HasPrefix(made.ExternalID, "lv_") || !strings.HasPrefix(made.StreamKey, "sk_live_") {
		t.Errorf("ids and key are %q, %q, %q", made.ID, made.ExternalID, made.StreamKey)
	}
	if made.Org != "local" || made.Status != "idle" || made.Ingest != "rtmp" || made.Namespace != "stream/local/"+made.ExternalID {
		t.Errorf("made %+v", made)
	}
	if got := fmt.Sprint(made.Settings.AllowFrom, made.Settings.GroupDurationMs, made.Settings.StartoverWindowSeconds); got != "[192.0.2.7/32 10.0.0.0/8] 2000 60" {
		t.Errorf("settings are %s", got)
	}
	if a.Header.Get("ETag") == "" || made.Publish["rtmp"] != "rtmp://media.example/live/"+made.ExternalID {
		t.Errorf("ETag %q, publish %v", a.Header.Get("ETag"), made.Publish)
	}
	for _, id := range []string{made.ID, made.ExternalID} {
		var got LiveInput
		b := ts.want(200, ts.call("GET", "/live-inputs/"+id, nil), &got)
		if got.ID != made.ID || got.StreamKey != "" || b.Header.Get("ETag") != a.Header.Get("ETag") || strings.Contains(b.text, made.StreamKey) {
			t.Errorf("GET %s = %s, ETag %s", id, b.text, b.Header.Get("ETag"))
		}
	}

	var changed LiveInput
	ts.want(200, ts.call("PATCH", "/live-inputs/"+made.ID, `{"settings":{"maxBitrate":5000000,"allowFrom":null}}`), &changed)
	if s := changed.Settings; s.MaxBitrate != 5e6 || s.AllowFrom != nil || s.GroupDurationMs != 2000 || changed.Name != "Camera" {
		t.Errorf("changed to %+v", changed)
	}
	changed = LiveInput{}
	ts.want(200, ts.call("PATCH", "/live-inputs/"+made.ID, `{"name":"Stage","settings":{"groupDurationMs":null}}`), &changed)
	if changed.Name != "Stage" || changed.Settings.GroupDurationMs != 0 || changed.Settings.MaxBitrate != 5e6 {
		t.Errorf("changed to %+v", changed)
	}

	var rotated LiveInput
	ts.want(200, ts.call("POST", "/live-inputs/"+made.ExternalID+"/rotate-key", nil), &rotated)
	if rotated.StreamKey == "" || rotated.StreamKey == made.StreamKey {
		t.Errorf("rotated to %q from %q", rotated.StreamKey, made.StreamKey)
	}

	var u PlaybackURL
	ts.want(201, ts.call("POST", "/live-inputs/"+made.ID+"/playback-url", `{"ttlSeconds":60,"viewer":"v1","maxHeight":720,"ip":"192.0.2.0/24"}`), &u)
	if want := "moq://media.example:4443/playback/" + made.ExternalID + "?tok=" + u.Token; u.URL != want {
		t.Errorf("url is %q, want %q", u.URL, want)
	}
	if want := "http://media.example:8080/watch/" + made.ExternalID + "?tok=" + u.Token; u.WatchURL != want {
		t.Errorf("watchUrl is %q, want %q", u.WatchURL, want)
	}
	for ttl, want := range map[int]time.Duration{0: time.Hour, 1: 30 * time.Second, 1 << 40: 24 * time.Hour} {
		ts.want(201, ts.call("POST", "/live-inputs/"+made.ID+"/playback-url", map[string]int{"ttlSeconds": ttl}), &u)
		if got := time.Until(u.ExpiresAt); got > want || got < want-2*time.Second {
			t.Errorf("ttlSeconds %d: it counts for %v, want %v", ttl, got, want)
		}
	}
	ts.want(201, ts.call("POST", "/live-inputs/"+made.ID+"/playback-url", nil), &u)

	if a := ts.call("DELETE", "/live-inputs/"+made.ID, nil); a.StatusCode != 204 || a.text != "" {
		t.Errorf("DELETE = %s %s", a.Status, a.text)
	}
	ts.refused(404, ts.call("GET", "/live-inputs/"+made.ID, nil), made.ID)
	ts.refused(404, ts.call("DELETE", "/live-inputs/"+made.ExternalID, nil), made.ExternalID)
}

// Where a URL may hold a password, it is shown without.
func TestPullURLIsShownWithoutSecrets(t *testing.T) {
	ts := newTester(t)
	var in LiveInput
	a := ts.want(201, ts.call("POST", "/live-inputs",
		`{"name":"x","ingest":"hls","settings":{"pull":"https://me:canary@cdn.example/a.m3u8?token=canary","backup":"https://b.example/?canary"}}`), &in)
	if strings.Contains(a.text, "canary") || in.Settings.Pull != "https://cdn.example/a.m3u8" {
		t.Errorf("shown as %q: %s", in.Settings.Pull, a.text)
	}
}

func TestRefusals(t *testing.T) {
	ts := newTester(t)
	in, _ := ts.input("local", "cam")
	acme := ts.key([]string{"acme"}, "*")
	of := "/live-inputs/" + in.ID
	for _, tt := range []struct {
		name, method, target string
		body                 any
		header               []string
		status               int
		about                string
	}{
		{"unknown field", "POST", "/live-inputs", `{"name":"x","colour":1}`, nil, 422, "body.colour"},
		{"unknown field inside", "POST", "/live-inputs", `{"name":"x","settings":{"maxbitrate":1}}`, nil, 422, "body.settings.maxbitrate"},
		{"missing field", "POST", "/live-inputs", `{}`, nil, 422, "name"},
		{"wrong type", "POST", "/live-inputs", `{"name":7}`, nil, 422, "body.name"},
		{"wrong type inside", "PATCH", of, `{"settings":{"maxTracks":"many"}}`, nil, 422, "body.settings.maxTracks"},
		{"out of range", "PATCH", of, `{"settings":{"maxTracks":65}}`, nil, 422, "body.settings.maxTracks"},
		{"refused by control", "PATCH", of, `{"settings":{"groupDurationMs":1}}`, nil, 422, "body.settings.groupDurationMs"},
		{"not among the words", "POST", "/live-inputs", `{"name":"x","ingest":"zixi"}`, nil, 422, "body.ingest"},
		{"no address", "POST", "/live-inputs", `{"name":"x","settings":{"allowFrom":["::/0","here"]}}`, nil, 422, "body.settings.allowFrom[1]"},
		{"name twice", "POST", "/api-keys", `{"name":"a","scopes":["streams:read"],"scopes":["*"]}`, nil, 400, "body.scopes"},
		{"no JSON", "POST", "/live-inputs", `{"name":`, nil, 400, "body"},
		{"nothing", "POST", "/live-inputs", nil, nil, 400, "body"},
		{"a list", "POST", "/live-inputs", `[]`, nil, 422, "body"},
		{"null", "POST", "/live-inputs", `null`, nil, 422, "body"},
		{"too deep", "POST", "/sessions", `{"metadata":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40) + "}", nil, 400, "deeper"},
		{"a huge number", "POST", "/sessions", `{"metadata":{"a":1e999}}`, nil, 400, "number"},
		{"too long", "POST", "/live-inputs", `{"name":"` + strings.Repeat("x", 64<<10) + `"}`, nil, 413, "65536"},
		{"a form", "POST", "/live-inputs", `name=x`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "application/json"},
		{"rubbish as its type", "POST", "/live-inputs", `{}`, []string{"Content-Type", ";;"}, 415, "application/json"},
		{"unknown parameter", "GET", "/live-inputs?page=2", nil, nil, 422, "query.page"},
		{"limit", "GET", "/live-inputs?limit=501", nil, nil, 422, "query.limit"},
		{"limit that is none", "GET", "/live-inputs?limit=x", nil, nil, 422, "query.limit"},
		{"cursor", "GET", "/live-inputs?cursor=x", nil, nil, 422, "query.cursor"},
		{"org of another key", "GET", "/live-inputs?org=local", nil, []string{"X-API-Key", acme}, 403, "local"},
		{"org of another key, to make", "POST", "/live-inputs", `{"name":"x"}`, []string{"X-API-Key", acme}, 403, "local"},
		{"input of another organisation", "GET", of, nil, []string{"X-API-Key", acme}, 404, in.ID},
		{"to change it", "PATCH", of, `{"name":"mine"}`, []string{"X-API-Key", acme}, 404, in.ID},
		{"to delete it", "DELETE", of, nil, []string{"X-API-Key", acme}, 404, in.ID},
		{"to have its key", "POST", of + "/rotate-key", nil, []string{"X-API-Key", acme}, 404, in.ID},
		{"to play it", "POST", of + "/playback-url", nil, []string{"X-API-Key", acme}, 404, in.ID},
		{"to sign for it", "POST", "/playback-url", `{"namespace":"stream/local/` + in.External + `"}`, []string{"X-API-Key", acme}, 403, "local"},
		{"to publish in its place", "POST", "/stream-keys", `{"namespace":"stream/local/cam"}`, []string{"X-API-Key", acme}, 403, "local"},
		{"a session on it", "POST", "/sessions", `{"input":"` + in.ID + `"}`, []string{"X-API-Key", acme}, 404, in.ID},
		{"its figures", "GET", "/analytics/viewers?org=acme&input=" + in.ID, nil, []string{"X-API-Key", acme}, 404, in.ID},
		{"an organisation", "POST", "/orgs", `{"id":"own"}`, []string{"X-API-Key", acme}, 403, "admin"},
		{"a key that can do more", "POST", "/api-keys", `{"name":"x","orgs":["local"],"scopes":["streams:read"]}`, []string{"X-API-Key", acme}, 403, "local"},
		{"a stream key for an input", "POST", "/stream-keys", `{"namespace":"stream/local/` + in.External + `"}`, nil, 409, "rotate"},
		{"a namespace that is none", "POST", "/playback-url", `{"namespace":"local/cam"}`, nil, 422, "body.namespace"},
		{"a signing key that is none", "POST", "/playback-url", `{"namespace":"stream/local/cam","key":"k_x"}`, nil, 404, "k_x"},
		{"too long a life", "POST", "/playback-url", `{"namespace":"stream/local/cam","ttlSeconds":9000000000000000000}`, nil, 422, "body.ttlSeconds"},
		{"a number for no machine", "POST", of + "/playback-url", `{"ttlSeconds":1e30}`, nil, 422, "ttlSeconds: the number 1e30 is out of range"},
		{"an address that is none", "POST", of + "/playback-url", `{"ip":"here"}`, nil, 422, "body.ip"},
		{"a key in the past", "POST", "/api-keys", `{"name":"x","expiresAt":"2020-01-01T00:00:00Z"}`, nil, 422, "body.expiresAt"},
		{"a scope that is none", "POST", "/api-keys", `{"name":"x","scopes":["streams:eat"]}`, nil, 422, "body.scopes"},
		{"a transition that is none", "POST", "/sessions", `{"status":"live"}`, nil, 422, "body.status"},
		{"after rubbish", "GET", "/events?after=x", nil, nil, 422, "query.after"},
		{"after too much", "GET", "/events?after=99999999999999999999", nil, nil, 422, "query.after"},
		{"a period that is none", "GET", "/analytics/overview?period=2min", nil, nil, 422, "query.period"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sub := *ts
			sub.TB = t
			sub.refused(tt.status, sub.call(tt.method, tt.target, tt.body, tt.header...), tt.about)
		})
	}
}

// A value that is refused may be a secret in the wrong place.
func TestRefusalsDoNotQuoteValues(t *testing.T) {
	ts := newTester(t)
	for _, body := range []string{`{"name":"x","streamKey":"canary"}`, `{"name":{"canary":1}}`, `{"name":"x","ingest":"canary"}`, `{"name":"canary`, `"canary"`} {
		if a := ts.call("POST", "/live-inputs", body); strings.Contains(strings.ReplaceAll(a.text, "body.name.canary", ""), "canary") || a.StatusCode < 400 {
			t.Errorf("%s: %s %s", body, a.Status, a.text)
		}
	}
}

func TestPages(t *testing.T) {
	ts := newTester(t)
	for i := range 7 {
		ts.input("local", fmt.Sprint("cam", i))
	}
	var names []string
	cursor, parts := "", 0
	for {
		var l struct {
			Items []LiveInput
			Next  string
		}
		ts.want(200, ts.call("GET", "/live-inputs?limit=3&cursor="+cursor, nil), &l)
		for _, in := range l.Items {
			names = append(names, in.Name)
		}
		parts++
		if cursor = l.Next; cursor == "" {
			break
		}
	}
	seen := map[string]bool{}
	for _, n := range names {
		seen[n] = true
	}
	if parts != 3 || len(seen) != 7 || len(names) != 7 {
		t.Errorf("%d parts with %v, want 3 with each of 7 once", parts, names)
	}
	if a := ts.call("GET", "/live-inputs?org=nobody", nil); a.text != `{"items":[]}`+"\n" {
		t.Errorf("an empty list is %q", a.text)
	}
}

func TestKeys(t *testing.T) {
	ts := newTester(t)
	var k APIKey
	a := ts.want(201, ts.call("POST", "/api-keys", `{"name":"ci","orgs":["org_abc"],"scopes":["keys:write","streams:read"]}`), &k)
	if !strings.HasPrefix(k.Key, "tqs_live_") || k.Orgs[0] != "org_abc" || a.Header.Get("ETag") == "" {
		t.Errorf("made %+v", k)
	}
	own := []string{"X-API-Key", k.Key}
	var less APIKey
	ts.want(201, ts.call("POST", "/api-keys", `{"name":"less","orgs":["org_abc"],"scopes":["keys:read"]}`, own...), &less)
	ts.refused(403, ts.call("POST", "/api-keys", `{"name":"more","orgs":["org_abc"],"scopes":["keys:*"]}`, own...), "keys:*")
	ts.refused(403, ts.call("POST", "/api-keys", `{"name":"more","orgs":["org_abc","local"],"scopes":["keys:read"]}`, own...), "local")
	both := ts.key([]string{"org_abc", "local"}, "*")

	var l struct{ Items []APIKey }
	b := ts.want(200, ts.call("GET", "/api-keys?org=org_abc", nil, own...), &l)
	if len(l.Items) != 2 || strings.Contains(b.text, k.Key) || strings.Contains(b.text, "local") {
		t.Errorf("listed %s", b.text) // not the one that also acts in local
	}
	ts.want(200, ts.call("GET", "/api-keys?org=org_abc", nil), &l)
	if len(l.Items) != 3 {
		t.Errorf("the admin sees %d, want 3", len(l.Items))
	}
	for _, item := range l.Items {
		if item.Orgs[len(item.Orgs)-1] == "local" {
			ts.refused(404, ts.call("GET", "/api-keys/"+item.ID, nil, own...), item.ID)
			ts.refused(404, ts.call("DELETE", "/api-keys/"+item.ID, nil, own...), item.ID)
			ts.want(200, ts.call("GET", "/api-keys/"+item.ID, nil, "X-API-Key", both), nil)
		}
	}
	ts.want(204, ts.call("DELETE", "/api-keys/"+less.ID, nil, own...), nil)
	ts.refused(401, ts.call("GET", "/api-keys/"+less.ID, nil, "X-API-Key", less.Key), "revoked")
	var revoked APIKey
	ts.want(200, ts.call("GET", "/api-keys/"+less.ID, nil), &revoked)
	if revoked.RevokedAt.IsZero() {
		t.Error("the revoked key does not say when")
	}
}

func TestSigningAndStreamKeys(t *testing.T) {
	ts := newTester(t)
	var k SigningKey
	ts.want(201, ts.call("POST", "/signing-keys", `{"org":"acme","alg":"Ed25519","use":"playback"}`), &k)
	if k.Org != "acme" || k.Status != "active" || !strings.Contains(k.PublicKeyPEM, "PUBLIC KEY") {
		t.Errorf("made %+v", k)
	}
	jwks := func() string {
		a := ts.want(200, ts.call("GET", "http://x/.well-known/jwks.json", nil, "", ""), nil)
		if a.Header.Get("Cache-Control") == "" || a.Header.Get("ETag") == "" || a.Header.Get("Content-Type") != "application/jwk-set+json" {
			t.Errorf("headers of the JWKS are %v", a.Header)
		}
		return a.text
	}
	if !strings.Contains(jwks(), k.ID) {
		t.Errorf("the JWKS lacks %s", k.ID)
	}
	var u PlaybackURL
	ts.want(201, ts.call("POST", "/playback-url", `{"namespace":"stream/acme/cam","key":"`+k.ID+`","ttlSeconds":2592000}`), &u)
	if u.KID != k.ID || u.Namespace != "stream/acme/cam" {
		t.Errorf("signed %+v", u)
	}
	local := ts.key([]string{"local"}, "*")
	ts.refused(404, ts.call("GET", "/signing-keys/"+k.ID, nil, "X-API-Key", local), k.ID)
	ts.refused(404, ts.call("POST", "/signing-keys/"+k.ID+"/deactivate", nil, "X-API-Key", local), k.ID)
	ts.want(200, ts.call("POST", "/signing-keys/"+k.ID+"/deactivate", nil), &k)
	if k.Status != "inactive" || strings.Contains(jwks(), k.ID) {
		t.Errorf("deactivated to %+v", k)
	}
	var l struct{ Items []SigningKey }
	ts.want(200, ts.call("GET", "/signing-keys?org=acme", nil), &l)
	if len(l.Items) != 2 { // the first is made with the organisation
		t.Errorf("listed %+v", l)
	}

	var s StreamKey
	ts.want(201, ts.call("POST", "/stream-keys", `{"namespace":"stream/acme/cam"}`), &s)
	if !strings.HasPrefix(s.StreamKey, "sk_live_") {
		t.Errorf("made %+v", s)
	}
	ts.refused(404, ts.call("DELETE", "/stream-keys/"+s.ID, nil, "X-API-Key", local), s.ID)
	ts.want(204, ts.call("DELETE", "/stream-keys/"+s.ID, nil), nil)
	a := ts.want(200, ts.call("GET", "/stream-keys?org=acme", nil), nil)
	if !strings.Contains(a.text, "revokedAt") || strings.Contains(a.text, s.StreamKey) {
		t.Errorf("listed %s", a.text)
	}
}

func TestOrgs(t *testing.T) {
	ts := newTester(t)
	var o Org
	for range 2 { // the second time nothing happens
		ts.want(201, ts.call("POST", "/orgs", `{"id":"org_abc"}`), &o)
	}
	ts.refused(422, ts.call("POST", "/orgs", `{"id":"a/b"}`), "org")
	list := func(header ...string) string {
		var l struct{ Items []Org }
		ts.want(200, ts.call("GET", "/orgs", nil, header...), &l)
		var ids []string
		for _, o := range l.Items {
			ids = append(ids, o.ID)
		}
		slices.Sort(ids) // those of one millisecond come by their ids
		return strings.Join(ids, " ")
	}
	if got := list(); got != "local org_abc" {
		t.Errorf("the admin sees %q", got)
	}
	if got := list("X-API-Key", ts.key([]string{"org_abc"}, "streams:read")); got != "org_abc" {
		t.Errorf("a key sees %q", got)
	}
	// The admin key makes one by naming it.
	ts.want(201, ts.call("POST", "/live-inputs", `{"name":"x","org":"first_named"}`), nil)
	if got := list(); got != "first_named local org_abc" {
		t.Errorf("the admin sees %q", got)
	}
}

// liveSessions says that every session runs.
type liveSessions struct{}

func (liveSessions) State(string) (control.LiveState, bool) {
	return control.LiveState{
		Connection: control.Connection{State: "connected", RemoteAddress: "192.0.2.9:5", RTT: 1500 * time.Microsecond},
		Video:      control.VideoMetrics{Bitrate: 2_500_000, FrameRate: 30, DroppedFrames: 1},
		Network:    control.NetworkMetrics{PacketLoss: 0.5},
		Viewers:    3, Peak: 5,
	}, true
}

func TestSessions(t *testing.T) {
	ts := newTester(t)
	in, _ := ts.input("acme", "cam")
	var s Session
	ts.want(201, ts.call("POST", "/sessions", `{"input":"`+in.ID+`","protocol":"srt","metadata":{"show":"a","old":1},
		"constraints":{"video":{"width":1920}},"quality":{"targetLatency":500,"adaptiveBitrate":true}}`), &s)
	if !strings.HasPrefix(s.SessionID, "sess_") || s.Org != "acme" || s.Input != in.External || s.Status != "idle" || *s.Quality.AdaptiveBitrate != true {
		t.Errorf("made %+v", s)
	}
	of := "/sessions/" + s.SessionID
	ts.refused(422, ts.call("PATCH", of, `{"status":"paused"}`), "body.status")
	ts.want(200, ts.call("PATCH", of, `{"status":"live","metadata":{"old":null,"new":[1,{"x":null}]},"customProperties":{"k":"v"},
		"quality":{"maxBitrate":3000,"targetLatency":null,"adaptiveBitrate":null}}`), &s)
	if got := fmt.Sprint(s.Metadata, s.CustomProperties, s.Quality); got != "map[new:[1 map[x:<nil>]] show:a] map[k:v] {0 3000 <nil>}" || s.Status != "live" {
		t.Errorf("changed to %s, %s", got, s.Status)
	}
	ts.control.AttachLive(liveSessions{})
	ts.want(200, ts.call("GET", of, nil), &s)
	if s.Viewers != 3 || s.PeakViewers != 5 || s.Connection.RTTMs != 1.5 || s.Metrics.Video.BitrateKbps != 2500 {
		t.Errorf("a live one is %+v", s)
	}
	ts.refused(409, ts.call("DELETE", of, nil), "ended")
	ts.want(200, ts.call("PATCH", of, `{"status":"ended"}`), &s)
	if s.EndedAt.IsZero() || s.EndReason != "closed" {
		t.Errorf("ended as %+v", s)
	}
	other := ts.key([]string{"local"}, "*")
	for method, body := range map[string]any{"GET": nil, "PATCH": `{}`, "DELETE": nil} {
		ts.refused(404, ts.call(method, of, body, "X-API-Key", other), s.SessionID)
	}
	var l struct{ Items []Session }
	ts.want(200, ts.call("GET", "/sessions?org=acme&status=ended&input="+in.ID, nil), &l)
	if len(l.Items) != 1 {
		t.Errorf("listed %+v", l)
	}
	ts.want(200, ts.call("GET", "/sessions?org=acme&status=live", nil), &l)
	if len(l.Items) != 0 {
		t.Errorf("listed %+v", l)
	}
	ts.want(204, ts.call("DELETE", of, nil), nil)
	ts.refused(404, ts.call("GET", of, nil), s.SessionID)
}

func TestAnalytics(t *testing.T) {
	ts := newTester(t)
	in, _ := ts.input("local", "cam")
	for target, want := range map[string]string{
		"/analytics/overview":                                `"viewers":7`,
		"/analytics/viewers?input=" + in.ID:                  `"viewers":3`,
		"/analytics/viewers?input=cam&period=1hour":          `"viewers":3`, // ad hoc
		"/analytics/latency?measure=lateness&input=" + in.ID: `"counts":[1,2,8]`,
		"/analytics/relay":                                   `"sessions":2`,
	} {
		if a := ts.want(200, ts.call("GET", target, nil), nil); !strings.Contains(a.text, want) {
			t.Errorf("%s = %s, want %s", target, a.text, want)
		}
	}
	none := newTester(t, func(c *Config) { c.Analytics = nil })
	none.refused(503, none.call("GET", "/analytics/overview", nil), "no server")
}

// With an ETag, one of those who change a thing at a time wins.
func TestIfMatch(t *testing.T) {
	ts := newTester(t)
	in, _ := ts.input("local", "cam")
	of := "/live-inputs/" + in.ID
	tag := ts.call("GET", of, nil).Header.Get("ETag")
	var wg sync.WaitGroup
	won := make(chan int, 20)
	for i := range 20 {
		wg.Go(func() {
			a := ts.call("PATCH", of, map[string]string{"name": fmt.Sprint("n", i)}, "If-Match", tag)
			switch a.StatusCode {
			case http.StatusOK:
				won <- i
			case http.StatusPreconditionFailed:
			default:
				t.Errorf("got %s %s", a.Status, a.text)
			}
		})
	}
	wg.Wait()
	close(won)
	winner, more := <-won, len(won)
	var got LiveInput
	now := ts.want(200, ts.call("GET", of, nil), &got).Header.Get("ETag")
	if more != 0 || got.Name != fmt.Sprint("n", winner) || now == tag {
		t.Errorf("%d more than one won; it is %q, and %d won; the ETag went from %s to %s", more, got.Name, winner, tag, now)
	}
	for name, tt := range map[string]struct {
		tag  string
		want int
	}{
		"the old one": {tag, 412}, "the present one": {now, 200}, "any": {"*", 200}, "one of several": {`"x", ` + now, 412},
		"weak": {"W/" + now, 412}, "rubbish": {"rubbish", 412},
	} {
		if name == "one of several" {
			now = ts.call("GET", of, nil).Header.Get("ETag")
			tt.tag, tt.want = `"x", `+now, 200
		}
		if name == "the present one" {
			tt.tag = ts.call("GET", of, nil).Header.Get("ETag")
		}
		if a := ts.call("PATCH", of, map[string]string{"name": name}, "If-Match", tt.tag); a.StatusCode != tt.want {
			t.Errorf("If-Match with %s: %s %s, want %d", name, a.Status, a.text, tt.want)
		}
	}
	ts.refused(412, ts.call("DELETE", of, nil, "If-Match", tag), "header.If-Match")
	ts.want(204, ts.call("DELETE", of, nil, "If-Match", ts.call("GET", of, nil).Header.Get("ETag")), nil)

	var s Session
	a := ts.want(201, ts.call("POST", "/sessions", `{}`), &s)
	ts.want(200, ts.call("PATCH", "/sessions/"+s.SessionID, `{"metadata":{"a":1}}`, "If-Match", a.Header.Get("ETag")), nil)
	ts.refused(412, ts.call("PATCH", "/sessions/"+s.SessionID, `{"metadata":{"a":2}}`, "If-Match", a.Header.Get("ETag")), "If-Match")
}
