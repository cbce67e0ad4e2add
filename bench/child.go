package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

// The processes of a run speak JSON: the first line that a child reads is its
// job, the others are orders; what it writes are reports. The end of its input
// ends it, so that no child outlives the process that asked for it.

type role string

const (
	roleServe   role = "serve"
	rolePublish role = "publish"
	roleView    role = "view"
)

// tailTime is how long media goes on behind the window, so that everybody is
// still there when the meters are read.
const tailTime = 500 * time.Millisecond

// A job is all that a child has to know.
type job struct {
	Role    role          `json:"role"`
	Party   Party         `json:"party"`
	Profile string        `json:"profile,omitempty"`
	Addr    string        `json:"addr,omitempty"`    // of the server
	Dir     string        `json:"dir,omitempty"`     // for the server's state
	CPUProf string        `json:"pprof,omitempty"`   // file for the server's CPU profile
	Viewers int           `json:"viewers,omitempty"` // how many
	From    time.Duration `json:"from,omitempty"`    // the window
	To      time.Duration `json:"to,omitempty"`
	Drain   time.Duration `json:"drain,omitempty"` // how long after To viewers wait for what is missing
}

// An order tells a child to go on.
type order struct {
	Op string    `json:"op"` // begin, or end, which only a server is told
	At time.Time `json:"at"` // of begin: when the schedule starts
}

const (
	opBegin = "begin"
	opEnd   = "end"
)

// A report is what a child says.
type report struct {
	Event   string       `json:"event"`
	Error   string       `json:"error,omitempty"`
	Addr    string       `json:"addr,omitempty"`    // ready server
	Joined  int          `json:"joined,omitempty"`  // ready viewers
	Inside  *inside      `json:"inside,omitempty"`  // ended server
	Sent    *publication `json:"sent,omitempty"`    // done publisher
	Viewing *Viewing     `json:"viewing,omitempty"` // done viewers
}

const (
	eventReady = "ready"
	eventEnded = "ended" // of a server: the measured window
	eventDone  = "done"
	eventError = "error"
)

// inside is what a server alone knows of itself.
type inside struct {
	Goroutines int `json:"goroutines"`
}

// Child is the whole of a child process: it takes its job and its orders from
// in, reports to out, and returns when the job is done, in ends, or ctx does.
func Child(ctx context.Context, in io.Reader, out io.Writer, relay ServeFunc) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dec := json.NewDecoder(bufio.NewReader(in))
	var j job
	if err := dec.Decode(&j); err != nil {
		return fmt.Errorf("bench: no job on standard input (this command is for broadcastd bench itself): %w", err)
	}
	c := child{job: j, out: json.NewEncoder(out), orders: make(chan order), relay: relay}
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
	if errors.Is(err, errDone) {
		return nil
	}
	if err != nil && ctx.Err() == nil {
		_ = c.out.Encode(report{Event: eventError, Error: err.Error()})
	}
	return err
}

type child struct {
	job    job
	out    *json.Encoder // one goroutine at a time
	orders chan order
	relay  ServeFunc
}

func (c *child) run(ctx context.Context) error {
	prof, err := ProfileNamed(c.job.Profile)
	if err != nil {
		return err
	}
	switch c.job.Role {
	case roleServe:
		return c.serve(ctx)
	case rolePublish:
		return c.publish(ctx, prof)
	case roleView:
		return c.view(ctx, prof)
	}
	return fmt.Errorf("bench: there is no role %q", string(c.job.Role))
}

// order waits for the next order, which has to be op.
func (c *child) order(ctx context.Context, op string) (order, error) {
	select {
	case o := <-c.orders:
		if o.Op != op {
			return o, fmt.Errorf("bench: order %q, want %q", o.Op, op)
		}
		return o, nil
	case <-ctx.Done():
		return order{}, context.Cause(ctx)
	}
}

// idle waits for the end: what is under way may still need the connection.
func (c *child) idle(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (c *child) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan error, 1)
	ready := make(chan string, 1)
	go func() {
		err := c.window(ctx, ready)
		if err != nil {
			cancel(err)
		}
		watched <- err
	}()
	err := c.job.Party.serve(ctx, c.job.Dir, c.relay, func(addr string) { ready <- addr })
	cancel(err)
	return errors.Join(err, <-watched)
}

// window watches the server from inside while it is measured.
func (c *child) window(ctx context.Context, ready <-chan string) error {
	select {
	case addr := <-ready:
		if err := c.out.Encode(report{Event: eventReady, Addr: addr}); err != nil {
			return err
		}
	case <-ctx.Done():
		return nil // serve knows why
	}
	if _, err := c.order(ctx, opBegin); err != nil {
		return err
	}
	if name := c.job.CPUProf; name != "" {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if _, err := c.order(ctx, opEnd); err != nil {
		return err
	}
	pprof.StopCPUProfile() // before the viewers leave
	return c.out.Encode(report{Event: eventEnded, Inside: &inside{Goroutines: runtime.NumGoroutine()}})
}

func (c *child) publish(ctx context.Context, prof Profile) error {
	dialing, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	conn, err := c.job.Party.publisher(dialing, c.job.Addr, prof)
	if err != nil {
		return err
	}
	defer conn.close()
	if err := c.out.Encode(report{Event: eventReady}); err != nil {
		return err
	}
	o, err := c.order(ctx, opBegin)
	if err != nil {
		return err
	}
	sent, err := publish(ctx, conn, prof, o.At, c.job.To+tailTime)
	if err != nil {
		return err
	}
	if err := c.out.Encode(report{Event: eventDone, Sent: &sent}); err != nil {
		return err
	}
	return c.idle(ctx)
}

func (c *child) view(ctx context.Context, prof Profile) error {
	a := join(ctx, c.job.Party, c.job.Addr, prof, window{c.job.From, c.job.To}, c.job.Viewers)
	if err := c.out.Encode(report{Event: eventReady, Joined: a.joined()}); err != nil {
		return err
	}
	o, err := c.order(ctx, opBegin)
	if err != nil {
		return errors.Join(err, a.leave())
	}
	watching, cancel := context.WithDeadline(ctx, o.At.Add(c.job.To+tailTime+c.job.Drain))
	defer cancel()
	seen := a.watch(watching, o.At.Add(c.job.To+tailTime))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.out.Encode(report{Event: eventDone, Viewing: &seen}); err != nil {
		return err
	}
	return c.idle(ctx)
}
