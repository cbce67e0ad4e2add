package api

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/control"
)

// A PlaybackURL is a signed URL. It is a secret until it expires.
type PlaybackURL struct {
	URL       string    `json:"url,omitempty" example:"moq://media.example:4443/playback/lv_9x7q?tok=eyJ…" doc:"For MoQ players"`
	Token     string    `json:"token" doc:"JWT, for tok"`
	ID        string    `json:"id" doc:"Of the token, its jti: by it, it can be revoked"`
	KID       string    `json:"kid" doc:"Signing key"`
	Alg       string    `json:"alg" enum:"Ed25519,RS256"`
	ExpiresAt time.Time `json:"expiresAt"`
	WatchURL  string    `json:"watchUrl,omitempty" doc:"A page that plays it"`
	Namespace string    `json:"namespace"`
}

// The life of a signed URL, which is kept within these bounds.
const (
	minTTL     = 30 * time.Second
	maxTTL     = 24 * time.Hour
	defaultTTL = time.Hour
)

// SignOptions say what a signed URL is good for.
type SignOptions struct {
	TTLSeconds int    `json:"ttlSeconds,omitempty" minimum:"0" doc:"How long it counts. Absent: 3600. That of a live input is kept within 30 and 86400"`
	Key        string `json:"key,omitempty" maxLength:"128" doc:"Signing key; absent: the newest active one"`
	Viewer     string `json:"viewer,omitempty" maxLength:"128" doc:"Who watches, for statistics and watermarks"`
	MaxHeight  int    `json:"maxHeight,omitempty" minimum:"0" maximum:"16384" doc:"Largest picture in pixels; 0: any"`
	IP         string `json:"ip,omitempty" maxLength:"64" doc:"The one address that may use it; absent: any"`
}

func (o SignOptions) token() control.TokenOptions {
	ttl := defaultTTL
	if o.TTLSeconds != 0 {
		ttl = seconds(min(max(o.TTLSeconds, int(minTTL.Seconds())), int(maxTTL.Seconds())))
	}
	return control.TokenOptions{TTL: ttl, KeyID: o.Key, Viewer: o.Viewer, MaxHeight: o.MaxHeight, IP: o.IP}
}

type playbackURLOutput struct{ Body PlaybackURL }

type signInputInput struct {
	InputID
	Body *SignOptions
}

func (h *Handler) signInput(ctx context.Context, c caller, in *signInputInput) (*playbackURLOutput, error) {
	found, err := h.input(ctx, c, control.StreamsWrite, in.ID)
	if err != nil {
		return nil, err
	}
	var o SignOptions
	if in.Body != nil {
		o = *in.Body
	}
	return h.sign(ctx, c, found.ID, o.token())
}

type signNamespaceInput struct {
	Body struct {
		Namespace string `json:"namespace" minLength:"1" maxLength:"300" example:"stream/local/cam"`
		SignOptions
	}
}

func (h *Handler) signNamespace(ctx context.Context, c caller, in *signNamespaceInput) (*playbackURLOutput, error) {
	org, _, ok := orgOf(in.Body.Namespace)
	if !ok {
		return nil, badNamespace()
	}
	if err := c.may(control.StreamsWrite, org); err != nil {
		return nil, err
	}
	o := in.Body.SignOptions.token()
	if n := in.Body.TTLSeconds; n != 0 {
		o.TTL = seconds(min(n, math.MaxInt32)) // control says what is too long
	}
	return h.sign(ctx, c, in.Body.Namespace, o)
}

// orgOf takes a namespace apart.
func orgOf(namespace string) (org, name string, ok bool) {
	f := strings.Split(namespace, "/")
	if len(f) != 3 || f[0] != "stream" || f[1] == "" || f[2] == "" {
		return "", "", false
	}
	return f[1], f[2], true
}

func badNamespace() *Problem {
	return wrong("body.namespace", "expected stream/<organisation>/<name>")
}

// sign signs a URL for an input or a namespace.
func (h *Handler) sign(ctx context.Context, c caller, of string, o control.TokenOptions) (*playbackURLOutput, error) {
	t, err := h.cfg.Control.MintPlaybackToken(ctx, of, o)
	if err != nil {
		return nil, err
	}
	u := PlaybackURL{Token: t.Token, ID: t.ID, KID: t.KeyID, Alg: string(t.Alg), ExpiresAt: t.Expires, Namespace: t.Namespace, URL: t.URL}
	tok := url.Values{"tok": {t.Token}}.Encode()
	if relay := h.cfg.RelayURL(c.request); relay != "" { // where this caller finds it
		u.URL = relay + "/playback/" + url.PathEscape(t.External) + "?" + tok
	}
	u.WatchURL = h.cfg.SiteURL(c.request) + "/watch/" + url.PathEscape(t.External) + "?" + tok
	return &playbackURLOutput{u}, nil
}

// A Playback says where an id is played.
type Playback struct {
	Type            string `json:"type" enum:"live,vod"`
	RelayURL        string `json:"relayUrl,omitempty" example:"https://media.example:4443" doc:"MoQ, over WebTransport and QUIC"`
	Namespace       string `json:"namespace" example:"stream/local/lv_9x7q"`
	CatalogURL      string `json:"catalogUrl,omitempty" doc:"Of vod"`
	CertificateHash string `json:"certificateHash,omitempty" doc:"SHA-256 of the relay's certificate in hexadecimal, if browsers do not trust it by its issuer"`
}

type playbackInput struct {
	ID  string `path:"id" maxLength:"128" example:"lv_9x7q" doc:"External id of a live input, or the name of an ad-hoc broadcast"`
	Tok string `query:"tok" maxLength:"4096" doc:"Playback token, if the player has one"`
}

type playbackOutput struct{ Body Playback }

// playback resolves an id. It says where something is played, which is no
// secret; whether somebody may play it, the relay decides. A token that does not
// count is refused here too, so that a player learns it early.
func (h *Handler) playback(ctx context.Context, c caller, in *playbackInput) (*playbackOutput, error) {
	var visible func([]string) bool
	if in.Tok != "" || c.request.Header.Get("Authorization") != "" && !showsAPIKey(c.request) {
		var err error
		if visible, err = h.cfg.Gate.Page(c.request); err != nil {
			return nil, newProblem(http.StatusUnauthorized, err.Error())
		}
	}
	org, name := control.LocalOrg, in.ID
	found, err := h.cfg.Control.Input(ctx, in.ID)
	switch {
	case err == nil:
		org, name = found.Org, found.External
	case control.CodeOf(err) != control.NotFound:
		return nil, err
	case !h.live(in.ID):
		return nil, notFound("live input or broadcast", in.ID)
	}
	if visible != nil && !visible([]string{"stream", org, name}) {
		return nil, newProblem(http.StatusForbidden, "the token is for another stream")
	}
	p := Playback{Type: "live", RelayURL: h.cfg.MoQURL(c.request), Namespace: "stream/" + org + "/" + name}
	if hashes := h.cfg.CertificateHashes(); len(hashes) > 0 {
		p.CertificateHash = hashes[0]
	}
	return &playbackOutput{p}, nil
}

// live says whether there is an ad-hoc broadcast of that name.
func (h *Handler) live(name string) bool {
	if h.cfg.Broadcasts == nil {
		return false
	}
	for _, b := range h.cfg.Broadcasts.Broadcasts() {
		if b.Namespace == "stream/"+control.LocalOrg+"/"+name {
			return true
		}
	}
	return false
}
