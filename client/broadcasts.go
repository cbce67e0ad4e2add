package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// An Org is an organisation.
type Org struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"createdAt"`
}

// Orgs are the organisations of a server.
type Orgs struct{ c *Client }

// List returns a part of the organisations that the key may act in.
func (s Orgs) List(ctx context.Context, page Page) (List[Org], error) {
	return list[Org](ctx, s.c, "/orgs", s.c.query(page))
}

// Create makes an organisation.
func (s Orgs) Create(ctx context.Context, id string) (o Org, err error) {
	body := struct {
		ID string `json:"id"`
	}{id}
	_, err = s.c.do(ctx, call{method: http.MethodPost, path: "/orgs", body: body}, &o)
	return o, err
}

// A Broadcast is what can be played at the moment.
type Broadcast struct {
	Name      string           `json:"name"`
	Namespace string           `json:"namespace"`
	Live      bool             `json:"live"`
	Since     time.Time        `json:"since"`
	Tracks    []BroadcastTrack `json:"tracks"`
}

// A BroadcastTrack is one of its tracks.
type BroadcastTrack struct {
	Name       string  `json:"name"`
	Role       string  `json:"role,omitempty"`
	Codec      string  `json:"codec,omitempty"` // RFC 6381
	Width      int     `json:"width,omitempty"`
	Height     int     `json:"height,omitempty"`
	FrameRate  float64 `json:"framerate,omitempty"`
	Bitrate    int     `json:"bitrate,omitempty"`    // bits per second
	SampleRate int     `json:"sampleRate,omitempty"` // Hz
}

// Broadcasts are what a server has to play.
type Broadcasts struct{ c *Client }

// List returns the broadcasts that the key may see.
func (s Broadcasts) List(ctx context.Context) ([]Broadcast, error) {
	var l struct {
		Broadcasts []Broadcast `json:"broadcasts"`
	}
	_, err := s.c.do(ctx, call{method: http.MethodGet, path: "/broadcasts"}, &l)
	return l.Broadcasts, err
}

// PlaybackURL signs a URL for a namespace, such as stream/local/cam.
func (s Broadcasts) PlaybackURL(ctx context.Context, namespace string, o PlaybackOptions) (PlaybackURL, error) {
	return s.c.playback(ctx, "/playback-url", namespace, o)
}

// A Playback says where an id is played.
type Playback struct {
	Type            string `json:"type"` // "live" or "vod"
	RelayURL        string `json:"relayUrl,omitempty"`
	Namespace       string `json:"namespace,omitempty"`
	CatalogURL      string `json:"catalogUrl,omitempty"`
	CertificateHash string `json:"certificateHash,omitempty"` // SHA-256 of the relay's certificate
}

// Playback resolves a playback id, lv_… or pb_…, or the name of an ad-hoc
// stream. token is the signed token that a viewer has; empty: the client's key
// counts.
func (s Broadcasts) Playback(ctx context.Context, id, token string) (p Playback, err error) {
	q := url.Values{}
	setIf(q, "tok", token)
	_, err = s.c.do(ctx, call{method: http.MethodGet, path: itemPath("/playback", id), query: q}, &p)
	return p, err
}
