package control

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/control/sealing"
)

// An APIKey lets a program use the API. Its secret is not kept.
type APIKey struct {
	ID       string // ak_…
	Name     string
	Orgs     []string // or AnyOrg
	Scopes   []Scope
	Created  time.Time
	Expires  time.Time // zero: never
	Revoked  time.Time // zero: it counts
	LastUsed time.Time // to the minute after a restart; zero: never
	Revision uint64
}

// A NewAPIKey says what an API key is to be.
type NewAPIKey struct {
	Name    string // 1 to 200 bytes
	Orgs    []string
	Scopes  []Scope
	Expires time.Time // zero: never
}

type apiKeyRecord struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Orgs     []string  `json:"orgs"`
	Scopes   []Scope   `json:"scopes"`
	Hash     string    `json:"hash"` // of the secret, keyed, in hexadecimal
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`
	Revoked  time.Time `json:"revoked,omitzero"`
	LastUsed time.Time `json:"lastUsed,omitzero"`
}

// Bounds of what an API key says.
const (
	maxText       = 200 // bytes of a name
	maxKeyOrgs    = 100
	apiKeyPrefix  = "tqs_live_" // an API key reads tqs_live_<id>_<secret>
	apiKeyID      = "ak_"       // the id that the API shows is ak_<id>
	maxCredential = 256         // bytes
)

// checkText checks a text that people read.
func checkText(field, text string, most int) error {
	if text == "" || len(text) > most {
		return invalid(field, "%d bytes, want 1 to %d", len(text), most)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		return invalid(field, "it holds control characters")
	}
	return nil
}

// CreateAPIKey makes an API key. The cleartext is not kept: it is shown once.
func (s *Service) CreateAPIKey(ctx context.Context, n NewAPIKey) (key APIKey, cleartext string, err error) {
	if err := s.checkAPIKey(ctx, n); err != nil {
		return APIKey{}, "", err
	}
	release, err := s.reserve(KindAPIKey, "", s.limit.APIKeys, func() int { return len(s.apiKeys.rows) })
	if err != nil {
		return APIKey{}, "", err
	}
	defer release()
	id, secret := randomText(idBytes), randomText(secretBytes)
	r, err := create(ctx, s, s.apiKeys, apiKeyRecord{
		ID: apiKeyID + id, Name: n.Name, Orgs: slices.Clone(n.Orgs), Scopes: slices.Clone(n.Scopes),
		Hash: hex.EncodeToString(s.cfg.Secrets.Hash("api", secret)), Created: s.now(), Expires: n.Expires.UTC(),
	})
	if err != nil {
		return APIKey{}, "", err
	}
	return s.apiKey(r), apiKeyPrefix + id + "_" + secret, s.emitFor(ctx, n.Orgs, "api-key.created", r.rec.ID)
}

func (s *Service) checkAPIKey(ctx context.Context, n NewAPIKey) error {
	if err := checkText("name", n.Name, maxText); err != nil {
		return err
	}
	if len(n.Orgs) == 0 || len(n.Orgs) > maxKeyOrgs {
		return invalid("orgs", "%d organisations, want 1 to %d, or %q for all", len(n.Orgs), maxKeyOrgs, AnyOrg)
	}
	for _, org := range n.Orgs {
		if org == AnyOrg {
			continue
		}
		if err := s.needOrg(ctx, org); err != nil {
			return invalid("orgs", "there is no organisation %.64q", org)
		}
	}
	if len(n.Scopes) == 0 || len(n.Scopes) > len(Scopes()) {
		return invalid("scopes", "%d scopes, want 1 to %d", len(n.Scopes), len(Scopes()))
	}
	for _, scope := range n.Scopes {
		if !slices.Contains(Scopes(), scope) {
			return invalid("scopes", "there is no scope %.40q; there are %v", scope, Scopes())
		}
	}
	if !n.Expires.IsZero() && !n.Expires.After(s.now()) {
		return invalid("expires", "it lies in the past")
	}
	return nil
}

// apiKey returns what the API shows of a row.
func (s *Service) apiKey(r row[apiKeyRecord]) APIKey {
	k := r.rec
	s.mu.RLock()
	used := s.used[k.ID]
	s.mu.RUnlock()
	if used.After(k.LastUsed) {
		k.LastUsed = used
	}
	return APIKey{
		ID: k.ID, Name: k.Name, Orgs: slices.Clone(k.Orgs), Scopes: slices.Clone(k.Scopes), Created: k.Created,
		Expires: k.Expires, Revoked: k.Revoked, LastUsed: k.LastUsed, Revision: r.rev,
	}
}

// APIKey returns an API key.
func (s *Service) APIKey(_ context.Context, id string) (APIKey, error) {
	r, ok := get(s, s.apiKeys, id)
	if !ok {
		return APIKey{}, s.apiKeys.missing(id)
	}
	return s.apiKey(r), nil
}

// APIKeys lists the API keys that reach an organisation, or all if org is empty.
func (s *Service) APIKeys(_ context.Context, org string, p Page) (List[APIKey], error) {
	return list(s, s.apiKeys, p, func(k *apiKeyRecord) time.Time { return k.Created }, func(k *apiKeyRecord) bool {
		return org == "" || slices.Contains(k.Orgs, org) || slices.Contains(k.Orgs, AnyOrg)
	}, s.apiKey)
}

// RevokeAPIKey makes an API key count no longer. One that does not is left as it
// is.
func (s *Service) RevokeAPIKey(ctx context.Context, id string) (APIKey, error) {
	revoked := false
	r, err := update(ctx, s, s.apiKeys, id, 0, func(k *apiKeyRecord) error {
		if revoked = k.Revoked.IsZero(); revoked {
			k.Revoked = s.now()
		}
		return nil
	})
	if err != nil {
		return APIKey{}, err
	}
	if revoked {
		err = s.emitFor(ctx, r.rec.Orgs, "api-key.revoked", id)
	}
	return s.apiKey(r), err
}

// errUnauthenticated is what whoever guesses learns.
var errUnauthenticated = &Error{Code: Unauthenticated, Reason: "the API key is not known, or counts no longer"}

// Authenticate says who shows an API key, or the admin key. The error has the
// code Unauthenticated and is the same, after the same work, whatever is wrong.
func (s *Service) Authenticate(_ context.Context, cleartext string) (Principal, error) {
	if cleartext == "" {
		return Principal{}, &Error{Code: Unauthenticated, Reason: "an API key is missing: send it as 'Authorization: Bearer <key>' or as 'X-API-Key: <key>'"}
	}
	if len(cleartext) > maxCredential {
		return Principal{}, errUnauthenticated
	}
	admin := subtle.ConstantTimeCompare(s.cfg.Secrets.Hash("admin", cleartext), s.admin) == 1
	rest, isKey := strings.CutPrefix(cleartext, apiKeyPrefix)
	id, secret, _ := strings.Cut(rest, "_")
	id = apiKeyID + id
	r, known := get(s, s.apiKeys, id)
	want, err := hex.DecodeString(r.rec.Hash)
	if err != nil || len(want) == 0 {
		want = make([]byte, sealing.Size) // so that the comparison takes its time
	}
	same := subtle.ConstantTimeCompare(s.cfg.Secrets.Hash("api", secret), want) == 1
	if admin {
		return Principal{Admin: true, Orgs: []string{AnyOrg}, Scopes: []Scope{"*"}}, nil
	}
	now := s.now()
	k := r.rec
	if !isKey || !known || !same || !k.Revoked.IsZero() || !k.Expires.IsZero() && !now.Before(k.Expires) {
		return Principal{}, errUnauthenticated
	}
	s.noteUsed(id, now)
	return Principal{KeyID: id, Orgs: slices.Clone(k.Orgs), Scopes: slices.Clone(k.Scopes)}, nil
}

// noteUsed notes that a key was used, to the second: requests come often.
func (s *Service) noteUsed(id string, now time.Time) {
	s.mu.RLock()
	news := now.Sub(s.used[id]) >= time.Second
	s.mu.RUnlock()
	if !news {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.apiKeys.rows[id]; ok {
		s.used[id] = now
	}
}

// keepLastUsed writes when keys were last used.
func (s *Service) keepLastUsed(ctx context.Context) error {
	s.mu.RLock()
	used := maps.Clone(s.used)
	s.mu.RUnlock()
	var faults []error
	for id, at := range used {
		_, err := update(ctx, s, s.apiKeys, id, 0, func(k *apiKeyRecord) error {
			if at.Sub(k.LastUsed) >= tidyInterval {
				k.LastUsed = at
			}
			return nil
		})
		if CodeOf(err) != NotFound {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}
