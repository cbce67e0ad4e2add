package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/proc"
)

// The times that a step may take.
const (
	startTimeout = 15 * time.Second
	// headStart is how long before the first object is due the others hear of it.
	headStart = 250 * time.Millisecond
	slack     = 10 * time.Second // of a machine with other things to do
	// perProcess is how many viewers share a process.
	perProcess = 64
)

// Config says how to run.
type Config struct {
	// Command makes a command of this program with the given arguments. The child
	// processes are "bench child", which has to call Child; the server is "serve".
	Command func(args ...string) *exec.Cmd
	// MediaMTX is the path of its binary, where it is the party.
	MediaMTX string
	// Dir is where temporary files go. Empty means the system's place.
	Dir string
	// CPUProfile, unless empty, is a file to which each arm's server writes the
	// CPU profile of its last run, with the arm's name put before the extension.
	// Profiling costs CPU itself.
	CPUProfile string
}

// Measure runs an arm once; say is told what goes on.
func Measure(ctx context.Context, cfg Config, arm Arm, round int, say func(Step)) (Result, error) {
	r := run{cfg: cfg, arm: arm, round: round, say: say}
	return r.measure(ctx)
}

// A run is one run in progress.
type run struct {
	cfg     Config
	arm     Arm
	round   int
	say     func(Step)
	server  *serverProcess
	pub     *process
	viewers []*process
	joiner  *process
	began   time.Time // the schedule; zero: not yet
}

// Early reports whether media has to flow before viewers can join: an input's
// broadcast begins with its first media.
func (a Arm) Early() bool { return a.Input != load.InputMoQ && a.Viewers > 0 }

// measure runs the arm once.
func (r *run) measure(ctx context.Context) (res Result, err error) {
	res = Result{Arm: r.arm.Name, Round: r.round, Began: time.Now(), Load1: proc.LoadAverage()}
	dir, err := os.MkdirTemp(r.cfg.Dir, "broadcastd-bench")
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer r.stop() // before the directory goes
	switch r.arm.Mode {
	case Record:
		return res, r.worker(ctx, roleRecord, dir, &res)
	case Recut:
		return res, r.worker(ctx, roleRecut, dir, &res)
	case Start:
		return res, r.startUp(ctx, dir, &res)
	}
	if err := r.start(ctx, dir, &res); err != nil {
		return res, err
	}
	if err := r.window(ctx, &res); err != nil {
		return res, err
	}
	return res, r.collect(ctx, &res)
}

// stop ends all processes, the server last.
func (r *run) stop() {
	var wg sync.WaitGroup
	for _, h := range append([]*process{r.pub, r.joiner}, r.viewers...) {
		if h != nil {
			wg.Go(h.stop)
		}
	}
	wg.Wait()
	if r.server != nil {
		r.server.process.stop()
	}
}

// worker has a child of its own do something, without any server.
func (r *run) worker(ctx context.Context, what role, dir string, res *Result) error {
	r.say(Step{Text: "starting"})
	h, err := startProcess(r.cfg.childCommand(), job{Role: what, Arm: r.arm, Dir: dir})
	if err != nil {
		return err
	}
	r.pub = h
	if _, err := h.await(ctx, eventReady, startTimeout); err != nil {
		return err
	}
	if err := h.tell(order{Op: opBegin, At: res.Began}); err != nil {
		return err
	}
	if err := r.until(ctx, time.Now().Add(r.arm.Duration), "working"); err != nil {
		return err
	}
	m, err := h.await(ctx, eventDone, slack+r.arm.Duration)
	if err != nil {
		return err
	}
	if m.Work == nil {
		return errors.New("run: a child's report lacks its result")
	}
	res.Work, res.Seconds = m.Work, m.Work.Seconds
	return nil
}

// startUp starts the server and leaves it alone.
func (r *run) startUp(ctx context.Context, dir string, res *Result) (err error) {
	r.say(Step{Text: "starting"})
	if r.server, err = startServer(ctx, r.cfg, r.arm, dir); err != nil {
		return err
	}
	if err := r.until(ctx, time.Now().Add(r.arm.Duration), "idle"); err != nil {
		return err
	}
	end, err := proc.Read(r.server.pid)
	if err != nil {
		return err
	}
	res.Seconds = r.arm.Duration.Seconds()
	res.Server = Server{Listening: r.server.listening, Resident: end.Resident, Peak: end.Peak, Threads: end.Threads}
	return nil
}

