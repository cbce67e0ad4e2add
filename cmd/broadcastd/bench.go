package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/broadcastd/broadcastd/bench"
	"github.com/broadcastd/broadcastd/bench/load"
)

const benchHelp = `Everything runs on this machine, over loopback, in processes of its own: the server,
a publisher, and the viewers, up to 64 in a process. Only the server's CPU time counts;
it is read from outside, from /proc, so that this needs Linux. GB are 1e9 bytes of media
that viewers got.

Delay runs from the moment at which the publisher's schedule had an object, whether or
not it was sent then, until a viewer has all of it. What a viewer should have had and did
not have counts as being as late as the whole run is long.

Viewers and server share this machine's CPUs, so that delays are those of a busy
machine. Absolute figures vary with what else runs; compare what runs in turn.`

func (p process) benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure what serving costs: CPU per GB, delay, memory, bad networks",
		Long: `Measures on this machine what serving live media costs, beside bare quic-go and beside
MediaMTX, and how it bears bad networks.

` + benchHelp + `

Profiles of media (--profile):
` + benchProfiles(),
		Example: `  broadcastd bench relay                          twenty viewers, ten seconds
  broadcastd bench relay --against ceiling        the same beside bare quic-go
  broadcastd bench compare mediamtx               the same beside MediaMTX, which it builds
  broadcastd bench overload                       links that are too slow for the stream
  broadcastd bench reach --html result.html       every goal of the project, in ten minutes
  broadcastd bench diff old.json new.json         what has become slower`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, s := range benchScenarios() {
		c.AddCommand(p.benchScenario(s))
	}
	c.AddCommand(p.benchCompareCommand(), p.benchReachCommand(), p.benchDiffCommand(), p.benchDocsCommand(), p.benchChildCommand())
	return c
}

// benchProfiles lists the profiles for people.
func benchProfiles() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, prof := range load.Profiles() {
		fmt.Fprintf(t, "  %s\t%s\n", prof.Name, prof.About)
	}
	_ = t.Flush() // into memory
	return strings.TrimRight(b.String(), "\n")
}

// The benchFlags are what the scenarios have in common.
type benchFlags struct {
	opt       bench.Options
	transport string
	input     string
	inputs    []string
	against   []string
	output    benchOutput
}

// The benchOutput is where a measurement goes.
type benchOutput struct{ json, html, cpuProfile, mediamtx string }

func (o *benchOutput) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.json, "json", "", "write every figure of every run to `FILE`, or to standard output with -")
	fs.StringVar(&o.html, "html", "", "write a report with charts to `FILE`, which needs no other")
	fs.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile of the server's last run to `FILE`, for go tool pprof")
	fs.StringVar(&o.mediamtx, "mediamtx", "", "the MediaMTX `BINARY` to compare with; by default it is built once, with the go command")
}

// A benchCommand is one scenario.
type benchScenarioInfo struct {
	name, short, long, example string
	plan                       func(bench.Options) bench.Plan
	viewers, rounds            string // the defaults, for the help; empty: no such flag
	duration                   string
	against                    bool // it can be compared
	transports, input, inputs  bool
	more                       func(*cobra.Command, *bench.Options)
}

