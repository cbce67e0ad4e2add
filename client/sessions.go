package client

import (
	"context"
	"net/http"
	"time"
)

// A SessionStatus says where a session stands.
type SessionStatus string

// The statuses. A session goes from idle to live, between live and paused, and
// from any of them to ended.
const (
	SessionIdle   SessionStatus = "idle"
	SessionLive   SessionStatus = "live"
	SessionPaused SessionStatus = "paused"
	SessionEnded  SessionStatus = "ended"
)

// A Session is one run of an input, from its start to its end, over however many
// connections.
type Session struct {
	ID               string         `json:"sessionId"` // sess_…
	Org              string         `json:"org"`
	Input            string         `json:"input"` // external id, or the name of an ad-hoc stream
	Namespace        string         `json:"namespace"`
	Protocol         string         `json:"protocol"`
	Status           SessionStatus  `json:"status"`
	Constraints      Constraints    `json:"constraints"`
	Quality          Quality        `json:"quality"`
	Recording        Recording      `json:"recording"`
	Connection       Connection     `json:"connection"`
	Metrics          SessionMetrics `json:"metrics"`
	Viewers          int            `json:"viewers"`
	PeakViewers      int            `json:"peakViewers"`
	Metadata         map[string]any `json:"metadata"`
	CustomProperties map[string]any `json:"customProperties"`
	EndReason        string         `json:"endReason,omitempty"`
	CreatedAt        time.Time      `json:"createdAt"`
	UpdatedAt        time.Time      `json:"updatedAt"`
	StartedAt        time.Time      `json:"startedAt,omitzero"`
	EndedAt          time.Time      `json:"endedAt,omitzero"`
	Duration         float64        `json:"duration"` // seconds
	ETag             string         `json:"-"`        // what Update takes
}

// Constraints are what a session is meant to carry. Zero: not said.
type Constraints struct {
	Video VideoConstraints `json:"video,omitzero"`
	Audio AudioConstraints `json:"audio,omitzero"`
}

// VideoConstraints are those of the picture.
type VideoConstraints struct {
	Width     int     `json:"width,omitempty"`
	Height    int     `json:"height,omitempty"`
	FrameRate float64 `json:"frameRate,omitempty"`
	Codec     string  `json:"codec,omitempty"`
}

// AudioConstraints are those of the sound.
type AudioConstraints struct {
	SampleRate int    `json:"sampleRate,omitempty"` // Hz
	Channels   int    `json:"channels,omitempty"`
	Codec      string `json:"codec,omitempty"`
}

// Quality is what viewers are to be sent.
type Quality struct {
	TargetLatency   int   `json:"targetLatency,omitempty"` // milliseconds
	MaxBitrate      int   `json:"maxBitrate,omitempty"`    // kbit/s; 0: no limit
	AdaptiveBitrate *bool `json:"adaptiveBitrate,omitempty"`
}

// Recording says what is kept of a session.
type Recording struct {
	Enabled         bool      `json:"enabled"`
	State           string    `json:"state,omitempty"`
	StartedAt       time.Time `json:"startedAt,omitzero"`
	DurationSeconds float64   `json:"durationSeconds,omitempty"`
	Bytes           int64     `json:"bytes,omitempty"`
	Gaps            int       `json:"gaps,omitempty"`
}

// Connection is the encoder's connection of the moment.
type Connection struct {
	State         string  `json:"state"`
	RemoteAddress string  `json:"remoteAddress,omitempty"`
	UserAgent     string  `json:"userAgent,omitempty"`
	Encrypted     bool    `json:"encrypted"`
	RTTMs         float64 `json:"rttMs,omitempty"`
}

// SessionMetrics are the figures of the moment.
type SessionMetrics struct {
	Video   VideoMetrics   `json:"video"`
	Audio   AudioMetrics   `json:"audio"`
	Network NetworkMetrics `json:"network"`
}

// VideoMetrics are those of the picture.
type VideoMetrics struct {
	BitrateKbps        float64 `json:"bitrateKbps,omitempty"`
	FrameRate          float64 `json:"frameRate,omitempty"`
	Width              int     `json:"width,omitempty"`
	Height             int     `json:"height,omitempty"`
	Codec              string  `json:"codec,omitempty"`
	KeyframeIntervalMs float64 `json:"keyframeIntervalMs,omitempty"`
	DroppedFrames      int64   `json:"droppedFrames,omitempty"`
}