// start starts the processes, one after the other.
func (r *run) start(ctx context.Context, dir string, res *Result) (err error) {
	r.say(Step{Text: "starting"})
	if r.server, err = startServer(ctx, r.cfg, r.arm, dir); err != nil {
		return err
	}
	res.Server.Listening = r.server.listening
	before, err := proc.Look(ctx, r.server.admin, r.arm.Mode == Idle)
	if err != nil {
		return err
	}
	usage, err := proc.Read(r.server.pid)
	if err != nil {
		return err
	}
	res.Server.Before, res.Server.GoroutinesAt0, res.Server.InUseAt0 = usage.Resident, before.Goroutines, before.Heap+before.Stack
	j := job{Role: rolePublish, Arm: r.arm, Target: r.server.target}
	if r.arm.Mode != Idle {
		if r.pub, err = startProcess(r.cfg.childCommand(), j); err != nil {
			return err
		}
		if _, err := r.pub.await(ctx, eventReady, startTimeout); err != nil {
			return err
		}
	}
	if r.arm.Early() {
		r.began = time.Now().Add(headStart)
		if err := r.pub.tell(order{Op: opBegin, At: r.began}); err != nil {
			return err
		}
	}
	if r.arm.Mode == Join || r.arm.Mode == Churn {
		j.Role = roleJoin
		if r.joiner, err = startProcess(r.cfg.childCommand(), j); err != nil {
			return err
		}
		if _, err := r.joiner.await(ctx, eventReady, startTimeout); err != nil {
			return err
		}
	}
	return r.seat(ctx, j)
}

// seat starts the viewers, in as many processes as they need, and lets them join
// one process after the other.
func (r *run) seat(ctx context.Context, j job) error {
	j.Role = roleView
	began := time.Now()
	joined := 0
	for left, stalled := r.arm.Viewers, r.arm.Stalled; left > 0; {
		j.Viewers, j.Stalled = min(left, perProcess), min(stalled, perProcess)
		j.Seed = uint64(r.arm.Viewers - left)
		left -= j.Viewers
		stalled -= j.Stalled
		h, err := startProcess(r.cfg.childCommand(), j)
		if err != nil {
			return err
		}
		r.viewers = append(r.viewers, h)
		rounds := time.Duration(1 + j.Viewers/load.JoinAtOnce)
		ready, err := h.await(ctx, eventReady, rounds*load.JoinTimeout+slack)
		if err != nil {
			return err
		}
		joined += ready.Joined
		r.say(Step{Text: fmt.Sprintf("%d of %d viewers joined in %.1f s", joined, r.arm.Viewers, time.Since(began).Seconds())})
	}
	if r.arm.Viewers > 0 && joined == 0 {
		return r.nobody(ctx)
	}
	return nil
}

// nobody asks why no viewer could join; there is nothing to measure then.
func (r *run) nobody(ctx context.Context) error {
	h := r.viewers[0]
	if err := h.tell(order{Op: opBegin, At: time.Now().Add(-time.Hour)}); err != nil {
		return err
	}
	done, err := h.await(ctx, eventDone, slack)
	if err != nil {
		return err
	}
	var why []string
	if done.Viewing != nil {
		why = done.Viewing.Errors
	}
	return fmt.Errorf("run: no viewer could join the %s: %q", r.arm.Party, why)
}

