package trpc

import (
	"context"
	"time"

	"github.com/broadcastd/broadcastd/internal/live"
)

// Analytics has the figures of what goes on. *live.Service implements it.
type Analytics interface {
	Series(f live.Filter, p live.Period) []live.Point
	KPIs(f live.Filter, p live.Period) live.KPIs
	Histogram(f live.Filter, m live.Measure, p live.Period) live.Histogram
	Relay() live.RelayHealth
}

// listAssets: there are no recordings to list.
func listAssets(context.Context, *Handler, caller, input) (any, error) { return []struct{}{}, nil }

func getAsset(_ context.Context, _ *Handler, _ caller, in input) (any, error) {
	if in.ID == "" {
		return nil, fail(codeBadRequest, "id: name the asset")
	}
	return nil, fail(codeNotFound, "id: there is no asset %.60q", in.ID)
}

// asked says whose figures are asked for, and of which period: of the whole
// organisation, or of the live input that the payload names.
func asked(ctx context.Context, h *Handler, in input) (f live.Filter, p live.Period, err error) {
	p, ok := live.ParsePeriod(in.Period)
	if !ok {
		return f, p, fail(codeBadRequest, "period: %.40q is none of 1min, 5min, 15min, 1hour", in.Period)
	}
	f.Org = in.OrgID
	if in.ID != "" {
		found, err := ownInput(ctx, h, in)
		if err != nil {
			return f, p, err
		}
		f.Input = found.External
	}
	return f, p, nil
}

// quantiles are those of a delay, in milliseconds.
type quantiles struct {
	P50   float64 `json:"p50Ms"`
	P95   float64 `json:"p95Ms"`
	P99   float64 `json:"p99Ms"`
	Count uint64  `json:"count"`
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func quantileRow(q live.Quantiles) quantiles {
	return quantiles{ms(q.P50), ms(q.P95), ms(q.P99), q.Count}
}

// kpis are the overview: now, and over the period.
type kpis struct {
	Period          string    `json:"period"`
	LiveInputs      int       `json:"liveInputs"`
	Viewers         int       `json:"viewers"`
	PeakViewers     int       `json:"peakViewers"`
	WatchedSeconds  float64   `json:"watchedSeconds"`
	BitrateKbps     float64   `json:"bitrateKbps"`
	IngestToPublish quantiles `json:"ingestToPublish"`
	GlassToGlass    quantiles `json:"glassToGlass"`
	Quality         float64   `json:"qualityScore"` // 0 to 100
}

func overview(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	f, p, err := asked(ctx, h, in)
	if err != nil {
		return nil, err
	}
	k := h.cfg.Analytics.KPIs(f, p)
	return kpis{
		Period: string(p), LiveInputs: k.LiveSessions, Viewers: k.Viewers, PeakViewers: k.PeakViewers,
		WatchedSeconds: k.Watched.Seconds(), BitrateKbps: k.Bitrate / 1000,
		IngestToPublish: quantileRow(k.IngestToPublish), GlassToGlass: quantileRow(k.GlassToPublish), Quality: k.Quality,
	}, nil
}

// A viewersPoint is one step of the viewer time-series.
type viewersPoint struct {
	Time    string  `json:"time"`
	Viewers float64 `json:"viewers"`
}

func viewers(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	f, p, err := asked(ctx, h, in)
	if err != nil {
		return nil, err
	}
	out := make([]viewersPoint, 0)
	for _, point := range h.cfg.Analytics.Series(f, p) {
		out = append(out, viewersPoint{isoTime(point.Time), point.Viewers})
	}
	return out, nil
}

// A histogram is the delay from the camera to where viewers may have it, over
// the period. Where no input stamps the capture there is nothing in it.
type histogram struct {
	Measure string   `json:"measure"`
	SumMs   float64  `json:"sumMs"`
	Buckets []bucket `json:"buckets"`
	quantiles
}

// A bucket counts the values up to its bound and above the one before.
type bucket struct {
	UpToMs *float64 `json:"upToMs"` // null: without a bound
	Count  uint64   `json:"count"`
}

func latency(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	f, p, err := asked(ctx, h, in)
	if err != nil {
		return nil, err
	}
	from := h.cfg.Analytics.Histogram(f, live.GlassToPublish, p)
	out := histogram{
		Measure: "glass_to_glass", SumMs: ms(from.Sum), Buckets: make([]bucket, 0, len(from.Counts)),
		quantiles: quantileRow(from.Quantiles()),
	}
	for i, n := range from.Counts {
		b := bucket{Count: n}
		if i < len(from.Bounds) {
			bound := ms(from.Bounds[i])
			b.UpToMs = &bound
		}
		out.Buckets = append(out.Buckets, b)
	}
	return out, nil
}

// A relayRow is the health of one point of presence, of which this is the only
// one.
type relayRow struct {
	Status           string    `json:"status"`
	Sessions         int       `json:"sessions"`
	Subscriptions    int       `json:"subscriptions"`
	GroupsDropped    uint64    `json:"groupsDropped"`
	Stalls           uint64    `json:"stalls"`
	DeliveryLateness quantiles `json:"deliveryLateness"`
	FirstObject      quantiles `json:"firstObject"`
}

func relayHealth(_ context.Context, h *Handler, _ caller, _ input) (any, error) {
	r := h.cfg.Analytics.Relay()
	return []relayRow{{
		Status: "up", Sessions: r.Sessions, Subscriptions: r.Subscriptions, GroupsDropped: r.GroupsDropped, Stalls: r.Stalls,
		DeliveryLateness: quantileRow(r.DeliveryLateness), FirstObject: quantileRow(r.FirstObject),
	}}, nil
}
