package run

import (
	"bytes"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/bench/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBrokenChild has children that do not do their job: the error says what
// they said.
func TestBrokenChild(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux's /proc")
	}
	for _, tt := range []struct {
		name, script, want string
	}{
		{"ends", "echo out of luck >&2; exit 1", "out of luck"},
		{"no JSON", "echo hello; cat >/dev/null", "the ceiling process ended early"},
		{"reports an error", `echo '{"event":"error","error":"no port"}'; cat >/dev/null`, "ceiling process: no port"},
		{"reports something else", `echo '{"event":"done"}'; cat >/dev/null`, `reports "done", want "ready"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			arm := Arm{Name: "ceiling", Party: load.Ceiling, Profile: "tv", Viewers: 1, Duration: time.Second}
			_, err := Measure(t.Context(), Config{
				Command: func(...string) *exec.Cmd { return exec.Command("sh", "-c", tt.script) },
				Dir:     t.TempDir(),
			}, arm, 0, func(Step) {})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Measure: %v, want a mention of %q", err, tt.want)
			}
		})
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

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A signal is written to by a child; it says when something came.
type signal struct {
	syncBuffer
	came chan struct{}
	once sync.Once
}

func (s *signal) Write(p []byte) (int, error) {
	defer s.once.Do(func() { close(s.came) })
	return s.syncBuffer.Write(p)
}

// TestChildEndsWithInput checks what keeps children from outliving their parent,
// for a server that is up, for one that never gets there, and for the ceiling.
func TestChildEndsWithInput(t *testing.T) {
	const serve = `{"role":"serve","arm":{"profile":"tv"},"path":"/bin/sh","ready":"up","args":["-c","echo %s; exec sleep 60"]}`
	for _, tt := range []struct {
		name, job string
		reports   bool
	}{
		{"up", strings.Replace(serve, "%s", "it is up", 1), true},
		{"never up", strings.Replace(serve, "%s", "it is down", 1), false},
		{"ceiling", `{"role":"ceiling","arm":{"profile":"tv"}}`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, parent := io.Pipe()
			done := make(chan error, 1)
			out := &signal{came: make(chan struct{})}
			go func() { done <- Child(t.Context(), in, out) }()
			if _, err := io.WriteString(parent, tt.job); err != nil {
				t.Fatal(err)
			}
			if tt.reports {
				<-out.came
				if !strings.Contains(out.String(), `"event":"ready"`) || !strings.Contains(out.String(), `"pid":`) {
					t.Errorf("it reported %q, want that it is ready, and its process", out)
				}
			}
			parent.Close()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("Child: %v, want nil", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the child stays")
			}
		})
	}
}

// TestChildFaults gives jobs that cannot be done.
func TestChildFaults(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"no job", "", "no job on standard input"},
		{"role", `{"role":"dance","arm":{"profile":"tv"}}`, `no role "dance"`},
		{"profile", `{"role":"serve","arm":{"profile":"x"}}`, `no profile "x"`},
		{"party", `{"role":"publish","arm":{"profile":"tv"},"target":{"party":"x"}}`, `no party "x"`},
		{"no program", `{"role":"serve","arm":{"profile":"tv"},"path":"/nowhere"}`, "/nowhere"},
		{"a server that ends", `{"role":"serve","arm":{"profile":"tv"},"path":"/bin/sh","ready":"up","args":["-c","echo no port is free; exit 1"]}`, "no port is free"},
		{"a profile without CMAF", `{"role":"publish","arm":{"profile":"chat"},"target":{"party":"relay","input":"cmaf","http":"127.0.0.1:1"}}`, "cannot be sent as CMAF"},
	} {
		in, parent := io.Pipe()
		go func() {
			_, _ = io.WriteString(parent, tt.in)
			if tt.in == "" {
				parent.Close()
			}
		}()
		var out syncBuffer
		err := Child(t.Context(), in, &out)
		parent.Close()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Child: %v, want a mention of %q", tt.name, err, tt.want)
		}
		if tt.in != "" && !strings.Contains(out.String(), `"event":"error"`) {
			t.Errorf("%s: it reported %q, want an error", tt.name, &out.buf)
		}
	}
}
