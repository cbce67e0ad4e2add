package control

import (
	"slices"
	"strings"
)

// A Scope is something that a credential may do: an area and read or write in it.
// "streams:*" stands for all of an area, "*" for everything. Who may write may
// read.
type Scope string

// The scopes.
const (
	StreamsRead   Scope = "streams:read" // live inputs, broadcasts, playback, analytics, events
	StreamsWrite  Scope = "streams:write"
	SessionsRead  Scope = "sessions:read"
	SessionsWrite Scope = "sessions:write"
	KeysRead      Scope = "keys:read" // signing keys and API keys
	KeysWrite     Scope = "keys:write"
	MetricsRead   Scope = "metrics:read"
)

// Scopes returns all that there are, with those that stand for several.
func Scopes() []Scope {
	return []Scope{
		"*", "streams:*", StreamsRead, StreamsWrite, "sessions:*", SessionsRead, SessionsWrite,
		"keys:*", KeysRead, KeysWrite, "metrics:*", MetricsRead,
	}
}

// covers says whether the scope includes another one.
func (s Scope) covers(other Scope) bool {
	if s == "*" || s == other {
		return true
	}
	area, right, _ := strings.Cut(string(s), ":")
	want, asked, _ := strings.Cut(string(other), ":")
	return area == want && (right == "*" || right == "write" && asked == "read")
}

// AnyOrg among the organisations of a credential stands for all of them.
const AnyOrg = "*"

// A Principal is who asks, after Authenticate.
type Principal struct {
	KeyID  string // of an API key; empty for the admin key
	Admin  bool   // may do everything
	Orgs   []string
	Scopes []Scope
}

// May says whether the principal may do something in an organisation. Where it
// is about none, org is empty and any scope that fits will do. The error has the
// code Forbidden.
func (p Principal) May(scope Scope, org string) error {
	switch {
	case p.Admin:
		return nil
	case !slices.ContainsFunc(p.Scopes, func(s Scope) bool { return s.covers(scope) }):
		return fail(Forbidden, "the API key lacks the scope %s", scope)
	case org != "" && !p.reaches(org):
		return fail(Forbidden, "the API key is not for the organisation %.64q", org)
	}
	return nil
}

func (p Principal) reaches(org string) bool {
	return p.Admin || slices.Contains(p.Orgs, org) || slices.Contains(p.Orgs, AnyOrg)
}

// MayGrant says whether the principal may make an API key like n: one that can
// do no more than it can itself. The error has the code Forbidden.
func (p Principal) MayGrant(n NewAPIKey) error {
	for _, org := range n.Orgs {
		if !p.reaches(org) {
			return fail(Forbidden, "a key for the organisation %.64q is not this API key's to give", org)
		}
	}
	for _, scope := range n.Scopes {
		if !p.Admin && !slices.ContainsFunc(p.Scopes, func(s Scope) bool { return s.covers(scope) }) {
			return fail(Forbidden, "a key with the scope %.64s is not this API key's to give", scope)
		}
	}
	return nil
}
