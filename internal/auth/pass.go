package auth

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Pass is what one MoQ session may do.
type Pass struct {
	gate     *Gate
	loopback error // why the loopback rule does not hold; nil if it does
	remote   netip.Addr
	// foreign are the credentials of the session about which the callback
	// decides, request by request; an empty one stands for none.
	foreign []string

	mu     sync.Mutex
	lacks  error             // why a session that has shown nothing may do nothing yet
	timer  *time.Timer       // ends it
	grants []*Grant          // of the session
	own    map[string]*Grant // of requests, by the text of their token, or that and what was asked
	asked  []*Grant          // by the callback
	ctx    context.Context
	end    context.CancelCauseFunc
}

// Bounds of one session: the tokens that it may show, and what the callback may
// be asked for it.
const (
	maxPassGrants = 32
	maxPassAsked  = 256
)

// A session that has shown nothing has firstRequest to send a request that does.
// One that was refused it is ended refusedLinger later, so that the answer is
// read first.
const (
	firstRequest  = 3 * time.Second
	refusedLinger = 200 * time.Millisecond
)

// Session decides about a MoQ session from the address of the peer, host:port,
// the path of its URL with its query, and the tokens of its SETUP.
func (g *Gate) Session(remote, path string, tokens []string) (*Pass, error) {
	p := &Pass{gate: g, loopback: g.cfg.Loopback.Peer(remote), own: make(map[string]*Grant)}
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		p.remote = ap.Addr().Unmap()
	}
	p.ctx, p.end = context.WithCancelCause(context.Background())
	if err := p.enter(path, tokens); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Pass) enter(path string, tokens []string) error {
	shown, err := credentials(path)
	if err != nil {
		return err
	}
	verb, id := target(path)
	shown = append(shown, tokens...)
	if len(shown) > maxPassGrants {
		return errTooManyTokens
	}
	for _, text := range shown {
		grant, err := p.gate.check(text, attempt{p.remote, id})
		switch {
		case err == nil:
			p.grants = append(p.grants, grant)
			p.watch(grant)
		case p.gate.callback.decides(text, err):
			p.foreign = append(p.foreign, text)
		default:
			return err
		}
	}
	if len(shown) == 0 && p.gate.callback != nil {
		p.foreign = []string{""}
	}
	switch {
	case len(p.foreign) > 0:
		err = p.connect(verb, id)
	case len(p.grants) > 0:
		err = p.covers(verb, id)
	default:
		err = p.loopback
	}
	if err != nil && len(shown) == 0 {
		p.wait(err)
		return nil
	}
	return err
}

// wait lets a session in that has shown nothing: its requests may.
func (p *Pass) wait(err error) {
	if CodeOf(err) == 0 { // the cause of a session's end is one
		err = refused(CodeMissing, err.Error())
	}
	p.lacks, p.foreign = err, nil
	p.timer = time.AfterFunc(firstRequest, func() { p.giveUp(err) })
}

// hasShown notes that a request has shown something good. p.mu is held.
func (p *Pass) hasShown() {
	if p.lacks != nil {
		p.lacks = nil
		p.timer.Stop()
	}
}

// giveUp ends a session that still has nothing to show.
func (p *Pass) giveUp(err error) {
	p.mu.Lock()
	lacks := p.lacks
	p.mu.Unlock()
	if lacks != nil {
		p.end(err)
	}
}

// refuse passes on why a request was refused, and ends the session if that was
// its first and it has nothing to show.
func (p *Pass) refuse(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lacks != nil {
		p.timer.Stop()
		p.timer = time.AfterFunc(refusedLinger, func() { p.giveUp(err) })
	}
	return err
}

