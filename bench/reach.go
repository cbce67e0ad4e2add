package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/bench/link"
	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/run"
	"github.com/broadcastd/broadcastd/bench/stat"
)

// A Row is a part of what the project holds itself to that can be measured alone.
type Row string

// The rows.
const (
	RowCPU          Row = "cpu"
	RowMediaMTX     Row = "mediamtx"
	RowWebTransport Row = "webtransport"
	RowMemory       Row = "memory"
	RowStart        Row = "start"
	RowIngest       Row = "ingest"
	RowRecord       Row = "record"
	RowRecut        Row = "recut"
	RowJoin         Row = "join"
	RowStall        Row = "stall"
	RowNetwork      Row = "network"
	RowViewers      Row = "viewers"
	RowScale        Row = "scale"
)

// A RowInfo describes a row for people.
type RowInfo struct {
	Row   Row
	About string
}

// Rows are all rows, in the order in which they are measured.
func Rows() []RowInfo {
	return []RowInfo{
		{RowCPU, "CPU per GB, packets, allocations, wake-ups and delay beside bare quic-go, N = 20 and 100"},
		{RowMediaMTX, "CPU per GB beside MediaMTX, N = 20 and 100"},
		{RowWebTransport, "CPU per GB over WebTransport beside raw QUIC, N = 20"},
		{RowStart, "start to listening, idle memory"},
		{RowMemory, "memory of each idle and each active viewer, N = 100"},
		{RowIngest, "what an input costs with nobody watching"},
		{RowRecord, "the recorder"},
		{RowRecut, "the chunk cutter beside memcpy and mp4ff"},
		{RowJoin, "join to the first byte of a key frame"},
		{RowStall, "one viewer of 20 that stops reading"},
		{RowNetwork, "links of 4 and 3 Mbit/s and of 1 % loss, QUIC and WebTransport"},
		{RowViewers, "CPU of each viewer as their number grows"},
		{RowScale, "the largest number of viewers"},
	}
}

// RowsNamed returns the rows of names that people use.
func RowsNamed(names []string) ([]Row, error) {
	var list []Row
	all := Rows()
	for _, name := range names {
		if !slices.ContainsFunc(all, func(r RowInfo) bool { return string(r.Row) == name }) {
			var known []string
			for _, r := range all {
				known = append(known, string(r.Row))
			}
			return nil, fmt.Errorf("there is no row %q, but %s", name, strings.Join(known, ", "))
		}
		list = append(list, Row(name))
	}
	return list, nil
}

// ReachOptions say how thorough ReachPlan is.
type ReachOptions struct {
	// Rounds is how often arms are compared.
	Rounds int
	// Full takes longer runs and more numbers of viewers, and every row as often as
	// Rounds says.
	Full bool
	// MediaMTX: it is there to be compared with.
	MediaMTX bool
	// Rows are those to be measured. Empty: all.
	Rows []Row
	// Budget is how long it may take. Zero: as long as it does.
	Budget time.Duration
}

func (o ReachOptions) wants(rows ...Row) bool {
	return len(o.Rows) == 0 || slices.ContainsFunc(rows, func(r Row) bool { return slices.Contains(o.Rows, r) })
}

// ReachPlan measures what the project holds itself to, row by row.
func ReachPlan(o ReachOptions) Plan {
	q := Options{Warmup: 1500 * time.Millisecond, Duration: 3 * time.Second, Rounds: o.Rounds}
	brief, once := 2*time.Second, 1
	if o.Full {
		q.Warmup, q.Duration = 2*time.Second, 10*time.Second
		brief, once = 5*time.Second, o.Rounds
	}
	p := Plan{
		Scenario: "reach", About: "What the project holds itself to. " + method, Budget: o.Budget, GoOn: true,
		Charts: []Chart{
			scaleCostChart, only(delayChart, "Objects that came within …, 20 viewers", func(arm string) bool { return strings.HasSuffix(arm, " n=20") }),
			badChart(load.Relay), badChart(load.RelayWebTransport), scaleCPUChart, scaleDelayChart,
		},
	}
	for _, g := range goals() {
		if o.wants(g.Row) {
			p.Goals = append(p.Goals, g)
		}
	}
	p.peers(o, q)
	p.others(o, q, brief)
	if o.wants(RowNetwork) {
		p.Blocks = append(p.Blocks, badBlock([]load.Party{load.Relay, load.RelayWebTransport}, time.Minute, once))
	}
	if o.wants(RowViewers) {
		p.Blocks = append(p.Blocks, o.growing(q)...)
	}
	if o.wants(RowScale) {
		s := &Search{Parties: []load.Party{load.Relay, load.Ceiling}, Arm: q.arm("", "", 0, 0)}
		s.Arm.Duration = 3 * time.Second
		if o.Full && o.MediaMTX {
			s.Parties = append(s.Parties, load.MediaMTX)
		}
		for n := 20; n <= 500; n += 20 {
			s.Counts = append(s.Counts, n)
		}
		p.Blocks = append(p.Blocks, Block{Search: s, Rounds: once, Figures: scaleFigures})
	}
	return p
}

