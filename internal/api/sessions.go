package api

import (
	"context"
	"net/http"
	"time"

	"github.com/broadcastd/broadcastd/internal/control"
)

// A Session is one run of an input, from its start to its end, over however many
// connections.
type Session struct {
	SessionID        string         `json:"sessionId" example:"sess_1764000000_4m2p"`
	Org              string         `json:"org"`
	Input            string         `json:"input" doc:"External id of a live input, or the name of an ad-hoc stream"`
	Namespace        string         `json:"namespace"`
	Protocol         string         `json:"protocol" doc:"webrtc, srt, rtmp, omt, fmp4, moqt, hls; empty: whichever comes"`
	Status           string         `json:"status" enum:"idle,live,paused,ended"`
	Constraints      Constraints    `json:"constraints"`
	Quality          Quality        `json:"quality"`
	Recording        Recording      `json:"recording"`
	Connection       Connection     `json:"connection"`
	Metrics          SessionMetrics `json:"metrics"`
	Viewers          int            `json:"viewers"`
	PeakViewers      int            `json:"peakViewers"`
	Metadata         map[string]any `json:"metadata"`
	CustomProperties map[string]any `json:"customProperties"`
	EndReason        string         `json:"endReason,omitempty" doc:"finished, lost, replaced, closed, revoked, bitrate where it brought more than maxBitrate, error or interrupted"`
	CreatedAt        time.Time      `json:"createdAt"`
	UpdatedAt        time.Time      `json:"updatedAt"`
	StartedAt        time.Time      `json:"startedAt,omitzero"`
	EndedAt          time.Time      `json:"endedAt,omitzero"`
	Duration         float64        `json:"duration" doc:"Seconds"`
}

// Constraints are what a session is meant to carry.
type Constraints struct {
	Video VideoConstraints `json:"video,omitzero"`
	Audio AudioConstraints `json:"audio,omitzero"`
}

// VideoConstraints are those of the pictures.
type VideoConstraints struct {
	Width     int     `json:"width,omitempty" minimum:"0" maximum:"65536"`
	Height    int     `json:"height,omitempty" minimum:"0" maximum:"65536"`
	FrameRate float64 `json:"frameRate,omitempty" minimum:"0" maximum:"1000"`
	Codec     string  `json:"codec,omitempty" maxLength:"200"`
}

// AudioConstraints are those of the sound.
type AudioConstraints struct {
	SampleRate int    `json:"sampleRate,omitempty" minimum:"0" maximum:"1000000" doc:"Hz"`
	Channels   int    `json:"channels,omitempty" minimum:"0" maximum:"256"`
	Codec      string `json:"codec,omitempty" maxLength:"200"`
}

// Quality is what viewers are to be sent.
type Quality struct {
	TargetLatency   int   `json:"targetLatency,omitempty" minimum:"0" maximum:"60000" doc:"Milliseconds; 0: the server's"`
	MaxBitrate      int   `json:"maxBitrate,omitempty" minimum:"0" maximum:"1000000" doc:"kbit/s; 0: no limit"`
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
	State         string  `json:"state" doc:"connected, reconnecting or closed"`
	RemoteAddress string  `json:"remoteAddress,omitempty"`
	UserAgent     string  `json:"userAgent,omitempty"`
	Encrypted     bool    `json:"encrypted"`
	RTTMs         float64 `json:"rttMs,omitempty"`
}

// SessionMetrics are the figures of the moment. What is not known is left out.
type SessionMetrics struct {
	Video   VideoMetrics   `json:"video"`
	Audio   AudioMetrics   `json:"audio"`
	Network NetworkMetrics `json:"network"`
}

// VideoMetrics are those of the pictures.
type VideoMetrics struct {
	BitrateKbps        float64 `json:"bitrateKbps,omitempty"`
	FrameRate          float64 `json:"frameRate,omitempty"`
	Width              int     `json:"width,omitempty"`
	Height             int     `json:"height,omitempty"`
	Codec              string  `json:"codec,omitempty"`
	KeyframeIntervalMs float64 `json:"keyframeIntervalMs,omitempty"`
	DroppedFrames      uint64  `json:"droppedFrames,omitempty"`
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
	BytesReceived     uint64  `json:"bytesReceived,omitempty"`
	AVSkewMs          float64 `json:"avSkewMs,omitempty"`
	IngestToPublishMs float64 `json:"ingestToPublishMs,omitempty"`
}

type (
	sessionOutput struct {
		ETag string `header:"ETag"`
		Body Session
	}
	SessionID struct {
		ID string `path:"id" maxLength:"128" example:"sess_1764000000_4m2p" doc:"Id of a session"`
	}
)