// connect asks the callback about a session: for what its path names, or, where
// that names nothing, whether it may come in at all.
func (p *Pass) connect(verb, id string) error {
	if verb != "" && p.covers(verb, id) == nil {
		return nil // what else was shown is enough
	}
	r := request{action: actionConnect, protocol: MoQT, remote: p.remote, name: id, encrypted: true}
	switch verb {
	case "publish":
		r.action, r.namespace = actionPublish, p.gate.namespaceOf(id)
	case "playback":
		r.action, r.namespace = actionPlay, p.gate.namespaceOf(id)
	}
	if p.foreign[0] == "" && p.loopback == nil && (r.namespace == nil || p.gate.isAdHoc(r.namespace)) {
		return nil // the loopback rule decides
	}
	_, err := p.ask(r, p.foreign, false)
	return err
}

// ask asks the callback about one request of the session, with each of the
// credentials that are not ours until one counts. What those of the session are
// allowed stays for its other requests, what a request's own are, for their like.
func (p *Pass) ask(r request, foreign []string, own bool) (_ *Grant, err error) {
	for _, text := range foreign {
		key := text + "\x00" + r.action + joined(r.namespace)
		p.mu.Lock()
		held, n := p.own[key], len(p.asked)+len(p.own)
		p.mu.Unlock()
		if held != nil && own {
			return held, nil
		}
		if n >= maxPassAsked {
			return nil, refused(CodeLimited, fmt.Sprintf("a session may ask for %d things", maxPassAsked))
		}
		r.credential = text
		var grant *Grant
		if grant, err = p.gate.asked(r); err == nil {
			p.mu.Lock()
			if own {
				p.own[key] = grant
			} else {
				p.asked = append(p.asked, grant)
			}
			p.hasShown()
			p.mu.Unlock()
			p.watch(grant)
			return grant, nil
		}
	}
	return nil, err
}

// watch ends the session with a grant.
func (p *Pass) watch(g *Grant) {
	context.AfterFunc(g.Context(), func() { p.end(context.Cause(g.Context())) })
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

// target returns the stream that a path names: /publish/<id> or /playback/<id>.
// Other paths name none.
func target(path string) (verb, id string) {
	path, _, _ = strings.Cut(path, "?")
	verb, id, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || verb != "publish" && verb != "playback" {
		return "", ""
	}
	return verb, id
}

// covers checks that what was shown is for the stream that the path names.
func (p *Pass) covers(verb, id string) error {
	if verb == "" {
		return nil
	}
	for _, g := range p.grants {
		if g.Allows([]string{firstField, g.Org, id}) && (verb == "playback" || g.Publish) {
			return nil
		}
	}
	return refused(CodeWrongInput, fmt.Sprintf("what was shown is not for %s %.140q", verb, id))
}

// Context ends when something that was granted does; its cause says why.
func (p *Pass) Context() context.Context { return p.ctx }

// Expires returns when the first of what was granted expires, zero if nothing
// does.
func (p *Pass) Expires() (at time.Time) {
	for _, g := range p.all() {
		if end := g.Expires(); !end.IsZero() && (at.IsZero() || end.Before(at)) {
			at = end
		}
	}
	return at
}

// all returns all grants.
func (p *Pass) all() []*Grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Concat(p.grants, p.asked)
	for _, g := range p.own {
		out = append(out, g)
	}
	return out
}

// Close lets go of what was granted.
func (p *Pass) Close() {
	p.mu.Lock()
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	for _, g := range p.all() {
		g.Close()
	}
	p.end(context.Canceled)
}

// Publish says whether the session may publish a namespace, and returns its
// canonical form. tokens are those of the request alone.
func (p *Pass) Publish(namespace, tokens []string) ([]string, error) {
	ns, err := p.may(actionPublish, namespace, tokens)
	if err == nil {
		err = p.gate.fits(request{protocol: MoQT, remote: p.remote, namespace: ns, encrypted: true})
	}
	if err != nil {
		return nil, err
	}
	return ns, nil
}

// Play says whether the session may play a namespace, and returns its canonical
// form. Who may publish a stream may play it.
func (p *Pass) Play(namespace, tokens []string) ([]string, error) {
	return p.may(actionPlay, namespace, tokens)
}

