package sessions

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/live"
)

// protocols are those that the contract names; a session that was made ahead may
// have none yet. A session of another kind goes by its own name.
var protocols = []string{"", "webrtc", "srt", "rtmp", "omt"}

// protocolOf returns what the contract calls a protocol of the ingest.
func protocolOf(ours string) string {
	if ours == "whip" {
		return "webrtc"
	}
	return ours
}

// iso is the form of times, ISO 8601 in UTC with milliseconds.
const iso = "2006-01-02T15:04:05.000Z"

func isoTime(t time.Time) string { return t.UTC().Format(iso) }

func isoOrEmpty(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return isoTime(t)
}

type connection struct {
	State         string   `json:"state"`
	RemoteAddress string   `json:"remoteAddress,omitempty"`
	UserAgent     string   `json:"userAgent,omitempty"`
	Encrypted     bool     `json:"encrypted"`
	RTTMs         *float64 `json:"rttMs"` // null: the transport does not tell
}

type metrics struct {
	Video   *videoMetrics  `json:"video"`
	Audio   *audioMetrics  `json:"audio"`
	Network networkMetrics `json:"network"`
}

type videoMetrics struct {
	BitrateKbps        float64 `json:"bitrateKbps"`
	FrameRate          float64 `json:"frameRate"`
	Width              int     `json:"width"`
	Height             int     `json:"height"`
	Codec              string  `json:"codec"`
	KeyframeIntervalMs float64 `json:"keyframeIntervalMs"`
	DroppedFrames      uint64  `json:"droppedFrames"`
}

type audioMetrics struct {
	BitrateKbps float64  `json:"bitrateKbps"`
	SampleRate  int      `json:"sampleRate"`
	Channels    int      `json:"channels"`
	Codec       string   `json:"codec"`
	LevelDB     *float64 `json:"levelDb"` // null: nobody decodes the sound
}

type networkMetrics struct {
	RTTMs             *float64 `json:"rttMs"`
	JitterMs          float64  `json:"jitterMs"`
	PacketLossPercent *float64 `json:"packetLossPercent"` // null: the transport does not tell
	BytesReceived     uint64   `json:"bytesReceived"`
	AVSkewMs          *float64 `json:"avSkewMs"` // null: there are not both
	IngestToPublishMs float64  `json:"ingestToPublishMs"`
}

// A recording is the state of a session's recording, of which there is none yet.
type recording struct {
	Enabled         bool    `json:"enabled"`
	State           string  `json:"state"`
	StartedAt       string  `json:"startedAt,omitempty"`
	DurationSeconds float64 `json:"durationSeconds"`
	Bytes           int64   `json:"bytes"`
	Gaps            int     `json:"gaps"`
}

type quality struct {
	TargetLatency   *int  `json:"targetLatency,omitempty"` // ms
	MaxBitrate      *int  `json:"maxBitrate,omitempty"`    // kbit/s
	AdaptiveBitrate *bool `json:"adaptiveBitrate,omitempty"`
}

// A session is what GET shows.
type session struct {
	SessionID        string              `json:"sessionId"`
	Protocol         string              `json:"protocol"`
	Status           string              `json:"status"`
	Constraints      control.Constraints `json:"constraints"`
	Quality          quality             `json:"quality"`
	Recording        recording           `json:"recording"`
	Connection       *connection         `json:"connection,omitempty"`
	Metrics          *metrics            `json:"metrics,omitempty"`
	Viewers          int                 `json:"viewers"`
	PeakViewers      int                 `json:"peakViewers"`
	Metadata         map[string]any      `json:"metadata"`
	CustomProperties map[string]any      `json:"customProperties"`
	CreatedAt        string              `json:"createdAt"`
	UpdatedAt        string              `json:"updatedAt"`
	StartedAt        string              `json:"startedAt,omitempty"`
	EndedAt          string              `json:"endedAt,omitempty"`
	Duration         int64               `json:"duration"` // s
	// StreamID is the live input's external id, or the ad-hoc name.
	StreamID string `json:"streamId"`
}

// ms rounds to microseconds, so that a figure is no longer than it is exact.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// msOrNull is ms for a time of which zero means that it is not known.
func msOrNull(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	v := ms(d)
	return &v
}

func kbps(bits float64) float64 { return math.Round(bits/100) / 10 }

// shape gives a session the contract's shape.
func (h *Handler) shape(ctx context.Context, s control.Session) session {
	out := session{
		SessionID: s.ID, Protocol: s.Protocol, Status: s.Status, StreamID: s.Input,
		Constraints: s.Constraints, Quality: qualityOf(s), Recording: recording{State: "off"},
		PeakViewers: s.PeakViewers, Metadata: orEmpty(s.Metadata), CustomProperties: orEmpty(s.Custom),
		CreatedAt: isoTime(s.Created), UpdatedAt: isoTime(s.Updated),
		StartedAt: isoOrEmpty(s.Started), EndedAt: isoOrEmpty(s.Ended), Duration: int64(s.Duration(h.cfg.Now()).Seconds()),
	}
	if in, err := h.cfg.Control.Input(ctx, s.Input); err == nil {
		out.Recording.Enabled = in.Settings.Record
	}
	if state, ok := h.cfg.Meter.State(s.ID); ok {
		out.live(state)
	}
	return out
}

