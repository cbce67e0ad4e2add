package e2e_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/client"
	"github.com/broadcastd/broadcastd/test/harness"
)

// A player is a client.BroadcastViewer that plays.
type player struct {
	t      *testing.T
	chunks chan client.Chunk
	done   chan struct{}
	reason client.CloseReason
	err    error
}

// streamsOf returns how to reach a daemon's relay.
func streamsOf(t *testing.T, d *harness.Daemon) client.Streams {
	t.Helper()
	pin, err := hex.DecodeString(d.CertHash(t))
	if err != nil {
		t.Fatal(err)
	}
	return client.Streams{Relay: "moqt://" + d.MoQ, CertSHA256: [][]byte{pin}, Patience: 5 * time.Second}
}

func play(t *testing.T, s client.Streams, url string) *player {
	t.Helper()
	v, err := s.Viewer(client.ViewerConfig{Play: url})
	if err != nil {
		t.Fatal(err)
	}
	p := &player{t: t, chunks: make(chan client.Chunk, 1000), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(p.done)
		p.reason, p.err = v.Run(ctx, func(c client.Chunk) error {
			select {
			case p.chunks <- c:
			default: // nobody looks any more
			}
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-p.done })
	return p
}

// next returns the next chunk.
func (p *player) next() client.Chunk {
	p.t.Helper()
	select {
	case c := <-p.chunks:
		return c
	case <-p.done:
		p.t.Fatalf("the viewer ended: %s, %v", p.reason, p.err)
	case <-time.After(20 * time.Second):
		p.t.Fatal("no chunk came")
	}
	return client.Chunk{}
}

// ends waits for the end.
func (p *player) ends(want client.CloseReason, limit time.Duration) {
	p.t.Helper()
	select {
	case <-p.done:
		if p.reason != want {
			p.t.Errorf("the viewer ended with %s, %v, want %s", p.reason, p.err, want)
		}
	case <-time.After(limit):
		p.t.Errorf("the viewer did not end within %v", limit)
	}
}

// TestInputLifecycle is what an operator does: create an input, push to it, view
// it, rotate its key, revoke the signing key; then the same with a publisher in
// Go.
func TestInputLifecycle(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Env: map[string]string{"BROADCASTD_AUTH__LOOPBACK": "false", "BROADCASTD_INGEST__GRACE": "1s"}})
	k := keyed{t, d}
	var input client.LiveInputWithSecret
	if err := json.Unmarshal([]byte(k.cli("input", "create", "Studio", "--json")), &input); err != nil {
		t.Fatal(err)
	}
	first := k.cli("key", "create")
	url := k.cli("url", "sign", "--input", input.ID, "--relay", "moqt://"+d.MoQ, "--key", first)

	if bad := d.Push(t, input.ExternalID+"?sk=sk_live_no_no", harness.TestPicture{}); bad.Wait(10*time.Second) == nil {
		t.Error("a push with a wrong key is taken")
	}
	push := d.Push(t, input.ExternalID+"?sk="+input.StreamKey, harness.TestPicture{})
	s := streamsOf(t, d)
	viewer := play(t, s, url)
	header := viewer.next()
	if !header.IsInit || header.Priority != 0 || string(header.Data[4:8]) != "ftyp" {
		t.Errorf("the first chunk: init %t, priority %d, %q", header.IsInit, header.Priority, header.Data[:8])
	}
	for range 30 {
		if c := viewer.next(); c.IsInit || c.Priority != 1 || time.Since(time.UnixMicro(c.TimestampUs)).Abs() > time.Minute {
			t.Errorf("a chunk: init %t, priority %d, at %v", c.IsInit, c.Priority, time.UnixMicro(c.TimestampUs))
		}
	}
	if list := k.cli("session", "list", "--input", input.ExternalID, "--status", "live"); !strings.Contains(list, "fmp4") {
		t.Errorf("sessions:\n%s", list)
	}

	// The old key ends at once.
	second := k.cli("input", "rotate-key", input.ID)
	if push.Wait(5*time.Second) == nil {
		t.Error("ffmpeg ended well when its key was taken back")
	}
	if old := d.Push(t, input.ExternalID+"?sk="+input.StreamKey, harness.TestPicture{}); old.Wait(10*time.Second) == nil {
		t.Error("a push with the old key is taken")
	}

	// Over MoQ, with the new key, from a file that goes round and round.
	pub, err := s.OpenPublisher(t.Context(), client.PublisherConfig{Input: input.ExternalID, StreamKey: second})
	if err != nil {
		t.Fatal(err)
	}
	data := encoded(t)
	sent := make(chan error, 1)
	go func() {
		_, err := pub.ReadFrom(&paced{Reader: bytes.NewReader(data), rate: len(data) / 10, t: t})
		sent <- err
	}()
	late := play(t, s, url)
	if c := late.next(); !c.IsInit {
		t.Error("the first chunk of the second broadcast is no header")
	}
	for range 30 {
		late.next()
	}

	// The signing key that is gone closes its viewers.
	began := time.Now()
	k.cli("key", "revoke", first)
	late.ends(client.AuthFailed, 5*time.Second)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the viewer was closed after %v, want 2 s at most", took)
	}
	play(t, s, url).ends(client.AuthFailed, 5*time.Second)

	// So does the stream key.
	k.cli("input", "rotate-key", input.ExternalID)
	began = time.Now()
	if err := <-sent; err == nil {
		t.Error("a publisher whose key is gone goes on")
	}
	if reason, err := pub.Close(client.Finished); reason != client.AuthFailed || time.Since(began) > 5*time.Second {
		t.Errorf("the publisher ended with %s, %v after %v, want auth_failed", reason, err, time.Since(began))
	}
	if _, err := s.OpenPublisher(t.Context(), client.PublisherConfig{Input: input.ExternalID, StreamKey: second}); err == nil {
		t.Error("a publisher with the old key is taken")
	}
	k.cli("input", "delete", input.ID)
	d.Stop()
	if k.cli("input", "list"); strings.Contains(k.cli("input", "list"), input.ID) { // now without the daemon
		t.Error("the input is there after its deletion")
	}
	for _, secret := range []string{input.StreamKey, second, "tok=", "sk=", "sk_live", ".ey"} {
		if strings.Contains(d.Log(), secret) {
			t.Errorf("the log holds %.8s…", secret)
		}
	}
}

