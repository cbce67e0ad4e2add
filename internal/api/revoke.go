package api

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
)

// A RevokedToken is a playback token that counts no longer.
type RevokedToken struct {
	ID        string    `json:"id" doc:"Its jti"`
	Org       string    `json:"org"`
	ExpiresAt time.Time `json:"expiresAt" doc:"When it would have expired; it is remembered until then"`
}

// Disconnected says what a request to close viewers has done.
type Disconnected struct {
	Closed int `json:"closed" doc:"How many were closed"`
}

func (h *Handler) registerRevocations() {
	register(h, needs(control.StreamsWrite), operation{
		id: "revoke-playback-token", method: http.MethodPost, path: "/playback-tokens/revoke", tag: "Playback",
		summary: "Take a playback token back before it expires",
		about: "Who watches with it is closed with auth_failed; tokens of the same key stay good. Name it by itself, or by the id of the " +
			"answer that signed it. One that is taken back already stays so.",
	}, h.revokeToken)
	register(h, needs(control.SessionsWrite), operation{
		id: "disconnect-viewers", method: http.MethodPost, path: "/sessions/{id}/disconnect", tag: "Sessions",
		summary: "Close viewers of a session",
		about: "Those that all of the body's fields fit, or all who came with a token. They may come back with it unless it is revoked. " +
			"Who needed no token, on the server's own machine, stays.",
	}, h.disconnect)
}

type revokeTokenInput struct {
	Body struct {
		Token     string    `json:"token,omitempty" maxLength:"4096" doc:"The token itself"`
		ID        string    `json:"id,omitempty" maxLength:"256" doc:"Or its id, the claim jti"`
		ExpiresAt time.Time `json:"expiresAt,omitzero" doc:"With id: when it expires. Absent: the latest that a token may"`
		Org       string    `json:"org,omitempty" maxLength:"128" doc:"With id: its organisation, the claim sub. Absent: local"`
	}
}

type revokedTokenOutput struct{ Body RevokedToken }

func (h *Handler) revokeToken(ctx context.Context, c caller, in *revokeTokenInput) (*revokedTokenOutput, error) {
	t := RevokedToken{ID: in.Body.ID, Org: in.Body.Org, ExpiresAt: in.Body.ExpiresAt}
	if (in.Body.Token == "") == (t.ID == "") {
		return nil, wrong("body", "expected either token or id")
	}
	if in.Body.Token != "" {
		claims, err := auth.ReadClaims(in.Body.Token)
		switch {
		case err != nil:
			return nil, wrong("body.token", "expected a playback token, three parts that dots separate")
		case claims.ID == "":
			return nil, wrong("body.token", "the token has no id (claim jti): deactivate the key that signed it")
		case t.Org != "" && t.Org != claims.Subject:
			return nil, wrong("body.org", "the token is of another organisation")
		}
		t = RevokedToken{ID: claims.ID, Org: claims.Subject, ExpiresAt: time.Unix(claims.Expires, 0).UTC()}
	}
	if t.Org == "" {
		t.Org = control.LocalOrg
	}
	if err := c.may(control.StreamsWrite, t.Org); err != nil {
		return nil, err
	}
	until, err := h.cfg.Control.RevokeToken(ctx, t.Org, t.ID, t.ExpiresAt)
	if err != nil {
		return nil, err
	}
	t.ExpiresAt = until
	return &revokedTokenOutput{t}, nil
}

type disconnectInput struct {
	SessionID
	Body *struct {
		Viewer  string `json:"viewer,omitempty" maxLength:"128" doc:"Those whose token names this viewer"`
		TokenID string `json:"tokenId,omitempty" maxLength:"256" doc:"Those of this token, by its id"`
		Remote  string `json:"remote,omitempty" maxLength:"64" example:"192.0.2.7" doc:"Those that come from an address or a prefix"`
		Reason  string `json:"reason,omitempty" maxLength:"200" doc:"What they are told, after auth_failed"`
	}
}

type disconnectedOutput struct{ Body Disconnected }

func (h *Handler) disconnect(ctx context.Context, c caller, in *disconnectInput) (*disconnectedOutput, error) {
	s, err := h.session(ctx, c, control.SessionsWrite, in.ID)
	if err != nil {
		return nil, err
	}
	who, reason := auth.Selector{Viewers: true, Namespace: strings.Split(s.Namespace, "/")}, "closed by the operator"
	if b := in.Body; b != nil {
		who.Viewer, who.TokenID = b.Viewer, b.TokenID
		if b.Remote != "" {
			if who.Remote, err = prefix(b.Remote); err != nil {
				return nil, wrong("body.remote", "expected an address or a prefix, such as 192.0.2.0/24")
			}
		}
		if strings.ContainsFunc(b.Reason, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, wrong("body.reason", "expected a text without control characters")
		}
		if b.Reason != "" {
			reason = b.Reason
		}
	}
	return &disconnectedOutput{Disconnected{h.cfg.Gate.Disconnect(who, reason)}}, nil
}

// prefix reads an address, or a prefix of addresses.
func prefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return a.Prefix(a.BitLen())
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}
