package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/hls/pull"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/config"
)

func isHTTP(name string) bool {
	return strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://")
}

// newPuller makes the input for an HLS URL.
func newPuller(url string, sel pull.Selection, log *slog.Logger) (*pull.Puller, error) {
	return pull.New(pull.Config{URL: url, Renditions: sel, UserAgent: "broadcastd/" + version, Log: log})
}

// pullSource makes the input for a URL of the settings.
func pullSource(url string, log *slog.Logger) (src ingest.Source, protocol string, err error) {
	if isRTMP(url) {
		src, err = newRTMPPuller(url, log)
		return src, "rtmp", err
	}
	if isSRT(url) {
		src, err = newSRTPuller(url, log)
		return src, "srt", err
	}
	src, err = newPuller(url, pull.Selection{}, log)
	return src, "hls", err
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
		if _, _, err := pullSource(p.URL, nil); err != nil {
			return usageError{fmt.Errorf("pulls: %s: %w", p.Name, err)}
		}
	}
	return nil
}

// pull feeds one presentation of the settings, as an input like any other: a
// pull that fails is begun again, and within the grace it continues its
// broadcast. It is over when the presentation is, or when somebody else has
// taken the name; the server goes on.
func (s *server) pull(ctx context.Context, p config.Pull) error {
	log := s.log.With("pull", p.Name)
	wait := pullAgain
	for {
		began := time.Now()
		err := s.pullOnce(ctx, p, log)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil || errors.Is(err, ingest.ErrReplaced) {
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

func (s *server) pullOnce(ctx context.Context, p config.Pull, log *slog.Logger) error {
	puller, protocol, err := pullSource(p.URL, log)
	if err != nil {
		return err
	}
	conn := s.sessions.Connect(p.Name, ingest.Peer{Addr: "pull", Protocol: protocol})
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
