package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
)

// A Session is one run of an input, from its start, by an encoder or ahead of
// it, to its end (contracts: sessions).
type Session struct {
	ID          string         `json:"id"` // sess_<unix s>_<random>
	Org         string         `json:"org"`
	Input       string         `json:"input"` // external id of a live input, or an ad-hoc name
	Namespace   string         `json:"namespace"`
	Protocol    string         `json:"protocol"` // webrtc, srt, rtmp, omt, fmp4, moqt, hls, …
	Status      string         `json:"status"`
	Constraints Constraints    `json:"constraints,omitzero"`
	Quality     Quality        `json:"quality,omitzero"`
	Metadata    map[string]any `json:"metadata,omitempty"`
	Custom      map[string]any `json:"customProperties,omitempty"`
	Created     time.Time      `json:"created"`
	Updated     time.Time      `json:"updated"`
	Started     time.Time      `json:"started,omitzero"`
	Ended       time.Time      `json:"ended,omitzero"`
	PeakViewers int            `json:"peakViewers,omitempty"` // what is known since its end
	EndReason   string         `json:"endReason,omitempty"`   // one of the End… constants, or empty
	Revision    uint64         `json:"-"`
}

// The states of a session.
const (
	SessionIdle   = "idle" // made ahead
	SessionLive   = "live"
	SessionPaused = "paused" // nothing is forwarded; the ingest stays
	SessionEnded  = "ended"
)

// Why a session ended.
const (
	EndFinished    = "finished"    // the encoder said so
	EndLost        = "lost"        // the encoder did not come back within the grace
	EndReplaced    = "replaced"    // another encoder took over
	EndClosed      = "closed"      // the API said so
	EndRevoked     = "revoked"     // its key counts no longer
	EndError       = "error"       // what came could not be used
	EndBitrate     = "bitrate"     // it brought more than the input's maxBitrate
	EndInterrupted = "interrupted" // the daemon stopped
)

// Constraints are what a session was asked to be. Zero fields say nothing.
type Constraints struct {
	Video VideoConstraints `json:"video,omitzero"`
	Audio AudioConstraints `json:"audio,omitzero"`
}

// VideoConstraints are of pictures.
type VideoConstraints struct {
	Width     int     `json:"width,omitempty"`
	Height    int     `json:"height,omitempty"`
	FrameRate float64 `json:"frameRate,omitempty"`
	Codec     string  `json:"codec,omitempty"`
}

// AudioConstraints are of sound.
type AudioConstraints struct {
	SampleRate int    `json:"sampleRate,omitempty"`
	Channels   int    `json:"channels,omitempty"`
	Codec      string `json:"codec,omitempty"`
}

// Quality are the settings that act on a running session.
type Quality struct {
	TargetLatency int   `json:"targetLatency,omitempty"` // ms; 0: the daemon's
	MaxBitrate    int   `json:"maxBitrate,omitempty"`    // kbit/s, of what a viewer is sent; 0: no limit
	Adaptive      *bool `json:"adaptiveBitrate,omitempty"`
}

// Duration returns how long a session has been, or was, running.
func (r Session) Duration(now time.Time) time.Duration {
	if r.Started.IsZero() {
		return 0
	}
	if !r.Ended.IsZero() {
		now = r.Ended
	}
	return max(0, now.Sub(r.Started))
}

// A NewSession says what a session made ahead is to be.
type NewSession struct {
	ID  string // empty: one is made
	Org string // must exist; empty: that of the input, or local
	// Input is the id or external id of a live input, or an ad-hoc name. Empty:
	// the session's own id is the name.
	Input       string
	Protocol    string // empty: whichever comes
	Constraints Constraints
	Quality     Quality
	Metadata    map[string]any
	Custom      map[string]any
}

// Protocols returns the protocols that a session made ahead may name.
func Protocols() []string {
	return []string{"webrtc", "srt", "rtmp", "omt", "fmp4", "moqt", "hls"}
}

