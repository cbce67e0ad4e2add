package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// shell runs a line of sh, which finds the daemon's binary in $BROADCASTD.
func shell(tb testing.TB, line string) *harness.Proc {
	tb.Helper()
	cmd := exec.Command("sh", "-c", line)
	cmd.Env = append(os.Environ(), "BROADCASTD="+harness.Build(tb))
	cmd.Dir = tb.TempDir()
	return harness.StartProc(tb, "sh", cmd)
}

// TestPublisherReturns kills the encoder and starts it again within the grace:
// a recorder goes on in the same session. Then the encoder stays away, and
// stream and namespace are gone within two seconds after the grace.
func TestPublisherReturns(t *testing.T) {
	t.Parallel()
	const grace = 3 * time.Second
	d := harness.Start(t, harness.Options{Env: map[string]string{"BROADCASTD_INGEST__GRACE": grace.String()}})
	out := filepath.Join(t.TempDir(), "out.mp4")
	rec := command(t, append([]string{"record", "--verbose", "--namespace", "stream/local/cam", "--output", out}, relayURL(t, d, "moqt")...)...)
	first := d.Push(t, "cam", harness.TestPicture{})
	d.WaitLive(t, "stream/local/cam", 10*time.Second)
	pause(t, 2*time.Second) // media, in real time
	first.Kill()
	pause(t, time.Second)
	second := d.Push(t, "cam", harness.TestPicture{})
	pause(t, 4*time.Second)
	second.Kill()
	gone := time.Now()
	harness.Eventually(t, grace+4*time.Second, "the namespace gone", func(ctx context.Context) error {
		list, err := d.Broadcasts(ctx)
		if err == nil && len(list) > 0 {
			err = fmt.Errorf("have %+v", list)
		}
		return err
	})
	if after := time.Since(gone); after < grace-time.Second/2 || after > grace+2*time.Second {
		t.Errorf("gone %v after the encoder was, want %v to %v", after, grace, grace+2*time.Second)
	}
	if err := rec.Wait(2 * time.Second); err != nil {
		t.Fatalf("record: %v\n%s", err, rec.Log())
	}
	if !strings.Contains(rec.Log(), "the broadcast has ended") {
		t.Errorf("record said %q, want that the broadcast has ended", rec.Log())
	}
	v := packets(t, out, "v")
	jumps := 0
	for i, p := range v.packets[1:] {
		step := p.dts - v.packets[i].dts
		if step <= 0 {
			t.Fatalf("media time goes back at picture %d: %d after %d", i+1, p.dts, v.packets[i].dts)
		}
		if step > 4*512 { // a picture lasts 512 ticks, ffmpeg's first one somewhat more
			jumps++
		}
	}
	if len(v.packets) < 120 || jumps != 1 {
		t.Errorf("%d pictures with %d jumps, want about 170 of both runs and one jump", len(v.packets), jumps)
	}
}

// pause lets real time pass while media runs: there is no event for that.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// TestMalformedInput posts two good seconds and then rubbish. The answer names
// box and byte, and the good seconds are there to be played.
func TestMalformedInput(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "good.mp4")
	args := append(harness.TestPicture{Duration: 2 * time.Second, Fast: true}.Args(), harness.FMP4()...)
	if err := harness.FFmpeg(t, append(args, file)...).Wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := harness.Start(t, harness.Options{})
	bad := append(bytes.Clone(good), 0, 0, 0, 1, 'm', 'o', 'o', 'f', 0x80, 0, 0, 0, 0, 0, 0, 0)
	res, err := http.Post("http://"+d.HTTP+"/ingest/cam", "video/mp4", bytes.NewReader(bad))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	// ffmpeg ends a file with mfra, which takes its place in the count.
	if want := fmt.Sprintf("box moof at byte %d", len(good)); res.StatusCode != 400 || !strings.Contains(string(text), want) {
		t.Errorf("answer = %d %q, want 400 with %q", res.StatusCode, text, want)
	}
	out := filepath.Join(t.TempDir(), "out.mp4")
	rec := command(t, append([]string{"record", "--namespace", "stream/local/cam", "--output", out}, relayURL(t, d, "moqt")...)...)
	if err := rec.Wait(15 * time.Second); err != nil {
		t.Fatalf("record: %v\n%s", err, rec.Log())
	}
	if n := len(packets(t, out, "v").packets); n != 30 && n != 60 {
		t.Errorf("%d pictures, want those of the last group or of both", n)
	}
}

