package sim

import (
	"iter"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// fetchObject returns item k of a group as the answer to a FETCH has it.
func (p *plan) fetchObject(group uint64, k int) wire.FetchObject {
	it := p.item(group, k)
	o := wire.FetchObject{
		Group: group, Object: it.id, Subgroup: it.subgroup, Datagram: p.datagrams, Priority: wire.DefaultPriority,
		Properties: p.objectProperties(group, it), Length: uint64(it.size),
	}
	if p.hasPriority {
		o.Priority = p.priority
	}
	if p.datagrams {
		o.Subgroup = 0
	}
	return o
}

// until returns the first location of an epoch that was not made.
func (p *plan) until(epoch uint64) (group uint64, count int) {
	at := p.made
	if epoch < p.epoch {
		at = p.ends[epoch]
	}
	return at.Group, int(at.Object)
}

// within yields the objects that were published in s, ascending.
func (p *plan) within(s span) iter.Seq[wire.Location] {
	return func(yield func(wire.Location) bool) {
		if !s.start.Less(s.end) {
			return
		}
		for epoch := s.start.Group / epochGroups; epoch <= min(p.epoch, s.end.Group/epochGroups); epoch++ {
			last, count := p.until(epoch)
			for g := max(s.start.Group, epoch*epochGroups); g <= min(last, s.end.Group); g++ {
				n := p.objects
				if g == last {
					n = min(n, count)
				}
				for k := range n {
					if l := (wire.Location{Group: g, Object: p.item(g, k).id}); !l.Less(s.start) && l.Less(s.end) && !yield(l) {
						return
					}
				}
			}
		}
	}
}

// A manner is how a publisher answers a FETCH.
type manner int

const (
	honestly manner = iota
	refusing        // with REQUEST_ERROR
	silently        // not at all
	headless        // FETCH_OK comes, the objects do not
	cutting         // a reset ends it midway
	unsure          // some is unknown to it
	denying         // some is left out, as if it did not exist
	early           // it says that there is no more before the end
	astray          // an object is not in the range
)

// fetched answers a FETCH of the relay.
func (p *publisher) fetched(r *request, body []byte) {
	w := p.sc.w
	m, err := wire.ParseFetch(body)
	if err != nil || m.FetchType != wire.FetchStandalone {
		w.fail("protocol", "%s: FETCH %+v: %v", p.name, m, err)
	}
	p.sc.results.Fills++
	how := honestly
	if !w.calm && w.chance(0.5) {
		how = manner(w.number(int(refusing), int(astray)))
	}
	w.note(p.name, "is asked", uint64(how), m.Start.Group, m.End.Group)
	i := slices.IndexFunc(p.tracks, func(e *encoder) bool { return e.p.name == m.Track })
	if i < 0 || how == refusing {
		r.out.message(wire.RequestError{Code: pick(w, wire.RequestDoesNotExist, wire.RequestNotSupported, wire.RequestInternalError)})
		r.finish()
		return
	}
	e := p.tracks[i]
	rng, at := span{m.Start, openEnd(m.End)}, e.largest()
	if at == nil || at.Less(rng.start) {
		r.out.message(wire.RequestError{Code: wire.RequestInvalidRange})
		r.finish()
		return
	}
	if behind(*at).Less(rng.end) {
		rng.end = behind(*at)
	}
	if how != silently {
		p.answer(r, m, e.p, rng, how)
	}
}

// answer sends what a publisher has of a range, in some manner.
func (p *publisher) answer(r *request, m wire.Fetch, pl *plan, rng span, how manner) {
	w := p.sc.w
	found := slices.Collect(pl.within(rng))
	if how == early && len(found) > 1 {
		found = found[:w.number(1, len(found)-1)]
		rng.end = behind(found[len(found)-1])
	}
	if m.Params.GroupOrder == wire.GroupDescending {
		slices.SortStableFunc(found, func(a, b wire.Location) int { return int(b.Group) - int(a.Group) })
	}
	s, err := p.cl.c.OpenUniStream()
	if err != nil {
		r.out.message(wire.RequestError{Code: wire.RequestExcessiveLoad})
		r.finish()
		return
	}
	out := &writer{cl: p.cl, e: s.(*end)}
	ok := wire.FetchOK{End: closedEnd(rng.end)}
	if w.chance(0.3) { // the objects may overtake it
		w.after(w.between(0, 200*time.Millisecond), func() {
			if !r.over && !p.cl.gone {
				r.out.message(ok)
			}
		})
	} else {
		r.out.message(ok)
	}
	b := p.items(m, pl, found, how)
	switch how {
	case headless:
		out.write(b[:min(len(b), w.number(0, 3))])
	case cutting:
		out.write(b[:w.number(0, len(b))])
		out.reset(pick(w, wire.ResetInternalError, wire.ResetCancelled, wire.ResetDeliveryTimeout))
	default:
		out.write(b)
		out.close()
	}
}

// items encodes the answer.
func (p *publisher) items(m wire.Fetch, pl *plan, found []wire.Location, how manner) []byte {
	w := p.sc.w
	b := wire.FetchHeader{RequestID: m.RequestID}.Append(nil)
	fw := wire.NewFetchWriter(m.Params.GroupOrder)
	from, to := len(found), len(found) // what is special
	if len(found) > 0 && (how == unsure || how == denying) {
		from = w.number(0, len(found)-1)
		to = w.number(from+1, len(found))
	}
	put := func(o wire.FetchObject) {
		var err error
		if b, err = fw.Append(b, o); err != nil {
			panic(err)
		}
	}
	for i, l := range found {
		switch {
		case i < from || i >= to:
			k, _ := pl.find(l.Group, l.Object)
			put(pl.fetchObject(l.Group, k))
			from := len(b)
			b = pl.appendPayload(b, l.Group, pl.item(l.Group, k))
			if len(b) > from && !w.calm && w.chance(p.twists) {
				b[len(b)-1] ^= 0x55
				p.sc.twisted[p.name] = true
			}
		case how == denying:
			pl.denied[l] = true
		case i == to-1:
			put(wire.FetchObject{Range: wire.FetchUnknown, Group: l.Group, Object: l.Object})
		}
	}
	if how == astray && m.Params.GroupOrder != wire.GroupDescending {
		l := openEnd(m.End)
		put(wire.FetchObject{Group: l.Group, Object: l.Object, Priority: 1, Length: 1})
		b = append(b, 'x')
	}
	return b
}
