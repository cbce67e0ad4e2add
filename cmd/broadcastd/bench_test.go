package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/bench"
	"github.com/broadcastd/broadcastd/bench/link"
	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/report"
	benchrun "github.com/broadcastd/broadcastd/bench/run"
)

const benchChild = "BROADCASTD_TEST_BENCH_CHILD"

// TestBenchChild is no test: TestBench starts this test binary with it, as the
// processes of the benchmark.
func TestBenchChild(t *testing.T) {
	if os.Getenv(benchChild) == "" {
		t.Skip("only as a child of TestBench")
	}
	ctx, stop := interruptible(context.Background())
	code := process{in: os.Stdin, out: os.Stdout, err: os.Stderr, start: now()}.run(ctx, flag.Args())
	stop()
	os.Exit(code)
}

func benchCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append([]string{"-test.run=^TestBenchChild$", "--"}, args...)...)
	// A process with the race detector would sleep for a second at its end.
	cmd.Env = append(os.Environ(), benchChild+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// Budgets of what a viewer costs beyond bare quic-go, with room for what differs
// from run to run.
const (
	mostPackets       = 1.05  // times those of bare quic-go; 1.00 is usual
	moreGoroutines    = 2.5   // 2 are usual
	moreGoroutinesWeb = 7.5   // 7 are usual: HTTP/3 has its own
	moreKiB           = 64.0  // of heap and stack; 23 to 45 are usual with 20 connections
	moreKiBWeb        = 112.0 // 50 to 75 are usual
)

// TestBench runs every party and mode with few viewers for a moment. What arrives
// is what was sent. It looks at no time, and does not ask for every object: what
// is late on a busy machine is left out, as it should be.
func TestBench(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux's /proc")
	}
	base := bench.Arm{Party: load.Relay, Profile: "tv", Viewers: 2, Warmup: 500 * time.Millisecond, Duration: time.Second, Drain: 5 * time.Second}
	arm := func(name string, change func(*bench.Arm)) bench.Arm {
		a := base
		a.Name = name
		change(&a)
		return a
	}
	idle := func(p load.Party) func(*bench.Arm) {
		return func(a *bench.Arm) { a.Party, a.Mode, a.Viewers = p, benchrun.Idle, 20 }
	}
	arms := []bench.Arm{
		arm("relay", func(a *bench.Arm) { a.Duration = 2 * time.Second }),
		arm("webtransport", func(a *bench.Arm) { a.Party, a.Profile = load.RelayWebTransport, "bench60" }),
		arm("ceiling", func(a *bench.Arm) { a.Party, a.Duration = load.Ceiling, 2*time.Second }),
		arm("chat", func(a *bench.Arm) { a.Profile = "chat" }),
		arm("cmaf", func(a *bench.Arm) { a.Input, a.Warmup = load.InputCMAF, 4*time.Second }),
		arm("link", func(a *bench.Arm) { a.Link = link.Config{Delay: 5 * time.Millisecond} }),
		arm("stall", func(a *bench.Arm) { a.Stalled = 1 }),
		arm("idle", idle(load.Relay)),
		arm("idle webtransport", idle(load.RelayWebTransport)),
		arm("idle ceiling", idle(load.Ceiling)),
		arm("churn", func(a *bench.Arm) {
			a.Mode, a.JoinEvery, a.JoinStay = benchrun.Churn, 200*time.Millisecond, 100*time.Millisecond
		}),
		arm("start", func(a *bench.Arm) { a.Mode, a.Duration = benchrun.Start, 100*time.Millisecond }),
		arm("record", func(a *bench.Arm) { a.Mode, a.Duration = benchrun.Record, 100*time.Millisecond }),
		arm("recut", func(a *bench.Arm) { a.Mode, a.Duration = benchrun.Recut, 100*time.Millisecond }),
	}
	dir := t.TempDir()
	var mu sync.Mutex
	came := make(map[string]bench.Result)
	t.Cleanup(func() { benchBudgets(t, len(arms), came) }) // after all of them
	for _, a := range arms {
		t.Run(a.Name, func(t *testing.T) {
			t.Parallel()
			r := testBench(t, a, dir)
			mu.Lock()
			came[a.Name] = r
			mu.Unlock()
			switch v := r.Viewing; {
			case v.Objects < v.Expected/2 || v.Objects > v.Expected || v.Objects == v.Expected && v.Bytes != v.ExpectedBytes:
				t.Errorf("%d of %d objects, %d of %d bytes", v.Objects, v.Expected, v.Bytes, v.ExpectedBytes)
			case v.Expected > 0 && (v.Packets == 0 || v.WireBytes <= v.PayloadBytes || r.Late.Count() == 0):
				t.Errorf("viewing = %+v", v)
			case v.Viewers+v.Stalled > 0 && (r.Server.UserSeconds+r.Server.SystemSeconds < 0 || r.Server.Resident <= 0 || r.Server.Goroutines < 3):
				t.Errorf("server = %+v", r.Server)
			}
			benchDetails(t, r)
		})
	}
}