func qualityOf(s control.Session) quality {
	q := quality{AdaptiveBitrate: s.Quality.Adaptive}
	if s.Quality.TargetLatency != 0 {
		q.TargetLatency = &s.Quality.TargetLatency
	}
	if s.Quality.MaxBitrate != 0 {
		q.MaxBitrate = &s.Quality.MaxBitrate
	}
	return q
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// live fills in what is known while the session runs, and for an hour after.
func (s *session) live(l live.State) {
	s.Viewers, s.PeakViewers = l.Viewers, max(s.PeakViewers, l.PeakViewers)
	s.Connection = &connection{
		State: l.Connection.State, RemoteAddress: l.Connection.RemoteAddress, UserAgent: l.Connection.UserAgent,
		Encrypted: l.Connection.Encrypted, RTTMs: msOrNull(l.Connection.RTT),
	}
	s.Metrics = &metrics{Network: networkMetrics{
		RTTMs: msOrNull(l.Network.RTT), JitterMs: ms(l.Network.Jitter), BytesReceived: l.Network.Bytes,
		IngestToPublishMs: ms(l.Network.IngestToPublish),
	}}
	if l.Network.Loss != nil {
		percent := *l.Network.Loss * 100
		s.Metrics.Network.PacketLossPercent = &percent
	}
	if l.Network.Skew != nil {
		skew := ms(*l.Network.Skew)
		s.Metrics.Network.AVSkewMs = &skew
	}
	if v := l.Video; v != nil {
		s.Metrics.Video = &videoMetrics{
			BitrateKbps: kbps(v.Bitrate), FrameRate: math.Round(v.FrameRate*100) / 100, Width: v.Width, Height: v.Height,
			Codec: v.Codec, KeyframeIntervalMs: ms(v.KeyFrameInterval), DroppedFrames: v.DroppedFrames,
		}
	}
	if a := l.Audio; a != nil {
		s.Metrics.Audio = &audioMetrics{BitrateKbps: kbps(a.Bitrate), SampleRate: a.SampleRate, Channels: a.Channels, Codec: a.Codec}
	}
}

func (h *Handler) get(w http.ResponseWriter, r *http.Request, p control.Principal) error {
	s, err := h.session(r.Context(), r, p, control.SessionsRead)
	if err != nil {
		return err
	}
	return ok(w, http.StatusOK, h.shape(r.Context(), s))
}

// remove deletes a session that is not live.
func (h *Handler) remove(w http.ResponseWriter, r *http.Request, p control.Principal) error {
	s, err := h.session(r.Context(), r, p, control.SessionsWrite)
	if err != nil {
		return err
	}
	at, err := h.cfg.Control.DeleteSession(r.Context(), s.ID)
	if err != nil {
		return err
	}
	return ok(w, http.StatusOK, struct {
		SessionID string `json:"sessionId"`
		DeletedAt string `json:"deletedAt"`
	}{s.ID, isoTime(at)})
}

// statuses are those of a session.
var statuses = []string{"idle", "live", "paused", "ended"}

// maxScanned bounds the sessions that one list looks through.
const maxScanned = 10_000

// list lists the sessions that the key may see, those of the contract's
// protocols unless another one is asked for.
func (h *Handler) list(w http.ResponseWriter, r *http.Request, p control.Principal) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalid("", "the query of the URL cannot be read")
	}
	size, err := limit(q, 50, 500)
	if err != nil {
		return err
	}
	status, protocol := q.Get("status"), q.Get("protocol")
	if status != "" && !slices.Contains(statuses, status) {
		return invalid("status", "status: %.40q is none of %s", status, strings.Join(statuses, ", "))
	}
	if err := p.May(control.SessionsRead, q.Get("org")); err != nil {
		return err
	}
	wanted := func(s control.Session) bool {
		return p.May(control.SessionsRead, s.Org) == nil &&
			(protocol == "" && slices.Contains(protocols, s.Protocol) || protocol != "" && protocol == s.Protocol)
	}
	f := control.Filter{Org: q.Get("org"), Input: q.Get("streamId"), Status: status}
	out := struct {
		Sessions   []session `json:"sessions"`
		NextCursor string    `json:"nextCursor,omitempty"`
	}{Sessions: []session{}}
	page := control.Page{After: q.Get("cursor")}
	for scanned := 0; scanned < maxScanned; {
		page.Limit = size - len(out.Sessions)
		l, err := h.cfg.Control.Sessions(r.Context(), f, page)
		if err != nil {
			return err
		}
		scanned += len(l.Items)
		for _, s := range l.Items {
			if wanted(s) {
				out.Sessions = append(out.Sessions, h.shape(r.Context(), s))
			}
		}
		page.After, out.NextCursor = l.Next, l.Next
		if l.Next == "" || len(out.Sessions) == size {
			break
		}
	}
	return ok(w, http.StatusOK, out)
}
