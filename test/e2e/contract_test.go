package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// contractAdminKey is the key of the daemon's administrator in these tests.
const contractAdminKey = "admin-key-of-the-contract-tests"

// startContract starts a daemon that lets nobody in without a credential, and
// returns the control plane of an organisation that its administrator names for
// the first time, with an API key for it.
func startContract(t *testing.T, org string) (*harness.Daemon, sdk) {
	t.Helper()
	d := harness.Start(t, harness.Options{Env: map[string]string{
		"BROADCASTD_AUTH__LOOPBACK": "false", "BROADCASTD_ADMIN_KEY": contractAdminKey,
	}})
	admin := sdk{t: t, base: "http://" + d.HTTP, key: contractAdminKey, org: org}
	made := admin.row("streams.apiKeys.create", object{"name": "sdk", "scopes": []string{"streams:*", "sessions:*", "metrics:read"}})
	key, _ := made["api_key_cleartext"].(string)
	if !strings.HasPrefix(key, "tqs_live_") {
		t.Fatalf("API key %.12q…, want tqs_live_…", key)
	}
	return d, sdk{t: t, base: admin.base, key: key, org: org}
}

// wantFields checks that a row has these fields and no others.
func wantFields(t *testing.T, what string, row object, fields ...string) {
	t.Helper()
	slices.Sort(fields)
	if got := slices.Sorted(maps.Keys(row)); !slices.Equal(got, fields) {
		t.Errorf("%s has the fields %v, want %v", what, got, fields)
	}
}

func text(row object, field string) string {
	s, _ := row[field].(string)
	return s
}

// wantTime checks a time of ISO 8601.
func wantTime(t *testing.T, what, value string) {
	t.Helper()
	at, err := time.Parse(time.RFC3339, value)
	if err != nil || !strings.HasSuffix(value, "Z") || time.Since(at).Abs() > time.Hour {
		t.Errorf("%s is %q (%v), want the time of now in UTC", what, value, err)
	}
}

var inputFields = []string{"id", "external_input_id", "name", "status", "ingest", "createdAt"}

// TestContractControlPlane goes through each procedure and each field.
func TestContractControlPlane(t *testing.T) {
	t.Parallel()
	d, s := startContract(t, "org_abc")
	_ = d
	var input object
	t.Run("liveInputs.create", func(t *testing.T) {
		s.t = t
		input = s.row("streams.liveInputs.create", object{"name": "Main stage"})
		wantFields(t, "a new live input", input, append(slices.Clone(inputFields), "stream_key_cleartext")...)
		for field, prefix := range map[string]string{"id": "li_", "external_input_id": "lv_", "stream_key_cleartext": "sk_live_"} {
			if !strings.HasPrefix(text(input, field), prefix) {
				t.Errorf("%s is %.12q…, want %s…", field, text(input, field), prefix)
			}
		}
		if input["name"] != "Main stage" || input["status"] != "idle" || input["ingest"] != "fmp4" {
			t.Errorf("%v, want the name, idle and the default ingest fmp4", input)
		}
		wantTime(t, "createdAt", text(input, "createdAt"))
		for _, ingest := range []string{"fmp4", "whip", "rtmp", "srt"} {
			if row := s.row("streams.liveInputs.create", object{"name": ingest, "ingest": ingest}); row["ingest"] != ingest {
				t.Errorf("ingest %s: %v", ingest, row)
			}
		}
	})
	t.Run("liveInputs.get", func(t *testing.T) {
		s.t = t
		got := s.got("streams.liveInputs.get", object{"id": input["id"]})
		wantFields(t, "a live input", got, inputFields...)
		if got["external_input_id"] != input["external_input_id"] || got["name"] != "Main stage" {
			t.Errorf("%v, want %v", got, input)
		}
	})
	t.Run("liveInputs.list", func(t *testing.T) {
		s.t = t
		all := s.list("streams.liveInputs.list", nil)
		if len(all) != 5 {
			t.Errorf("%d live inputs, want 5", len(all))
		}
		var paged []any
		for page := 1; page <= 4; page++ {
			paged = append(paged, s.list("streams.liveInputs.list", object{"page": page, "perPage": 2})...)
		}
		if fmt.Sprint(paged) != fmt.Sprint(all) {
			t.Errorf("the pages hold %v, want %v", paged, all)
		}
	})
	t.Run("liveInputs.rotateStreamKey", func(t *testing.T) {
		s.t = t
		got := s.row("streams.liveInputs.rotateStreamKey", object{"id": input["id"]})
		wantFields(t, "a live input with its new key", got, append(slices.Clone(inputFields), "stream_key_cleartext")...)
		if key := text(got, "stream_key_cleartext"); !strings.HasPrefix(key, "sk_live_") || key == text(input, "stream_key_cleartext") {
			t.Errorf("the stream key is no new one")
		}
	})
	t.Run("liveInputs.mintPlaybackToken", func(t *testing.T) { s.t = t; mintFields(t, d, s, input) })
	t.Run("signingKeys", func(t *testing.T) { s.t = t; signingKeyFields(t, s) })
	t.Run("apiKeys", func(t *testing.T) { s.t = t; apiKeyFields(t, s, input) })
	t.Run("assets", func(t *testing.T) {
		s.t = t
		if got := s.list("streams.assets.list", nil); len(got) != 0 {
			t.Errorf("assets %v, want none", got)
		}
	})
	t.Run("analytics", func(t *testing.T) {
		s.t = t
		wantFields(t, "the overview", s.got("streams.analytics.overview", nil), "period", "liveInputs", "viewers", "peakViewers",
			"watchedSeconds", "bitrateKbps", "ingestToPublish", "glassToGlass", "qualityScore")
		if points := s.list("streams.analytics.viewers", object{"period": "1min"}); len(points) == 0 {
			t.Error("no time-series of viewers")
		}
		wantFields(t, "the histogram", s.got("streams.analytics.latency", object{"period": "1hour"}),
			"measure", "count", "sumMs", "buckets", "p50Ms", "p95Ms", "p99Ms")
		if relays := s.list("streams.analytics.relay", nil); len(relays) != 1 {
			t.Errorf("relays %v, want one", relays)
		}
	})
	t.Run("refusals", func(t *testing.T) { s.t = t; refusals(t, s, input) })
}

