package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Config says what to measure, and how.
type Config struct {
	// Command makes the command of a child process, which has to call Child. It
	// is required.
	Command func() *exec.Cmd
	// Parties are one or two; the first is divided by the second.
	Parties []Party
	// Runs is how many times each party is measured, in turn. Zero means 1.
	Runs int
	// Viewers is how many there are. Zero means 20.
	Viewers int
	// Profile is the name of what is sent. Empty means "tv".
	Profile string
	// Duration is how long is measured. Zero means 10 s; whole groups are best.
	Duration time.Duration
	// Warmup is how long media flows before that. Zero means 2 s.
	Warmup time.Duration
	// Drain is how long viewers wait for what is missing after the end. Zero
	// means 5 s.
	Drain time.Duration
	// CPUProfile, unless empty, is a file to which each server writes the CPU
	// profile of its last run, with the party's name put before the extension if
	// there are two. Profiling costs CPU itself.
	CPUProfile string
	// Progress is told what goes on. Nil: nobody is.
	Progress func(Step)
}

// A Step is something to tell a person who waits.
type Step struct {
	Text string
	// Left is how long it takes; told again about every second.
	Left time.Duration
	// Done: the text is what a run came to.
	Done bool
}

// The bounds of a Config: what one machine can be asked for.
const (
	maxViewers  = 10_000
	maxRuns     = 1000
	maxDuration = time.Hour
)

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, Profile, error) {
	c.Runs = cmp.Or(c.Runs, 1)
	c.Viewers = cmp.Or(c.Viewers, 20)
	c.Profile = cmp.Or(c.Profile, "tv")
	c.Duration = cmp.Or(c.Duration, 10*time.Second)
	c.Warmup = cmp.Or(c.Warmup, 2*time.Second)
	c.Drain = cmp.Or(c.Drain, 5*time.Second)
	if c.Progress == nil {
		c.Progress = func(Step) {}
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("bench: "+format, args...)) }
	if c.Command == nil {
		fault("Config.Command is nil")
	}
	if n := len(c.Parties); n < 1 || n > 2 {
		fault("%d parties, want 1 or 2", n)
	}
	if c.Runs < 1 || c.Runs > maxRuns {
		fault("%d runs, want 1 to %d", c.Runs, maxRuns)
	}
	if c.Viewers < 1 || c.Viewers > maxViewers {
		fault("%d viewers, want 1 to %d", c.Viewers, maxViewers)
	}
	if c.Duration < 100*time.Millisecond || c.Duration > maxDuration {
		fault("a duration of %v, want 100ms to %v", c.Duration, maxDuration)
	}
	if c.Warmup < 0 || c.Warmup > maxDuration || c.Drain < 0 || c.Drain > maxDuration {
		fault("a warm-up of %v and %v to drain, want 0 to %v", c.Warmup, c.Drain, maxDuration)
	}
	prof, err := ProfileNamed(c.Profile)
	if err != nil {
		faults = append(faults, err)
	}
	return c, prof, errors.Join(faults...)
}

// A Result is what one run of one party gave.
type Result struct {
	Party   Party     `json:"party"`
	Began   time.Time `json:"began"`
	Load1   float64   `json:"load_average"` // of the machine, when the run began
	Seconds float64   `json:"seconds"`      // measured
	// The server, in that time.
	UserSeconds   float64 `json:"user_seconds"`
	SystemSeconds float64 `json:"system_seconds"`
	Switches      uint64  `json:"context_switches"`
	Resident      int64   `json:"resident_bytes"` // at the end
	PeakResident  int64   `json:"peak_resident_bytes"`
	Goroutines    int     `json:"goroutines"` // at the end
	// The viewers' process, in that time.
	ViewersCPUSeconds float64    `json:"viewers_cpu_seconds"`
	PublisherLate     *Histogram `json:"publisher_late"`
	Viewing           Viewing    `json:"viewing"`
}

// The times that a step may take.
const (
	startTimeout = 15 * time.Second
	// headStart is how long before the first object is due the others hear of it.
	headStart = 250 * time.Millisecond
	slack     = 10 * time.Second // of a machine with other things to do
)

// A run is one run in progress.
type run struct {
	cfg     Config
	prof    Profile
	party   Party
	cpuProf string
	say     func(Step)

	server, publisher, viewers *helper
}

// measure runs one party once.
func (r *run) measure(ctx context.Context) (res Result, err error) {
	res = Result{Party: r.party, Load1: loadAverage()}
	dir, err := os.MkdirTemp("", "broadcastd-bench-")
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer r.stop()
	if err := r.start(ctx, dir); err != nil {
		return res, err
	}
	res.Began = time.Now().Add(headStart)
	if err := r.window(ctx, &res); err != nil {
		return res, err
	}
	return res, r.collect(ctx, &res)
}

// stop ends the processes.
func (r *run) stop() {
	var wg sync.WaitGroup
	for _, h := range []*helper{r.viewers, r.publisher, r.server} {
		if h != nil {
			wg.Go(h.stop)
		}
	}
	wg.Wait()
}

