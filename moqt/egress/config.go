package egress

import (
	"cmp"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config bounds what a session sends. The zero value is ready to use.
type Config struct {
	// MaxLagGroups is how many newer groups may begin while a group still has
	// data to send. Beyond it the subscriber is taken to the newest group, if
	// that data is older than MinLag. A subscriber with descending group order,
	// which gets the newest group first anyhow, loses what is left of the older
	// ones once it is older than MinLag. Zero means 2.
	MaxLagGroups int
	// MinLag is how old data must be for MaxLagGroups to count, so that groups
	// of a few milliseconds survive a short queue. Zero means 500 ms.
	MinLag time.Duration
	// MaxLag is how old the data of a group may get once a newer one began.
	// Zero means 3 s.
	MaxLag time.Duration
	// Stall is how long a subscriber may leave pending data without any flow
	// control or stream credit before its subscription ends. Zero means 10 s.
	Stall time.Duration
	// Ahead is how much of the connection's rate may be handed to the transport
	// before it is sent. It is kept between MinAhead and MaxAhead bytes. Zero
	// means 30 ms, 32 KiB and 256 KiB.
	Ahead              time.Duration
	MinAhead, MaxAhead int
	// MaxStreams is how many subgroup streams may be open at a time. Zero means
	// 256.
	MaxStreams int
	// MaxWaiting is how many subgroups of one subscription may wait for a stream
	// or be under way. The oldest that waits makes room. Zero means 1024.
	MaxWaiting int
	// Tick is how soon a refused write is tried again, and the measure of what
	// was sent is read again while Ahead is used up; the latter sooner, but not
	// within 1 ms, where half of Ahead takes less time. Zero means 10 ms.
	Tick time.Duration
}

// withDefaults returns c with every field that is not above zero set to its
// default.
func (c Config) withDefaults() Config {
	c.MaxLagGroups = positive(c.MaxLagGroups, 2)
	c.MinLag = positive(c.MinLag, 500*time.Millisecond)
	c.MaxLag = positive(c.MaxLag, 3*time.Second)
	c.Stall = positive(c.Stall, 10*time.Second)
	c.Ahead = positive(c.Ahead, 30*time.Millisecond)
	c.MinAhead = positive(c.MinAhead, 32<<10)
	c.MaxAhead = positive(c.MaxAhead, 256<<10)
	c.MaxStreams = positive(c.MaxStreams, 256)
	c.MaxWaiting = positive(c.MaxWaiting, 1024)
	c.Tick = positive(c.Tick, 10*time.Millisecond)
	return c
}

func positive[T cmp.Ordered](v, or T) T {
	var zero T
	if v > zero {
		return v
	}
	return or
}

// counts is what happened since the last time it was read.
type counts struct {
	bytes   uint64  // handed to the transport
	opened  uint64  // streams
	fins    uint64  // streams that ended with FIN
	resets  uint64  // streams that were reset by us
	stops   uint64  // streams that the peer asked to stop
	jumps   uint64  // times a subscriber was taken to the newest group
	dropped uint64  // subgroups that got no stream because newer ones came
	stalls  uint64  // subscriptions that ended for want of credit
	expired uint64  // subgroups that a delivery timeout has ended
	rate    float64 // bytes per second, a new measure; 0: none

	datagrams        uint64 // handed to the transport
	datagramsDropped uint64 // not sent: too late, too many, too large, or no room
}

// A wait is how long it took to the first byte: of a subgroup, or of all that a
// subscription gets.
type wait struct {
	first bool // of a subscription
	time  time.Duration
}

// Metrics are the metrics of all egress schedulers of a process.
type Metrics struct {
	bytes, opened, fins, resets, stops, jumps, dropped, stalls, expired prometheus.Counter
	datagrams, datagramsDropped                                         prometheus.Counter
	rate, lateness, first                                               prometheus.Histogram
}

// NewMetrics registers with reg, where several sessions may share one. A
// nil reg registers nothing.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: "broadcastd_moqt_egress_" + name, Help: help}))
	}
	return &Metrics{
		bytes:            counter("bytes_total", "Bytes of subgroup streams handed to the transport."),
		opened:           counter("streams_opened_total", "Subgroup streams opened."),
		fins:             counter("streams_finished_total", "Subgroup streams sent to their end."),
		resets:           counter("streams_reset_total", "Subgroup streams reset before their end."),
		stops:            counter("streams_stopped_total", "Subgroup streams that the subscriber stopped."),
		jumps:            counter("jumps_total", "Times a subscriber too far behind was taken to the newest group."),
		dropped:          counter("subgroups_dropped_total", "Subgroups not sent because newer ones came before there was a stream."),
		stalls:           counter("stalls_total", "Subscriptions ended because the subscriber gave no credit."),
		expired:          counter("subgroups_expired_total", "Subgroups ended by a delivery timeout."),
		datagrams:        counter("datagrams_total", "Objects handed to the transport as datagrams."),
		datagramsDropped: counter("datagrams_dropped_total", "Datagrams not sent: too late, too many, too large, or the transport had no room."),
		lateness: register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "broadcastd_moqt_egress_lateness_seconds",
			Help:    "Time from when a subgroup was there for a subscriber to its first byte handed to the transport.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14), // 1 ms to 8 s
		})),
		first: register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "broadcastd_moqt_egress_first_object_seconds",
			Help:    "Time from a subscription to the first byte of its first object handed to the transport.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15), // 1 ms to 16 s
		})),
		rate: register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "broadcastd_moqt_egress_bandwidth_bytes_per_second",
			Help:    "Estimates of connections that carried less than there was to send.",
			Buckets: prometheus.ExponentialBuckets(16_000, 2, 14), // 128 kbit/s to 1 Gbit/s
		})),
	}
}

// register registers c with reg, or returns what is registered in its place.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	if there, ok := errors.AsType[prometheus.AlreadyRegisteredError](reg.Register(c)); ok {
		return there.ExistingCollector.(C)
	}
	return c
}

// observe takes how long subgroups and subscriptions waited.
func (m *Metrics) observe(waits []wait) {
	if m == nil {
		return
	}
	for _, w := range waits {
		if w.first {
			m.first.Observe(w.time.Seconds())
		} else {
			m.lateness.Observe(w.time.Seconds())
		}
	}
}

// add adds c. A nil m counts nothing.
func (m *Metrics) add(c counts) {
	if m == nil || c == (counts{}) {
		return
	}
	m.bytes.Add(float64(c.bytes))
	m.opened.Add(float64(c.opened))
	m.fins.Add(float64(c.fins))
	m.resets.Add(float64(c.resets))
	m.stops.Add(float64(c.stops))
	m.jumps.Add(float64(c.jumps))
	m.dropped.Add(float64(c.dropped))
	m.stalls.Add(float64(c.stalls))
	m.expired.Add(float64(c.expired))
	m.datagrams.Add(float64(c.datagrams))
	m.datagramsDropped.Add(float64(c.datagramsDropped))
	if c.rate > 0 {
		m.rate.Observe(c.rate)
	}
}
