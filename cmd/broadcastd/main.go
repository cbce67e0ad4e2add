// Command broadcastd takes live media in, turns it into CMAF once and serves it
// over MoQ Transport.
//
// Every subcommand is a thin shell over the public packages of this module.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	p := process{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		env: os.Environ(), start: now(),
	}
	ctx, stop := interruptible(context.Background())
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// A process is what a command has of the world around it.
type process struct {
	in       *os.File
	out, err io.Writer
	env      []string
	start    moment
}

// errInterrupted is the cause of the context after Ctrl-C.
var errInterrupted = errors.New("interrupted")

// interruptible returns a context that the first SIGINT or SIGTERM ends. The
// second one ends the process at once.
func interruptible(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for interrupted := false; ; interrupted = true {
			select {
			case <-signals:
			case <-done:
				return
			}
			if interrupted {
				fmt.Fprintln(os.Stderr, "broadcastd: interrupted twice, leaving at once")
				os.Exit(exitFailed)
			}
			cancel(errInterrupted)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}
