package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/ingest/fmp4"
	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// newGate makes the one gate, which everything asks that lets somebody in.
func (s *server) newGate(rule auth.Loopback) (*auth.Gate, error) {
	return auth.NewGate(auth.Config{
		Directory: s.control.Directory(), Loopback: rule, JWKS: s.cfg.Auth.JWKS,
		Callback: auth.Callback{URL: s.cfg.Auth.Callback, Secret: s.cfg.Auth.CallbackSecret}, Log: s.log,
	})
}

// allowPush decides about an encoder that pushes over HTTP.
func (s *server) allowPush(r *http.Request, name string) (fmp4.Admission, error) {
	a, err := s.gate.Ingest(r, name)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// An authorizer lets the gate decide about MoQ sessions.
type authorizer struct{ gate *auth.Gate }

// Admit implements relay.Authorizer.
func (a authorizer) Admit(c relay.Credentials) (relay.Permit, error) {
	pass, err := a.gate.Session(c.Conn.Remote.String(), c.Path, texts(c.Tokens))
	if err != nil {
		return nil, requestError(err)
	}
	return permit{pass}, nil
}

// A permit is a pass in the relay's terms.
type permit struct{ pass *auth.Pass }

// Authorize implements relay.Permit.
func (p permit) Authorize(r relay.AuthRequest) (wire.Namespace, error) {
	decide := p.pass.Play
	switch r.Action {
	case relay.PublishNamespace, relay.PublishTrack:
		decide = p.pass.Publish
	case relay.SubscribeNamespace, relay.SubscribeTracks:
		decide = p.pass.Watch
	case relay.SubscribeTrack, relay.FetchTrack, relay.TrackStatus:
	}
	fields, err := decide(r.Namespace.Fields(), texts(r.Tokens))
	if err != nil {
		return wire.Namespace{}, requestError(err)
	}
	ns, err := wire.NewNamespace(fields...)
	if err != nil {
		return wire.Namespace{}, &track.RequestError{Code: wire.RequestUnauthorized, Reason: "auth_failed: no stream has that name"}
	}
	return ns, nil
}

// Expires implements relay.Expiring.
func (p permit) Expires() time.Time { return p.pass.Expires() }

// Visible implements relay.Permit.
func (p permit) Visible(ns wire.Namespace) bool { return p.pass.Visible(ns.Fields()) }

// Context implements relay.Permit.
func (p permit) Context() context.Context { return p.pass.Context() }

// Close implements relay.Permit.
func (p permit) Close() { p.pass.Close() }

// texts returns the values of tokens. A token of a registered type is none of
// ours, and as text it is refused.
func texts(tokens []wire.Token) []string {
	var out []string
	for _, t := range tokens {
		out = append(out, string(t.Value))
	}
	return out
}

// requestError says in MoQ's terms why the gate refused.
func requestError(err error) error {
	code := wire.RequestUnauthorized
	switch auth.CodeOf(err) {
	case auth.CodeExpired:
		code = wire.RequestExpiredAuthToken
	case auth.CodeMalformed:
		code = wire.RequestMalformedAuthToken
	}
	// Clients of the streams contract look for "auth" in the reason: that of a
	// credential begins with it, that of the loopback rule does not.
	reason := "auth_failed: " + strings.TrimPrefix(err.Error(), "auth_failed: ")
	if !errors.Is(err, auth.ErrRefused) {
		reason = "auth_failed"
	}
	return &track.RequestError{Code: code, Reason: reason}
}
