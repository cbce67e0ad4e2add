package client

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	moqclient "github.com/broadcastd/broadcastd/moqt/client"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/viewer"
)

// A Chunk is one piece of a broadcast: the header of all its tracks (ftyp,
// moov), or a fragment (moof, mdat).
type Chunk struct {
	Data        []byte // shared: never write to it
	TimestampUs int64  // presentation time, microseconds
	Priority    uint8  // the publisher's, lower first: 0 for a header
	IsInit      bool   // a header
}

// A BroadcastViewer plays one broadcast live, once.
type BroadcastViewer struct {
	s    Streams
	what string
	wait time.Duration

	closing context.Context
	close   context.CancelCauseFunc
	once    sync.Once

	// Of Run's goroutine.
	last track.Location // of the last chunk
	some bool           // there was one
}

// ViewerConfig configures a BroadcastViewer. Play is required.
type ViewerConfig struct {
	// Play is a signed URL, moqt://…/playback/<id>?tok=… (or moq://, https://), or
	// a playback id such as lv_…, for which Streams says where and with which
	// token.
	Play string
	// Wait is how long to wait for a broadcast that is not there yet. Zero means
	// 30 s, below zero not at all.
	Wait time.Duration
}

// Viewer returns a viewer. It starts nothing; see Run.
func (s Streams) Viewer(cfg ViewerConfig) (*BroadcastViewer, error) {
	v := &BroadcastViewer{s: s.checked(), what: cfg.Play, wait: 30 * time.Second}
	if cfg.Wait != 0 {
		v.wait = max(cfg.Wait, 0)
	}
	v.closing, v.close = context.WithCancelCause(context.Background())
	switch {
	case strings.HasPrefix(cfg.Play, "pb_"):
		return nil, ErrRecording
	case strings.Contains(cfg.Play, "://"):
		_, err := signedURL(cfg.Play)
		return v, err
	case cfg.Play == "" || strings.ContainsAny(cfg.Play, "/?#"):
		return nil, errors.New("client: Play is neither a signed URL nor a playback id such as lv_…")
	case s.API != nil:
		return v, nil
	}
	_, err := parseRelay(s.Relay)
	return v, err
}

// signedURL returns the playback id in a signed URL.
func signedURL(text string) (id string, err error) {
	u, err := parseRelay(text)
	if err != nil {
		return "", err
	}
	verb, id, ok := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if !ok || verb != "playback" || id == "" || strings.Contains(id, "/") {
		return "", errors.New("client: the URL is not of the form moqt://host:port/playback/<id>?tok=…")
	}
	if strings.HasPrefix(id, "pb_") {
		return "", ErrRecording
	}
	return id, nil
}

// resolve returns where to play, and the id there.
func (v *BroadcastViewer) resolve(ctx context.Context) (l line, id string, err error) {
	l = line{s: v.s, url: v.what, pins: v.s.CertSHA256}
	if strings.Contains(v.what, "://") {
		id, err = signedURL(v.what)
		return l, id, err
	}
	id, relay := v.what, v.s.Relay
	if v.s.API != nil {
		p, err := v.s.API.Broadcasts.Playback(ctx, id, v.s.Token)
		if err != nil {
			return l, id, err
		}
		if p.Type == "vod" {
			return l, id, ErrRecording
		}
		if relay == "" {
			relay = p.RelayURL
		}
		if p.CertificateHash != "" && len(l.pins) == 0 && !v.s.Insecure {
			pin, err := parsePin(p.CertificateHash)
			if err != nil {
				return l, id, err
			}
			l.pins = [][]byte{pin}
		}
	}
	u, err := parseRelay(relay)
	if err != nil {
		return l, id, err
	}
	u = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/playback/" + id}
	if v.s.Token != "" {
		u.RawQuery = url.Values{"tok": {v.s.Token}}.Encode()
	}
	l.url = u.String()
	return l, id, nil
}

// errClosed is the cause of what ends because of Close.
var errClosed = errors.New("client: closed by the caller")

// Close ends Run, with ClosedByCaller. It may be called from any goroutine, more
// than once, and from hand.
func (v *BroadcastViewer) Close() { v.close(errClosed) }

// Run plays the broadcast: it calls hand with one chunk after the other, from
// this goroutine, until the broadcast ends (Complete), the token no longer counts
// (AuthFailed), the network stays away (Network), or Close is called, ctx ends
// or hand fails (ClosedByCaller). The error is nil when the broadcast is complete
// and after Close.
//
// The first chunk is a header, and so is the first one after a connection was
// lost. What is late is skipped; no fragment comes twice.
func (v *BroadcastViewer) Run(ctx context.Context, hand func(Chunk) error) (CloseReason, error) {
	fresh := false
	v.once.Do(func() { fresh = true })
	if !fresh {
		return Network, errors.New("client: the viewer has run already")
	}
	defer v.close(errClosed)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(v.closing, func() { cancel(errClosed) })()
	var refused error // by hand
	l, id, err := v.resolve(ctx)
	if err == nil {
		err = l.keep(ctx, func(ctx context.Context, progress func()) error {
			err := l.with(ctx, func(ctx context.Context, c *moqclient.Client) error {
				return v.view(ctx, c, id, func(chunk Chunk) error {
					progress()
					if refused = hand(chunk); refused != nil {
						cancel(refused)
					}
					return refused
				})
			})
			return err
		})
	}
	switch {
	case refused != nil:
		return ClosedByCaller, refused
	case errors.Is(context.Cause(ctx), errClosed):
		return ClosedByCaller, nil
	case ctx.Err() != nil:
		return ClosedByCaller, context.Cause(ctx)
	case err == nil:
		return Complete, nil
	}
	return reasonOf(err), err
}

// view plays over one session.
func (v *BroadcastViewer) view(ctx context.Context, src viewer.Source, id string, hand func(Chunk) error) error {
	ns, err := track.NewNamespace("playback", id)
	if err != nil {
		return err
	}
	single, err := viewer.NewSingle(src, ns, viewer.Config{Wait: v.wait, Log: v.s.Log})
	if err != nil {
		return err
	}
	before, some := v.last, v.some // of the session before
	return single.Run(ctx, func(c viewer.SingleChunk) error {
		// After a loss the relay begins with the group that was being played.
		if !c.Init && some && c.Location.Group == before.Group && c.Location.Object <= before.Object {
			return nil
		}
		if !c.Init {
			v.last, v.some = c.Location, true
		}
		return hand(Chunk{Data: c.Data, TimestampUs: c.Timestamp, Priority: c.Priority, IsInit: c.Init})
	})
}
