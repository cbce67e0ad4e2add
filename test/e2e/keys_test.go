package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// A keyed is a daemon that lets nobody in without a key, and its state.
type keyed struct {
	t *testing.T
	d *harness.Daemon
}

// cli runs a subcommand that works on the state directory, and returns what it
// prints.
func (k keyed) cli(args ...string) string {
	k.t.Helper()
	cmd := exec.Command(harness.Build(k.t), append(args, "--state-dir", k.d.StateDir)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		k.t.Fatalf("%s: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// signed returns a URL for stream/local/demo by way of a scheme.
func (k keyed) signed(scheme, key string, ttl time.Duration) string {
	k.t.Helper()
	return k.cli("url", "sign", "--namespace", "stream/local/demo", "--relay", scheme+"://"+k.d.MoQ, "--key", key, "--ttl", ttl.String())
}

// play starts to record a signed URL.
func (k keyed) play(url string, args ...string) *harness.Proc {
	k.t.Helper()
	args = append([]string{"record", url, "--cert-sha256", k.d.CertHash(k.t), "--output", filepath.Join(k.t.TempDir(), "out.mp4")}, args...)
	return command(k.t, args...)
}

// TestKeys takes every way in that a signed URL and a stream key open, and
// every way in that they must not.
func TestKeys(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Args: []string{"--demo"}, Env: map[string]string{"BROADCASTD_AUTH__LOOPBACK": "false"}})
	k := keyed{t, d}
	key, other, revoked := k.cli("key", "create"), k.cli("key", "create", "--alg", "RS256"), k.cli("key", "create")
	unrevoked := k.signed("moqt", revoked, time.Hour)
	k.cli("key", "revoke", revoked)
	good, expired := k.signed("moqt", key, time.Hour), k.signed("moqt", key, time.Nanosecond)
	expires := time.Now().Add(6 * time.Second) // the second that it counts in, and the leeway for clocks

	for _, url := range []string{good, k.signed("https", other, time.Hour), strings.Replace(good, "moqt://", "moq://", 1)} {
		if err := k.play(url, "--duration", "1s").Wait(20 * time.Second); err != nil {
			t.Errorf("a good URL (%.5s…): %v", url, err)
		}
	}

	head, sig, _ := strings.Cut(good, ".ey")
	elsewhere := keyed{t, &harness.Daemon{MoQ: d.MoQ, StateDir: t.TempDir()}}
	stranger := elsewhere.signed("moqt", elsewhere.cli("key", "create"), time.Hour)
	foreign := k.cli("url", "sign", "--namespace", "stream/local/cam", "--relay", "moqt://"+d.MoQ, "--key", key)
	for _, tt := range []struct{ name, url string }{
		{"no token", "moqt://" + d.MoQ + "/playback/demo"},
		{"of another input", strings.Replace(foreign, "/playback/cam", "/playback/demo", 1)},
		{"for another path", strings.Replace(good, "/playback/demo", "/playback/cam", 1)},
		{"of a revoked key", unrevoked},
		{"of a key that is not ours", stranger},
		{"tampered", head + ".ez" + sig},
		{"over WebTransport", strings.Replace(unrevoked, "moqt://", "https://", 1)},
		{"expired", expired},
	} {
		if tt.name == "expired" {
			pause(t, time.Until(expires))
		}
		p := k.play(tt.url)
		if code := exitCode(p.Wait(20 * time.Second)); code != 3 || !strings.Contains(p.Log(), "auth") {
			t.Errorf("%s: exit code %d, %q, want 3 and auth_failed", tt.name, code, p.Log())
		}
	}

	sk := k.cli("key", "create", "--stream", "stream/local/cam")
	publish := func(name string) *harness.Proc {
		encoder := append(harness.TestPicture{}.Args(), append(harness.FMP4(), "-")...)
		return shell(t, harness.Tool(t, "ffmpeg")+" -v error '"+strings.Join(encoder, "' '")+"' | BROADCASTD_STREAM_KEY="+sk+
			" exec $BROADCASTD publish --relay https://"+d.MoQ+" --cert-sha256 "+d.CertHash(t)+" --namespace stream/local/"+name)
	}
	if p := publish("other"); exitCode(p.Wait(20*time.Second)) != 3 || !strings.Contains(p.Log(), "auth_failed") {
		t.Errorf("publish with a key of another stream: %q, want exit code 3 and auth_failed", p.Log())
	}
	publish("cam")
	if p := k.play(strings.Replace(foreign, "moqt://", "https://", 1), "--duration", "1s"); p.Wait(20*time.Second) != nil {
		t.Errorf("view what was published with a key: %s", p.Log())
	}

	// A live viewer is closed within two seconds of the revocation.
	live := k.play(good, "--verbose")
	live.WaitLog(regexp.MustCompile(`session ready`), 10*time.Second)
	pause(t, time.Second)
	began := time.Now()
	k.cli("key", "revoke", key)
	code := exitCode(live.Wait(10 * time.Second))
	if took := time.Since(began); code != 3 || took > 2*time.Second || !strings.Contains(live.Log(), "auth_failed") {
		t.Errorf("exit code %d after %v, want 3 within 2 s and auth_failed\n%s", code, took, live.Log())
	}
	d.Stop()
	for _, secret := range []string{sk, "tok=", "sk=", "sk_live", ".ey"} {
		if strings.Contains(d.Log(), secret) {
			t.Errorf("the log holds %.8s…", secret)
		}
	}
}
