package run

import (
	"errors"
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/bench/link"
	"github.com/broadcastd/broadcastd/bench/load"
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

// The bounds of an arm: what one machine can be asked for.
const (
	maxViewers  = 10_000
	maxDuration = time.Hour
	minDuration = 100 * time.Millisecond
)

// Check returns every fault of the arm at once.
func (a Arm) Check() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("run: %s: "+format, append([]any{a.Name}, args...)...))
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
const overhead = 1200 * time.Millisecond

// Takes is about how long a run of the arm takes.
func (a Arm) Takes() time.Duration {
	switch a.Mode {
	case Start:
		return overhead/3 + a.Duration
	case Record: // and as long each for what it is compared with, and to warm up
		return overhead + 4*a.Duration
	case Recut:
		return overhead + a.Duration
	}
	t := overhead + a.Warmup + a.Duration + tailTime + time.Duration(a.Viewers)*3*time.Millisecond
	if !a.Link.Direct() {
		t += a.Drain
	}
	return t
}

// About describes the arm for people.
func (a Arm) About() string {
	switch a.Mode {
	case Start:
		return fmt.Sprintf("started, and left alone for %v", a.Duration)
	case Record:
		return "writes the profile's chunks to a file as fast as they come, with an fsync at each group; write(2) alone has one each second and at the end"
	case Recut:
		return "samples in, chunks of one picture out, beside a copy of the samples and mp4ff's fastest way; and the same from fragments that are read first"
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
	if a.Input != load.InputMoQ {
		s += ", " + a.Input.String() + " in"
	}
	if a.Input != load.InputMoQ && a.Party == load.Ceiling {
		s += " to a server of net/http that reads it and does nothing else"
	}
	if !a.Link.Direct() {
		s += ", each behind " + a.Link.String()
	}
	return s
}
