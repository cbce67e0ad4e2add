package client

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	moqclient "github.com/broadcastd/broadcastd/moqt/client"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// ErrRecording reports a playback id, pb_…, of a recording. Those play over
// HTTPS, which this server does not offer.
var ErrRecording = errors.New("client: recordings (pb_…) cannot be played yet, only live inputs")

// Streams says how to reach a relay, for publishers and viewers alike. The zero
// value plays signed URLs of relays with a certificate that the system trusts.
type Streams struct {
	// Relay is where to publish, and to play what is given by its id:
	// moqt://host:port (moq:// is the same) over QUIC, or https://host:port over
	// WebTransport.
	Relay string
	// API resolves the ids that are to be played. Nil: Relay has them all.
	API *Client
	// Token is the signed token that ids are played with. URLs have their own.
	Token string
	// CertSHA256 pins the relay's certificate: the SHA-256 of one of these.
	CertSHA256 [][]byte
	// Insecure accepts any certificate. Only for tests by hand.
	Insecure bool
	// Patience is how long a network that is lost may stay away, and how long the
	// first connection may take. Zero means 30 s, below zero that the first loss
	// is the end.
	Patience time.Duration
	// Dial opens a connection. Nil means transport.Dial.
	Dial func(ctx context.Context, url string, cfg transport.DialConfig) (moqt.Conn, error)
	// Log takes losses and returns. Nil: nothing.
	Log *slog.Logger
}

func (s Streams) checked() Streams {
	s.Patience = cmp.Or(s.Patience, 30*time.Second)
	if s.Dial == nil {
		s.Dial = transport.Dial
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	return s
}

// parseRelay parses a relay's URL. Its errors quote nothing, because a query may
// hold a token.
func parseRelay(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "moqt" && u.Scheme != "moq" && u.Scheme != "https" {
		return nil, errors.New("client: the relay's URL is not of the form moqt://host:port or https://host:port")
	}
	return u, nil
}

// parsePin reads a certificate's SHA-256, in hexadecimal or base64.
func parsePin(text string) ([]byte, error) {
	sum, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil {
		sum, err = base64.StdEncoding.DecodeString(text)
	}
	if err != nil || len(sum) != 32 {
		return nil, fmt.Errorf("%w: the certificate's hash is no SHA-256", ErrResponse)
	}
	return sum, nil
}

// A line is a relay that one publisher or viewer keeps to.
type line struct {
	s    Streams
	url  string
	pins [][]byte
}

// dialPatience bounds one attempt to connect.
const dialPatience = 10 * time.Second

// with connects, runs f with a client of the relay, and ends the session when f
// has returned. What ended the session goes before what f says of it.
func (l line) with(ctx context.Context, f func(context.Context, *moqclient.Client) error) error {
	c, err := moqclient.Dial(ctx, moqclient.Config{URL: l.url, Dial: l.session, Patience: dialPatience, Log: l.s.Log})
	if err != nil {
		return cause(ctx, err)
	}
	running, end := context.WithCancelCause(context.WithoutCancel(ctx))
	inner, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ended := make(chan error, 1)
	go func() {
		err := c.Run(running)
		if err == nil {
			err = errLeft
		}
		stop(err)
		ended <- err
	}()
	err = f(inner, c)
	end(errDone)
	lost := <-ended
	if err == nil || ctx.Err() != nil || errors.Is(lost, errDone) {
		return err
	}
	return lost
}

var (
	errDone = errors.New("client: done")
	errLeft = &moqt.SessionError{Remote: true, Reason: "the relay closed the session"}
)

// session dials and makes a session, which it does not run.
func (l line) session(ctx context.Context, to string) (*moqt.Session, error) {
	authority, path, err := transport.SetupOptions(to)
	if err != nil {
		return nil, err
	}
	conn, err := l.s.Dial(ctx, to, transport.DialConfig{CertSHA256: l.pins, Insecure: l.s.Insecure})
	if err != nil {
		return nil, err
	}
	s, err := moqt.NewSession(conn, moqt.Config{Log: l.s.Log, Implementation: "broadcastd-go", Authority: authority, Path: path})
	if err != nil {
		return nil, errors.Join(err, conn.CloseWithError(wire.SessionNoError, ""))
	}
	return s, nil
}

// keep runs once again and again, with growing pauses, until it returns nil, ctx
// ends, there is no hope, or nothing has got better for as long as Patience
// says. once calls progress when it gets somewhere.
func (l line) keep(ctx context.Context, once func(ctx context.Context, progress func()) error) error {
	since := time.Now()
	attempt := 0
	for {
		err := once(ctx, func() { since, attempt = time.Time{}, 0 })
		if err == nil || ctx.Err() != nil || hopeless(err) || l.s.Patience < 0 {
			return err
		}
		if since.IsZero() {
			since = time.Now()
			l.s.Log.Warn("connection lost", "err", err)
		}
		pause := backoff(attempt)
		if time.Since(since)+pause > l.s.Patience {
			return err
		}
		if sleep(ctx, pause) != nil {
			return err
		}
		attempt++
	}
}