func (p *Pass) may(action string, namespace, tokens []string) ([]string, error) {
	grants, foreign, err := p.which(tokens)
	if err != nil {
		return nil, p.refuse(err)
	}
	for _, g := range grants {
		if ns := g.Resolve(namespace); (g.Publish || action == actionPlay) && g.Allows(ns) {
			return ns, nil
		}
	}
	ns := p.gate.resolve(namespace)
	if p.local(tokens) {
		if _, err = p.gate.adHoc(ns); err == nil {
			return ns, nil
		}
	} else if len(foreign) == 0 {
		err = wrongNamespace(namespace)
	}
	if len(foreign) == 0 {
		return nil, err
	}
	r := request{action: action, protocol: MoQT, remote: p.remote, name: ingestName(ns), namespace: ns, encrypted: true}
	grant, err := p.ask(r, foreign, len(tokens) > 0)
	switch {
	case err != nil:
		return nil, p.refuse(err)
	case !grant.Allows(ns) || action == actionPublish && !grant.Publish:
		return nil, wrongNamespace(namespace)
	}
	return ns, nil
}

func wrongNamespace(namespace []string) error {
	return refused(CodeWrongInput, fmt.Sprintf("what was shown is not for %.140q", strings.Join(namespace, "/")))
}

// Watch says whether the session may watch the namespaces under a prefix, and
// returns its canonical form. What it then sees is what Visible says.
func (p *Pass) Watch(prefix, tokens []string) ([]string, error) {
	grants, foreign, err := p.which(tokens)
	if err != nil {
		return nil, p.refuse(err)
	}
	for _, g := range grants {
		if ns := g.Resolve(prefix); g.AllowsPrefix(ns) {
			return ns, nil
		}
	}
	ns := p.gate.resolve(prefix)
	err = refused(CodeWrongInput, fmt.Sprintf("what was shown is not for anything under %.140q", strings.Join(prefix, "/")))
	if p.local(tokens) {
		if err = adHocPrefix(ns); err == nil {
			return ns, nil
		}
	}
	if len(foreign) == 0 {
		return nil, err
	}
	r := request{action: actionWatch, protocol: MoQT, remote: p.remote, namespace: ns, encrypted: true}
	if _, err = p.ask(r, foreign, len(tokens) > 0); err != nil {
		return nil, p.refuse(err)
	}
	return ns, nil
}

// local says whether the loopback rule stands in for grants: nothing was shown.
func (p *Pass) local(tokens []string) bool {
	return len(tokens) == 0 && len(p.grants) == 0 && p.loopback == nil && (len(p.foreign) == 0 || p.foreign[0] == "")
}

// which returns the grants that a request goes by: those of its own tokens, or
// else the session's; and the credentials about which the callback may be asked.
func (p *Pass) which(tokens []string) (grants []*Grant, foreign []string, err error) {
	if len(tokens) == 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.Concat(p.grants, p.asked), p.foreign, p.lacks
	}
	if len(tokens) > maxPassGrants {
		return nil, nil, errTooManyTokens
	}
	for _, text := range tokens {
		g, err := p.show(text)
		switch {
		case err == nil:
			grants = append(grants, g)
		case p.gate.callback.decides(text, err):
			foreign = append(foreign, text)
		default:
			return nil, nil, err
		}
	}
	return grants, foreign, nil
}

var errTooManyTokens = refused(CodeMalformed, fmt.Sprintf("a session may show %d tokens", maxPassGrants))

// show checks the token of a request and keeps what it grants.
func (p *Pass) show(text string) (*Grant, error) {
	p.mu.Lock()
	g, n := p.own[text], len(p.own)
	p.mu.Unlock()
	if g != nil {
		return g, nil
	}
	if n >= maxPassAsked {
		return nil, errTooManyTokens
	}
	g, err := p.gate.check(text, attempt{remote: p.remote})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.own[text] = g
	p.hasShown()
	p.mu.Unlock()
	p.watch(g)
	return g, nil
}

// Visible says whether the session may hear of a namespace.
func (p *Pass) Visible(namespace []string) bool {
	for _, g := range p.all() {
		if g.Allows(namespace) {
			return true
		}
	}
	return p.local(nil) && p.gate.isAdHoc(namespace)
}
