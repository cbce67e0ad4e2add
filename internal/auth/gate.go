package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Config configures a Gate. The zero value lets nobody in.
type Config struct {
	// Directory knows the keys and inputs. Nil: there are none.
	Directory Directory
	Loopback  Loopback
	// JWKS names a file or an https URL with more public keys of those who sign
	// playback tokens (RFC 7517). Empty: none.
	JWKS string
	// Callback asks somebody else about whom our own keys do not know.
	Callback Callback
	// Transport carries what is asked of others. Nil: one of its own, which
	// takes no proxy from the environment.
	Transport http.RoundTripper
	Now       func() time.Time // nil means time.Now
	Log       *slog.Logger     // nil discards
}

// A Gate decides who may do what, from what they show: a stream key, a playback
// token, or nothing, for whom the loopback rule holds. A credential that does
// not count is refused everywhere, also where none would be needed. Its methods
// may be called from any goroutine. They answer from memory, except where a
// token's key has to be fetched or the callback asked: then they take 3 s at
// most, and hold up nobody else.
type Gate struct {
	cfg      Config
	dir      Directory
	now      func() time.Time
	jwks     *keySet
	callback *callback
	tokens   tokenCache
	failures limiter
	ledger   ledger
	changed  chan struct{} // one slot: there is something to review
}

// NewGate makes a Gate. A JWKS file is read at once, a URL when Run begins.
func NewGate(cfg Config) (*Gate, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gate{cfg: cfg, dir: cfg.Directory, now: cfg.Now, changed: make(chan struct{}, 1)}
	if g.dir == nil {
		g.dir = nobody{}
	}
	var err, err2 error
	g.jwks, err = newKeySet(cfg)
	g.callback, err2 = newCallback(cfg)
	return g, errors.Join(err, err2)
}

// reviewInterval is how often grants are reviewed without a change that says
// so: a guard against one that was missed.
const reviewInterval = time.Second

// Run ends what was granted when it counts no longer, and keeps the keys of
// others fresh, until ctx ends. It returns its cause.
func (g *Gate) Run(ctx context.Context) error {
	stop := g.dir.OnChange(func(c Change) {
		switch c.Kind {
		case ChangedInput, ChangedSigningKey, ChangedStreamKey, ChangedToken:
			g.wake()
		}
	})
	defer stop()
	defer context.AfterFunc(ctx, g.callback.stop)()
	fetching := make(chan struct{})
	go func() {
		defer close(fetching)
		g.jwks.run(ctx, g.wake)
	}()
	defer func() { <-fetching }()
	tick := time.NewTicker(reviewInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		case <-g.changed:
		}
		g.ledger.review(g.revoked)
	}
}

func (g *Gate) wake() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// revoked returns why a grant counts no longer, nil if it does.
func (g *Gate) revoked(grant *Grant) error {
	switch {
	case grant.hash != "":
		k, ok := g.dir.StreamKey(grant.KeyID)
		if !ok || !k.Active || k.Hash != grant.hash || !slices.Equal(k.Namespace, grant.patterns[0].fields) {
			return refused(CodeRevoked, "the stream key was revoked")
		}
		if _, ok := g.dir.Input(grant.input); grant.input != "" && !ok {
			return refused(CodeRevoked, "the live input was deleted")
		}
		return nil
	}
	if grant.KeyID != "" { // else the callback allowed it
		if _, err := g.heldKey(grant.KeyID); err != nil {
			return refused(CodeRevoked, "the key of the token was revoked")
		}
	}
	if grant.TokenID != "" && g.dir.TokenRevoked(cmp.Or(grant.Org, adHocOrg), grant.TokenID) {
		return refused(CodeRevoked, "the token was revoked")
	}
	return nil
}

// heldKey returns a signing key that is at hand.
func (g *Gate) heldKey(kid string) (SigningKeyInfo, error) {
	k, ok := g.dir.SigningKey(kid)
	if !ok {
		var err error
		if k, err = g.jwks.find(kid); err != nil {
			return SigningKeyInfo{}, err
		}
	}
	if !k.Active {
		return SigningKeyInfo{}, refused(CodeRevoked, "the key of the token was revoked")
	}
	return k, nil
}

// A Selector says whose grants Disconnect ends. Empty fields stand for anything;
// one without any selects nobody.
type Selector struct {
	KeyID, TokenID, Viewer string
	Viewers                bool     // only those who watch
	Namespace              []string // what the grant covers
	Remote                 netip.Prefix
}

// Disconnect ends the grants that s selects at once, and so the sessions that
// hold them, and says how many. They may come back with the same credential.
func (g *Gate) Disconnect(s Selector, reason string) int {
	if s.KeyID == "" && s.TokenID == "" && s.Viewer == "" && s.Namespace == nil && !s.Remote.IsValid() {
		return 0
	}
	is := func(want, got string) bool { return want == "" || want == got }
	return g.ledger.review(func(grant *Grant) error {
		if (!s.Viewers || !grant.Publish) && is(s.KeyID, grant.KeyID) && is(s.TokenID, grant.TokenID) && is(s.Viewer, grant.Viewer) &&
			(s.Namespace == nil || grant.Allows(s.Namespace)) && (!s.Remote.IsValid() || s.Remote.Contains(grant.remote.Unmap())) {
			return refused(CodeRevoked, reason)
		}
		return nil
	})
}

