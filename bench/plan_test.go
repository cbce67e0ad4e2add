package bench

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/proc"
	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/run"
	"github.com/broadcastd/broadcastd/bench/stat"
	"github.com/broadcastd/broadcastd/internal/golden"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

// result makes up a run of an arm, in which missing objects never came.
func result(a Arm, round int, cpu float64, delay time.Duration, missing int64) Result {
	late := new(stat.Histogram)
	late.Add(delay / 10)
	r := Result{
		Arm: a.Name, Round: round, Load1: 1.5, Seconds: 10,
		Server: run.Server{
			CPUSeconds: cpu, UserSeconds: cpu * 0.6, SystemSeconds: cpu * 0.4, Switches: 12345, Resident: 40e6, Before: 20e6, Peak: 41e6,
			Goroutines: 77, GoroutinesAt0: 17, InUse: 30e6, InUseAt0: 10e6, Mallocs: 5000, Listening: 20 * ms,
		},
		LoadCPU: 2, Late: late,
		Viewing: load.Viewing{
			Viewers: a.Viewers, Expected: 1000, Objects: 1000 - missing, ExpectedBytes: 128e6, Bytes: 128e6,
			Packets: 100_000, WireBytes: 132e6, PayloadBytes: 130e6,
			Tracks: []load.TrackView{
				{Name: "video", Expected: 500, Objects: 500 - missing, Decodable: 400, Freeze: 300 * ms},
				{Name: "audio", Expected: 500, Objects: 500, Decodable: 500},
			},
		},
	}
	if missing > 0 {
		r.Viewing.Failed, r.Viewing.Incomplete = 1, 1
		r.Viewing.Errors = []string{"gone"}
	}
	for i := range r.Viewing.Tracks {
		t := &r.Viewing.Tracks[i]
		for n := range t.Objects {
			t.Delays[n%load.Slices].Add(delay + time.Duration(n)*time.Microsecond)
		}
	}
	return r
}

// told makes the report of a plan with the given CPU times by round and arm.
func told(p Plan, delay time.Duration, missing int64, cpu ...[]float64) *report.Report {
	rep := &report.Report{
		Schema: report.Schema, Scenario: p.Scenario, About: "Made up.", Version: "broadcastd 1.2.3",
		Machine: proc.Machine{OS: "linux/amd64", Kernel: "6.1", CPU: "A CPU", CPUs: 2, Go: "go1.26.0"}, Load: [2]float64{1, 2},
	}
	var rounds [][]Result
	for round, c := range cpu {
		var results []Result
		for i, a := range p.Blocks[0].Arms {
			results = append(results, result(a, round, c[i], delay+time.Duration(i)*ms, missing))
		}
		rounds = append(rounds, results)
	}
	p.tell(rep, []outcome{{block: p.Blocks[0], rounds: rounds}})
	return rep
}

// TestTables shows what people get.
func TestTables(t *testing.T) {
	pair := RelayPlan(Options{Viewers: 20, Against: []load.Party{load.Ceiling}})
	for _, tt := range []struct {
		golden string
		rep    *report.Report
	}{
		{"pairs.golden", told(pair, 2*ms, 0, []float64{0.7, 0.5}, []float64{0.9, 0.6}, []float64{0.6, 0.5})},
		{"lost.golden", told(pair, 2*ms, 50, []float64{0.7, 0.5})},
		{"one.golden", told(CeilingPlan(Options{}), 2*ms, 0, []float64{0.5})},
		{"overload.golden", told(OverloadPlan(Options{}), 400*ms, 100, []float64{0.5, 0.4})},
		{"scale.golden", told(ScalePlan(Options{Counts: []int{1, 100, 200}}), 100*ms, 0, []float64{0.5, 0.4, 0.3, 0.2, 0.2, 0.1})},
	} {
		var b bytes.Buffer
		if err := tt.rep.WriteTable(&b); err != nil {
			t.Fatal(err)
		}
		golden.Check(t, tt.golden, b.Bytes())
	}
}

// TestOrder: every other round goes backwards.
func TestOrder(t *testing.T) {
	if run.Supported() != nil {
		t.Skip("needs Linux's /proc")
	}
	var order []string
	p := RelayPlan(Options{Viewers: 1, Rounds: 3, Against: []load.Party{load.Ceiling}})
	for _, f := range figures() {
		if f.key == "" || f.name == "" {
			t.Errorf("figure %+v", f)
		}
	}
	r := newRunner(Config{
		Config: run.Config{Command: sayNothing, Dir: t.TempDir()}, Plan: p,
		Progress: func(s Step) { order = append(order, strings.Fields(s.Text)[0]) },
	})
	for round := range 3 {
		if _, _, err := r.round(t.Context(), p.Blocks[0], round, nil); err == nil {
			t.Fatal("a turn without a server succeeded")
		}
	}
	if got := strings.Join(order, " "); got != "relay ceiling relay" { // the first of each round fails
		t.Errorf("first of each round: %s, want relay ceiling relay", got)
	}
}

