package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/bench"
)

const benchChild = "BROADCASTD_TEST_BENCH_CHILD"

// TestBenchChild is no test: TestBench starts this test binary with it, as the
// children of the benchmark.
func TestBenchChild(t *testing.T) {
	if os.Getenv(benchChild) == "" {
		t.Skip("only as a child of TestBench")
	}
	ctx, stop := interruptible(context.Background())
	code := process{in: os.Stdin, out: os.Stdout, err: os.Stderr, start: now()}.run(ctx, []string{"bench", "child"})
	stop()
	os.Exit(code)
}

func benchCommand() *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchChild$")
	// A process with the race detector would sleep for a second at its end.
	cmd.Env = append(os.Environ(), benchChild+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// TestBench runs each server with three viewers: every byte arrives.
func TestBench(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux's /proc")
	}
	for _, party := range []bench.Party{bench.Relay, bench.RelayWebTransport, bench.Ceiling} {
		t.Run(string(party), func(t *testing.T) {
			t.Parallel()
			testBench(t, party)
		})
	}
}

func testBench(t *testing.T, party bench.Party) {
	var steps []bench.Step
	rep, err := bench.Run(t.Context(), bench.Config{
		Command: benchCommand, Parties: []bench.Party{party},
		Viewers: 3, Duration: 2 * time.Second, Warmup: 500 * time.Millisecond,
		Progress: func(s bench.Step) { steps = append(steps, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := benchVerdict(rep); err != nil {
		t.Error(err)
	}
	r := rep.Runs[0][0]
	v := r.Viewing
	// 0.5 s to 2.5 s: 60 pictures, the first of two groups among them, and sound.
	if want := int64(3 * (60 + 94)); v.Expected != want || v.Objects != v.Expected {
		t.Errorf("%d of %d objects, want %d", v.Objects, v.Expected, want)
	}
	if want := int64(3 * (2*135_136 + 58*16_892 + 94*341)); v.Bytes != want || v.ExpectedBytes != want {
		t.Errorf("%d of %d bytes, want %d", v.Bytes, v.ExpectedBytes, want)
	}
	if v.Viewers != 3 || v.Failed+v.Incomplete > 0 || v.PayloadBytes <= uint64(v.Bytes) || v.Packets == 0 || v.WireBytes <= v.PayloadBytes {
		t.Errorf("viewing = %+v", v)
	}
	if r.UserSeconds+r.SystemSeconds <= 0 || r.Resident <= 0 || r.Goroutines < 3 || r.Seconds < 1.9 {
		t.Errorf("result = %+v", r)
	}
	if r.PublisherLate.Count() == 0 {
		t.Error("the publisher says nothing of its objects")
	}
	if n := len(steps); n < 6 || !steps[n-1].Done {
		t.Errorf("steps = %+v", steps)
	}
	var b strings.Builder
	if err := rep.WriteTable(&b); err != nil || !strings.Contains(b.String(), "server CPU per GB") {
		t.Errorf("table %q, %v", b.String(), err)
	}
	if _, err := json.Marshal(rep); err != nil {
		t.Error(err)
	}
}

// TestBenchEndsChildren interrupts a run: it says why, and no child is left.
func TestBenchEndsChildren(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux's /proc")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	var children []*exec.Cmd
	began := time.Now()
	_, err := bench.Run(ctx, bench.Config{
		Command: func() *exec.Cmd {
			cmd := benchCommand()
			children = append(children, cmd)
			return cmd
		},
		Parties: []bench.Party{bench.Ceiling}, Viewers: 1, Duration: time.Minute,
		Progress: func(s bench.Step) {
			if s.Left > 0 {
				cancel(errInterrupted)
			}
		},
	})
	if exitCode(err) != exitDone || err == nil {
		t.Errorf("Run = %v, want %v", err, errInterrupted)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if len(children) != 3 {
		t.Errorf("%d children, want 3", len(children))
	}
	for _, c := range children {
		if c.ProcessState == nil {
			t.Errorf("child %d still runs", c.Process.Pid)
		}
	}
}

func TestBenchUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"relay", "--transport", "ceiling"}, `--transport is "ceiling", want quic or webtransport`},
		{[]string{"relay", "--against", "tcp"}, `--against is "tcp", want ceiling, quic or webtransport`},
		{[]string{"relay", "--profile", "radio"}, `no profile "radio", but tv`},
		{[]string{"ceiling", "-n", "0"}, "more than 0"},
		{[]string{"ceiling", "--runs", "-1"}, "more than 0"},
	} {
		code, _, stderr := run(t, nil, append([]string{"bench"}, tt.args...)...)
		if code != exitUsage || !strings.Contains(stderr, tt.want) {
			t.Errorf("bench %q: exit %d, %q, want exit %d and %q", tt.args, code, stderr, exitUsage, tt.want)
		}
	}
	if code, out, _ := run(t, nil, "bench", "--help"); code != exitDone || !strings.Contains(out, "relay") || strings.Contains(out, "child") {
		t.Errorf("bench --help: exit %d, %q", code, out)
	}
	if code, _, stderr := run(t, nil, "bench", "child"); code != exitFailed || !strings.Contains(stderr, "for broadcastd bench itself") {
		t.Errorf("bench child by hand: exit %d, %q", code, stderr)
	}
}
