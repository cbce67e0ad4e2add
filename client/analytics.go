package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Analytics are the figures of a server.
type Analytics struct{ c *Client }

// A Period is how far back figures go. Empty means five minutes.
type Period string

// The periods.
const (
	Minute         Period = "1min"
	FiveMinutes    Period = "5min"
	FifteenMinutes Period = "15min"
	Hour           Period = "1hour"
)

// A Measure is the delay that Latency counts.
type Measure string

// The measures.
const (
	GlassToPublish  Measure = "glass_to_publish"  // from capture, where the encoder tells it; the default
	IngestToPublish Measure = "ingest_to_publish" // from when it was here
	Lateness        Measure = "lateness"          // against the timeliest before it
)

// A Scope says which figures to get.
type Scope struct {
	Org    string // empty: that of the Config
	Input  string // a live input or ad-hoc stream; empty: all
	Period Period
}

// An Overview are the figures of an organisation at a glance.
type Overview struct {
	LiveSessions    int       `json:"liveSessions"`
	Viewers         int       `json:"viewers"`        // now
	PeakViewers     int       `json:"peakViewers"`    // at one time, within the period
	WatchedSeconds  float64   `json:"watchedSeconds"` // by all viewers together
	IngestBitrate   float64   `json:"ingestBitrate"`  // bits per second
	IngestToPublish Quantiles `json:"ingestToPublish"`
	GlassToPublish  Quantiles `json:"glassToPublish"`
	Lateness        Quantiles `json:"lateness"`
	Quality         float64   `json:"quality"` // 0 to 100
	Totals          Totals    `json:"totals"`
}

// Quantiles are those of a delay within the period, in milliseconds.
type Quantiles struct {
	P50Ms float64 `json:"p50Ms"`
	P95Ms float64 `json:"p95Ms"`
	P99Ms float64 `json:"p99Ms"`
	Count uint64  `json:"count"` // samples
}

// Totals count since the server started.
type Totals struct {
	Sessions       uint64            `json:"sessions"`
	Connections    uint64            `json:"connections"`
	Errors         map[string]uint64 `json:"errors"` // by reason
	ReceivedBytes  uint64            `json:"receivedBytes"`
	Frames         uint64            `json:"frames"`
	DroppedFrames  uint64            `json:"droppedFrames"`
	WatchedSeconds float64           `json:"watchedSeconds"`
}

// A ViewerPoint is one step of a series: means over the step.
type ViewerPoint struct {
	Time          time.Time `json:"time"` // when the step began
	Viewers       float64   `json:"viewers"`
	Sessions      float64   `json:"sessions"`
	IngestBitrate float64   `json:"ingestBitrate"` // bits per second
}

// A Histogram counts delays. Counts[i] is of those of at most BoundsMs[i] and
// more than the bound before; the last is of the rest.
type Histogram struct {
	BoundsMs []float64 `json:"boundsMs"`
	Counts   []uint64  `json:"counts"`
	SumMs    float64   `json:"sumMs"`
	Quantiles
}

// RelayHealth says how the relay does. Counts are since the server started.
type RelayHealth struct {
	Sessions         int       `json:"sessions"` // of MoQ
	Namespaces       int       `json:"namespaces"`
	Tracks           int       `json:"tracks"`
	Subscriptions    int       `json:"subscriptions"`
	CacheBytes       uint64    `json:"cacheBytes"`
	SentBytes        uint64    `json:"sentBytes"`
	GroupsDropped    uint64    `json:"groupsDropped"` // because a viewer was too slow
	Jumps            uint64    `json:"jumps"`         // of viewers to the newest group
	Stalls           uint64    `json:"stalls"`        // viewers given up
	StreamsReset     uint64    `json:"streamsReset"`
	DeliveryLateness Quantiles `json:"deliveryLateness"`
	FirstObject      Quantiles `json:"firstObject"`
}

func (s Analytics) get(ctx context.Context, what string, scope Scope, q url.Values, out any) error {
	setIf(q, "org", s.c.org(scope.Org))
	setIf(q, "input", scope.Input)
	setIf(q, "period", string(scope.Period))
	_, err := s.c.do(ctx, call{method: http.MethodGet, path: "/analytics/" + what, query: q}, out)
	return err
}

// Overview returns the figures at a glance. Scope.Input does not count.
func (s Analytics) Overview(ctx context.Context, scope Scope) (o Overview, err error) {
	scope.Input = ""
	err = s.get(ctx, "overview", scope, url.Values{}, &o)
	return o, err
}

// Viewers returns how many viewers there were over time, the oldest point first.
func (s Analytics) Viewers(ctx context.Context, scope Scope) ([]ViewerPoint, error) {
	var series struct {
		Points []ViewerPoint `json:"points"`
	}
	err := s.get(ctx, "viewers", scope, url.Values{}, &series)
	return series.Points, err
}

// Latency returns the histogram of a delay; an empty measure means
// GlassToPublish.
func (s Analytics) Latency(ctx context.Context, measure Measure, scope Scope) (h Histogram, err error) {
	q := url.Values{}
	setIf(q, "measure", string(measure))
	err = s.get(ctx, "latency", scope, q, &h)
	return h, err
}

// Relay returns how the relay does.
func (s Analytics) Relay(ctx context.Context) (r RelayHealth, err error) {
	_, err = s.c.do(ctx, call{method: http.MethodGet, path: "/analytics/relay"}, &r)
	return r, err
}
