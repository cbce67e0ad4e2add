package auth

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// An Admission lets one connection publish or play one broadcast. Whoever holds
// it stops when its Context ends, and calls Close.
type Admission struct {
	grant     *Grant // nil: the loopback rule
	namespace []string
	input     Input
	live      bool // input is one
}

// Name returns what the ingest calls the broadcast: ingest.Registry.
func (a *Admission) Name() string { return ingestName(a.namespace) }

// Namespace returns the fields of the broadcast's namespace.
func (a *Admission) Namespace() []string { return a.namespace }

// Input returns the live input, if the broadcast is not an ad-hoc one.
func (a *Admission) Input() (Input, bool) { return a.input, a.live }

// Grant returns what let the holder in, nil if the loopback rule did.
func (a *Admission) Grant() *Grant { return a.grant }

// Context ends when the admission does: its cause is a *CredentialError, or
// context.Canceled after Close.
func (a *Admission) Context() context.Context {
	if a.grant == nil {
		return context.Background()
	}
	return a.grant.Context()
}

// Expires returns when the admission ends by itself, zero if it does not.
func (a *Admission) Expires() time.Time {
	if a.grant == nil {
		return time.Time{}
	}
	return a.grant.Expires()
}

// Close lets go of it.
func (a *Admission) Close() {
	if a.grant != nil {
		a.grant.Close()
	}
}

// A PublishRequest is an encoder that wants to publish.
type PublishRequest struct {
	Protocol Ingest
	Remote   netip.AddrPort
	// Name is what its URL names: the external id of a live input, or an ad-hoc
	// name.
	Name string
	// StreamKey or Token is what it shows; both may be empty.
	StreamKey, Token string
	Encrypted        bool // its connection is
}

// Publish decides about an encoder of any protocol. The error is a
// *CredentialError, a *RefusedError or another that wraps ErrRefused; each may
// be shown.
func (g *Gate) Publish(_ context.Context, r PublishRequest) (*Admission, error) {
	if err := CheckName(r.Name); err != nil {
		return nil, err
	}
	text := r.StreamKey
	if text == "" {
		text = r.Token
	}
	return g.admit(request{
		action: actionPublish, protocol: r.Protocol, remote: r.Remote.Addr(), name: r.Name, namespace: g.namespaceOf(r.Name),
		credential: text, encrypted: r.Encrypted,
	}, func() error { return g.cfg.Loopback.Peer(r.Remote.String()) })
}

// Ingest decides about an HTTP request that publishes the broadcast name: by a
// stream key in the Authorization header or the query, or the loopback rule.
func (g *Gate) Ingest(r *http.Request, name string) (*Admission, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	key, err := bearer(r, "sk")
	if err != nil {
		return nil, err
	}
	return g.admit(request{
		action: actionPublish, protocol: FMP4, remote: remoteOf(r).Addr(), name: name, namespace: g.namespaceOf(name),
		credential: key, encrypted: encrypted(r),
	}, func() error { return g.cfg.Loopback.Request(r) })
}

// Play decides about an HTTP request for the media of a namespace, live or
// recorded: by a playback token in the query or the Authorization header, or the
// loopback rule. The namespace may be in any form that a client sends.
func (g *Gate) Play(r *http.Request, namespace []string) (*Admission, error) {
	token, err := bearer(r, "tok")
	if err != nil {
		return nil, err
	}
	ns := g.resolve(namespace)
	return g.admit(request{
		action: actionPlay, protocol: HLS, remote: remoteOf(r).Addr(), name: ingestName(ns), namespace: ns,
		credential: token, encrypted: encrypted(r),
	}, func() error { return g.cfg.Loopback.Request(r) })
}

// Page decides about an HTTP request for what pages show, as Play does. visible
// tells which namespaces it may see.
func (g *Gate) Page(r *http.Request) (visible func(namespace []string) bool, err error) {
	token, err := bearer(r, "tok")
	if err != nil {
		return nil, err
	}
	grant, err := g.grant(request{
		action: actionWatch, protocol: HLS, remote: remoteOf(r).Addr(), credential: token, encrypted: encrypted(r),
	}, func() error { return g.cfg.Loopback.Request(r) })
	if err != nil {
		return nil, err
	}
	if grant == nil {
		return func(ns []string) bool { _, err := g.adHoc(ns); return err == nil }, nil
	}
	grant.Close()
	return grant.Allows, nil
}

// What a request asks for.
const (
	actionConnect = "connect" // a session that names no stream yet
	actionPublish = "publish"
	actionPlay    = "play"
	actionWatch   = "watch" // to hear of namespaces
)

// A request is one thing that somebody wants to do.
type request struct {
	action     string
	protocol   Ingest
	remote     netip.Addr
	name       string // of the broadcast, as the ingest has it; empty: none yet
	namespace  []string
	credential string // empty: none was shown
	encrypted  bool
}

