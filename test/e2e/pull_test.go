package e2e_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// hlsLive writes a live tree with ffmpeg, fMP4 or TS, and serves it. source is
// the file that it is made of.
func hlsLive(t *testing.T, source, kind string) (url string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(harness.Tool(t, "ffmpeg"), "-v", "error", "-re", "-i", source, "-c", "copy",
		"-f", "hls", "-hls_time", "1", "-hls_list_size", "0", "-hls_segment_type", kind, "live.m3u8")
	cmd.Dir = dir
	harness.StartProc(t, "ffmpeg hls", cmd)
	site := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(site.Close)
	return site.URL + "/live.m3u8"
}

// TestHLSPull publishes a live tree of ffmpeg's while it grows: the pictures and
// the sound that a recorder gets are the source's.
func TestHLSPull(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{})
	source := filepath.Join(t.TempDir(), "source.mp4")
	args := append(harness.TestPicture{Duration: 6 * time.Second, Fast: true}.Args(), harness.FMP4()...)
	if err := harness.FFmpeg(t, append(args, source)...).Wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"fmp4", "mpegts"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			url := hlsLive(t, source, kind)
			out := filepath.Join(t.TempDir(), "out.mp4")
			ns := []string{"--namespace", "stream/local/" + kind}
			rec := command(t, append(append([]string{"record", "--output", out}, ns...), relayURL(t, d, "https")...)...)
			harness.Eventually(t, 10*time.Second, "the playlist", exists(url))
			pub := command(t, append(append([]string{"publish", url}, ns...), relayURL(t, d, "moqt")...)...)
			if err := pub.Wait(40 * time.Second); err != nil {
				t.Fatalf("publish: %v\n%s", err, pub.Log())
			}
			if err := rec.Wait(10 * time.Second); err != nil || !strings.Contains(rec.Log(), "no gap") {
				t.Fatalf("record: %v\n%s", err, rec.Log())
			}
			for _, stream := range []string{"v", "a"} {
				got, want := decoded(t, out, stream), decoded(t, source, stream)
				if len(got) != len(want) {
					t.Errorf("%s: %d frames, want %d", stream, len(got), len(want))
					continue
				}
				for i := range got {
					if got[i] != want[i] {
						t.Errorf("%s: frame %d differs", stream, i)
						break
					}
				}
			}
		})
	}
}

// TestConfiguredPull lets the daemon pull by itself what its settings list, and
// refuses settings that cannot work.
func TestConfiguredPull(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "source.mp4")
	args := append(harness.TestPicture{Duration: 30 * time.Second, Fast: true}.Args(), harness.FMP4()...)
	if err := harness.FFmpeg(t, append(args, source)...).Wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	url := hlsLive(t, source, "fmp4")
	harness.Eventually(t, 10*time.Second, "the playlist", exists(url))
	settings := filepath.Join(t.TempDir(), "broadcastd.yaml")
	if err := os.WriteFile(settings, []byte("pulls:\n  - name: news\n    url: "+url+"?secret=hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := harness.Start(t, harness.Options{Args: []string{"--config", settings}})
	out := filepath.Join(t.TempDir(), "out.mp4")
	rec := command(t, append([]string{"record", "--namespace", "stream/local/news", "--output", out, "--duration", "2s"}, relayURL(t, d, "moqt")...)...)
	if err := rec.Wait(20 * time.Second); err != nil || !strings.Contains(rec.Log(), "no gap") {
		t.Errorf("record: %v\n%s", err, rec.Log())
	}
	if strings.Contains(d.Log(), "hunter2") {
		t.Error("the log holds the query of the URL")
	}
	for _, bad := range []string{"{name: a b, url: " + url + "}", "{name: a, url: ftp://x/y}"} {
		if err := os.WriteFile(settings, []byte("pulls: ["+bad+"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := command(t, "serve", "--config", settings, "--state-dir", t.TempDir())
		if code := exitCode(p.Wait(10 * time.Second)); code != 2 || !strings.Contains(p.Log(), "pulls") {
			t.Errorf("%s: exit code %d, %q, want 2 and the setting's name", bad, code, p.Log())
		}
	}
}

// TestInputPull has the daemon pull for live inputs: what the API is given is
// pulled at once where pull.allow lets it, and refused by name where not.
func TestInputPull(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "source.mp4")
	args := append(harness.TestPicture{Duration: 30 * time.Second, Fast: true}.Args(), harness.FMP4()...)
	if err := harness.FFmpeg(t, append(args, source)...).Wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	url := hlsLive(t, source, "mpegts")
	harness.Eventually(t, 10*time.Second, "the playlist", exists(url))
	said := func(d *harness.Daemon, text string) func(context.Context) error {
		return func(context.Context) error {
			if !strings.Contains(d.Log(), text) {
				return errors.New("the log does not say it")
			}
			return nil
		}
	}
	settings := map[string]any{"pull": url + "?secret=hunter2"}
	env := map[string]string{"BROADCASTD_ADMIN_KEY": rtmpAdminKey}
	closed := harness.Start(t, harness.Options{Env: env})
	makeInput(t, closed, "hls", settings)
	harness.Eventually(t, 10*time.Second, "the refusal", said(closed, "add 127.0.0.1/32 to pull.allow"))

	env["BROADCASTD_PULL__ALLOW"] = "127.0.0.1"
	d := harness.Start(t, harness.Options{Env: env})
	in := makeInput(t, d, "hls", settings)
	is := func(status string) func(context.Context) error {
		return func(context.Context) error {
			var now struct{ Status string }
			if apiCall(t, d, http.MethodGet, "/api/v1/live-inputs/"+in.ID, nil, &now); now.Status != status {
				return errors.New("the input is " + now.Status)
			}
			return nil
		}
	}
	harness.Eventually(t, 15*time.Second, "the pull", is("live"))
	apiCall(t, d, http.MethodPatch, "/api/v1/live-inputs/"+in.ID, []byte(`{"settings":{"pull":""}}`), new(struct{}))
	harness.Eventually(t, 10*time.Second, "the end of the pull", said(d, "the input's settings changed"))
	harness.Eventually(t, 15*time.Second, "the end of the broadcast", is("idle"))
	if strings.Contains(d.Log()+closed.Log(), "hunter2") {
		t.Error("the log holds the query of the URL")
	}
}

// exists reports when a URL answers 200.
func exists(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		return nil
	}
}

// decoded hashes the decoded frames of one kind of stream: what TS and MP4 hold
// differs in framing, not in this.
func decoded(t *testing.T, file, kind string) []string {
	t.Helper()
	out, err := exec.Command(harness.Tool(t, "ffmpeg"), "-v", "error", "-i", file, "-map", "0:"+kind, "-f", "framemd5", "-").Output()
	if err != nil {
		t.Fatalf("framemd5 of %s: %v", file, err)
	}
	var hashes []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Split(strings.TrimSpace(line), ","); !strings.HasPrefix(line, "#") {
			hashes = append(hashes, strings.TrimSpace(f[len(f)-1]))
		}
	}
	return hashes
}