func benchScenarios() []benchScenarioInfo {
	return []benchScenarioInfo{
		{
			name: "relay", short: "The relay with viewers: CPU per GB, delay, packets, memory",
			long: `Starts "broadcastd serve" with a state directory of its own, a publisher and viewers.`,
			example: `  broadcastd bench relay
  broadcastd bench relay --against ceiling --rounds 9 -n 100
  broadcastd bench relay --transport webtransport --against quic
  broadcastd bench relay --input cmaf --profile tv`,
			plan: bench.RelayPlan, viewers: "20", rounds: "1, or 3 with --against", duration: "10s", against: true, transports: true, input: true,
		},
		{
			name: "ceiling", short: "Bare quic-go with the same media, without MoQ: the least that it can cost",
			long: `Measures a server that takes the media once over QUIC and hands it to the viewers with
nothing in between: no MoQ, no cache.`,
			plan: bench.CeilingPlan, viewers: "20", rounds: "1", duration: "10s",
		},
		{
			name: "overload", short: "Links slower than the stream: what is left out, and what comes when",
			long: `Puts each viewer behind a link of 4 and one of 3 Mbit/s (20 ms one way, 60 KB of queue),
while the stream has 5.1 Mbit/s. Delays are those of what came; "decodable" are the
pictures of which all before them in their group came.`,
			plan: bench.OverloadPlan, viewers: "5", rounds: "1", duration: "1m", against: true, transports: true, more: benchRates,
		},
		{
			name: "loss", short: "Links that lose packets by chance",
			long: `Puts each viewer behind a link of 20 Mbit/s, 20 ms one way, that loses 1 % of its packets.`,
			plan: bench.LossPlan, viewers: "5", rounds: "1", duration: "30s", against: true, transports: true, more: benchLink,
		},
		{
			name: "stall", short: "One viewer stops reading: what the others notice",
			plan: bench.StallPlan, viewers: "20", rounds: "3", duration: "10s", against: true, transports: true,
		},
		{
			name: "join", short: "Viewers that come while media flows: time to the first byte and the first picture",
			plan: bench.JoinPlan, rounds: "1", duration: "10s", transports: true,
		},
		{
			name: "churn", short: "Viewers that come and go beside others that stay",
			plan: bench.ChurnPlan, viewers: "20", rounds: "3", duration: "10s", against: true, transports: true,
		},
		{
			name: "idle", short: "Connections that ask for nothing: memory and goroutines of each",
			plan: bench.IdlePlan, viewers: "100", rounds: "3", duration: "2s", against: true, transports: true,
		},
		{
			name: "scale", short: "From one viewer to 500: where the delay ends, and what each viewer costs",
			plan: bench.ScalePlan, rounds: "1", duration: "5s", against: true, transports: true, more: benchCounts,
		},
		{
			name: "ingest", short: "Inputs: what one costs with nobody watching, and its delay",
			plan: bench.IngestPlan, rounds: "3", duration: "10s", transports: true, inputs: true, against: true,
		},
		{
			name: "record", short: "The recorder and the chunk cutter alone, as fast as they can",
			plan: bench.RecordPlan, rounds: "3", duration: "3s and 2s",
		},
		{
			name: "start", short: "Time from start to listening, and idle memory",
			plan: bench.StartPlan, rounds: "5", duration: "2s", against: true,
		},
	}
}

func benchRates(cmd *cobra.Command, o *bench.Options) {
	mbit := cmd.Flags().Float64Slice("rate", nil, "rates of the links in Mbit/s (default 4,3)")
	prepare(cmd, func() error {
		for _, r := range *mbit {
			if !(r >= 0.01 && r <= 100_000) {
				return usageError{fmt.Errorf("--rate is %v, want 0.01 to 100000 Mbit/s", r)}
			}
			o.Rates = append(o.Rates, int64(r*1e6))
		}
		return nil
	})
}

func benchLink(cmd *cobra.Command, o *bench.Options) {
	loss := cmd.Flags().Float64("loss", 1, "how much of the packets is lost, in %")
	rate := cmd.Flags().Float64("rate", 20, "rate of the links in Mbit/s")
	delay := cmd.Flags().Duration("delay", 20*time.Millisecond, "delay of one way")
	prepare(cmd, func() error {
		o.Link.Loss, o.Link.Rate, o.Link.Delay = *loss/100, int64(*rate*1e6), *delay
		if _, err := o.Link.Checked(); err != nil {
			return usageError{err}
		}
		return nil
	})
}

func benchCounts(cmd *cobra.Command, o *bench.Options) {
	cmd.Flags().IntSliceVar(&o.Counts, "counts", nil, fmt.Sprintf("numbers of viewers (default %s)", strings.Trim(fmt.Sprint(bench.ScaleCounts()), "[]")))
}

// prepare does something before the command runs.
func prepare(cmd *cobra.Command, f func() error) {
	cmd.PreRunE = func(*cobra.Command, []string) error { return f() }
}