// benchBudgets holds what a viewer costs beyond bare quic-go, which was measured at
// the same time: packets, goroutines, memory. They depend on no time.
func benchBudgets(t *testing.T, arms int, came map[string]bench.Result) {
	t.Helper()
	packets := func(arm string) float64 {
		v := came[arm].Viewing
		return float64(v.Packets) / float64(v.PayloadBytes)
	}
	idle := func(arm string) (goroutines, bytes float64) {
		s := came[arm].Server
		return float64(s.Goroutines-s.GoroutinesAt0) / 20, float64(s.InUse-s.InUseAt0) / 20
	}
	if len(came) < arms {
		return // some failed, and said so, or only one was asked for
	}
	if r := packets("relay") / packets("ceiling"); r > mostPackets {
		t.Errorf("%.3f × the packets of bare quic-go for the same media, want at most %v", r, mostPackets)
	}
	bare, bareBytes := idle("idle ceiling")
	for _, tt := range []struct {
		arm        string
		goroutines float64
		kib        float64 // of heap and stack
	}{
		{"idle", moreGoroutines, moreKiB},
		{"idle webtransport", moreGoroutinesWeb, moreKiBWeb},
	} {
		n, bytes := idle(tt.arm)
		if more := n - bare; more > tt.goroutines {
			t.Errorf("%s: %.2f goroutines for each connection beyond the %.2f of bare quic-go, want at most %v", tt.arm, more, bare, tt.goroutines)
		}
		if more := (bytes - bareBytes) / 1024; more > tt.kib {
			t.Errorf("%s: %.1f KiB for each connection beyond the %.1f KiB of bare quic-go, want at most %v", tt.arm, more, bareBytes/1024, tt.kib)
		}
	}
}

// benchDetails looks at what one mode alone has.
func benchDetails(t *testing.T, r bench.Result) {
	t.Helper()
	v := r.Viewing
	switch r.Arm {
	case "relay":
		// 0.5 s to 2.5 s: 60 pictures, the first of two groups among them, and sound.
		if want := int64(2 * (60 + 94)); v.Expected != want {
			t.Errorf("%d objects expected, want %d", v.Expected, want)
		}
		if want := int64(2 * (2*135_136 + 58*16_892 + 94*341)); v.ExpectedBytes != want {
			t.Errorf("%d bytes expected, want %d", v.ExpectedBytes, want)
		}
		if r.Server.Mallocs == 0 || r.Server.Switches == 0 {
			t.Errorf("server = %+v", r.Server)
		}
	case "chat", "webtransport", "ceiling", "cmaf", "link", "churn":
		if v.Viewers != 2 || v.Objects < 20 {
			t.Errorf("%d viewers got %d objects", v.Viewers, v.Objects)
		}
		if r.Arm == "churn" && (r.Joins.Started < 4 || r.Joins.Picture.Count() != int64(r.Joins.Started) || r.Joins.Byte.Count() == 0) {
			t.Errorf("joins = %+v", r.Joins)
		}
	case "stall":
		if v.Viewers != 1 || v.Stalled != 1 {
			t.Errorf("%d viewers and %d that stall, want 1 and 1", v.Viewers, v.Stalled)
		}
	case "idle", "idle webtransport", "idle ceiling":
		if v.Viewers != 20 || v.Expected != 0 {
			t.Errorf("%d viewers expect %d objects; server = %+v", v.Viewers, v.Expected, r.Server)
		}
	case "start":
		if r.Server.Listening <= 0 || r.Server.Resident == 0 {
			t.Errorf("server = %+v", r.Server)
		}
	case "record", "recut":
		if r.Work == nil || r.Work.Bytes < 100_000 || r.Arm == "record" && r.Work.WriteCPU+r.Work.BulkCPU <= 0 {
			t.Errorf("work = %+v", r.Work)
		}
	}
}