// An attempt is who shows a credential, and for what.
type attempt struct {
	remote netip.Addr
	input  string // what the request names, as it names it
}

// check checks one credential of either kind.
func (g *Gate) check(text string, a attempt) (*Grant, error) {
	now := g.now()
	if v := g.tokens.get(text); v != nil {
		if k, err := g.heldKey(v.key.ID); err == nil && samePublic(k.Public, v.key.Public) {
			return g.token(v, now, a)
		}
	}
	if err := g.limited(now, a); err != nil {
		return nil, err
	}
	grant, err := g.look(text, now, a)
	if code := CodeOf(err); (code == CodeMalformed || code == CodeUnknown) && g.callback == nil {
		g.failures.failed(now, a.remote, a.input) // else the callback says whether it was wrong
	}
	return grant, err
}

// limited refuses who has shown too many wrong credentials.
func (g *Gate) limited(now time.Time, a attempt) error {
	if wait := g.failures.wait(now, a.remote, a.input); wait > 0 {
		return refused(CodeLimited, fmt.Sprintf("too many wrong keys or tokens; try again in %v", wait.Round(time.Second)+time.Second))
	}
	return nil
}

// look checks a credential that was not seen before.
func (g *Gate) look(text string, now time.Time, a attempt) (*Grant, error) {
	if strings.HasPrefix(text, streamKeyPrefix) {
		return g.streamKey(text, now, a)
	}
	v, err := verify(text, g.heldKey)
	if errors.Is(err, errNotNow) { // of a key that may be in what is fetched
		g.jwks.fetchFor()
		v, err = verify(text, g.heldKey)
		if errors.Is(err, errNotNow) {
			err = refused(CodeUnknown, "the key of the token is not known")
		}
	}
	if err != nil {
		return nil, err
	}
	g.tokens.put(text, v)
	return g.token(v, now, a)
}

// token grants what a token says whose signature is right.
func (g *Gate) token(v *verified, now time.Time, a attempt) (*Grant, error) {
	if err := v.current(now, a.remote); err != nil {
		return nil, err
	}
	grant := g.ledger.open(&Grant{
		KeyID: v.key.ID, TokenID: v.ID, Org: v.Subject, Viewer: v.Viewer, MaxHeight: v.MaxHeight,
		within: v.key.Org, patterns: v.patterns, remote: a.remote,
	}, now, time.Unix(v.Expires, 0).Add(leeway))
	return g.counted(grant)
}

// counted returns a grant that still counts: what was revoked while it was
// made is seen here, what is revoked later by Run.
func (g *Gate) counted(grant *Grant) (*Grant, error) {
	if err := g.revoked(grant); err != nil {
		grant.Close()
		return nil, err
	}
	return grant, nil
}

// streamKey checks a stream key. Whoever does not know the secret learns nothing
// of the key, by text or by time.
func (g *Gate) streamKey(cleartext string, now time.Time, a attempt) (*Grant, error) {
	id, secret, ok := ParseStreamKey(cleartext)
	if !ok {
		return nil, refused(CodeMalformed, "that is no stream key: they read sk_live_<id>_<secret>")
	}
	same := g.dir.VerifyStreamKey(id, secret)
	key, known := g.dir.StreamKey(id)
	switch {
	case !same || !known:
		return nil, refused(CodeUnknown, "the stream key is not known")
	case !key.Active:
		return nil, refused(CodeRevoked, "the stream key was revoked")
	}
	org := adHocOrg
	if len(key.Namespace) == 3 {
		org = key.Namespace[1]
	}
	return g.counted(g.ledger.open(&Grant{
		KeyID: key.ID, Publish: true, Org: org, hash: cmp.Or(key.Hash, noHash), input: key.Input,
		patterns: []pattern{{fields: key.Namespace}}, remote: a.remote,
	}, now, time.Time{}))
}

// Lookup returns the live input that a URL names.
func (g *Gate) Lookup(name string) (Input, bool) { return g.dir.Input(name) }

// adHoc returns the name of the ad-hoc broadcast of a namespace, or a refusal: a
// live input is none, whether it is known or only named like one.
func (g *Gate) adHoc(namespace []string) (string, error) {
	name, err := adHocName(namespace)
	if err != nil {
		return "", err
	}
	if _, ok := g.dir.Input(name); ok || strings.HasPrefix(name, inputPrefix) {
		return "", refusal(fmt.Sprintf("the live input %.140q needs its stream key (sk) or a playback token (tok), also from this machine", name))
	}
	return name, nil
}

// inputPrefix opens the external id of a live input.
const inputPrefix = "lv_"

// nobody is the Directory of a Gate that has none.
type nobody struct{}

func (nobody) SigningKey(string) (SigningKeyInfo, bool) { return SigningKeyInfo{}, false }
func (nobody) StreamKey(string) (StreamKeyInfo, bool)   { return StreamKeyInfo{}, false }
func (nobody) VerifyStreamKey(_, secret string) bool    { return VerifySecret(nil, secret, "") }
func (nobody) Input(string) (Input, bool)               { return Input{}, false }
func (nobody) TokenRevoked(_, _ string) bool            { return false }
func (nobody) OnChange(func(Change)) (stop func())      { return func() {} }
