package bench

import (
	"slices"
	"strings"

	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/stat"
)

// A bound is what a figure must reach and what is aimed at. Both are upper ones,
// or lower ones.
type bound struct {
	must, aim float64
	lower     bool
}

func (b bound) verdict(v stat.Number) report.Verdict {
	within := func(limit float64) bool {
		if b.lower {
			return float64(v) >= limit
		}
		return float64(v) <= limit
	}
	switch {
	case !v.Known():
		return report.Unknown
	case within(b.aim):
		return report.Aim
	case within(b.must):
		return report.Must
	}
	return report.Missed
}

// worst returns the worst of several verdicts; what was not measured does not
// count unless nothing was.
func worst(list ...report.Verdict) report.Verdict {
	for _, v := range []report.Verdict{report.Missed, report.Must, report.Aim} {
		if slices.Contains(list, v) {
			return v
		}
	}
	return report.Unknown
}

// A piece is one figure of a goal.
type piece struct {
	name   string
	get    func(Lookup) (stat.Spread, bool)
	digits int
	unit   string
	bound  bound
	upper  bool // the upper end of the interval is held to the bound
	scale  float64
	beside bool // shown beside the others, and held to nothing
}

func figureOf(arm, key string) func(Lookup) (stat.Spread, bool) {
	return func(l Lookup) (stat.Spread, bool) { return l.Figure(arm, key) }
}

func ratioOf(key, of, to string) func(Lookup) (stat.Spread, bool) {
	return func(l Lookup) (stat.Spread, bool) { return l.Ratio(key, of, to) }
}

// measured puts the pieces of a goal together.
func measured(pieces ...piece) func(Lookup) (string, report.Verdict) {
	return func(l Lookup) (string, report.Verdict) {
		var texts []string
		var verdicts []report.Verdict
		for _, p := range pieces {
			s, ok := p.get(l)
			if !ok {
				continue
			}
			f := stat.Number(or(p.scale, 1))
			s.Median, s.Low, s.High = s.Median*f, s.Low*f, s.High*f
			v := s.Median
			if p.upper {
				v = s.High
			}
			if !p.beside {
				verdicts = append(verdicts, p.bound.verdict(v))
			}
			text := report.SpreadText(s, p.digits)
			if p.unit != "" {
				text += " " + p.unit
			}
			if p.name != "" {
				text = p.name + " " + text
			}
			texts = append(texts, text)
		}
		if len(texts) == 0 {
			return "–", report.Unknown
		}
		return strings.Join(texts, "; "), worst(verdicts...)
	}
}

// limits makes a goal's figures of one arm.
func limit(name, arm, key string, digits int, unit string, must, aim float64) piece {
	return piece{name: name, get: figureOf(arm, key), digits: digits, unit: unit, bound: bound{must: must, aim: aim}}
}

// beside makes a figure that is held to nothing.
func beside(name, arm, key string, digits int, unit string) piece {
	return piece{name: name, get: figureOf(arm, key), digits: digits, unit: unit, beside: true}
}

// least makes a figure that should be high.
func least(name, arm, key string, digits int, unit string, must, aim float64) piece {
	return piece{name: name, get: figureOf(arm, key), digits: digits, unit: unit, bound: bound{must: must, aim: aim, lower: true}}
}

// against makes a comparison with another arm.
func against(name, key, of, to string, must, aim float64) piece {
	return piece{name: name, get: ratioOf(key, of, to), digits: 2, bound: bound{must: must, aim: aim}}
}

func (p piece) atItsUpperEnd() piece {
	p.upper = true
	return p
}

func (p piece) in(unit string, digits int) piece {
	p.unit, p.digits = unit, digits
	return p
}

func (p piece) times(f float64) piece {
	p.scale = f
	return p
}