// CreateSession makes a session ahead of its ingest.
func (s *Service) CreateSession(ctx context.Context, n NewSession) (Session, error) {
	rec := Session{
		ID: n.ID, Org: n.Org, Input: n.Input, Protocol: n.Protocol, Status: SessionIdle, Constraints: n.Constraints,
		Quality: n.Quality, Metadata: maps.Clone(n.Metadata), Custom: maps.Clone(n.Custom),
	}
	if n.Protocol != "" && !slices.Contains(Protocols(), n.Protocol) {
		return Session{}, invalid("protocol", "there is no %.20q; there are %s", n.Protocol, strings.Join(Protocols(), ", "))
	}
	if n.ID != "" && !isID(n.ID) {
		return Session{}, invalid("sessionId", "want 1 to %d letters, digits, - and _", maxOrgID)
	}
	if in, err := s.Input(ctx, n.Input); err == nil {
		if n.Org != "" && n.Org != in.Org {
			return Session{}, fail(NotFound, "there is no live input %.80q in the organisation %.64q", n.Input, n.Org)
		}
		rec.Org, rec.Input = in.Org, in.External
	} else if n.Input != "" && auth.CheckName(n.Input) != nil {
		return Session{}, invalid("input", "there is no live input %.80q, and no broadcast can have that name", n.Input)
	}
	r, err := s.newSession(ctx, rec)
	if err != nil {
		return Session{}, err
	}
	return r, s.emitSession(ctx, "session.created", r)
}

// newSession writes a new session, with an id if it has none.
func (s *Service) newSession(ctx context.Context, rec Session) (Session, error) {
	now := s.now()
	if rec.ID == "" {
		rec.ID = fmt.Sprintf("sess_%d_%s", now.Unix(), randomText(idBytes))
	}
	rec.Org = cmp.Or(rec.Org, LocalOrg)
	rec.Input = cmp.Or(rec.Input, rec.ID)
	rec.Namespace = "stream/" + rec.Org + "/" + rec.Input
	rec.Created, rec.Updated = now, now
	if err := s.needOrg(ctx, rec.Org); err != nil {
		return Session{}, err
	}
	if err := checkSession(&rec); err != nil {
		return Session{}, err
	}
	if err := s.makeRoom(ctx, rec.Org); err != nil {
		return Session{}, err
	}
	release, err := s.reserve(KindSession, rec.Org, s.limit.Sessions, func() int { return s.sessions.ofOrg[rec.Org] })
	if err != nil {
		return Session{}, err
	}
	defer release()
	r, err := create(ctx, s, s.sessions, rec)
	return session(r), err
}

// makeRoom deletes the oldest session of an organisation that may go, if there
// are as many as there may be.
func (s *Service) makeRoom(ctx context.Context, org string) error {
	s.mu.RLock()
	if s.sessions.ofOrg[org] < s.limit.Sessions {
		s.mu.RUnlock()
		return nil
	}
	var oldest *Session
	for _, r := range s.sessions.rows {
		// Those that ended go before those that never began.
		if r.rec.Org != org || r.rec.Status == SessionLive || r.rec.Status == SessionPaused {
			continue
		}
		if oldest == nil || r.rec.goesBefore(oldest) {
			oldest = &r.rec
		}
	}
	s.mu.RUnlock()
	if oldest == nil {
		return nil
	}
	err := remove(ctx, s, s.sessions, oldest.ID, 0, func(r *Session) error {
		if r.Status == SessionLive || r.Status == SessionPaused {
			return fail(Conflict, "it has begun")
		}
		return nil
	})
	if CodeOf(err) != 0 {
		return nil // somebody else was first
	}
	return err
}

func (r *Session) goesBefore(o *Session) bool {
	if ended := r.Status == SessionEnded; ended != (o.Status == SessionEnded) {
		return ended
	}
	return r.Created.Before(o.Created)
}

// Session returns a session.
func (s *Service) Session(_ context.Context, id string) (Session, error) {
	r, ok := get(s, s.sessions, id)
	if !ok {
		return Session{}, s.sessions.missing(id)
	}
	return session(r), nil
}