// peers adds the arms that take turns with the relay at 20 and at 100 viewers.
func (p *Plan) peers(o ReachOptions, q Options) {
	for _, n := range []int{20, 100} {
		b := Block{Rounds: o.Rounds, Figures: usual}
		add := func(party load.Party) { b.Arms = append(b.Arms, q.arm(atN(party, n), party, n, 0)) }
		relay := atN(load.Relay, n)
		mtx := o.MediaMTX && o.wants(RowMediaMTX)
		web := n == 20 && o.wants(RowWebTransport)
		if o.wants(RowCPU) || mtx || web || n == 100 && o.wants(RowMemory, RowViewers) {
			add(load.Relay)
		}
		if o.wants(RowCPU) {
			add(load.Ceiling)
			p.Ratios = append(p.Ratios, compared(relay, atN(load.Ceiling, n))...)
		}
		if mtx {
			add(load.MediaMTX)
			p.Ratios = append(p.Ratios, compared(relay, atN(load.MediaMTX, n))...)
			if o.wants(RowCPU) {
				p.Ratios = append(p.Ratios, Ratio{Figure: cpuPerGB, Of: atN(load.MediaMTX, n), To: atN(load.Ceiling, n)})
			}
		}
		if web {
			add(load.RelayWebTransport)
			p.Ratios = append(p.Ratios, Ratio{Figure: cpuPerGB, Of: atN(load.RelayWebTransport, n), To: relay})
		}
		if len(b.Arms) > 0 {
			p.Blocks = append(p.Blocks, b)
		}
	}
}

// others adds the rows that have scenarios of their own.
func (p *Plan) others(o ReachOptions, q Options, brief time.Duration) {
	short := Options{Rounds: o.Rounds, Warmup: q.Warmup, Duration: brief}
	still := Options{Rounds: o.Rounds, Warmup: time.Second, Duration: time.Second}
	if o.MediaMTX {
		still.Against = []load.Party{load.MediaMTX}
	}
	idle := Options{Rounds: o.Rounds, Warmup: time.Second, Duration: time.Second}
	work := RecordPlan(short)
	work.Blocks[0].Arms = slices.DeleteFunc(work.Blocks[0].Arms, func(a Arm) bool {
		return a.Mode == run.Record && !o.wants(RowRecord) || a.Mode == run.Recut && !o.wants(RowRecut)
	})
	joining := q
	joining.Duration = max(q.Duration, 5*time.Second)
	input := IngestPlan(joining) // five seconds, because some mcore are little for a meter of 10 ms
	input.Blocks[0].Arms = slices.DeleteFunc(input.Blocks[0].Arms, func(a Arm) bool { return a.Viewers > 0 })
	for _, part := range []struct {
		rows []Row
		plan Plan
	}{
		{[]Row{RowStart}, StartPlan(still)},
		{[]Row{RowMemory}, IdlePlan(idle)},
		{[]Row{RowIngest}, input},
		{[]Row{RowRecord, RowRecut}, work},
		{[]Row{RowJoin}, JoinPlan(joining)},
		{[]Row{RowStall}, StallPlan(q)},
	} {
		if o.wants(part.rows...) {
			for _, b := range part.plan.Blocks {
				b.Figures = part.plan.Figures
				p.Blocks = append(p.Blocks, b)
			}
			p.Ratios = append(p.Ratios, part.plan.Ratios...)
		}
	}
}

