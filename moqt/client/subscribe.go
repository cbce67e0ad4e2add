package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// maxHops is how many REDIRECTs one request follows.
const maxHops = 3

// A subscription is one that outlives its session: its track is the client's to
// end.
type subscription struct {
	c     *Client
	name  track.Name
	opt   track.SubscribeOptions
	asked string // as that of its link

	mu     sync.Mutex
	t      *track.Track
	holds  []*hold
	moving bool // another hold is being asked for
	closed bool
	end    *track.EndError // why the last hold ended, once all have
}

// A hold is what a subscription has at one session.
type hold struct {
	l   *link
	sub *track.Subscription // nil while it has not begun
}

// Subscribe is that of moqt.Session, at the relay of the moment and those after.
func (c *Client) Subscribe(ctx context.Context, name track.Name, opt track.SubscribeOptions) (*track.Subscription, error) {
	s := &subscription{c: c, name: name, opt: opt}
	var err error
	var first *link
	at := target{name: name, tokens: opt.Tokens}
	for hops := 0; ; hops++ {
		err = c.try(ctx, at.url, func(l *link) error {
			first = l
			return s.begin(ctx, l, at)
		})
		to, ok := redirected(err)
		if !ok {
			break
		}
		if hops == maxHops {
			return nil, fmt.Errorf("client: %d redirects: %w", hops, err)
		}
		if at, err = at.follow(c.link().url, to); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	s.name, s.opt.Tokens, s.asked = at.name, at.tokens, at.url
	c.mu.Lock()
	c.subs = append(c.subs, s)
	cur := c.current(s.asked)
	c.mu.Unlock()
	if cur != nil && cur != first { // which has moved on meanwhile
		s.moveTo(cur, func(bool) {})
	}
	return track.NewSubscription(s.t, s.close), nil
}

func redirected(err error) (wire.Redirect, bool) {
	e, ok := errors.AsType[*track.RequestError](err)
	if !ok || e.Code != wire.RequestRedirect || e.Redirect == nil {
		return wire.Redirect{}, false
	}
	return *e.Redirect, true
}

// begin subscribes at the first session.
func (s *subscription) begin(ctx context.Context, l *link, at target) error {
	h := &hold{l: l}
	s.holds = []*hold{h}
	opt := s.opt
	opt.Tokens = at.tokens
	sub, err := l.s.SubscribeInto(ctx, at.name, nil, opt, func(cause error) { s.ended(h, cause) })
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h.sub, s.t = sub, sub.Track()
	if s.end != nil { // already
		s.t.End(s.end.Code, s.end.Reason)
	}
	return nil
}

// ended takes the end of one hold. The track ends with the last one.
func (s *subscription) ended(h *hold, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds = slices.DeleteFunc(s.holds, func(o *hold) bool { return o == h })
	end, ok := errors.AsType[*track.EndError](cause)
	if !ok {
		end = &track.EndError{Code: wire.PublishDoneInternalError, Reason: cause.Error()}
	}
	if len(s.holds) == 0 {
		s.end = end
		s.finish()
	}
}

// finish ends the track if nothing more is to come. The lock is held.
func (s *subscription) finish() {
	if len(s.holds) == 0 && !s.moving && s.end != nil && s.t != nil {
		s.t.End(s.end.Code, s.end.Reason)
	}
}

func (s *subscription) close() {
	s.c.mu.Lock()
	s.c.subs = slices.DeleteFunc(s.c.subs, func(o *subscription) bool { return o == s })
	s.c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, h := range s.holds {
		if h.sub != nil {
			h.sub.Close()
		}
	}
	s.t.End(wire.PublishDoneSubscriptionEnded, "unsubscribed")
}

// moveTo subscribes at another session, too, and calls done once with whether
// that worked.
func (s *subscription) moveTo(l *link, done func(bool)) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		done(true)
		return
	}
	s.moving = true
	opt := s.opt
	opt.Rendezvous = s.c.cfg.Patience // the publisher moves, too
	if at, ok := s.t.Largest(); ok {
		opt.Start = track.From(track.Location{Group: at.Group})
	}
	s.mu.Unlock()
	s.ask(&hold{l: l}, opt, time.Now(), done)
}

// ask subscribes at the session of h, again when the relay says so; it first did
// at began.
func (s *subscription) ask(h *hold, opt track.SubscribeOptions, began time.Time, done func(bool)) {
	h.l.s.SubscribeAsync(s.name, s.t, opt, func(sub *track.Subscription, err error) {
		if wait, ok := s.c.again(began, err); ok {
			s.c.log.Info("asking again", "track", s.name, "after", wait, "err", err)
			s.c.wg.Go(func() {
				if sleep(s.c.ctx, h.l, wait) {
					s.ask(h, opt, began, done)
				} else {
					s.arrived(h, nil, err, done)
				}
			})
			return
		}
		s.arrived(h, sub, err, done)
	}, func(cause error) { s.ended(h, cause) })
}

// arrived takes the answer at another session.
func (s *subscription) arrived(h *hold, sub *track.Subscription, err error, done func(bool)) {
	s.mu.Lock()
	s.moving = false
	switch {
	case err != nil:
		s.c.log.Warn("a subscription cannot move", "track", s.name, "err", err)
		s.finish()
	case s.closed:
		sub.Close()
	default:
		h.sub = sub
		s.holds = append(s.holds, h)
	}
	s.mu.Unlock()
	done(err == nil)
}

// leave gives up what s holds at l, if it holds something elsewhere.
func (s *subscription) leave(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.holds, func(h *hold) bool { return h.l != l }) {
		return
	}
	s.holds = slices.DeleteFunc(s.holds, func(h *hold) bool {
		if h.l == l {
			h.sub.Close()
		}
		return h.l == l
	})
}

// stays reports whether s depends on l.
func (s *subscription) stays(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.holds, func(h *hold) bool { return h.l == l })
}

// Namespaces is that of moqt.Session. What the relays tell of a namespace while
// the client moves is told once.
func (c *Client) Namespaces(ctx context.Context, prefix track.Namespace) iter.Seq2[track.NamespaceEvent, error] {
	return func(yield func(track.NamespaceEvent, error) bool) {
		known := make(map[track.Namespace]bool)
		for {
			l := c.link()
			var failed error
			for ev, err := range l.s.Namespaces(ctx, prefix) {
				if err != nil {
					failed = err
					break
				}
				if known[ev.Namespace] == ev.Active {
					continue
				}
				known[ev.Namespace] = ev.Active
				if !yield(ev, nil) {
					return
				}
			}
			if ctx.Err() != nil || c.link() == l && !c.await(ctx, l) {
				yield(track.NamespaceEvent{}, failed)
				return
			}
		}
	}
}

// await waits while l, which is going away, is still the current session. It
// reports whether there is another one then.
func (c *Client) await(ctx context.Context, l *link) bool {
	select {
	case <-l.s.Draining():
	default:
		return false
	}
	for {
		c.mu.Lock()
		cur, changed := c.cur, c.changed
		c.mu.Unlock()
		if cur != l {
			return true
		}
		select {
		case <-changed:
		case <-l.ended:
			return c.link() != l
		case <-ctx.Done():
			return false
		}
	}
}
