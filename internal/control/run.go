package control

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
)

// A SessionPatch changes a session. What is nil or empty stays.
type SessionPatch struct {
	Status   string
	Quality  QualityPatch
	Metadata map[string]any // merged key by key; nil removes
	Custom   map[string]any // merged key by key; nil removes
}

// A QualityPatch changes the settings of a session. What is nil stays; 0 removes.
type QualityPatch struct {
	TargetLatency *int // ms
	MaxBitrate    *int // kbit/s
	Adaptive      *bool
	NoAdaptive    bool // removes Adaptive
}

// PatchSession changes a session. Its revision must be rev, if that is not 0. A
// state that cannot follow on the present one is refused with code Invalid.
func (s *Service) PatchSession(ctx context.Context, id string, rev uint64, p SessionPatch) (Session, error) {
	before, _ := get(s, s.sessions, id)
	if p.Quality.MaxBitrate != nil {
		if err := s.checkBitrate(id, *p.Quality.MaxBitrate); err != nil {
			return Session{}, invalid("quality.maxBitrate", "%v", err)
		}
	}
	r, err := update(ctx, s, s.sessions, id, rev, func(r *Session) error {
		changed := *r
		changed.Metadata, changed.Custom = merge(r.Metadata, p.Metadata), merge(r.Custom, p.Custom)
		p.Quality.apply(&changed.Quality)
		if err := changed.become(p.Status, s.now()); err != nil {
			return err
		}
		if err := checkSession(&changed); err != nil {
			return err
		}
		*r = changed
		r.Updated = s.now()
		return nil
	})
	if err != nil {
		return Session{}, err
	}
	out := session(r)
	event := "session.updated"
	if out.Status == SessionEnded && before.rec.Status != SessionEnded {
		event = "session.ended"
	}
	return out, s.emitSession(ctx, event, out)
}

// become changes the state: idle to live, live to paused and back, any to ended.
func (r *Session) become(status string, now time.Time) error {
	switch {
	case status == "" || status == r.Status:
		return nil
	case status == SessionEnded:
		r.Ended, r.EndReason = now, EndClosed
	case status == SessionLive && (r.Status == SessionIdle || r.Status == SessionPaused),
		status == SessionPaused && r.Status == SessionLive:
		if r.Started.IsZero() {
			r.Started = now
		}
	default:
		return invalid("status", "a session that is %s cannot become %.20q", r.Status, status)
	}
	r.Status = status
	return nil
}

func (p QualityPatch) apply(q *Quality) {
	if p.TargetLatency != nil {
		q.TargetLatency = *p.TargetLatency
	}
	if p.MaxBitrate != nil {
		q.MaxBitrate = *p.MaxBitrate
	}
	if p.NoAdaptive {
		q.Adaptive = nil
	}
	if p.Adaptive != nil {
		q.Adaptive = new(*p.Adaptive)
	}
}

// merge returns m with the keys of patch; those that are nil there are gone.
func merge(m, patch map[string]any) map[string]any {
	out := make(map[string]any, len(m)+len(patch))
	for k, v := range m {
		out[k] = v
	}
	for k, v := range patch {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = copyValue(v)
	}
	return out
}

// DeleteSession deletes a session, and says when. A live one is not deleted:
// code Conflict.
func (s *Service) DeleteSession(ctx context.Context, id string) (time.Time, error) {
	var gone Session
	err := remove(ctx, s, s.sessions, id, 0, func(r *Session) error {
		gone = *r
		if r.Status == SessionLive {
			return fail(Conflict, "the session %s is live: set its status to ended first", id)
		}
		return nil
	})
	if err != nil {
		return time.Time{}, err
	}
	return s.now(), s.emitSession(ctx, "session.deleted", gone)
}

// protocolName returns what the sessions contract calls a protocol.
func protocolName(p auth.Ingest) string {
	if p == auth.WHIP {
		return "webrtc"
	}
	return string(p)
}

// SessionStarted says that an input has begun: name is what ingest calls it, an
// external id or an ad-hoc name, with its organisation and "/" ahead if that is
// not local. A session made ahead for it begins with it, or a new one. Each is
// ended with SessionEnded.
func (s *Service) SessionStarted(ctx context.Context, name string, protocol auth.Ingest) (Session, error) {
	org, input, ok := strings.Cut(name, "/")
	if !ok {
		org, input = LocalOrg, name
	}
	if id := s.waiting("stream/"+org+"/"+input, protocolName(protocol)); id != "" {
		r, err := update(ctx, s, s.sessions, id, 0, func(r *Session) error {
			if r.Status == SessionEnded {
				return fail(Conflict, "it has ended")
			}
			if r.Status == SessionIdle {
				r.Status = SessionLive
			}
			r.Protocol, r.Updated = cmp.Or(r.Protocol, protocolName(protocol)), s.now()
			if r.Started.IsZero() {
				r.Started = r.Updated
			}
			return nil
		})
		if err == nil {
			return session(r), s.emitSession(ctx, "session.started", session(r))
		}
		s.feed(id, false)
		if CodeOf(err) == 0 {
			return Session{}, err
		}
	}
	r, err := s.newSession(ctx, Session{
		Org: org, Input: input, Protocol: protocolName(protocol), Status: SessionLive, Started: s.now(),
	})
	if err != nil {
		return Session{}, err
	}
	s.feed(r.ID, true)
	return r, s.emitSession(ctx, "session.started", r)
}

// waiting returns the oldest session of a namespace that was made ahead and may
// begin with a protocol. It is taken then.
func (s *Service) waiting(namespace, protocol string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *Session
	if r := s.runs[namespace]; r != nil {
		for id := range r.open {
			rec := &s.sessions.rows[id].rec
			if s.fed[id] || rec.Protocol != "" && rec.Protocol != protocol {
				continue
			}
			if best == nil || rec.Created.Before(best.Created) {
				best = rec
			}
		}
	}
	if best == nil {
		return ""
	}
	s.fed[best.ID] = true
	return best.ID
}

func (s *Service) feed(id string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.sessions.rows[id]; on && ok {
		s.fed[id] = true
		return
	}
	delete(s.fed, id)
}

// SessionEnded says that what fed a session is gone for good. reason is one of
// the End… constants and peak the most viewers that it had at a time. A session
// that was ended or deleted meanwhile is none to complain of.
func (s *Service) SessionEnded(ctx context.Context, id, reason string, peak int) error {
	s.feed(id, false)
	was := ""
	r, err := update(ctx, s, s.sessions, id, 0, func(r *Session) error {
		was = r.Status
		r.PeakViewers = max(r.PeakViewers, peak)
		if was != SessionEnded {
			r.Status, r.EndReason, r.Ended = SessionEnded, reason, s.now()
			r.Updated = r.Ended
		}
		return nil
	})
	switch {
	case CodeOf(err) == NotFound:
		return nil
	case err != nil:
		return err
	case was == SessionEnded:
		return nil
	}
	return s.emitSession(ctx, "session.ended", session(r))
}

// endInterrupted ends the sessions that a daemon left open which did not stop in
// order. Nobody else has the store open.
func (s *Service) endInterrupted(ctx context.Context) error {
	s.mu.RLock()
	var ids []string
	for _, r := range s.runs {
		for id := range r.open {
			if status := s.sessions.rows[id].rec.Status; status == SessionLive || status == SessionPaused {
				ids = append(ids, id)
			}
		}
	}
	s.mu.RUnlock()
	var faults []error
	for _, id := range ids {
		faults = append(faults, s.SessionEnded(ctx, id, EndInterrupted, 0))
	}
	return errors.Join(faults...)
}
