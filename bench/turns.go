package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/proc"
	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/run"
)

// takes is about how long one round of the block takes.
func (b Block) takes(round int) time.Duration {
	var sum time.Duration
	if s := b.Search; s != nil {
		// A good run is enough, a bad one is repeated: half of them are bad.
		one := s.arm(s.Parties[0], s.Counts[len(s.Counts)/2]).Takes()
		return time.Duration(len(s.Parties)*s.probes(round)) * one * 3 / 2
	}
	for _, a := range b.Arms {
		if b.Together {
			sum = max(sum, a.Takes()+time.Duration(len(b.Arms))*time.Second/3)
		} else {
			sum += a.Takes()
		}
	}
	return sum
}

// rest is about how long the rounds from one on take.
func (b Block) rest(round int) time.Duration {
	var sum time.Duration
	for ; round < b.Rounds; round++ {
		sum += b.takes(round)
	}
	return sum
}

// Takes is about how long the plan takes.
func (p Plan) Takes() time.Duration {
	var sum time.Duration
	for _, b := range p.Blocks {
		sum += b.rest(0)
	}
	return sum
}

// Outline says what the plan runs and about how long each part takes.
func (p Plan) Outline() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, block := range p.Blocks {
		fmt.Fprintf(t, "%s\t  %s\n", block.rest(0).Round(time.Second), block.outline())
	}
	fmt.Fprintf(t, "%s\t  in all, about", p.Takes().Round(time.Second))
	_ = t.Flush() // into memory
	if p.Budget > 0 {
		fmt.Fprintf(&b, "; %s at the most, with fewer rounds if need be", p.Budget)
	}
	return b.String()
}

func (b Block) outline() string {
	rounds := fmt.Sprintf("%d × ", b.Rounds)
	if s := b.Search; s != nil {
		return fmt.Sprintf("%sa search for the largest N of %d to %d: %s", rounds, s.Counts[0], s.Counts[len(s.Counts)-1], joinNames(s.Parties))
	}
	var names []string
	for _, a := range b.Arms {
		names = append(names, a.Name)
	}
	s := rounds + strings.Join(names, ", ")
	if b.Together {
		s += " (at the same time)"
	}
	return s
}

