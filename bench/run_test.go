package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBrokenChild has children that do not do their job: the error says what
// they said.
func TestBrokenChild(t *testing.T) {
	for _, tt := range []struct {
		name, script, want string
	}{
		{"ends", "echo out of luck >&2; exit 1", "out of luck"},
		{"no JSON", "echo hello; cat >/dev/null", "the serve process ended early"},
		{"reports an error", `echo '{"event":"error","error":"no port"}'; cat >/dev/null`, "serve process: no port"},
		{"reports something else", `echo '{"event":"done"}'; cat >/dev/null`, `reports "done", want "ready"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rep, err := Run(t.Context(), Config{
				Parties: []Party{Ceiling},
				Command: func() *exec.Cmd { return exec.Command("sh", "-c", tt.script) },
			})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Run: %v, want a mention of %q", err, tt.want)
			}
			if rep == nil || len(rep.Runs) != 0 {
				t.Errorf("report %+v, want one without runs", rep)
			}
		})
	}
}

func TestConfigFaults(t *testing.T) {
	_, err := Run(t.Context(), Config{Viewers: -1, Runs: maxRuns + 1, Duration: time.Millisecond, Warmup: -1, Profile: "x"})
	if err == nil {
		t.Fatal("Run took a config full of faults")
	}
	for _, want := range []string{"Command", "0 parties", "1001 runs", "-1 viewers", "duration", "warm-up", `profile "x"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Run: %v, want a mention of %q", err, want)
		}
	}
}

// A syncBuffer is a child's output.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// TestChildEndsWithInput checks what keeps children from outliving their parent,
// for a server that is up, and for one that never gets there.
func TestChildEndsWithInput(t *testing.T) {
	for _, ready := range []bool{true, false} {
		in, parent := io.Pipe()
		began, done := make(chan struct{}), make(chan error, 1)
		var out syncBuffer
		go func() {
			done <- Child(t.Context(), in, &out, func(ctx context.Context, _ string, up func(string)) error {
				if ready {
					up("127.0.0.1:1")
				}
				close(began)
				<-ctx.Done()
				return context.Cause(ctx)
			})
		}()
		if _, err := io.WriteString(parent, `{"role":"serve","party":"relay","profile":"tv"}`); err != nil {
			t.Fatal(err)
		}
		<-began
		parent.Close()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("ready %t: Child: %v, want nil", ready, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("ready %t: the child stays", ready)
		}
	}
}

// TestChildFaults gives jobs that cannot be done.
func TestChildFaults(t *testing.T) {
	broken := errors.New("no port is free")
	for _, tt := range []struct{ name, in, want string }{
		{"no job", "", "no job on standard input"},
		{"role", `{"role":"dance","profile":"tv"}`, `no role "dance"`},
		{"profile", `{"role":"serve","profile":"x"}`, `no profile "x"`},
		{"party", `{"role":"serve","party":"x","profile":"tv"}`, `no party "x"`},
		{"server", `{"role":"serve","party":"relay","profile":"tv"}`, "no port is free"},
	} {
		in, parent := io.Pipe()
		go func() {
			_, _ = io.WriteString(parent, tt.in)
			if tt.in == "" {
				parent.Close()
			}
		}()
		var out syncBuffer
		err := Child(t.Context(), in, &out, func(context.Context, string, func(string)) error { return broken })
		parent.Close()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Child: %v, want a mention of %q", tt.name, err, tt.want)
		}
		if tt.in != "" && !strings.Contains(out.buf.String(), `"event":"error"`) {
			t.Errorf("%s: it reported %q, want an error", tt.name, &out.buf)
		}
	}
}
