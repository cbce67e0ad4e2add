package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"github.com/broadcastd/broadcastd/bench"
	"github.com/broadcastd/broadcastd/internal/config"
)

func (p process) benchChildCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "child",
		Short:  "A process that bench starts: server, publisher or viewers",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.Child(cmd.Context(), p.in, p.out, p.benchServe)
		},
	}
}

// benchServe runs the daemon on free loopback ports, with nothing set but that.
func (p process) benchServe(ctx context.Context, dir string, ready func(addr string)) error {
	const free = "127.0.0.1:0"
	l, err := config.Load(config.Sources{StateDir: dir, Flags: map[string]string{
		"http.listen": free, "moq.listen": free, "admin.listen": free, "log.format": "json",
	}})
	if err != nil {
		return err
	}
	p.err, p.out = &listenWatch{out: p.err, ready: ready}, io.Discard
	return p.serve(ctx, l)
}

// A listenWatch takes the daemon's log, a record for each Write, passes on the
// warnings and finds out where it listens.
type listenWatch struct {
	out   io.Writer
	ready func(addr string) // nil once called
}

func (w *listenWatch) Write(record []byte) (int, error) {
	var r struct{ Level, Msg, MoQ string }
	if json.Unmarshal(bytes.TrimSpace(record), &r) != nil || r.Level == "WARN" || r.Level == "ERROR" {
		return w.out.Write(record)
	}
	if r.Msg == "listening" && w.ready != nil {
		w.ready(r.MoQ)
		w.ready = nil
	}
	return len(record), nil
}