// window lets media flow and reads the meters at both ends of the window.
func (r *run) window(ctx context.Context, res *Result) error {
	everybody := append([]*process{r.joiner}, r.viewers...)
	if r.began.IsZero() {
		r.began = time.Now().Add(headStart)
		everybody = append(everybody, r.pub)
	}
	res.Began = r.began
	from := res.Began.Add(r.arm.Warmup)
	if time.Now().After(from) {
		return fmt.Errorf("run: the viewers took more than %v to join", r.arm.Warmup)
	}
	for _, h := range everybody {
		if h == nil {
			continue
		}
		if err := h.tell(order{Op: opBegin, At: res.Began}); err != nil {
			return err
		}
	}
	if err := r.until(ctx, from, "warming up"); err != nil {
		return err
	}
	// The first look tells what a look itself allocates.
	first, err := proc.Heap(ctx, r.server.admin, false)
	if err != nil {
		return err
	}
	look, err := proc.Heap(ctx, r.server.admin, false)
	if err != nil {
		return err
	}
	server, loadBefore, err := r.meters()
	if err != nil {
		return err
	}
	profiled := make(chan error, 1)
	go func() { profiled <- r.profile(ctx) }()
	if err := r.until(ctx, from.Add(r.arm.Duration), "measuring"); err != nil {
		return errors.Join(err, <-profiled)
	}
	end, loadAfter, err := r.meters()
	if err != nil {
		return errors.Join(err, <-profiled)
	}
	if err := <-profiled; err != nil {
		return err
	}
	last, err := proc.Look(ctx, r.server.admin, r.arm.Mode == Idle)
	if err != nil {
		return err
	}
	res.Seconds = end.At.Sub(server.At).Seconds()
	res.LoadCPU = (loadAfter - loadBefore).Seconds()
	s := &res.Server
	s.CPUSeconds = end.Since(server).Seconds()
	s.UserSeconds = (end.User - server.User).Seconds()
	s.SystemSeconds = (end.System - server.System).Seconds()
	s.Switches = end.Switches - min(server.Switches, end.Switches)
	s.Resident, s.Peak, s.Threads = end.Resident, end.Peak, end.Threads
	s.Goroutines, s.InUse = last.Goroutines, last.Heap+last.Stack
	s.Mallocs = last.Mallocs - min(last.Mallocs, look.Mallocs+(look.Mallocs-first.Mallocs))
	s.Allocated = last.Allocated - min(last.Allocated, look.Allocated+(look.Allocated-first.Allocated))
	return nil
}

// profile writes the server's CPU profile, if one is wanted.
func (r *run) profile(ctx context.Context) error {
	if r.cfg.CPUProfile == "" || r.arm.Duration < time.Second {
		return nil
	}
	ext := filepath.Ext(r.cfg.CPUProfile)
	name := strings.TrimSuffix(r.cfg.CPUProfile, ext) + "-" + fileName(r.arm.Name) + ext
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(proc.Profile(ctx, r.server.admin, int(r.arm.Duration/time.Second), f), f.Close())
}

// fileName makes a name of an arm fit for a file.
func fileName(s string) string {
	b := []byte(s)
	for i, c := range b {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			b[i] = '-'
		}
	}
	return string(b)
}

// meters reads what the server and the viewers have used.
func (r *run) meters() (server proc.Usage, viewers time.Duration, err error) {
	if server, err = proc.Read(r.server.pid); err != nil {
		return server, 0, err
	}
	for _, h := range append(r.viewers[:len(r.viewers):len(r.viewers)], r.joiner) {
		if h == nil {
			continue
		}
		u, err := proc.Read(h.pid())
		if err != nil {
			return server, 0, err
		}
		viewers += u.CPU()
	}
	return server, viewers, nil
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
	if r.pub != nil {
		sent, err := r.pub.await(ctx, eventDone, slack)
		if err != nil {
			return err
		}
		if sent.Sent == nil || sent.Sent.Late == nil {
			return errors.New("run: the publisher's report lacks its result")
		}
		res.Late = sent.Sent.Late
	}
	for _, h := range r.viewers {
		seen, err := h.await(ctx, eventDone, r.arm.Drain+slack)
		if err != nil {
			return err
		}
		if seen.Viewing == nil {
			return errors.New("run: the viewers' report lacks its result")
		}
		res.Viewing.Add(*seen.Viewing)
	}
	if r.joiner != nil {
		met, err := r.joiner.await(ctx, eventDone, load.JoinTimeout+r.arm.JoinStay+slack)
		if err != nil {
			return err
		}
		if met.Joins == nil {
			return errors.New("run: the joiners' report lacks its result")
		}
		res.Joins = met.Joins
	}
	return nil
}

// Supported says whether other processes can be measured here.
func Supported() error {
	if runtime.GOOS != "linux" {
		return errors.New("run: measuring other processes needs Linux's /proc")
	}
	return nil
}
