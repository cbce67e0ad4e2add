package client

import (
	"context"
	"net/http"
	"time"
)

// A SigningKey signs playback URLs. The server keeps its private half.
type SigningKey struct {
	ID           string    `json:"id"` // kid of the tokens
	Org          string    `json:"org"`
	Alg          string    `json:"alg"` // "Ed25519" or "RS256"
	Use          string    `json:"use"` // "playback"
	PublicKeyPEM string    `json:"publicKeyPem"`
	Status       string    `json:"status"` // "active" or "inactive"
	CreatedAt    time.Time `json:"createdAt"`
}

// SigningKeys are the signing keys of a server.
type SigningKeys struct{ c *Client }

// A NewSigningKey describes a signing key to make.
type NewSigningKey struct {
	Org string `json:"org,omitempty"` // empty: that of the Config
	Alg string `json:"alg,omitempty"` // "Ed25519" (empty) or "RS256"
}

// Create makes a signing key.
func (s SigningKeys) Create(ctx context.Context, in NewSigningKey) (k SigningKey, err error) {
	in.Org = s.c.org(in.Org)
	_, err = s.c.do(ctx, call{method: http.MethodPost, path: "/signing-keys", body: in}, &k)
	return k, err
}

// Get returns a signing key.
func (s SigningKeys) Get(ctx context.Context, id string) (k SigningKey, err error) {
	_, err = s.c.do(ctx, call{method: http.MethodGet, path: itemPath("/signing-keys", id)}, &k)
	return k, err
}

// List returns a part of the signing keys.
func (s SigningKeys) List(ctx context.Context, page Page) (List[SigningKey], error) {
	return list[SigningKey](ctx, s.c, "/signing-keys", s.c.query(page))
}

// Deactivate ends a signing key: what it has signed counts no longer, and who
// watches with it is closed.
func (s SigningKeys) Deactivate(ctx context.Context, id string) (k SigningKey, err error) {
	_, err = s.c.do(ctx, call{method: http.MethodPost, path: itemPath("/signing-keys", id, "deactivate")}, &k)
	return k, err
}

// A StreamKey lets an encoder publish one ad-hoc stream. Those of live inputs
// are made with the inputs.
type StreamKey struct {
	ID        string    `json:"id"`
	Namespace string    `json:"namespace"` // stream/local/<name>
	CreatedAt time.Time `json:"createdAt"`
	RevokedAt time.Time `json:"revokedAt,omitzero"`
	// Key is the key itself; only Create's answer has it.
	Key string `json:"streamKey,omitempty"`
}

// StreamKeys are the stream keys of ad-hoc streams.
type StreamKeys struct{ c *Client }

// Create makes a stream key for a namespace, such as "stream/local/cam".
func (s StreamKeys) Create(ctx context.Context, namespace string) (k StreamKey, err error) {
	body := struct {
		Namespace string `json:"namespace"`
	}{namespace}
	_, err = s.c.do(ctx, call{method: http.MethodPost, path: "/stream-keys", body: body}, &k)
	return k, err
}

// List returns a part of the stream keys.
func (s StreamKeys) List(ctx context.Context, page Page) (List[StreamKey], error) {
	return list[StreamKey](ctx, s.c, "/stream-keys", s.c.query(page))
}

// Revoke ends a stream key and who publishes with it.
func (s StreamKeys) Revoke(ctx context.Context, id string) error {
	_, err := s.c.do(ctx, call{method: http.MethodDelete, path: itemPath("/stream-keys", id)}, nil)
	return err
}

// An APIKey lets a program call the API.
type APIKey struct {
	ID         string    `json:"id"` // ak_…
	Name       string    `json:"name"`
	Orgs       []string  `json:"orgs"`
	Scopes     []string  `json:"scopes"` // such as "streams:*"
	CreatedAt  time.Time `json:"createdAt"`
	ExpiresAt  time.Time `json:"expiresAt,omitzero"`
	RevokedAt  time.Time `json:"revokedAt,omitzero"`
	LastUsedAt time.Time `json:"lastUsedAt,omitzero"`
	// Key is the key itself; only Create's answer has it.
	Key string `json:"key,omitempty"`
}

// A NewAPIKey describes an API key to make.
type NewAPIKey struct {
	Name      string    `json:"name"`
	Orgs      []string  `json:"orgs,omitempty"`   // empty: that of the Config, or "local"
	Scopes    []string  `json:"scopes,omitempty"` // empty: "streams:*"
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
}

// APIKeys are the API keys of a server.
type APIKeys struct{ c *Client }

// Create makes an API key.
func (s APIKeys) Create(ctx context.Context, in NewAPIKey) (k APIKey, err error) {
	if org := s.c.org(""); len(in.Orgs) == 0 && org != "" {
		in.Orgs = []string{org}
	}
	_, err = s.c.do(ctx, call{method: http.MethodPost, path: "/api-keys", body: in}, &k)
	return k, err
}

// Get returns an API key.
func (s APIKeys) Get(ctx context.Context, id string) (k APIKey, err error) {
	_, err = s.c.do(ctx, call{method: http.MethodGet, path: itemPath("/api-keys", id)}, &k)
	return k, err
}

// List returns a part of the API keys.
func (s APIKeys) List(ctx context.Context, page Page) (List[APIKey], error) {
	return list[APIKey](ctx, s.c, "/api-keys", s.c.query(page))
}

// Revoke ends an API key.
func (s APIKeys) Revoke(ctx context.Context, id string) error {
	_, err := s.c.do(ctx, call{method: http.MethodDelete, path: itemPath("/api-keys", id)}, nil)
	return err
}
