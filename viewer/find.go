package viewer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// How often a subscription that was refused is tried again.
const (
	backoffMin = 250 * time.Millisecond
	backoffMax = 2 * time.Second
)

// find subscribes to the catalog. While the broadcast is not there it tries
// again: at once when its namespace comes, and now and then, because not every
// peer tells about namespaces.
func (v *Viewer) find(ctx context.Context) (*track.Subscription, error) {
	deadline := v.cfg.Now().Add(v.cfg.Wait)
	var came <-chan struct{}
	for backoff := backoffMin; ; backoff = min(2*backoff, backoffMax) {
		sub, err := v.subscribe(ctx, catalog.TrackName)
		if err == nil {
			return sub, nil
		}
		left := deadline.Sub(v.cfg.Now())
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !absent(err):
			return nil, fmt.Errorf("viewer: catalog of %v: %w", v.ns, err)
		case left <= 0:
			return nil, fmt.Errorf("%w: %v: %w", ErrNotThere, v.ns, err)
		case came == nil:
			watching, stop := context.WithCancel(ctx)
			var done func()
			came, done = v.watch(watching)
			defer func() { stop(); done() }()
		}
		timer := time.NewTimer(min(retryAfter(err, backoff), left))
		select {
		case <-timer.C:
		case <-came:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (v *Viewer) subscribe(ctx context.Context, name string) (*track.Subscription, error) {
	opt := track.SubscribeOptions{Priority: v.cfg.Priority, HasPriority: v.cfg.HasPriority}
	if v.cfg.Mode == Lossless {
		opt.GroupOrder = track.Ascending
	}
	return v.src.Subscribe(ctx, track.Name{Namespace: v.ns, Name: name}, opt)
}

// absent reports whether err says that there is no such track, for now.
func absent(err error) bool {
	e, ok := errors.AsType[*track.RequestError](err)
	return ok && (e.Code == track.RequestDoesNotExist || e.Code == track.RequestTimeout)
}

// retryAfter returns how long to wait before trying again.
func retryAfter(err error, backoff time.Duration) time.Duration {
	if e, ok := errors.AsType[*track.RequestError](err); ok && e.RetryAfter > 0 {
		return min(e.RetryAfter, 10*time.Second)
	}
	return backoff
}

// watch sends to came whenever the namespace is announced, until ctx ends; done
// waits for its goroutine. A peer that does not tell about namespaces never
// sends.
func (v *Viewer) watch(ctx context.Context) (came <-chan struct{}, done func()) {
	c := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for e, err := range v.src.Namespaces(ctx, v.ns) {
			if err != nil {
				return
			}
			if !e.Active || e.Namespace != v.ns {
				continue
			}
			select {
			case c <- struct{}{}:
			default:
			}
		}
	})
	return c, wg.Wait
}
