package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/proc"
	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/stat"
)

// Config says how to run a plan.
type Config struct {
	// Command makes a command of this program with the given arguments. The child
	// processes are "bench child", which has to call Child; the server is "serve".
	Command func(args ...string) *exec.Cmd
	Plan    Plan
	// MediaMTX is the path of its binary, where the plan has it as a party.
	MediaMTX string
	// Dir is where temporary files go. Empty means the system's place.
	Dir string
	// CPUProfile, unless empty, is a file to which each arm's server writes the
	// CPU profile of its last run, with the arm's name put before the extension if
	// there are several. Profiling costs CPU itself.
	CPUProfile string
	// Progress is told what goes on. Nil: nobody is.
	Progress func(Step)

	arms int
}

// A Step is something to tell a person who waits.
type Step struct {
	Text string
	// Left is how long it takes; told again about every second.
	Left time.Duration
	// Total is how long everything will still take, about.
	Total time.Duration
	// Done: the text is what a run came to.
	Done bool
}

// The bounds of a plan: what one machine can be asked for.
const (
	maxViewers  = 10_000
	maxRounds   = 1000
	maxDuration = time.Hour
	minDuration = 100 * time.Millisecond
)

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
	names := make(map[string]bool)
	for _, b := range c.Plan.Blocks {
		if b.Rounds < 1 || b.Rounds > maxRounds {
			fault("%d rounds, want 1 to %d", b.Rounds, maxRounds)
		}
		for _, a := range b.Arms {
			c.arms++
			if names[a.Name] || a.Name == "" {
				fault("two arms are called %q, or one is not called anything", a.Name)
			}
			names[a.Name] = true
			if a.Party == load.MediaMTX && c.MediaMTX == "" {
				fault("there is no MediaMTX")
			}
			if err := a.check(); err != nil {
				faults = append(faults, err)
			}
		}
	}
	return c, errors.Join(faults...)
}