// TestPlans holds every plan to what Run needs of it, and to arms and figures
// that exist.
func TestPlans(t *testing.T) {
	against := []load.Party{load.Ceiling, load.MediaMTX}
	plans := []Plan{
		RelayPlan(Options{Against: against}), CeilingPlan(Options{}), OverloadPlan(Options{Against: against}), LossPlan(Options{}),
		StallPlan(Options{Against: against}), JoinPlan(Options{WebTransport: true}), ChurnPlan(Options{}), IdlePlan(Options{}),
		ScalePlan(Options{}), IngestPlan(Options{}), RecordPlan(Options{}), StartPlan(Options{Against: against}),
		IngestPlan(Options{Inputs: []load.Input{load.InputRTMP}, Against: []load.Party{load.MediaMTX}}),
		ComparePlan(Options{}, load.MediaMTX), ReachPlan(ReachOptions{Rounds: 3, MediaMTX: true}), ReachPlan(ReachOptions{Rounds: 9, Full: true}),
	}
	for _, p := range plans {
		t.Run(p.Scenario, func(t *testing.T) {
			if _, err := (Config{Config: run.Config{Command: sayNothing, MediaMTX: "x"}, Plan: p}).checked(); err != nil {
				t.Error(err)
			}
			var arms []string
			shown := slices.Clone(p.Figures)
			for _, b := range p.Blocks {
				shown = append(shown, b.Figures...)
				for _, a := range b.Arms {
					arms = append(arms, a.Name)
				}
			}
			if len(shown) == 0 {
				t.Error("no figures")
			}
			for _, k := range shown {
				if len(figuresNamed([]string{k})) != 1 {
					t.Errorf("there is no figure %q", k)
				}
			}
			for _, q := range p.Ratios {
				known := slices.Contains(arms, q.Of) && slices.Contains(arms, q.To)
				if !slices.Contains(shown, q.Figure) || !known && p.Scenario != "reach" {
					t.Errorf("a ratio of what is not measured: %+v", q)
				}
			}
			t.Logf("takes about %v", p.Takes().Round(time.Second))
		})
	}
	for _, tt := range []struct {
		o    ReachOptions
		most time.Duration
	}{
		{ReachOptions{Rounds: 3, MediaMTX: true}, 9 * time.Minute}, // so that make bench ends within 10
		{ReachOptions{Rounds: 9, Full: true, Rows: []Row{RowCPU}}, 15 * time.Minute},
	} {
		if d := ReachPlan(tt.o).Takes(); d > tt.most {
			t.Errorf("reach with %+v takes %v, want at most %v", tt.o, d, tt.most)
		}
	}
}

// sayNothing is a child that ends at once.
func sayNothing(...string) *exec.Cmd { return exec.Command("false") }

// found is a Lookup of what a test says.
type found map[string]stat.Number

func (f found) Figure(arm, key string) (stat.Spread, bool) {
	v, ok := f[arm+"|"+key]
	return stat.Of([]stat.Number{v}), ok
}

func (f found) Ratio(key, of, to string) (stat.Spread, bool) {
	v, ok := f[of+"|"+to+"|"+key]
	return stat.Of([]stat.Number{v}), ok
}

