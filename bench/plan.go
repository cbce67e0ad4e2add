package bench

import (
	"errors"
	"fmt"
	"slices"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/run"
	"github.com/broadcastd/broadcastd/bench/stat"
)

// Config says how to run a plan.
type Config struct {
	run.Config
	Plan Plan
	// Progress is told what goes on. Nil: nobody is.
	Progress func(Step)
}

// maxRounds bounds what one machine can be asked for.
const maxRounds = 1000

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	if c.Progress == nil {
		c.Progress = func(Step) {}
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("bench: "+format, args...)) }
	if c.Command == nil {
		fault("Config.Command is nil")
	}
	if len(c.Plan.Blocks) == 0 {
		fault("a plan without blocks")
	}
	if c.MediaMTX == "" && c.Plan.Has(load.MediaMTX) {
		fault("there is no MediaMTX")
	}
	if c.Plan.Budget < 0 {
		fault("a budget of %v", c.Plan.Budget)
	}
	names := make(map[string]bool)
	for _, b := range c.Plan.Blocks {
		if b.Rounds < 1 || b.Rounds > maxRounds {
			fault("%d rounds, want 1 to %d", b.Rounds, maxRounds)
		}
		if b.Search != nil {
			if err := b.Search.check(); err != nil {
				faults = append(faults, err)
			}
		} else if len(b.Arms) == 0 {
			fault("a block without arms")
		}
		for _, a := range b.Arms {
			if names[a.Name] || a.Name == "" {
				fault("two arms are called %q, or one is not called anything", a.Name)
			}
			names[a.Name] = true
			if err := a.Check(); err != nil {
				faults = append(faults, err)
			}
		}
	}
	return c, errors.Join(faults...)
}

// summary says in a line what a run came to: its first figures.
func (p Plan) summary(b Block, a Arm, r Result) string {
	s := ""
	for _, f := range figuresNamed(or2(b.Figures, p.Figures)) {
		v := f.of(a, r)
		if !v.Known() || f.better == report.Either || v == 0 && faults[f.key] {
			continue
		}
		if s != "" {
			s += ", "
		}
		s += f.name + " " + report.Text(v, f.digits)
		if f.unit != "" {
			s += " " + f.unit
		}
		if len(s) > 110 {
			break
		}
	}
	return s
}

// Has reports whether the plan runs a party.
func (p Plan) Has(party load.Party) bool {
	return slices.ContainsFunc(p.Blocks, func(b Block) bool {
		return b.Search != nil && slices.Contains(b.Search.Parties, party) ||
			slices.ContainsFunc(b.Arms, func(a Arm) bool { return a.Party == party })
	})
}

// An outcome is what a block came to.
type outcome struct {
	block  Block
	rounds [][]Result  // by round and arm; of a search by round and probe
	found  [][]finding // of a search, by round and party
}

// tell puts what was measured into the report.
func (p Plan) tell(rep *report.Report, done []outcome) {
	var runs []Result
	for _, o := range done {
		if len(o.rounds) == 0 {
			continue
		}
		if o.block.Search != nil {
			rep.Tables = append(rep.Tables, o.searchTable(), p.probeTable(o))
		} else {
			rep.Tables = append(rep.Tables, p.table(o.block, o.rounds))
		}
		for _, results := range o.rounds {
			runs = append(runs, results...)
		}
	}
	rep.Runs = runs
	look := lookup{rep: rep}
	for _, g := range p.Goals {
		text, verdict := g.Of(look)
		rep.Goals = append(rep.Goals, report.Goal{What: g.What, Must: g.Must, Aim: g.Aim, Measured: text, Verdict: verdict})
	}
	for _, c := range p.Charts {
		if drawn := c(look, runs); len(drawn.Lines) > 0 {
			rep.Charts = append(rep.Charts, drawn)
		}
	}
}

