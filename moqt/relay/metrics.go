package relay

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	sessions    prometheus.Gauge
	namespaces  prometheus.Gauge
	tracks      prometheus.Gauge
	subscribers prometheus.Gauge
	held        prometheus.Gauge
	tracksEnded prometheus.Counter
	connects    *prometheus.CounterVec
	fetches     *prometheus.CounterVec
	fills       prometheus.Gauge
	cache       prometheus.Gauge
	decisions   *prometheus.CounterVec
	told        counts // what of the core's counts is in the counters
}

// newMetrics registers with reg. A nil reg, as in tests, registers nothing.
func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		sessions: f.NewGauge(prometheus.GaugeOpts{
			Name: "broadcastd_relay_sessions", Help: "MoQT sessions that are open.",
		}),
		namespaces: f.NewGauge(prometheus.GaugeOpts{
			Name: "broadcastd_relay_namespaces", Help: "Namespaces that are published, those within their grace included.",
		}),
		tracks: f.NewGauge(prometheus.GaugeOpts{
			Name: "broadcastd_relay_upstream_tracks", Help: "Tracks carried from a publisher's session.",
		}),
		subscribers: f.NewGauge(prometheus.GaugeOpts{
			Name: "broadcastd_relay_upstream_track_subscribers", Help: "Subscribers of those tracks.",
		}),
		held: f.NewGauge(prometheus.GaugeOpts{
			Name: "broadcastd_relay_held_subscriptions", Help: "Subscriptions that wait for a publisher to appear.",
		}),
		tracksEnded: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_relay_upstream_tracks_ended_total", Help: "Tracks from sessions that have ended.",
		}),
		connects: f.NewCounterVec(prometheus.CounterOpts{
			Name: "broadcastd_relay_upstream_subscribes_total", Help: "Subscriptions made at publishers' sessions, by result.",
		},
			[]string{"result"}),
		fetches: f.NewCounterVec(prometheus.CounterOpts{
			Name: "broadcastd_relay_upstream_fetches_total", Help: "Holes in tracks that were asked for at publishers' sessions, by result.",
		},
			[]string{"result"}),
		fills: f.NewGauge(prometheus.GaugeOpts{
			Name: "broadcastd_relay_fills", Help: "Holes in tracks that are being filled.",
		}),
		cache: f.NewGauge(prometheus.GaugeOpts{
			Name: "broadcastd_relay_cache_bytes", Help: "What tracks from sessions hold in memory, within the budget that they share.",
		}),
		decisions: f.NewCounterVec(prometheus.CounterOpts{
			Name: "broadcastd_relay_decisions_total",
			Help: "What the relay has decided about publishers and fetches, by kind.",
		},
			[]string{"kind"}),
	}
}

// observe sets the gauges from the state of c.
func (m *metrics) observe(c *core) {
	n := 0
	for _, e := range c.tracks {
		n += len(e.subs)
	}
	m.namespaces.Set(float64(len(c.spaces)))
	m.tracks.Set(float64(len(c.tracks)))
	m.subscribers.Set(float64(n))
	m.held.Set(float64(c.held))
	m.fills.Set(float64(len(c.fills)))
	m.cache.Set(float64(c.cfg.Session.TrackConfig.Budget.Used()))
	for _, d := range []struct {
		kind      string
		is, known uint64
	}{
		{"publisher surplus", c.counts.surplus, m.told.surplus},
		{"publisher superseded", c.counts.superseded, m.told.superseded},
		{"track restarted", c.counts.restarts, m.told.restarts},
		{"track malformed", c.counts.malformed, m.told.malformed},
		{"fetch cached", c.counts.cached, m.told.cached},
		{"fetch filled", c.counts.filled, m.told.filled},
		{"hole left unknown", c.counts.unfilled, m.told.unfilled},
	} {
		m.decisions.WithLabelValues(d.kind).Add(float64(d.is - d.known))
	}
	m.told = c.counts
}
