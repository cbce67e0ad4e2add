package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
)

func TestRevokePlaybackToken(t *testing.T) {
	ts := newTester(t)
	in, _ := ts.input("local", "cam")
	ts.input("acme", "cam")
	acme := ts.key([]string{"acme"}, "streams:*")
	sign := func() (u PlaybackURL) {
		ts.want(201, ts.call("POST", "/live-inputs/"+in.ID+"/playback-url", nil), &u)
		if u.ID == "" {
			t.Fatalf("signed without an id: %+v", u)
		}
		return u
	}
	revoked := func(u PlaybackURL) bool { return ts.control.Directory().TokenRevoked("local", u.ID) }

	a, b := sign(), sign()
	for _, u := range []PlaybackURL{a, a} { // the second changes nothing
		var got RevokedToken
		text := ts.want(200, ts.call("POST", "/playback-tokens/revoke", map[string]string{"token": u.Token}), &got).text
		if got != (RevokedToken{u.ID, "local", u.ExpiresAt}) || strings.Contains(text, u.Token) {
			t.Errorf("revoked %s, want %s until %v", text, u.ID, u.ExpiresAt)
		}
	}
	if !revoked(a) || revoked(b) {
		t.Errorf("a is revoked: %t, b: %t, want the first alone", revoked(a), revoked(b))
	}

	const path = "/playback-tokens/revoke"
	head, _, _ := strings.Cut(b.Token, ".")
	for _, tt := range []struct {
		name, body string
		header     []string
		status     int
		about      string
	}{
		{"neither", `{}`, nil, 422, "either"},
		{"both", `{"token":"` + b.Token + `","id":"x"}`, nil, 422, "either"},
		{"no token", `{"token":"` + head + `"}`, nil, 422, "body.token"},
		{"without a jti", `{"token":"eyJhbGciOiJFZERTQSIsImtpZCI6ImsifQ.eyJzdWIiOiJsb2NhbCJ9.AA"}`, nil, 422, "jti"},
		{"of another organisation", `{"token":"` + b.Token + `","org":"acme"}`, nil, 422, "body.org"},
		{"by a key of another one", `{"token":"` + b.Token + `"}`, []string{"X-API-Key", acme}, 403, "local"},
		{"of none", `{"id":"x","org":"nobody"}`, nil, 404, "nobody"},
		{"by a control character", `{"id":"a\u0000"}`, nil, 422, "id"},
	} {
		got := ts.call("POST", path, tt.body, tt.header...)
		if ts.refused(tt.status, got, tt.about); strings.Contains(got.text, head) {
			t.Errorf("%s: the answer quotes the token: %s", tt.name, got.text)
		}
	}
	// The same id of another organisation is another token.
	ts.want(200, ts.call("POST", path, map[string]string{"id": b.ID, "org": "acme"}, "X-API-Key", acme), nil)
	if revoked(b) {
		t.Error("acme has revoked a token of local")
	}
	var got RevokedToken
	ts.want(200, ts.call("POST", path, map[string]string{"id": b.ID}), &got)
	if life := time.Until(got.ExpiresAt); !revoked(b) || life < control.MaxTTL-time.Minute {
		t.Errorf("by its id alone: revoked %t for %v, want %v", revoked(b), life, control.MaxTTL)
	}
}

// A doorman notes whom it is to throw out.
type doorman struct {
	closed
	said string
}

func (d *doorman) Disconnect(who auth.Selector, reason string) int {
	d.said = fmt.Sprintf("%+v: %s", who, reason)
	return 3
}

func TestDisconnect(t *testing.T) {
	door := &doorman{}
	ts := newTester(t, func(c *Config) { c.Gate = door })
	s, err := ts.control.CreateSession(ts.Context(), control.NewSession{Input: "cam"})
	if err != nil {
		t.Fatal(err)
	}
	path := "/sessions/" + s.ID + "/disconnect"
	for body, want := range map[string]string{
		"":   "{KeyID: TokenID: Viewer: Viewers:true Namespace:[stream local cam] Remote:invalid Prefix}: closed by the operator",
		"{}": "{KeyID: TokenID: Viewer: Viewers:true Namespace:[stream local cam] Remote:invalid Prefix}: closed by the operator",
		`{"viewer":"v1","tokenId":"j","remote":"192.0.2.7","reason":"too many"}`: "{KeyID: TokenID:j Viewer:v1 Viewers:true Namespace:[stream local cam] Remote:192.0.2.7/32}: too many",
	} {
		var got Disconnected
		call := ts.call("POST", path, body)
		if body == "" {
			call = ts.call("POST", path, nil)
		}
		if ts.want(200, call, &got); got.Closed != 3 || door.said != want {
			t.Errorf("%s: closed %d, asked for %s, want %s", body, got.Closed, door.said, want)
		}
	}
	ts.refused(422, ts.call("POST", path, `{"remote":"here"}`), "body.remote")
	ts.refused(422, ts.call("POST", path, `{"reason":"a\nb"}`), "body.reason")
	ts.refused(404, ts.call("POST", "/sessions/sess_1/disconnect", nil), "sess_1")
	ts.refused(404, ts.call("POST", path, nil, "X-API-Key", ts.key([]string{"acme"}, "*")), s.ID)
	ts.refused(403, ts.call("POST", path, nil, "X-API-Key", ts.key([]string{"local"}, "sessions:read")), "")
}
