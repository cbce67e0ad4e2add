package moqt

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/moqt/egress"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// What actCount counts. Requests are counted under the names of their messages.
const (
	kindSession  = "session"
	kindDatagram = "datagram"
	kindStream   = "stream"  // unidirectional
	kindRequest  = "request" // a bidirectional one that holds no whole request

	outcomeOK      = "ok"
	outcomeRefused = "refused"
	outcomeDropped = "dropped"
	outcomeLimited = "limited" // refused, because of a limit
)

// limited returns the outcome of what a limit has refused, and else another.
func limited(limit bool, outcome string) string {
	if limit {
		return outcomeLimited
	}
	return outcome
}

// Metrics count over all sessions that share them.
type Metrics struct {
	opened  prometheus.Counter
	closed  *prometheus.CounterVec // code
	counted *prometheus.CounterVec // kind, outcome
	open    *prometheus.GaugeVec   // kind
	egress  *egress.Metrics
}

// A load is how much of each kind a session has open: what it has opened less
// what it has closed.
type load struct{ requests, subscriptions, fetches, streams, namespaces, tokens int }

// load returns what is open. After the end of the session nothing is.
func (c *core) load() load {
	if c.err != nil {
		return load{}
	}
	l := load{
		requests:      len(c.streams),
		subscriptions: len(c.feeds) + len(c.offers) + len(c.served),
		fetches:       c.fetching + len(c.fetches),
		streams:       len(c.data) + len(c.filling),
		namespaces:    c.offered + len(c.watchers) + len(c.trackers),
		tokens:        len(c.tokens.tokens),
	}
	if c.control != 0 {
		l.requests--
	}
	return l
}

// measure tells the gauges how l differs from what was told before.
func (m *Metrics) measure(was, l load) {
	for _, k := range []struct {
		kind     string
		was, now int
	}{
		{kindRequest, was.requests, l.requests},
		{"subscription", was.subscriptions, l.subscriptions},
		{"fetch", was.fetches, l.fetches},
		{kindStream, was.streams, l.streams},
		{"namespace", was.namespaces, l.namespaces},
		{"token", was.tokens, l.tokens},
	} {
		if k.was != k.now {
			m.open.WithLabelValues(k.kind).Add(float64(k.now - k.was))
		}
	}
}

// NewMetrics registers with reg, or takes what was registered there before. A nil
// reg registers nothing.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	return &Metrics{
		egress: egress.NewMetrics(reg),
		opened: registered(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_moqt_sessions_opened_total",
			Help: "MoQT sessions that were started.",
		})),
		closed: registered(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "broadcastd_moqt_sessions_closed_total",
			Help: "MoQT sessions that ended, by termination code.",
		}, []string{"code"})),
		open: registered(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "broadcastd_moqt_open",
			Help: "What MoQT sessions have open, by kind: sessions, request streams, subscriptions and fetches of either side, " +
				"data streams that are received, namespaces and tokens of the peer.",
		}, []string{"kind"})),
		counted: registered(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "broadcastd_moqt_requests_total",
			Help: "Requests answered, in both directions, early data dropped, and what a limit refused.",
		}, []string{"kind", "outcome"})),
	}
}

func registered[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	if err := reg.Register(c); err != nil {
		if was, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			if c, ok := was.ExistingCollector.(C); ok {
				return c
			}
		}
	}
	return c
}

// code returns the label of a session's end. A peer may send any number;
// Effective maps those that the draft does not define.
func (m *Metrics) code(err *SessionError) string {
	if err.Err != nil {
		return "lost"
	}
	return wire.SessionCode.Effective(err.Code).String()
}
