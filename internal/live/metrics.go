package live

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	viewers    prometheus.Gauge
	bytes      *prometheus.CounterVec
	frames     prometheus.Counter
	dropped    prometheus.Counter
	watched    prometheus.Counter
	begun      *prometheus.CounterVec
	ends       *prometheus.CounterVec
	histograms map[Measure]prometheus.Histogram
}

// newMetrics registers with reg. A nil reg, as in tests, registers nothing.
func newMetrics(reg prometheus.Registerer, s *Service) *metrics {
	f := promauto.With(reg)
	histogram := func(name, help string) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: seconds()})
	}
	m := &metrics{
		viewers: f.NewGauge(prometheus.GaugeOpts{
			Name: "broadcastd_viewers", Help: "Viewers of all sessions: connections that read a session's tracks.",
		}),
		bytes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "broadcastd_session_received_bytes_total", Help: "Bytes of media that inputs brought, by protocol.",
		}, []string{"protocol"}),
		frames: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_session_video_frames_total", Help: "Video frames that inputs brought.",
		}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_session_video_frames_missing_total", Help: "Video frames that inputs left out, as holes on their timelines tell.",
		}),
		watched: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_watched_seconds_total", Help: "Time that viewers have been there, of all viewers together.",
		}),
		begun: f.NewCounterVec(prometheus.CounterOpts{
			Name: "broadcastd_sessions_begun_total", Help: "Sessions that began, by protocol.",
		}, []string{"protocol"}),
		ends: f.NewCounterVec(prometheus.CounterOpts{
			Name: "broadcastd_sessions_ended_total", Help: "Sessions that ended: as planned, because the input was lost, or because something failed.",
		}, []string{"reason"}),
		histograms: map[Measure]prometheus.Histogram{
			IngestToPublish: histogram("broadcastd_ingest_to_publish_seconds", "Time from when a chunk was there to when viewers may have it."),
			GlassToPublish: histogram("broadcastd_glass_to_publish_seconds",
				"Time from when the producer says it captured a picture to when viewers may have it, for inputs that tell."),
			Lateness: histogram("broadcastd_ingest_lateness_seconds", "How much later a chunk came than the timeliest of the last minute lets expect."),
		},
	}
	for _, why := range []string{endFinished, endInterrupted, endLost, endFailed, endBitrate} {
		m.ends.WithLabelValues(why)
	}
	if reg != nil {
		reg.MustRegister(sessionStates{s})
		if s.streams != nil {
			reg.MustRegister(streamStates{s})
		}
	}
	return m
}

// protocol returns the label of a protocol.
func protocol(p string) string {
	switch p {
	case "fmp4", "rtmp", "srt", "whip", "hls", "moqt", "clip":
		return p
	}
	return "other"
}

func (m *metrics) began(p string)                     { m.begun.WithLabelValues(protocol(p)).Inc() }
func (m *metrics) ended(why string)                   { m.ends.WithLabelValues(why).Inc() }
func (m *metrics) observe(x Measure, d time.Duration) { m.histograms[x].Observe(max(d, 0).Seconds()) }

func (m *metrics) count(t second, p string) {
	m.bytes.WithLabelValues(protocol(p)).Add(float64(t.bytes))
	m.frames.Add(float64(t.frames))
	m.dropped.Add(float64(t.dropped))
	m.watched.Add(float64(t.viewers))
}

// sessionStates collects what sessions do at the moment.
type sessionStates struct{ s *Service }

var sessionsDesc = prometheus.NewDesc("broadcastd_sessions",
	"Sessions that run: live, paused by request, or lost while the grace runs.", []string{"state"}, nil)

func (sessionStates) Describe(ch chan<- *prometheus.Desc) { ch <- sessionsDesc }

func (c sessionStates) Collect(ch chan<- prometheus.Metric) {
	n := map[string]float64{"live": 0, "paused": 0, "lost": 0}
	for _, r := range c.s.running() {
		r.mu.Lock()
		switch {
		case r.lost:
			n["lost"]++
		case r.settings.Paused:
			n["paused"]++
		default:
			n["live"]++
		}
		r.mu.Unlock()
	}
	for state, v := range n {
		ch <- prometheus.MustNewConstMetric(sessionsDesc, prometheus.GaugeValue, v, state)
	}
}

// otherStreams is the label of inputs beyond the cap.
const otherStreams = "other"

// streams count by input, for those who ask for that. The service's lock guards
// them while they are counted, their own while they are read.
type streams struct {
	most int

	mu     sync.Mutex
	counts map[string]*second // viewers are those of the last second
	seen   map[string]time.Time
}

func newStreams(most int) *streams {
	return &streams{most: most, counts: make(map[string]*second), seen: make(map[string]time.Time)}
}

// count adds a second of an input. The first ones keep their labels for good, so
// that no counter goes back.
func (s *streams) count(input string, t second) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts[input]
	if c == nil {
		if len(s.counts) >= s.most || input == "" {
			input = otherStreams
		}
		if c = s.counts[input]; c == nil {
			c = &second{}
			s.counts[input] = c
		}
	}
	c.bytes += t.bytes
	c.frames += t.frames
	c.dropped += t.dropped
}

var (
	streamBytes = prometheus.NewDesc("broadcastd_stream_received_bytes_total",
		"Bytes of media that an input brought, by input.", []string{"stream"}, nil)
	streamMissing = prometheus.NewDesc("broadcastd_stream_video_frames_missing_total",
		"Video frames that an input left out, by input.", []string{"stream"}, nil)
	streamViewers = prometheus.NewDesc("broadcastd_stream_viewers",
		"Viewers, by input.", []string{"stream"}, nil)
)

// streamStates collects what is counted by input.
type streamStates struct{ s *Service }

func (streamStates) Describe(ch chan<- *prometheus.Desc) {
	ch <- streamBytes
	ch <- streamMissing
	ch <- streamViewers
}

func (c streamStates) Collect(ch chan<- prometheus.Metric) {
	viewers := make(map[string]int)
	for _, r := range c.s.running() {
		r.mu.Lock()
		viewers[r.rec.Input] += r.viewers
		r.mu.Unlock()
	}
	st := c.s.streams
	st.mu.Lock()
	defer st.mu.Unlock()
	others := 0
	for input, n := range viewers {
		if st.counts[input] == nil {
			others += n
		}
	}
	for input, n := range st.counts {
		v := viewers[input]
		if input == otherStreams {
			v += others
		}
		ch <- prometheus.MustNewConstMetric(streamBytes, prometheus.CounterValue, float64(n.bytes), input)
		ch <- prometheus.MustNewConstMetric(streamMissing, prometheus.CounterValue, float64(n.dropped), input)
		ch <- prometheus.MustNewConstMetric(streamViewers, prometheus.GaugeValue, float64(v), input)
	}
}
