package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/report"
)

// rehearse runs a plan with runs that take factor times what they are thought to
// and come to what come says.
func rehearse(ctx context.Context, p Plan, factor float64, come func(Arm, int) (Result, error)) (*runner, error) {
	r := newRunner(Config{Plan: p, Progress: func(Step) {}})
	r.measure = func(ctx context.Context, a Arm, round int, _ func(Step)) (Result, error) {
		select {
		case <-time.After(time.Duration(factor * float64(a.Takes()))):
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		}
		return come(a, round)
	}
	return r, r.run(ctx)
}

func fine(a Arm, round int) (Result, error) { return result(a, round, 0.5, 2*ms, 0), nil }

// TestBudget: however slow the machine is, a plan keeps to its time, and every
// block that there is any time for has its turn.
func TestBudget(t *testing.T) {
	for _, tt := range []struct {
		name   string
		factor float64
		budget time.Duration
		rounds []int // of each block
	}{
		{"enough", 1, 10 * time.Minute, []int{4, 4, 4}},
		{"none given", 3, 0, []int{4, 4, 4}},
		{"slow", 2, 3 * time.Minute, []int{2, 2, 2}},
		{"very slow", 4, 3 * time.Minute, []int{1, 1, 1}},
		{"too little", 1, 45 * time.Second, []int{1, 1, 1}},
		{"far too little", 1, 15 * time.Second, []int{1, 0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := Plan{Budget: tt.budget, Figures: usual}
				for i := range 3 {
					a := Options{}.arm(fmt.Sprint("arm ", i), load.Relay, 20, 10*time.Second)
					p.Blocks = append(p.Blocks, Block{Arms: []Arm{a}, Rounds: 4})
				}
				began := time.Now()
				r, err := rehearse(t.Context(), p, tt.factor, fine)
				if err != nil {
					t.Error(err)
				}
				if took := time.Since(began); tt.budget > 0 && took > tt.budget {
					t.Errorf("it took %v, want at most %v", took, tt.budget)
				}
				var rounds []int
				short := 0
				for _, o := range r.done {
					rounds = append(rounds, len(o.rounds))
					if len(o.rounds) < 4 {
						short++
					}
				}
				if !slices.Equal(rounds, tt.rounds) {
					t.Errorf("rounds %v, want %v", rounds, tt.rounds)
				}
				if len(r.notes) != short {
					t.Errorf("%d notes of %d blocks that were cut short: %q", len(r.notes), short, r.notes)
				}
			})
		})
	}
}

// TestBudgetKeepsTheLast: rounds beyond the first do not take the time of a long
// round that comes last.
func TestBudgetKeepsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Plan{Budget: 4 * time.Minute, Figures: usual}
		for i := range 4 {
			a := Options{}.arm(fmt.Sprint("arm ", i), load.Relay, 20, 10*time.Second)
			p.Blocks = append(p.Blocks, Block{Arms: []Arm{a}, Rounds: 4})
		}
		p.Blocks[3].Arms[0].Duration, p.Blocks[3].Rounds = 75*time.Second, 1
		r, err := rehearse(t.Context(), p, 1.5, fine)
		if err != nil {
			t.Fatal(err)
		}
		var rounds []int
		for _, o := range r.done {
			rounds = append(rounds, len(o.rounds))
		}
		if want := []int{2, 1, 2, 1}; !slices.Equal(rounds, want) {
			t.Errorf("rounds %v, want %v", rounds, want)
		}
	})
}

// TestGoOn has an arm fail once, one always, and one never.
func TestGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Plan{GoOn: true}
		for _, name := range []string{"once", "always", "never"} {
			p.Blocks = append(p.Blocks, Block{Arms: []Arm{Options{}.arm(name, load.Relay, 1, time.Second)}, Rounds: 2})
		}
		failed := make(map[string]int)
		broken := errors.New("broken")
		r, err := rehearse(t.Context(), p, 1, func(a Arm, round int) (Result, error) {
			if a.Name == "always" || a.Name == "once" && failed["once"] == 0 {
				failed[a.Name]++
				return Result{}, broken
			}
			return fine(a, round)
		})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "always, run 1") {
			t.Errorf("run = %v, want that always failed", err)
		}
		for i, want := range []int{2, 0, 2} {
			if got := len(r.done[i].rounds); got != want {
				t.Errorf("%s: %d rounds, want %d", p.Blocks[i].Arms[0].Name, got, want)
			}
		}
		if failed["once"] != 1 || failed["always"] != 2 {
			t.Errorf("failed %v, want that what fails is tried twice", failed)
		}
	})
}

// TestInterrupted keeps the whole rounds of what is interrupted.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stop")
		p := RelayPlan(Options{Rounds: 3, Against: []load.Party{load.Ceiling}})
		p.GoOn = true
		runs := 0
		r, err := rehearse(ctx, p, 1, func(a Arm, round int) (Result, error) {
			if runs++; runs == 3 {
				cancel(stop)
			}
			return fine(a, round)
		})
		if !errors.Is(err, stop) {
			t.Errorf("run = %v, want %v", err, stop)
		}
		var rep report.Report
		p.tell(&rep, r.done)
		if len(rep.Tables) != 1 || rep.Tables[0].Rounds != 1 || len(rep.Runs.([]Result)) != 2 {
			t.Errorf("tables %+v, want the one whole round", rep.Tables)
		}
	})
}

