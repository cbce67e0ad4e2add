package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/bench/ceiling"
)

// serve runs a command that serves, until the end. Its process is not this one,
// so that nothing of this one is in its figures.
func (c *child) serve(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.job.Path, c.job.Args...)
	cmd.Dir = c.job.Dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = goodbye
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run: the server: %w", err)
	}
	var last tail
	read := make(chan error, 1)
	go func() { read <- c.watch(r, &last, began, cmd.Process.Pid) }()
	err := cmd.Wait()
	_ = w.Close() // never fails
	if rerr := <-read; rerr != nil && ctx.Err() == nil {
		return rerr
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("run: the server ended: %w%s", errors.Join(err), last.text())
}

// watch reads what the server writes, and reports when it is up.
func (c *child) watch(r *io.PipeReader, last *tail, began time.Time, pid int) error {
	up := false
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		_, _ = last.Write(append(lines.Bytes(), '\n')) // never fails
		if up || !strings.Contains(line, c.job.Ready) {
			continue
		}
		up = true
		if err := c.out.Encode(message{Event: eventReady, Pid: pid, Line: line, Listening: time.Since(began)}); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, r) // behind a line that is too long
	return errors.Join(lines.Err(), err)
}

// nothing takes what is thrown away. It hides that of io, which reads by 8 KiB.
type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }

// ceiling serves the ceiling, and pprof for those who measure it.
func (c *child) ceiling(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer func() { _ = pc.Close() }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("POST /ingest/", func(_ http.ResponseWriter, r *http.Request) { // what reading alone costs
		_, _ = io.CopyBuffer(nothing{}, r.Body, make([]byte, 64<<10))
	})
	admin := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- admin.Serve(l) }()
	defer func() {
		_ = admin.Close()
		<-served
	}()
	if err := c.out.Encode(message{Event: eventReady, Pid: os.Getpid(), Addr: pc.LocalAddr().String(), Admin: l.Addr().String()}); err != nil {
		return err
	}
	var s ceiling.Server
	return s.Serve(ctx, pc)
}
