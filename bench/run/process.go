package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// A process is a child process, seen from the process that started it.
type process struct {
	name    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	orders  *json.Encoder
	reports chan message // closed when the child has closed its output
	stderr  tail
	exited  chan struct{} // closed once err is set
	err     error
}

// errSilent stands for the exit of a child that found nothing wrong.
var errSilent = errors.New("exit status 0")

// goodbye is how long a child may take to end once its input has.
const goodbye = 3 * time.Second

// startProcess starts cmd as a child with a job.
func startProcess(cmd *exec.Cmd, j job) (*process, error) {
	h := &process{name: string(j.Role), cmd: cmd, reports: make(chan message, 4), exited: make(chan struct{})}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = &h.stderr
	cmd.WaitDelay = goodbye
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run: %s process: %w", h.name, err)
	}
	h.in, h.orders = in, json.NewEncoder(in)
	go func() {
		dec := json.NewDecoder(out)
		for {
			var r message
			if dec.Decode(&r) != nil {
				break
			}
			select {
			case h.reports <- r:
			case <-time.After(goodbye): // nobody listens: it is being stopped
			}
		}
		close(h.reports)
		h.err = cmd.Wait()
		close(h.exited)
	}()
	if err := h.orders.Encode(j); err != nil {
		h.stop()
		return nil, fmt.Errorf("run: %s process: %w%s", h.name, err, h.stderr.text())
	}
	return h, nil
}

func (h *process) pid() int { return h.cmd.Process.Pid }

// tell gives the child an order.
func (h *process) tell(o order) error {
	if err := h.orders.Encode(o); err != nil {
		return fmt.Errorf("run: %s process: %w%s", h.name, err, h.stderr.text())
	}
	return nil
}

// await waits for a report of the given kind.
func (h *process) await(ctx context.Context, event string, limit time.Duration) (message, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r, ok := <-h.reports:
		switch {
		case !ok:
			h.stop() // then all that it wrote has been read
			return r, fmt.Errorf("run: the %s process ended early (%w)%s", h.name, cmp.Or(h.err, errSilent), h.stderr.text())
		case r.Event == eventError:
			return r, fmt.Errorf("run: %s process: %s", h.name, r.Error)
		case r.Event != event:
			return r, fmt.Errorf("run: %s process reports %q, want %q", h.name, r.Event, event)
		}
		return r, nil
	case <-ctx.Done():
		return message{}, context.Cause(ctx)
	case <-timer.C:
		return message{}, fmt.Errorf("run: the %s process said nothing of being %s for %v%s", h.name, event, limit, h.stderr.text())
	}
}

// stop ends the child and waits until it is gone.
func (h *process) stop() {
	_ = h.in.Close()
	select {
	case <-h.exited:
	case <-time.After(goodbye):
		_ = h.cmd.Process.Kill()
		<-h.exited
	}
}

// A tail keeps the end of what a child writes to its standard error.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const maxTail = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - maxTail; extra > 0 {
		t.buf = t.buf[extra:]
	}
	return len(p), nil
}

// text returns what was written, for the end of an error.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf) == 0 {
		return ""
	}
	return "; it wrote:\n" + strings.TrimSpace(string(t.buf))
}