// A Filter chooses sessions. Empty fields choose all.
type Filter struct {
	Org    string
	Input  string // external id or ad-hoc name
	Status string
}

// Sessions lists sessions.
func (s *Service) Sessions(_ context.Context, f Filter, p Page) (List[Session], error) {
	return list(s, s.sessions, p, func(r *Session) time.Time { return r.Created }, func(r *Session) bool {
		return (f.Org == "" || r.Org == f.Org) && (f.Input == "" || r.Input == f.Input) && (f.Status == "" || r.Status == f.Status)
	}, session)
}

// session returns a session as others may have it: its maps are theirs.
func session(r row[Session]) Session {
	out := r.rec
	out.Revision = r.rev
	out.Metadata, out.Custom = copyMap(out.Metadata), copyMap(out.Custom)
	if out.Quality.Adaptive != nil {
		adaptive := *out.Quality.Adaptive
		out.Quality.Adaptive = &adaptive
	}
	return out
}

// copyMap copies what came from JSON.
func copyMap(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = copyValue(v)
	}
	return out
}

func copyValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return copyMap(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = copyValue(v[i])
		}
		return out
	}
	return v
}

// Bounds of what a session says.
const (
	maxSessionMap = 16 << 10 // bytes of JSON
	maxMapKeys    = 256
	maxMapKey     = 128 // bytes
	maxLatency    = 60_000
	maxKilobits   = 1_000_000
)

// checkSession checks a session that is to be written, or was read.
func checkSession(r *Session) error {
	for field, m := range map[string]map[string]any{"metadata": r.Metadata, "customProperties": r.Custom} {
		if len(m) > maxMapKeys {
			return invalid(field, "%d keys, at most %d", len(m), maxMapKeys)
		}
		for k := range m {
			if err := checkText(field, k, maxMapKey); err != nil {
				return invalid(field, "a key of it is empty, longer than %d bytes or holds control characters", maxMapKey)
			}
		}
		text, err := json.Marshal(m)
		if err != nil || len(text) > maxSessionMap {
			return invalid(field, "%d bytes of JSON, at most %d", len(text), maxSessionMap)
		}
	}
	q, v, a := r.Quality, r.Constraints.Video, r.Constraints.Audio
	switch {
	case q.TargetLatency < 0 || q.TargetLatency > maxLatency:
		return invalid("quality.targetLatency", "%d ms, want 0 to %d", q.TargetLatency, maxLatency)
	case q.MaxBitrate < 0 || q.MaxBitrate > maxKilobits:
		return invalid("quality.maxBitrate", "%d kbit/s, want 0 to %d", q.MaxBitrate, maxKilobits)
	case v.Width < 0 || v.Width > maxPixelRows || v.Height < 0 || v.Height > maxPixelRows:
		return invalid("constraints.video", "%dx%d pixels, want 0 to %d each", v.Width, v.Height, maxPixelRows)
	case !(v.FrameRate >= 0 && v.FrameRate <= 1000) || len(v.Codec) > maxText || len(a.Codec) > maxText:
		return invalid("constraints", "frameRate is 0 to 1000, and a codec is named in at most %d bytes", maxText)
	case a.SampleRate < 0 || a.SampleRate > 1_000_000 || a.Channels < 0 || a.Channels > 256:
		return invalid("constraints.audio", "sampleRate is 0 to 1000000 and channels 0 to 256")
	case !slices.Contains([]string{SessionIdle, SessionLive, SessionPaused, SessionEnded}, r.Status):
		return invalid("status", "%.20q, want idle, live, paused or ended", r.Status)
	}
	return nil
}

func (s *Service) emitSession(ctx context.Context, event string, r Session) error {
	data := map[string]any{"protocol": r.Protocol, "status": r.Status}
	if r.EndReason != "" {
		data["reason"] = r.EndReason
	}
	return s.Emit(ctx, Event{Type: event, Org: r.Org, Input: r.Input, Session: r.ID, Data: data})
}
