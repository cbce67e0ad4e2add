package client

import (
	"context"
	"net/http"
	"time"
)

// A TokenRef names a playback token: by itself, or by its id.
type TokenRef struct {
	Token string `json:"token,omitempty"`
	// ID is PlaybackURL.TokenID, the claim jti of tokens that were signed elsewhere.
	ID        string    `json:"id,omitempty"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"` // zero: the latest that a token may
	Org       string    `json:"org,omitempty"`      // of an ID; empty: that of the Config
}

// A RevokedToken is a playback token that counts no longer.
type RevokedToken struct {
	ID        string    `json:"id"`
	Org       string    `json:"org"`
	ExpiresAt time.Time `json:"expiresAt"` // when it would have expired
}

// RevokeToken takes a playback token back before it expires, and closes who
// watches with it.
func (s Broadcasts) RevokeToken(ctx context.Context, ref TokenRef) (r RevokedToken, err error) {
	if ref.Token == "" {
		ref.Org = s.c.org(ref.Org)
	}
	_, err = s.c.do(ctx, call{method: http.MethodPost, path: "/playback-tokens/revoke", body: ref}, &r)
	return r, err
}

// A ViewerFilter says which viewers of a session are meant: those that all
// fields fit which are not empty.
type ViewerFilter struct {
	Viewer  string `json:"viewer,omitempty"`  // that the token names
	TokenID string `json:"tokenId,omitempty"` // of PlaybackURL
	Remote  string `json:"remote,omitempty"`  // address or prefix
}

// Disconnect closes viewers of a session that came with a token, and says how
// many. They may come back with it unless it is revoked. reason is what they are
// told; it may be empty.
func (s Sessions) Disconnect(ctx context.Context, id string, who ViewerFilter, reason string) (closed int, err error) {
	body := struct {
		ViewerFilter

		Reason string `json:"reason,omitempty"`
	}{who, reason}
	var out struct {
		Closed int `json:"closed"`
	}
	_, err = s.c.do(ctx, call{method: http.MethodPost, path: itemPath("/sessions", id, "disconnect"), body: body}, &out)
	return out.Closed, err
}