// TestTogether: the arms of such a block overlap, and one that fails ends all.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := badBlock([]load.Party{load.Relay}, time.Minute, 1)
		p := Plan{Blocks: []Block{b}, Figures: badNetwork}
		began := time.Now()
		r, err := rehearse(t.Context(), p, 1, fine)
		if err != nil || len(r.done[0].rounds) != 1 {
			t.Fatalf("run = %v, %d rounds", err, len(r.done[0].rounds))
		}
		if took := time.Since(began); took > b.Arms[0].Takes() {
			t.Errorf("it took %v, want %v as one alone", took, b.Arms[0].Takes())
		}
		for i, res := range r.done[0].rounds[0] {
			if res.Arm != b.Arms[i].Name {
				t.Errorf("result %d is that of %s, want %s", i, res.Arm, b.Arms[i].Name)
			}
		}
		broken := errors.New("broken")
		if _, err = rehearse(t.Context(), p, 1, func(Arm, int) (Result, error) { return Result{}, broken }); !errors.Is(err, broken) {
			t.Errorf("run = %v, want %v", err, broken)
		}
	})
}

// TestSearch finds what each party serves, in few runs, also where a neighbour
// spoils some of them.
func TestSearch(t *testing.T) {
	s := &Search{Parties: []load.Party{load.Relay, load.Ceiling}, Arm: Options{}.arm("", "", 0, time.Second)}
	for n := 20; n <= 500; n += 20 {
		s.Counts = append(s.Counts, n)
	}
	for _, tt := range []struct {
		name           string
		relay, ceiling int // what they serve
		spoilt         int // every so many runs; 0: none
		want           []string
		most           int // runs of the first round, and of each after it
		later          int
	}{
		{"the middle", 250, 270, 0, []string{"240", "260"}, 12, 6},
		{"far apart", 40, 480, 0, []string{"40", "480"}, 18, 6},
		{"everything", 1000, 1000, 0, []string{"500 or more", "500 or more"}, 7, 2},
		{"nothing", 0, 10, 0, []string{"0", "0"}, 14, 4},
		{"spoilt", 250, 270, 3, []string{"240", "260"}, 15, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := Plan{Blocks: []Block{{Search: s, Rounds: 3}}, Figures: scaleFigures}
				runs, last := 0, ""
				r, err := rehearse(t.Context(), p, 1, func(a Arm, round int) (Result, error) {
					serves := tt.relay
					if a.Party == load.Ceiling {
						serves = tt.ceiling
					}
					runs++
					if again := last == a.Name; a.Viewers > serves || tt.spoilt > 0 && runs%tt.spoilt == 0 && !again {
						last = a.Name
						return result(a, round, 0.5, 300*ms, 0), nil
					}
					last = a.Name
					return fine(a, round)
				})
				if err != nil {
					t.Fatal(err)
				}
				o := r.done[0]
				for round, found := range o.found {
					for i, f := range found {
						if got := f.String(); got != tt.want[i] {
							t.Errorf("round %d: %s serves %s, want %s", round, s.Parties[i], got, tt.want[i])
						}
					}
					most := tt.later
					if round == 0 {
						most = tt.most
					}
					if n := len(o.rounds[round]); n > most {
						t.Errorf("round %d took %d runs, want at most %d", round, n, most)
					}
				}
			})
		})
	}
}

// TestServed: what is late or lost is not served.
func TestServed(t *testing.T) {
	a := Options{}.arm("relay n=1", load.Relay, 1, time.Second)
	for _, tt := range []struct {
		delay   time.Duration
		missing int64
		want    bool
	}{{2 * ms, 0, true}, {300 * ms, 0, false}, {2 * ms, 1, false}} {
		if got := served(a, result(a, 0, 0.5, tt.delay, tt.missing)); got != tt.want {
			t.Errorf("served with %v and %d missing = %t, want %t", tt.delay, tt.missing, got, tt.want)
		}
	}
	if served(a, Result{}) {
		t.Error("served without any object")
	}
}

func TestSearchFaults(t *testing.T) {
	arm := Options{}.arm("", "", 0, time.Second)
	for _, s := range []*Search{
		{Counts: []int{1}, Arm: arm},
		{Parties: []load.Party{load.Relay}, Arm: arm},
		{Parties: []load.Party{load.Relay}, Counts: []int{2, 1}, Arm: arm},
		{Parties: []load.Party{load.Relay}, Counts: []int{1, 1}, Arm: arm},
		{Parties: []load.Party{"x"}, Counts: []int{1}, Arm: arm},
		{Parties: []load.Party{load.Relay}, Counts: []int{1, 10_001}, Arm: arm},
	} {
		if s.check() == nil {
			t.Errorf("took %+v", s)
		}
	}
}
