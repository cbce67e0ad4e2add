package control

import (
	"context"
	"time"
)

// An Org owns things.
type Org struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
}

// maxOrgID bounds the id of an organisation in bytes.
const maxOrgID = 64

// checkOrg checks the id of an organisation: letters, digits, - and _.
func checkOrg(id string) error {
	ok := id != "" && len(id) <= maxOrgID
	for _, c := range []byte(id) {
		ok = ok && (letterOrDigit(c) || c == '-' || c == '_')
	}
	if !ok {
		return invalid("org", "%.70q is no organisation: 1 to %d letters, digits, - and _", id, maxOrgID)
	}
	return nil
}

func letterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// Org returns an organisation.
func (s *Service) Org(_ context.Context, id string) (Org, error) {
	r, ok := get(s, s.orgs, id)
	if !ok {
		return Org{}, fail(NotFound, "there is no organisation %.64q", id)
	}
	return r.rec, nil
}

// Orgs lists the organisations.
func (s *Service) Orgs(_ context.Context, p Page) (List[Org], error) {
	return list(s, s.orgs, p, func(o *Org) time.Time { return o.Created }, ofOrg(s.orgs, ""), func(r row[Org]) Org { return r.rec })
}

// EnsureOrg makes sure that there is an organisation, with a signing key. Whom
// no organisation is closed to makes those that are missing by naming them;
// others name those that there are.
func (s *Service) EnsureOrg(ctx context.Context, p Principal, id string) error {
	if err := checkOrg(id); err != nil {
		return err
	}
	if !p.reaches(id) {
		return fail(Forbidden, "the API key is not for the organisation %.64q", id)
	}
	if _, ok := get(s, s.orgs, id); ok {
		return nil
	}
	if !p.Admin {
		return fail(NotFound, "there is no organisation %.64q; the admin key makes one by naming it", id)
	}
	return s.makeOrg(ctx, id)
}

// makeOrg makes an organisation with its first signing key, unless one was
// imported, which goes on to sign: others may hold its public half. An organisation
// that a crash left without one gets it at the next Open.
func (s *Service) makeOrg(ctx context.Context, id string) error {
	if _, ok := get(s, s.orgs, id); ok {
		return nil
	}
	release, err := s.reserve(KindOrg, "", s.limit.Orgs, func() int { return len(s.orgs.rows) })
	if err != nil {
		return err
	}
	defer release()
	if _, err := create(ctx, s, s.orgs, Org{ID: id, Created: s.now()}); err != nil {
		if CodeOf(err) == Conflict { // somebody else was first
			return s.refresh(ctx, s.orgs, id)
		}
		return err
	}
	if _, err := s.signer(id, ""); err != nil { // none was imported
		if _, err := s.CreateSigningKey(ctx, id, ""); err != nil {
			return err
		}
	}
	return s.Emit(ctx, Event{Type: "org.created", Org: id})
}

// needOrg says whether something may be made in an organisation.
func (s *Service) needOrg(ctx context.Context, id string) error {
	_, err := s.Org(ctx, id)
	return err
}
