package bench

import (
	"time"

	"github.com/broadcastd/broadcastd/bench/link"
	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/stat"
)

// A Mode is what the viewers of an arm do.
type Mode string

// The modes.
const (
	Watch  Mode = ""       // they watch
	Idle   Mode = "idle"   // they connect and ask for nothing
	Join   Mode = "join"   // they come one after the other and leave again
	Churn  Mode = "churn"  // some watch, others come and go
	Start  Mode = "start"  // there are none: the server starts, and idles
	Record Mode = "record" // a recorder writes to disk as fast as it can
	Recut  Mode = "recut"  // fragments are cut into chunks as fast as that goes
)

// An Arm is one way to run.
type Arm struct {
	Name    string     `json:"name"`
	Party   load.Party `json:"party,omitempty"`
	Input   load.Input `json:"input,omitempty"`
	Mode    Mode       `json:"mode,omitempty"`
	Profile string     `json:"profile"`
	// Viewers is how many there are; Stalled of them stop reading.
	Viewers int         `json:"viewers"`
	Stalled int         `json:"stalled,omitempty"`
	Link    link.Config `json:"link"`
	// JoinEvery and JoinStay are when viewers come and how long they stay.
	JoinEvery time.Duration `json:"join_every_ns,omitempty"`
	JoinStay  time.Duration `json:"join_stay_ns,omitempty"`
	// Warmup is how long media flows before Duration is measured; Drain is how
	// long viewers wait after it for what is missing.
	Warmup   time.Duration `json:"warmup_ns"`
	Duration time.Duration `json:"duration_ns"`
	Drain    time.Duration `json:"drain_ns"`
}

// A Block is arms that take turns, or a search.
type Block struct {
	Arms   []Arm
	Rounds int
	// Together: the arms of a round run at the same time, because what bounds them
	// are their links, and not the machine.
	Together bool
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

// A Server is what one run cost the server, in the measured time.
type Server struct {
	CPUSeconds    float64 `json:"cpu_seconds"`  // more exact than the sum of the two below
	UserSeconds   float64 `json:"user_seconds"` // in steps of 10 ms
	SystemSeconds float64 `json:"system_seconds"`
	Switches      uint64  `json:"context_switches"`
	Resident      int64   `json:"resident_bytes"` // at the end
	Before        int64   `json:"resident_bytes_before_load"`
	Peak          int64   `json:"peak_resident_bytes"`
	Threads       int     `json:"threads"`
	Goroutines    int     `json:"goroutines"` // at the end
	GoroutinesAt0 int     `json:"goroutines_before_load"`
	InUse         int64   `json:"heap_and_stack_bytes"` // at the end
	InUseAt0      int64   `json:"heap_and_stack_bytes_before_load"`
	Mallocs       uint64  `json:"allocations"`
	Allocated     uint64  `json:"allocated_bytes"`
	// Listening is how long it took from its start to its readiness.
	Listening time.Duration `json:"listening_ns"`
}

// A Result is what one run of one arm gave.
type Result struct {
	Arm     string    `json:"arm"`
	Round   int       `json:"round"`
	Began   time.Time `json:"began"`
	Load1   float64   `json:"load_average"` // of the machine, when the run began
	Seconds float64   `json:"seconds"`      // measured
	Server  Server    `json:"server"`
	// LoadCPU is what the viewers' processes used in that time.
	LoadCPU float64         `json:"viewers_cpu_seconds"`
	Late    *stat.Histogram `json:"publisher_late,omitempty"`
	Viewing load.Viewing    `json:"viewing"`
	Joins   *load.Joins     `json:"joins,omitempty"`
	Work    *Work           `json:"work,omitempty"`
}

// Work is what a recorder or a cutter did.
type Work struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	// CPUSeconds of the process, of all of the work.
	CPUSeconds float64 `json:"cpu_seconds"`
	// Group is how many bytes of samples a fragment has, and Ways the seconds that
	// it takes to cut it in each way.
	Group int64              `json:"group_bytes,omitempty"`
	Ways  map[string]float64 `json:"ways_seconds,omitempty"`
	// WriteCPU and BulkCPU are the CPU seconds that a gigabyte costs which is
	// written without a recorder: in the sizes that it writes, and in one
	// megabyte each. The file is synced each second.
	WriteCPU float64 `json:"write_cpu_per_gb,omitempty"`
	BulkCPU  float64 `json:"bulk_cpu_per_gb,omitempty"`
}

// A Goal is a row that is held to what was aimed at.
type Goal struct {
	Row             Row
	What, Must, Aim string
	// Of returns what was measured, as text, and whether it is good enough;
	// Unknown where it was not measured.
	Of func(Lookup) (text string, verdict report.Verdict)
}
