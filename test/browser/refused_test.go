package browser_test

import (
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// An attempt is what a page learns when it opens a session: pages/moqt-refused.js.
type attempt struct {
	Ready     bool   // WebTransport.ready resolved
	Request   string // how the SUBSCRIBE went
	CloseCode int    // of WebTransport.closed, with the reason
	Reason    string
}

var requestError = regexp.MustCompile(`^Subscribe failed: auth_failed: .* \(\d+\)$`)

// testRefused shows what browsers and people are told by a server that wants
// a token of everybody.
func testRefused(t *testing.T, b *harness.Browser, site *url.URL) {
	d := harness.Start(t, harness.Options{Args: []string{"--demo"}, Env: map[string]string{"BROADCASTD_AUTH__LOOPBACK": "false"}})
	key, revoked := cli(t, d, "key", "create"), cli(t, d, "key", "create")
	sign := func(name, key, ttl string) string {
		return cli(t, d, "url", "sign", "--namespace", "stream/local/"+name, "--relay", "https://"+d.MoQ, "--key", key, "--ttl", ttl)
	}
	good, expired, foreign, unrevoked := sign("demo", key, "1h"), sign("demo", key, "1ns"), sign("cam", key, "1h"), sign("demo", revoked, "1h")
	expires := time.Now().Add(6 * time.Second) // the second that it counts in, and the leeway for clocks
	cli(t, d, "key", "revoke", revoked)

	testNoToken(t, d, b)
	viewer := b.Open(t, "http://"+d.HTTP+"/watch/demo?tok="+token(t, good), harness.View{})
	playPage(t, viewer, 2)

	at := strings.LastIndex(good, ".") + 10 // in the signature
	tampered := good[:at] + "AAAA" + good[at+4:]
	p := b.Open(t, site.JoinPath("moqt-refused.html").String(), harness.View{})
	hash := d.CertHash(t)
	call := func(url string) string {
		return "attempt(" + strconv.Quote(url) + ", " + strconv.Quote(hash) + `, "stream/local/demo")`
	}
	for _, tt := range []struct{ name, url string }{
		{"no token", "https://" + d.MoQ + "/playback/demo"},
		{"of another input", strings.Replace(foreign, "/playback/cam", "/playback/demo", 1)},
		{"tampered", tampered},
		{"of a revoked key", unrevoked},
		{"expired", expired},
	} {
		if tt.url == expired {
			<-time.After(time.Until(expires))
		}
		var tries []attempt // all at once
		p.Eval("Promise.all(Array.from({length: 3}, () => "+call(tt.url)+"))", &tries)
		for i, a := range tries {
			if !a.Ready || !requestError.MatchString(a.Request) || a.CloseCode != 2 || !strings.HasPrefix(a.Reason, "auth_failed: ") {
				t.Errorf("%s, try %d: %+v, want a REQUEST_ERROR, close code 2 and auth_failed", tt.name, i+1, a)
			}
		}
		t.Logf("%s, %d tries: %+v", tt.name, len(tries), tries[0])
	}
	var ok attempt
	p.Eval(call(good), &ok)
	if ok.Request != "accepted" {
		t.Errorf("with a good token: %+v, want accepted: the page itself is to blame", ok)
	}
	testRevoked(t, d, viewer, key)
}

// testNoToken opens our page without a token: it says what is missing.
func testNoToken(t *testing.T, d *harness.Daemon, b *harness.Browser) {
	p := b.Open(t, "http://"+d.HTTP+"/", harness.View{})
	p.WaitFor(`/playback token/.test(document.getElementById("notice").textContent)`, 5*time.Second)
	p.Screenshot("page-no-token.png")
	var notice string
	p.Eval(`document.getElementById("notice").textContent`, &notice)
	t.Logf("without a token the page says: %s", notice)
	p.Close()
}

// testRevoked revokes the key that let a viewer in: the page stops within two
// seconds and says why.
func testRevoked(t *testing.T, d *harness.Daemon, viewer *harness.Page, key string) {
	viewer.WaitFor(`broadcastd.state() === "playing"`, 5*time.Second)
	began := time.Now()
	cli(t, d, "key", "revoke", key)
	viewer.WaitFor(`broadcastd.state() === "failed"`, 5*time.Second)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the viewer was closed after %v, want 2 s or less", took)
	} else {
		t.Logf("the viewer was closed %v after the revocation", took)
	}
	var notice string
	viewer.Eval(`document.getElementById("notice").textContent`, &notice)
	t.Logf("the page says: %s", notice)
	if !strings.Contains(notice, "auth") || !strings.Contains(notice, "revoked") {
		t.Errorf("the page says %q, want auth and revoked", notice)
	}
	viewer.Eval("new Promise(done => setTimeout(done, 2500))", nil) // the next look at the list must not wipe it out
	var later string
	viewer.Eval(`document.getElementById("notice").textContent`, &later)
	if later != notice {
		t.Errorf("and then %q", later)
	}
	viewer.Screenshot("page-revoked.png")
}

// cli runs a subcommand on the state directory of d and returns what it prints.
func cli(t *testing.T, d *harness.Daemon, args ...string) string {
	t.Helper()
	cmd := exec.Command(harness.Build(t), append(args, "--state-dir", d.StateDir)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", args[:2], err)
	}
	return strings.TrimSpace(string(out))
}

// token returns the token in a signed URL, which needs no escape in another.
func token(t *testing.T, signed string) string {
	t.Helper()
	u, err := url.Parse(signed)
	if err != nil {
		t.Fatal("a signed URL cannot be read") // the error would quote it
	}
	return u.Query().Get("tok")
}
