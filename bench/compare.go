package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"
)

// A Number is a figure. What is not finite, such as the delay of an object that
// never came, is null in JSON.
type Number float64

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if math.IsInf(float64(n), 0) || math.IsNaN(float64(n)) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// A Spread is what one figure was over several runs.
type Spread struct {
	Median Number `json:"median"`
	Min    Number `json:"min"`
	Max    Number `json:"max"`
}

// A Row is one figure of every party over all runs.
type Row struct {
	Name   string     `json:"name"`
	Unit   string     `json:"unit,omitempty"`
	Values [][]Number `json:"values"` // by party and run
	Spread []Spread   `json:"spread"` // by party
	// Ratios divide the first party's runs by the second's, pair by pair. They
	// are missing where there is one party.
	Ratios []Number `json:"ratios,omitempty"`
	Ratio  *Spread  `json:"ratio,omitempty"`
	digits int      // behind the point, for the table
}

// A Report is the outcome of Run.
type Report struct {
	Version  string     `json:"version,omitempty"` // of broadcastd; the caller's to fill in
	Command  string     `json:"command,omitempty"` // the same
	Machine  Machine    `json:"machine"`
	Parties  []Party    `json:"parties"`
	Viewers  int        `json:"viewers"`
	Profile  string     `json:"profile"`
	Duration float64    `json:"duration_seconds"`
	Warmup   float64    `json:"warmup_seconds"`
	Rows     []Row      `json:"rows"`
	Runs     [][]Result `json:"runs"` // by run and party
}

// Run measures the parties in turn, and returns what it has of whole turns along
// with an error.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	cfg, prof, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	rep := &Report{
		Machine: thisMachine(), Parties: cfg.Parties, Viewers: cfg.Viewers, Profile: prof.Name,
		Duration: cfg.Duration.Seconds(), Warmup: cfg.Warmup.Seconds(),
	}
	for i := range cfg.Runs {
		var turn []Result
		for _, party := range cfg.Parties {
			res, err := runOnce(ctx, cfg, prof, party, i)
			if err != nil {
				rep.Rows = rows(cfg.Parties, rep.Runs)
				return rep, err
			}
			turn = append(turn, res)
		}
		rep.Runs = append(rep.Runs, turn)
	}
	rep.Rows = rows(cfg.Parties, rep.Runs)
	return rep, nil
}

func runOnce(ctx context.Context, cfg Config, prof Profile, party Party, i int) (Result, error) {
	r := run{cfg: cfg, prof: prof, party: party}
	if cfg.CPUProfile != "" {
		name, err := filepath.Abs(cfg.CPUProfile)
		if err != nil {
			return Result{}, err
		}
		if len(cfg.Parties) > 1 {
			ext := filepath.Ext(name)
			name = strings.TrimSuffix(name, ext) + "-" + string(party) + ext
		}
		r.cpuProf = name
	}
	r.say = func(s Step) {
		s.Text = fmt.Sprintf("run %d of %d, %s: %s", i+1, cfg.Runs, party, s.Text)
		cfg.Progress(s)
	}
	res, err := r.measure(ctx)
	if err != nil {
		return res, fmt.Errorf("run %d of %s: %w", i+1, party, err)
	}
	r.say(Step{Done: true, Text: fmt.Sprintf("%.2f CPU s per GB, delay p50 %s ms, p99 %s ms, %d of %d objects", cpuPerGB(res),
		text(delayMS(0.5)(res), 1), text(delayMS(0.99)(res), 1), res.Viewing.Objects, res.Viewing.Expected)})
	return res, nil
}

// A figure is a line of the table.
type figure struct {
	name, unit string
	digits     int
	noRatio    bool
	of         func(Result) float64
}

var figures = []figure{
	{"server CPU per GB", "s", 2, false, cpuPerGB},
	{"server CPU per viewer", "mcore", 2, false, func(r Result) float64 {
		return ratio(1000*(r.UserSeconds+r.SystemSeconds), r.Seconds*float64(r.Viewing.Viewers))
	}},
	{"delay p50", "ms", 2, false, delayMS(0.5)},
	{"delay p99", "ms", 2, false, delayMS(0.99)},
	{"delay max", "ms", 2, false, delayMS(1)},
	{"objects delivered", "%", 3, true, func(r Result) float64 {
		return 100 * ratio(float64(r.Viewing.Objects), float64(r.Viewing.Expected))
	}},
	{"viewers failed", "", 0, true, func(r Result) float64 { return float64(r.Viewing.Failed) }},
	{"viewers incomplete", "", 0, true, func(r Result) float64 { return float64(r.Viewing.Incomplete) }},
	{"objects wrong", "", 0, true, func(r Result) float64 { return float64(r.Viewing.Wrong) }},
	{"packets per GB", "thousand", 1, false, func(r Result) float64 {
		return ratio(float64(r.Viewing.Packets)/1e3, float64(r.Viewing.PayloadBytes)/1e9)
	}},
	{"UDP bytes per media byte", "", 4, false, func(r Result) float64 {
		return ratio(float64(r.Viewing.WireBytes), float64(r.Viewing.PayloadBytes))
	}},
	{"server memory, RSS", "MB", 1, false, func(r Result) float64 { return float64(r.Resident) / 1e6 }},
	{"server goroutines", "", 0, false, func(r Result) float64 { return float64(r.Goroutines) }},
	{"server context switches", "1/s", 0, false, func(r Result) float64 { return ratio(float64(r.Switches), r.Seconds) }},
	{"viewers' CPU", "mcore", 0, true, func(r Result) float64 { return ratio(1000*r.ViewersCPUSeconds, r.Seconds) }},
	{"publisher late p99", "ms", 2, true, func(r Result) float64 { return millis(r.PublisherLate.Quantile(0.99, 0)) }},
	{"load average", "", 1, true, func(r Result) float64 { return r.Load1 }},
}

func cpuPerGB(r Result) float64 {
	return ratio(r.UserSeconds+r.SystemSeconds, float64(r.Viewing.Bytes)/1e9)
}

func delayMS(q float64) func(Result) float64 {
	return func(r Result) float64 { return millis(r.Viewing.all().Quantile(q, r.Viewing.Expected)) }
}

func millis(d time.Duration) float64 {
	if d == Lost {
		return math.Inf(1)
	}
	return float64(d) / float64(time.Millisecond)
}

// ratio is a/b, and NaN where that means nothing.
func ratio(a, b float64) float64 {
	if b == 0 || math.IsInf(a, 0) || math.IsInf(b, 0) {
		return math.NaN()
	}
	return a / b
}

func rows(parties []Party, runs [][]Result) []Row {
	var all []Row
	if len(runs) == 0 {
		return nil
	}
	for _, f := range figures {
		row := Row{Name: f.name, Unit: f.unit, digits: f.digits}
		for p := range parties {
			var values []Number
			for _, turn := range runs {
				values = append(values, Number(f.of(turn[p])))
			}
			row.Values = append(row.Values, values)
			row.Spread = append(row.Spread, spreadOf(values))
		}
		if len(parties) == 2 && !f.noRatio {
			row.Ratios = ratios(row.Values[0], row.Values[1])
			s := spreadOf(row.Ratios)
			row.Ratio = &s
		}
		all = append(all, row)
	}
	return all
}