// testBench runs one arm and returns what it gave.
func testBench(t *testing.T, a bench.Arm, dir string) bench.Result {
	t.Helper()
	plan := bench.RelayPlan(bench.Options{})
	plan.Blocks = []bench.Block{{Arms: []bench.Arm{a}, Rounds: 1}}
	var steps []bench.Step
	rep, err := bench.Run(t.Context(), bench.Config{
		Config: benchrun.Config{Command: benchCommand, Dir: dir}, Plan: plan,
		Progress: func(s bench.Step) { steps = append(steps, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := benchVerdict(rep); err != nil {
		t.Error(err)
	}
	if n := len(steps); n < 3 || !steps[n-1].Done {
		t.Errorf("steps = %+v", steps)
	}
	var b bytes.Buffer
	for _, write := range []func() error{
		func() error { return rep.WriteTable(&b) }, func() error { return rep.WriteHTML(&b) }, func() error { return rep.WriteJSON(&b) },
	} {
		if b.Reset(); write() != nil || b.Len() == 0 {
			t.Errorf("%d bytes of report", b.Len())
		}
	}
	if _, err := report.ReadJSON(&b); err != nil {
		t.Error(err)
	}
	return rep.Runs.([]bench.Result)[0]
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
		Config: benchrun.Config{Command: func(args ...string) *exec.Cmd {
			cmd := benchCommand(args...)
			children = append(children, cmd)
			return cmd
		}},
		Plan: bench.CeilingPlan(bench.Options{Viewers: 1, Duration: time.Minute}),
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
		{[]string{"relay", "--against", "tcp"}, `"tcp" is none of quic, webtransport, ceiling, mediamtx`},
		{[]string{"relay", "--profile", "radio"}, `no profile "radio", but tv`},
		{[]string{"relay", "--input", "tape"}, `no input "tape", but moq and cmaf`},
		{[]string{"relay", "--input", "cmaf", "--against", "ceiling"}, "the others do not take it"},
		{[]string{"ceiling", "-n", "0"}, "more than 0"},
		{[]string{"ceiling", "--rounds", "-1"}, "more than 0"},
		{[]string{"overload", "--rate", "0"}, "--rate is 0"},
		{[]string{"loss", "--loss", "200"}, "loss of 2"},
		{[]string{"ingest", "--input", "cmaf,tape"}, `no input "tape"`},
		{[]string{"ingest", "--input", "moq"}, "what the scenario relay measures"},
		{[]string{"reach", "--rows", "cpu,speed"}, `no row "speed", but cpu, mediamtx`},
		{[]string{"reach", "--budget", "-1s"}, "--budget has to be"},
		{[]string{"reach", "--rounds", "0"}, "--rounds has to be"},
		{[]string{"docs"}, "requires at least 1 arg"},
		{[]string{"compare", "nginx"}, `"nginx" cannot be compared with`},
		{[]string{"compare"}, "accepts 1 arg"},
		{[]string{"diff", "one.json"}, "accepts 2 arg"},
	} {
		code, _, stderr := run(t, nil, append([]string{"bench"}, tt.args...)...)
		if code != exitUsage || !strings.Contains(stderr, tt.want) {
			t.Errorf("bench %q: exit %d, %q, want exit %d and %q", tt.args, code, stderr, exitUsage, tt.want)
		}
	}
	code, out, _ := run(t, nil, "bench", "--help")
	if code != exitDone || strings.Contains(out, "child") {
		t.Errorf("bench --help: exit %d, %q", code, out)
	}
	for _, want := range []string{
		"relay", "ceiling", "overload", "loss", "stall", "join", "churn", "idle", "scale", "ingest", "record", "start", "compare", "reach", "diff", "docs", "bench60",
	} {
		if !strings.Contains(out, "\n  "+want) {
			t.Errorf("bench --help does not speak of %s", want)
		}
	}
	if code, _, stderr := run(t, nil, "bench", "child"); code != exitFailed || !strings.Contains(stderr, "for broadcastd bench itself") {
		t.Errorf("bench child by hand: exit %d, %q", code, stderr)
	}
}

// TestBenchDiff compares two files.
func TestBenchDiff(t *testing.T) {
	dir := t.TempDir()
	file := func(name, values string) string {
		path := filepath.Join(dir, name)
		text := `{"schema":"` + report.Schema + `","tables":[{"arms":[{"name":"relay"}],"figures":[{"key":"cpu","name":"CPU","better":"lower","arms":[
			{"values":[` + values + `]` + spread(t, values) + `}]}]}]}`
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	before, after := file("before.json", "1,1,1,1"), file("after.json", "2,2,2,2")
	if code, out, _ := run(t, nil, "bench", "diff", before, after); code != exitFailed || !strings.Contains(out, "+100.0 %") {
		t.Errorf("twice as much: exit %d, %s, want exit %d", code, out, exitFailed)
	}
	if code, out, _ := run(t, nil, "bench", "diff", after, before); code != exitDone || !strings.Contains(out, "better") {
		t.Errorf("half as much: exit %d, %s, want exit %d", code, out, exitDone)
	}
	if code, _, stderr := run(t, nil, "bench", "diff", before, filepath.Join(dir, "none.json")); code != exitFailed || !strings.Contains(stderr, "none.json") {
		t.Errorf("a file that is not there: exit %d, %s", code, stderr)
	}
}

// TestBenchDocs writes a page.
func TestBenchDocs(t *testing.T) {
	dir := t.TempDir()
	result, page := filepath.Join(dir, "reach.json"), filepath.Join(dir, "speed.md")
	for name, text := range map[string]string{
		result: `{"schema":"` + report.Schema + `","goals":[{"what":"R","must":"1","aim":"2","measured":"1.5","verdict":"must"}],
			"charts":[{"title":"A chart","x":"x","y":"y","lines":[{"name":"relay","points":[{"x":1,"y":1,"low":1,"high":1},{"x":2,"y":2,"low":2,"high":2}]}]}]}`,
		page: "# Speed\n" + report.DocsBegin + "\n" + report.DocsEnd + "\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, stderr := run(t, nil, "bench", "docs", result, "--page", page); code != exitDone {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "| R | 1 | 2 | 1.5 | as it must |") || !strings.Contains(string(text), "(speed/a-chart.svg)") {
		t.Errorf("the page is %q, %v", text, err)
	}
	if svg, err := os.ReadFile(filepath.Join(dir, "speed", "a-chart.svg")); err != nil || !strings.HasPrefix(string(svg), "<svg ") {
		t.Errorf("the chart is %.20q, %v", svg, err)
	}
	if code, _, _ := run(t, nil, "bench", "docs", result, "--page", filepath.Join(dir, "none.md")); code != exitFailed {
		t.Errorf("a page that is not there: exit %d, want %d", code, exitFailed)
	}
}

// spread returns the JSON of the spread of equal values.
func spread(t *testing.T, values string) string {
	t.Helper()
	one, _, _ := strings.Cut(values, ",")
	b, err := json.Marshal(json.Number(one))
	if err != nil {
		t.Fatal(err)
	}
	return `,"median":` + string(b) + `,"low":` + string(b) + `,"high":` + string(b)
}
