package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/bench/link"
	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/stat"
)

// ReachOptions say how thorough ReachPlan is.
type ReachOptions struct {
	// Rounds is how often arms are compared.
	Rounds int
	// Full takes an hour and more: longer runs, overload for a minute, more
	// numbers of viewers, bad networks over WebTransport too.
	Full bool
	// MediaMTX: it is there to be compared with.
	MediaMTX bool
}

// ReachPlan measures what the project holds itself to, row by row.
func ReachPlan(o ReachOptions) Plan {
	q := Options{Warmup: 1500 * time.Millisecond, Duration: 4 * time.Second}
	bad, scaled, badRounds, scaleRounds := 20*time.Second, []int{1, 150, 200, 250}, 1, 1
	if o.Full {
		q = Options{Warmup: 2 * time.Second, Duration: 10 * time.Second}
		bad, scaled, badRounds, scaleRounds = time.Minute, []int{1, 10, 50, 150, 200, 250, 300, 400, 500}, 3, 3
	}
	p := Plan{
		Scenario: "reach", About: "What the project holds itself to. " + method,
		Figures: slices.Concat(usual, badNetwork, idleFigures, workFigures, []string{
			mcore, joinCount, joinFailed, joinConnect, joinByte, joinByteP99, joinPicture, joinPicP99, listening,
		}),
		Charts: []Chart{scaleDelayChart, scaleCPUChart, badChart(load.Relay), badChart(load.RelayWebTransport)},
		Goals:  goals(),
	}
	p.Blocks = append(p.Blocks, q.peers(20, o, load.RelayWebTransport), q.peers(100, o))
	for _, n := range []int{20, 100} {
		relay := atN(load.Relay, n)
		p.Ratios = append(p.Ratios, compared(relay, atN(load.Ceiling, n))...)
		p.Ratios = append(p.Ratios, compared(relay, atN(load.MediaMTX, n))...)
		p.Ratios = append(p.Ratios, Ratio{Figure: cpuPerGB, Of: atN(load.RelayWebTransport, n), To: relay},
			Ratio{Figure: cpuPerGB, Of: atN(load.MediaMTX, n), To: atN(load.Ceiling, n)})
	}
	for _, part := range []Plan{
		StallPlan(q.rounds(o.Rounds)),
		JoinPlan(q.rounds(o.Rounds)),
		IdlePlan(Options{Rounds: o.Rounds, Warmup: time.Second}),
		StartPlan(Options{Rounds: max(o.Rounds, 3), Against: o.others()}),
		IngestPlan(q.rounds(o.Rounds)),
		RecordPlan(Options{Rounds: o.Rounds}),
	} {
		p.Blocks = append(p.Blocks, part.Blocks...)
		p.Ratios = append(p.Ratios, part.Ratios...)
	}
	parties := []load.Party{load.Relay}
	if o.Full {
		parties = append(parties, load.RelayWebTransport)
	}
	p.Blocks = append(p.Blocks, badBlock(parties, bad, badRounds))
	q.Against = []load.Party{load.Ceiling}
	if o.Full {
		q.Against = append(q.Against, o.others()...)
	}
	p.Blocks = append(p.Blocks, q.scale(scaled, 0, scaleRounds))
	return p
}

func (o Options) rounds(n int) Options {
	o.Rounds = n
	return o
}

func (o ReachOptions) others() []load.Party {
	if o.MediaMTX {
		return []load.Party{load.MediaMTX}
	}
	return nil
}

// peers makes the arms of n viewers.
func (o Options) peers(n int, r ReachOptions, more ...load.Party) Block {
	b := Block{Rounds: r.Rounds}
	for _, party := range slices.Concat([]load.Party{load.Relay, load.Ceiling}, r.others(), more) {
		b.Arms = append(b.Arms, o.arm(atN(party, n), party, n, 0))
	}
	return b
}

// The names of the bad networks.
const (
	at4  = "4 Mbit/s"
	at3  = "3 Mbit/s"
	lost = "1 % loss"
)

// badBlock puts the parties behind bad networks.
func badBlock(parties []load.Party, duration time.Duration, rounds int) Block {
	b := Block{Rounds: rounds}
	o := Options{Warmup: 4 * time.Second}
	for _, party := range parties {
		for _, net := range []struct {
			name string
			link link.Config
		}{
			{at4, link.Config{Rate: 4_000_000, Delay: 20 * time.Millisecond, Queue: 60_000, Seed: 1}},
			{at3, link.Config{Rate: 3_000_000, Delay: 20 * time.Millisecond, Queue: 60_000, Seed: 1}},
			{lost, link.Config{Rate: 20_000_000, Delay: 20 * time.Millisecond, Loss: 0.01, Seed: 1}},
		} {
			a := o.arm(string(party)+" "+net.name, party, 5, duration)
			a.Link, a.Drain = net.link, badDrain
			b.Arms = append(b.Arms, a)
		}
	}
	return b
}

// badChart draws a party's delays on bad networks.
func badChart(party load.Party) Chart {
	return func(l Lookup, runs []Result) report.Chart {
		c := growthChart(l, slices.DeleteFunc(slices.Clone(runs), func(r Result) bool {
			_, net, _ := strings.Cut(r.Arm, string(party)+" ")
			return net != at4 && net != at3 && net != lost
		}))
		c.Title += ": " + string(party)
		return c
	}
}

