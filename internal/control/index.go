package control

import (
	"context"
	"errors"
	"time"
)

// makeTables makes the tables with what follows from their records.
func (s *Service) makeTables() {
	s.orgs = newTable(kind[Org]{
		name: KindOrg, prefix: "orgs/", schema: 1,
		id:    func(o *Org) string { return o.ID },
		org:   func(o *Org) string { return o.ID },
		check: func(o *Org) error { return checkOrg(o.ID) },
	})
	s.apiKeys = newTable(kind[apiKeyRecord]{
		name: KindAPIKey, prefix: "api-keys/", schema: 1,
		id:  func(k *apiKeyRecord) string { return k.ID },
		org: func(*apiKeyRecord) string { return "" },
		index: func(old, rec *apiKeyRecord) {
			if rec == nil {
				delete(s.used, old.ID)
			}
		},
	})
	s.inputs = newTable(kind[inputRecord]{
		name: KindInput, prefix: "inputs/", schema: 1,
		id:    func(i *inputRecord) string { return i.ID },
		org:   func(i *inputRecord) string { return i.Org },
		check: s.openInput, index: s.indexInput,
	})
	s.streams = newTable(kind[streamKeyRecord]{
		name: KindStreamKey, prefix: "stream-keys/", schema: 1,
		id:  func(k *streamKeyRecord) string { return k.ID },
		org: func(k *streamKeyRecord) string { return k.Org },
		check: func(k *streamKeyRecord) error {
			_, _, err := parseNamespace("stream/" + k.Org + "/" + k.Name)
			return err
		},
	})
	s.signing = newTable(kind[signingKeyRecord]{
		name: KindSigningKey, prefix: "signing-keys/", schema: 1,
		id:    func(k *signingKeyRecord) string { return k.ID },
		org:   func(k *signingKeyRecord) string { return k.Org },
		check: s.openSigningKey,
		index: func(_, _ *signingKeyRecord) { s.jwks = nil },
	})
	s.tokens = newTable(kind[revokedToken]{
		name: KindToken, prefix: "revoked-tokens/", schema: 1,
		id:  (*revokedToken).key,
		org: func(t *revokedToken) string { return t.Org },
	})
	s.sessions = newTable(kind[Session]{
		name: KindSession, prefix: "sessions/", schema: 1,
		id:    func(r *Session) string { return r.ID },
		org:   func(r *Session) string { return r.Org },
		check: checkSession, index: s.indexSession,
	})
	s.tables = []anyTable{s.orgs, s.apiKeys, s.inputs, s.streams, s.signing, s.tokens, s.sessions}
}

// indexInput keeps the inputs by their external ids and stream keys. s.mu is
// held.
func (s *Service) indexInput(old, rec *inputRecord) {
	if old != nil {
		delete(s.external, old.External)
		delete(s.streamKeys, old.Key.ID)
	}
	if rec != nil {
		s.external[rec.External] = rec.ID
		s.streamKeys[rec.Key.ID] = rec.ID
	}
}

// runs are the sessions of one namespace.
type runs struct {
	all    map[string]struct{}
	open   map[string]struct{} // those that have not ended
	latest string              // the one that began last
}

// indexSession keeps the sessions by their namespaces. s.mu is held.
func (s *Service) indexSession(old, rec *Session) {
	if old != nil && (rec == nil || rec.Namespace != old.Namespace) {
		if r := s.runs[old.Namespace]; r != nil {
			delete(r.all, old.ID)
			delete(r.open, old.ID)
			if r.latest == old.ID {
				r.latest = ""
			}
			if len(r.all) == 0 {
				delete(s.runs, old.Namespace)
			}
		}
	}
	if rec == nil {
		delete(s.fed, old.ID)
		return
	}
	r := s.runs[rec.Namespace]
	if r == nil {
		r = &runs{all: make(map[string]struct{}), open: make(map[string]struct{})}
		s.runs[rec.Namespace] = r
	}
	r.all[rec.ID] = struct{}{}
	r.open[rec.ID] = struct{}{}
	if rec.Status == SessionEnded {
		delete(r.open, rec.ID)
	}
	if last, ok := s.sessions.rows[r.latest]; !ok || !rec.Created.Before(last.rec.Created) {
		r.latest = rec.ID
	}
}

// inputStatus says what becomes of an input, from its sessions.
func (s *Service) inputStatus(org, external string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.runs["stream/"+org+"/"+external]
	if r == nil {
		return InputIdle
	}
	for id := range r.open {
		if status := s.sessions.rows[id].rec.Status; status == SessionLive || status == SessionPaused {
			return InputLive
		}
	}
	if last, ok := s.sessions.rows[r.latest]; ok && (last.rec.EndReason == EndError || last.rec.EndReason == EndBitrate) {
		return InputErrored
	}
	return InputIdle
}

// dropOld removes keys that were revoked long ago, and what is kept of tokens
// that have expired.
func (s *Service) dropOld(ctx context.Context) error {
	now := s.now()
	old := func(at time.Time) bool { return !at.IsZero() && now.Sub(at) > s.limit.KeepRevoked }
	return errors.Join(
		drop(ctx, s, s.apiKeys, func(k *apiKeyRecord) bool { return old(k.Revoked) || old(k.Expires) }),
		drop(ctx, s, s.streams, func(k *streamKeyRecord) bool { return old(k.Revoked) }),
		drop(ctx, s, s.signing, func(k *signingKeyRecord) bool { return old(k.Deactivated) }),
		drop(ctx, s, s.tokens, func(t *revokedToken) bool { return now.Sub(t.Expires) > time.Hour }),
	)
}

// drop removes the records that are old.
func drop[R any](ctx context.Context, s *Service, t *table[R], old func(*R) bool) error {
	s.mu.RLock()
	var ids []string
	for id, r := range t.rows {
		if old(&r.rec) {
			ids = append(ids, id)
		}
	}
	s.mu.RUnlock()
	var faults []error
	for _, id := range ids {
		err := remove(ctx, s, t, id, 0, func(r *R) error {
			if !old(r) {
				return fail(Conflict, "it counts again")
			}
			return nil
		})
		if CodeOf(err) == 0 {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}