func (a Arm) check() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("bench: %s: "+format, append([]any{a.Name}, args...)...))
	}
	if a.Viewers < 0 || a.Viewers > maxViewers {
		fault("%d viewers, want 0 to %d", a.Viewers, maxViewers)
	}
	if a.Stalled < 0 || a.Stalled > a.Viewers {
		fault("%d stalled viewers of %d", a.Stalled, a.Viewers)
	}
	if a.Duration < minDuration || a.Duration > maxDuration {
		fault("a duration of %v, want %v to %v", a.Duration, minDuration, maxDuration)
	}
	if a.Warmup < 0 || a.Warmup > maxDuration || a.Drain < 0 || a.Drain > maxDuration {
		fault("a warm-up of %v and %v to drain, want 0 to %v", a.Warmup, a.Drain, maxDuration)
	}
	if (a.Mode == Join || a.Mode == Churn) && a.JoinEvery <= 0 {
		fault("viewers come every %v, want more than 0", a.JoinEvery)
	}
	if a.Mode != Record && a.Mode != Recut && !a.Party.Known() {
		fault("there is no party %q", string(a.Party))
	}
	if _, err := load.ProfileNamed(a.Profile); err != nil {
		faults = append(faults, err)
	}
	if _, err := a.Link.Checked(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// overhead is about what a run takes beside its schedule.
const overhead = 1500 * time.Millisecond

// takes is about how long a run of the arm takes.
func (a Arm) takes() time.Duration {
	return overhead + a.Warmup + a.Duration + tailTime + time.Duration(a.Viewers)*2*time.Millisecond
}

// Takes is about how long the plan takes.
func (p Plan) Takes() time.Duration {
	var sum time.Duration
	for _, b := range p.Blocks {
		for _, a := range b.Arms {
			sum += time.Duration(b.Rounds) * a.takes()
		}
	}
	return sum
}

// Run runs a plan, and returns what it has of whole rounds along with an error.
func Run(ctx context.Context, cfg Config) (*report.Report, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	if err := supported(); err != nil {
		return nil, err
	}
	rep := &report.Report{
		Schema: report.Schema, Scenario: cfg.Plan.Scenario, About: cfg.Plan.About,
		Began: time.Now(), Machine: proc.ThisMachine(), Load: [2]float64{proc.LoadAverage()},
	}
	left := cfg.Plan.Takes()
	done := make([][][]Result, len(cfg.Plan.Blocks)) // by block, round and arm
	for bi, b := range cfg.Plan.Blocks {
		for round := range b.Rounds {
			results, rerr := turn(ctx, cfg, b, round, &left)
			if rerr != nil {
				err = rerr
				break
			}
			done[bi] = append(done[bi], results)
		}
		if err != nil {
			break
		}
	}
	rep.Took = time.Since(rep.Began).Seconds()
	rep.Load[1] = proc.LoadAverage()
	cfg.Plan.tell(rep, done)
	return rep, err
}

// turn runs each arm of a block once: every other round backwards.
func turn(ctx context.Context, cfg Config, b Block, round int, left *time.Duration) ([]Result, error) {
	results := make([]Result, len(b.Arms))
	order := make([]int, len(b.Arms))
	for i := range order {
		order[i] = i
	}
	if round%2 == 1 {
		slices.Reverse(order)
	}
	for _, i := range order {
		arm := b.Arms[i]
		total := *left
		r := run{cfg: cfg, arm: arm, round: round, say: func(s Step) {
			s.Text = fmt.Sprintf("%s (%d of %d): %s", arm.Name, round+1, b.Rounds, s.Text)
			s.Total = total
			cfg.Progress(s)
		}}
		res, err := r.measure(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s, run %d: %w", arm.Name, round+1, err)
		}
		*left -= arm.takes()
		r.say(Step{Done: true, Text: cfg.Plan.summary(arm, res)})
		results[i] = res
	}
	return results, nil
}

// summary says in a line what a run came to: the plan's first figures.
func (p Plan) summary(a Arm, r Result) string {
	s := ""
	for _, f := range figuresNamed(p.Figures) {
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

// tell puts what was measured into the report.
func (p Plan) tell(rep *report.Report, done [][][]Result) {
	var runs []Result
	for bi, rounds := range done {
		if len(rounds) == 0 {
			continue
		}
		rep.Tables = append(rep.Tables, p.table(p.Blocks[bi], rounds))
		for _, results := range rounds {
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
		about := a.about()
		if _, _, ok := partyAtN(a.Name); ok {
			about = "" // its name says it
		}
		t.Arms = append(t.Arms, report.Arm{Name: a.Name, About: about})
	}
	for _, f := range figuresNamed(p.Figures) {
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
	switch a.Mode {
	case Start:
		return "Start"
	case Record:
		return "Recorder"
	case Recut:
		return "Re-cutting"
	}
	return fmt.Sprintf("Profile %s, %v measured after %v", a.Profile, a.Duration, a.Warmup)
}

// about describes the arm for people.
func (a Arm) about() string {
	switch a.Mode {
	case Start:
		return fmt.Sprintf("started, and left alone for %v", a.Duration)
	case Record:
		return "writes the profile's chunks to a file as fast as they come, with an fsync at each group; write(2) alone has one each second and at the end"
	case Recut:
		return "fragments of a group in, chunks of one picture out; memcpy copies each sample once"
	}
	var s string
	switch {
	case a.Mode == Idle:
		s = fmt.Sprintf("%d connections that ask for nothing", a.Viewers)
	case a.Mode == Join:
		s = fmt.Sprintf("a viewer every %v", a.JoinEvery)
	case a.Mode == Churn:
		s = fmt.Sprintf("%d viewers, and another every %v that leaves again after %v", a.Viewers, a.JoinEvery, a.JoinStay)
	case a.Viewers == 0:
		s = "no viewers"
	case a.Viewers == 1:
		s = "1 viewer"
	default:
		s = fmt.Sprintf("%d viewers", a.Viewers)
	}
	if a.Stalled > 0 {
		s += fmt.Sprintf(", %d of them stops reading", a.Stalled)
	}
	if a.Input == load.InputCMAF {
		s += ", CMAF over HTTP in"
	}
	if !a.Link.Direct() {
		s += ", each behind " + a.Link.String()
	}
	return s
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
