package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// ErrClosed reports that the client no longer runs.
var ErrClosed = errors.New("client: closed")

// Config configures a Client. URL and Dial are needed.
type Config struct {
	// URL of the relay, with what authorizes the session.
	URL string
	// Dial connects to a relay and makes a session there, which it does not run.
	Dial func(ctx context.Context, url string) (*moqt.Session, error)
	// Patience is how long a relay may take for a session, and a publisher that
	// moves with us to be there again. Zero means 10 s.
	Patience time.Duration
	// Overlap is how long the old subscriptions stay after the new ones have
	// begun, for what is still on its way. Zero means 1 s.
	Overlap time.Duration
	// Log takes the moves. Nil: nothing.
	Log *slog.Logger
}

// A Client is a publisher or subscriber at a relay. Run must run while it is
// used; every other method may be called from any goroutine.
type Client struct {
	cfg     Config
	log     *slog.Logger
	wg      sync.WaitGroup
	running chan struct{}   // closed once ctx is set
	ctx     context.Context // of Run

	mu      sync.Mutex
	cur     *link
	changed chan struct{} // closed and replaced when cur, or one of away, is another
	away    []*link       // that REDIRECTs have led to
	subs    []*subscription
	anns    []*announcement
}

// A link is one session.
type link struct {
	url string
	// asked is the URL that a REDIRECT has named, also after GOAWAYs have led
	// elsewhere; empty for the client's own session and those that followed it.
	asked string
	s     *moqt.Session
	ended chan struct{} // closed once err is set
	err   error
}

// Dial connects to the relay. It starts nothing; see Run.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	cfg.Patience = cmp.Or(cfg.Patience, 10*time.Second)
	cfg.Overlap = cmp.Or(cfg.Overlap, time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, log: cfg.Log, running: make(chan struct{}), changed: make(chan struct{})}
	l, err := c.open(ctx, cfg.URL)
	if err != nil {
		return nil, err
	}
	c.cur = l
	return c, nil
}

func (c *Client) open(ctx context.Context, url string) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Patience, fmt.Errorf("no answer within %v", c.cfg.Patience))
	defer cancel()
	s, err := c.cfg.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	return &link{url: url, s: s, ended: make(chan struct{})}, nil
}

// Run runs the sessions until the last one ends, or ctx does. It returns what
// that session's Run returned, after every goroutine that it started.
func (c *Client) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	c.ctx = ctx
	close(c.running)
	c.mu.Unlock()
	err := c.run(ctx)
	cancel(ErrClosed)
	c.wg.Wait()
	return err
}

func (c *Client) run(ctx context.Context) error {
	c.start(ctx, c.cur)
	return c.follow(ctx, c.cur)
}

// follow moves on from l whenever the relay asks for it, and returns why the last
// session has ended.
func (c *Client) follow(ctx context.Context, l *link) error {
	var pause backoff
	var arrived time.Time // at l; zero: it is not one that a relay has sent us to
	for {
		select {
		case <-l.ended:
			return l.err
		case <-l.s.Draining():
		}
		if time.Since(arrived) < settled {
			// A relay that sends everybody on, perhaps to itself.
			if !pause.wait(ctx, l) {
				<-l.ended
				return l.err
			}
		} else {
			pause = backoff{}
		}
		next, err := c.move(ctx, l)
		if err != nil {
			c.log.Warn("the session cannot move", "err", err)
			<-l.ended
			return l.err
		}
		old := l
		c.wg.Go(func() { c.retire(ctx, old) })
		l, arrived = next, time.Now()
	}
}

func (c *Client) start(ctx context.Context, l *link) {
	c.wg.Go(func() {
		l.err = l.s.Run(ctx)
		close(l.ended)
	})
}

// Session returns the session that is current, such as for its statistics.
func (c *Client) Session() *moqt.Session { return c.link().s }

func (c *Client) link() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cur
}

// An announcement is a namespace that Announce makes available, at each session
// that it was made at.
type announcement struct {
	ns       track.Namespace
	src      track.Source
	withdraw []func()
}

// Announce is that of moqt.Session, at the relay of the moment and those after.
func (c *Client) Announce(ctx context.Context, ns track.Namespace, src track.Source) (withdraw func(), err error) {
	a := &announcement{ns: ns, src: src}
	var first func()
	err = c.try(ctx, "", func(l *link) error {
		var err error
		first, err = l.s.Announce(ctx, ns, src)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	a.withdraw = append(a.withdraw, first)
	c.anns = append(c.anns, a)
	c.mu.Unlock()
	return sync.OnceFunc(func() {
		c.mu.Lock()
		c.anns = slices.DeleteFunc(c.anns, func(o *announcement) bool { return o == a })
		all := a.withdraw
		c.mu.Unlock()
		for _, f := range all {
			f()
		}
	}), nil
}

// try calls f with the current session, or with the one that a REDIRECT to url has
// led to; again with the next one when the session is going away, and again when
// the relay says so.
func (c *Client) try(ctx context.Context, url string, f func(*link) error) error {
	for began := time.Now(); ; {
		c.mu.Lock()
		l, changed := c.current(url), c.changed
		c.mu.Unlock()
		if l == nil {
			var err error
			if l, err = c.reach(ctx, url); err != nil {
				return err
			}
		}
		err := f(l)
		if wait, ok := c.again(began, err); ok {
			c.log.Info("asking again", "after", wait, "err", err)
			if !sleep(ctx, l, wait) {
				return err
			}
			continue
		}
		if !leaving(err) {
			return err
		}
		select {
		case <-changed:
		case <-l.ended:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func leaving(err error) bool {
	e, ok := errors.AsType[*track.RequestError](err)
	return ok && e.Code == wire.RequestGoingAway
}
