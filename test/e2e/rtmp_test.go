package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// rtmpAdminKey is the key of the daemon's administrator in these tests.
const rtmpAdminKey = "admin-key-of-the-rtmp-tests"

// A liveInput is what the API says of one that it made.
type liveInput struct {
	ID, ExternalID, StreamKey string
	Publish                   map[string]string
}

// makeInput makes a live input over the API.
func makeInput(t *testing.T, d *harness.Daemon, ingest string, settings map[string]any) (in liveInput) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"name": "camera", "ingest": ingest, "settings": settings})
	if err != nil {
		t.Fatal(err)
	}
	apiCall(t, d, http.MethodPost, "/api/v1/live-inputs", body, &in)
	return in
}

// apiCall calls the API as the administrator.
func apiCall(t *testing.T, d *harness.Daemon, method, path string, body []byte, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+d.HTTP+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+rtmpAdminKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(res.Body); err != nil || res.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s %v %s", method, path, res.Status, err, &text)
	}
	if err := json.Unmarshal(text.Bytes(), into); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, &text)
	}
}

// pushRTMP lets ffmpeg push the test picture.
func pushRTMP(t *testing.T, url string, p harness.TestPicture) *harness.Proc {
	t.Helper()
	return harness.FFmpeg(t, append(p.Args(), "-f", "flv", url)...)
}

// TestRTMPAdmission: who may publish over RTMP does, and who may not reads why in
// the encoder's log. Keys land in none of ours.
func TestRTMPAdmission(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Env: map[string]string{
		"BROADCASTD_AUTH__LOOPBACK": "false", "BROADCASTD_ADMIN_KEY": rtmpAdminKey,
	}})
	rtmp := func(in liveInput, key string) string {
		return "rtmp://" + d.RTMP + "/live/" + in.ExternalID + "?sk=" + key
	}
	in := makeInput(t, d, "rtmp", nil)
	srt := makeInput(t, d, "srt", nil)
	elsewhere := makeInput(t, d, "rtmp", map[string]any{"allowFrom": []string{"192.0.2.0/24"}})
	secret := makeInput(t, d, "rtmp", map[string]any{"requireEncryption": true})
	slow := makeInput(t, d, "rtmp", map[string]any{"maxBitrate": 100_000})
	few := makeInput(t, d, "rtmp", map[string]any{"maxTracks": 1})
	brief := harness.TestPicture{Duration: 20 * time.Second}
	for _, tt := range []struct{ name, url, says string }{
		{"no key", "rtmp://" + d.RTMP + "/live/" + in.ExternalID, "auth"},
		{"another input's key", rtmp(in, srt.StreamKey), "auth_failed"},
		{"a key that is none", rtmp(in, "sk_live_0000"), "auth_failed"},
		{"another protocol's input", rtmp(srt, srt.StreamKey), "it takes srt, and this is rtmp"},
		{"an address that may not", rtmp(elsewhere, elsewhere.StreamKey), "may not come from this address"},
		{"in the clear", rtmp(secret, secret.StreamKey), "has to encrypt"},
		{"more bits than it may", rtmp(slow, slow.StreamKey), "bitrate is higher"},
		{"more tracks than it may", rtmp(few, few.StreamKey), "too many tracks"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pushRTMP(t, tt.url, brief)
			if code := exitCode(p.Wait(15 * time.Second)); code == 0 {
				t.Error("it was taken")
			}
			if !strings.Contains(p.Log(), tt.says) && !strings.Contains(d.Log(), tt.says) {
				t.Errorf("neither side says %q; the encoder: %s", tt.says, p.Log())
			}
		})
	}

	p := pushRTMP(t, rtmp(in, in.StreamKey), harness.TestPicture{})
	obs := pushRTMP(t, secret.Publish["rtmps"]+"?user=me&pass="+secret.StreamKey, harness.TestPicture{})
	for _, name := range []string{in.ExternalID, secret.ExternalID} {
		d.WaitLog(regexp.MustCompile(`"broadcast began".*`+name), 15*time.Second)
	}
	var rotated liveInput
	apiCall(t, d, http.MethodPost, "/api/v1/live-inputs/"+in.ID+"/rotate-key", nil, &rotated)
	if code := exitCode(p.Wait(5 * time.Second)); code == 0 {
		t.Error("the encoder goes on with a key that was taken back")
	}
	if _, err := obs.Stop(); err != nil {
		t.Logf("ffmpeg: %v", err)
	}
	for _, key := range []string{in.StreamKey, secret.StreamKey, rotated.StreamKey, rtmpAdminKey} {
		if strings.Contains(d.Log(), key) {
			t.Error("a key stands in the log")
		}
	}
}

// TestRTMPReturns kills an encoder and starts it again.
func TestRTMPReturns(t *testing.T) {
	t.Parallel()
	testReturns(t, func(d *harness.Daemon, p harness.TestPicture) *harness.Proc {
		return pushRTMP(t, "rtmp://"+d.RTMP+"/live/cam", p)
	})
}

// testReturns kills an encoder and starts it again: the recording goes on, with
// what came before and all that came after, and the broadcast does not end.
func testReturns(t *testing.T, push func(*harness.Daemon, harness.TestPicture) *harness.Proc) {
	t.Helper()
	d := harness.Start(t, harness.Options{Env: map[string]string{"BROADCASTD_INGEST__GRACE": "4s"}})
	out := filepath.Join(t.TempDir(), "out.mp4")
	rec := command(t, append([]string{"record", "--namespace", "stream/local/cam", "--output", out}, relayURL(t, d, "moqt")...)...)
	first := push(d, harness.TestPicture{BFrames: 2})
	d.WaitLive(t, "stream/local/cam", 15*time.Second)
	pause(t, 2*time.Second)
	first.Kill()
	second := push(d, harness.TestPicture{Duration: 3 * time.Second, BFrames: 2})
	d.WaitLog(regexp.MustCompile(`"input returned"|"input replaced by a newer connection"`), 10*time.Second)
	if err := second.Wait(20 * time.Second); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, second.Log())
	}
	if err := rec.Wait(15 * time.Second); err != nil {
		t.Fatalf("record: %v\n%s", err, rec.Log())
	}
	if got := strings.Count(d.Log(), `"broadcast began"`); got != 1 {
		t.Errorf("the broadcast began %d times, want once", got)
	}
	video := packets(t, out, "v")
	if n := len(video.packets); n < 90+45 {
		t.Errorf("%d pictures were recorded, want the 90 of the second encoder and 45 or more of the first", n)
	}
	for i := 1; i < len(video.packets); i++ {
		if video.packets[i].dts <= video.packets[i-1].dts {
			t.Fatalf("picture %d does not come after the one before it", i)
		}
	}
}
