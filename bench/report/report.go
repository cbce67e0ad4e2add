// Package report shows what was measured: as a table for people, as JSON for
// programs, as one HTML file with charts, and as the difference between two
// measurements.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/broadcastd/broadcastd/bench/proc"
	"github.com/broadcastd/broadcastd/bench/stat"
)

// Schema names the form of the JSON. The number rises when a field changes its
// meaning or goes away.
const Schema = "broadcastd-bench/1"

// A Report is the outcome of a measurement.
type Report struct {
	Schema   string       `json:"schema"`
	Scenario string       `json:"scenario"`
	About    string       `json:"about,omitempty"`
	Version  string       `json:"version,omitempty"` // of broadcastd
	Command  string       `json:"command,omitempty"`
	Began    time.Time    `json:"began"`
	Took     float64      `json:"took_seconds"`
	Machine  proc.Machine `json:"machine"`
	// Load is the machine's load average before the first run and after the
	// last: what else went on.
	Load   [2]float64 `json:"load_average"`
	Notes  []string   `json:"notes,omitempty"`
	Goals  []Goal     `json:"goals,omitempty"`
	Tables []Table    `json:"tables"`
	Charts []Chart    `json:"charts,omitempty"`
	// Runs is every run in full; its form is the business of package bench.
	Runs any `json:"runs,omitempty"`
}

// A Table is the figures of arms that took turns.
type Table struct {
	Title string `json:"title"`
	// Tall: a row for each arm, instead of a column.
	Tall    bool     `json:"tall,omitempty"`
	Rounds  int      `json:"rounds"`
	Arms    []Arm    `json:"arms"`
	Figures []Figure `json:"figures"`
	Ratios  []Ratio  `json:"ratios,omitempty"`
}

// An Arm is one way to run.
type Arm struct {
	Name  string `json:"name"`
	About string `json:"about,omitempty"`
}

// Better says which way a figure should go.
type Better string

// The ways.
const (
	Lower  Better = "lower"
	Higher Better = "higher"
	Either Better = ""
)

// A Figure is one figure of every arm.
type Figure struct {
	Key    string   `json:"key"`
	Name   string   `json:"name"`
	Unit   string   `json:"unit,omitempty"`
	Digits int      `json:"digits"` // behind the point, for people
	Better Better   `json:"better,omitempty"`
	Arms   []Series `json:"arms"` // in the order of the table's
}

// A Series is one figure of one arm.
type Series struct {
	Values []stat.Number `json:"values"` // by round
	stat.Spread
}

// A Ratio compares two arms pair by pair.
type Ratio struct {
	Key    string        `json:"key"` // of the figure
	Name   string        `json:"name"`
	Unit   string        `json:"unit,omitempty"` // of a difference
	Of     string        `json:"of"`             // arms
	To     string        `json:"to"`
	Minus  bool          `json:"minus,omitempty"` // their difference instead
	Better Better        `json:"better,omitempty"`
	Values []stat.Number `json:"values"`
	stat.Spread
}

// Label says what is compared, for people.
func (r Ratio) Label() string {
	if r.Minus {
		return r.Of + " − " + r.To
	}
	return r.Of + " / " + r.To
}

// A Goal is a row that is held to what was aimed at.
type Goal struct {
	What     string  `json:"what"`
	Must     string  `json:"must"`
	Aim      string  `json:"aim"`
	Measured string  `json:"measured"`
	Verdict  Verdict `json:"verdict"`
}

// A Verdict says how a figure compares with its goal.
type Verdict string

// The verdicts.
const (
	Unknown Verdict = "not measured"
	Missed  Verdict = "missed"
	Must    Verdict = "must"
	Aim     Verdict = "aim"
)

// A Chart is lines over numbers.
type Chart struct {
	Title string `json:"title"`
	X     string `json:"x"`
	Y     string `json:"y"`
	LogX  bool   `json:"log_x,omitempty"`
	LogY  bool   `json:"log_y,omitempty"`
	Lines []Line `json:"lines"`
	// Limit is drawn across, where it is not 0.
	Limit float64 `json:"limit,omitempty"`
}

// A Line is one line of a chart.
type Line struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// A Point is one point of a line, with its interval.
type Point struct {
	X    float64     `json:"x"`
	Y    stat.Number `json:"y"`
	Low  stat.Number `json:"low"`
	High stat.Number `json:"high"`
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(in io.Reader) (*Report, error) {
	r := new(Report)
	if err := json.NewDecoder(in).Decode(r); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("report: the schema is %q, want %q", r.Schema, Schema)
	}
	return r, nil
}

// Figure returns one figure of one arm.
func (r *Report) Figure(arm, key string) (Series, bool) {
	for _, t := range r.Tables {
		i := slices.IndexFunc(t.Arms, func(a Arm) bool { return a.Name == arm })
		k := slices.IndexFunc(t.Figures, func(f Figure) bool { return f.Key == key })
		if i >= 0 && k >= 0 {
			return t.Figures[k].Arms[i], true
		}
	}
	return Series{}, false
}

// Ratio returns a comparison of two arms.
func (r *Report) Ratio(key, of, to string) (Ratio, bool) {
	for _, t := range r.Tables {
		for _, q := range t.Ratios {
			if q.Key == key && q.Of == of && q.To == to {
				return q, true
			}
		}
	}
	return Ratio{}, false
}

// Text shows a number with so many digits behind the point.
func Text(n stat.Number, digits int) string {
	v := float64(n)
	if !n.Known() {
		return "–"
	}
	if digits == 0 && math.Abs(v) >= 1e6 {
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// SpreadText shows a median with its interval.
func SpreadText(s stat.Spread, digits int) string {
	median, low, high := Text(s.Median, digits), Text(s.Low, digits), Text(s.High, digits)
	if low == high {
		return median
	}
	return fmt.Sprintf("%s (%s–%s)", median, low, high)
}
