package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// An IngestKind is the protocol that a live input takes.
type IngestKind string

// The protocols. FMP4 is CMAF push over HTTP, and MoQ.
const (
	FMP4 IngestKind = "fmp4"
	WHIP IngestKind = "whip"
	RTMP IngestKind = "rtmp"
	SRT  IngestKind = "srt"
	HLS  IngestKind = "hls" // pulled
)

// A LiveInputStatus says what comes in.
type LiveInputStatus string

// The statuses.
const (
	InputIdle    LiveInputStatus = "idle"
	InputLive    LiveInputStatus = "live"
	InputErrored LiveInputStatus = "errored"
)

// A LiveInput is a configured place to publish.
type LiveInput struct {
	ID         string          `json:"id"`         // li_…
	ExternalID string          `json:"externalId"` // lv_…, the last part of URLs to publish to and to play
	Org        string          `json:"org"`
	Name       string          `json:"name"`
	Ingest     IngestKind      `json:"ingest"`
	Status     LiveInputStatus `json:"status"`
	Namespace  string          `json:"namespace"` // stream/<org>/<externalId>, of MoQ
	Settings   InputSettings   `json:"settings"`
	CreatedAt  time.Time       `json:"createdAt"`
	UpdatedAt  time.Time       `json:"updatedAt"`
	// Publish are the URLs for an encoder, by protocol, without the stream key.
	Publish map[string]string `json:"publish,omitempty"`
	// ETag is what UpdateInput takes, to change nothing that somebody else has
	// changed meanwhile. Only Get, Create and the like set it.
	ETag string `json:"-"`
}

// A LiveInputWithSecret is an input with a secret, which only this one answer has.
type LiveInputWithSecret struct {
	LiveInput

	StreamKey  string `json:"streamKey,omitempty"`
	Passphrase string `json:"passphrase,omitempty"` // of SRT; only after RotatePassphrase
}

// A NewLiveInput describes an input to make.
type NewLiveInput struct {
	Org      string         `json:"org,omitempty"` // empty: that of the Config
	Name     string         `json:"name"`
	Ingest   IngestKind     `json:"ingest,omitempty"` // empty: FMP4
	Settings *InputSettings `json:"settings,omitempty"`
}

// A LiveInputPatch changes an input. What is nil stays; Settings replaces the
// settings that it names.
type LiveInputPatch struct {
	Name     *string             `json:"name,omitempty"`
	Settings *InputSettingsPatch `json:"settings,omitempty"`
}

// PlaybackOptions say what a signed URL is good for.
type PlaybackOptions struct {
	// TTL is how long, rounded up to whole seconds. Zero means an hour; the
	// server keeps it within 30 s and 24 h.
	TTL time.Duration
	// KeyID is the signing key. Empty: the newest active one.
	KeyID string
	// Viewer names who watches, for watermarks and statistics.
	Viewer string
	// MaxHeight bounds the picture, in pixels. Zero: not.
	MaxHeight int
	// IP is the one address that may use the URL. Empty: any.
	IP string
}

// A PlaybackURL is a signed URL. It is a secret until it expires.
type PlaybackURL struct {
	URL       string    `json:"url"` // moq://…/playback/<id>?tok=…
	Token     string    `json:"token"`
	TokenID   string    `json:"id"` // by which Broadcasts.RevokeToken takes it back
	KeyID     string    `json:"kid"`
	Alg       string    `json:"alg"`
	ExpiresAt time.Time `json:"expiresAt"`
	Namespace string    `json:"namespace"`
	WatchURL  string    `json:"watchUrl,omitempty"` // a page
	HLSURL    string    `json:"hlsUrl,omitempty"`
}

// LiveInputs are the live inputs of a server. An id is either of an input's two.
type LiveInputs struct{ c *Client }

func inputPath(id string, verb ...string) string { return itemPath("/live-inputs", id, verb...) }

func itemPath(collection, id string, verb ...string) string {
	path := collection + "/" + url.PathEscape(id)
	for _, v := range verb {
		path += "/" + v
	}
	return path
}

