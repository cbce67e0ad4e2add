package moqt

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// What happens to a FETCH of ours.
type (
	evFetch struct {
		sid    streamID
		name   track.Name
		rng    track.Range
		opt    FetchOptions
		filler *track.Filler // nil: into a track of its own
		// started is called once, then done.
		started func(FetchOK, *track.Track, *track.FetchReader, error)
		done    func(error)
	}
	// evFetchStream: a data stream has begun with this header.
	evFetchStream struct {
		sid    streamID
		header wire.FetchHeader
	}
	// evFetchEnd: the data stream is over; err is nil if the response was whole.
	evFetchEnd struct {
		sid streamID
		err error
	}
)

type (
	// actFill lets a data stream fill a hole.
	actFill struct {
		sid  streamID
		sink *fetchSink
	}
	// actCall runs a callback of the application.
	actCall struct{ f func() }
)

// fail tells everybody that there is no answer to ev.
func (ev evFetch) fail(err error, call func(func())) {
	call(func() {
		ev.started(FetchOK{}, nil, nil, err)
		if ev.filler != nil {
			ev.filler.Abort(wire.ResetCancelled)
		}
		ev.done(err)
	})
}

// A fetch is a FETCH of ours.
type fetch struct {
	evFetch
	st *stream
	id uint64
	// data is the stream that answers it, 0 before it comes. Nothing is read of
	// it before FETCH_OK says how far it goes.
	data  streamID
	ok    bool       // FETCH_OK has come
	sink  *fetchSink // from then on
	clock timer      // of silence
	taken uint64     // what the sink had taken when it was last looked at
}

// fetch asks for a range of a track.
func (c *core) fetch(ev evFetch) {
	p := wire.Params{GroupOrder: ev.opt.Order, Tokens: ev.opt.Tokens}
	if ev.opt.HasPriority {
		p.SubscriberPriority = &ev.opt.Priority
	}
	if d := max(0, ev.opt.FillTimeout); ev.opt.FillTimeout != 0 {
		p.FillTimeout = &d
	}
	m := wire.Fetch{
		RequestID: c.nextID, FetchType: wire.FetchStandalone, Track: ev.name,
		Start: ev.rng.Start, Params: p,
	}
	err := c.refusal()
	switch {
	case err != nil:
	case !ev.rng.Start.Less(ev.rng.End):
		err = &RequestError{Code: wire.RequestInvalidRange, Reason: "the range is empty"}
	default:
		m.End = wireEnd(ev.rng.End)
		if !fits(m) {
			err = &RequestError{Code: wire.RequestInternalError, Reason: "the tokens are too large for a message"}
		}
	}
	if err != nil {
		ev.fail(err, func(f func()) { c.do(actCall{f}) })
		return
	}
	f := &fetch{evFetch: ev, id: c.takeID()}
	c.fetches[f.id] = f
	f.st = c.request(ev.sid, f, m)
}

func (f *fetch) message(c *core, st *stream, t wire.MessageType, body []byte) error {
	switch {
	case t == wire.TypeFetchOK && !f.ok:
		return f.accepted(c, body)
	case t == wire.TypeRequestError && !f.ok:
		e, err := c.requestError(st, body)
		if err != nil {
			return err
		}
		c.finish(st, e)
		return nil
	}
	return violation("%v on the stream of %v", t, st.opener)
}

// accepted takes a FETCH_OK (section 10.13).
func (f *fetch) accepted(c *core, body []byte) error {
	m, err := wire.ParseFetchOK(body)
	if err != nil {
		return err
	}
	end := rangeEnd(m.End)
	if !f.rng.Start.Less(end) {
		return violation("FETCH_OK ends at %v, in front of the start at %v", m.End, f.rng.Start)
	}
	end = earlier(end, f.rng.End)
	c.timers.Stop(&f.st.timer)
	if t, unknown := m.Properties.Mandatory(); unknown { // section 2.5.1
		c.over(f.st, &RequestError{Code: wire.RequestUnsupportedExtension, Reason: fmt.Sprintf("mandatory track property %#x", t)})
		c.abandon(f.st, wire.ResetCancelled)
		return nil
	}
	c.do(actCount{f.st.opener.String(), outcomeOK})
	var t *track.Track
	var rd *track.FetchReader
	if f.filler == nil {
		t = track.New(f.name, track.Info{Properties: m.Properties}, c.cfg.TrackConfig)
		f.filler, rd = t.Fill(f.rng), t.Fetch(f.rng, f.opt.Order)
	} else {
		f.filler.Renew(m.Properties)
	}
	f.ok = true
	f.sink = newFetchSink(f.filler, f.rng, end, f.opt.Order, c.cfg.maxObject())
	started := f.started
	ok := FetchOK{End: end, EndOfTrack: m.EndOfTrack, Properties: m.Properties}
	c.do(actCall{func() { started(ok, t, rd, nil) }})
	if f.data != 0 {
		c.do(actFill{f.data, f.sink})
	}
	f.watch(c)
	return nil
}

