package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/client"
	"github.com/broadcastd/broadcastd/test/harness"
)

// TestBackupInput kills an encoder for good. Its viewer goes on with the media of
// the backup, for longer than the grace, and gets the encoder back when it returns.
func TestBackupInput(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Env: map[string]string{"BROADCASTD_INGEST__GRACE": "1s", "BROADCASTD_INGEST__STALL": "500ms"}})
	k := keyed{t, d}
	create := func(args ...string) (in client.LiveInputWithSecret) {
		if err := json.Unmarshal([]byte(k.cli(append([]string{"input", "create", "Studio", "--json"}, args...)...)), &in); err != nil {
			t.Fatal(err)
		}
		return in
	}
	spare := create()
	cam := create("--backup", spare.ExternalID)
	d.Push(t, spare.ExternalID+"?sk="+spare.StreamKey, harness.TestPicture{})
	push := d.Push(t, cam.ExternalID+"?sk="+cam.StreamKey, harness.TestPicture{})
	viewer := play(t, streamsOf(t, d), k.cli("url", "sign", "--input", cam.ID, "--relay", "moqt://"+d.MoQ))
	chunks := func(d time.Duration) (n int) {
		for end := time.Now().Add(d); time.Now().Before(end); n++ {
			viewer.next()
		}
		return n
	}
	chunks(time.Second)
	push.Kill()
	if n := chunks(4 * time.Second); n < 30 {
		t.Errorf("%d chunks came in the 4 s after the encoder was killed, want 2 s of them and more", n)
	}
	if list := k.cli("session", "list", "--input", cam.ExternalID, "--json"); strings.Count(list, `"sess_`) != 1 {
		t.Errorf("sessions:\n%s\nwant the one that began", list)
	}
	d.Push(t, cam.ExternalID+"?sk="+cam.StreamKey, harness.TestPicture{})
	chunks(3 * time.Second)
	for _, want := range []string{"the input stalled", "the input is back"} {
		if strings.Count(d.Log(), want) == 0 {
			t.Errorf("the log lacks %q:\n%s", want, d.Log())
		}
	}
}
