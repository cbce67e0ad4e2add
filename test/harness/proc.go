package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"testing"
	"time"
)

// stopWait is how long Stop waits before it kills.
const stopWait = 5 * time.Second

// A Proc is a running program. It ends with the test that started it.
type Proc struct {
	tb   testing.TB
	name string
	cmd  *exec.Cmd
	log  output
	done chan struct{} // closed once err is set
	err  error
}

// StartProc runs cmd. A nil Stdout or Stderr is kept for Log; the log is shown
// when the test fails.
func StartProc(tb testing.TB, name string, cmd *exec.Cmd) *Proc {
	tb.Helper()
	p := &Proc{tb: tb, name: name, cmd: cmd, done: make(chan struct{})}
	p.log.changed = make(chan struct{})
	if cmd.Stdout == nil {
		cmd.Stdout = &p.log
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.log
	}
	if err := cmd.Start(); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	tb.Cleanup(func() {
		p.end()
		if tb.Failed() {
			tb.Logf("output of %s:\n%s", name, p.log.tail(16<<10))
		}
	})
	// The processes must not outlive a test that `go test -timeout` kills.
	if d, ok := deadline(tb); ok {
		t := time.AfterFunc(time.Until(d)-5*time.Second, func() { _ = cmd.Process.Kill() })
		tb.Cleanup(func() { t.Stop() })
	}
	return p
}

func deadline(tb testing.TB) (time.Time, bool) {
	d, ok := tb.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return time.Time{}, false
	}
	return d.Deadline()
}

// Log returns what the program wrote so far; of more than 4 MiB, the end.
func (p *Proc) Log() string { return p.log.tail(1 << 30) }

// Done is closed when the program has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Wait waits until the program has ended by itself and returns how, as
// exec.Cmd.Wait does. It fails the test after limit.
func (p *Proc) Wait(limit time.Duration) error {
	p.tb.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		p.tb.Fatalf("%s still runs after %v", p.name, limit)
		return nil
	}
}

// WaitLog waits until a line of the program's output matches re, and returns
// that match with its groups. It fails the test after limit, or when the
// program ends without a match.
func (p *Proc) WaitLog(re *regexp.Regexp, limit time.Duration) []string {
	p.tb.Helper()
	timeout := time.After(limit)
	for {
		text, changed := p.log.snapshot()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-p.done:
			text, _ = p.log.snapshot()
			if m := re.FindStringSubmatch(text); m != nil {
				return m
			}
			p.tb.Fatalf("%s ended (%v) before it wrote %q", p.name, p.err, re)
		case <-timeout:
			p.tb.Fatalf("%s did not write %q within %v", p.name, re, limit)
		}
	}
}

// Signal sends sig to the program.
func (p *Proc) Signal(sig os.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.tb.Errorf("%s: %v", p.name, err)
	}
}

// Stop interrupts the program, as Ctrl-C does, and returns how it ended and
// how long that took. A program that ignores it is killed, which fails the test.
func (p *Proc) Stop() (time.Duration, error) {
	p.tb.Helper()
	began := time.Now()
	p.Signal(os.Interrupt)
	select {
	case <-p.done:
		return time.Since(began), p.err
	case <-time.After(stopWait):
		p.Kill()
		p.tb.Errorf("%s ignored an interrupt for %v", p.name, stopWait)
		return stopWait, p.err
	}
}

// Kill ends the program as a power cut would, and waits for that.
func (p *Proc) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// end is Stop for the end of a test, where an ended program is no fault.
func (p *Proc) end() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(os.Interrupt) // likewise
	select {
	case <-p.done:
	case <-time.After(stopWait):
		p.Kill()
	}
}

// output keeps the last 4 MiB written to it and tells waiters of each write.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // closed and replaced by each write
}

const maxOutput = 4 << 20

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(b)
	if n := o.buf.Len() - maxOutput; n > 0 {
		o.buf.Next(n)
	}
	close(o.changed)
	o.changed = make(chan struct{})
	return len(b), nil
}

func (o *output) snapshot() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.changed
}

func (o *output) tail(n int) string {
	text, _ := o.snapshot()
	if len(text) > n {
		return "…" + text[len(text)-n:]
	}
	return text
}

// Eventually calls ok every 50 ms until it returns nil, and fails the test
// with its last error after limit. It is for states of another process, which
// offers no event to wait for.
func Eventually(tb testing.TB, limit time.Duration, what string, ok func(context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		if err := ok(ctx); err == nil {
			return
		} else if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("%s: not within %v: %v", what, limit, last)
		}
	}
}

// envList turns a map into the form that exec.Cmd wants, on top of base.
func envList(base []string, extra map[string]string) []string {
	for k, v := range extra {
		base = append(base, fmt.Sprintf("%s=%s", k, v))
	}
	return base
}