// watch ends f once nothing has come for a while.
func (f *fetch) watch(c *core) {
	f.taken = f.sink.taken.Load()
	c.arm(&f.clock, c.cfg.Limits.FetchIdle, func() error {
		if f.sink.taken.Load() != f.taken || f.sink.held.Load() {
			f.watch(c)
			return nil
		}
		c.over(f.st, &RequestError{Code: wire.RequestTimeout, Reason: fmt.Sprintf("nothing came for %v", c.cfg.Limits.FetchIdle)})
		c.abandon(f.st, wire.ResetCancelled)
		return nil
	})
}

// fetchStream takes the header of a data stream that answers a FETCH (section
// 11.4.4).
func (c *core) fetchStream(sid streamID, h wire.FetchHeader) error {
	f := c.fetches[h.RequestID]
	switch {
	case f == nil: // the FETCH is over, or there was none
		c.do(actCount{kindStream, outcomeDropped})
		c.do(actStop{sid, wire.ResetCancelled})
		return nil
	case f.data != 0:
		return violation("second stream for request %d", h.RequestID)
	}
	f.data = sid
	c.filling[sid] = f
	if f.ok {
		c.do(actFill{sid, f.sink})
	}
	return nil
}

// fetchEnd takes the end of the data stream.
func (c *core) fetchEnd(ev evFetchEnd) error {
	if _, ok := errors.AsType[*wire.Error](ev.err); ok {
		return ev.err
	}
	f := c.filling[ev.sid]
	if f == nil {
		return nil
	}
	delete(c.filling, ev.sid)
	f.data = 0
	switch {
	case ev.err == nil:
		c.finish(f.st, errAnswered)
	case errors.Is(ev.err, wire.ErrMalformedTrack):
		c.over(f.st, ev.err)
		c.abandon(f.st, wire.ResetMalformedTrack)
		c.malformed(f.name, ev.err)
	default:
		c.over(f.st, ev.err)
		c.abandon(f.st, wire.ResetCancelled)
	}
	return nil
}

// fin takes the end of the publisher's messages. The response may still come.
func (f *fetch) fin(c *core, st *stream) error {
	if !f.ok {
		c.over(st, errNoAnswer)
		c.abandon(st, wire.ResetCancelled)
	}
	return nil
}

func (f *fetch) over(c *core, _ *stream, cause error) {
	delete(c.fetches, f.id)
	c.timers.Stop(&f.clock)
	if f.data != 0 {
		delete(c.filling, f.data)
		c.do(actStop{f.data, wire.ResetCancelled})
	}
	if !f.ok {
		f.fail(unanswered(cause), func(call func()) { c.do(actCall{call}) })
		return
	}
	if errors.Is(cause, errAnswered) {
		cause = nil
	}
	done, sink := f.done, f.sink
	c.do(actCall{func() {
		if cause != nil {
			sink.abort(wire.ResetCancelled)
		}
		done(cause)
	}})
}

// malformed ends what we ask of a track that turned out to be malformed (section
// 2.4.2).
func (c *core) malformed(name track.Name, err error) {
	if f := c.feeds[name]; f != nil && f.live {
		c.over(f.st, &track.EndError{Code: wire.PublishDoneMalformedTrack, Reason: err.Error()})
		c.abandon(f.st, wire.ResetMalformedTrack)
	}
	for _, id := range slices.Sorted(maps.Keys(c.fetches)) {
		if f := c.fetches[id]; f != nil && f.name == name {
			c.over(f.st, err)
			c.abandon(f.st, wire.ResetMalformedTrack)
		}
	}
}