func joinNames(list []load.Party) string {
	var names []string
	for _, p := range list {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

// errNoTime ends what is beyond its budget.
var errNoTime = errors.New("bench: the time is over")

// Run runs a plan, and returns what it has of whole rounds along with an error.
func Run(ctx context.Context, cfg Config) (*report.Report, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	if err := run.Supported(); err != nil {
		return nil, err
	}
	rep := &report.Report{
		Schema: report.Schema, Scenario: cfg.Plan.Scenario, About: cfg.Plan.About,
		Began: time.Now(), Machine: proc.ThisMachine(), Load: [2]float64{proc.LoadAverage()},
	}
	r := newRunner(cfg)
	err = r.run(ctx)
	rep.Took = time.Since(rep.Began).Seconds()
	rep.Load[1] = proc.LoadAverage()
	rep.Notes = r.notes
	cfg.Plan.tell(rep, r.done)
	return rep, err
}

// A runner runs a plan.
type runner struct {
	cfg    Config
	left   time.Duration // what is still to come, about
	budget time.Duration // 0: none
	end    time.Time     // of the budget
	// pace is what rounds took so far, against what was thought.
	pace          float64
	took, thought time.Duration
	done          []outcome
	notes         []string
	saying        sync.Mutex
	// measure runs an arm once.
	measure func(ctx context.Context, arm Arm, round int, say func(Step)) (Result, error)
}

func newRunner(cfg Config) *runner {
	r := &runner{cfg: cfg, left: cfg.Plan.Takes(), budget: cfg.Plan.Budget, pace: 1}
	r.measure = func(ctx context.Context, arm Arm, round int, say func(Step)) (Result, error) {
		return run.Measure(ctx, cfg.Config, arm, round, say)
	}
	return r
}

func (r *runner) note(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	r.notes = append(r.notes, s)
	r.cfg.Progress(Step{Done: true, Text: s})
}

// run runs block after block. What there is no time for is noted, and so is what
// fails if the plan goes on then.
func (r *runner) run(ctx context.Context) error {
	if r.budget > 0 {
		r.end = time.Now().Add(r.budget)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, r.end, errNoTime)
		defer cancel()
	}
	var faults []error
	for i, b := range r.cfg.Plan.Blocks {
		o, err := r.block(ctx, b, r.cfg.Plan.Blocks[i+1:])
		r.done = append(r.done, o)
		if err == nil {
			continue
		}
		if errors.Is(err, errNoTime) || errors.Is(context.Cause(ctx), errNoTime) {
			r.note("%s: only %s fit into %v", b.what(), countOf(len(o.rounds), b.Rounds), r.budget)
			continue // the rest says so for itself
		}
		if ctx.Err() != nil || !r.cfg.Plan.GoOn {
			return errors.Join(append(faults, err)...)
		}
		r.note("%v", err)
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// what names a block for people.
func (b Block) what() string {
	if b.Search != nil {
		return largestName(b.Search.Parties[0])
	}
	if n := len(b.Arms); n > 1 {
		return fmt.Sprintf("%s to %s", b.Arms[0].Name, b.Arms[n-1].Name)
	}
	return b.Arms[0].Name
}

func countOf(n, of int) string { return fmt.Sprintf("%d of %d rounds", n, of) }

// block runs the rounds of a block that there is time for: its part of what is
// left, and one round as long as any is.
func (r *runner) block(ctx context.Context, b Block, after []Block) (o outcome, err error) {
	o = outcome{block: b}
	until := r.share(b, after)
	var hints []int
	if b.Search != nil {
		hints = slices.Repeat([]int{unknown}, len(b.Search.Parties))
	}
	defer func() { r.left -= b.rest(len(o.rounds)) }() // what did not run
	for round := range b.Rounds {
		takes := time.Duration(r.pace * float64(b.takes(round)))
		if r.budget > 0 && (round > 0 && time.Now().Add(takes).After(until) || time.Now().Add(takes/2).After(r.end)) {
			return o, errNoTime
		}
		began := time.Now()
		results, found, err := r.round(ctx, b, round, hints)
		if err != nil && ctx.Err() == nil && r.cfg.Plan.GoOn { // once more: neighbours come and go
			r.note("%v; tried again", err)
			results, found, err = r.round(ctx, b, round, hints)
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return o, err
		}
		r.took, r.thought = r.took+time.Since(began), r.thought+b.takes(round)
		r.pace = float64(r.took) / float64(r.thought)
		r.left -= b.takes(round)
		o.rounds = append(o.rounds, results)
		if found != nil {
			o.found = append(o.found, found)
		}
	}
	return o, nil
}

// share returns until when a block may begin further rounds: one round of each
// block comes first, and what is left then is for the others, by their length.
func (r *runner) share(b Block, after []Block) time.Time {
	first, more := b.takes(0), b.rest(1)
	all, allMore := first, more
	for _, l := range after {
		all += l.takes(0)
		allMore += l.rest(1)
	}
	spare := time.Until(r.end).Seconds() - r.pace*all.Seconds()
	if allMore == 0 || spare < 0 {
		spare, allMore = 0, 1
	}
	d := r.pace*first.Seconds() + spare*more.Seconds()/allMore.Seconds()
	return time.Now().Add(time.Duration(d * float64(time.Second)))
}

// round runs each arm of a block once: every other round backwards.
func (r *runner) round(ctx context.Context, b Block, round int, hints []int) ([]Result, []finding, error) {
	if b.Search != nil {
		return r.search(ctx, b, round, hints)
	}
	results := make([]Result, len(b.Arms))
	order := make([]int, len(b.Arms))
	for i := range order {
		order[i] = i
	}
	if round%2 == 1 {
		slices.Reverse(order)
	}
	var g errgroup.Group
	if !b.Together {
		g.SetLimit(1)
	}
	together, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, i := range order {
		if together.Err() != nil {
			break
		}
		g.Go(func() (err error) {
			if results[i], err = r.one(together, b, b.Arms[i], round); err != nil {
				cancel(err)
			}
			return err
		})
	}
	return results, nil, g.Wait()
}

// one runs an arm once.
func (r *runner) one(ctx context.Context, b Block, arm Arm, round int) (Result, error) {
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	total := r.left
	say := func(s Step) {
		s.Text = fmt.Sprintf("%s (%d of %d): %s", arm.Name, round+1, b.Rounds, s.Text)
		s.Total = total
		r.saying.Lock()
		defer r.saying.Unlock()
		r.cfg.Progress(s)
	}
	res, err := r.measure(ctx, arm, round, say)
	if err != nil {
		return res, fmt.Errorf("%s, run %d: %w", arm.Name, round+1, err)
	}
	say(Step{Done: true, Text: r.cfg.Plan.summary(b, arm, res)})
	return res, nil
}
