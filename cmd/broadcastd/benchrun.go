package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/broadcastd/broadcastd/bench"
	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/mediamtx"
	"github.com/broadcastd/broadcastd/bench/report"
	benchrun "github.com/broadcastd/broadcastd/bench/run"
)

// bench runs a plan, shows the table, and writes the files.
func (p process) bench(cmd *cobra.Command, out benchOutput, plan bench.Plan) error {
	self, err := p.benchSelf()
	if err != nil {
		return err
	}
	show := progress{out: p.err, terminal: terminal(p.err)}
	mtx, err := p.benchMediaMTX(cmd.Context(), out.mediamtx, plan, show)
	if err != nil {
		return err
	}
	rep, err := bench.Run(cmd.Context(), bench.Config{
		Config: benchrun.Config{Command: self, MediaMTX: mtx, CPUProfile: out.cpuProfile}, Plan: plan, Progress: show.step,
	})
	show.clear()
	if rep == nil {
		return err
	}
	verdict := benchVerdict(rep)
	if plan.GoOn && verdict != nil && !errors.Is(verdict, errWrong) {
		// A search for the largest number of viewers goes to where some fail.
		rep.Notes, verdict = append(rep.Notes, verdict.Error()), nil
	}
	rep.Version, rep.Command = versionText(), strings.Join(append([]string{cmd.Root().Name()}, os.Args[1:]...), " ")
	if len(rep.Tables) == 0 {
		return err
	}
	table := p.out
	if out.json == "-" {
		table = p.err
	}
	return errors.Join(err, rep.WriteTable(table), p.writeTo(out.json, rep.WriteJSON), p.writeTo(out.html, rep.WriteHTML), verdict)
}

// benchMediaMTX returns the path of a MediaMTX, if the plan needs one.
func (p process) benchMediaMTX(ctx context.Context, given string, plan bench.Plan, show progress) (string, error) {
	if given != "" {
		return given, nil
	}
	if plan.Has(load.MediaMTX) {
		return mediamtx.Build(ctx, func(text string) { show.step(bench.Step{Text: text, Done: true}) })
	}
	return "", nil
}

var errWrong = errors.New("objects came twice or not as they were sent")

// benchVerdict refuses figures of media that came wrong, or to nobody.
func benchVerdict(rep *report.Report) error {
	runs, _ := rep.Runs.([]benchrun.Result)
	for _, r := range runs {
		switch v := r.Viewing; {
		case v.Wrong > 0:
			return fmt.Errorf("%s, run %d: %d %w", r.Arm, r.Round+1, v.Wrong, errWrong)
		case len(v.Errors) > 0:
			return fmt.Errorf("%s, run %d: %s failed, the first with: %s", r.Arm, r.Round+1, count(v.Failed, "viewer"), v.Errors[0])
		case r.Joins != nil && len(r.Joins.Errors) > 0:
			return fmt.Errorf("%s, run %d: %s failed, the first with: %s", r.Arm, r.Round+1, count(r.Joins.Failed, "viewer"), r.Joins.Errors[0])
		}
	}
	return nil
}

// writeTo has write write to a file, or to standard output with -.
func (p process) writeTo(name string, write func(io.Writer) error) error {
	switch name {
	case "":
		return nil
	case "-":
		return write(p.out)
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// errWorse ends bench diff with a code that a script sees.
var errWorse = errors.New("worse than before")

func (p process) benchDiffCommand() *cobra.Command {
	return &cobra.Command{
		Use: "diff BEFORE.json AFTER.json", Short: "What has become better or worse between two measurements",
		Long: `Compares two files that --json wrote. A change counts if the intervals of the two do not
overlap, the medians differ by more than 2 %, and each was measured at least four times.
Where a measurement has ratios, those are compared, because two days differ by what else
the machine did. Exits with 1 if something is worse.`,
		Example: `  broadcastd bench relay --against ceiling --rounds 9 --json before.json
  (change something)
  broadcastd bench relay --against ceiling --rounds 9 --json after.json
  broadcastd bench diff before.json after.json`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			var reports [2]*report.Report
			for i, name := range args {
				r, err := readReport(name)
				if err != nil {
					return err
				}
				reports[i] = r
			}
			worse, err := report.WriteDiff(p.out, reports[0], reports[1], report.Diff(reports[0], reports[1]))
			if err == nil && worse > 0 {
				err = errWorse
			}
			return err
		},
	}
}

// progress shows the steps of a measurement: on a terminal in one line that
// changes, otherwise the results alone.
type progress struct {
	out      io.Writer
	terminal bool
}

func (p progress) step(s bench.Step) {
	text := s.Text
	if s.Left > 0 {
		text += fmt.Sprintf(", %.0f s left", s.Left.Seconds())
	}
	if s.Total > time.Minute {
		text += fmt.Sprintf("; in all %.0f min", s.Total.Minutes())
	}
	switch {
	case s.Done:
		p.clear()
		fmt.Fprintln(p.out, s.Text)
	case p.terminal:
		fmt.Fprintf(p.out, "\r\x1b[K%s", text)
	}
}

// clear takes away a line that was to change.
func (p progress) clear() {
	if p.terminal {
		io.WriteString(p.out, "\r\x1b[K") //nolint:errcheck // nobody is left to tell
	}
}

// benchSelf returns a function that makes commands of this program: on Linux also
// when its file was replaced meanwhile, by a new build, so that all runs are of
// one build.
func (p process) benchSelf() (func(args ...string) *exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench starts this program again, and cannot find it: %w", err)
	}
	if runtime.GOOS == "linux" {
		exe = "/proc/self/exe"
	}
	return func(args ...string) *exec.Cmd {
		return &exec.Cmd{Path: exe, Args: append([]string{"broadcastd"}, args...), Env: p.env}
	}, nil
}