// mintFields checks a playback token: its row, and what stands in it.
func mintFields(t *testing.T, d *harness.Daemon, s sdk, input object) {
	lv := text(input, "external_input_id")
	got := s.row("streams.liveInputs.mintPlaybackToken", object{"id": input["id"]})
	wantFields(t, "a playback token", got, "token", "kid", "alg", "expires_at", "input", "url")
	token := text(got, "token")
	if want := "moq://" + d.MoQ + "/playback/" + lv + "?tok=" + token; got["url"] != want || got["input"] != lv {
		t.Errorf("url and input are for %v and %v", strings.Replace(text(got, "url"), token, "…", 1), got["input"])
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("the token has %d parts", len(parts))
	}
	part := func(i int) (out object) {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, &out) != nil {
			t.Fatalf("part %d of the token cannot be read", i)
		}
		return out
	}
	header, claims := part(0), part(1)
	if header["kid"] != got["kid"] || header["alg"] != "EdDSA" || got["alg"] != "Ed25519" {
		t.Errorf("kid %v and %v, alg %v and %v, want the same kid, EdDSA and Ed25519", header["kid"], got["kid"], header["alg"], got["alg"])
	}
	for _, claim := range []string{"iss", "sub", "ns", "exp", "nbf", "iat", "jti"} {
		if claims[claim] == nil {
			t.Errorf("the token has no claim %s", claim)
		}
	}
	if claims["sub"] != s.org || claims["exp"] != got["expires_at"] {
		t.Errorf("sub %v and exp %v, want %s and %v", claims["sub"], claims["exp"], s.org, got["expires_at"])
	}
	for _, tt := range []struct {
		asked any
		want  int64
	}{{nil, 3600}, {1, 30}, {29, 30}, {600, 600}, {86_401, 86_400}, {1e9, 86_400}, {-5, 30}} {
		payload := object{"id": input["id"]}
		if tt.asked != nil {
			payload["ttlSeconds"] = tt.asked
		}
		expires, _ := s.row("streams.liveInputs.mintPlaybackToken", payload)["expires_at"].(float64)
		if left := int64(expires) - time.Now().Unix(); left < tt.want-3 || left > tt.want+1 {
			t.Errorf("ttlSeconds %v: %d s, want %d", tt.asked, left, tt.want)
		}
	}
}

var signingKeyFieldNames = []string{"id", "alg", "use", "publicKeyPem", "status", "createdAt"}

func signingKeyFields(t *testing.T, s sdk) {
	before := s.list("streams.signingKeys.list", nil)
	if len(before) != 1 {
		t.Fatalf("%d signing keys, want the one that every organisation has", len(before))
	}
	for _, tt := range []struct{ payload, want object }{
		{object{}, object{"alg": "Ed25519"}},
		{object{"alg": "RS256", "use": "playback"}, object{"alg": "RS256"}},
	} {
		got := s.row("streams.signingKeys.create", tt.payload)
		wantFields(t, "a signing key", got, signingKeyFieldNames...)
		if got["alg"] != tt.want["alg"] || got["use"] != "playback" || got["status"] != "active" ||
			!strings.HasPrefix(text(got, "publicKeyPem"), "-----BEGIN PUBLIC KEY-----") || text(got, "id") == "" {
			t.Errorf("%v: %v", tt.payload, got)
		}
		wantTime(t, "createdAt", text(got, "createdAt"))
		off := s.row("streams.signingKeys.deactivate", object{"id": got["id"]})
		wantFields(t, "a deactivated signing key", off, signingKeyFieldNames...)
		if off["id"] != got["id"] || off["status"] != "inactive" {
			t.Errorf("deactivated: %v", off)
		}
	}
	if all := s.list("streams.signingKeys.list", nil); len(all) != 3 {
		t.Errorf("%d signing keys, want 3", len(all))
	}
}

