package fidelity

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An ending is what becomes of the stream that carries group 5, whose fourth
// and last object is object 3. All but a FIN come inside that object.
type ending struct {
	name  string
	kind  string // fin, reset, stop, silence, disconnect
	code  wire.ResetCode
	codes []wire.ResetCode // what the viewer may see of it
}

// endings are FIN, each reset code of section 15.10.4, a viewer that stops the
// stream, a publisher that says nothing more, and one that is gone.
func endings() []ending {
	all := []ending{
		{name: "FIN", kind: "fin"},
		{name: "STOP_SENDING", kind: "stop"},
		{name: "silence", kind: "silence"},
		{name: "disconnect", kind: "disconnect", codes: []wire.ResetCode{wire.ResetSessionClosed, wire.ResetInternalError, wire.ResetCancelled}},
	}
	for _, code := range []wire.ResetCode{
		wire.ResetInternalError, wire.ResetCancelled, wire.ResetDeliveryTimeout, wire.ResetSessionClosed,
		wire.ResetGoingAway, wire.ResetTooFarBehind, wire.ResetUnknownObjectStatus, wire.ResetExpiredAuthToken,
		wire.ResetExcessiveLoad, wire.ResetMalformedTrack,
	} {
		all = append(all, ending{name: "reset " + code.String(), kind: "reset", code: code, codes: []wire.ResetCode{code}})
	}
	return all
}

// A run is one cell of the matrix.
type run struct {
	t      *testing.T
	e      ending
	src    *source
	primer *viewer // keeps the track at the relay, and shows what that has
	v      *viewer
}

// TestFidelity is the matrix: each ending, met live, in the cache, by FETCH and
// by a joining FETCH, over both transports, by a viewer that is early, comes in
// the middle of the group, or late.
func TestFidelity(t *testing.T) {
	plain := newWorld(t, relay.Config{})
	strict := newWorld(t, relay.Config{Session: moqt.Config{JoinStrict: true}})
	// The cells run side by side, each with connections of its own.
	t.Run("matrix", func(t *testing.T) {
		for _, scheme := range []string{"moqt", "https"} {
			for _, way := range []struct {
				name string
				w    *world
				play func(*run, string)
			}{
				{"live", plain, (*run).live},
				{"cached", plain, (*run).cached},
				{"FETCH", plain, (*run).fetch},
				{"joining", strict, (*run).joining},
			} {
				for _, when := range []string{"early", "mid-group", "late"} {
					for _, e := range endings() {
						name := fmt.Sprintf("%s/%s/%s/%s", scheme, way.name, when, e.name)
						t.Run(name, func(t *testing.T) {
							t.Parallel()
							r := &run{t: t, e: e}
							r.src = newSource(t, way.w.dial(t, scheme), fmt.Sprintf("%s %s %s %s", scheme, way.name, when, e.name))
							r.primer = newViewer(t, way.w.dial(t, scheme))
							r.v = newViewer(t, way.w.dial(t, scheme))
							r.primer.subscribe(r.src.name, nil)
							way.play(r, when)
						})
					}
				}
			}
		}
	})
}

// live: the viewer subscribes before, in, or near the end of the group, and
// always before the ending.
func (r *run) live(when string) {
	early := when == "early"
	if early {
		r.v.subscribe(r.src.name, nil)
	}
	r.src.begin(5)
	r.src.objects(5, 0, 1)
	r.primed(5, 2)
	if when == "mid-group" {
		r.v.subscribe(r.src.name, nil)
	}
	r.src.objects(5, 2)
	r.tail()
	if when == "late" {
		r.v.subscribe(r.src.name, nil)
	}
	r.v.await("group 5", has(5, r.begun()))
	r.end()
	r.check(0, 3)
}

// cached: the group is over at the relay when the viewer subscribes to it from
// its start, from its middle, or with a newer group behind it.
func (r *run) cached(when string) {
	r.src.begin(5)
	r.src.objects(5, 0, 1, 2)
	r.tail()
	first := r.src.w
	if when == "late" {
		r.group(6)
	}
	r.src.w = first
	start := track.Location{Group: 5}
	if when == "mid-group" {
		start.Object = 2
	}
	subscribe := func() {
		r.v.subscribe(r.src.name, &wire.Filter{Type: wire.FilterAbsoluteStart, Start: start})
	}
	if r.e.kind == "stop" { // it takes a viewer to stop
		subscribe()
		r.v.await("group 5", has(5, start.Object))
		r.end()
	} else {
		r.end()
		r.settled()
		subscribe()
	}
	switch r.e.kind {
	case "fin", "silence":
		r.v.await("group 5", has(5, 3-1))
	case "disconnect":
		time.Sleep(pause)
	default:
		r.group(7) // what there is of group 5 goes ahead of it
		r.v.await("group 7", finished(7))
	}
	r.check(start.Object, 3)
}

