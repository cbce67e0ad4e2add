package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

const (
	// settled is how long a session must have lasted for the next move to be
	// made at once.
	settled = 10 * time.Second
	// The pauses between sessions, and the least before a request is repeated.
	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second
)

// A backoff is the pauses between attempts: each twice as long as the one before,
// up to maxPause, less up to half of it, so that not all clients of a relay come
// at once.
type backoff struct{ last time.Duration }

func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, firstPause), maxPause)
	return b.last - rand.N(b.last/2)
}

// wait lets the next pause pass. It reports false if l or ctx has ended.
func (b *backoff) wait(ctx context.Context, l *link) bool { return sleep(ctx, l, b.next()) }

// sleep waits for d. It reports false if l or ctx has ended before.
func sleep(ctx context.Context, l *link, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ended:
	case <-ctx.Done():
	}
	return false
}

// again returns after how long a request is to be repeated that was refused with
// err and first made at began (section 10.6.2): never where the relay states no
// interval, or one that goes beyond Patience. It is spread by a quarter.
//
// A track that is not there may come at any time, and who asks for it knows of
// namespaces: that is left to the caller.
func (c *Client) again(began time.Time, err error) (wait time.Duration, ok bool) {
	e, ok := errors.AsType[*track.RequestError](err)
	if !ok || e.RetryAfter <= 0 || e.Redirect != nil {
		return 0, false
	}
	switch e.Code {
	case wire.RequestDoesNotExist, wire.RequestTimeout, wire.RequestGoingAway:
		return 0, false
	}
	left := c.cfg.Patience - time.Since(began)
	if e.RetryAfter > left {
		return 0, false
	}
	wait = max(e.RetryAfter, firstPause)
	return wait + rand.N(wait/4), true
}