// Create makes an input. The answer is the one time that its stream key is
// shown.
func (s LiveInputs) Create(ctx context.Context, in NewLiveInput) (LiveInputWithSecret, error) {
	in.Org = s.c.org(in.Org)
	return s.secret(ctx, call{method: http.MethodPost, path: "/live-inputs", body: in})
}

func (s LiveInputs) secret(ctx context.Context, k call) (l LiveInputWithSecret, err error) {
	l.ETag, err = s.c.do(ctx, k, &l)
	return l, err
}

func (s LiveInputs) input(ctx context.Context, k call) (l LiveInput, err error) {
	l.ETag, err = s.c.do(ctx, k, &l)
	return l, err
}

// Get returns an input.
func (s LiveInputs) Get(ctx context.Context, id string) (LiveInput, error) {
	return s.input(ctx, call{method: http.MethodGet, path: inputPath(id)})
}

// List returns a part of the inputs, the oldest first.
func (s LiveInputs) List(ctx context.Context, page Page) (List[LiveInput], error) {
	return list[LiveInput](ctx, s.c, "/live-inputs", s.c.query(page))
}

// Update changes an input. With an etag, it fails with ErrChanged if somebody
// else has changed the input since.
func (s LiveInputs) Update(ctx context.Context, id, etag string, patch LiveInputPatch) (LiveInput, error) {
	return s.input(ctx, call{method: http.MethodPatch, path: inputPath(id), body: patch, ifMatch: etag})
}

// Delete deletes an input and ends what comes in and goes out.
func (s LiveInputs) Delete(ctx context.Context, id string) error {
	_, err := s.c.do(ctx, call{method: http.MethodDelete, path: inputPath(id)}, nil)
	return err
}

// RotateKey gives the input another stream key. The old one ends at once, and so
// does who publishes with it.
func (s LiveInputs) RotateKey(ctx context.Context, id string) (LiveInputWithSecret, error) {
	return s.secret(ctx, call{method: http.MethodPost, path: inputPath(id, "rotate-key")})
}

// RotatePassphrase gives the input another SRT passphrase, which only this answer
// has. The one before counts until the next is made.
func (s LiveInputs) RotatePassphrase(ctx context.Context, id string) (l LiveInputWithSecret, err error) {
	return s.secret(ctx, call{method: http.MethodPost, path: inputPath(id, "rotate-passphrase")})
}

// SetPassphrase gives the input an SRT passphrase of 10 to 79 bytes in the place
// of all others; with an empty one it needs none.
func (s LiveInputs) SetPassphrase(ctx context.Context, id, passphrase string) (LiveInput, error) {
	body := struct {
		Passphrase string `json:"passphrase"`
	}{passphrase}
	return s.input(ctx, call{method: http.MethodPut, path: inputPath(id, "passphrase"), body: body})
}

// PlaybackURL signs a URL that plays the input.
func (s LiveInputs) PlaybackURL(ctx context.Context, id string, o PlaybackOptions) (PlaybackURL, error) {
	return s.c.playback(ctx, inputPath(id, "playback-url"), "", o)
}

// signing is the body of a call that signs.
type signing struct {
	Namespace string `json:"namespace,omitempty"`
	Key       string `json:"key,omitempty"`
	TTL       int64  `json:"ttlSeconds,omitempty"`
	Viewer    string `json:"viewer,omitempty"`
	MaxHeight int    `json:"maxHeight,omitempty"`
	IP        string `json:"ip,omitempty"`
}

func (c *Client) playback(ctx context.Context, path, namespace string, o PlaybackOptions) (u PlaybackURL, err error) {
	body := signing{
		Namespace: namespace, Key: o.KeyID, TTL: int64((o.TTL + time.Second - 1) / time.Second),
		Viewer: o.Viewer, MaxHeight: o.MaxHeight, IP: o.IP,
	}
	_, err = c.do(ctx, call{method: http.MethodPost, path: path, body: body}, &u)
	return u, err
}