// fetch: the viewer asks for the group while its last object still comes, from
// its middle after the ending, or behind a newer group.
func (r *run) fetch(when string) {
	r.src.begin(5)
	r.src.objects(5, 0, 1, 2)
	r.tail()
	start := track.Location{Group: 5}
	ask := func() {
		r.ask(wire.Fetch{FetchType: wire.FetchStandalone, Track: r.src.name, Start: start, End: wire.Location{Group: 5}})
	}
	if when == "mid-group" {
		start.Object = 2
	}
	if when == "late" {
		first := r.src.w
		r.group(6)
		r.src.w = first
	}
	last := uint64(3)
	if when == "early" || r.e.kind == "stop" {
		last = r.begun()
		ask()
		r.v.await("the first object", has(5, start.Object))
		r.end()
	} else {
		r.end()
		r.settled()
		ask()
	}
	r.checkFetch(start.Object, last)
}

// joining: the viewer subscribes before, in, or at the end of the group, and
// then asks for what it holds up to there.
func (r *run) joining(when string) {
	const first = 0
	r.group(4)
	group := uint64(5)
	join := func() {
		id := r.v.subscribe(r.src.name, &wire.Filter{Type: wire.FilterLargestObject})
		r.ask(wire.Fetch{FetchType: wire.FetchRelativeJoining, JoiningRequestID: id})
	}
	if when == "early" {
		join()
		group = 4
	}
	r.src.begin(5)
	r.src.objects(5, 0, 1)
	r.primed(5, 2)
	if when == "mid-group" {
		join()
	}
	r.src.objects(5, 2)
	r.tail()
	if when == "late" {
		join()
	}
	r.v.await("the first object", has(group, first))
	if when == "early" {
		r.v.await("group 4", fetched)
		r.v.await("group 5", has(5, r.begun()))
	}
	r.end()
	switch when {
	case "early":
		r.check(0, 3)
	case "mid-group":
		if r.e.kind != "stop" {
			r.v.await("what came before", fetched)
		}
		r.check(2, 3)
	case "late":
		r.checkFetch(first, r.begun())
	}
	r.nothingTwice()
}

// ask sends a FETCH. It may be refused where the publisher is gone.
func (r *run) ask(m wire.Fetch) {
	r.t.Helper()
	m.RequestID = r.v.id()
	st := r.v.peer.Open(m)
	switch got, body := st.Message(); {
	case got == wire.TypeFetchOK:
	case got == wire.TypeRequestError && r.e.kind == "disconnect":
		r.t.Skipf("refused with %x", body)
	default:
		r.t.Fatalf("FETCH was answered with %v %x", got, body)
	}
}

// group publishes a whole group and waits until the relay has it.
func (r *run) group(id uint64) {
	r.t.Helper()
	r.src.begin(id)
	r.src.objects(id, 0, 1, 2, 3)
	r.src.close()
	r.primer.await(fmt.Sprintf("group %d at the primer", id), finished(id))
}

// tail begins the last object, unless the group ends with FIN.
func (r *run) tail() {
	r.t.Helper()
	if r.e.kind == "fin" {
		r.primed(5, 3)
		return
	}
	r.src.half(5, 3)
	r.primed(5, 4)
}

// begun returns the last object of the group that has begun before the ending.
func (r *run) begun() uint64 {
	if r.e.kind == "fin" {
		return 2
	}
	return 3
}

// primed waits until so many objects of a group have begun at the relay.
func (r *run) primed(group uint64, n int) {
	r.t.Helper()
	r.primer.await("the objects at the primer", has(group, uint64(n-1)))
}

// end brings about the ending.
func (r *run) end() {
	r.t.Helper()
	switch r.e.kind {
	case "fin":
		r.src.objects(5, 3)
		r.src.close()
	case "reset":
		r.src.w.Abort(r.e.code)
	case "disconnect":
		r.src.conn.CloseWithError(wire.SessionNoError, "")
	case "stop":
		r.v.update(func() {
			for _, a := range r.v.streams {
				a.recv.CancelRead(wire.ResetCancelled)
			}
		})
		if _, err := r.src.w.Write(content(5, 3)[objectSize/3:]); err != nil {
			r.t.Fatal(err)
		}
		r.src.close()
	}
}

// settled waits until the relay has seen the ending.
func (r *run) settled() {
	r.t.Helper()
	if r.e.kind != "silence" {
		r.primer.await("the end of group 5 at the primer", ended(5))
	}
}

// pause is how long to look where nothing may happen.
const pause = 200 * time.Millisecond

