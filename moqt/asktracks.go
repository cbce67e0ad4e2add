package moqt

import (
	"context"
	"fmt"
	"sync"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TracksOptions say how to ask for tracks. The zero value asks for all of their
// objects.
type TracksOptions struct {
	// Paused has the peer offer the tracks without sending objects yet (FORWARD
	// 0), until a subscription is accepted.
	Paused bool
	Tokens []track.Token // by value
	// Blocked is called, from the session's loop, for a track that the peer has
	// but cannot offer (PUBLISH_BLOCKED): one may subscribe to it. It must not
	// block.
	Blocked func(track.Name)
}

// A TracksRequest is a SUBSCRIBE_TRACKS that the peer has accepted.
type TracksRequest struct {
	s    *Session
	sid  streamID
	done chan struct{} // closed once err is set
	err  error
	once sync.Once
}

// Tracks asks with SUBSCRIBE_TRACKS (section 10.19) for a PUBLISH of each track
// below prefix, now and later, and waits for the answer. What is published comes
// to the session's Handler.
func (s *Session) Tracks(ctx context.Context, prefix track.Namespace, o TracksOptions) (*TracksRequest, error) {
	r := &TracksRequest{s: s, sid: s.newSID(), done: make(chan struct{})}
	ev := evTracks{sid: r.sid, prefix: prefix, opt: o, reply: make(chan reply, 1), ended: func(err error) {
		r.err = err
		close(r.done)
	}}
	if _, err := s.request(ctx, ev.sid, ev, ev.reply); err != nil {
		return nil, fmt.Errorf("moqt: tracks below %v: %w", prefix, err)
	}
	return r, nil
}

// Move makes the request one for the tracks below another prefix (section
// 10.9.2), and waits for the answer. Subscriptions that it has led to stay. If
// the peer refuses, the request is over.
func (r *TracksRequest) Move(ctx context.Context, prefix track.Namespace) error {
	to := make(chan reply, 1)
	r.s.call(evMoveTracks{r.sid, prefix, to})
	select {
	case got := <-to:
		return got.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.s.done:
		return r.s.err
	}
}

// Done is closed when the request has ended, for the reason that Err gives.
func (r *TracksRequest) Done() <-chan struct{} { return r.done }

// Err returns why the request has ended: nil before Done, and after Close.
func (r *TracksRequest) Err() error {
	select {
	case <-r.done:
		return r.err
	default:
		return nil
	}
}

// Close ends the request. Subscriptions that it has led to stay.
func (r *TracksRequest) Close() {
	r.once.Do(func() { r.s.call(evCancel{sid: r.sid, code: wire.ResetCancelled}) })
}

// A askingTracks is a SUBSCRIBE_TRACKS of ours.
type askingTracks struct {
	prefix  track.Namespace
	blocked func(track.Name)
	reply   chan reply // until it is answered
	ended   func(error)
	next    *track.Namespace // a prefix to move to, until that is answered
	moved   chan reply
	timer   timer // of that answer
}

func (c *core) tracks(ev evTracks) {
	a := &askingTracks{prefix: ev.prefix, blocked: ev.opt.Blocked, reply: ev.reply, ended: ev.ended}
	m := wire.SubscribeTracks{RequestID: c.nextID, Prefix: ev.prefix, Params: wire.Params{Tokens: byValue(ev.opt.Tokens)}}
	if ev.opt.Paused {
		m.Params.Forward = new(false)
	}
	err := c.refusal()
	if err == nil && !fits(m) {
		err = errTokensTooLarge
	}
	if err != nil {
		c.do(actReply{ev.reply, reply{err: err}})
		return
	}
	c.takeID()
	c.request(ev.sid, a, m)
}

func (c *core) moveTracks(ev evMoveTracks) {
	st := c.streams[ev.sid]
	var a *askingTracks
	if st != nil {
		a, _ = st.role.(*askingTracks)
	}
	switch {
	case a == nil:
		c.do(actReply{ev.reply, reply{err: errEnded}})
	case a.next != nil:
		c.do(actReply{ev.reply, reply{err: &RequestError{Code: wire.RequestExcessiveLoad, Reason: "the request moves already"}}})
	default:
		a.next, a.moved = &ev.prefix, ev.reply
		c.write(st, wire.RequestUpdate{RequestID: c.takeID(), Params: wire.Params{NamespacePrefix: &ev.prefix}})
		c.arm(&a.timer, c.cfg.ResponseTimeout, func() error {
			c.over(st, errMute)
			c.abandon(st, wire.ResetCancelled)
			return nil
		})
	}
}

func (a *askingTracks) message(c *core, st *stream, t wire.MessageType, body []byte) error {
	switch {
	case t == wire.TypeRequestOK && a.reply != nil:
		if _, err := wire.ParseRequestOK(body, st.opener); err != nil {
			return err
		}
		c.timers.Stop(&st.timer)
		c.do(actCount{st.opener.String(), outcomeOK})
		c.do(actReply{a.reply, reply{}})
		a.reply = nil
		return nil
	case t == wire.TypeRequestOK && a.next != nil:
		if _, err := wire.ParseRequestOK(body, wire.TypeRequestUpdate); err != nil {
			return err
		}
		c.timers.Stop(&a.timer)
		c.do(actReply{a.moved, reply{}})
		a.prefix, a.next = *a.next, nil
		return nil
	case t == wire.TypeRequestError && (a.reply != nil || a.next != nil):
		e, err := c.requestError(st, body)
		if err != nil {
			return err
		}
		c.finish(st, e)
		return nil
	case t == wire.TypePublishBlocked && a.reply == nil:
		m, err := wire.ParsePublishBlocked(body)
		if err != nil {
			return err
		}
		ns, err := a.prefix.Join(m.Suffix)
		if err != nil {
			return violation("PUBLISH_BLOCKED: %v", err)
		}
		if a.blocked != nil {
			c.do(actBlocked{a.blocked, track.Name{Namespace: ns, Name: m.Name}})
		}
		return nil
	}
	return violation("%v on the stream of %v", t, st.opener)
}

func (a *askingTracks) fin(c *core, st *stream) error {
	if a.reply != nil {
		c.over(st, errNoAnswer)
		c.abandon(st, wire.ResetCancelled)
		return nil
	}
	c.finish(st, errEnded)
	return nil
}

func (a *askingTracks) over(c *core, _ *stream, cause error) {
	c.timers.Stop(&a.timer)
	if a.next != nil {
		c.do(actReply{a.moved, reply{err: unanswered(cause)}})
		a.next = nil
	}
	if a.reply != nil {
		c.do(actReply{a.reply, reply{err: unanswered(cause)}})
		return
	}
	if closedHere(cause) {
		cause = nil
	}
	c.do(actTell{a.ended, cause})
}