// admit decides about a request for one namespace. loopback says whether the
// loopback rule holds for it.
func (g *Gate) admit(r request, loopback func() error) (*Admission, error) {
	grant, err := g.grant(r, loopback)
	if err != nil {
		return nil, err
	}
	a := &Admission{grant: grant, namespace: r.namespace}
	switch {
	case grant == nil:
		_, err = g.adHoc(r.namespace)
	case !grant.Allows(r.namespace) || r.action == actionPublish && !grant.Publish:
		err = refused(CodeWrongInput, fmt.Sprintf("what was shown is not for %s %.140q", doing[r.action], r.name))
	case r.action == actionPublish:
		err = g.fits(r)
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	a.input, a.live = g.inputOf(r.namespace)
	return a, nil
}

// doing is how a sentence says what was asked for.
var doing = map[string]string{actionPublish: "publishing", actionPlay: "playing"}

// grant returns what a request may do by what it shows, nil where the loopback
// rule decides. What our keys do not know, and who shows nothing from elsewhere,
// is left to the callback.
func (g *Gate) grant(r request, loopback func() error) (*Grant, error) {
	var err error
	if r.credential != "" {
		var grant *Grant
		if grant, err = g.check(r.credential, attempt{r.remote, r.name}); err == nil {
			return grant, nil
		}
	} else if err = loopback(); err == nil && (r.namespace == nil || g.isAdHoc(r.namespace)) {
		return nil, nil
	} else if err == nil {
		_, err = g.adHoc(r.namespace)
	}
	if !g.callback.decides(r.credential, err) {
		return nil, err
	}
	return g.asked(r)
}

func (g *Gate) isAdHoc(namespace []string) bool {
	_, err := g.adHoc(namespace)
	return err == nil
}

// asked grants what the callback allows.
func (g *Gate) asked(r request) (*Grant, error) {
	now := g.now()
	d, err := g.callback.ask(now, r, func() error { return g.limited(now, attempt{r.remote, r.name}) })
	if err != nil {
		if CodeOf(err) == CodeUnknown && r.credential != "" {
			g.failures.failed(now, r.remote, r.name)
		}
		return nil, err
	}
	return g.counted(g.ledger.open(&Grant{
		Publish: d.publish, Org: d.org, Viewer: d.viewer, MaxHeight: d.maxHeight, TokenID: d.id,
		patterns: d.patterns, remote: r.remote,
	}, now, d.expires))
}

// inputOf returns the live input whose namespace that is.
func (g *Gate) inputOf(namespace []string) (Input, bool) {
	if len(namespace) != 3 {
		return Input{}, false
	}
	in, ok := g.dir.Input(namespace[2])
	return in, ok && pattern{fields: in.Namespace}.covers(namespace)
}

// namespaceOf returns the namespace of the name in a URL.
func (g *Gate) namespaceOf(name string) []string {
	if in, ok := g.dir.Input(name); ok {
		return in.Namespace
	}
	return Namespace(name)
}

// resolve is Resolve for somebody of whom no organisation is known: the live
// input that is named has one.
func (g *Gate) resolve(namespace []string) []string {
	if ns := resolve(namespace, ""); len(ns) == 3 && ns[1] == "" {
		return g.namespaceOf(ns[2])
	}
	return resolve(namespace, adHocOrg)
}

// fits checks that a publisher comes as its input wants it.
func (g *Gate) fits(r request) error {
	in, ok := g.inputOf(r.namespace)
	if !ok {
		return nil
	}
	p := in.Policy
	switch {
	case !p.AnyIngest && !in.Ingest.Takes(r.protocol):
		return &RefusedError{in.External, in.Ingest, fmt.Sprintf("it takes %s, and this is %s", in.Ingest, r.protocol)}
	case !p.Allows(r.remote):
		return &RefusedError{Input: in.External, Reason: "its publisher may not come from this address"}
	case p.RequireEncryption && !r.encrypted:
		return &RefusedError{Input: in.External, Reason: "its publisher has to encrypt: https, rtmps, MoQT, or SRT with a passphrase"}
	}
	return nil
}

// bearer returns the credential of a request: of its Authorization header
// (RFC 6750 section 2.1), or of a parameter of its query.
func bearer(r *http.Request, parameter string) (string, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, text, ok := strings.Cut(header, " ")
		if !ok || !strings.EqualFold(scheme, "Bearer") {
			return "", refused(CodeMalformed, "the Authorization header is not of the form 'Bearer <key>'")
		}
		return strings.TrimSpace(text), nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil { // its text would quote the query
		return "", refused(CodeMalformed, "the query of the URL cannot be read")
	}
	return values.Get(parameter), nil
}
