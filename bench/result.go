package bench

import (
	"time"

	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/run"
)

// What a run is, and what it gives, is the business of package run.
type (
	Arm    = run.Arm
	Result = run.Result
	Step   = run.Step
)

// A Block is arms that take turns, or a search.
type Block struct {
	Arms   []Arm
	Rounds int
	// Together: the arms of a round run at the same time, because what bounds them
	// are their links, and not the machine.
	Together bool
	// Figures are those of its table; empty means the plan's.
	Figures []string
	// Search, unless nil, stands in for Arms.
	Search *Search
}

// A Ratio compares two arms pair by pair.
type Ratio struct {
	Figure string // its key
	Of, To string // arms
	Minus  bool   // their difference instead
}

// A Plan is what is to be run, and what is to be told of it.
type Plan struct {
	Scenario string
	About    string // a sentence for the report
	Blocks   []Block
	Figures  []string // keys, in the order of the table
	Ratios   []Ratio
	Charts   []Chart
	// Budget is how long it may take; blocks get fewer rounds, and at last none,
	// rather than that it takes longer. Zero: as long as it does.
	Budget time.Duration
	// GoOn: what fails is noted, and the next block runs.
	GoOn bool
	// Goals are rows that the report holds to what was aimed at.
	Goals []Goal
}

// A Goal is a row that is held to what was aimed at.
type Goal struct {
	Row             Row
	What, Must, Aim string
	// Of returns what was measured, as text, and whether it is good enough;
	// Unknown where it was not measured.
	Of func(Lookup) (text string, verdict report.Verdict)
}
