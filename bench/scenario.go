package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/bench/link"
	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/run"
)

// Options are what a scenario leaves open. The zero value of each field is the
// scenario's own choice.
type Options struct {
	Viewers  int
	Rounds   int
	Duration time.Duration
	Warmup   time.Duration
	Profile  string
	// WebTransport: viewers and publishers of the relay use it.
	WebTransport bool
	Input        load.Input
	// Inputs are those of ingest.
	Inputs []load.Input
	// Against are further parties that take turns with the relay.
	Against []load.Party
	// Rates are those of the bottlenecks of overload, in bits per second.
	Rates []int64
	// Link is that of loss.
	Link link.Config
	// Counts are the numbers of viewers of scale.
	Counts []int
}

// or returns v, or d if v is zero.
func or[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

const drain = 5 * time.Second

// arm makes an arm with the options' choices.
func (o Options) arm(name string, p load.Party, viewers int, duration time.Duration) Arm {
	a := Arm{
		Name: name, Party: p, Input: o.Input, Profile: or(o.Profile, "tv"), Viewers: viewers,
		Warmup: or(o.Warmup, 2*time.Second), Duration: or(o.Duration, duration), Drain: drain,
	}
	if a.Early() {
		a.Warmup += joinTime
	}
	return a
}

// joinTime is how long viewers have to join media that flows already.
const joinTime = 3 * time.Second

// relay is the party that the options mean.
func (o Options) relay() load.Party {
	if o.WebTransport {
		return load.RelayWebTransport
	}
	return load.Relay
}

// usual are the figures of a run with viewers.
var usual = []string{
	cpuPerGB, mcorePerView, delayP50, delayP99, delayP999, delivered, failed, incomplete, wrong, packetsPerGB, udpPerMedia,
	allocsObj, switchesObj, residentMB, residentView, goroutines, loadMcore, lateP99, loadAvg,
}

// compared are the comparisons of two arms with viewers.
func compared(of, to string) []Ratio {
	return []Ratio{
		{Figure: cpuPerGB, Of: of, To: to},
		{Figure: delayP50, Of: of, To: to, Minus: true},
		{Figure: delayP99, Of: of, To: to},
		{Figure: packetsPerGB, Of: of, To: to},
		{Figure: residentMB, Of: of, To: to},
		{Figure: allocsObj, Of: of, To: to, Minus: true},
		{Figure: switchesObj, Of: of, To: to, Minus: true},
	}
}

const method = "Server, publisher and viewers are processes of their own on this machine; the server's cost is read from outside. " +
	"Delay counts from when the schedule had an object; what never came is as late as the run is long."

// RelayPlan measures the relay with viewers, beside other parties.
func RelayPlan(o Options) Plan {
	n := or(o.Viewers, 20)
	p := Plan{
		Scenario: "relay", About: "The relay with viewers. " + method, Figures: usual,
		Charts: []Chart{delayChart},
	}
	first := o.relay()
	arms := []Arm{o.arm(string(first), first, n, 10*time.Second)}
	for _, party := range o.Against {
		if party != first {
			arms = append(arms, o.arm(string(party), party, n, 10*time.Second))
			p.Ratios = append(p.Ratios, compared(string(first), string(party))...)
		}
	}
	rounds := 1
	if len(arms) > 1 {
		rounds = 3
	}
	p.Blocks = []Block{{Arms: arms, Rounds: or(o.Rounds, rounds)}}
	return p
}

// CeilingPlan measures bare quic-go.
func CeilingPlan(o Options) Plan {
	o.Input = load.InputMoQ
	return Plan{
		Scenario: "ceiling", About: "Bare quic-go, which hands on what it receives without any MoQ. " + method, Figures: usual,
		Blocks: []Block{{Arms: []Arm{o.arm(string(load.Ceiling), load.Ceiling, or(o.Viewers, 20), 10*time.Second)}, Rounds: or(o.Rounds, 1)}},
		Charts: []Chart{delayChart},
	}
}

// badNetwork are the figures of viewers that cannot have everything.
var badNetwork = []string{
	audioP99, videoP99, allP99, audioGrowth, videoGrowth, delivered, audioArrived, videoDecoded, freeze, failed, wrong, mcore, residentMB, loadAvg,
}

// badDrain is how long viewers of a bad network wait: most of what is missing
// then was given up.
const badDrain = 2 * time.Second

// OverloadPlan puts viewers behind links that are too slow for the stream.
func OverloadPlan(o Options) Plan {
	p := Plan{
		Scenario: "overload", About: "Links that are slower than the stream: what the relay leaves out, and what comes when. Delays are those of what came. " + method,
		Figures: badNetwork, Charts: []Chart{growthChart},
	}
	rates := o.Rates
	if len(rates) == 0 {
		rates = []int64{4_000_000, 3_000_000}
	}
	b := Block{Rounds: or(o.Rounds, 1)}
	for _, party := range o.parties() {
		for _, rate := range rates {
			a := o.arm(fmt.Sprintf("%s %g Mbit/s", party, float64(rate)/1e6), party, or(o.Viewers, 5), time.Minute)
			a.Warmup, a.Drain = or(o.Warmup, 4*time.Second), badDrain
			a.Link = link.Config{Rate: rate, Delay: 20 * time.Millisecond, Queue: 60_000, Seed: 1}
			b.Arms = append(b.Arms, a)
		}
	}
	p.Blocks = []Block{b}
	return p
}

// parties are the relay and those that it is compared with.
func (o Options) parties() []load.Party {
	list := []load.Party{o.relay()}
	for _, p := range o.Against {
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

// LossPlan puts viewers behind links that lose packets.
func LossPlan(o Options) Plan {
	p := Plan{
		Scenario: "loss", About: "Links that lose packets by chance. Delays are those of what came. " + method,
		Figures: badNetwork, Charts: []Chart{growthChart},
	}
	l := o.Link
	if l.Direct() {
		l = link.Config{Rate: 20_000_000, Delay: 20 * time.Millisecond, Loss: 0.01}
	}
	l.Seed = or(l.Seed, 1)
	b := Block{Rounds: or(o.Rounds, 1)}
	for _, party := range o.parties() {
		a := o.arm(string(party), party, or(o.Viewers, 5), 30*time.Second)
		a.Link, a.Drain = l, badDrain
		b.Arms = append(b.Arms, a)
	}
	p.Blocks = []Block{b}
	return p
}

// StallPlan lets one viewer stop reading.
func StallPlan(o Options) Plan {
	n := or(o.Viewers, 20)
	p := Plan{
		Scenario: "stall", About: "One viewer stops reading when the window begins. The figures are those of the others. " + method, Figures: usual,
		Charts: []Chart{delayChart},
	}
	b := Block{Rounds: or(o.Rounds, 3)}
	for _, party := range o.parties() {
		well := o.arm(string(party)+", all read", party, n-1, 10*time.Second)
		bad := o.arm(string(party)+", one stalls", party, n, 10*time.Second)
		bad.Stalled = 1
		b.Arms = append(b.Arms, bad, well)
		p.Ratios = append(p.Ratios,
			Ratio{Figure: delayP50, Of: bad.Name, To: well.Name}, Ratio{Figure: delayP99, Of: bad.Name, To: well.Name},
			Ratio{Figure: residentMB, Of: bad.Name, To: well.Name})
	}
	p.Blocks = []Block{b}
	return p
}

// JoinPlan lets viewers come one after the other, at all points of a group.
func JoinPlan(o Options) Plan {
	a := o.arm(string(o.relay())+" join", o.relay(), 0, 10*time.Second)
	a.Mode, a.JoinEvery = run.Join, 150*time.Millisecond
	return Plan{
		Scenario: "join", About: "Viewers join while media flows, and get the current group from the cache. Times count from the SUBSCRIBE; handshakes are apart.",
		Figures: []string{joinCount, joinFailed, joinConnect, joinByte, joinByteP99, joinPicture, joinPicP99, mcore, residentMB, loadAvg},
		Blocks:  []Block{{Arms: []Arm{a}, Rounds: or(o.Rounds, 1)}},
	}
}

// ChurnPlan lets viewers come and go beside others that stay.
func ChurnPlan(o Options) Plan {
	n := or(o.Viewers, 20)
	p := Plan{
		Scenario: "churn", About: "Viewers come and go beside others that stay. " + method,
		Figures: append([]string{mcore, joinCount, joinFailed, joinConnect, joinByte, joinPicture, joinPicP99, routinesView}, usual...),
	}
	b := Block{Rounds: or(o.Rounds, 3)}
	for _, party := range o.parties() {
		calm := o.arm(string(party)+", all stay", party, n, 10*time.Second)
		churn := o.arm(string(party)+", churn", party, n, 10*time.Second)
		churn.Mode, churn.JoinEvery, churn.JoinStay = run.Churn, 100*time.Millisecond, 2*time.Second
		b.Arms = append(b.Arms, churn, calm)
		p.Ratios = append(p.Ratios, Ratio{Figure: mcore, Of: churn.Name, To: calm.Name, Minus: true},
			Ratio{Figure: delayP99, Of: churn.Name, To: calm.Name}, Ratio{Figure: goroutines, Of: churn.Name, To: calm.Name, Minus: true})
	}
	p.Blocks = []Block{b}
	return p
}

// idleFigures are those of connections that do nothing.
var idleFigures = []string{inUseView, residentView, routinesView, mcore, residentMB, goroutines, loadAvg}

// IdlePlan lets viewers connect and ask for nothing.
func IdlePlan(o Options) Plan {
	p := Plan{
		Scenario: "idle", About: "Connections that ask for nothing: what each of them adds to the server.", Figures: idleFigures,
	}
	o.Against = or2(o.Against, []load.Party{load.Ceiling})
	b := Block{Rounds: or(o.Rounds, 3)}
	for _, party := range o.parties() {
		a := o.arm(string(party)+" idle", party, or(o.Viewers, 100), 2*time.Second)
		a.Mode, a.Drain = run.Idle, 0
		b.Arms = append(b.Arms, a)
	}
	for _, a := range b.Arms[1:] {
		p.Ratios = append(p.Ratios, Ratio{Figure: inUseView, Of: b.Arms[0].Name, To: a.Name, Minus: true},
			Ratio{Figure: residentView, Of: b.Arms[0].Name, To: a.Name, Minus: true})
	}
	p.Blocks = []Block{b}
	return p
}

func or2[T any](v, d []T) []T {
	if len(v) == 0 {
		return d
	}
	return v
}

// scaleFigures are those that a table with many rows has room for.
var scaleFigures = []string{cpuPerGB, mcorePerView, delayP50, delayP99, delivered, failed, residentView, loadMcore}

// ScaleCounts are the numbers of viewers of the scenario scale.
func ScaleCounts() []int { return []int{1, 10, 20, 50, 100, 150, 200, 250, 300, 400, 500} }

// ScalePlan raises the number of viewers.
func ScalePlan(o Options) Plan {
	p := Plan{
		Scenario: "scale", About: "More and more viewers. " + method,
		Figures: scaleFigures, Charts: []Chart{scaleDelayChart, scaleCPUChart, scaleCostChart},
	}
	o.Against = or2(o.Against, []load.Party{load.Ceiling})
	p.Blocks = []Block{o.scale(or2(o.Counts, ScaleCounts()), 5*time.Second, or(o.Rounds, 1))}
	for _, n := range or2(o.Counts, ScaleCounts()) {
		for _, party := range o.parties()[1:] {
			p.Ratios = append(p.Ratios, Ratio{Figure: cpuPerGB, Of: atN(o.relay(), n), To: atN(party, n)})
		}
	}
	return p
}

func atN(p load.Party, n int) string { return fmt.Sprintf("%s n=%d", p, n) }

// scale makes an arm for each party and number of viewers.
func (o Options) scale(counts []int, duration time.Duration, rounds int) Block {
	b := Block{Rounds: rounds}
	for _, n := range counts {
		for _, party := range o.parties() {
			b.Arms = append(b.Arms, o.arm(atN(party, n), party, n, duration))
		}
	}
	return b
}

// IngestPlan sends media by each input with nobody watching, and with one viewer
// to see its delay.
func IngestPlan(o Options) Plan {
	o.Profile = or(o.Profile, "tv")
	p := Plan{
		Scenario: "ingest", About: "One encoder sends media in. " + method,
		Figures: []string{mcore, delayP50, delayP99, delivered, failed, wrong, residentMB, goroutines, lateP99, loadAvg},
		Charts:  []Chart{delayChart},
	}
	b := Block{Rounds: or(o.Rounds, 3)}
	for _, in := range or2(o.Inputs, []load.Input{load.InputCMAF}) {
		o.Input = in
		b.Arms = append(b.Arms, o.arm(in.String()+", nobody watches", o.relay(), 0, 10*time.Second),
			o.arm(in.String()+", one viewer", o.relay(), 1, 10*time.Second))
		if in == load.InputCMAF {
			b.Arms = append(b.Arms, o.arm(in.String()+", thrown away", load.Ceiling, 0, 10*time.Second))
			p.Ratios = append(p.Ratios, Ratio{Figure: mcore, Of: in.String() + ", nobody watches", To: in.String() + ", thrown away", Minus: true})
		}
		if in == load.InputRTMP && slices.Contains(o.Against, load.MediaMTX) {
			b.Arms = append(b.Arms, o.arm(in.String()+", into MediaMTX", load.MediaMTX, 0, 10*time.Second))
			p.Ratios = append(p.Ratios, Ratio{Figure: mcore, Of: in.String() + ", nobody watches", To: in.String() + ", into MediaMTX"})
		}
	}
	p.Blocks = []Block{b}
	return p
}

// workFigures are those of recorder and cutter.
var workFigures = []string{recordCPU, recordWrite, recordBulk, recordOver, recordRate, recutFloor, recutOther, recutReadFloor, recutReadOther, recutRate, loadAvg}

// RecordPlan measures the recorder and the cutter alone.
func RecordPlan(o Options) Plan {
	rec, cut := o.arm("recorder", "", 0, 3*time.Second), o.arm("re-cut", "", 0, 2*time.Second)
	rec.Mode, cut.Mode = run.Record, run.Recut
	return Plan{
		Scenario: "record", About: "The recorder, and what cuts fragments into chunks, alone and as fast as they can.",
		Figures: workFigures, Blocks: []Block{{Arms: []Arm{rec, cut}, Rounds: or(o.Rounds, 3)}},
	}
}

// StartPlan starts servers and leaves them alone.
func StartPlan(o Options) Plan {
	b := Block{Rounds: or(o.Rounds, 5)}
	for _, party := range o.parties() {
		a := o.arm(string(party)+" start", party, 0, 2*time.Second)
		a.Mode = run.Start
		b.Arms = append(b.Arms, a)
	}
	return Plan{
		Scenario: "start", About: "How long a start takes until the server listens, and the memory that it holds then.",
		Figures: []string{listening, residentMB, loadAvg}, Blocks: []Block{b},
	}
}

// ComparePlan runs another server beside the relay and bare quic-go.
func ComparePlan(o Options, other load.Party) Plan {
	n := or(o.Viewers, 20)
	p := Plan{
		Scenario: "compare " + string(other), About: "The relay beside another server and bare quic-go. " + method, Figures: usual,
		Charts: []Chart{delayChart},
	}
	b := Block{Rounds: or(o.Rounds, 3)}
	for _, party := range []load.Party{o.relay(), other, load.Ceiling} {
		b.Arms = append(b.Arms, o.arm(string(party), party, n, 10*time.Second))
	}
	p.Blocks = []Block{b}
	p.Ratios = slices.Concat(compared(string(o.relay()), string(other)), compared(string(o.relay()), string(load.Ceiling)),
		compared(string(other), string(load.Ceiling)))
	return p
}

// PartyNamed returns the party of a name that people use.
func PartyNamed(name string) (load.Party, error) {
	switch name {
	case "quic":
		return load.Relay, nil
	case "webtransport":
		return load.RelayWebTransport, nil
	}
	if p := load.Party(name); p.Known() {
		return p, nil
	}
	names := []string{"quic", "webtransport", string(load.Ceiling), string(load.MediaMTX)}
	return "", fmt.Errorf("%q is none of %s", name, strings.Join(names, ", "))
}
