package harness

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Options say how Start runs the daemon. The zero value is a daemon on free
// loopback ports with a state directory of its own.
type Options struct {
	// Args follow `broadcastd serve`.
	Args []string
	// Env adds to the environment and goes before what Start sets, so that
	// a test can point a listener elsewhere: BROADCASTD_HTTP__LISTEN and so on.
	Env map[string]string
	// StateDir is kept for a second Start. Empty means a new folder.
	StateDir string
}

// A Daemon is one running `broadcastd serve`.
type Daemon struct {
	*Proc
	HTTP     string // host:port of the site
	MoQ      string // host:port of MoQT, QUIC and WebTransport
	Admin    string // host:port of /readyz and /metrics
	RTMP     string // host:port
	RTMPS    string // host:port
	SRT      string // host:port
	StateDir string
	// Ready is how long the daemon took from its start to /readyz.
	Ready time.Duration
}

// Start builds the daemon, runs it and waits until /readyz answers 200.
func Start(tb testing.TB, o Options) *Daemon {
	tb.Helper()
	if o.StateDir == "" {
		o.StateDir = tb.TempDir()
	}
	addr := func() string { return fmt.Sprintf("127.0.0.1:%d", FreePort(tb)) }
	env := map[string]string{
		"BROADCASTD_STATE_DIR":      o.StateDir,
		"BROADCASTD_HTTP__LISTEN":   addr(),
		"BROADCASTD_MOQ__LISTEN":    addr(),
		"BROADCASTD_ADMIN__LISTEN":  addr(),
		"BROADCASTD_RTMP__LISTEN":   addr(),
		"BROADCASTD_RTMPS__LISTEN":  addr(),
		"BROADCASTD_SRT__LISTEN":    addr(),
		"BROADCASTD_WEBRTC__LISTEN": addr(),
	}
	for k, v := range o.Env {
		env[k] = v
	}
	d := &Daemon{
		HTTP:     env["BROADCASTD_HTTP__LISTEN"],
		MoQ:      env["BROADCASTD_MOQ__LISTEN"],
		Admin:    env["BROADCASTD_ADMIN__LISTEN"],
		RTMP:     env["BROADCASTD_RTMP__LISTEN"],
		RTMPS:    env["BROADCASTD_RTMPS__LISTEN"],
		SRT:      env["BROADCASTD_SRT__LISTEN"],
		StateDir: o.StateDir,
	}
	cmd := exec.Command(Build(tb), append([]string{"serve"}, o.Args...)...)
	cmd.Env = envList(os.Environ(), env)
	cmd.Dir = o.StateDir
	began := time.Now()
	d.Proc = StartProc(tb, "broadcastd serve", cmd)
	Eventually(tb, 20*time.Second, "GET /readyz", func(ctx context.Context) error {
		select {
		case <-d.Done():
			tb.Fatalf("broadcastd ended before it was ready: %v", d.err)
		default:
		}
		_, err := get(ctx, "http://"+d.Admin+"/readyz")
		return err
	})
	d.Ready = time.Since(began)
	return d
}

// A Broadcast is one row of GET /api/v1/broadcasts.
type Broadcast struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Live      bool   `json:"live"`
}

// Broadcasts asks the daemon what it has.
func (d *Daemon) Broadcasts(ctx context.Context) ([]Broadcast, error) {
	body, err := get(ctx, "http://"+d.HTTP+"/api/v1/broadcasts")
	if err != nil {
		return nil, err
	}
	var list struct {
		Broadcasts []Broadcast `json:"broadcasts"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("/api/v1/broadcasts: %w in %.200s", err, body)
	}
	return list.Broadcasts, nil
}

// WaitLive waits until the broadcast with this namespace, such as
// stream/local/cam, is live.
func (d *Daemon) WaitLive(tb testing.TB, namespace string, limit time.Duration) {
	tb.Helper()
	Eventually(tb, limit, namespace+" live", func(ctx context.Context) error {
		list, err := d.Broadcasts(ctx)
		if err != nil {
			return err
		}
		for _, b := range list {
			if b.Namespace == namespace && b.Live {
				return nil
			}
		}
		return fmt.Errorf("have %+v", list)
	})
}

// CertHash returns the SHA-256 of the daemon's certificate in hexadecimal.
func (d *Daemon) CertHash(tb testing.TB) string {
	tb.Helper()
	body, err := get(tb.Context(), "http://"+d.HTTP+"/certificate.sha256")
	if err != nil {
		tb.Fatal(err)
	}
	text := strings.TrimSpace(string(body))
	if raw, err := hex.DecodeString(text); err != nil || len(raw) != 32 {
		tb.Fatalf("/certificate.sha256 = %q, want 64 hexadecimal digits", text)
	}
	return text
}

// get returns the body of an answer 200; any other status is an error.
func get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s: %.200s", url, res.Status, body)
	}
	return body, nil
}
