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
}