// A bound is what a figure must reach and what is aimed at. Both are upper ones,
// or lower ones.
type bound struct {
	must, aim float64
	lower     bool
}

func (b bound) verdict(v stat.Number) report.Verdict {
	within := func(limit float64) bool {
		if b.lower {
			return float64(v) >= limit
		}
		return float64(v) <= limit
	}
	switch {
	case !v.Known():
		return report.Unknown
	case within(b.aim):
		return report.Aim
	case within(b.must):
		return report.Must
	}
	return report.Missed
}

// worst returns the worst of several verdicts; what was not measured does not
// count unless nothing was.
func worst(list ...report.Verdict) report.Verdict {
	for _, v := range []report.Verdict{report.Missed, report.Must, report.Aim} {
		if slices.Contains(list, v) {
			return v
		}
	}
	return report.Unknown
}

// A piece is one figure of a goal.
type piece struct {
	name   string
	get    func(Lookup) (stat.Spread, bool)
	digits int
	unit   string
	bound  bound
	upper  bool // the upper end of the interval is held to the bound
	scale  float64
	beside bool // shown beside the others, and held to nothing
}

func figureOf(arm, key string) func(Lookup) (stat.Spread, bool) {
	return func(l Lookup) (stat.Spread, bool) { return l.Figure(arm, key) }
}

func ratioOf(key, of, to string) func(Lookup) (stat.Spread, bool) {
	return func(l Lookup) (stat.Spread, bool) { return l.Ratio(key, of, to) }
}

// measured puts the pieces of a goal together.
func measured(pieces ...piece) func(Lookup) (string, report.Verdict) {
	return func(l Lookup) (string, report.Verdict) {
		var texts []string
		var verdicts []report.Verdict
		for _, p := range pieces {
			s, ok := p.get(l)
			if !ok {
				continue
			}
			f := stat.Number(or(p.scale, 1))
			s.Median, s.Low, s.High = s.Median*f, s.Low*f, s.High*f
			v := s.Median
			if p.upper {
				v = s.High
			}
			if !p.beside {
				verdicts = append(verdicts, p.bound.verdict(v))
			}
			text := report.SpreadText(s, p.digits)
			if p.unit != "" {
				text += " " + p.unit
			}
			if p.name != "" {
				text = p.name + " " + text
			}
			texts = append(texts, text)
		}
		if len(texts) == 0 {
			return "–", report.Unknown
		}
		return strings.Join(texts, "; "), worst(verdicts...)
	}
}

// limits makes a goal's figures of one arm.
func limit(name, arm, key string, digits int, unit string, must, aim float64) piece {
	return piece{name: name, get: figureOf(arm, key), digits: digits, unit: unit, bound: bound{must: must, aim: aim}}
}

// beside makes a figure that is held to nothing.
func beside(name, arm, key string, digits int, unit string) piece {
	return piece{name: name, get: figureOf(arm, key), digits: digits, unit: unit, beside: true}
}

// least makes a figure that should be high.
func least(name, arm, key string, digits int, unit string, must, aim float64) piece {
	return piece{name: name, get: figureOf(arm, key), digits: digits, unit: unit, bound: bound{must: must, aim: aim, lower: true}}
}

// against makes a comparison with another arm.
func against(name, key, of, to string, must, aim float64) piece {
	return piece{name: name, get: ratioOf(key, of, to), digits: 2, bound: bound{must: must, aim: aim}}
}

func (p piece) atItsUpperEnd() piece {
	p.upper = true
	return p
}

func (p piece) in(unit string, digits int) piece {
	p.unit, p.digits = unit, digits
	return p
}

func (p piece) times(f float64) piece {
	p.scale = f
	return p
}

// scaleGoal compares the largest numbers of viewers.
func scaleGoal(l Lookup) (string, report.Verdict) {
	ours, more, ok := largest(l, string(load.Relay))
	ceiling, ceilingMore, cok := largest(l, string(load.Ceiling))
	if !ok || !cok || ceiling == 0 {
		return "–", report.Unknown
	}
	text := fmt.Sprintf("relay %s, ceiling %s", orMore(ours, more), orMore(ceiling, ceilingMore))
	if n, m, ok := largest(l, string(load.MediaMTX)); ok {
		text += ", MediaMTX " + orMore(n, m)
	}
	return text, bound{must: 0.85, aim: 0.95, lower: true}.verdict(stat.Ratio(float64(ours), float64(ceiling)))
}

// fallGoal looks whether the CPU for each viewer falls as their number grows.
func fallGoal(l Lookup) (string, report.Verdict) {
	lines := perN(l, mcorePerView)
	i := slices.IndexFunc(lines, func(line report.Line) bool { return line.Name == string(load.Relay) })
	if i < 0 {
		return "–", report.Unknown
	}
	var texts []string
	verdict := report.Aim
	last := stat.NaN
	for _, p := range lines[i].Points {
		texts = append(texts, fmt.Sprintf("%s at %.0f", report.Text(p.Y, 2), p.X))
		if last.Known() && p.Low > last {
			if p.X <= 100 {
				verdict = report.Missed
			} else if verdict == report.Aim {
				verdict = report.Must
			}
		}
		last = p.Y
	}
	if n := lines[i].Points[len(lines[i].Points)-1].X; n < 500 && verdict == report.Aim {
		verdict = report.Must
	}
	return strings.Join(texts, ", ") + " mcore", verdict
}
