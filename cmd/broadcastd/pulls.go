package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/hls/pull"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/ingest/rtmp"
	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/config"
	"github.com/broadcastd/broadcastd/internal/safenet"
)

func isHTTP(name string) bool {
	return strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://")
}

// A pulling is what is pulled, and how.
type pulling struct {
	url        string
	renditions pull.Selection
	headers    http.Header
	// trusted: an administrator or the caller of the program wrote the URL, so
	// that an address in it may be any. Where playlists and redirects lead to is
	// checked all the same.
	trusted bool
	allow   []netip.Prefix // what may be reached besides the public Internet
	setting string         // what errors call allow; empty: the setting
}

// dialer returns the guard of all connections of the pull.
func (p pulling) dialer() safenet.Dialer {
	d := safenet.Dialer{Allow: p.allow, Setting: p.setting}
	if u, err := url.Parse(p.url); err == nil && p.trusted {
		port := map[string]string{"http": "80", "https": "443", "rtmp": "1935", "rtmps": "443"}[u.Scheme]
		d.Trusted = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	}
	return d
}

// source makes the input.
func (p pulling) source(log *slog.Logger) (src ingest.Source, protocol string, err error) {
	dial := p.dialer().DialContext
	if isRTMP(p.url) {
		src, err = rtmp.NewPuller(rtmp.PullConfig{URL: p.url, Dial: dial, Log: log})
		return src, "rtmp", err
	}
	if isSRT(p.url) { // leads nowhere else, and only settings and commands name it
		src, err = newSRTPuller(p.url, log)
		return src, "srt", err
	}
	src, err = pull.New(pull.Config{
		URL: p.url, Renditions: p.renditions, Headers: p.headers, Dial: dial, UserAgent: "broadcastd/" + version, Log: log,
	})
	return src, "hls", err
}

// ofSettings returns a pull as the settings have it.
func ofSettings(p config.Pull, allow []netip.Prefix) pulling {
	headers := make(http.Header, len(p.Headers))
	for name, value := range p.Headers {
		headers.Add(name, value)
	}
	return pulling{url: p.URL, headers: headers, trusted: true, allow: allow}
}

// The waits before a pull that ended is begun again.
const (
	pullAgain     = time.Second
	pullAgainMost = time.Minute
	// pullSettled is how long a pull has to run for its next wait to be short.
	pullSettled = time.Minute
)

var (
	errEndOfPresentation = errors.New("the presentation has ended")
	// A live stream that ends may begin again; a presentation does not.
	errStreamEnded = errors.New("the stream has ended")
)

// checkPulls checks the names in the settings, so that a fault is told at the
// start.
func checkPulls(pulls []config.Pull) error {
	seen := make(map[string]bool)
	for _, p := range pulls {
		if err := auth.CheckName(p.Name); err != nil {
			return usageError{fmt.Errorf("pulls: %w", err)}
		}
		if seen[p.Name] {
			return usageError{fmt.Errorf("pulls: two of the name %s", p.Name)}
		}
		seen[p.Name] = true
		if _, _, err := ofSettings(p, nil).source(nil); err != nil {
			return usageError{fmt.Errorf("pulls: %s: %w", p.Name, err)}
		}
	}
	return nil
}

// pull feeds one presentation as the input name, like any other: a pull that
// fails is begun again, and within the grace it continues its broadcast. It is
// over when the presentation is, when somebody else has taken the name, or when
// somebody has ended the session; the server goes on.
func (s *server) pull(ctx context.Context, name string, p pulling) error {
	log := s.log.With("pull", name)
	wait := pullAgain
	for {
		began := time.Now()
		err := s.pullOnce(ctx, name, p, log)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil || errors.Is(err, ingest.ErrReplaced) || errors.Is(err, ingest.ErrEnded) {
			log.Info("pull ended", "reason", cmpErr(err, errEndOfPresentation))
			<-ctx.Done()
			return context.Cause(ctx)
		}
		if time.Since(began) > pullSettled {
			wait = pullAgain
		}
		log.Warn("pull failed; trying again", "in", wait, "err", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		wait = min(2*wait, pullAgainMost)
	}
}

func (s *server) pullOnce(ctx context.Context, name string, p pulling, log *slog.Logger) error {
	puller, protocol, err := p.source(log)
	if err != nil {
		return err
	}
	conn := s.sessions.Connect(name, ingest.Peer{Addr: "pull", Protocol: protocol})
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() { // somebody else may take the name
		select {
		case <-conn.Done():
			stop(conn.Err())
		case <-running.Done():
		}
	}()
	err = puller.Run(running, conn)
	if err == nil && protocol != "hls" {
		err = errStreamEnded
	}
	if err != nil {
		conn.Pause(0) // the next try has the grace to continue
		return err
	}
	return ignore(conn.Close(nil), ingest.ErrEnded)
}