// growing makes the numbers of viewers beside 20 and 100 at which the CPU of each
// is looked at; for the charts those of the others too, each number apart, because
// not every party gets through the largest.
func (o ReachOptions) growing(q Options) (blocks []Block) {
	q.Duration = min(q.Duration, 5*time.Second)
	if !o.Full {
		b := Block{Rounds: o.Rounds, Figures: scaleFigures}
		for _, n := range []int{1, 10} {
			b.Arms = append(b.Arms, q.arm(atN(load.Relay, n), load.Relay, n, 0))
		}
		return []Block{b}
	}
	for _, n := range []int{1, 10, 50, 200, 500} {
		q.Against = []load.Party{load.Ceiling}
		if o.MediaMTX && n <= mostOfMediaMTX {
			q.Against = append(q.Against, load.MediaMTX)
		}
		b := q.scale([]int{n}, 0, o.Rounds)
		b.Figures = scaleFigures
		blocks = append(blocks, b)
	}
	return blocks
}

// mostOfMediaMTX is the number of viewers up to which MediaMTX is drawn; it loses
// most from about 250 on.
const mostOfMediaMTX = 200

// The names of the bad networks.
const (
	at4  = "4 Mbit/s"
	at3  = "3 Mbit/s"
	lost = "1 % loss"
)

// badBlock puts the parties behind bad networks, all at the same time: what the
// viewers get is far from what the machine could give them.
func badBlock(parties []load.Party, duration time.Duration, rounds int) Block {
	b := Block{Rounds: rounds, Together: true, Figures: badNetwork}
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
			a := o.arm(string(party)+" "+net.name, party, badViewers, duration)
			a.Link, a.Drain = net.link, badDrain
			b.Arms = append(b.Arms, a)
		}
	}
	return b
}

// badViewers is how many viewers each bad network has.
const badViewers = 3

// badChart draws a party's delays on links that are too slow.
func badChart(party load.Party) Chart {
	name := map[load.Party]string{load.Relay: "QUIC", load.RelayWebTransport: "WebTransport"}[party]
	return only(growthChart, "Delay p99 on links slower than the stream, over "+name, func(arm string) bool {
		_, net, ok := strings.Cut(arm, string(party)+" ")
		return ok && (net == at4 || net == at3)
	})
}

// scaleGoal compares the largest numbers of viewers.
func scaleGoal(l Lookup) (string, report.Verdict) {
	relay, ok := l.Figure(largestName(load.Relay), largestKey)
	ratio, rok := l.Ratio(largestKey, largestName(load.Relay), largestName(load.Ceiling))
	if !ok || !rok {
		return "–", report.Unknown
	}
	ceiling, _ := l.Figure(largestName(load.Ceiling), largestKey)
	text := fmt.Sprintf("%s; relay %s, ceiling %s", report.SpreadText(ratio, 2), report.SpreadText(relay, 0), report.SpreadText(ceiling, 0))
	if s, ok := l.Figure(largestName(load.MediaMTX), largestKey); ok {
		text += ", MediaMTX " + report.SpreadText(s, 0)
	}
	return text, bound{must: 0.85, aim: 0.95, lower: true}.verdict(ratio.Median)
}

// fallGoal looks whether the CPU for each viewer falls as their number grows. To
// fall from N to 500 it has to be measured there.
func fallGoal(l Lookup) (string, report.Verdict) {
	var texts []string
	verdict, last, most := report.Aim, stat.NaN, 0
	for _, n := range []int{1, 10, 100, 500} {
		s, ok := l.Figure(atN(load.Relay, n), mcorePerView)
		if !ok {
			continue
		}
		texts = append(texts, fmt.Sprintf("%s at %d", report.SpreadText(s, 2), n))
		switch {
		case !last.Known() || s.Median <= last:
		case n <= 100:
			verdict = report.Missed
		case verdict == report.Aim:
			verdict = report.Must
		}
		last, most = s.Median, n
	}
	switch {
	case len(texts) < 2:
		return "–", report.Unknown
	case most < 500 && verdict == report.Aim:
		verdict = report.Must
	}
	return strings.Join(texts, ", ") + " mcore", verdict
}
