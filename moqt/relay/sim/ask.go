package sim

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// fill is how long the relay lets a FETCH wait for what is missing.
const fill = 1500 * time.Millisecond

// An ask is a FETCH of a viewer. It checks what comes: each object is what was
// published, in order and once, and what is left out without a word was not
// published.
type ask struct {
	v     *viewer
	p     *plan
	req   *request
	id    uint64
	rng   span
	order wire.GroupOrder
	exact bool      // the range is all published
	since time.Time // when it was sent
	ok    bool      // FETCH_OK has come
	done  bool      // the answer is over, or nobody wants it any more

	items wire.FetchReader
	at    wire.Location // of the last item
	some  bool          // there was one
	want  []byte        // of the payload at hand, still to come
	count int
}

// A span is the locations from start on that come before end.
type span struct{ start, end wire.Location }

func (s span) has(l wire.Location) bool { return !l.Less(s.start) && l.Less(s.end) }

// behind returns the location after l.
func behind(l wire.Location) wire.Location {
	if l.Object == math.MaxUint64 {
		return wire.Location{Group: l.Group + 1}
	}
	return wire.Location{Group: l.Group, Object: l.Object + 1}
}

// openEnd returns the end of a range whose End Location on the wire is end
// (section 10.12.1).
func openEnd(end wire.Location) wire.Location {
	if end.Object == 0 {
		return wire.Location{Group: end.Group + 1}
	}
	return end
}

// closedEnd is the reverse of openEnd.
func closedEnd(end wire.Location) wire.Location {
	if end.Object == 0 {
		return wire.Location{Group: end.Group - 1}
	}
	return end
}

// fetch asks for a part of a track's past, in any way that there is.
func (v *viewer) fetch(p *plan) {
	w := v.sc.w
	a := &ask{v: v, p: p, id: v.cl.id(), since: w.now, order: pick(w, wire.GroupAscending, wire.GroupDescending)}
	a.items = wire.NewFetchReader(a.order)
	m := wire.Fetch{RequestID: a.id, FetchType: wire.FetchStandalone, Params: wire.Params{Tokens: v.tokens(), GroupOrder: a.order}}
	if a.order == wire.GroupAscending && w.chance(0.5) {
		m.Params.GroupOrder = wire.GroupOrderUnset
	}
	if w.chance(0.5) {
		m.Params.FillTimeout = new(w.between(0, fill).Truncate(time.Millisecond))
	}
	if w.chance(0.5) {
		m.Params.SubscriberPriority = new(uint8(w.number(0, 255)))
	}
	back := uint64(w.number(0, 8))
	if s := v.current(p); s != nil && s.live && s.joined != nil && w.chance(0.5) {
		at := *s.joined
		m.FetchType, m.JoiningRequestID = wire.FetchRelativeJoining, s.id
		m.JoiningStart = back
		start := at.Group - min(at.Group, back)
		if w.chance(0.5) {
			m.FetchType, m.JoiningStart = wire.FetchAbsoluteJoining, start
		}
		a.rng, a.exact = span{wire.Location{Group: start}, behind(at)}, true
	} else {
		m.Track = p.name
		m.Start = wire.Location{Group: p.made.Group - min(p.made.Group, back), Object: uint64(pick(w, 0, 0, w.number(0, 8)))}
		m.End = wire.Location{Group: m.Start.Group + uint64(w.number(0, 10)), Object: uint64(pick(w, 0, 0, w.number(0, 8)))}
		if p.epoch > 0 && w.chance(0.2) {
			m.Start.Group = (p.epoch-1)*epochGroups + uint64(w.number(0, 20)) // over a restart
		}
		a.rng = span{m.Start, openEnd(m.End)}
		if !a.rng.start.Less(a.rng.end) {
			return
		}
	}
	w.note(v.name, "fetches", a.id, a.rng.start.Group, a.rng.end.Group)
	v.asks = append(v.asks, a)
	a.req = v.cl.request(m, a.message, a.ended)
	if w.chance(0.1) && !w.calm {
		w.after(w.between(0, 500*time.Millisecond), a.cancel)
	}
}

// cancel gives up the request.
func (a *ask) cancel() {
	if !a.done && !a.v.cl.gone && a.req.cl == a.v.cl {
		a.req.drop(wire.ResetCancelled)
		a.over()
	}
}

func (a *ask) over() {
	a.done = true
	a.v.asks = slices.DeleteFunc(a.v.asks, func(o *ask) bool { return o == a })
}

