package moqt

import (
	"context"
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A FetchRequest is a FETCH (section 10.12). Its Context also ends when all was
// sent.
type FetchRequest struct {
	*request
	Name track.Name
	// Range is what is asked for. It is not empty. Of a joining FETCH it ends
	// behind the largest object that the subscription was told of.
	Range   track.Range
	Joining bool
	Params  wire.Params // read only
}

// Order returns the order of groups that is asked for.
func (r *FetchRequest) Order() track.GroupOrder {
	if r.Params.GroupOrder == wire.GroupOrderUnset {
		return track.Ascending // section 10.2.8
	}
	return r.Params.GroupOrder
}

// Bounds returns what of Range has been published as far as t knows, and whether
// that is all of the track (section 10.13). The error is INVALID_RANGE if
// nothing of Range has been published yet, MALFORMED_TRACK if t is malformed.
func (r *FetchRequest) Bounds(t *track.Track) (rng track.Range, endOfTrack bool, err *RequestError) {
	if code, reason, _ := t.Ended(); code == track.DoneMalformedTrack {
		return rng, false, &RequestError{Code: wire.RequestMalformedTrack, Reason: reason}
	}
	final := t.Final() // first: what is final does not grow
	largest, some := t.Largest()
	rng = r.Range
	switch {
	case !some:
		return rng, false, &RequestError{Code: wire.RequestInvalidRange, Reason: "nothing has been published yet"}
	case largest.Less(rng.Start):
		return rng, false, &RequestError{Code: wire.RequestInvalidRange, Reason: fmt.Sprintf("the largest object is %v", largest)}
	}
	if end := after(largest); !rng.End.Less(end) {
		rng.End, endOfTrack = end, final
	}
	return rng, endOfTrack, nil
}

// FillTimeout returns how long the answer may wait in all for objects that are
// not there: what the peer states, within Limits.FillTimeout. 0: not at all.
func (r *FetchRequest) FillTimeout() time.Duration { return r.s.cfg.Limits.fillTimeout(&r.Params) }

// fillTimeout returns what FILL_TIMEOUT of a FETCH with these parameters comes to
// (section 10.2.5).
func (l *Limits) fillTimeout(p *wire.Params) time.Duration {
	if p.FillTimeout != nil {
		return min(l.FillTimeout, *p.FillTimeout)
	}
	return l.FillTimeout
}

// Serve answers from what t holds, for a track that somebody in this process
// publishes.
func (r *FetchRequest) Serve(t *track.Track) {
	rng, endOfTrack, err := r.Bounds(t)
	if err != nil {
		r.Reject(err.Code, err.Reason)
		return
	}
	r.Accept(t, t.Fetch(rng, r.Order()), rng.End, endOfTrack)
}

// Accept answers with FETCH_OK and sends what rd reads of t, in the order that
// Order gives. end is where the response ends, exclusive: Range.End, or behind
// the largest object if that comes first. endOfTrack says that the track has no
// object at or behind end.
//
// The time that rd may wait for objects is what FILL_TIMEOUT states (section
// 10.2.5), within Limits.FillTimeout and counted from the FETCH on. Then rd is
// told to give up.
func (r *FetchRequest) Accept(t *track.Track, rd *track.FetchReader, end track.Location, endOfTrack bool) {
	r.answer(evAcceptFetch{sid: r.sid, t: t, reader: rd, end: end, endOfTrack: endOfTrack})
}

// FetchOptions say how to fetch. The zero value asks for ascending groups with
// the default priority.
type FetchOptions struct {
	Priority    uint8 // lower first; valid if HasPriority is set
	HasPriority bool
	Order       track.GroupOrder // of the response; zero: ascending
	// FillTimeout, in whole milliseconds, is how long a relay may wait for what
	// it does not have before it reports that as unknown (section 10.2.5). Zero
	// leaves that to the relay, a negative one wants no waiting at all.
	FillTimeout time.Duration
	Tokens      []wire.Token // authorize the fetch, each by value
}

// A FetchOK is what a publisher answers to a FETCH (section 10.13).
type FetchOK struct {
	// End is where the response ends, exclusive: where the range does, or behind
	// the publisher's largest object.
	End        track.Location
	EndOfTrack bool // the track has no object at or behind End
	Properties track.Properties
}

// FetchInto asks for the objects of r, which is not empty, with a standalone
// FETCH and fills f, which is open for r, with them. It does not block.
//
// started is called once with the answer, then done, once, when f is closed: with
// nil if the response was complete. The error of a refusal is a *RequestError,
// and both get it. done also gets a *StreamError if the publisher or cancel cut
// the response, an error that wraps wire.ErrMalformedTrack, or the *SessionError.
// f is aborted then. Both are called from the session's loop, or before FetchInto
// returns if the session has ended; objects may be in f before started. What lies
// behind FetchOK.End stays unknown. cancel may be called at any time and more
// than once.
func (s *Session) FetchInto(name track.Name, r track.Range, o FetchOptions, f *track.Filler, started func(FetchOK, error), done func(error)) (cancel func()) {
	return s.fetch(evFetch{name: name, rng: r, opt: o, filler: f, started: func(ok FetchOK, _ *track.Track, _ *track.FetchReader, err error) {
		started(ok, err)
	}, done: done})
}

// Fetch asks for the objects of r with a standalone FETCH and waits for the
// answer. The track that it returns holds what comes, until ctx ends or the
// response does; the reader reads r of it. The error wraps a *RequestError if the
// peer refuses.
func (s *Session) Fetch(ctx context.Context, name track.Name, r track.Range, o FetchOptions) (*track.Track, *track.FetchReader, error) {
	var t *track.Track
	var rd *track.FetchReader
	var err error
	answered := make(chan struct{})
	whole, over := context.WithCancel(ctx)
	cancel := s.fetch(evFetch{
		name: name, rng: r, opt: o,
		started: func(_ FetchOK, got *track.Track, reader *track.FetchReader, e error) {
			t, rd, err = got, reader, e
			close(answered)
		},
		done: func(error) { over() },
	})
	context.AfterFunc(whole, cancel) // in vain once it is over
	select {
	case <-answered:
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("moqt: fetch of %v: %w", name, context.Cause(ctx))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("moqt: fetch of %v: %w", name, err)
	}
	return t, rd, nil
}

// fetch posts a FETCH. It returns what cancels it.
func (s *Session) fetch(ev evFetch) (cancel func()) {
	ev.sid = s.newSID()
	if !s.call(ev) {
		ev.fail(s.err, func(f func()) { f() })
	}
	return s.cancel(ev.sid)
}
