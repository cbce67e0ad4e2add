package sim

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// drain has the relay go away while everything goes on, and holds that nobody is
// left when its time is over.
func (sc *scene) drain() {
	w := sc.w
	timeout := w.between(500*time.Millisecond, 3*time.Second).Truncate(time.Millisecond)
	w.note("world", "drains", uint64(timeout), 0, 0)
	sc.drained = true
	sc.relay.DrainAsync("moqt://elsewhere.example", timeout)
	w.run(timeout)
	sc.ending = true
	for _, v := range sc.viewers {
		v.leaving = true
	}
	for _, p := range sc.publishers {
		p.leaving = true
	}
	w.run(time.Second)
	for _, c := range sc.conns {
		if !c.peer.closed && !strings.HasPrefix(c.name, "rude") { // who come without SETUP
			w.fail("drain", "%s is still there, %v after a drain of %v", c.peer.name, timeout+time.Second, timeout)
		}
	}
	for _, e := range sc.encoders {
		e.p.stopped = true
	}
	w.run(sc.longest(1))
	for _, l := range sc.locals {
		l.close()
	}
	for _, s := range sc.sources {
		s.end()
		s.withdraw()
		s.drop()
	}
	w.calm = true // nobody rude comes back
	w.run(grace + linger + connect + remain + 3*time.Second)
	sc.checkNothingLeft()
}

// refusedLate holds that what was asked after a GOAWAY is refused (section 10.4).
func (r *request) refusedLate(t wire.MessageType, body []byte) {
	cl := r.cl
	if t != wire.TypeRequestError {
		cl.w.fail("drain", "%s: %v in answer to %v, which was asked after GOAWAY", cl.name, t, r.opener)
	}
	if m, err := wire.ParseRequestError(body, r.opener); err != nil || m.Code != wire.RequestGoingAway {
		cl.w.fail("drain", "%s: %v, asked after GOAWAY, was refused with %v %v", cl.name, r.opener, m.Code, err)
	}
}

// shut ends the relay while calls are pending: each must return (I16). They are
// real goroutines, and the only ones; nothing else happens any more.
func (sc *scene) shut() {
	calls := []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := sc.relay.Subscribe(ctx, sc.encoders[0].p.name, track.SubscribeOptions{})
			return err
		},
		func(ctx context.Context) error {
			_, err := sc.relay.Announce(ctx, sc.prefix, &source{sc: sc})
			return err
		},
		func(ctx context.Context) error {
			_, err := sc.relay.Published(ctx)
			return err
		},
		func(ctx context.Context) error {
			for _, err := range sc.relay.Namespaces(ctx, sc.prefix) {
				return err
			}
			return nil
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	results := make([]chan error, len(calls))
	for i, call := range calls {
		results[i] = make(chan error, 1)
		go func() { results[i] <- call(ctx) }()
	}
	sc.relay.Shut()
	for i, result := range results {
		if err := <-result; !errors.Is(err, relay.ErrClosed) {
			sc.w.fail("I16 shut", "call %d, pending when the relay was shut, returns %v", i, err)
		}
	}
}

// sending reports whether somebody still sends a subgroup to the relay.
func (sc *scene) sending(p *plan, group, subgroup uint64) bool {
	for _, pub := range sc.publishers {
		if pub.cl != nil && !pub.cl.gone && slices.ContainsFunc(pub.sent, func(l *lane) bool {
			return l.plan == p && l.group == group && l.subgroup == subgroup && l.out.cl == pub.cl && !l.out.done
		}) {
			return true
		}
	}
	return slices.ContainsFunc(sc.sources, func(s *source) bool { return s.open[lot{p, group, subgroup}] != nil })
}

// progress holds, again and again, that the relay reads what publishers send,
// whatever its subscribers do (I6).
func (sc *scene) progress() {
	w := sc.w
	for _, pub := range sc.publishers {
		if pub.cl == nil || pub.cl.gone || pub.cl.c.peer.closed {
			continue
		}
		for _, l := range pub.sent {
			if l.out.e == nil || l.out.cl != pub.cl {
				continue
			}
			h := l.out.e.send
			if len(h.buf) == 0 || h.stop != nil || h.read != l.read {
				l.read, l.stuck = h.read, w.now
			}
			if d := w.now.Sub(l.stuck); d > unread {
				w.fail("I6 progress", "%s: %d bytes of stream %d are not read for %v", pub.name, len(h.buf), h.st.id, d)
			}
		}
	}
	if !sc.ending {
		w.after(500*time.Millisecond, sc.progress)
	}
}

// unread is how long the relay may leave a stream alone: it does not know its
// alias at first.
const unread = 3 * time.Second
