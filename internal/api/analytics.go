package api

import (
	"context"
	"net/http"
	"time"

	"github.com/broadcastd/broadcastd/internal/control"
)

// Analytics has the figures. An org that is empty means all, and so does an
// input: the external id of a live input or the name of an ad-hoc stream.
type Analytics interface {
	Overview(org string, period time.Duration) Overview
	Viewers(org, input string, period time.Duration) []ViewerPoint
	Latency(org, input, measure string, period time.Duration) Histogram
	Relay() RelayHealth
}

// An Overview are the figures of an organisation at a glance.
type Overview struct {
	LiveSessions    int       `json:"liveSessions" doc:"Runs of inputs at the moment"`
	Viewers         int       `json:"viewers" doc:"At the moment"`
	PeakViewers     int       `json:"peakViewers" doc:"At one time, within the period"`
	WatchedSeconds  float64   `json:"watchedSeconds" doc:"By all viewers together, within the period"`
	IngestBitrate   float64   `json:"ingestBitrate" doc:"Bits per second that come in"`
	IngestToPublish Quantiles `json:"ingestToPublish" doc:"From when media was here to when viewers could have it"`
	GlassToPublish  Quantiles `json:"glassToPublish" doc:"From the camera; without samples where no input tells the time of capture"`
	Lateness        Quantiles `json:"lateness" doc:"Of media, against the timeliest before it"`
	Quality         float64   `json:"quality" minimum:"0" maximum:"100"`
	Totals          Totals    `json:"totals" doc:"Since the server started"`
}

// Quantiles are those of a delay within the period.
type Quantiles struct {
	P50Ms float64 `json:"p50Ms"`
	P95Ms float64 `json:"p95Ms"`
	P99Ms float64 `json:"p99Ms"`
	Count uint64  `json:"count" doc:"Samples"`
}

// Totals count since the server started.
type Totals struct {
	Sessions       uint64            `json:"sessions"`
	Connections    uint64            `json:"connections"`
	Errors         map[string]uint64 `json:"errors" nullable:"false" doc:"Sessions that did not end as planned, by reason"`
	ReceivedBytes  uint64            `json:"receivedBytes"`
	Frames         uint64            `json:"frames"`
	DroppedFrames  uint64            `json:"droppedFrames"`
	WatchedSeconds float64           `json:"watchedSeconds"`
}

// A ViewerPoint is one step of the series of viewers: means over the step.
type ViewerPoint struct {
	Time          time.Time `json:"time" doc:"When the step began"`
	Viewers       float64   `json:"viewers"`
	Sessions      float64   `json:"sessions"`
	IngestBitrate float64   `json:"ingestBitrate" doc:"Bits per second"`
}

// A ViewerSeries is how many viewers there were over time.
type ViewerSeries struct {
	Points []ViewerPoint `json:"points" nullable:"false" doc:"The oldest first"`
}

// A Histogram counts delays. Count i is of those of at most BoundsMs[i], and more
// than the bound before; the last is of the rest.
type Histogram struct {
	BoundsMs []float64 `json:"boundsMs" nullable:"false" doc:"Upper bounds of all counts but the last"`
	Counts   []uint64  `json:"counts" nullable:"false" doc:"One more than boundsMs"`
	SumMs    float64   `json:"sumMs"`
	Quantiles
}

// RelayHealth says how the relay does. Counts are since the server started.
type RelayHealth struct {
	Sessions         int       `json:"sessions" doc:"MoQ sessions"`
	Namespaces       int       `json:"namespaces"`
	Tracks           int       `json:"tracks"`
	Subscriptions    int       `json:"subscriptions"`
	CacheBytes       uint64    `json:"cacheBytes"`
	SentBytes        uint64    `json:"sentBytes"`
	GroupsDropped    uint64    `json:"groupsDropped" doc:"Not sent because a viewer was too slow"`
	Jumps            uint64    `json:"jumps" doc:"Of viewers to the newest group"`
	Stalls           uint64    `json:"stalls" doc:"Viewers given up"`
	StreamsReset     uint64    `json:"streamsReset"`
	DeliveryLateness Quantiles `json:"deliveryLateness" doc:"From a group's arrival to its first byte to a viewer"`
	FirstObject      Quantiles `json:"firstObject" doc:"From a subscription to its first byte"`
}

