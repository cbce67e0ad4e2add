package api

import (
	"context"
	"net/http"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
)

// An APIKey lets a program call the API.
type APIKey struct {
	ID         string          `json:"id" example:"ak_7d3k"`
	Name       string          `json:"name"`
	Orgs       []string        `json:"orgs" nullable:"false" doc:"Organisations that it may act in; * is all"`
	Scopes     []control.Scope `json:"scopes" nullable:"false" example:"[\"streams:*\"]"`
	CreatedAt  time.Time       `json:"createdAt"`
	ExpiresAt  time.Time       `json:"expiresAt,omitzero"`
	RevokedAt  time.Time       `json:"revokedAt,omitzero"`
	LastUsedAt time.Time       `json:"lastUsedAt,omitzero" doc:"To the minute"`
	Key        string          `json:"key,omitempty" doc:"The key itself, in the answer that makes it and never again"`
}

func apiKeyRow(k control.APIKey) APIKey {
	return APIKey{
		ID: k.ID, Name: k.Name, Orgs: some(k.Orgs), Scopes: some(k.Scopes), CreatedAt: k.Created,
		ExpiresAt: k.Expires, RevokedAt: k.Revoked, LastUsedAt: k.LastUsed,
	}
}

// some is a list that is one in JSON too.
func some[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// A StreamKey lets an encoder publish one namespace that is no live input's.
type StreamKey struct {
	ID        string    `json:"id"`
	Namespace string    `json:"namespace" example:"stream/local/cam"`
	CreatedAt time.Time `json:"createdAt"`
	RevokedAt time.Time `json:"revokedAt,omitzero"`
	StreamKey string    `json:"streamKey,omitempty" doc:"The key itself, in the answer that makes it and never again"`
}

// A SigningKey signs playback URLs. Its private half never leaves the server.
type SigningKey struct {
	ID           string    `json:"id" doc:"kid of the tokens"`
	Org          string    `json:"org"`
	Alg          string    `json:"alg" enum:"Ed25519,RS256"`
	Use          string    `json:"use" enum:"playback"`
	PublicKeyPEM string    `json:"publicKeyPem"`
	Status       string    `json:"status" enum:"active,inactive"`
	CreatedAt    time.Time `json:"createdAt"`
}

func signingKeyRow(k control.SigningKey) SigningKey {
	return SigningKey{
		ID: k.ID, Org: k.Org, Alg: string(k.Alg), Use: k.Use, PublicKeyPEM: k.PublicKeyPEM,
		Status: k.Status, CreatedAt: k.Created,
	}
}

type (
	apiKeyOutput struct {
		ETag string `header:"ETag"`
		Body APIKey
	}
	signingKeyOutput struct {
		ETag string `header:"ETag"`
		Body SigningKey
	}
	streamKeyOutput struct{ Body StreamKey }

	APIKeyID struct {
		ID string `path:"id" maxLength:"128" example:"ak_7d3k" doc:"Id of an API key"`
	}
	SigningKeyID struct {
		ID string `path:"id" maxLength:"128" doc:"Id of a signing key"`
	}
	StreamKeyID struct {
		ID string `path:"id" maxLength:"128" doc:"Id of a stream key"`
	}
	OrgPage struct {
		OrgQuery
		PageQuery
	}
)

func (h *Handler) registerKeys() {
	const apiKeys, streamKeys, signingKeys = "API keys", "Stream keys", "Signing keys"
	read, write := needs(control.KeysRead), needs(control.KeysWrite)
	register(h, read, operation{
		id: "list-api-keys", method: http.MethodGet, path: "/api-keys", tag: apiKeys,
		summary: "List API keys", about: "Those of an organisation that may act in no organisation which the caller may not act in.",
	}, h.listAPIKeys)
	register(h, write, operation{
		id: "create-api-key", method: http.MethodPost, path: "/api-keys", tag: apiKeys, status: http.StatusCreated,
		summary: "Make an API key", about: "It can do no more than the one that makes it.",
	}, h.createAPIKey)
	register(h, read, operation{
		id: "get-api-key", method: http.MethodGet, path: "/api-keys/{id}", tag: apiKeys, summary: "Get an API key",
	}, h.getAPIKey)
	register(h, write, operation{
		id: "revoke-api-key", method: http.MethodDelete, path: "/api-keys/{id}", tag: apiKeys,
		summary: "Revoke an API key", about: "It ends at once, and the event streams that it opened.",
	}, h.revokeAPIKey)

	register(h, read, operation{
		id: "list-stream-keys", method: http.MethodGet, path: "/stream-keys", tag: streamKeys, summary: "List stream keys",
	}, h.listStreamKeys)
	register(h, write, operation{
		id: "create-stream-key", method: http.MethodPost, path: "/stream-keys", tag: streamKeys, status: http.StatusCreated,
		summary: "Make a stream key", about: "For an ad-hoc stream, stream/local/<name>. Live inputs have their own.",
	}, h.createStreamKey)
	register(h, write, operation{
		id: "revoke-stream-key", method: http.MethodDelete, path: "/stream-keys/{id}", tag: streamKeys,
		summary: "Revoke a stream key", about: "Who publishes with it is dropped.",
	}, h.revokeStreamKey)

	register(h, read, operation{
		id: "list-signing-keys", method: http.MethodGet, path: "/signing-keys", tag: signingKeys, summary: "List signing keys",
	}, h.listSigningKeys)
	register(h, write, operation{
		id: "create-signing-key", method: http.MethodPost, path: "/signing-keys", tag: signingKeys, status: http.StatusCreated,
		summary: "Make a signing key", about: "The newest active one signs; the others still verify.",
	}, h.createSigningKey)
	register(h, read, operation{
		id: "get-signing-key", method: http.MethodGet, path: "/signing-keys/{id}", tag: signingKeys, summary: "Get a signing key",
	}, h.getSigningKey)
	register(h, write, operation{
		id: "deactivate-signing-key", method: http.MethodPost, path: "/signing-keys/{id}/deactivate", tag: signingKeys,
		summary: "Deactivate a signing key", about: "What it signed counts no longer, and who watches with it is closed.",
	}, h.deactivateSigningKey)
}

// mayAll is May for each organisation of an API key: who does not reach all of
// them may not know of it.
func (c caller) mayAll(scope control.Scope, k control.APIKey) bool {
	for _, org := range k.Orgs {
		if c.who.May(scope, org) != nil {
			return false
		}
	}
	return true
}

func (h *Handler) listAPIKeys(ctx context.Context, c caller, in *OrgPage) (*itemList[APIKey], error) {
	if err := c.may(control.KeysRead, in.Org); err != nil {
		return nil, err
	}
	l, err := h.cfg.Control.APIKeys(ctx, in.Org, in.page())
	if err != nil {
		return nil, err
	}
	shown := control.List[control.APIKey]{Next: l.Next}
	for _, k := range l.Items {
		if c.mayAll(control.KeysRead, k) {
			shown.Items = append(shown.Items, k)
		}
	}
	return listOf(shown, apiKeyRow), nil
}

type createAPIKeyInput struct {
	Body struct {
		Name      string          `json:"name" minLength:"1" maxLength:"128"`
		Orgs      []string        `json:"orgs,omitempty" nullable:"false" maxItems:"100" doc:"Organisations that it may act in; absent: local"`
		Scopes    []control.Scope `json:"scopes,omitempty" nullable:"false" maxItems:"20" doc:"Absent: streams:*"`
		ExpiresAt time.Time       `json:"expiresAt,omitzero" doc:"Absent: never"`
	}
}

func (h *Handler) createAPIKey(ctx context.Context, c caller, in *createAPIKeyInput) (*apiKeyOutput, error) {
	n := control.NewAPIKey{Name: in.Body.Name, Orgs: in.Body.Orgs, Scopes: in.Body.Scopes, Expires: in.Body.ExpiresAt}
	if len(n.Orgs) == 0 {
		n.Orgs = []string{control.LocalOrg}
	}
	if len(n.Scopes) == 0 {
		n.Scopes = []control.Scope{"streams:*"}
	}
	if err := c.who.MayGrant(n); err != nil {
		return nil, err
	}
	for _, org := range n.Orgs {
		if err := h.ensureOrg(ctx, c, org); err != nil {
			return nil, err
		}
	}
	k, key, err := h.cfg.Control.CreateAPIKey(ctx, n)
	if err != nil {
		return nil, err
	}
	out := &apiKeyOutput{etag(k.Revision), apiKeyRow(k)}
	out.Body.Key = key
	return out, nil
}

// ensureOrg makes an organisation that the admin key names for the first time.
func (h *Handler) ensureOrg(ctx context.Context, c caller, org string) error {
	if !c.who.Admin || org == control.AnyOrg {
		return nil
	}
	return h.cfg.Control.EnsureOrg(ctx, c.who, org)
}

func (h *Handler) apiKey(ctx context.Context, c caller, scope control.Scope, id string) (control.APIKey, error) {
	k, err := h.cfg.Control.APIKey(ctx, id)
	if err == nil && !c.mayAll(scope, k) || control.CodeOf(err) == control.NotFound {
		err = notFound("API key", id)
	}
	return k, err
}

func (h *Handler) getAPIKey(ctx context.Context, c caller, in *APIKeyID) (*apiKeyOutput, error) {
	k, err := h.apiKey(ctx, c, control.KeysRead, in.ID)
	if err != nil {
		return nil, err
	}
	return &apiKeyOutput{etag(k.Revision), apiKeyRow(k)}, nil
}

func (h *Handler) revokeAPIKey(ctx context.Context, c caller, in *APIKeyID) (*struct{}, error) {
	if _, err := h.apiKey(ctx, c, control.KeysWrite, in.ID); err != nil {
		return nil, err
	}
	_, err := h.cfg.Control.RevokeAPIKey(ctx, in.ID)
	return nil, err
}

func (h *Handler) listSigningKeys(ctx context.Context, c caller, in *OrgPage) (*itemList[SigningKey], error) {
	if err := c.may(control.KeysRead, in.Org); err != nil {
		return nil, err
	}
	l, err := h.cfg.Control.SigningKeys(ctx, in.Org, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, signingKeyRow), nil
}

type createSigningKeyInput struct {
	Body struct {
		Org string `json:"org,omitempty" maxLength:"128" doc:"Organisation; absent: local"`
		Alg string `json:"alg,omitempty" enum:"Ed25519,RS256" doc:"Absent: Ed25519"`
		Use string `json:"use,omitempty" enum:"playback" doc:"Absent: playback"`
	}
}

func (h *Handler) createSigningKey(ctx context.Context, c caller, in *createSigningKeyInput) (*signingKeyOutput, error) {
	org, err := h.org(ctx, c, control.KeysWrite, in.Body.Org)
	if err != nil {
		return nil, err
	}
	k, err := h.cfg.Control.CreateSigningKey(ctx, org, auth.Algorithm(in.Body.Alg))
	if err != nil {
		return nil, err
	}
	return &signingKeyOutput{etag(k.Revision), signingKeyRow(k)}, nil
}

// org returns the organisation that a body names, local if it names none, which
// the caller may act in and which is there.
func (h *Handler) org(ctx context.Context, c caller, scope control.Scope, org string) (string, error) {
	if org == "" {
		org = control.LocalOrg
	}
	if err := c.may(scope, org); err != nil {
		return "", err
	}
	return org, h.ensureOrg(ctx, c, org)
}

func (h *Handler) signingKey(ctx context.Context, c caller, scope control.Scope, id string) (control.SigningKey, error) {
	k, err := h.cfg.Control.SigningKey(ctx, id)
	if err == nil && c.may(scope, k.Org) != nil || control.CodeOf(err) == control.NotFound {
		err = notFound("signing key", id)
	}
	return k, err
}

func (h *Handler) getSigningKey(ctx context.Context, c caller, in *SigningKeyID) (*signingKeyOutput, error) {
	k, err := h.signingKey(ctx, c, control.KeysRead, in.ID)
	if err != nil {
		return nil, err
	}
	return &signingKeyOutput{etag(k.Revision), signingKeyRow(k)}, nil
}

func (h *Handler) deactivateSigningKey(ctx context.Context, c caller, in *SigningKeyID) (*signingKeyOutput, error) {
	if _, err := h.signingKey(ctx, c, control.KeysWrite, in.ID); err != nil {
		return nil, err
	}
	k, err := h.cfg.Control.DeactivateSigningKey(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &signingKeyOutput{etag(k.Revision), signingKeyRow(k)}, nil
}

func streamKeyRow(k control.StreamKey) StreamKey {
	return StreamKey{ID: k.ID, Namespace: k.Namespace, CreatedAt: k.Created, RevokedAt: k.Revoked}
}

func (h *Handler) listStreamKeys(ctx context.Context, c caller, in *OrgPage) (*itemList[StreamKey], error) {
	if err := c.may(control.KeysRead, in.Org); err != nil {
		return nil, err
	}
	l, err := h.cfg.Control.StreamKeys(ctx, in.Org, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, streamKeyRow), nil
}

type createStreamKeyInput struct {
	Body struct {
		Namespace string `json:"namespace" minLength:"1" maxLength:"300" example:"stream/local/cam"`
	}
}

func (h *Handler) createStreamKey(ctx context.Context, c caller, in *createStreamKeyInput) (*streamKeyOutput, error) {
	org, _, ok := orgOf(in.Body.Namespace)
	if !ok {
		return nil, badNamespace()
	}
	if _, err := h.org(ctx, c, control.KeysWrite, org); err != nil {
		return nil, err
	}
	k, key, err := h.cfg.Control.CreateStreamKey(ctx, in.Body.Namespace)
	if err != nil {
		return nil, err
	}
	out := &streamKeyOutput{streamKeyRow(k)}
	out.Body.StreamKey = key
	return out, nil
}

func (h *Handler) revokeStreamKey(ctx context.Context, c caller, in *StreamKeyID) (*struct{}, error) {
	k, err := h.cfg.Control.StreamKey(ctx, in.ID)
	if err == nil && c.may(control.KeysWrite, k.Org) != nil || control.CodeOf(err) == control.NotFound {
		err = notFound("stream key", in.ID)
	}
	if err != nil {
		return nil, err
	}
	_, err = h.cfg.Control.RevokeStreamKey(ctx, in.ID)
	return nil, err
}
