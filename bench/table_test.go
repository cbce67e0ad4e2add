package bench

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files; then read the diff")

func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s; got:\n%s", path, got)
	}
}

// result makes up a run of 20 viewers, n of whose objects are missing.
func result(party Party, cpu float64, delay time.Duration, missing int64) Result {
	late := new(Histogram)
	late.Add(delay / 10)
	r := Result{
		Party: party, Began: time.Unix(1_800_000_000, 0).UTC(), Load1: 1.5, Seconds: 10,
		UserSeconds: cpu * 0.6, SystemSeconds: cpu * 0.4, Switches: 12345, Resident: 40e6, PeakResident: 41e6, Goroutines: 77,
		ViewersCPUSeconds: 2, PublisherLate: late,
		Viewing: Viewing{
			Viewers: 20, Expected: 1000, Objects: 1000 - missing, ExpectedBytes: 128e6, Bytes: 128e6,
			Delays: make([]Histogram, 2), Packets: 100_000, WireBytes: 132e6, PayloadBytes: 130e6,
		},
	}
	if missing > 0 {
		r.Viewing.Failed, r.Viewing.Incomplete = 1, 1
		r.Viewing.Errors = []string{"gone"}
	}
	for i := range r.Viewing.Objects {
		r.Viewing.Delays[i%2].Add(delay + time.Duration(i)*time.Microsecond)
	}
	return r
}

func testReport(parties []Party, runs ...[]Result) *Report {
	return &Report{
		Version: "broadcastd 1.2.3", Command: "broadcastd bench relay",
		Machine: Machine{OS: "linux/amd64", Kernel: "6.1", CPU: "A CPU", CPUs: 2, Go: "go1.26.0"},
		Parties: parties, Viewers: 20, Profile: "tv", Duration: 10, Warmup: 2,
		Rows: rows(parties, runs), Runs: runs,
	}
}

func TestWriteTable(t *testing.T) {
	both := []Party{Relay, Ceiling}
	for _, tt := range []struct {
		golden string
		rep    *Report
	}{
		{"pairs.golden", testReport(both,
			[]Result{result(Relay, 0.7, 2*ms, 0), result(Ceiling, 0.5, ms, 0)},
			[]Result{result(Relay, 0.9, 3*ms, 0), result(Ceiling, 0.6, ms, 0)},
			[]Result{result(Relay, 0.6, 2*ms, 0), result(Ceiling, 0.5, 2*ms, 0)},
		)},
		{"lost.golden", testReport(both, []Result{result(Relay, 0.7, 2*ms, 50), result(Ceiling, 0.5, ms, 0)})},
		{"one.golden", testReport([]Party{Ceiling}, []Result{result(Ceiling, 0.5, ms, 0)})},
	} {
		var b bytes.Buffer
		if err := tt.rep.WriteTable(&b); err != nil {
			t.Fatal(err)
		}
		checkGolden(t, tt.golden, b.Bytes())
	}
}

// TestReportJSON checks what a program finds: names, and null for what was lost.
func TestReportJSON(t *testing.T) {
	rep := testReport([]Party{Relay, Ceiling}, []Result{result(Relay, 0.7, 2*ms, 50), result(Ceiling, 0.5, ms, 0)})
	text, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Rows []struct {
			Name   string
			Values [][]*float64
			Ratio  *struct{ Median *float64 }
		}
		Runs [][]struct{ Viewing struct{ Failed int } }
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, row := range got.Rows {
		switch row.Name {
		case "delay p99":
			if row.Values[0][0] != nil || row.Ratio.Median != nil || *row.Values[1][0] < 1 {
				t.Errorf("p99 of lost objects: %+v, want null", row)
			}
		case "server CPU per GB":
			if r := *row.Ratio.Median; r < 1.39 || r > 1.41 {
				t.Errorf("ratio of CPU per GB = %v, want 1.4", r)
			}
		}
	}
	if len(got.Rows) != len(figures) || got.Runs[0][0].Viewing.Failed != 1 {
		t.Errorf("%d rows, runs %+v", len(got.Rows), got.Runs)
	}
}
