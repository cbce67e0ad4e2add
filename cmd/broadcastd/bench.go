package main

import (
	"encoding/json"
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
)

const benchHelp = `Everything runs on this machine, over loopback, in processes of its own: the server,
a publisher that sends the profile "tv" (30 fps at 5 Mbit/s in groups of one second,
key frames 8 times as large as the others, audio at 128 kbit/s), and the viewers. Only
the server's CPU time counts. GB are 1e9 bytes of media that viewers got.

Delay runs from the moment an object was due by the publisher's schedule until a viewer
has all of it. What a viewer should have had and did not have counts as infinitely late;
a quantile that falls there is shown as "lost".

Viewers and server share this machine's CPUs, so that delays are those of a busy
machine. Absolute figures vary with what else runs; compare ratios of interleaved runs.`

func (p process) benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure what serving costs: CPU per GB, delay, memory",
		Long: `Measures on this machine what serving live media costs.

` + benchHelp,
		Example: `  broadcastd bench relay
  broadcastd bench relay --against ceiling --pairs 3
  broadcastd bench relay --against ceiling --pairs 9 -n 100 --json result.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(p.benchRelayCommand(), p.benchCeilingCommand(), p.benchChildCommand())
	return c
}

// The benchFlags are what the scenarios have in common.
type benchFlags struct {
	viewers, runs    int
	duration, warmup time.Duration
	profile          string
	json, cpuProfile string
}

func (f *benchFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.IntVarP(&f.viewers, "viewers", "n", 20, "how many viewers")
	fs.DurationVar(&f.duration, "duration", 10*time.Second, "how long to measure, for each run")
	fs.DurationVar(&f.warmup, "warmup", 2*time.Second, "how long media flows before that")
	fs.StringVar(&f.profile, "profile", "tv", "what is published")
	fs.StringVar(&f.json, "json", "", "write every figure of every run to `FILE`, or to standard output with -")
	fs.StringVar(&f.cpuProfile, "cpuprofile", "", "write a CPU profile of the server's last run to `FILE`, for go tool pprof")
}

func (p process) benchRelayCommand() *cobra.Command {
	var f benchFlags
	var transport, against string
	var pairs int
	c := &cobra.Command{
		Use:   "relay [--against ceiling --pairs 3]",
		Short: "Measure the relay: one publisher, N viewers, all over MoQ",
		Long: `Starts "broadcastd serve" with a state directory of its own and measures it as a relay:
one publisher, N viewers, all over MoQ.

` + benchHelp + `

--against runs another server in turn with it, A B A B …, and shows the ratio of each pair:
  ceiling        bare quic-go: the same media without MoQ, the least that it can cost
  quic           the relay over raw QUIC
  webtransport   the relay over WebTransport`,
		Example: `  broadcastd bench relay
  broadcastd bench relay --against ceiling --pairs 3 -n 100
  broadcastd bench relay --transport webtransport --against quic`,
		Args: cobra.NoArgs,
	}
	f.add(c)
	c.Flags().StringVar(&transport, "transport", "quic", "quic or webtransport")
	c.Flags().StringVar(&against, "against", "", "what to compare with: ceiling, quic or webtransport")
	c.Flags().IntVar(&pairs, "pairs", 0, "how many times to measure; 0: 1, or 3 with --against")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		first, err := benchParty("--transport", transport, false)
		if err != nil {
			return err
		}
		parties := []bench.Party{first}
		f.runs = 1
		if against != "" {
			second, err := benchParty("--against", against, true)
			if err != nil {
				return err
			}
			parties = append(parties, second)
			f.runs = 3
		}
		if cmd.Flags().Changed("pairs") && pairs != 0 {
			f.runs = pairs
		}
		return p.bench(cmd, f, parties)
	}
	return c
}

// benchParty returns the party that a flag names.
func benchParty(flag, name string, ceiling bool) (bench.Party, error) {
	switch {
	case name == "quic":
		return bench.Relay, nil
	case name == "webtransport":
		return bench.RelayWebTransport, nil
	case name == "ceiling" && ceiling:
		return bench.Ceiling, nil
	}
	choices := "quic or webtransport"
	if ceiling {
		choices = "ceiling, " + choices
	}
	return "", usageError{fmt.Errorf("%s is %q, want %s", flag, name, choices)}
}

func (p process) benchCeilingCommand() *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use:   "ceiling",
		Short: "Measure bare quic-go with the same media, without MoQ",
		Long: `Measures a server that takes the media once over QUIC and hands it to N connections