// encoded returns ten seconds of test picture as fragmented MP4.
func encoded(t *testing.T) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "source.mp4")
	picture := harness.TestPicture{Duration: 10 * time.Second, Fast: true}
	if err := harness.FFmpeg(t, append(picture.Args(), append(harness.FMP4(), file)...)...).Wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A paced reader gives so many bytes a second.
type paced struct {
	*bytes.Reader
	rate int
	t    *testing.T
}

func (p *paced) Read(b []byte) (int, error) {
	pause(p.t, 20*time.Millisecond)
	return p.Reader.Read(b[:min(len(b), max(p.rate/50, 1))])
}

var shBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestControlDocs runs docs/control.md from its first command to its last.
func TestControlDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "control.md"))
	if err != nil {
		t.Fatal(err)
	}
	d := harness.Start(t, harness.Options{})
	var script strings.Builder
	script.WriteString("set -e\nbroadcastd() { \"$BROADCASTD\" \"$@\"; }\n")
	for _, block := range shBlock.FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(block[1], "url sign") { // the encoder has begun by then
			script.WriteString("until \"$BROADCASTD\" session list --status live | grep -q fmp4; do sleep 0.1; done\n")
		}
		lines := strings.NewReplacer("localhost:8080", d.HTTP, "localhost:4443", d.MoQ, "\nwait\n", "\nwait || true\n").Replace(block[1])
		script.WriteString(strings.ReplaceAll(lines, "$(broadcastd url sign --input \"$id\"", "$(broadcastd url sign --input \"$id\" --relay moqt://"+d.MoQ))
	}
	cmd := exec.Command("sh", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "BROADCASTD="+harness.Build(t), "BROADCASTD_STATE_DIR="+d.StateDir)
	p := harness.StartProc(t, "docs/control.md", cmd)
	if err := p.Wait(time.Minute); err != nil {
		t.Errorf("%v\n%s", err, p.Log())
	}
	for _, want := range []string{"Studio 1", "stream key", "wrote 2.0", "Evening news", "paused sess_", "resumed sess_", "revoked k_", "revoked ak_", "deleted lv_"} {
		if !strings.Contains(p.Log(), want) {
			t.Errorf("the output has no %q:\n%s", want, p.Log())
		}
	}
}