// start starts the processes, one after the other.
func (r *run) start(ctx context.Context, dir string) (err error) {
	j := job{
		Role: roleServe, Party: r.party, Profile: r.prof.Name, Dir: dir, CPUProf: r.cpuProf,
		Viewers: r.cfg.Viewers, From: r.cfg.Warmup, To: r.cfg.Warmup + r.cfg.Duration, Drain: r.cfg.Drain,
	}
	r.say(Step{Text: "starting"})
	if r.server, err = startHelper(r.cfg.Command(), j); err != nil {
		return err
	}
	ready, err := r.server.await(ctx, eventReady, startTimeout)
	if err != nil {
		return err
	}
	j.Addr, j.Role = ready.Addr, rolePublish
	if r.publisher, err = startHelper(r.cfg.Command(), j); err != nil {
		return err
	}
	if _, err := r.publisher.await(ctx, eventReady, startTimeout); err != nil {
		return err
	}
	j.Role = roleView
	if r.viewers, err = startHelper(r.cfg.Command(), j); err != nil {
		return err
	}
	began := time.Now()
	rounds := time.Duration(1 + r.cfg.Viewers/joinAtOnce)
	if ready, err = r.viewers.await(ctx, eventReady, rounds*joinTimeout+slack); err != nil {
		return err
	}
	if ready.Joined == 0 {
		// What they met is in their result; there is nothing to measure.
		if err := r.viewers.tell(order{Op: opBegin, At: time.Now().Add(-time.Hour)}); err != nil {
			return err
		}
		done, err := r.viewers.await(ctx, eventDone, slack)
		return errors.Join(fmt.Errorf("bench: no viewer could join the %s: %q", r.party, done.viewing().Errors), err)
	}
	r.say(Step{Text: fmt.Sprintf("%d of %d viewers joined in %.1f s", ready.Joined, r.cfg.Viewers, time.Since(began).Seconds())})
	return nil
}

func (r report) viewing() Viewing {
	if r.Viewing == nil {
		return Viewing{}
	}
	return *r.Viewing
}

// window lets media flow and reads the meters at both ends of the window.
func (r *run) window(ctx context.Context, res *Result) error {
	for _, h := range []*helper{r.publisher, r.viewers} {
		if err := h.tell(order{Op: opBegin, At: res.Began}); err != nil {
			return err
		}
	}
	from := res.Began.Add(r.cfg.Warmup)
	if err := r.until(ctx, from, "warming up"); err != nil {
		return err
	}
	if err := r.server.tell(order{Op: opBegin}); err != nil {
		return err
	}
	server, viewers, err := r.meters()
	if err != nil {
		return err
	}
	if err := r.until(ctx, from.Add(r.cfg.Duration), "measuring"); err != nil {
		return err
	}
	serverEnd, viewersEnd, err := r.meters()
	if err != nil {
		return err
	}
	if err := r.server.tell(order{Op: opEnd}); err != nil {
		return err
	}
	res.Seconds = serverEnd.at.Sub(server.at).Seconds()
	res.UserSeconds = (serverEnd.user - server.user).Seconds()
	res.SystemSeconds = (serverEnd.system - server.system).Seconds()
	res.Switches = serverEnd.switches - min(server.switches, serverEnd.switches)
	res.Resident, res.PeakResident = serverEnd.resident, serverEnd.peak
	res.ViewersCPUSeconds = (viewersEnd.cpu() - viewers.cpu()).Seconds()
	return nil
}

func (r *run) meters() (server, viewers usage, err error) {
	if server, err = readUsage(r.server.pid()); err != nil {
		return server, viewers, err
	}
	viewers, err = readUsage(r.viewers.pid())
	return server, viewers, err
}

// until waits for a time, and says so about once a second. A child that ends
// meanwhile is noticed when it is asked next.
func (r *run) until(ctx context.Context, t time.Time, doing string) error {
	for {
		left := time.Until(t)
		if left <= 0 {
			return nil
		}
		r.say(Step{Text: doing, Left: left})
		timer := time.NewTimer(min(left, time.Second))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// collect asks everybody what they saw.
func (r *run) collect(ctx context.Context, res *Result) error {
	r.say(Step{Text: "collecting"})
	ended, err := r.server.await(ctx, eventEnded, slack)
	if err != nil {
		return err
	}
	if ended.Inside != nil {
		res.Goroutines = ended.Inside.Goroutines
	}
	sent, err := r.publisher.await(ctx, eventDone, slack)
	if err != nil {
		return err
	}
	seen, err := r.viewers.await(ctx, eventDone, r.cfg.Drain+slack)
	if err != nil {
		return err
	}
	if sent.Sent == nil || seen.Viewing == nil || sent.Sent.Late == nil || len(seen.Viewing.Delays) != len(r.prof.Tracks) {
		return errors.New("bench: a child's report lacks its result")
	}
	res.PublisherLate, res.Viewing = sent.Sent.Late, *seen.Viewing
	return nil
}