// message takes what the relay answers.
func (a *ask) message(t wire.MessageType, body []byte) {
	v, w := a.v, a.v.sc.w
	switch {
	case t == wire.TypeRequestError && !a.ok:
		if _, err := wire.ParseRequestError(body, wire.TypeFetch); err != nil {
			w.fail("protocol", "%s: %v", v.name, err)
		}
		v.sc.answered(v.name, "FETCH", a.req)
		a.over()
	case t == wire.TypeFetchOK && !a.ok:
		m, err := wire.ParseFetchOK(body)
		if err != nil {
			w.fail("protocol", "%s: %v", v.name, err)
		}
		v.sc.answered(v.name, "FETCH", a.req)
		end := openEnd(m.End)
		switch {
		case !a.rng.start.Less(end) || a.rng.end.Less(end):
			w.fail("fetch range", "%s: FETCH_OK ends at %v, for %+v", v.name, end, a.rng)
		case a.exact && end != a.rng.end:
			w.fail("fetch range", "%s: a joining FETCH ends at %v, want %v", v.name, end, a.rng.end)
		}
		a.ok, a.rng.end = true, end
		w.wake(v.cl.node)
	default:
		w.fail("protocol", "%s: %v in answer to FETCH", v.name, t)
	}
}

// ended takes the end of the request stream, which may come before that of the
// data.
func (a *ask) ended(err error) {
	if a.done || errors.Is(err, io.EOF) && a.ok {
		return
	}
	if errors.Is(err, io.EOF) {
		a.v.sc.w.fail("protocol", "%s: a FETCH was not answered", a.v.name)
	}
	a.over()
}

