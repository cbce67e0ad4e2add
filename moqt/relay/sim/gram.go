package sim

import (
	"bytes"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// datagram encodes item k of a group.
func (p *plan) datagram(alias, group uint64, k int) []byte {
	it := p.item(group, k)
	d := wire.Datagram{
		Alias: alias, Group: group, Object: it.id, Priority: p.priority, DefaultPriority: !p.hasPriority,
		EndOfGroup: p.endFlag && it.status == wire.ObjectNormal && k == p.count()-1,
		Status:     it.status, Properties: p.objectProperties(group, it),
	}
	if it.status == wire.ObjectNormal {
		d.Payload = p.appendPayload(nil, group, it)
	}
	return d.Append(nil)
}

// carries reports whether d is item k as it was published. A priority that is the
// track's may be told or left out.
func (p *plan) carries(d wire.Datagram, k int) bool {
	want, err := wire.ParseDatagram(p.datagram(d.Alias, d.Group, k))
	for _, d := range []*wire.Datagram{&d, &want} {
		if d.DefaultPriority {
			d.Priority, d.DefaultPriority = wire.DefaultPriority, false
		}
	}
	return err == nil && bytes.Equal(d.Append(nil), want.Append(nil))
}

// gram takes a datagram of the relay. Any may be lost, and they may overtake each
// other, but each comes once, as it was published.
func (v *viewer) gram(b []byte) {
	w := v.sc.w
	d, err := wire.ParseDatagram(b)
	if err != nil {
		w.fail("protocol", "%s: datagram %x: %v", v.name, b, err)
	}
	var s *sub
	for _, o := range v.subs {
		if o.live && o.alias == d.Alias {
			s = o
		}
	}
	if s == nil {
		return // it has overtaken SUBSCRIBE_OK, or is of a subscription that is over
	}
	p, loc := s.p, wire.Location{Group: d.Group, Object: d.Object}
	k, ok := p.find(d.Group, d.Object)
	switch {
	case !p.datagrams || !ok || !p.exists(loc):
		w.fail("nothing invented", "%s: datagram %v of %v", v.name, loc, p.name)
	case !s.within(loc) || d.Group > s.endGroup:
		w.fail("filter", "%s: datagram %v is outside of the filter %+v of %v", v.name, loc, s.filter, p.name)
	case !p.carries(d, k) && !v.sc.tainted():
		w.fail("I3 content", "%s: datagram %v of %v is another than was published: %+v", v.name, loc, p.name, d)
	case s.delivered[loc] && (s.again == 0 || d.Group >= s.again):
		w.fail("no duplicates", "%s: datagram %v of %v came before", v.name, loc, p.name)
	}
	s.delivered[loc] = true
	s.last = w.now
	v.objects++
	v.sc.results.Datagrams++
	s.newest = max(s.newest, d.Group)
}

func (p *publisher) gram([]byte) {
	p.sc.w.fail("nothing invented", "%s: the relay sends a datagram to a publisher", p.name)
}