func (h *Handler) registerSessions() {
	const tag = "Sessions"
	read, write := needs(control.SessionsRead), needs(control.SessionsWrite)
	register(h, read, operation{
		id: "list-sessions", method: http.MethodGet, path: "/sessions", tag: tag, summary: "List sessions", about: "The oldest first.",
	}, h.listSessions)
	register(h, write, operation{
		id: "create-session", method: http.MethodPost, path: "/sessions", tag: tag, status: http.StatusCreated,
		summary: "Make a session ahead of its encoder", about: "It goes on as that encoder's when it comes.",
	}, h.createSession)
	register(h, read, operation{
		id: "get-session", method: http.MethodGet, path: "/sessions/{id}", tag: tag, summary: "Get a session",
	}, h.getSession)
	register(h, write, operation{
		id: "update-session", method: http.MethodPatch, path: "/sessions/{id}", tag: tag, summary: "Change a session",
		about: "A running one too: paused stops what viewers get and keeps the encoder, ended closes it, maxBitrate caps what viewers " +
			"are sent, targetLatency moves players. Maps are merged key by key; null removes.",
		errors: []int{http.StatusPreconditionFailed},
	}, h.updateSession)
	register(h, write, operation{
		id: "delete-session", method: http.MethodDelete, path: "/sessions/{id}", tag: tag, summary: "Delete a session",
		about: "A live one has to be ended first.",
	}, h.deleteSession)
}

// milliseconds is d as the API counts short times.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (h *Handler) sessionRow(s control.Session) Session {
	v, a := s.Constraints.Video, s.Constraints.Audio
	row := Session{
		SessionID: s.ID, Org: s.Org, Input: s.Input, Namespace: s.Namespace, Protocol: s.Protocol, Status: s.Status,
		Constraints: Constraints{
			VideoConstraints{v.Width, v.Height, v.FrameRate, v.Codec}, AudioConstraints{a.SampleRate, a.Channels, a.Codec},
		},
		Quality:     Quality{s.Quality.TargetLatency, s.Quality.MaxBitrate, s.Quality.Adaptive},
		Connection:  Connection{State: "closed"},
		PeakViewers: s.PeakViewers, Metadata: mapped(s.Metadata), CustomProperties: mapped(s.Custom), EndReason: s.EndReason,
		CreatedAt: s.Created, UpdatedAt: s.Updated, StartedAt: s.Started, EndedAt: s.Ended,
		Duration: s.Duration(h.cfg.Now()).Seconds(),
	}
	if live, ok := h.cfg.Control.LiveState(s.ID); ok {
		row.take(live)
	}
	return row
}

