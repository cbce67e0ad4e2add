package sim

import (
	"context"

	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A warden lets everybody in, and holds that it is shown the tokens that they
// have, by value whatever alias they went by, and with no lock held (I5).
type warden struct{ sc *scene }

// badge is the token of those who have one. They register it in SETUP as alias 1.
const badge = "a badge"

// Admit implements relay.Authorizer.
func (wd warden) Admit(c relay.Credentials) (relay.Permit, error) {
	wd.sc.unlocked("Admit")
	return pass{wd.sc, wd.look(c.Tokens)}, nil
}

// look reports whether a badge is among the tokens.
func (wd warden) look(tokens []wire.Token) (has bool) {
	for _, t := range tokens {
		if t.AliasType != wire.TokenUseValue || string(t.Value) != badge || has {
			wd.sc.w.fail("tokens", "an Authorizer is shown %+v", tokens)
		}
		has = true
	}
	return has
}

// A pass is a Permit.
type pass struct {
	sc    *scene
	badge bool
}

// Authorize implements relay.Permit.
func (p pass) Authorize(r relay.AuthRequest) (wire.Namespace, error) {
	p.sc.unlocked("Authorize")
	has := warden{p.sc}.look(r.Tokens)
	if asks := r.Action == relay.SubscribeTrack || r.Action == relay.FetchTrack || r.Action == relay.TrackStatus; p.badge && asks && !has {
		p.sc.w.fail("tokens", "%v comes without the token that was sent", r.Action)
	}
	return r.Namespace, nil
}

// Visible implements relay.Permit.
func (p pass) Visible(wire.Namespace) bool {
	p.sc.unlocked("Visible")
	return true
}

// Context implements relay.Permit.
func (pass) Context() context.Context { return context.Background() }

// Close implements relay.Permit.
func (pass) Close() {}

// unlocked holds that no lock is held where the relay calls out (I5).
func (sc *scene) unlocked(what string) {
	for _, m := range sc.members {
		if m.m.Held() {
			sc.w.fail("I5 locks", "a lock is held where %s is called", what)
		}
	}
}

// tokens returns what a viewer shows with a request.
func (v *viewer) tokens() []wire.Token {
	switch {
	case !v.badge:
		return nil
	case v.sc.w.chance(0.3):
		return []wire.Token{{AliasType: wire.TokenUseValue, Value: []byte(badge)}}
	}
	return []wire.Token{{AliasType: wire.TokenUseAlias, Alias: 1}}
}
