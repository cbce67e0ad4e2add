package viewer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
)

// How often a subscription that was refused is tried again.
const (
	backoffMin = 250 * time.Millisecond
	backoffMax = 2 * time.Second
)

// nextBest is how long the first name that find is given may be absent before
// the others are asked for: a relay may be about to derive it from them.
const nextBest = 500 * time.Millisecond

// find subscribes to the first of the names that is there. While none is it
// tries again: at once when the namespace comes, and now and then, because not
// every peer tells about namespaces.
func (v *Viewer) find(ctx context.Context, names ...string) (sub *track.Subscription, name string, err error) {
	began := v.cfg.Now()
	deadline := began.Add(v.cfg.Wait)
	var came <-chan struct{}
	for backoff := backoffMin; ; backoff = min(2*backoff, backoffMax) {
		now := v.cfg.Now()
		sub, name, err := v.first(ctx, names, now.Sub(began) >= nextBest || !now.Before(deadline))
		if err == nil {
			return sub, name, nil
		}
		left := deadline.Sub(v.cfg.Now())
		switch {
		case ctx.Err() != nil:
			return nil, "", context.Cause(ctx)
		case !absent(err):
			return nil, "", fmt.Errorf("viewer: %s of %v: %w", name, v.ns, err)
		case left <= 0:
			return nil, "", fmt.Errorf("%w: %v: %w", ErrNotThere, v.ns, err)
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
			began = v.cfg.Now()
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// first subscribes to the first of the names, or with all to the first that is
// there. name is the one that err is about.
func (v *Viewer) first(ctx context.Context, names []string, all bool) (sub *track.Subscription, name string, err error) {
	for i, n := range names {
		if i > 0 && !all {
			break
		}
		sub, fault := v.subscribe(ctx, n)
		if fault == nil || !absent(fault) {
			return sub, n, fault
		}
		if err == nil {
			name, err = n, fault
		}
	}
	return nil, name, err
}

func (v *Viewer) subscribe(ctx context.Context, name string) (*track.Subscription, error) {
	opt := track.SubscribeOptions{Priority: v.cfg.Priority, HasPriority: v.cfg.HasPriority, GroupOrder: track.Descending}
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
