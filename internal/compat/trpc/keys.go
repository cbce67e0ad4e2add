package trpc

import (
	"context"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
)

// A signingKey is a signing key's row. Its id is the kid of its tokens.
type signingKey struct {
	ID           string `json:"id"`
	Alg          string `json:"alg"`
	Use          string `json:"use"`
	PublicKeyPEM string `json:"publicKeyPem"`
	Status       string `json:"status"`
	CreatedAt    string `json:"createdAt"`
}

func keyRow(k control.SigningKey) signingKey {
	return signingKey{
		ID: k.ID, Alg: string(k.Alg), Use: k.Use, PublicKeyPEM: k.PublicKeyPEM,
		Status: k.Status, CreatedAt: isoTime(k.Created),
	}
}

// algorithms and uses are what a signing key may be made for.
var (
	algorithms = []string{"Ed25519", "RS256"}
	uses       = []string{"playback"}
)

func createSigningKey(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	alg, err := oneOf("alg", in.Alg, algorithms)
	if err != nil {
		return nil, err
	}
	if _, err := oneOf("use", in.Use, uses); err != nil {
		return nil, err
	}
	k, err := h.cfg.Control.CreateSigningKey(ctx, in.OrgID, auth.Algorithm(alg))
	if err != nil {
		return nil, err
	}
	return keyRow(k), nil
}

// listSigningKeys returns all of them, or a page of those who ask for one.
func listSigningKeys(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	if in.PerPage == nil {
		most := float64(maxPerPage)
		in.PerPage = &most
	}
	return page(in, func(p control.Page) (control.List[control.SigningKey], error) {
		return h.cfg.Control.SigningKeys(ctx, in.OrgID, p)
	}, keyRow)
}

func deactivateSigningKey(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	if in.ID == "" {
		return nil, fail(codeBadRequest, "id: name the signing key")
	}
	k, err := h.cfg.Control.SigningKey(ctx, in.ID)
	if err == nil && k.Org != in.OrgID {
		err = fail(codeNotFound, "id: there is no signing key %.60q", in.ID)
	}
	if err != nil {
		return nil, err
	}
	if k, err = h.cfg.Control.DeactivateSigningKey(ctx, k.ID); err != nil {
		return nil, err
	}
	return keyRow(k), nil
}

// An apiKey is an API key's row.
type apiKey struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Scopes     []control.Scope `json:"scopes"`
	Status     string          `json:"status"` // active, inactive
	CreatedAt  string          `json:"createdAt"`
	ExpiresAt  *string         `json:"expiresAt"`
	RevokedAt  *string         `json:"revokedAt"`
	LastUsedAt *string         `json:"lastUsedAt"`
	// Cleartext is shown once, when the key is made.
	Cleartext string `json:"api_key_cleartext,omitempty"`
}

func apiKeyRow(k control.APIKey, now time.Time, cleartext string) apiKey {
	status := "active"
	if !k.Revoked.IsZero() || !k.Expires.IsZero() && !now.Before(k.Expires) {
		status = "inactive"
	}
	return apiKey{
		ID: k.ID, Name: k.Name, Scopes: k.Scopes, Status: status, CreatedAt: isoTime(k.Created),
		ExpiresAt: isoOrNull(k.Expires), RevokedAt: isoOrNull(k.Revoked), LastUsedAt: isoOrNull(k.LastUsed),
		Cleartext: cleartext,
	}
}

// createAPIKey makes a key for the payload's organisation that can do no more
// than the caller's own.
func createAPIKey(ctx context.Context, h *Handler, c caller, in input) (any, error) {
	if in.Name == "" {
		return nil, fail(codeBadRequest, "name: give the API key a name")
	}
	n := control.NewAPIKey{Name: in.Name, Orgs: []string{in.OrgID}}
	for _, s := range in.Scopes {
		n.Scopes = append(n.Scopes, control.Scope(s))
	}
	if len(n.Scopes) == 0 {
		return nil, fail(codeBadRequest, `scopes: say what the key may do, such as ["streams:*"]`)
	}
	if in.ExpiresAt != "" {
		at, err := time.Parse(time.RFC3339, in.ExpiresAt)
		if err != nil {
			return nil, fail(codeBadRequest, "expiresAt: %.40q is no time of ISO 8601, such as 2026-01-31T12:00:00Z", in.ExpiresAt)
		}
		n.Expires = at
	}
	if err := c.MayGrant(n); err != nil {
		return nil, err
	}
	k, cleartext, err := h.cfg.Control.CreateAPIKey(ctx, n)
	if err != nil {
		return nil, err
	}
	return apiKeyRow(k, h.cfg.Now(), cleartext), nil
}

// ownAPIKey finds the API key that the payload names. One that is not of the
// organisation is as unknown as one that is not there.
func ownAPIKey(ctx context.Context, h *Handler, in input) (control.APIKey, error) {
	if in.ID == "" {
		return control.APIKey{}, fail(codeBadRequest, "id: name the API key")
	}
	k, err := h.cfg.Control.APIKey(ctx, in.ID)
	if err == nil && !slices.Contains(k.Orgs, in.OrgID) && !slices.Contains(k.Orgs, control.AnyOrg) {
		return control.APIKey{}, fail(codeNotFound, "id: there is no API key %.60q", in.ID)
	}
	return k, err
}

func getAPIKey(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	k, err := ownAPIKey(ctx, h, in)
	if err != nil {
		return nil, err
	}
	return apiKeyRow(k, h.cfg.Now(), ""), nil
}

func listAPIKeys(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	return page(in, func(p control.Page) (control.List[control.APIKey], error) {
		return h.cfg.Control.APIKeys(ctx, in.OrgID, p)
	}, func(k control.APIKey) apiKey { return apiKeyRow(k, h.cfg.Now(), "") })
}

// revokeAPIKey revokes a key. One that also counts in other organisations is
// revoked by who may administer them all.
func revokeAPIKey(ctx context.Context, h *Handler, c caller, in input) (any, error) {
	k, err := ownAPIKey(ctx, h, in)
	if err != nil {
		return nil, err
	}
	if err := c.MayGrant(control.NewAPIKey{Orgs: k.Orgs, Scopes: k.Scopes}); err != nil {
		return nil, err
	}
	if k, err = h.cfg.Control.RevokeAPIKey(ctx, k.ID); err != nil {
		return nil, err
	}
	return apiKeyRow(k, h.cfg.Now(), ""), nil
}
