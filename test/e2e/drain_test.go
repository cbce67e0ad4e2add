package e2e_test

import (
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// TestRollingRestart stops a daemon under a publisher and a recorder that has to
// have everything. The daemon sends both to another one, and the recording is
// the source, packet by packet, as if nothing had been.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"moqt", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			source, out := filepath.Join(dir, "source.mp4"), filepath.Join(dir, "out.mp4")
			picture := harness.TestPicture{Duration: 10 * time.Second, BFrames: 2, Fast: true}
			args := append(picture.Args(), "-f", "mp4", "-movflags", "+frag_keyframe+empty_moov+default_base_moof", source)
			if err := harness.FFmpeg(t, args...).Wait(time.Minute); err != nil {
				t.Fatal(err)
			}
			next := harness.Start(t, harness.Options{})
			d := harness.Start(t, harness.Options{Env: map[string]string{"BROADCASTD_MOQ__DRAIN_URI": scheme + "://" + next.MoQ}})
			at := append(relayURL(t, d, scheme), "--cert-sha256", next.CertHash(t))
			rec := command(t, append([]string{"record", "--verbose", "--namespace", "stream/local/file", "--output", out}, at...)...)
			pub := command(t, append([]string{"publish", "--verbose", "--namespace", "stream/local/file", source}, at...)...)
			d.WaitLive(t, "stream/local/file", 10*time.Second)
			pause(t, 3*time.Second) // media, in real time
			took, err := d.Stop()
			if err != nil || took > 8*time.Second {
				t.Errorf("the daemon ended after %v with %v, want exit 0 before its time is over", took, err)
			}
			next.WaitLive(t, "stream/local/file", time.Second)
			if err := pub.Wait(20 * time.Second); err != nil {
				t.Fatalf("publish: %v\n%s", err, pub.Log())
			}
			if err := rec.Wait(10 * time.Second); err != nil {
				t.Fatalf("record: %v\n%s", err, rec.Log())
			}
			for _, kind := range []string{"v", "a"} {
				if diff := difference(packets(t, out, kind), packets(t, source, kind)); diff != "" {
					t.Errorf("stream %s: %s\n%s", kind, diff, rec.Log())
				}
			}
			rec.WaitLog(regexp.MustCompile(`moving to another session`), time.Second)
			rec.WaitLog(regexp.MustCompile(`the broadcast has ended`), time.Second)
		})
	}
}
