package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/broadcastd/broadcastd/bench"
	"github.com/broadcastd/broadcastd/bench/report"
)

// reachBudget is how long bench reach may take: make bench builds before it, and
// is to end within ten minutes.
const reachBudget = 9 * time.Minute

func (p process) benchReachCommand() *cobra.Command {
	var out benchOutput
	var opt bench.ReachOptions
	var without bool
	var rows []string
	c := &cobra.Command{
		Use: "reach", Short: "Every goal that the project holds itself to, row by row",
		Long: `Measures what the project holds itself to and prints a row for each goal: what was
measured, what it must be, what is aimed at. It begins with what it will run and how long
that takes, and keeps to --budget: rows get fewer rounds rather than that it takes longer.
Interrupted, it shows what it has. Building MediaMTX, once, comes on top.

With --full it takes hours: runs are longer, and every row has --rounds rounds.

Rows (--rows):
` + benchRows() + "\n\n" + benchHelp,
		Example: `  broadcastd bench reach
  broadcastd bench reach --rows cpu --rounds 9
  broadcastd bench reach --full --rounds 9 --json reach.json --html reach.html
  broadcastd bench docs reach.json`,
		Args: cobra.NoArgs,
	}
	fs := c.Flags()
	fs.IntVar(&opt.Rounds, "rounds", 3, "how often each is measured, in turn; from 6 on the intervals are those of 95 %")
	fs.BoolVar(&opt.Full, "full", false, "longer runs, more numbers of viewers, every row --rounds times, no budget unless given")
	fs.StringSliceVar(&rows, "rows", nil, "the rows to measure (default all)")
	fs.DurationVar(&opt.Budget, "budget", reachBudget, "how long it may take; 0: as long as it does")
	fs.BoolVar(&without, "without-mediamtx", false, "leave MediaMTX out")
	out.add(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if opt.Rounds < 1 {
			return usageError{errors.New("--rounds has to be more than 0")}
		}
		if opt.Budget < 0 {
			return usageError{errors.New("--budget has to be 0 or more")}
		}
		if opt.Full && !cmd.Flags().Changed("budget") {
			opt.Budget = 0
		}
		var err error
		if opt.Rows, err = bench.RowsNamed(rows); err != nil {
			return usageError{fmt.Errorf("--rows: %w", err)}
		}
		opt.MediaMTX = !without
		plan := bench.ReachPlan(opt)
		fmt.Fprintf(p.err, "%s\n\n", plan.Outline())
		return p.bench(cmd, out, plan)
	}
	return c
}

// benchRows lists the rows for people.
func benchRows() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range bench.Rows() {
		fmt.Fprintf(t, "  %s\t%s\n", r.Row, r.About)
	}
	_ = t.Flush() // into memory
	return strings.TrimRight(b.String(), "\n")
}

func (p process) benchDocsCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "docs RESULT.json ...", Short: "Write measured goals and charts into a Markdown page",
		Long: `Takes what "bench reach --json" wrote and puts the table of goals, the charts, and the
command, version and machine behind them into a Markdown page, in place of what stands
between the lines

  ` + report.DocsBegin + `
  ` + report.DocsEnd + `

so that no figure is typed by hand. The charts become SVG files in a directory beside the
page that has its name. Of several files, each row is that of the last one that has it.`,
		Example: `  broadcastd bench reach --full --rounds 9 --json reach.json
  broadcastd bench docs reach.json`,
		Args: cobra.MinimumNArgs(1),
	}
	c.Flags().StringVar(&name, "page", filepath.Join("docs", "performance.md"), "the `FILE` to write into")
	c.RunE = func(_ *cobra.Command, args []string) error {
		var list []*report.Report
		for _, a := range args {
			r, err := readReport(a)
			if err != nil {
				return err
			}
			list = append(list, r)
		}
		page, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		dir := strings.TrimSuffix(name, filepath.Ext(name))
		text, files, err := report.Docs(string(page), filepath.Base(dir), list)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(files) > 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		for file, svg := range files {
			if err := os.WriteFile(filepath.Join(dir, file), svg, 0o644); err != nil {
				return err
			}
		}
		return os.WriteFile(name, []byte(text), 0o644)
	}
	return c
}

// readReport reads what --json wrote.
func readReport(name string) (*report.Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	r, err := report.ReadJSON(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}
