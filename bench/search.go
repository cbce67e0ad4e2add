package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/stat"
)

// A Search looks for the largest number of viewers that a party serves: p99 of
// the delay within maxDelay, and nothing lost. It takes for granted that a party
// that serves some serves fewer too, and so needs a few short runs instead of one
// for each number.
type Search struct {
	Parties []load.Party
	Counts  []int // rising
	Arm     Arm   // what each run is like; its name, party and viewers are set
}

// maxDelay is what p99 may be, in ms, for a number of viewers to count as served.
const maxDelay = 200

func (s *Search) check() error {
	switch {
	case len(s.Parties) == 0:
		return errors.New("bench: a search without parties")
	case len(s.Counts) == 0 || s.Counts[0] < 1 || !slices.IsSorted(s.Counts) || len(slices.Compact(slices.Clone(s.Counts))) != len(s.Counts):
		return fmt.Errorf("bench: a search in %v, want rising numbers from 1", s.Counts)
	}
	for _, p := range s.Parties {
		if err := s.arm(p, s.Counts[len(s.Counts)-1]).Check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Search) arm(p load.Party, n int) Arm {
	a := s.Arm
	a.Name, a.Party, a.Viewers = atN(p, n), p, n
	return a
}

// probes is about how many runs a party needs in the first round, where nothing
// is known of where to look, and in the others.
func (s *Search) probes(round int) int {
	n := 0
	for c := len(s.Counts); c > 0; c /= 2 {
		n++
	}
	if round > 0 {
		return min(n, 3)
	}
	return n
}

// largestKey is the figure that a search finds.
const largestKey = "largest_n"

// largestName names the arm of a search's table.
func largestName(p load.Party) string { return string(p) + " largest N" }

// A finding is what one search for one party came to.
type finding struct {
	n    int  // 0: not even the least number
	more bool // the largest number was served: there may be a larger one
}

// A bisection finds the last good one of so many, of which the first are good and
// the rest are not. It begins at a guess, and looks near it first.
type bisection struct {
	good  int // index of the last known good one; -1: none
	bad   int // index of the first known bad one; the number of all: none
	guess int
	step  int
}

func newBisection(n, guess, step int) *bisection {
	return &bisection{good: -1, bad: n, guess: min(max(guess, 0), n-1), step: max(step, 1)}
}

// next returns which one to look at; false when the last good one is known.
func (b *bisection) next() (int, bool) {
	if b.bad-b.good <= 1 {
		return 0, false
	}
	if b.guess > b.good && b.guess < b.bad {
		return b.guess, true
	}
	return (b.good + b.bad) / 2, true
}

// tell says how it was. As long as all were good, or all were bad, the next one
// is twice as far from the guess; between a good and a bad one it is the middle.
func (b *bisection) tell(i int, good bool) {
	if good {
		b.good = max(b.good, i)
		b.guess = i + b.step
	} else {
		b.bad = min(b.bad, i)
		b.guess = i - b.step
	}
	b.step *= 2
}

// unknown is the hint of where nothing was found yet.
const unknown = -1

// served reports whether the viewers of a run were.
func served(a Arm, r Result) bool {
	v := r.Viewing
	return v.Expected > 0 && v.Objects == v.Expected && v.Quantile(0.99, a.Warmup+a.Duration) <= maxDelay
}

// search runs one round of a search. hints are the numbers to begin at, by party,
// and are left at what was found. What is bad is looked at twice: a neighbour on
// the machine spoils a run more often than it helps one.
func (r *runner) search(ctx context.Context, block Block, round int, hints []int) (runs []Result, found []finding, err error) {
	s := block.Search
	found = make([]finding, len(s.Parties))
	order := make([]int, len(s.Parties))
	for i := range order {
		order[i] = i
	}
	if round%2 == 1 {
		slices.Reverse(order)
	}
	near := unknown
	for _, pi := range order {
		party := s.Parties[pi]
		hint, step := hints[pi], 1
		if hint == unknown {
			hint = near
		}
		if hint == unknown {
			hint, step = s.Counts[len(s.Counts)/2], len(s.Counts)/4
		}
		guess, _ := slices.BinarySearch(s.Counts, hint)
		b := newBisection(len(s.Counts), guess, step)
		for i, ok := b.next(); ok; i, ok = b.next() {
			good := false
			for range 2 {
				arm := s.arm(party, s.Counts[i])
				res, err := r.one(ctx, block, arm, round)
				if err != nil {
					return nil, nil, err
				}
				runs = append(runs, res)
				if good = served(arm, res); good {
					break
				}
			}
			b.tell(i, good)
		}
		if b.good >= 0 {
			found[pi].n = s.Counts[b.good]
		}
		found[pi].more = b.bad == len(s.Counts)
		hints[pi], near = found[pi].n, found[pi].n
		r.cfg.Progress(Step{Done: true, Text: fmt.Sprintf("%s (%d of %d): %s", largestName(party), round+1, block.Rounds, found[pi])})
	}
	return runs, found, nil
}

func (f finding) String() string {
	if f.more {
		return fmt.Sprintf("%d or more", f.n)
	}
	return fmt.Sprint(f.n)
}

// searchTable shows what was found.
func (o outcome) searchTable() report.Table {
	s := o.block.Search
	t := report.Table{Title: fmt.Sprintf("The largest number of viewers with p99 within %d ms and nothing lost", maxDelay), Rounds: len(o.found)}
	f := report.Figure{Key: largestKey, Name: "largest N", Better: report.Higher}
	for pi, p := range s.Parties {
		var series report.Series
		more := false
		for _, found := range o.found {
			series.Values = append(series.Values, stat.Number(found[pi].n))
			more = more || found[pi].more
		}
		series.Spread = stat.Of(series.Values)
		about := ""
		if more {
			about = fmt.Sprintf("served %d, the largest that was tried, at least once", s.Counts[len(s.Counts)-1])
		}
		t.Arms = append(t.Arms, report.Arm{Name: largestName(p), About: about})
		f.Arms = append(f.Arms, series)
	}
	t.Figures = []report.Figure{f}
	for _, p := range s.Parties[1:] {
		if q, ok := (Ratio{Figure: largestKey, Of: largestName(s.Parties[0]), To: largestName(p)}).row(t); ok {
			t.Ratios = append(t.Ratios, q)
		}
	}
	return t
}

// probeTable shows the runs of a search, those of one number together.
func (p Plan) probeTable(o outcome) report.Table {
	t := report.Table{Title: "The runs of that search", Tall: true, Rounds: len(o.found)}
	var runs []Result
	for _, r := range o.rounds {
		runs = append(runs, r...)
	}
	names, of := byArm(runs)
	slices.SortFunc(names, func(a, b string) int {
		pa, na, _ := partyAtN(a)
		pb, nb, _ := partyAtN(b)
		return cmp.Or(cmp.Compare(na, nb), strings.Compare(pa, pb))
	})
	for _, name := range names {
		t.Arms = append(t.Arms, report.Arm{Name: name})
	}
	for _, f := range figuresNamed(scaleFigures) {
		row := report.Figure{Key: f.key, Name: f.name, Unit: f.unit, Digits: f.digits, Better: f.better}
		for _, name := range names {
			party, n, _ := partyAtN(name)
			row.Arms = append(row.Arms, series(f, o.block.Search.arm(load.Party(party), n), of[name]))
		}
		t.Figures = append(t.Figures, row)
	}
	return t
}

// series is a figure of several runs of one arm.
func series(f figure, a Arm, runs []Result) report.Series {
	var s report.Series
	for _, r := range runs {
		s.Values = append(s.Values, f.of(a, r))
	}
	s.Spread = stat.Of(s.Values)
	return s
}
