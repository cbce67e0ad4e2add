package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// retired is how long a session that was left may stay for subscribers of ours
// that have not moved, where the relay states no time.
const retired = 30 * time.Second

// move opens the session that follows l, and takes along what was announced and
// subscribed to.
func (c *Client) move(ctx context.Context, l *link) (*link, error) {
	uri, _ := l.s.PeerGoaway()
	to, err := elsewhere(l.url, uri)
	if err != nil {
		return nil, err
	}
	next, err := c.arrive(ctx, l, to)
	if err != nil {
		return nil, err
	}
	next.asked = l.asked
	c.mu.Lock()
	var anns []*announcement
	if l.asked == "" { // elsewhere we only subscribe
		anns = slices.Clone(c.anns)
	}
	c.mu.Unlock()
	for _, a := range anns {
		withdraw, err := c.announce(ctx, next, a)
		if err != nil {
			return nil, errors.Join(err, c.discard(next))
		}
		c.mu.Lock()
		a.withdraw = append(a.withdraw, withdraw)
		c.mu.Unlock()
	}
	c.mu.Lock()
	subs := c.subsAt(l.asked)
	if l.asked == "" {
		c.cur = next
	} else {
		c.away = append(slices.DeleteFunc(c.away, func(o *link) bool { return o == l }), next)
	}
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	c.log.Info("moving to another session", "moqt_session", next.s.ID(), "from", l.s.ID(), "subscriptions", len(subs), "namespaces", len(anns))

	answers := make(chan bool, len(subs))
	for _, s := range subs {
		s.moveTo(next, func(ok bool) { answers <- ok })
	}
	timeout := time.NewTimer(c.cfg.Patience)
	defer timeout.Stop()
	for range subs {
		select {
		case <-answers:
		case <-timeout.C:
		case <-ctx.Done():
			return next, nil
		}
	}
	return next, nil
}

// arrive opens a session at to and waits until it is ready. It tries again for as
// long as l lives.
func (c *Client) arrive(ctx context.Context, l *link, to string) (*link, error) {
	var pause backoff
	for {
		next, err := c.open(ctx, to)
		if err == nil {
			c.start(ctx, next)
			select {
			case <-next.s.Ready():
				return next, nil
			case <-next.ended:
				err = next.err
			}
		}
		if !pause.wait(ctx, l) {
			return nil, err
		}
	}
}

// announce makes a available at l, again when the relay says so.
func (c *Client) announce(ctx context.Context, l *link, a *announcement) (withdraw func(), err error) {
	for began := time.Now(); ; {
		withdraw, err = l.s.Announce(ctx, a.ns, a.src)
		if wait, ok := c.again(began, err); !ok || !sleep(ctx, l, wait) {
			return withdraw, err
		}
	}
}

func (c *Client) discard(l *link) error {
	l.s.Close(wire.SessionNoError, "")
	return nil
}

// retire leaves l, once what it brought is surely here. Where we publish, the
// relay's subscribers move in their own time, and the relay closes the session.
func (c *Client) retire(ctx context.Context, l *link) {
	pause := time.NewTimer(c.cfg.Overlap)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-l.ended:
	case <-ctx.Done():
		return
	}
	c.mu.Lock()
	subs, publishes := c.subsAt(l.asked), l.asked == "" && len(c.anns) > 0
	c.mu.Unlock()
	for _, s := range subs {
		s.leave(l)
		publishes = publishes || s.stays(l)
	}
	if publishes {
		_, wait := l.s.PeerGoaway()
		if wait <= 0 {
			wait = retired
		}
		last := time.NewTimer(wait)
		defer last.Stop()
		select {
		case <-last.C:
		case <-l.ended:
		case <-ctx.Done():
			return
		}
	}
	l.s.Close(wire.SessionNoError, "moved")
}

// A target is where a request goes.
type target struct {
	url    string // empty: the current session
	name   track.Name
	tokens []track.Token
}

// follow returns where a REDIRECT leads to from here, which is at base unless it
// says otherwise. Tokens stay behind at another host; its URI may bring its own.
func (t target) follow(base string, to wire.Redirect) (target, error) {
	if to.ConnectURI != "" {
		from := t.url
		if from == "" {
			from = base
		}
		next, err := elsewhere(from, to.ConnectURI)
		if err != nil {
			return t, err
		}
		if !sameHost(from, next) {
			t.tokens = nil
		}
		t.url = next
	}
	if to.Track.Name != "" || to.Track.Namespace != (track.Namespace{}) {
		t.name = to.Track
	}
	return t, nil
}

// elsewhere returns the URL that uri leads to from current: current itself if it
// is empty, and never one of another scheme. What current shows of credentials
// goes nowhere else.
func elsewhere(current, uri string) (string, error) {
	if uri == "" {
		return current, nil
	}
	from, err := url.Parse(current)
	if err != nil {
		return "", errors.New("client: the current URL cannot be read") // its text may hold a token
	}
	to, err := url.Parse(uri)
	if err != nil || to.Host == "" {
		return "", errors.New("client: the relay names no URL to move to")
	}
	if scheme(from) != scheme(to) {
		return "", fmt.Errorf("client: the relay names a URL of another scheme, %.20q", to.Scheme)
	}
	return uri, nil
}

// scheme returns u's scheme; moq is an old name of moqt.
func scheme(u *url.URL) string {
	if u.Scheme == "moq" {
		return "moqt"
	}
	return u.Scheme
}

func sameHost(a, b string) bool {
	ua, erra := url.Parse(a)
	ub, errb := url.Parse(b)
	return erra == nil && errb == nil && ua.Host == ub.Host
}

// current returns the session that a REDIRECT to url has led to, if it lives; for
// the empty url the client's own. The lock is held.
func (c *Client) current(url string) *link {
	if url == "" {
		return c.cur
	}
	for _, l := range c.away {
		if l.asked == url && !over(l.ended) {
			return l
		}
	}
	return nil
}

// subsAt returns the subscriptions at the session that current returns. The lock
// is held.
func (c *Client) subsAt(url string) (out []*subscription) {
	for _, s := range c.subs {
		if s.asked == url {
			out = append(out, s)
		}
	}
	return out
}

// reach opens a session at a URL that a REDIRECT names, and has it run. It
// follows GOAWAY as the client's own does.
func (c *Client) reach(ctx context.Context, to string) (*link, error) {
	l, err := c.open(ctx, to)
	if err != nil {
		return nil, err
	}
	l.asked = to
	select {
	case <-c.running:
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), c.discard(l))
	}
	c.mu.Lock()
	c.away = append(slices.DeleteFunc(c.away, func(l *link) bool { return over(l.ended) }), l)
	c.mu.Unlock()
	c.start(c.ctx, l)
	c.wg.Go(func() {
		_ = c.follow(c.ctx, l) // whoever subscribes there is told
	})
	return l, nil
}

func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
