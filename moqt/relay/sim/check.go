package sim

import (
	"bytes"
	"errors"
	"io"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A checker reads a subgroup stream of the relay and holds each byte of it
// against what was published.
type checker struct {
	v      *viewer
	s      *inStream
	header *wire.SubgroupHeader
	sub    *sub // nil while the alias is not known
	dead   bool // nobody wants to know

	ids   wire.ObjectIDs
	k     int // number of the item at hand, or of the last one; -1: none yet
	begun bool
	want  []byte // of the payload, still to come
}

func (c *checker) name() string { return c.v.name }

// waiting reports whether the stream's alias is still to be told.
func (c *checker) waiting() bool {
	return c.header != nil && c.sub == nil && !c.dead && !c.bind()
}

// take implements sink.
func (c *checker) take(b []byte) int {
	w := c.v.sc.w
	if c.dead {
		return len(b)
	}
	if c.header == nil {
		h, n, err := wire.ParseSubgroupHeader(b)
		if errors.Is(err, wire.ErrShort) {
			return 0
		}
		if err != nil {
			w.fail("protocol", "%s: %v", c.name(), err)
		}
		c.header, c.k = &h, -1
		return n
	}
	if c.sub == nil && !c.bind() {
		return 0
	}
	if c.dead {
		return len(b)
	}
	if len(c.want) > 0 {
		n := min(len(b), len(c.want))
		if !bytes.Equal(b[:n], c.want[:n]) && !c.v.sc.tainted() {
			w.fail("I3 content", "%s: object %d of group %d of %v is another than was published", c.name(), c.item().id, c.header.Group, c.sub.p.name)
		}
		if c.want = c.want[n:]; len(c.want) == 0 {
			c.whole()
		}
		return n
	}
	h, n, err := wire.ParseObjectHeader(b, c.header.Properties)
	if errors.Is(err, wire.ErrShort) {
		return 0
	}
	if err != nil {
		w.fail("protocol", "%s: %v", c.name(), err)
	}
	c.object(h)
	return n
}

func (c *checker) item() item { return c.sub.p.item(c.header.Group, c.k) }

// bind finds the subscription that the stream belongs to.
func (c *checker) bind() bool {
	v := c.v
	if v.dropped[c.header.Alias] {
		c.dead = true
		c.s.stop(wire.ResetCancelled)
		return true
	}
	for _, s := range v.subs {
		if s.live && s.alias == c.header.Alias {
			c.sub = s
		}
	}
	if c.sub == nil {
		return false
	}
	c.sub.streams++
	c.sub.open[c] = struct{}{}
	p, g := c.sub.p, c.header.Group
	want := p.header(c.header.Alias, g, c.header.Subgroup, c.header.FirstObject)
	w := v.sc.w
	switch {
	case *c.header != want || c.header.Subgroup >= uint64(p.subgroups):
		w.fail("nothing invented", "%s: stream %+v, want %+v", c.name(), *c.header, want)
	case !c.sub.within(wire.Location{Group: g, Object: ^uint64(0)}) || g > c.sub.endGroup:
		w.fail("filter", "%s: group %d is outside of the filter %+v of %v", c.name(), g, c.sub.filter, p.name)
	case c.sub.paused && w.now.Sub(c.sub.settled) > c.v.patience():
		w.fail("forward", "%s: a stream of a subscription that is paused since %v", c.name(), c.sub.settled.Sub(start))
	}
	return true
}

// object takes the header of an object.
func (c *checker) object(h wire.ObjectHeader) {
	w, p, g := c.v.sc.w, c.sub.p, c.header.Group
	id, err := c.ids.Next(h.IDDelta)
	if err != nil {
		w.fail("protocol", "%s: %v", c.name(), err)
	}
	k, ok := p.find(g, id)
	if !ok || p.lane(k) != c.header.Subgroup {
		w.fail("nothing invented", "%s: object %d of subgroup %d of group %d of %v", c.name(), id, c.header.Subgroup, g, p.name)
	}
	switch prev := c.k; {
	case prev < 0 && c.header.FirstObject && !p.denies(g, c.header.Subgroup, 0, k):
		w.fail("nothing skipped", "%s: a stream that says it begins with the first object begins with %d of group %d", c.name(), id, g)
	case prev < 0:
	case k <= prev || !p.denies(g, c.header.Subgroup, prev+1, k):
		w.fail("nothing skipped", "%s: object %d of group %d of %v comes after %d", c.name(), id, g, p.name, p.item(g, prev).id)
	}
	c.k = k
	it := p.item(g, k)
	loc := wire.Location{Group: g, Object: id}
	props := p.objectProperties(g, it)
	switch {
	case !c.sub.within(loc):
		w.fail("filter", "%s: object %v is outside of the filter %+v", c.name(), loc, c.sub.filter)
	case int(h.Length) != it.size || h.Status != it.status || !bytes.Equal(h.Properties, props):
		w.fail("I3 content", "%s: object %v of %v has header %+v, want %+v %x", c.name(), loc, p.name, h, it, props)
	}
	if !p.exists(loc) {
		w.fail("nothing invented", "%s: object %v of %v was not made yet", c.name(), loc, p.name)
	}
	c.begun = true
	if c.want = p.appendPayload(c.want[:0], g, it); len(c.want) == 0 {
		c.whole()
	}
}

// denies reports whether every item of a subgroup from from up to, not including,
// to was said not to exist. Such an object is not passed on, even if it comes
// (section 9.1).
func (p *plan) denies(group, subgroup uint64, from, to int) bool {
	for k := from; k < to; k++ {
		if p.lane(k) == subgroup && !p.denied[wire.Location{Group: group, Object: p.item(group, k).id}] {
			return false
		}
	}
	return true
}

// whole takes the end of an object.
func (c *checker) whole() {
	c.begun = false
	loc := wire.Location{Group: c.header.Group, Object: c.item().id}
	if c.sub.delivered[loc] && (c.sub.again == 0 || loc.Group >= c.sub.again) {
		// Whole: what was cut on one stream and began anew on another may overtake it.
		c.v.sc.w.fail("no duplicates", "%s: object %v of %v came before", c.name(), loc, c.sub.p.name)
	}
	c.sub.delivered[loc] = true
	c.sub.last = c.v.sc.w.now
	c.v.objects++
	c.sub.newest = max(c.sub.newest, loc.Group)
}

// end implements sink.
func (c *checker) end(rest []byte, err error) {
	w := c.v.sc.w
	if c.sub != nil {
		delete(c.sub.open, c)
	}
	if c.dead {
		return
	}
	if !errors.Is(err, io.EOF) {
		if c.sub != nil {
			c.sub.resets++
		}
		return
	}
	switch {
	case c.header == nil || c.sub == nil:
		w.fail("I1 FIN", "%s: stream ends inside its header %x", c.name(), rest)
	case len(rest) > 0 || c.begun:
		w.fail("I1 FIN", "%s: FIN inside object %d of group %d of %v", c.name(), c.item().id, c.header.Group, c.sub.p.name)
	case c.k < 0 && !c.empty():
		w.fail("I1 FIN", "%s: FIN before the first object of subgroup %d of group %d of %v", c.name(), c.header.Subgroup, c.header.Group, c.sub.p.name)
	case c.k >= 0 && !c.sub.p.denies(c.header.Group, c.header.Subgroup, c.k+1, c.sub.p.count()):
		w.fail("I1 FIN", "%s: FIN behind object %d of group %d of %v, which is not the last of its subgroup", c.name(), c.item().id, c.header.Group, c.sub.p.name)
	default:
		c.sub.finished[[2]uint64{c.header.Group, c.header.Subgroup}] = true
	}
}

// empty reports whether a stream may end without an object: all that it could
// have held was said not to exist. One that does not begin with the first object
// may have been meant for the last alone.
func (c *checker) empty() bool {
	p, from := c.sub.p, 0
	if !c.header.FirstObject {
		for from = p.count() - 1; p.lane(from) != c.header.Subgroup; {
			from--
		}
	}
	return p.denies(c.header.Group, c.header.Subgroup, from, p.count())
}

// exists reports whether the object was made already.
func (p *plan) exists(l wire.Location) bool {
	if l.Group/epochGroups > p.epoch {
		return false
	}
	group, count := p.until(l.Group / epochGroups)
	k, _ := p.find(l.Group, l.Object)
	return l.Group < group || l.Group == group && k < count
}