// mapped is a map that is one in JSON too.
func mapped(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// take puts in what a running session does.
func (row *Session) take(l control.LiveState) {
	row.Viewers, row.PeakViewers = l.Viewers, max(row.PeakViewers, l.Peak)
	row.Recording = Recording{
		Enabled: l.Recording.Enabled, State: l.Recording.State, StartedAt: l.Recording.Started,
		DurationSeconds: l.Recording.Duration.Seconds(), Bytes: l.Recording.Bytes, Gaps: l.Recording.Gaps,
	}
	c := l.Connection
	row.Connection = Connection{c.State, c.RemoteAddress, c.UserAgent, c.Encrypted, milliseconds(c.RTT)}
	v, a, n := l.Video, l.Audio, l.Network
	row.Metrics = SessionMetrics{
		VideoMetrics{float64(v.Bitrate) / 1000, v.FrameRate, v.Width, v.Height, v.Codec, milliseconds(v.KeyframeInterval), v.DroppedFrames},
		AudioMetrics{float64(a.Bitrate) / 1000, a.SampleRate, a.Channels, a.Codec, a.Level},
		NetworkMetrics{
			milliseconds(n.RTT), milliseconds(n.Jitter), n.PacketLoss, n.BytesReceived, milliseconds(n.AVSkew), milliseconds(n.IngestToPublish),
		},
	}
}

func (h *Handler) sessionOutput(s control.Session) *sessionOutput {
	return &sessionOutput{etag(s.Revision), h.sessionRow(s)}
}

type listSessionsInput struct {
	OrgQuery
	PageQuery
	Input  string `query:"input" maxLength:"128" doc:"External id of a live input, or the name of an ad-hoc stream; absent: all"`
	Status string `query:"status" enum:"idle,live,paused,ended" doc:"Absent: any"`
}

func (h *Handler) listSessions(ctx context.Context, c caller, in *listSessionsInput) (*itemList[Session], error) {
	if err := c.may(control.SessionsRead, in.Org); err != nil {
		return nil, err
	}
	f := control.Filter{Org: in.Org, Input: in.Input, Status: in.Status}
	if i, err := h.cfg.Control.Input(ctx, in.Input); err == nil { // by its other id
		f.Input = i.External
	}
	l, err := h.cfg.Control.Sessions(ctx, f, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, h.sessionRow), nil
}

// session returns a session that the caller may use with scope.
func (h *Handler) session(ctx context.Context, c caller, scope control.Scope, id string) (control.Session, error) {
	s, err := h.cfg.Control.Session(ctx, id)
	if err == nil && c.may(scope, s.Org) != nil || control.CodeOf(err) == control.NotFound {
		err = notFound("session", id)
	}
	return s, err
}

type createSessionInput struct {
	Body struct {
		Org              string         `json:"org,omitempty" maxLength:"128" doc:"Organisation; absent: that of the live input, or local"`
		Input            string         `json:"input,omitempty" maxLength:"128" doc:"Live input (either id) or ad-hoc name; absent: one of its own"`
		Protocol         string         `json:"protocol,omitempty" enum:"webrtc,srt,rtmp,omt,fmp4,moqt,hls" doc:"Absent: whichever comes"`
		Constraints      *Constraints   `json:"constraints,omitempty"`
		Quality          *Quality       `json:"quality,omitempty"`
		Metadata         map[string]any `json:"metadata,omitempty"`
		CustomProperties map[string]any `json:"customProperties,omitempty"`
	}
}

func (h *Handler) createSession(ctx context.Context, c caller, in *createSessionInput) (*sessionOutput, error) {
	b := in.Body
	n := control.NewSession{Input: b.Input, Protocol: b.Protocol, Metadata: b.Metadata, Custom: b.CustomProperties, Org: b.Org}
	found, err := h.cfg.Control.Input(ctx, b.Input)
	switch {
	case err == nil && c.may(control.SessionsWrite, found.Org) != nil:
		return nil, notFound("live input", b.Input)
	case err == nil && n.Org == "":
		n.Org = found.Org
	case err != nil && control.CodeOf(err) != control.NotFound:
		return nil, err
	}
	if n.Org, err = h.org(ctx, c, control.SessionsWrite, n.Org); err != nil {
		return nil, err
	}
	if q := b.Quality; q != nil {
		n.Quality = control.Quality{TargetLatency: q.TargetLatency, MaxBitrate: q.MaxBitrate, Adaptive: q.AdaptiveBitrate}
	}
	if k := b.Constraints; k != nil {
		n.Constraints = control.Constraints{Video: control.VideoConstraints(k.Video), Audio: control.AudioConstraints(k.Audio)}
	}
	s, err := h.cfg.Control.CreateSession(ctx, n)
	if err != nil {
		return nil, err
	}
	return h.sessionOutput(s), nil
}

func (h *Handler) getSession(ctx context.Context, c caller, in *SessionID) (*sessionOutput, error) {
	s, err := h.session(ctx, c, control.SessionsRead, in.ID)
	if err != nil {
		return nil, err
	}
	return h.sessionOutput(s), nil
}

type updateSessionInput struct {
	SessionID
	IfMatch
	Body struct {
		Status           string         `json:"status,omitempty" enum:"idle,live,paused,ended"`
		Quality          *qualityPatch  `json:"quality,omitempty"`
		Metadata         map[string]any `json:"metadata,omitempty"`
		CustomProperties map[string]any `json:"customProperties,omitempty"`
	}
}

type qualityPatch struct {
	TargetLatency   optional[int]  `json:"targetLatency,omitzero" minimum:"0" maximum:"60000" doc:"Milliseconds"`
	MaxBitrate      optional[int]  `json:"maxBitrate,omitzero" minimum:"0" maximum:"1000000" doc:"kbit/s; 0: no limit"`
	AdaptiveBitrate optional[bool] `json:"adaptiveBitrate,omitzero"`
}

func (h *Handler) updateSession(ctx context.Context, c caller, in *updateSessionInput) (*sessionOutput, error) {
	s, err := h.session(ctx, c, control.SessionsWrite, in.ID)
	if err != nil {
		return nil, err
	}
	rev, err := in.revision(s.Revision)
	if err != nil {
		return nil, err
	}
	p := control.SessionPatch{Status: in.Body.Status, Metadata: in.Body.Metadata, Custom: in.Body.CustomProperties}
	if q := in.Body.Quality; q != nil {
		if q.TargetLatency.Set {
			p.Quality.TargetLatency = &q.TargetLatency.Value
		}
		if q.MaxBitrate.Set {
			p.Quality.MaxBitrate = &q.MaxBitrate.Value
		}
		if p.Quality.NoAdaptive = q.AdaptiveBitrate.Null; q.AdaptiveBitrate.Set && !q.AdaptiveBitrate.Null {
			p.Quality.Adaptive = &q.AdaptiveBitrate.Value
		}
	}
	s, err = h.cfg.Control.PatchSession(ctx, s.ID, rev, p)
	if err != nil {
		return nil, err
	}
	return h.sessionOutput(s), nil
}

func (h *Handler) deleteSession(ctx context.Context, c caller, in *SessionID) (*struct{}, error) {
	s, err := h.session(ctx, c, control.SessionsWrite, in.ID)
	if err != nil {
		return nil, err
	}
	_, err = h.cfg.Control.DeleteSession(ctx, s.ID)
	return nil, err
}