with nothing in between: no MoQ, no cache. It is what quic-go costs alone.

` + benchHelp,
		Example: `  broadcastd bench ceiling
  broadcastd bench ceiling -n 100 --runs 3`,
		Args: cobra.NoArgs,
	}
	f.add(c)
	c.Flags().IntVar(&f.runs, "runs", 1, "how many times to measure")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.bench(cmd, f, []bench.Party{bench.Ceiling})
	}
	return c
}

// bench measures, shows the table, and writes the JSON.
func (p process) bench(cmd *cobra.Command, f benchFlags, parties []bench.Party) error {
	if f.viewers < 1 || f.runs < 1 || f.duration <= 0 || f.warmup <= 0 {
		return usageError{errors.New("viewers, runs and times have to be more than 0")}
	}
	if _, err := bench.ProfileNamed(f.profile); err != nil {
		return usageError{err}
	}
	exe, err := p.benchSelf()
	if err != nil {
		return err
	}
	show := progress{out: p.err, terminal: terminal(p.err)}
	rep, err := bench.Run(cmd.Context(), bench.Config{
		Command: exe, Parties: parties, Runs: f.runs, Viewers: f.viewers,
		Profile: f.profile, Duration: f.duration, Warmup: f.warmup, CPUProfile: f.cpuProfile,
		Progress: show.step,
	})
	show.clear()
	if rep == nil {
		return err
	}
	rep.Version, rep.Command = versionText(), strings.Join(append([]string{cmd.Root().Name()}, os.Args[1:]...), " ")
	if len(rep.Runs) == 0 {
		return err
	}
	table := p.out
	if f.json == "-" {
		table = p.err
	}
	return errors.Join(err, rep.WriteTable(table), p.benchJSON(f.json, rep), benchVerdict(rep))
}

// benchVerdict refuses figures of media that came wrong.
func benchVerdict(rep *bench.Report) error {
	for i, turn := range rep.Runs {
		for _, r := range turn {
			if r.Viewing.Wrong > 0 {
				return fmt.Errorf("run %d of %s: %d objects came twice or not as they were sent", i+1, r.Party, r.Viewing.Wrong)
			}
			if len(r.Viewing.Errors) > 0 {
				return fmt.Errorf("run %d of %s: %s failed, the first with: %s", i+1, r.Party,
					count(r.Viewing.Failed, "viewer"), r.Viewing.Errors[0])
			}
		}
	}
	return nil
}

func (p process) benchJSON(name string, rep *bench.Report) error {
	if name == "" {
		return nil
	}
	text, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if name == "-" {
		_, err = p.out.Write(text)
		return err
	}
	return os.WriteFile(name, text, 0o644)
}

// progress shows the steps of a measurement: on a terminal in one line that
// changes, otherwise the results alone.
type progress struct {
	out      io.Writer
	terminal bool
}

func (p progress) step(s bench.Step) {
	switch {
	case s.Done:
		p.clear()
		fmt.Fprintln(p.out, s.Text)
	case p.terminal && s.Left > 0:
		fmt.Fprintf(p.out, "\r\x1b[K%s, %.0f s left", s.Text, s.Left.Seconds())
	case p.terminal:
		fmt.Fprintf(p.out, "\r\x1b[K%s", s.Text)
	}
}

// clear takes away a line that was to change.
func (p progress) clear() {
	if p.terminal {
		io.WriteString(p.out, "\r\x1b[K") //nolint:errcheck // nobody is left to tell
	}
}

// benchSelf returns a function that makes the command of a child process, which
// is this program again: on Linux also when its file was replaced meanwhile, by
// a new build, so that all runs are of one build.
func (p process) benchSelf() (func() *exec.Cmd, error) {
	exe := "/proc/self/exe"
	if runtime.GOOS != "linux" {
		var err error
		if exe, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("bench starts this program again, and cannot find it: %w", err)
		}
	}
	return func() *exec.Cmd {
		return &exec.Cmd{Path: exe, Args: []string{"broadcastd", "bench", "child"}, Env: p.env}
	}, nil
}
