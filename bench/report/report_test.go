package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/bench/proc"
	"github.com/broadcastd/broadcastd/bench/stat"
	"github.com/broadcastd/broadcastd/internal/golden"
)

func series(v ...stat.Number) Series { return Series{Values: v, Spread: stat.Of(v)} }

// sample is a report with everything in it, also with a name that HTML has to
// escape.
func sample(factor stat.Number) *Report {
	relay := []stat.Number{13 * factor, 12 * factor, 14 * factor, 13 * factor, 13 * factor, 12.5 * factor}
	ceiling := []stat.Number{10, 10.5, 11, 10, 9.8, 10}
	ratios := stat.Ratios(relay, ceiling)
	return &Report{
		Schema: Schema, Scenario: "relay", About: "A <made up> report.", Version: "broadcastd 1.2.3", Command: "broadcastd bench relay",
		Began: time.Unix(1_800_000_000, 0).UTC(), Took: 125, Load: [2]float64{0.5, 2},
		Machine: proc.Machine{OS: "linux/amd64", Kernel: "6.1", CPU: "A CPU", CPUs: 1, Go: "go1.26.0"},
		Notes:   []string{"Something to know."},
		Goals: []Goal{
			{"R", "≤ 1.25", "≤ 1.15", "1.27", Missed},
			{"start", "≤ 100 ms", "≤ 30 ms", "50 ms", Must},
			{"join", "≤ 50 ms", "≤ 20 ms", "3 ms", Aim},
			{"peer", "≤ 0.70", "≤ 0.60", "–", Unknown},
		},
		Tables: []Table{{
			Title: "Profile tv", Rounds: 6, Arms: []Arm{{"relay", "20 viewers"}, {"ceiling", ""}},
			Figures: []Figure{
				{"cpu", "server CPU per GB", "s", 2, Lower, []Series{series(relay...), series(ceiling...)}},
				{"delivered", "objects delivered", "%", 1, Higher, []Series{series(100, 100, 100, 100, 100, 100), series(100, 100, 100, 100, 100, 100)}},
				{"load", "load average", "", 1, Either, []Series{series(1, 2, 3, 1, 2, 3), series(1, 1, 1, 1, 1, stat.NaN)}},
			},
			Ratios: []Ratio{{Key: "cpu", Name: "server CPU per GB", Of: "relay", To: "ceiling", Better: Lower, Values: ratios, Spread: stat.Of(ratios)}},
		}, {
			Title: "Tall", Rounds: 1, Tall: true, Arms: []Arm{{"relay n=1", ""}, {"relay n=100", ""}},
			Figures: []Figure{{"p99", "delay p99", "ms", 0, Lower, []Series{series(1), series(50)}}},
		}},
		Charts: []Chart{{
			Title: "Delay by viewers", X: "viewers", Y: "ms", LogY: true, Limit: 200,
			Lines: []Line{
				{"relay", []Point{{1, 1, 1, 2}, {100, 50, 40, 60}, {500, stat.NaN, stat.NaN, stat.NaN}}},
				{"ceiling", []Point{{1, 1, stat.NaN, stat.NaN}, {100, 30, 30, 30}, {500, 220, 200, 240}}},
			},
		}, {Title: "Nothing", Lines: []Line{{Name: "nothing"}}}},
	}
}

// TestGolden shows what people and programs get.
func TestGolden(t *testing.T) {
	r := sample(1)
	for _, tt := range []struct {
		name  string
		write func(*bytes.Buffer) error
	}{
		{"sample.txt", func(b *bytes.Buffer) error { return r.WriteTable(b) }},
		{"sample.json", func(b *bytes.Buffer) error { return r.WriteJSON(b) }},
		{"sample.html", func(b *bytes.Buffer) error { return r.WriteHTML(b) }},
		{"diff.txt", func(b *bytes.Buffer) error {
			after := sample(1.3)
			_, err := WriteDiff(b, r, after, Diff(r, after))
			return err
		}},
	} {
		var b bytes.Buffer
		if err := tt.write(&b); err != nil {
			t.Fatal(err)
		}
		golden.Check(t, tt.name, b.Bytes())
	}
}

