package sessions

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/live"
)

// A Meter has the live figures of sessions. *live.Service implements it.
type Meter interface {
	// State returns what a session does that runs, or ended within the hour.
	State(sessionID string) (live.State, bool)
	States(f live.Filter) []live.State
	Series(f live.Filter, p live.Period) []live.Point
	KPIs(f live.Filter, p live.Period) live.KPIs
	// Histogram counts since the start for an empty period.
	Histogram(f live.Filter, m live.Measure, p live.Period) live.Histogram
	Relay() live.RelayHealth
}

// exportType is the form of the export, the text format of Prometheus.
const exportType = "text/plain; version=0.0.4; charset=utf-8"

// export answers with the figures of the streams that the key may see: those
// that have a session, or had one within the hour.
func (h *Handler) export(w http.ResponseWriter, r *http.Request, p control.Principal) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalid("", "the query of the URL cannot be read")
	}
	period, known := live.ParsePeriod(q.Get("period"))
	if !known {
		return invalid("period", "period: %.40q is none of 1min, 5min, 15min, 1hour", q.Get("period"))
	}
	if err := p.May(control.MetricsRead, ""); err != nil {
		return err
	}
	seen, err := h.streams(r, p, q.Get("streamId"))
	if err != nil {
		return err
	}
	text, err := exposition(collector{h.cfg.Meter, period, seen})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", exportType)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(text)
	return nil
}

// streams returns what there is to be exported: the newest state of each stream
// that the key may see, or of the one that is asked for by the id of its live
// input, its name, or the id of a session.
func (h *Handler) streams(r *http.Request, p control.Principal, wanted string) ([]live.State, error) {
	if strings.HasPrefix(wanted, "li_") {
		in, err := h.cfg.Control.Input(r.Context(), wanted)
		if err != nil {
			return nil, err
		}
		wanted = in.External
	}
	states := slices.DeleteFunc(h.cfg.Meter.States(live.Filter{}), func(s live.State) bool {
		return p.May(control.MetricsRead, s.Org) != nil || wanted != "" && wanted != s.Input && wanted != s.ID
	})
	slices.SortFunc(states, func(a, b live.State) int {
		return cmp.Or(strings.Compare(a.Org, b.Org), strings.Compare(a.Input, b.Input), b.Since.Compare(a.Since))
	})
	return slices.CompactFunc(states, func(a, b live.State) bool { return a.Org == b.Org && a.Input == b.Input }), nil
}

// exposition writes what a collector has as text.
func exposition(c prometheus.Collector) ([]byte, error) {
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(c); err != nil {
		return nil, fmt.Errorf("sessions: the export: %w", err)
	}
	families, err := reg.Gather()
	if err != nil {
		return nil, fmt.Errorf("sessions: the export: %w", err)
	}
	var out bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
			return nil, fmt.Errorf("sessions: the export: %w", err)
		}
	}
	return out.Bytes(), nil
}

// desc describes a figure of one stream. Its labels are as many as there are
// sessions, which the ingest bounds.
func desc(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("broadcastd_streaming_"+name, help, append([]string{"org", "stream", "protocol"}, more...), nil)
}

var (
	descStreams    = prometheus.NewDesc("broadcastd_streaming_streams", "Streams, by the status of their session.", []string{"status"}, nil)
	descViewers    = desc("viewers", "Viewers now.")
	descPeak       = desc("viewers_peak", "The most viewers at a time that the session has had.")
	descWatched    = desc("watched_seconds_total", "Time that all viewers together have watched.")
	descBytes      = desc("received_bytes_total", "Bytes of media taken in.")
	descBandwidth  = desc("bandwidth_bytes_per_second", "Rate of the media taken in, over the period.")
	descBitrate    = desc("bitrate_bytes_per_second", "Rate of one kind of media, over the last seconds.", "kind")
	descFrames     = desc("frames_total", "Pictures taken in.")
	descFrameRate  = desc("frames_per_second", "Pictures a second, over the period.")
	descErrors     = desc("errors_total", "Errors: pictures missing on the timeline, and sessions that ended otherwise than planned.", "kind")
	descRTT        = desc("rtt_seconds", "Round-trip time to the encoder, over the period.")
	descJitter     = desc("jitter_seconds", "Jitter of what comes from the encoder, over the period.")
	descLoss       = desc("packet_loss_ratio", "Packets from the encoder that were lost, over the period.")
	descLatency    = desc("latency_seconds", "Delay of the media: within the server, and from the camera where a producer stamps that.", "measure")
	descPercentile = desc("latency_percentile_seconds", "Percentiles of the delay, over the period.", "measure", "percentile")
	descQuality    = desc("quality_score", "Quality of the stream from 0 to 100, over the period.")
)

