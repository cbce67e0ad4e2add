package moqt

import (
	"context"
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A TrackStatusRequest is a TRACK_STATUS (section 10.14): what a SUBSCRIBE would
// be answered is asked for, and no subscription made.
type TrackStatusRequest struct {
	*request
	Name   track.Name
	Params wire.Params // read only
}

// Accept answers with the largest object, nil if there is none yet, and the
// track's properties.
func (r *TrackStatusRequest) Accept(largest *track.Location, props track.Properties) {
	r.answer(evAcceptStatus{sid: r.sid, largest: largest, props: props})
}

// Serve answers with what t says.
func (r *TrackStatusRequest) Serve(t *track.Track) { r.Accept(largest(t), t.Properties()) }

// A TrackStatus is what a publisher says of a track (section 10.14).
type TrackStatus struct {
	Largest    *track.Location // the largest object; nil: nothing has been published yet
	Expires    time.Duration   // how long a subscription would last; 0: not stated
	Properties track.Properties
}

// TrackStatus asks for the status of a track and waits for the answer. The error
// wraps a *RequestError if the peer refuses.
func (s *Session) TrackStatus(ctx context.Context, name track.Name) (TrackStatus, error) {
	var got TrackStatus
	var err error
	answered := make(chan struct{})
	cancel := s.TrackStatusAsync(name, func(t TrackStatus, e error) {
		got, err = t, e
		close(answered)
	})
	select {
	case <-answered:
	case <-ctx.Done():
		cancel()
		return TrackStatus{}, fmt.Errorf("moqt: status of %v: %w", name, context.Cause(ctx))
	}
	if err != nil {
		return TrackStatus{}, fmt.Errorf("moqt: status of %v: %w", name, err)
	}
	return got, nil
}

// TrackStatusAsync is TrackStatus without the wait: done is called once, from the
// session's loop, or before it returns if the session has ended. cancel may be
// called at any time and more than once.
func (s *Session) TrackStatusAsync(name track.Name, done func(TrackStatus, error)) (cancel func()) {
	ev := evTrackStatus{sid: s.newSID(), name: name, done: done}
	if !s.call(ev) {
		done(TrackStatus{}, s.err)
	}
	return s.cancel(ev.sid)
}

type (
	evTrackStatus struct {
		sid  streamID
		name track.Name
		done func(TrackStatus, error)
	}
	evAcceptStatus struct {
		sid     streamID
		largest *track.Location
		props   track.Properties
	}
)

// A telling is a TRACK_STATUS of the peer.
type telling struct{}

func (c *core) openStatus(st *stream, m wire.TrackStatus) {
	if src, ok := c.answers(st, m.Track, nil); ok {
		c.ask(telling{}, st, &TrackStatusRequest{request: st.req, Name: m.Track, Params: m.Params}, src)
	}
}

func (c *core) acceptStatus(ev evAcceptStatus) {
	st := c.pendingRequest(ev.sid)
	if st == nil {
		return
	}
	if _, ok := st.role.(telling); !ok {
		return
	}
	m := wire.RequestOK{Params: wire.Params{LargestObject: c.told(ev.largest)}, Properties: ev.props}
	if !fits(m) {
		c.refuse(st, wire.RequestInternalError, "the track's properties are too large")
		return
	}
	c.granted(st, m)
	c.finish(st, errAnswered)
}

// message refuses every other message: TRACK_STATUS is the only one of its
// stream, and cannot be updated.
func (telling) message(_ *core, st *stream, t wire.MessageType, _ []byte) error {
	return violation("%v on the stream of %v", t, st.opener)
}

func (telling) fin(*core, *stream) error   { return nil }
func (telling) over(*core, *stream, error) {}

// An inquiry is a TRACK_STATUS of ours.
type inquiry struct{ done func(TrackStatus, error) } // nil once it was called

func (c *core) inquire(ev evTrackStatus) {
	if err := c.refusal(); err != nil {
		c.do(actCall{func() { ev.done(TrackStatus{}, err) }})
		return
	}
	c.request(ev.sid, &inquiry{ev.done}, wire.TrackStatus{RequestID: c.takeID(), Track: ev.name})
}

func (q *inquiry) message(c *core, st *stream, t wire.MessageType, body []byte) error {
	switch t {
	case wire.TypeRequestOK:
		m, err := wire.ParseRequestOK(body, st.opener)
		if err != nil {
			return err
		}
		s := TrackStatus{Largest: m.Params.LargestObject, Properties: m.Properties}
		if m.Params.Expires != nil {
			s.Expires = *m.Params.Expires
		}
		c.do(actCount{st.opener.String(), outcomeOK})
		done := q.done
		q.done = nil
		c.do(actCall{func() { done(s, nil) }})
		c.finish(st, errAnswered)
		return nil
	case wire.TypeRequestError:
		e, err := c.requestError(st, body)
		if err != nil {
			return err
		}
		c.finish(st, e)
		return nil
	}
	return violation("%v on the stream of %v", t, st.opener)
}

func (q *inquiry) fin(c *core, st *stream) error {
	c.over(st, errNoAnswer)
	c.abandon(st, wire.ResetCancelled)
	return nil
}

func (q *inquiry) over(c *core, _ *stream, cause error) {
	if done := q.done; done != nil {
		q.done = nil
		c.do(actCall{func() { done(TrackStatus{}, unanswered(cause)) }})
	}
}