// table puts the figures of a block together. Figures that nothing has are left
// out, and so are those of faults where there are none.
func (p Plan) table(b Block, rounds [][]Result) report.Table {
	t := report.Table{Title: blockTitle(b), Rounds: len(rounds), Tall: len(b.Arms) > maxColumns}
	for _, a := range b.Arms {
		about := a.About()
		if _, _, ok := partyAtN(a.Name); ok {
			about = "" // its name says it
		}
		t.Arms = append(t.Arms, report.Arm{Name: a.Name, About: about})
	}
	for _, f := range figuresNamed(or2(b.Figures, p.Figures)) {
		row := report.Figure{Key: f.key, Name: f.name, Unit: f.unit, Digits: f.digits, Better: f.better}
		interesting := false
		for i, a := range b.Arms {
			var s report.Series
			for _, results := range rounds {
				v := f.of(a, results[i])
				interesting = interesting || v.Known() && (v != 0 || !faults[f.key])
				s.Values = append(s.Values, v)
			}
			s.Spread = stat.Of(s.Values)
			row.Arms = append(row.Arms, s)
		}
		if interesting {
			t.Figures = append(t.Figures, row)
		}
	}
	for _, q := range p.Ratios {
		if row, ok := q.row(t); ok {
			t.Ratios = append(t.Ratios, row)
		}
	}
	return t
}

// maxColumns is how many arms stand beside each other.
const maxColumns = 5

// faults are the figures that are shown only where they are not 0.
var faults = map[string]bool{failed: true, wrong: true, incomplete: true, joinFailed: true, freeze: true}

// row makes the comparison, if the table has both arms.
func (q Ratio) row(t report.Table) (report.Ratio, bool) {
	of := slices.IndexFunc(t.Arms, func(a report.Arm) bool { return a.Name == q.Of })
	to := slices.IndexFunc(t.Arms, func(a report.Arm) bool { return a.Name == q.To })
	f := slices.IndexFunc(t.Figures, func(f report.Figure) bool { return f.Key == q.Figure })
	if of < 0 || to < 0 || f < 0 {
		return report.Ratio{}, false
	}
	fig := t.Figures[f]
	r := report.Ratio{Key: q.Figure, Name: fig.Name, Unit: fig.Unit, Of: q.Of, To: q.To, Minus: q.Minus, Better: fig.Better}
	combine := stat.Ratios
	if q.Minus {
		combine = stat.Differences
	}
	r.Values = combine(fig.Arms[of].Values, fig.Arms[to].Values)
	r.Spread = stat.Of(r.Values)
	return r, r.Median.Known()
}

// blockTitle names what the arms of a block have in common.
func blockTitle(b Block) string {
	a := b.Arms[0]
	if b.Together {
		return fmt.Sprintf("Profile %s, %v measured after %v, all at the same time", a.Profile, a.Duration, a.Warmup)
	}
	switch a.Mode {
	case run.Start:
		return "Start"
	case run.Record:
		return "Recorder"
	case run.Recut:
		return "Re-cutting"
	}
	return fmt.Sprintf("Profile %s, %v measured after %v", a.Profile, a.Duration, a.Warmup)
}

// A Lookup finds what was measured.
type Lookup interface {
	// Figure returns a figure of an arm.
	Figure(arm, key string) (stat.Spread, bool)
	// Ratio returns a comparison of two arms.
	Ratio(key, of, to string) (stat.Spread, bool)
	// Arms returns the names of the arms that were run.
	Arms() []string
}

type lookup struct{ rep *report.Report }

func (l lookup) Figure(arm, key string) (stat.Spread, bool) {
	s, ok := l.rep.Figure(arm, key)
	return s.Spread, ok && s.Median.Known()
}

func (l lookup) Ratio(key, of, to string) (stat.Spread, bool) {
	q, ok := l.rep.Ratio(key, of, to)
	return q.Spread, ok && q.Median.Known()
}

func (l lookup) Arms() []string {
	var list []string
	for _, t := range l.rep.Tables {
		for _, a := range t.Arms {
			list = append(list, a.Name)
		}
	}
	return list
}

// A Chart draws something of what was measured; without lines it is left out.
type Chart func(Lookup, []Result) report.Chart