// TestHTML: the page needs no other, and texts do not become markup.
func TestHTML(t *testing.T) {
	var b bytes.Buffer
	if err := sample(1).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"http://", "https://", "<script", "@import", "url(", "<made up>", "NaN", "ZgotmplZ"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{"&lt;made up&gt;", `class="pill missed"`, `class="pill not-measured"`, "13.00 (12.00–14.00)", `aria-label="Delay by viewers"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "Nothing") {
		t.Error("the page has a chart of nothing")
	}
	if n := strings.Count(page, "<svg"); n != 2 { // CPU, and the lines
		t.Errorf("%d drawings, want 2", n)
	}
}

// TestJSON: what is written can be read again, and another schema cannot.
func TestJSON(t *testing.T) {
	var b, again bytes.Buffer
	if err := sample(1).WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	back, err := ReadJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.WriteJSON(&again); err != nil || again.String() != text {
		t.Errorf("%v, and it changed on the way:\n%s", err, &again)
	}
	other := strings.Replace(text, Schema, "broadcastd-bench/99", 1)
	if _, err := ReadJSON(strings.NewReader(other)); err == nil || !strings.Contains(err.Error(), "broadcastd-bench/99") {
		t.Errorf("another schema: %v", err)
	}
}

func TestDiff(t *testing.T) {
	kind := func(before, after *Report, what string) ChangeKind {
		for _, c := range Diff(before, after) {
			if c.Where+"|"+c.What == what {
				return c.Kind
			}
		}
		return "not there"
	}
	const ratio, arm, load = "relay / ceiling|server CPU per GB", "relay|server CPU per GB", "relay|load average"
	few := func(r *Report) *Report {
		r.Tables[0].Ratios[0].Values = r.Tables[0].Ratios[0].Values[:3]
		return r
	}
	bare := func(r *Report) *Report {
		r.Tables[0].Ratios = nil
		return r
	}
	for _, tt := range []struct {
		name          string
		before, after *Report
		what          string
		want          ChangeKind
	}{
		{"the same", sample(1), sample(1), ratio, Same},
		{"a little", sample(1), sample(1.01), ratio, Same},
		{"slower", sample(1), sample(1.3), ratio, Worse},
		{"faster", sample(1), sample(0.7), ratio, Gain},
		{"slower, but seen too seldom", few(sample(1)), few(sample(1.3)), ratio, NoBasis},
		{"what has a ratio is not compared itself", sample(1), sample(1.3), arm, "not there"},
		{"what has none is", bare(sample(1)), bare(sample(1.3)), arm, Worse},
		{"what has no better way is not", sample(1), sample(1.3), load, "not there"},
	} {
		if got := kind(tt.before, tt.after, tt.what); got != tt.want {
			t.Errorf("%s: %s is %q, want %q", tt.name, tt.what, got, tt.want)
		}
	}
	var b bytes.Buffer
	if worse, err := WriteDiff(&b, sample(1), sample(1.3), Diff(sample(1), sample(1.3))); worse != 1 || err != nil {
		t.Errorf("WriteDiff = %d, %v, want 1", worse, err)
	}
	other := sample(1)
	other.Tables = nil
	if c := Diff(sample(1), other); len(c) != 0 {
		t.Errorf("changes without anything in common: %+v", c)
	}
}

func TestScale(t *testing.T) {
	for _, tt := range []struct {
		s    scale
		want []float64
	}{
		{scale{low: 0, high: 10}, []float64{0, 2, 4, 6, 8, 10}},
		{scale{low: 0, high: 0.9}, []float64{0, 0.2, 0.4, 0.6, 0.8}},
		{scale{low: 1, high: 100, log: true}, []float64{1, 2, 5, 10, 20, 50, 100}},
	} {
		got := tt.s.nice()
		if len(got) != len(tt.want) {
			t.Errorf("%+v: %v, want %v", tt.s, got, tt.want)
			continue
		}
		for i := range got {
			if d := got[i] - tt.want[i]; d > 1e-9 || d < -1e-9 {
				t.Errorf("%+v: %v, want %v", tt.s, got, tt.want)
			}
		}
	}
}