// check looks at what the viewer got of group 5 by its subscription, from
// object first to object last.
func (r *run) check(first, last uint64) {
	r.t.Helper()
	r.trueToSource()
	switch r.e.kind {
	case "fin":
		all := r.v.await("FIN of group 5", finished(5))
		for id := first; id <= last; id++ {
			if !has(5, id)(all) {
				r.t.Errorf("FIN without object %d: %v", id, describe(all))
			}
		}
	case "reset", "disconnect":
		for _, a := range r.v.await("the end of what there is of group 5", over(5)) {
			if a.fetch || a.header.Group != 5 {
				continue
			}
			if !a.end.reset || !slices.Contains(r.e.codes, a.end.code) {
				r.t.Errorf("the stream ended with %v, want a reset with one of %v", a.end, r.e.codes)
			}
		}
	case "silence":
		time.Sleep(pause)
		for _, a := range r.v.await("it", anything) {
			if !a.fetch && a.header.Group == 5 && !a.end.open() {
				r.t.Errorf("the stream ended with %v, although the publisher said nothing", a.end)
			}
		}
	case "stop":
		all := r.primer.await("FIN of group 5 at the primer", finished(5))
		for id := range uint64(4) {
			if !has(5, id)(all) {
				r.t.Errorf("the other viewer did not get object %d: %v", id, describe(all))
			}
		}
	}
	r.trueToSource()
	r.nothingTwice()
}

// checkFetch looks at the answer to a FETCH of these objects of group 5.
func (r *run) checkFetch(first, last uint64) {
	r.t.Helper()
	whole := func(a arrival) (n uint64) {
		for _, o := range a.objects {
			if o.whole() {
				n++
			}
		}
		return n
	}
	answered := func(all []arrival) bool {
		return slices.ContainsFunc(all, func(a arrival) bool { return a.fetch && !a.end.open() })
	}
	switch r.e.kind {
	case "fin":
		r.v.await("FIN with all objects", func(all []arrival) bool {
			return slices.ContainsFunc(all, func(a arrival) bool {
				return a.fetch && a.end.fin && len(a.unknown) == 0 && whole(a) == last-first+1
			})
		})
	case "reset", "disconnect":
		for _, a := range r.v.await("the end of the answer", answered) {
			if a.fetch && a.end.fin && len(a.unknown) == 0 && whole(a) <= last-first {
				r.t.Errorf("FIN says that object %d does not exist: %v", last, describe([]arrival{a}))
			}
		}
	case "silence":
		time.Sleep(pause)
		for _, a := range r.v.await("it", anything) {
			if a.fetch && a.end.fin && len(a.unknown) == 0 {
				r.t.Errorf("FIN says that object %d does not exist: %v", last, describe([]arrival{a}))
			}
		}
	case "stop":
		r.primer.await("FIN of group 5 at the primer", finished(5))
	}
	r.trueToSource()
	r.nothingTwice()
}

// trueToSource checks each byte against what was published.
func (r *run) trueToSource() {
	r.t.Helper()
	for _, v := range []*viewer{r.v, r.primer} {
		for _, a := range v.await("it", anything) {
			for _, o := range a.objects {
				switch want := content(o.group, o.id); {
				case o.id > 3 || o.length != objectSize || o.subgroup != 0:
					r.t.Errorf("there is no object {%d, %d} of %d bytes in subgroup %d", o.group, o.id, o.length, o.subgroup)
				case !bytes.HasPrefix(want, o.payload):
					r.t.Errorf("object {%d, %d} has changed", o.group, o.id)
				}
			}
		}
	}
}

// nothingTwice checks that no whole object came twice.
func (r *run) nothingTwice() {
	r.t.Helper()
	for _, v := range []*viewer{r.v, r.primer} {
		seen := map[wire.Location]bool{}
		all := v.await("it", anything)
		for _, a := range all {
			for _, o := range a.objects {
				l := wire.Location{Group: o.group, Object: o.id}
				if seen[l] && o.whole() {
					r.t.Errorf("object %v came twice: %v", l, describe(all))
				}
				seen[l] = seen[l] || o.whole()
			}
		}
	}
}

func anything([]arrival) bool { return true }

// has reports whether something of an object has arrived.
func has(group, id uint64) func([]arrival) bool {
	return func(all []arrival) bool {
		return slices.ContainsFunc(all, func(a arrival) bool {
			return slices.ContainsFunc(a.objects, func(o received) bool { return o.group == group && o.id == id })
		})
	}
}

// finished reports whether a group ended with FIN.
func finished(group uint64) func([]arrival) bool {
	return func(all []arrival) bool {
		return slices.ContainsFunc(all, func(a arrival) bool {
			return !a.fetch && a.end.fin && a.header.Group == group
		})
	}
}

// fetched reports whether a FETCH was answered to its end.
func fetched(all []arrival) bool {
	return slices.ContainsFunc(all, func(a arrival) bool { return a.fetch && a.end.fin })
}

// ended reports whether a stream of the group has ended.
func ended(group uint64) func([]arrival) bool {
	return func(all []arrival) bool {
		return slices.ContainsFunc(all, func(a arrival) bool { return !a.fetch && a.header.Group == group && !a.end.open() })
	}
}

// over reports whether no stream of the group is open.
func over(group uint64) func([]arrival) bool {
	return func(all []arrival) bool {
		return !slices.ContainsFunc(all, func(a arrival) bool { return !a.fetch && a.header.Group == group && a.end.open() })
	}
}
