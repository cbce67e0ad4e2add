package auth

import (
	"context"
	"crypto/subtle"
	"slices"
	"strings"
	"time"
)

// A Code says why a credential does not count.
type Code int

// The reasons for refusing a credential.
const (
	CodeMalformed Code = iota + 1 // it is none
	CodeUnknown                   // of a key that is not known, or forged
	CodeRevoked                   // of a key that counts no longer
	CodeExpired
	CodeNotYet     // not valid yet
	CodeWrongInput // valid, but for something else
)

// A CredentialError says why a credential does not count. Its text begins with
// "auth", which is what clients of the streams contract look for, and holds
// nothing of the credential.
type CredentialError struct {
	Code   Code
	Reason string
}

func (e *CredentialError) Error() string { return "auth_failed: " + e.Reason }

// Is makes a CredentialError a refusal.
func (e *CredentialError) Is(err error) bool { return err == ErrRefused }

func refused(code Code, reason string) error { return &CredentialError{Code: code, Reason: reason} }

// A Grant is what a credential allows, from Token or StreamKey until it
// expires, its key is revoked, or Close. It ends on its own; every holder
// watches its Context.
type Grant struct {
	KeyID   string
	Publish bool // of a stream key; otherwise of a playback token
	// Org is the organisation that the token is of, its sub claim.
	Org      string
	patterns []string
	ring     *Keyring
	ctx      context.Context
	end      context.CancelCauseFunc
	stop     context.CancelFunc // of the timer
}

// Context ends when the grant does. Its cause says why: a *CredentialError, or
// context.Canceled after Close.
func (g *Grant) Context() context.Context { return g.ctx }

// Close lets go of the grant.
func (g *Grant) Close() {
	g.ring.mu.Lock()
	delete(g.ring.grants, g)
	g.ring.mu.Unlock()
	g.end(context.Canceled)
	g.stop()
}

// grant makes a grant on key that ends at exp, if that is not zero.
func (k *Keyring) grant(key *Key, exp time.Time, g *Grant) (*Grant, error) {
	g.KeyID, g.ring = key.ID, k
	ctx, stop := context.Background(), func() {}
	if !exp.IsZero() {
		ctx, stop = context.WithTimeoutCause(ctx, exp.Sub(k.cfg.Now()), refused(CodeExpired, "the token has expired"))
	}
	g.ctx, g.end = context.WithCancelCause(ctx)
	g.stop = stop
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.find(key.ID); now == nil || !now.Active() { // revoked while it was checked
		stop()
		return nil, refused(CodeRevoked, "the key was revoked")
	}
	k.grants[g] = struct{}{}
	context.AfterFunc(g.ctx, func() { // an expired one is forgotten
		k.mu.Lock()
		delete(k.grants, g)
		k.mu.Unlock()
	})
	return g, nil
}

// Allows says whether the grant covers a namespace, given as its fields.
func (g *Grant) Allows(namespace []string) bool {
	return slices.ContainsFunc(g.patterns, func(p string) bool { return matches(p, g.Org, namespace) })
}

// AllowsPrefix says whether the grant covers something under a prefix: a
// session may watch what is above its stream, and sees of it what it may play.
func (g *Grant) AllowsPrefix(prefix []string) bool {
	return slices.ContainsFunc(g.patterns, func(p string) bool {
		fields := expand(p, g.Org)
		for i, f := range prefix {
			switch {
			case i >= len(fields):
				return false
			case fields[i] == "*" && i == len(fields)-1:
				return true
			case fields[i] != f:
				return false
			}
		}
		return true
	})
}

// Resolve returns the namespace that a client of the streams contract means
// with the fields that it sends: the path of its URL, playback/<id> or
// publish/<id>, or the whole name in one field, with slashes.
func (g *Grant) Resolve(namespace []string) []string { return Resolve(namespace, g.Org) }

// Resolve is Grant.Resolve for an organisation.
func Resolve(namespace []string, org string) []string {
	if len(namespace) == 1 && strings.Count(namespace[0], "/") > 0 {
		namespace = strings.Split(namespace[0], "/")
	}
	if len(namespace) == 2 && (namespace[0] == "playback" || namespace[0] == "publish") {
		return []string{firstField, org, namespace[1]}
	}
	return namespace
}

// matches says whether a pattern of a token covers a namespace. A pattern is a
// namespace with its fields joined by "/"; "*" as its last field stands for one
// or more fields. playback/<id> is stream/<org>/<id>.
func matches(pattern, org string, namespace []string) bool {
	fields := expand(pattern, org)
	for i, f := range fields {
		switch {
		case i >= len(namespace):
			return false
		case f == "*" && i == len(fields)-1:
			return true
		case f != namespace[i]:
			return false
		}
	}
	return len(fields) > 0 && len(fields) == len(namespace)
}

func expand(pattern, org string) []string {
	return Resolve(strings.Split(pattern, "/"), org)
}

// StreamKey checks a stream key, sk_live_<id>_<secret>.
func (k *Keyring) StreamKey(cleartext string) (*Grant, error) {
	rest, ok := strings.CutPrefix(cleartext, streamKeyPrefix)
	id, secret, ok2 := strings.Cut(rest, "_")
	if !ok || !ok2 || id == "" || secret == "" || len(cleartext) > 256 {
		return nil, refused(CodeMalformed, "that is no stream key: they read sk_live_<id>_<secret>")
	}
	key := k.lookup(id)
	// The comparison is done in any case, so that its time tells nothing.
	want := strings.Repeat("0", 64)
	if key != nil && key.Kind == StreamKey {
		want = key.Hash
	}
	same := subtle.ConstantTimeCompare([]byte(k.hash(secret)), []byte(want)) == 1
	switch {
	case key == nil || key.Kind != StreamKey || !same:
		return nil, refused(CodeUnknown, "the stream key is not known")
	case !key.Active():
		return nil, refused(CodeRevoked, "the stream key was revoked")
	}
	fields := strings.Split(key.Stream, "/")
	org := adHocOrg
	if len(fields) == 3 {
		org = fields[1]
	}
	return k.grant(key, time.Time{}, &Grant{Publish: true, Org: org, patterns: []string{key.Stream}})
}