// A collector collects the figures of some streams.
type collector struct {
	meter   Meter
	period  live.Period
	streams []live.State
}

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descStreams, descViewers, descPeak, descWatched, descBytes, descBandwidth, descBitrate, descFrames, descFrameRate,
		descErrors, descRTT, descJitter, descLoss, descLatency, descPercentile, descQuality,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	count := make(map[string]int)
	for _, s := range c.streams {
		count[statusOfState(s)]++
	}
	for _, status := range []string{"live", "paused", "ended"} {
		ch <- prometheus.MustNewConstMetric(descStreams, prometheus.GaugeValue, float64(count[status]), status)
	}
	for _, s := range c.streams {
		row{ch, []string{s.Org, s.Input, protocolOf(s.Protocol)}}.collect(c, s)
	}
}

func statusOfState(s live.State) string {
	switch {
	case !s.Live:
		return "ended"
	case s.Paused:
		return "paused"
	}
	return "live"
}

// A row sends the figures of one stream.
type row struct {
	ch     chan<- prometheus.Metric
	labels []string
}

func (r row) with(more ...string) []string { return append(slices.Clone(r.labels), more...) }

func (r row) gauge(d *prometheus.Desc, v float64, more ...string) {
	r.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, r.with(more...)...)
}

func (r row) counter(d *prometheus.Desc, v float64, more ...string) {
	r.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, r.with(more...)...)
}

func (r row) collect(c collector, s live.State) {
	f := live.Filter{Org: s.Org, Input: s.Input}
	r.gauge(descViewers, float64(s.Viewers))
	r.gauge(descPeak, float64(s.PeakViewers))
	total := c.meter.KPIs(f, c.period).Totals
	r.counter(descWatched, total.Watched.Seconds())
	r.counter(descBytes, float64(total.Bytes))
	r.counter(descFrames, float64(total.Frames))
	r.counter(descErrors, float64(total.DroppedFrames), "frame_dropped")
	r.counter(descErrors, float64(total.Errors["lost"]), "connection_lost")
	r.counter(descErrors, float64(total.Errors["failed"]), "failed")
	if s.Video != nil {
		r.gauge(descBitrate, s.Video.Bitrate/8, "video")
	}
	if s.Audio != nil {
		r.gauge(descBitrate, s.Audio.Bitrate/8, "audio")
	}
	m := meanOf(c.meter.Series(f, c.period))
	r.gauge(descBandwidth, m.Bitrate/8)
	r.gauge(descFrameRate, m.FrameRate)
	if m.RTT > 0 { // a transport may not tell
		r.gauge(descRTT, m.RTT.Seconds())
	}
	if s.Network.Loss != nil {
		r.gauge(descLoss, m.Loss)
	}
	r.gauge(descJitter, m.Jitter.Seconds())
	r.gauge(descQuality, m.Quality)
	for _, measure := range live.Measures() {
		r.histogram(c.meter.Histogram(f, measure, ""), measure)
		over := c.meter.Histogram(f, measure, c.period)
		for _, percent := range []int{50, 95, 99} {
			r.gauge(descPercentile, over.Quantile(float64(percent)/100).Seconds(), string(measure), strconv.Itoa(percent))
		}
	}
}

// histogram sends a histogram as Prometheus wants it, with counts up to each
// bound.
func (r row) histogram(h live.Histogram, m live.Measure) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	var n uint64
	for i, bound := range h.Bounds {
		n += h.Counts[i]
		buckets[bound.Seconds()] = n
	}
	r.ch <- prometheus.MustNewConstHistogram(descLatency, h.Count, h.Sum.Seconds(), buckets, r.with(string(m))...)
}

// meanOf returns the means of a series: of the bitrate over all of it, of what
// is only known while a session runs over those steps.
func meanOf(points []live.Point) (m live.Point) {
	var running, rtt, jitter float64
	for _, p := range points {
		m.Bitrate += p.Bitrate / float64(len(points))
		if p.Sessions == 0 {
			continue
		}
		running++
		rtt += p.RTT.Seconds()
		jitter += p.Jitter.Seconds()
		m.FrameRate += p.FrameRate
		m.Loss += p.Loss
		m.Quality += p.Quality
	}
	if running == 0 {
		return m
	}
	m.RTT = time.Duration(rtt / running * float64(time.Second))
	m.Jitter = time.Duration(jitter / running * float64(time.Second))
	m.FrameRate /= running
	m.Loss /= running
	m.Quality /= running
	return m
}