func (f found) Arms() []string {
	seen := make(map[string]bool)
	for k := range f {
		seen[strings.Split(k, "|")[0]] = true
	}
	var list []string
	for k := range seen {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// TestGoals holds goals to their limits.
func TestGoals(t *testing.T) {
	verdict := func(what string, f found) (string, report.Verdict) {
		for _, g := range goals() {
			if strings.HasPrefix(g.What, what) {
				return g.Of(f)
			}
		}
		t.Fatalf("there is no goal %q", what)
		return "", ""
	}
	for _, tt := range []struct {
		what string
		f    found
		text string
		want report.Verdict
	}{
		{"R:", found{}, "–", report.Unknown},
		{"R:", found{"relay n=20|ceiling n=20|cpu_per_gb": 1.1}, "N=20: 1.10", report.Aim},
		{"R:", found{"relay n=20|ceiling n=20|cpu_per_gb": 1.1, "relay n=100|ceiling n=100|cpu_per_gb": 1.15}, "N=20: 1.10; N=100: 1.15", report.Must},
		{"R:", found{"relay n=20|ceiling n=20|cpu_per_gb": 1.3, "relay n=100|ceiling n=100|cpu_per_gb": 1.05}, "N=20: 1.30; N=100: 1.05", report.Missed},
		{"… audio delivered", found{"relay 4 Mbit/s|audio_delivered": 100, "relay 4 Mbit/s|video_decodable": 65, "relay 4 Mbit/s|video_freeze": 400}, "audio 100.00 %; video 65.0 %; freeze 400 ms", report.Must},
		{"… audio delivered", found{"relay 4 Mbit/s|audio_delivered": 99.9}, "audio 99.90 %", report.Missed},
		{"memory per idle", found{"relay n=100|resident_per_viewer": 900}, "active 0.92 MB", report.Must},
		{"largest N", found{"relay largest N|largest_n": 240, "ceiling largest N|largest_n": 300, "relay largest N|ceiling largest N|largest_n": 0.8}, "0.80; relay 240, ceiling 300", report.Missed},
		{"largest N", found{"relay largest N|largest_n": 290, "ceiling largest N|largest_n": 300, "relay largest N|ceiling largest N|largest_n": 0.96}, "0.96; relay 290, ceiling 300", report.Aim},
		{"CPU per viewer", found{"relay n=1|mcore_per_viewer": 40, "relay n=100|mcore_per_viewer": 3}, "40.00 at 1, 3.00 at 100 mcore", report.Must},
		{"CPU per viewer", found{"relay n=1|mcore_per_viewer": 4, "relay n=100|mcore_per_viewer": 5}, "4.00 at 1, 5.00 at 100 mcore", report.Missed},
	} {
		text, got := verdict(tt.what, tt.f)
		if text != tt.text || got != tt.want {
			t.Errorf("%s with %v: %q, %s, want %q, %s", tt.what, tt.f, text, got, tt.text, tt.want)
		}
	}
}

// TestReachMeasuresEveryGoal makes up a result of every arm: no goal then asks
// for an arm or a figure that is not there.
func TestReachMeasuresEveryGoal(t *testing.T) {
	p := ReachPlan(ReachOptions{Rounds: 2, Full: true, MediaMTX: true})
	var done []outcome
	for _, b := range p.Blocks {
		o := outcome{block: b}
		for round := range b.Rounds {
			var results []Result
			if s := b.Search; s != nil {
				found := make([]finding, len(s.Parties))
				for i, party := range s.Parties {
					found[i].n = 200 + 20*i
					results = append(results, result(s.arm(party, 200), round, 0.5, 2*ms, 0), result(s.arm(party, 220), round, 0.5, 2*ms, 0))
				}
				o.found = append(o.found, found)
			}
			for i, a := range b.Arms {
				r := result(a, round, 0.5+0.1*float64(i+round), time.Duration(2+i+round)*ms, 0)
				switch a.Mode {
				case run.Join:
					r.Joins = &load.Joins{Started: 1}
					for _, h := range []*stat.Histogram{&r.Joins.Connect, &r.Joins.Byte, &r.Joins.Picture} {
						h.Add(5 * ms)
					}
				case run.Record, run.Recut:
					r.Server = run.Server{}
					r.Work = &run.Work{Bytes: 1e9, Seconds: 2, CPUSeconds: 0.4, Ways: map[string]float64{run.WayCopy: 0.8, run.WayChunk: 1, run.WayMP4FF: 6}, WriteCPU: 0.3, BulkCPU: 0.2}
				}
				results = append(results, r)
			}
			o.rounds = append(o.rounds, results)
		}
		done = append(done, o)
	}
	rep := &report.Report{Schema: report.Schema, Scenario: p.Scenario, About: p.About, Machine: proc.ThisMachine()}
	p.tell(rep, done)
	for _, g := range rep.Goals {
		if g.Verdict == report.Unknown {
			t.Errorf("%s: not measured", g.What)
		}
	}
	if len(rep.Goals) < 20 || len(rep.Charts) != len(p.Charts) {
		t.Errorf("%d goals and %d charts, want 20 or more, and %d", len(rep.Goals), len(rep.Charts), len(p.Charts))
	}
	var b bytes.Buffer
	if err := rep.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	if name := os.Getenv("BENCH_TEST_HTML"); name != "" { // to look at it
		if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConfigFaults(t *testing.T) {
	bad := Arm{Name: "bad", Party: "x", Viewers: -1, Stalled: 1, Duration: time.Millisecond, Warmup: -1, Profile: "x", Mode: run.Join}
	bad.Link.Rate = 1
	p := Plan{Blocks: []Block{{Arms: []Arm{bad, {Name: "bad", Party: load.MediaMTX, Profile: "tv", Duration: time.Second}}, Rounds: maxRounds + 1}}}
	_, err := Run(t.Context(), Config{Plan: p})
	if err == nil {
		t.Fatal("Run took a config full of faults")
	}
	for _, want := range []string{
		"Command", "1001 rounds", "-1 viewers", "1 stalled", "duration of 1ms", "warm-up", `profile "x"`, `party "x"`, "every 0s", "rate of 1", "two arms", "no MediaMTX",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Run: %v, want a mention of %q", err, want)
		}
	}
}
