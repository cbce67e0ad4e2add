package e2e_test

import (
	"encoding/json"
	"regexp"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/client"
	"github.com/broadcastd/broadcastd/test/harness"
)

// TestRevokedToken takes one signed URL back, by itself and by its id, while
// several viewers watch: its own are closed within two seconds and refused from
// then on, the others stay, and so does the encoder. Viewers who are only
// disconnected may come back.
func TestRevokedToken(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Env: map[string]string{"BROADCASTD_AUTH__LOOPBACK": "false"}})
	k := keyed{t, d}
	read := func(v any, args ...string) {
		t.Helper()
		if err := json.Unmarshal([]byte(k.cli(append(args, "--json")...)), v); err != nil {
			t.Fatal(err)
		}
	}
	var input client.LiveInputWithSecret
	read(&input, "input", "create", "Studio")
	sign := func(viewer string) (u client.PlaybackURL) {
		t.Helper()
		read(&u, "url", "sign", "--input", input.ID, "--relay", "moqt://"+d.MoQ, "--viewer", viewer)
		if u.TokenID == "" {
			t.Fatalf("a signed URL without the id of its token: %+v", u)
		}
		return u
	}
	push := d.Push(t, input.ExternalID+"?sk="+input.StreamKey, harness.TestPicture{})
	s := streamsOf(t, d)
	byURL, byID, thrown, stays := sign("a"), sign("b"), sign("c"), sign("d")
	open := map[string]*player{}
	for _, u := range []client.PlaybackURL{byURL, byID, thrown, stays} {
		open[u.TokenID] = play(t, s, u.URL)
		open[u.TokenID].next()
	}
	session := newOperator(t, d).find(input.ExternalID)

	for _, tt := range []struct {
		name string
		of   client.PlaybackURL
		do   []string
	}{
		{"by itself", byURL, []string{"url", "revoke", byURL.URL}},
		{"by its id", byID, []string{"url", "revoke", "--id", byID.TokenID}},
	} {
		k.cli(tt.do...)
		open[tt.of.TokenID].ends(client.AuthFailed, 2*time.Second)
		play(t, s, tt.of.URL).ends(client.AuthFailed, 10*time.Second)
		if t.Failed() {
			t.Fatalf("revoked %s", tt.name)
		}
	}

	// A client that is only disconnected may be back before it knows why.
	closed := regexp.MustCompile(`session ended.*UNAUTHORIZED.*auth_failed: enough`)
	if got := k.cli("session", "disconnect", session, "--viewer", "c", "--remote", "127.0.0.0/8", "--reason", "enough"); got != "closed 1" {
		t.Errorf("disconnect says %q, want that one was", got)
	}
	d.WaitLog(closed, 2*time.Second)
	play(t, s, thrown.URL).next()
	for _, who := range []string{"nobody", "a"} {
		if got := k.cli("session", "disconnect", session, "--viewer", who); got != "closed 0" {
			t.Errorf("disconnect of %s says %q", who, got)
		}
	}

	for len(open[stays.TokenID].chunks) > 0 { // what came before
		<-open[stays.TokenID].chunks
	}
	open[stays.TokenID].next()
	if newOperator(t, d).session(session).Status != "live" {
		t.Errorf("the session has ended: %s", push.Log())
	}
	if n := len(closed.FindAllString(d.Log(), -1)); n != 1 {
		t.Errorf("%d sessions were closed by the one command, want 1", n)
	}
}
