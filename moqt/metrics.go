package moqt

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/moqt/egress"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// What actCount counts. Requests are counted under the names of their messages.
const (
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

// metrics count over all sessions that share a registry.
type metrics struct {
	opened  prometheus.Counter
	closed  *prometheus.CounterVec // code
	counted *prometheus.CounterVec // kind, outcome
	egress  *egress.Metrics
}

// newMetrics registers with reg, or takes what an earlier session registered. A
// nil reg registers nothing.
func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
		egress: egress.NewMetrics(reg),
		opened: registered(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_moqt_sessions_opened_total",
			Help: "MoQT sessions that were started.",
		})),
		closed: registered(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "broadcastd_moqt_sessions_closed_total",
			Help: "MoQT sessions that ended, by termination code.",
		}, []string{"code"})),
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
func (m *metrics) code(err *SessionError) string {
	if err.Err != nil {
		return "lost"
	}
	return wire.SessionCode.Effective(err.Code).String()
}
