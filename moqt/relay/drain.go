package relay

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// settled is how long sessions have at least, to hear of a GOAWAY and to publish
// elsewhere, also where nobody subscribes.
const settled = time.Second

// drainPulse is how often a relay that goes away looks whether all have gone.
const drainPulse = 50 * time.Millisecond

// A draining is what a relay that goes away tells its sessions.
type draining struct {
	uri     string
	until   time.Time
	timeout time.Duration
}

// Drain asks every session to move to uri (GOAWAY, section 10.4), those that
// publish first, so that they are there when their viewers come; empty: to the
// same URL again. Sessions that come later are told the same. It returns when
// nobody is left who subscribes to anything, or after timeout, when the sessions
// that are left are closed; or when ctx ends. Publishers are kept until the
// last subscriber has gone.
//
// A uri without a path gets the path and the query of each session's own, which
// may carry its token: the next relay admits it as this one did. In one with
// the scheme moqt, WebTransport sessions get https.
func (r *Relay) Drain(ctx context.Context, uri string, timeout time.Duration) {
	// Sessions end at the time by themselves, and say how; the rest a moment later.
	ctx, cancel := context.WithTimeout(ctx, timeout+drainPulse)
	defer cancel()
	d := &draining{uri: uri, until: time.Now().Add(timeout), timeout: timeout}
	peers := r.depart(d)
	r.post(func(now time.Time) []action {
		r.dismiss(now, d, peers)
		return nil
	})
	tick := time.NewTicker(drainPulse)
	defer tick.Stop()
	for began := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
		case <-r.done:
			return
		}
		if ctx.Err() != nil || time.Since(began) >= settled && !r.read(ctx) {
			break
		}
	}
	r.evict()
}

// depart has sessions that come from now on told to move, and returns those that
// are there.
func (r *Relay) depart(d *draining) []*peer {
	r.mu.Lock()
	r.draining = d
	peers := r.byID()
	r.mu.Unlock()
	r.cfg.Log.Info("draining", "sessions", len(peers), "uri", d.uri, "timeout", d.timeout)
	return peers
}

// dismiss tells sessions to move, in Run's goroutine.
func (r *Relay) dismiss(now time.Time, d *draining, peers []*peer) {
	r.core.cfg.Linger = time.Millisecond // nobody else will come
	slices.SortStableFunc(peers, func(a, b *peer) int {
		return cmp.Compare(len(r.core.announced[b]), len(r.core.announced[a]))
	})
	for _, p := range peers {
		r.goaway(now, p, d)
	}
}

// evict closes the sessions that are left.
func (r *Relay) evict() {
	r.mu.Lock()
	peers := r.byID()
	r.mu.Unlock()
	r.cfg.Log.Info("drained", "sessions left", len(peers))
	for _, p := range peers {
		p.s.Close(wire.SessionNoError, "the relay has moved")
	}
}

// goaway tells p to move.
func (r *Relay) goaway(now time.Time, p *peer, d *draining) {
	left := d.until.Sub(now)
	if left <= 0 { // a GOAWAY without a timeout would keep it for ever
		p.s.Close(wire.SessionNoError, "the relay has moved")
		return
	}
	uri := d.uri
	if p.s.Conn().Info().Client {
		uri = ""
	} else if u, err := url.Parse(uri); err == nil && uri != "" && (u.Path == "" || u.Path == "/") && u.RawQuery == "" {
		uri = p.scheme(u.Scheme) + "://" + u.Host + p.path()
	}
	if err := p.s.Goaway(uri, left); err != nil {
		r.cfg.Log.Debug("GOAWAY failed", "moqt_session", p.s.ID(), "err", err)
	}
}

// scheme returns the scheme under which p finds what others find under moqt: a
// client of WebTransport, such as a browser, knows https alone.
func (p *peer) scheme(of string) string {
	if of == "moqt" && p.s.Conn().Info().Transport == moqt.WebTransport {
		return "https"
	}
	return of
}

// path returns the path of the session's URL with its query.
func (p *peer) path() string {
	path := cmp.Or(p.s.Conn().Info().Path, p.s.PeerSetup().Path)
	if path == "/" {
		return ""
	}
	return path
}

// byID returns the sessions that are open. The lock is held.
func (r *Relay) byID() []*peer {
	out := make([]*peer, 0, len(r.peers))
	for p := range r.peers {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *peer) int { return cmp.Compare(a.s.ID(), b.s.ID()) })
	return out
}

// read reports whether some session still subscribes to something.
func (r *Relay) read(ctx context.Context) bool {
	ch := make(chan int, 1)
	r.post(func(time.Time) []action {
		ch <- r.core.readers
		return nil
	})
	select {
	case n := <-ch:
		return n > 0
	case <-ctx.Done():
	case <-r.done:
	}
	return false
}

// join enters p into the list of sessions.
func (r *Relay) join(p *peer) {
	r.mu.Lock()
	r.peers[p] = struct{}{}
	r.mu.Unlock()
}

// admitted tells a session that has just become ready to move on, if the relay
// is going away.
func (r *Relay) admitted(now time.Time, p *peer) {
	r.mu.Lock()
	d := r.draining
	r.mu.Unlock()
	if d != nil {
		r.goaway(now, p, d)
	}
}

func (r *Relay) part(p *peer) {
	r.mu.Lock()
	delete(r.peers, p)
	r.mu.Unlock()
}

var _ moqt.Handler = (*peer)(nil)