// AudioMetrics are those of the sound.
type AudioMetrics struct {
	BitrateKbps float64  `json:"bitrateKbps,omitempty"`
	SampleRate  int      `json:"sampleRate,omitempty"`
	Channels    int      `json:"channels,omitempty"`
	Codec       string   `json:"codec,omitempty"`
	LevelDB     *float64 `json:"levelDb,omitempty"`
}

// NetworkMetrics are those of the way in.
type NetworkMetrics struct {
	RTTMs             float64 `json:"rttMs,omitempty"`
	JitterMs          float64 `json:"jitterMs,omitempty"`
	PacketLossPercent float64 `json:"packetLossPercent,omitempty"`
	BytesReceived     int64   `json:"bytesReceived,omitempty"`
	AVSkewMs          float64 `json:"avSkewMs,omitempty"`
	IngestToPublishMs float64 `json:"ingestToPublishMs,omitempty"`
}

// A NewSession describes a session to make ahead of its encoder.
type NewSession struct {
	Org              string         `json:"org,omitempty"` // empty: that of the Config
	Input            string         `json:"input,omitempty"`
	Protocol         string         `json:"protocol,omitempty"`
	Constraints      *Constraints   `json:"constraints,omitempty"`
	Quality          *Quality       `json:"quality,omitempty"`
	Metadata         map[string]any `json:"metadata,omitempty"`
	CustomProperties map[string]any `json:"customProperties,omitempty"`
}

// A SessionPatch changes a session, also a running one. What is nil stays. Maps
// are merged key by key, where a nil value removes its key.
type SessionPatch struct {
	Status           SessionStatus  `json:"status,omitempty"`
	Quality          *QualityPatch  `json:"quality,omitempty"`
	Metadata         map[string]any `json:"metadata,omitempty"`
	CustomProperties map[string]any `json:"customProperties,omitempty"`
}

// A QualityPatch changes a Quality; what is nil stays.
type QualityPatch struct {
	TargetLatency   *int  `json:"targetLatency,omitempty"` // milliseconds
	MaxBitrate      *int  `json:"maxBitrate,omitempty"`    // kbit/s; 0: no limit
	AdaptiveBitrate *bool `json:"adaptiveBitrate,omitempty"`
}

// A SessionFilter says which sessions to list. Empty fields let all through.
type SessionFilter struct {
	Input  string
	Status SessionStatus
}

// Sessions are the sessions of a server.
type Sessions struct{ c *Client }

func (s Sessions) session(ctx context.Context, k call) (out Session, err error) {
	out.ETag, err = s.c.do(ctx, k, &out)
	return out, err
}

// Create makes a session ahead of its encoder, which then continues it.
func (s Sessions) Create(ctx context.Context, in NewSession) (Session, error) {
	in.Org = s.c.org(in.Org)
	return s.session(ctx, call{method: http.MethodPost, path: "/sessions", body: in})
}

// Get returns a session with its figures of the moment.
func (s Sessions) Get(ctx context.Context, id string) (Session, error) {
	return s.session(ctx, call{method: http.MethodGet, path: itemPath("/sessions", id)})
}

// List returns a part of the sessions that the filter lets through.
func (s Sessions) List(ctx context.Context, filter SessionFilter, page Page) (List[Session], error) {
	q := s.c.query(page)
	setIf(q, "input", filter.Input)
	setIf(q, "status", string(filter.Status))
	return list[Session](ctx, s.c, "/sessions", q)
}

// Update changes a session. With an etag it fails with ErrChanged if somebody
// else has changed the session since.
func (s Sessions) Update(ctx context.Context, id, etag string, patch SessionPatch) (Session, error) {
	return s.session(ctx, call{method: http.MethodPatch, path: itemPath("/sessions", id), body: patch, ifMatch: etag})
}

// Delete removes a session, which must have ended or never begun: ErrConflict.
func (s Sessions) Delete(ctx context.Context, id string) error {
	_, err := s.c.do(ctx, call{method: http.MethodDelete, path: itemPath("/sessions", id)}, nil)
	return err
}
