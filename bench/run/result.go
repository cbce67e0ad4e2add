package run

import (
	"time"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/stat"
)

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
	// written without a recorder: in the sizes that its chunks have, and in
	// 128 KiB each. The file is synced each second.
	WriteCPU float64 `json:"write_cpu_per_gb,omitempty"`
	BulkCPU  float64 `json:"bulk_cpu_per_gb,omitempty"`
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
