package moqt

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/egress"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// What happens to a FETCH of the peer.
type (
	evAcceptFetch struct {
		sid        streamID
		t          *track.Track
		reader     *track.FetchReader
		end        track.Location // exclusive
		endOfTrack bool
	}
	// evFetched: the data stream of a FETCH has ended, if ok with FIN.
	evFetched struct {
		sid  streamID
		ok   bool
		code wire.ResetCode
	}
)

// What is done for a FETCH of the peer.
type (
	// actServeFetch starts to send what a FETCH asks for; evFetched comes when it
	// is done.
	actServeFetch struct {
		sid streamID
		f   egress.Fetch
	}
	actServeFetchUpdate struct {
		sid      streamID
		priority uint8
	}
	// actServeFetchStop resets what is being sent; evFetched still comes.
	actServeFetchStop struct {
		sid  streamID
		code wire.ResetCode
	}
)

// A fetching is a FETCH of the peer (section 10.12).
type fetching struct {
	id     uint64
	params wire.Params // of the peer, its updates merged in
	name   track.Name
	rng    track.Range
	join   *wire.Fetch // of a joining FETCH, until its subscription is found
	// overdue: what the subscriber sent before the FETCH should have come.
	overdue bool
	joining bool
	asked   time.Time // when the handler was
	live    bool      // the egress has it
}

// openFetch takes a FETCH.
func (c *core) openFetch(st *stream, m wire.Fetch) {
	if c.fetching >= c.cfg.Limits.Fetches {
		c.refuse(st, wire.RequestExcessiveLoad, "too many fetches")
		return
	}
	f := &fetching{id: m.RequestID, params: m.Params, joining: m.FetchType != wire.FetchStandalone}
	st.role = f
	c.fetching++
	if m.FetchType == wire.FetchStandalone {
		f.name, f.rng = m.Track, track.Range{Start: m.Start, End: rangeEnd(m.End)}
		c.askFetch(st, f, nil)
		return
	}
	f.join = &m
	c.joins = append(c.joins, st)
	c.arm(&st.timer, c.cfg.Limits.EarlyWait, func() error {
		f.overdue = true
		return nil
	})
}

// askFetch hands a FETCH to whoever answers it: what was announced, the handler,
// or this session, for a track t that it sends to the peer already.
func (c *core) askFetch(st *stream, f *fetching, t *track.Track) {
	if !f.rng.Start.Less(f.rng.End) {
		c.refuse(st, wire.RequestInvalidRange, fmt.Sprintf("the range from %v ends before it begins", f.rng.Start))
		return
	}
	src, ok := c.answers(st, f.name, t)
	if !ok {
		return
	}
	f.asked = c.now
	c.ask(f, st, &FetchRequest{
		request: st.req, Name: f.name, Range: f.rng, Joining: f.joining, Params: f.params,
	}, src)
}

// answers returns who answers a request about a track without subscribing to it:
// what was announced, or this session if it sends the track to the peer already,
// which t may say. It is nil for the handler, and refuses the request if there is
// none.
func (c *core) answers(st *stream, name track.Name, t *track.Track) (src track.Source, ok bool) {
	src, mine := c.source(name.Namespace)
	if own := c.served[name]; t == nil && own != nil {
		t = own.role.(*serving).d.Track
	}
	switch {
	case c.cfg.Handler != nil && src == nil:
		return nil, true
	case t != nil:
		return only{t}, true
	case src != nil:
		return src, true
	case mine:
		c.refuse(st, wire.RequestDoesNotExist, "no such track")
	default:
		c.refuse(st, wire.RequestNotSupported, st.opener.String()+" is not supported")
	}
	return nil, false
}

// only is a source of one track.
type only struct{ t *track.Track }

func (o only) Track(string) (*track.Track, bool) { return o.t, true }

func (c *core) acceptFetch(ev evAcceptFetch) {
	st := c.pendingRequest(ev.sid)
	if st == nil {
		return
	}
	f, ok := st.role.(*fetching)
	if !ok {
		return
	}
	if !f.rng.Start.Less(ev.end) { // the peer would close the session
		c.refuse(st, wire.RequestInvalidRange, "nothing of the range has been published yet")
		return
	}
	m := wire.FetchOK{EndOfTrack: ev.endOfTrack, End: wireEnd(ev.end), Properties: ev.t.Properties()}
	if !fits(m) { // they may come from another session, and are no fault of this one
		c.refuse(st, wire.RequestInternalError, "the track's properties are too large")
		return
	}
	c.granted(st, m)
	f.live = true
	order := f.params.GroupOrder
	if order == wire.GroupOrderUnset {
		order = track.Ascending
	}
	c.do(actServeFetch{st.sid, egress.Fetch{
		RequestID: f.id, Track: ev.t, Reader: ev.reader, Order: order,
		Priority: f.priority(), FillTimeout: c.fillTimeout(f),
	}})
}

// fillTimeout returns how long f may still wait for objects that are not there
// (section 10.2.5).
func (c *core) fillTimeout(f *fetching) time.Duration {
	return max(0, c.cfg.Limits.fillTimeout(&f.params)-c.now.Sub(f.asked))
}

func (f *fetching) priority() uint8 {
	if p := f.params.SubscriberPriority; p != nil {
		return *p
	}
	return track.DefaultPriority
}

func (f *fetching) message(c *core, st *stream, t wire.MessageType, body []byte) error {
	if t != wire.TypeRequestUpdate {
		return violation("%v on the stream of %v", t, st.opener)
	}
	return c.takeUpdate(st, body, func(p wire.Params) *RequestError {
		merge(&f.params, p)
		if f.live {
			c.do(actServeFetchUpdate{st.sid, f.priority()})
		}
		return nil
	})
}

// fin takes the end of the subscriber's messages: there will be no more updates.
func (f *fetching) fin(*core, *stream) error { return nil }

// fetched takes the end of the data stream. The subscriber may have stopped it,
// which cancels the request (section 5.2).
func (c *core) fetched(ev evFetched) {
	st := c.streams[ev.sid]
	if st == nil {
		return
	}
	f, ok := st.role.(*fetching)
	switch {
	case !ok || !f.live:
	case ev.ok:
		f.live = false
		c.finish(st, errAnswered)
	default:
		f.live = false
		c.over(st, &StreamError{Code: ev.code})
		c.abandon(st, ev.code)
	}
}

// errAnswered is why a request is over that was answered in full.
var errAnswered = errors.New("moqt: the request was answered")

func (f *fetching) over(c *core, st *stream, cause error) {
	c.fetching--
	c.joins = slices.DeleteFunc(c.joins, func(o *stream) bool { return o == st })
	if f.live {
		f.live = false
		c.do(actServeFetchStop{st.sid, wire.ResetCancelled})
	}
}