// benchScenario makes the command of a scenario.
func (p process) benchScenario(s benchScenarioInfo) *cobra.Command {
	var f benchFlags
	long := s.short + ".\n\n"
	if s.long != "" {
		long = s.long + "\n\n"
	}
	c := &cobra.Command{Use: s.name, Short: s.short, Long: long + benchHelp, Example: s.example, Args: cobra.NoArgs}
	if s.example == "" {
		c.Example = "  broadcastd bench " + s.name
	}
	fs := c.Flags()
	if s.viewers != "" {
		fs.IntVarP(&f.opt.Viewers, "viewers", "n", 0, "how many viewers (default "+s.viewers+")")
	}
	fs.IntVar(&f.opt.Rounds, "rounds", 0, "how often each is measured, in turn (default "+s.rounds+")")
	fs.DurationVar(&f.opt.Duration, "duration", 0, "how long to measure, for each run (default "+s.duration+")")
	fs.DurationVar(&f.opt.Warmup, "warmup", 0, "how long media flows before that (default 2s)")
	fs.StringVar(&f.opt.Profile, "profile", "tv", "what is published")
	if s.transports {
		fs.StringVar(&f.transport, "transport", "quic", "quic or webtransport")
	}
	if s.input {
		fs.StringVar(&f.input, "input", "moq", "how media comes in: moq, "+load.InputsText())
	}
	if s.inputs {
		fs.StringSliceVar(&f.inputs, "input", nil, "inputs to measure: "+load.InputsText()+" (default cmaf)")
	}
	if s.against {
		fs.StringSliceVar(&f.against, "against", nil, "what takes turns with it: ceiling (bare quic-go), quic, webtransport, mediamtx")
	}
	if s.more != nil {
		s.more(c, &f.opt)
	}
	f.output.add(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd); err != nil {
			return usageError{err}
		}
		return p.bench(cmd, f.output, s.plan(f.opt))
	}
	return c
}

// check reads the flags that name something.
func (f *benchFlags) check(cmd *cobra.Command) error {
	for name, v := range map[string]bool{
		"viewers": f.opt.Viewers <= 0, "rounds": f.opt.Rounds <= 0, "duration": f.opt.Duration <= 0, "warmup": f.opt.Warmup <= 0,
	} {
		if v && cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s has to be more than 0", name)
		}
	}
	if _, err := load.ProfileNamed(f.opt.Profile); err != nil {
		return err
	}
	switch f.transport {
	case "", "quic":
	case "webtransport":
		f.opt.WebTransport = true
	default:
		return fmt.Errorf("--transport is %q, want quic or webtransport", f.transport)
	}
	if f.input != "" {
		in, err := load.InputNamed(f.input)
		if err != nil {
			return fmt.Errorf("--input: %w", err)
		}
		if f.opt.Input = in; in != load.InputMoQ && len(f.against) > 0 {
			return fmt.Errorf("--input %s has nothing to be compared with: the others do not take it", in)
		}
	}
	for _, name := range f.inputs {
		in, err := load.InputNamed(name)
		if err == nil && in == load.InputMoQ {
			err = errors.New("moq is what the scenario relay measures")
		}
		if err != nil {
			return fmt.Errorf("--input: %w", err)
		}
		f.opt.Inputs = append(f.opt.Inputs, in)
	}
	for _, name := range f.against {
		party, err := bench.PartyNamed(name)
		if err != nil {
			return fmt.Errorf("--against: %w", err)
		}
		f.opt.Against = append(f.opt.Against, party)
	}
	return nil
}

func (p process) benchCompareCommand() *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use: "compare mediamtx", Short: "The relay beside another server and bare quic-go",
		Long: `Builds MediaMTX from its Go module (once; it needs the go command and its module proxy),
configures and runs it, and measures it in turn with the relay and with bare quic-go. The
load speaks the subset of MoQ draft-18 that MediaMTX knows: LOC, each frame a stream.

` + benchHelp,
		Example: `  broadcastd bench compare mediamtx
  broadcastd bench compare mediamtx -n 100 --rounds 9 --html compare.html`,
		Args: cobra.ExactArgs(1), ValidArgs: []string{string(load.MediaMTX)},
	}
	fs := c.Flags()
	fs.IntVarP(&f.opt.Viewers, "viewers", "n", 20, "how many viewers")
	fs.IntVar(&f.opt.Rounds, "rounds", 3, "how often each is measured, in turn")
	fs.DurationVar(&f.opt.Duration, "duration", 10*time.Second, "how long to measure, for each run")
	fs.DurationVar(&f.opt.Warmup, "warmup", 2*time.Second, "how long media flows before that")
	fs.StringVar(&f.opt.Profile, "profile", "tv", "what is published")
	f.output.add(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] != string(load.MediaMTX) {
			return usageError{fmt.Errorf("%q cannot be compared with, only %s", args[0], load.MediaMTX)}
		}
		if err := f.check(cmd); err != nil {
			return usageError{err}
		}
		if f.opt.Profile == "chat" {
			return usageError{errors.New("MediaMTX takes no messages, only video and audio")}
		}
		return p.bench(cmd, f.output, bench.ComparePlan(f.opt, load.MediaMTX))
	}
	return c
}
