package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/broadcastd/broadcastd/bench/stat"
)

// A Change is one figure or ratio in two reports.
type Change struct {
	Where, What string
	Before      stat.Spread
	After       stat.Spread
	Digits      int
	By          stat.Number // after divided by before, less 1
	Kind        ChangeKind
}

// A ChangeKind says what a change means.
type ChangeKind string

// The kinds.
const (
	Same    ChangeKind = "within noise"
	Worse   ChangeKind = "worse"
	Gain    ChangeKind = "better"
	Moved   ChangeKind = "moved" // where neither way is better
	NoBasis ChangeKind = "too few runs"
)

// leastRuns is from how many runs on each side a change can be told from noise:
// the intervals of two sides with 4 runs that do not overlap come by chance with
// a probability below 3 %.
const leastRuns = 4

// leastChange is what does not matter even if it is certain.
const leastChange = 0.02

// Diff compares what two reports have in common. Where an arm has ratios, the
// ratios are compared and not the figures behind them, because figures of two
// days differ by what else the machine did.
func Diff(before, after *Report) []Change {
	var changes []Change
	for _, t := range before.Tables {
		rated := make(map[[2]string]bool) // key, arm
		for _, q := range t.Ratios {
			now, ok := after.Ratio(q.Key, q.Of, q.To)
			if !ok {
				continue
			}
			rated[[2]string{q.Key, q.Of}], rated[[2]string{q.Key, q.To}] = true, true
			changes = append(changes, change(q.Label(), q.Name, q.Spread, now.Spread, min(len(q.Values), len(now.Values)), q.Better, 2, q.Minus))
		}
		for _, f := range t.Figures {
			for i, a := range t.Arms {
				now, ok := after.Figure(a.Name, f.Key)
				if !ok || rated[[2]string{f.Key, a.Name}] || f.Better == Either {
					continue
				}
				was := f.Arms[i]
				changes = append(changes, change(a.Name, f.Name, was.Spread, now.Spread, min(len(was.Values), len(now.Values)), f.Better, f.Digits, false))
			}
		}
	}
	return changes
}

func change(where, what string, was, is stat.Spread, runs int, better Better, digits int, difference bool) Change {
	c := Change{Where: where, What: what, Before: was, After: is, Digits: digits, By: stat.NaN, Kind: Same}
	if !difference {
		c.By = stat.Ratio(float64(is.Median), float64(was.Median)) - 1
	}
	if !was.Median.Known() || !is.Median.Known() {
		c.Kind = NoBasis
		return c
	}
	apart := is.Low > was.High || is.High < was.Low
	if !apart || c.By.Known() && c.By < leastChange && c.By > -leastChange {
		return c
	}
	if runs < leastRuns {
		c.Kind = NoBasis
		return c
	}
	up := is.Median > was.Median
	switch {
	case better == Either:
		c.Kind = Moved
	case up == (better == Higher):
		c.Kind = Gain
	default:
		c.Kind = Worse
	}
	return c
}

// WriteDiff shows changes, and returns how many are for the worse.
func WriteDiff(w io.Writer, before, after *Report, changes []Change) (worse int, err error) {
	var b strings.Builder
	for _, r := range []struct {
		what string
		r    *Report
	}{{"before", before}, {"after", after}} {
		fmt.Fprintf(&b, "%s: %s, %s, %s; %s\n", r.what, r.r.Scenario, r.r.Version, r.r.Began.UTC().Format("2006-01-02 15:04"), r.r.Machine)
	}
	if before.Machine != after.Machine {
		b.WriteString("The machines differ: only ratios mean something.\n")
	}
	b.WriteString("\n")
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "  \t\tbefore\tafter\tchange\t")
	for _, c := range changes {
		by := "–"
		if c.By.Known() {
			by = fmt.Sprintf("%+.1f %%", 100*float64(c.By))
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\n", c.Where, c.What, SpreadText(c.Before, c.Digits), SpreadText(c.After, c.Digits), by, c.Kind)
		if c.Kind == Worse {
			worse++
		}
	}
	_ = t.Flush() // into memory
	switch {
	case len(changes) == 0:
		b.WriteString("\nThe two have nothing in common.\n")
	case worse == 0:
		b.WriteString("\nNothing is worse beyond the noise.\n")
	default:
		fmt.Fprintf(&b, "\n%d worse beyond the noise: the intervals do not overlap, and the medians differ by more than %.0f %%.\n", worse, 100*leastChange)
	}
	_, err = io.WriteString(w, trimLines(b.String()))
	return worse, err
}
