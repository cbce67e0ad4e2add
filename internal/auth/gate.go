package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Gate decides who may do what, from what they show: a stream key, a playback
// token, or nothing, for whom the loopback rule holds. A credential that does
// not count is refused everywhere, also where none would be needed.
type Gate struct {
	Loopback Loopback
	Keys     *Keyring
}

// A Pass is what one MoQ session may do.
type Pass struct {
	gate     Gate
	loopback error // why the loopback rule does not hold; nil if it does

	mu     sync.Mutex
	grants []*Grant
	tokens map[string]*Grant // of requests, by their text
	ctx    context.Context
	end    context.CancelCauseFunc
}

// maxPassGrants bounds the tokens that one session may show.
const maxPassGrants = 32

// Session decides about a MoQ session from the address of the peer, host:port,
// the path of its URL with its query, and the tokens of its SETUP.
func (g Gate) Session(remote, path string, tokens []string) (*Pass, error) {
	p := &Pass{gate: g, loopback: g.Loopback.Peer(remote), tokens: make(map[string]*Grant)}
	p.ctx, p.end = context.WithCancelCause(context.Background())
	shown, err := credentials(path)
	if err == nil {
		_, err = p.show(append(shown, tokens...))
	}
	if err == nil && len(p.grants) > 0 {
		err = p.covers(path)
	}
	if err == nil && len(p.grants) == 0 {
		err = p.loopback
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// credentials returns what stands in the query of a path: tok and sk.
func credentials(path string) ([]string, error) {
	_, query, _ := strings.Cut(path, "?")
	values, err := url.ParseQuery(query)
	if err != nil { // its text would quote the query
		return nil, refused(CodeMalformed, "the query of the URL cannot be read")
	}
	return slices.Concat(values["sk"], values["tok"]), nil
}

// covers checks that what was shown is for the stream that the path names,
// /publish/<id> or /playback/<id>. Other paths name none.
func (p *Pass) covers(path string) error {
	path, _, _ = strings.Cut(path, "?")
	verb, id, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || verb != "publish" && verb != "playback" {
		return nil
	}
	for _, g := range p.grants {
		if g.Allows([]string{firstField, g.Org, id}) && (verb == "playback" || g.Publish) {
			return nil
		}
	}
	return refused(CodeWrongInput, fmt.Sprintf("what was shown is not for %s %.140q", verb, id))
}

// show checks credentials and keeps what they grant.
func (p *Pass) show(credentials []string) ([]*Grant, error) {
	var out []*Grant
	for _, text := range credentials {
		p.mu.Lock()
		g, n := p.tokens[text], len(p.grants)
		p.mu.Unlock()
		if g == nil {
			if n >= maxPassGrants {
				return nil, refused(CodeMalformed, fmt.Sprintf("a session may show %d tokens", maxPassGrants))
			}
			var err error
			if g, err = p.gate.check(text); err != nil {
				return nil, err
			}
			p.keep(text, g)
		}
		out = append(out, g)
	}
	return out, nil
}

func (p *Pass) keep(text string, g *Grant) {
	p.mu.Lock()
	p.tokens[text] = g
	p.grants = append(p.grants, g)
	p.mu.Unlock()
	context.AfterFunc(g.Context(), func() { p.end(context.Cause(g.Context())) })
}

// check checks one credential of either kind.
func (g Gate) check(text string) (*Grant, error) {
	switch {
	case g.Keys == nil:
		return nil, refused(CodeUnknown, "there are no keys here")
	case strings.HasPrefix(text, streamKeyPrefix):
		return g.Keys.StreamKey(text)
	}
	return g.Keys.Token(text)
}

// Context ends when something that was granted does; its cause says why.
func (p *Pass) Context() context.Context { return p.ctx }

// Expires returns when the first of what was granted expires, zero if nothing
// does.
func (p *Pass) Expires() (at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.grants {
		if end, ok := g.Context().Deadline(); ok && (at.IsZero() || end.Before(at)) {
			at = end
		}
	}
	return at
}

// Close lets go of what was granted.
func (p *Pass) Close() {
	p.mu.Lock()
	grants := p.grants
	p.mu.Unlock()
	for _, g := range grants {
		g.Close()
	}
	p.end(context.Canceled)
}

// Publish says whether the session may publish a namespace, and returns its
// canonical form. tokens are those of the request alone.
func (p *Pass) Publish(namespace, tokens []string) ([]string, error) {
	return p.may(namespace, tokens, func(g *Grant) bool { return g.Publish })
}

// Play says whether the session may play a namespace, and returns its canonical
// form. Who may publish a stream may play it.
func (p *Pass) Play(namespace, tokens []string) ([]string, error) {
	return p.may(namespace, tokens, func(*Grant) bool { return true })
}

func (p *Pass) may(namespace, tokens []string, kind func(*Grant) bool) ([]string, error) {
	grants, local, err := p.which(tokens)
	if err != nil {
		return nil, err
	}
	for _, g := range grants {
		if ns := g.Resolve(namespace); kind(g) && g.Allows(ns) {
			return ns, nil
		}
	}
	if local {
		ns := Resolve(namespace, adHocOrg)
		_, err := AdHoc(ns)
		return ns, err
	}
	return nil, refused(CodeWrongInput, fmt.Sprintf("what was shown is not for %.140q", strings.Join(namespace, "/")))
}

// Watch says whether the session may watch the namespaces under a prefix, and
// returns its canonical form. What it then sees is what Visible says.
func (p *Pass) Watch(prefix, tokens []string) ([]string, error) {
	grants, local, err := p.which(tokens)
	if err != nil {
		return nil, err
	}
	for _, g := range grants {
		if ns := g.Resolve(prefix); g.AllowsPrefix(ns) {
			return ns, nil
		}
	}
	if local {
		ns := Resolve(prefix, adHocOrg)
		return ns, Prefix(ns)
	}
	return nil, refused(CodeWrongInput, fmt.Sprintf("what was shown is not for anything under %.140q", strings.Join(prefix, "/")))
}

// which returns the grants that a request goes by: those of its own tokens, or
// else the session's; and whether the loopback rule stands in for them.
func (p *Pass) which(tokens []string) (grants []*Grant, local bool, err error) {
	if len(tokens) > 0 {
		grants, err = p.show(tokens)
		return grants, false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.grants), len(p.grants) == 0 && p.loopback == nil, nil
}

// Visible says whether the session may hear of a namespace.
func (p *Pass) Visible(namespace []string) bool {
	_, err := p.Play(namespace, nil)
	return err == nil
}

// Ingest decides about an HTTP request that publishes the ad-hoc broadcast
// name: a stream key in the Authorization header or the query, or the loopback
// rule.
func (g Gate) Ingest(r *http.Request, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	key, err := bearer(r, "sk")
	if err != nil {
		return err
	}
	if key == "" {
		return g.Loopback.Request(r)
	}
	grant, err := g.check(key)
	if err != nil {
		return err
	}
	defer grant.Close()
	if !grant.Publish || !grant.Allows(Namespace(name)) {
		return refused(CodeWrongInput, fmt.Sprintf("what was shown is not for publishing %q", name))
	}
	return nil
}

// Page decides about an HTTP request for what pages show: a playback token in
// the query or the Authorization header, or the loopback rule. visible tells
// which namespaces it may see.
func (g Gate) Page(r *http.Request) (visible func(namespace []string) bool, err error) {
	token, err := bearer(r, "tok")
	if err != nil {
		return nil, err
	}
	if token == "" {
		return func([]string) bool { return true }, g.Loopback.Request(r)
	}
	grant, err := g.check(token)
	if err != nil {
		return nil, err
	}
	grant.Close()
	return grant.Allows, nil
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
	if err != nil {
		return "", refused(CodeMalformed, "the query of the URL cannot be read")
	}
	return values.Get(parameter), nil
}

// CodeOf returns why err refuses a credential, 0 if that is not what it does.
func CodeOf(err error) Code {
	if refusal, ok := errors.AsType[*CredentialError](err); ok {
		return refusal.Code
	}
	return 0
}