// waits holds that a FETCH is not kept waiting (I4): what is missing is waited
// for within FILL_TIMEOUT.
func (v *viewer) waits() {
	w := v.sc.w
	for _, a := range v.asks {
		bound := 3*connect + grace + fill + 2*time.Second + max(a.req.slack, v.cl.c.slack())
		if took := w.now.Sub(later(a.since, w.calmed)); took > bound {
			w.fail("I4 waiting", "%s: a FETCH of %+v of %v waits for %v, want %v", v.name, a.rng, a.p.name, took, bound)
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// A response reads the stream that answers a FETCH.
type response struct {
	v    *viewer
	s    *inStream
	id   uint64
	some bool // id is known
	a    *ask // nil while it is not known, or nobody wants it
	dead bool
}

// waiting reports whether FETCH_OK is still to come.
func (r *response) waiting() bool { return r.some && !r.dead && !r.bind() }

func (r *response) bind() bool {
	if r.a == nil {
		i := slices.IndexFunc(r.v.asks, func(a *ask) bool { return a.id == r.id })
		if i < 0 {
			r.dead = true
			r.s.stop(wire.ResetCancelled)
			return true
		}
		r.a = r.v.asks[i]
	}
	if r.a.done {
		r.dead = true
		r.s.stop(wire.ResetCancelled)
		return true
	}
	return r.a.ok
}

// take implements sink.
func (r *response) take(b []byte) int {
	w := r.v.sc.w
	if r.dead {
		return len(b)
	}
	if !r.some {
		h, n, err := wire.ParseFetchHeader(b)
		if errors.Is(err, wire.ErrShort) {
			return 0
		}
		if err != nil {
			w.fail("protocol", "%s: %v", r.v.name, err)
		}
		r.id, r.some = h.RequestID, true
		return n
	}
	if !r.bind() {
		return 0
	}
	if r.dead {
		return len(b)
	}
	return r.a.take(b)
}

func (a *ask) take(b []byte) int {
	v, w := a.v, a.v.sc.w
	if len(a.want) > 0 {
		n := min(len(b), len(a.want))
		if !bytes.Equal(b[:n], a.want[:n]) && !v.sc.tainted() {
			w.fail("I3 content", "%s: object %v of %v, fetched, is another than was published", v.name, a.at, a.p.name)
		}
		if a.want = a.want[n:]; len(a.want) == 0 {
			v.objects++
		}
		return n
	}
	o, n, err := a.items.Parse(b)
	if errors.Is(err, wire.ErrShort) {
		return 0
	}
	if err != nil {
		w.fail("fetch order", "%s: %v", v.name, err)
	}
	l := o.Location()
	if a.some && l == a.at {
		w.fail("fetch order", "%s: %v of %v comes twice", v.name, l, a.p.name)
	}
	if o.Range == wire.FetchNoRange {
		a.passed(l, false)
		a.object(o)
	} else if a.passed(l, o.Range == wire.FetchUnknown); o.Range == wire.FetchNonExistent && a.rng.has(l) {
		a.skipped(span{l, behind(l)})
	}
	a.at, a.some = l, true
	return n
}

// object holds an object against what was published.
func (a *ask) object(o wire.FetchObject) {
	v, w, p, l := a.v, a.v.sc.w, a.p, o.Location()
	k, ok := p.find(l.Group, l.Object)
	if !ok || k == p.objects || !p.exists(l) {
		w.fail("nothing invented", "%s: object %v of %v, fetched", v.name, l, p.name)
	}
	if !a.rng.has(l) {
		w.fail("fetch range", "%s: object %v is not in %+v", v.name, l, a.rng)
	}
	want := p.fetchObject(l.Group, k)
	if (o.Subgroup != want.Subgroup || o.Datagram != want.Datagram || o.Priority != want.Priority || o.Length != want.Length ||
		!bytes.Equal(o.Properties, want.Properties)) && !v.sc.tainted() {
		w.fail("I3 content", "%s: object %v of %v, fetched, has header %+v, want %+v", v.name, l, p.name, o, want)
	}
	a.count++
	a.want = p.appendPayload(a.want[:0], l.Group, p.item(l.Group, k))
}

// passed goes on to l, in the order of the answer. What lies between is not
// there, unless it is unknown.
func (a *ask) passed(l wire.Location, unknown bool) {
	if unknown {
		return
	}
	from := a.rng.start
	switch {
	case a.order != wire.GroupDescending:
		if a.some {
			from = behind(a.at)
		}
		a.skipped(span{from, l})
	case a.some && a.at.Group == l.Group:
		a.skipped(span{behind(a.at), l})
	default:
		a.above(l.Group)
		a.skipped(span{wire.Location{Group: l.Group}, l})
	}
}

// above skips what a descending answer has left of the groups above one.
func (a *ask) above(group uint64) {
	top := a.rng.end
	if a.some {
		top = wire.Location{Group: a.at.Group}
		a.skipped(span{behind(a.at), wire.Location{Group: a.at.Group + 1}})
	}
	a.skipped(span{wire.Location{Group: group + 1}, top})
}

// skipped holds that nothing was published in s, which was left out.
func (a *ask) skipped(s span) {
	v := a.v
	if s.start.Less(a.rng.start) {
		s.start = a.rng.start
	}
	if a.rng.end.Less(s.end) {
		s.end = a.rng.end
	}
	if v.sc.tainted() {
		return
	}
	for l := range a.p.within(s) {
		if !a.p.denied[l] {
			v.sc.w.fail("fetch whole", "%s: object %v of %v was left out of the answer to %+v, and not said to be unknown", v.name, l, a.p.name, a.rng)
		}
	}
}

// end implements sink.
func (r *response) end(rest []byte, err error) {
	v, w := r.v, r.v.sc.w
	if r.dead {
		return
	}
	if !r.some {
		if errors.Is(err, io.EOF) {
			w.fail("I1 FIN", "%s: a FETCH stream ends inside its header %x", v.name, rest)
		}
		return
	}
	a := r.a
	if a == nil || a.done {
		return
	}
	switch {
	case !errors.Is(err, io.EOF):
		w.note(v.name, "fetch cut", a.id, uint64(a.count), 0)
	case len(rest) > 0 || len(a.want) > 0:
		w.fail("I1 FIN", "%s: FIN inside object %v of %v, fetched", v.name, a.at, a.p.name)
	case a.order != wire.GroupDescending:
		a.passed(a.rng.end, false)
	case !a.some:
		a.skipped(a.rng)
	default:
		a.skipped(span{behind(a.at), wire.Location{Group: a.at.Group + 1}})
		a.skipped(span{a.rng.start, wire.Location{Group: a.at.Group}})
	}
	v.sc.results.Fetched += a.count
	a.over()
}

// status asks for the state of a track (TRACK_STATUS).
func (v *viewer) status(p *plan) {
	w := v.sc.w
	floor := v.sc.largestOf(v.name, p)
	var r *request
	r = v.cl.request(wire.TrackStatus{RequestID: v.cl.id(), Track: p.name, Params: wire.Params{Tokens: v.tokens()}}, func(t wire.MessageType, body []byte) {
		v.sc.answered(v.name, "TRACK_STATUS", r)
		switch t {
		case wire.TypeRequestOK:
			m, err := wire.ParseRequestOK(body, wire.TypeTrackStatus)
			if err != nil {
				w.fail("protocol", "%s: %v", v.name, err)
			}
			v.sc.sawLargest(v.name, p, floor, m.Params.LargestObject)
		case wire.TypeRequestError:
		default:
			w.fail("protocol", "%s: %v in answer to TRACK_STATUS", v.name, t)
		}
	}, nil)
}

// recall fetches something of each track, if it can.
func (v *viewer) recall() {
	if v.cl == nil || v.cl.gone || !v.cl.setup || v.sc.ending {
		return
	}
	for _, p := range v.plans {
		v.fetch(p)
	}
}