func apiKeyFields(t *testing.T, s sdk, input object) {
	fields := []string{"id", "name", "scopes", "status", "createdAt", "expiresAt", "revokedAt", "lastUsedAt"}
	made := s.row("streams.apiKeys.create", object{"name": "reader", "scopes": []string{"streams:read"}})
	wantFields(t, "a new API key", made, append(slices.Clone(fields), "api_key_cleartext")...)
	reader := sdk{t: t, base: s.base, key: text(made, "api_key_cleartext"), org: s.org}
	reader.got("streams.liveInputs.get", object{"id": input["id"]})
	wantRefused(t, "a mutation with a key that reads", 403, "FORBIDDEN")(reader.mutate("streams.liveInputs.create", object{"name": "x"}))
	wantRefused(t, "a key that can do more", 403, "FORBIDDEN")(s.mutate("streams.apiKeys.create", object{"name": "x", "scopes": []string{"*"}}))
	if off := s.row("streams.apiKeys.revoke", object{"id": made["id"]}); off["status"] != "inactive" || off["revokedAt"] == nil {
		t.Errorf("revoked: %v", off)
	}
	wantRefused(t, "a revoked key", 401, "UNAUTHORIZED")(reader.query("streams.liveInputs.get", object{"id": input["id"]}))
	wantFields(t, "an API key", s.got("streams.apiKeys.get", object{"id": made["id"]}), fields...)
	if list := s.list("streams.apiKeys.list", nil); len(list) != 2 {
		t.Errorf("%d API keys, want 2", len(list))
	}
}

// wantRefused checks a failure's envelope.
func wantRefused(t *testing.T, what string, status int, code string) func(any, error) {
	t.Helper()
	return func(data any, err error) {
		t.Helper()
		r, ok := errors.AsType[*refusal](err)
		if !ok || r.status != status || r.Data.HTTPStatus != status || r.Data.Code != code || r.Message == "" || r.Data.Path == "" || r.Code >= 0 {
			t.Errorf("%s: %v, %v, want %d %s with a message, a path and a number", what, data, err, status, code)
		}
	}
}

// refusals goes through what a client may do wrong.
func refusals(t *testing.T, s sdk, input object) {
	nobody, stranger, elsewhere := s, s, s
	nobody.key, stranger.key, elsewhere.org = "", "tqs_live_nobody_0000", "org_other"
	id := object{"id": input["id"]}
	wantRefused(t, "no key", 401, "UNAUTHORIZED")(nobody.query("streams.liveInputs.list", nil))
	wantRefused(t, "an unknown key", 401, "UNAUTHORIZED")(stranger.query("streams.liveInputs.list", nil))
	wantRefused(t, "another organisation", 403, "FORBIDDEN")(elsewhere.query("streams.liveInputs.list", nil))
	other := sdk{t: t, base: s.base, key: contractAdminKey, org: "org_other"}
	other.list("streams.liveInputs.list", nil) // it is made
	wantRefused(t, "an input of another organisation", 404, "NOT_FOUND")(other.query("streams.liveInputs.get", id))
	wantRefused(t, "an unknown id", 404, "NOT_FOUND")(s.query("streams.liveInputs.get", object{"id": "li_nothing"}))
	wantRefused(t, "an unknown signing key", 404, "NOT_FOUND")(s.mutate("streams.signingKeys.deactivate", object{"id": "nothing"}))
	wantRefused(t, "no id", 400, "BAD_REQUEST")(s.query("streams.liveInputs.get", nil))
	wantRefused(t, "no name", 400, "BAD_REQUEST")(s.mutate("streams.liveInputs.create", nil))
	wantRefused(t, "no such ingest", 400, "BAD_REQUEST")(s.mutate("streams.liveInputs.create", object{"name": "x", "ingest": "carrier pigeon"}))
	wantRefused(t, "no such procedure", 404, "NOT_FOUND")(s.query("streams.liveInputs.nothing", nil))
	wantRefused(t, "a mutation by GET", 405, "METHOD_NOT_SUPPORTED")(s.query("streams.liveInputs.create", object{"name": "x"}))
	wantRefused(t, "orgId of another kind", 400, "BAD_REQUEST")(s.query("streams.liveInputs.list", object{"orgId": 1}))
	wantRefused(t, "no orgId", 400, "BAD_REQUEST")(s.query("streams.liveInputs.list", object{"orgId": ""}))
}