// periods are those that a client may ask for.
var periods = map[string]time.Duration{
	"1min": time.Minute, "5min": 5 * time.Minute, "15min": 15 * time.Minute, "1hour": time.Hour,
}

type (
	PeriodQuery struct {
		OrgQuery
		Period string `query:"period" enum:"1min,5min,15min,1hour" default:"5min"`
	}
	InputQuery struct {
		PeriodQuery
		Input string `query:"input" maxLength:"128" doc:"Live input (either id) or ad-hoc stream; absent: all"`
	}
	latencyQuery struct {
		InputQuery
		Measure string `query:"measure" enum:"glass_to_publish,ingest_to_publish,lateness" default:"glass_to_publish"`
	}
	overviewOutput  struct{ Body Overview }
	seriesOutput    struct{ Body ViewerSeries }
	histogramOutput struct{ Body Histogram }
	relayOutput     struct{ Body RelayHealth }
)

func (h *Handler) registerAnalytics() {
	const tag = "Analytics"
	read := needs(control.StreamsRead)
	register(h, read, operation{
		id: "get-overview", method: http.MethodGet, path: "/analytics/overview", tag: tag, summary: "Figures at a glance",
	}, func(_ context.Context, c caller, in *PeriodQuery) (*overviewOutput, error) {
		out := &overviewOutput{}
		return out, h.figures(c, in.Org, func(a Analytics) {
			if out.Body = a.Overview(in.Org, periods[in.Period]); out.Body.Totals.Errors == nil {
				out.Body.Totals.Errors = map[string]uint64{}
			}
		})
	})
	register(h, read, operation{
		id: "get-viewers", method: http.MethodGet, path: "/analytics/viewers", tag: tag, summary: "Viewers over time",
	}, func(ctx context.Context, c caller, in *InputQuery) (*seriesOutput, error) {
		out := &seriesOutput{}
		name, err := h.inputName(ctx, c, in)
		if err != nil {
			return nil, err
		}
		return out, h.figures(c, in.Org, func(a Analytics) { out.Body.Points = some(a.Viewers(in.Org, name, periods[in.Period])) })
	})
	register(h, read, operation{
		id: "get-latency", method: http.MethodGet, path: "/analytics/latency", tag: tag, summary: "Histogram of a delay",
		about: "glass_to_publish runs from the time of capture, where the encoder tells it, to when viewers could have a picture; " +
			"ingest_to_publish from when it was here; lateness is against the timeliest picture before it.",
	}, func(ctx context.Context, c caller, in *latencyQuery) (*histogramOutput, error) {
		out := &histogramOutput{}
		name, err := h.inputName(ctx, c, &in.InputQuery)
		if err != nil {
			return nil, err
		}
		return out, h.figures(c, in.Org, func(a Analytics) {
			out.Body = a.Latency(in.Org, name, in.Measure, periods[in.Period])
			out.Body.BoundsMs, out.Body.Counts = some(out.Body.BoundsMs), some(out.Body.Counts)
		})
	})
	register(h, read, operation{
		id: "get-relay", method: http.MethodGet, path: "/analytics/relay", tag: tag, summary: "Health of the relay",
	}, func(_ context.Context, c caller, _ *struct{}) (*relayOutput, error) {
		out := &relayOutput{}
		return out, h.figures(c, "", func(a Analytics) { out.Body = a.Relay() })
	})
}

// figures asks for figures of an organisation, which the caller may see.
func (h *Handler) figures(c caller, org string, ask func(Analytics)) error {
	if err := c.may(control.StreamsRead, org); err != nil {
		return err
	}
	if h.cfg.Analytics == nil {
		return newProblem(http.StatusServiceUnavailable, "there are no figures: no server runs")
	}
	ask(h.cfg.Analytics)
	return nil
}

// inputName returns the name under which the figures of an input are kept.
func (h *Handler) inputName(ctx context.Context, c caller, in *InputQuery) (string, error) {
	if in.Input == "" {
		return "", nil
	}
	found, err := h.cfg.Control.Input(ctx, in.Input)
	switch {
	case control.CodeOf(err) == control.NotFound && in.Org == control.LocalOrg:
		return in.Input, nil // ad hoc
	case control.CodeOf(err) == control.NotFound, err == nil && found.Org != in.Org:
		return "", notFound("live input of the organisation", in.Input)
	case err != nil:
		return "", err
	}
	return found.External, c.may(control.StreamsRead, found.Org)
}
