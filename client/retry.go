package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	backoffFirst = 200 * time.Millisecond
	backoffMost  = 5 * time.Second
	// waitMost is the longest Retry-After that is waited for. Beyond it the
	// caller decides.
	waitMost = 30 * time.Second
)

// backoff returns the pause after a failed attempt, counted from 0: between half
// and the whole of a time that doubles, so that clients which failed together do
// not come back together.
func backoff(attempt int) time.Duration {
	d := backoffMost
	if attempt < 10 {
		d = min(backoffFirst<<attempt, backoffMost)
	}
	return d/2 + rand.N(d/2)
}

// sleep waits for d, or until ctx ends: then its cause is the error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A repetition says when a call may be made again.
type repetition int

const (
	repeatRefused repetition = iota // only if the server says that it did nothing: 429, 503
	repeatAlways                    // doing it twice is doing it once
)

// again reports whether the call may be repeated after err, and after which pause.
func (r repetition) again(err error, attempt int) (time.Duration, bool) {
	pause := backoff(attempt)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return pause, r == repeatAlways && errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrUntrusted)
	}
	if e.RetryAfter > 0 {
		pause = e.RetryAfter + rand.N(pause) // never before
	}
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return pause, e.RetryAfter <= waitMost
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return pause, r == repeatAlways && e.RetryAfter <= waitMost
	}
	return 0, false
}
