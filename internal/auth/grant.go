package auth

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A Grant is what a credential allows, until it expires, is revoked, or Close.
// It ends on its own; every holder watches its Context.
type Grant struct {
	KeyID   string // of the signing key or the stream key; empty: the callback allowed it
	TokenID string // jti
	Publish bool   // of a stream key; otherwise of a playback token
	// Org is the organisation that the token is of, its sub claim.
	Org       string
	Viewer    string // for the watermark
	MaxHeight int    // of pictures; zero: any

	within   string // organisation of its signing key, beyond which it opens nothing; empty: any
	hash     string // of a stream key
	input    string // external id of a stream key's live input
	patterns []pattern
	expires  time.Time
	remote   netip.Addr

	ledger *ledger
	timer  *time.Timer // nil: it does not expire
	ctx    context.Context
	end    context.CancelCauseFunc
}

// Context ends when the grant does. Its cause says why: a *CredentialError, or
// context.Canceled after Close.
func (g *Grant) Context() context.Context { return g.ctx }

// Expires returns when the grant ends by itself, zero if it does not.
func (g *Grant) Expires() time.Time { return g.expires }

// Close lets go of the grant.
func (g *Grant) Close() { g.over(context.Canceled) }

func (g *Grant) over(cause error) {
	g.ledger.forget(g)
	if g.timer != nil {
		g.timer.Stop()
	}
	g.end(cause)
}

// Allows says whether the grant covers a namespace, given as its fields.
func (g *Grant) Allows(namespace []string) bool {
	return g.inside(namespace) && slices.ContainsFunc(g.patterns, func(p pattern) bool { return p.covers(namespace) })
}

// AllowsPrefix says whether the grant covers something under a prefix: a
// session may watch what is above its stream, and sees of it what it may play.
func (g *Grant) AllowsPrefix(prefix []string) bool {
	return g.inside(prefix) && slices.ContainsFunc(g.patterns, func(p pattern) bool { return p.under(prefix) })
}

// inside says whether a namespace, or what is under a prefix, can be one of the
// organisation of the grant's key.
func (g *Grant) inside(fields []string) bool {
	for i, want := range []string{firstField, g.within} {
		if g.within != "" && i < len(fields) && fields[i] != want {
			return false
		}
	}
	return true
}

// Resolve returns the namespace that the holder means with the fields it sends.
func (g *Grant) Resolve(namespace []string) []string { return resolve(namespace, g.Org) }

// A ledger holds the grants that have not ended.
type ledger struct {
	mu     sync.Mutex
	grants map[*Grant]struct{}
}

func (l *ledger) forget(g *Grant) {
	l.mu.Lock()
	delete(l.grants, g)
	l.mu.Unlock()
}

func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.grants)
}

// open starts a grant that ends at exp, if that is not zero.
func (l *ledger) open(g *Grant, now, exp time.Time) *Grant {
	g.ledger, g.expires = l, exp
	g.ctx, g.end = context.WithCancelCause(context.Background())
	l.mu.Lock()
	if l.grants == nil {
		l.grants = make(map[*Grant]struct{})
	}
	l.grants[g] = struct{}{}
	if !exp.IsZero() {
		g.timer = time.AfterFunc(exp.Sub(now), func() { g.over(refused(CodeExpired, "the token has expired")) })
	}
	l.mu.Unlock()
	return g
}

// review ends the grants for which why gives a reason, and says how many.
func (l *ledger) review(why func(*Grant) error) (ended int) {
	l.mu.Lock()
	all := make([]*Grant, 0, len(l.grants))
	for g := range l.grants {
		all = append(all, g)
	}
	l.mu.Unlock()
	for _, g := range all {
		if err := why(g); err != nil {
			g.over(err)
			ended++
		}
	}
	return ended
}
