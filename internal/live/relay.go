package live

import (
	"math"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// Relay returns how the relay does, from its own metrics.
func (s *Service) Relay() RelayHealth {
	var h RelayHealth
	if s.cfg.Gatherer == nil {
		return h
	}
	families, err := s.cfg.Gatherer.Gather()
	if err != nil && len(families) == 0 {
		return h
	}
	of := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "broadcastd_") {
			of[f.GetName()] = f
		}
	}
	h.Sessions = int(sumOf(of["broadcastd_relay_sessions"], ""))
	h.Namespaces = int(sumOf(of["broadcastd_relay_namespaces"], ""))
	h.Tracks = int(sumOf(of["broadcastd_relay_upstream_tracks"], ""))
	h.Subscriptions = int(sumOf(of["broadcastd_moqt_open"], "subscription"))
	h.CacheBytes = uint64(sumOf(of["broadcastd_relay_cache_bytes"], ""))
	h.SentBytes = uint64(sumOf(of["broadcastd_moqt_egress_bytes_total"], ""))
	h.GroupsDropped = uint64(sumOf(of["broadcastd_moqt_egress_subgroups_dropped_total"], ""))
	h.Jumps = uint64(sumOf(of["broadcastd_moqt_egress_jumps_total"], ""))
	h.Stalls = uint64(sumOf(of["broadcastd_moqt_egress_stalls_total"], ""))
	h.StreamsReset = uint64(sumOf(of["broadcastd_moqt_egress_streams_reset_total"], ""))
	h.DeliveryLateness = quantilesOf(of["broadcastd_moqt_egress_lateness_seconds"])
	h.FirstObject = quantilesOf(of["broadcastd_moqt_egress_first_object_seconds"])
	return h
}

// sumOf adds up the metrics of f, those with a label of that value if one is
// given.
func sumOf(f *dto.MetricFamily, value string) (sum float64) {
	for _, m := range f.GetMetric() {
		match := value == ""
		for _, l := range m.GetLabel() {
			match = match || l.GetValue() == value
		}
		if match {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum
}

// quantilesOf returns those of a histogram.
func quantilesOf(f *dto.MetricFamily) Quantiles {
	var h Histogram
	for _, m := range f.GetMetric() {
		before := uint64(0)
		for _, b := range m.GetHistogram().GetBucket() {
			if math.IsInf(b.GetUpperBound(), 0) {
				continue
			}
			h.Bounds = append(h.Bounds, time.Duration(b.GetUpperBound()*float64(time.Second)))
			h.Counts = append(h.Counts, b.GetCumulativeCount()-before)
			before = b.GetCumulativeCount()
		}
		h.Count = m.GetHistogram().GetSampleCount()
		h.Counts = append(h.Counts, h.Count-before)
		break
	}
	if len(h.Bounds) == 0 {
		return Quantiles{}
	}
	return h.Quantiles()
}
