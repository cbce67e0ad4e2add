package run

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/broadcastd/broadcastd/bench/load"
)

// The processes of a run speak JSON: the first line that a child reads is its
// job, the others are orders; what it writes are reports. The end of its input
// ends it, so that no child outlives the process that asked for it.

type role string

const (
	roleServe   role = "serve"   // a command that serves
	roleCeiling role = "ceiling" // the ceiling's server
	rolePublish role = "publish"
	roleView    role = "view"
	roleJoin    role = "join"
	roleRecord  role = "record"
	roleRecut   role = "recut"
)

// tailTime is how long media goes on behind the window, so that everybody is
// still there when the meters are read.
const tailTime = 500 * time.Millisecond

// A job is all that a child has to know.
type job struct {
	Role   role        `json:"role"`
	Arm    Arm         `json:"arm"`
	Target load.Target `json:"target"`
	// Viewers and Stalled are this process's share; Seed sets its links apart.
	Viewers int    `json:"viewers,omitempty"`
	Stalled int    `json:"stalled,omitempty"`
	Seed    uint64 `json:"seed,omitempty"`
	// Path and Args are a server's command; it is up once it has written a line
	// with Ready in it.
	Path  string   `json:"path,omitempty"`
	Args  []string `json:"args,omitempty"`
	Ready string   `json:"ready,omitempty"`
	Dir   string   `json:"dir,omitempty"` // for files
}

// window is the measured part of the schedule.
func (j job) window() load.Window {
	return load.Window{From: j.Arm.Warmup, To: j.Arm.Warmup + j.Arm.Duration}
}

// An order tells a child to go on.
type order struct {
	Op string    `json:"op"`
	At time.Time `json:"at"` // of begin: when the schedule starts
}

const opBegin = "begin"

// A message is what a child says.
type message struct {
	Event     string            `json:"event"`
	Error     string            `json:"error,omitempty"`
	Pid       int               `json:"pid,omitempty"`          // ready server
	Line      string            `json:"line,omitempty"`         // that said so
	Listening time.Duration     `json:"listening_ns,omitempty"` // how long it took
	Addr      string            `json:"addr,omitempty"`         // ready ceiling
	Admin     string            `json:"admin,omitempty"`        // ready ceiling
	Joined    int               `json:"joined,omitempty"`       // ready viewers
	Sent      *load.Publication `json:"sent,omitempty"`         // done publisher
	Viewing   *load.Viewing     `json:"viewing,omitempty"`      // done viewers
	Joins     *load.Joins       `json:"joins,omitempty"`        // done joiners
	Work      *Work             `json:"work,omitempty"`         // done recorder, cutter
}

const (
	eventReady = "ready"
	eventDone  = "done"
	eventError = "error"
)

// errDone ends what has nothing more to do.
var errDone = errors.New("done")

// Child is the whole of a child process: it takes its job and its orders from
// in, reports to out, and returns when the job is done, in ends, or ctx does.
func Child(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dec := json.NewDecoder(bufio.NewReader(in))
	var j job
	if err := dec.Decode(&j); err != nil {
		return fmt.Errorf("run: no job on standard input (this command is for broadcastd bench itself): %w", err)
	}
	c := child{job: j, out: json.NewEncoder(out), orders: make(chan order)}
	go func() { // ends with in, or with the process
		for {
			var o order
			if err := dec.Decode(&o); err != nil {
				cancel(errDone)
				return
			}
			select {
			case c.orders <- o:
			case <-ctx.Done():
				return
			}
		}
	}()
	err := c.run(ctx)
	if errors.Is(err, errDone) || errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), errDone) {
		return nil // the latter from what knows no causes, such as os/exec
	}
	if err != nil && ctx.Err() == nil {
		_ = c.out.Encode(message{Event: eventError, Error: err.Error()})
	}
	return err
}

type child struct {
	job    job
	out    *json.Encoder // one goroutine at a time
	orders chan order
}

func (c *child) run(ctx context.Context) error {
	prof, err := load.ProfileNamed(c.job.Arm.Profile)
	if err != nil {
		return err
	}
	switch c.job.Role {
	case roleServe:
		return c.serve(ctx)
	case roleCeiling:
		return c.ceiling(ctx)
	case rolePublish:
		return c.publish(ctx, prof)
	case roleView:
		return c.view(ctx, prof)
	case roleJoin:
		return c.join(ctx, prof)
	case roleRecord:
		return c.record(ctx, prof)
	case roleRecut:
		return c.recut(ctx, prof)
	}
	return fmt.Errorf("run: there is no role %q", string(c.job.Role))
}

// begin waits for the order to begin.
func (c *child) begin(ctx context.Context) (time.Time, error) {
	select {
	case o := <-c.orders:
		if o.Op != opBegin {
			return o.At, fmt.Errorf("run: order %q, want %q", o.Op, opBegin)
		}
		return o.At, nil
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}

// idle waits for the end: what is under way may still need the connection.
func (c *child) idle(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (c *child) publish(ctx context.Context, prof load.Profile) error {
	dialing, cancel := context.WithTimeout(ctx, load.JoinTimeout)
	defer cancel()
	p, err := load.DialPublisher(dialing, c.job.Target, prof)
	if err != nil {
		return err
	}
	if err := c.out.Encode(message{Event: eventReady}); err != nil {
		return errors.Join(err, p.Close())
	}
	at, err := c.begin(ctx)
	if err != nil {
		_ = p.Close()
		return err
	}
	sent, err := p.Publish(ctx, at, c.job.window().To+tailTime)
	if err != nil {
		return errors.Join(err, p.Close()) // which may say why
	}
	if err := c.out.Encode(message{Event: eventDone, Sent: &sent}); err != nil {
		return errors.Join(err, p.Close())
	}
	err = c.idle(ctx)
	_ = p.Close()
	return err
}

func (c *child) view(ctx context.Context, prof load.Profile) error {
	cfg := load.AudienceConfig{
		Target: c.job.Target, Profile: prof, Window: c.job.window(),
		Viewers: c.job.Viewers, Stalled: c.job.Stalled, Idle: c.job.Arm.Mode == Idle, Link: c.job.Arm.Link,
	}
	cfg.Link.Seed += c.job.Seed
	a := load.Join(ctx, cfg)
	if err := c.out.Encode(message{Event: eventReady, Joined: a.Joined()}); err != nil {
		return errors.Join(err, a.Leave())
	}
	at, err := c.begin(ctx)
	if err != nil {
		_ = a.Leave()
		return err
	}
	stay := at.Add(cfg.Window.To + tailTime)
	watching, cancel := context.WithDeadline(ctx, stay.Add(c.job.Arm.Drain))
	defer cancel()
	seen := a.Watch(watching, at, stay)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.out.Encode(message{Event: eventDone, Viewing: &seen}); err != nil {
		return err
	}
	return c.idle(ctx)
}

func (c *child) join(ctx context.Context, prof load.Profile) error {
	if err := c.out.Encode(message{Event: eventReady}); err != nil {
		return err
	}
	at, err := c.begin(ctx)
	if err != nil {
		return err
	}
	w := c.job.window()
	met := load.JoinsConfig{
		Target: c.job.Target, Profile: prof, Every: c.job.Arm.JoinEvery, Stay: c.job.Arm.JoinStay, From: w.From, To: w.To,
	}.Run(ctx, at)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.out.Encode(message{Event: eventDone, Joins: &met}); err != nil {
		return err
	}
	return c.idle(ctx)
}