// TestStrangers are refused before their body is read.
func TestStrangers(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Args: []string{"--demo"}})
	for _, header := range []http.Header{{"Origin": {"https://evil.example"}}, {"X-Forwarded-For": {"127.0.0.1"}}} {
		req, err := http.NewRequest(http.MethodPost, "http://"+d.HTTP+"/ingest/cam", strings.NewReader("never read"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("POST with %v = %s, want 403", header, res.Status)
		}
	}
	p := command(t, append([]string{"view", "--namespace", "stream/acme/cam"}, relayURL(t, d, "https")...)...)
	if code := exitCode(p.Wait(10 * time.Second)); code != 3 {
		t.Errorf("a foreign namespace: exit %d, want 3\n%s", code, p.Log())
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Args: []string{"--demo"}})
	trusted := relayURL(t, d, "moqt")
	free := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"done", append([]string{"record", "--namespace", "stream/local/demo", "--output", "x.mp4", "--duration", "1s"}, trusted...), 0, "wrote 1.0"},
		{"not there", append([]string{"record", "--namespace", "stream/local/none", "--output", "x.mp4", "--wait", "500ms"}, trusted...), 1, "not there"},
		{"usage", []string{"record", "--namespace", "stream/local/demo", "--output", "x.mp4"}, 2, "--relay is missing"},
		{"a config with a slip", []string{"serve", "--http.listen", "nowhere"}, 2, "http.listen"},
		{"not trusted", []string{"view", "--relay", "https://" + d.MoQ, "--namespace", "stream/local/demo"}, 4, "--insecure"},
		{"nobody there", []string{"view", "--relay", "moqt://" + free, "--namespace", "stream/local/demo"}, 4, "unreachable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := command(t, tt.args...)
			if code := exitCode(p.Wait(20 * time.Second)); code != tt.code || !strings.Contains(p.Log(), tt.says) {
				t.Errorf("exit %d, want %d with %q:\n%s", code, tt.code, tt.says, p.Log())
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{})
	_, port, _ := strings.Cut(d.HTTP, ":")
	p := command(t, "serve", "--http.listen", d.HTTP, "--moq.listen", "127.0.0.1:0", "--admin.listen", "127.0.0.1:0", "--state-dir", t.TempDir())
	if code := exitCode(p.Wait(10 * time.Second)); code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	for _, want := range []string{"port " + port + " is in use", "http.listen", "BROADCASTD_HTTP__LISTEN"} {
		if !strings.Contains(p.Log(), want) {
			t.Errorf("said %q, want %q in it", p.Log(), want)
		}
	}
}

// TestInterrupt ends the daemon with Ctrl-C while it has an input and viewers:
// they are told that the broadcast has ended.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Args: []string{"--demo"}})
	push := d.Push(t, "cam", harness.TestPicture{})
	var viewers []*harness.Proc
	for _, name := range []string{"demo", "cam"} {
		for _, scheme := range []string{"moqt", "https"} {
			out := filepath.Join(t.TempDir(), "out.mp4")
			viewers = append(viewers, command(t, append([]string{"record", "--namespace", "stream/local/" + name, "--output", out}, relayURL(t, d, scheme)...)...))
		}
	}
	d.WaitLive(t, "stream/local/cam", 10*time.Second)
	pause(t, 2*time.Second)
	took, err := d.Stop()
	if err != nil || took > 2*time.Second {
		t.Errorf("Ctrl-C: ended after %v with %v, want exit 0 within 2 s", took, err)
	}
	for _, v := range viewers {
		if err := v.Wait(3 * time.Second); err != nil || !strings.Contains(v.Log(), "the broadcast has ended") || !strings.Contains(v.Log(), "no gap") {
			t.Errorf("a recorder ended with %v and said %q", err, v.Log())
		}
	}
	push.Wait(5 * time.Second)
}

// TestSecondInterrupt has a viewer that does not leave, so that an orderly end
// takes its time; the second Ctrl-C does not wait.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Args: []string{"--demo"}})
	v := command(t, append([]string{"view", "--namespace", "stream/local/demo"}, relayURL(t, d, "moqt")...)...)
	v.WaitLog(regexp.MustCompile(`first object`), 10*time.Second)
	v.Signal(syscall.SIGSTOP)
	defer v.Signal(syscall.SIGCONT)
	d.Signal(os.Interrupt)
	d.WaitLog(regexp.MustCompile(`stopping`), 2*time.Second)
	d.Signal(os.Interrupt)
	began := time.Now()
	err := d.Wait(2 * time.Second)
	if took := time.Since(began); exitCode(err) != 1 || took > 300*time.Millisecond {
		t.Errorf("the second Ctrl-C: exit %d after %v, want 1 at once", exitCode(err), took)
	}
}

// TestStateIsKept starts the daemon twice: certificate and key stay. The key
// itself is shown on a terminal only, and the second start does not speak of it.
func TestStateIsKept(t *testing.T) {
	t.Parallel()
	o := harness.Options{StateDir: t.TempDir(), Env: map[string]string{"BROADCASTD_LOG__FORMAT": "text"}}
	d := harness.Start(t, o)
	hash := d.CertHash(t)
	file := filepath.Join(o.StateDir, "admin.key")
	d.WaitLog(regexp.MustCompile(`admin key .*`+regexp.QuoteMeta(file)), 2*time.Second)
	if _, err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%s: %v, want mode 0600", file, err)
	}
	key, err := os.ReadFile(file)
	if err != nil || len(bytes.TrimSpace(key)) < 20 {
		t.Fatalf("%s holds %d bytes, %v", file, len(key), err)
	}
	again := harness.Start(t, o)
	if got := again.CertHash(t); got != hash {
		t.Errorf("certificate after a restart = %s, want %s", got, hash)
	}
	for n, log := range []string{d.Log(), again.Log()} {
		if strings.Contains(log, string(bytes.TrimSpace(key))) {
			t.Errorf("start %d shows the key:\n%s", n+1, log)
		}
		if !strings.Contains(log, o.StateDir) {
			t.Errorf("start %d does not name the state directory:\n%s", n+1, log)
		}
	}
	if strings.Contains(again.Log(), "admin key") {
		t.Errorf("the second start speaks of the key:\n%s", again.Log())
	}
	kept, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(kept, key) {
		t.Errorf("the key changed with the second start: %v", err)
	}
}
