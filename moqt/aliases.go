package moqt

import (
	"cmp"
	"errors"
	"slices"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A dataStream is a subgroup stream of the peer.
type dataStream struct {
	sid    streamID
	header wire.SubgroupHeader
	feed   *feed // nil while it waits for its alias
	timer  timer // of the wait
}

// subgroup takes the header of a data stream. Its reader waits for actBind or
// actStop before it reads on, so that flow control holds back the rest.
func (c *core) subgroup(sid streamID, h wire.SubgroupHeader) {
	d := &dataStream{sid: sid, header: h}
	f := c.aliases[h.Alias]
	switch {
	case len(c.data) >= c.cfg.Limits.DataStreams:
		c.stopEarly(d, wire.ResetExcessiveLoad)
	case f != nil && f.live:
		c.data[sid] = d
		c.bind(d, f)
	case f == nil && c.cancelled.has(h.Alias) && !c.subscribing():
		c.stopEarly(d, wire.ResetCancelled)
	case len(c.parked) >= c.cfg.Limits.EarlyStreams:
		c.stopEarly(d, wire.ResetExcessiveLoad)
	default:
		c.data[sid] = d
		c.parked = append(c.parked, d)
		c.arm(&d.timer, c.cfg.Limits.EarlyWait, func() error {
			c.parked = slices.DeleteFunc(c.parked, func(p *dataStream) bool { return p == d })
			c.stopEarly(d, wire.ResetCancelled)
			return nil
		})
	}
}

// subscribing reports whether a SUBSCRIBE of ours waits for its answer: a
// cancelled alias may then be that of the new subscription.
func (c *core) subscribing() bool {
	for _, f := range c.feeds {
		if !f.live {
			return true
		}
	}
	return false
}

// stopEarly refuses a data stream that fills no track. Its reader reports the
// end of what was bound only.
func (c *core) stopEarly(d *dataStream, code wire.ResetCode) {
	delete(c.data, d.sid)
	c.do(actCount{kindStream, limited(code == wire.ResetExcessiveLoad, outcomeDropped)})
	c.do(actStop{d.sid, code})
}

func (c *core) bind(d *dataStream, f *feed) {
	d.feed = f
	f.open[d.sid] = struct{}{}
	f.seen++
	c.do(actBind{d.sid, f.track, d.header})
}

// unpark takes the streams that wait for alias out of the queue. Their readers
// have raced each other to get there, so their groups are put in order.
func (c *core) unpark(alias uint64, take func(*dataStream)) {
	var found []*dataStream
	c.parked = slices.DeleteFunc(c.parked, func(d *dataStream) bool {
		if d.header.Alias == alias {
			found = append(found, d)
		}
		return d.header.Alias == alias
	})
	slices.SortStableFunc(found, func(a, b *dataStream) int { return cmp.Compare(a.header.Group, b.header.Group) })
	for _, d := range found {
		c.timers.Stop(&d.timer)
		take(d)
	}
}

// dropAlias remembers that nobody wants alias any more.
func (c *core) dropAlias(alias uint64) {
	c.cancelled.add(alias)
	c.unpark(alias, func(d *dataStream) { c.stopEarly(d, wire.ResetCancelled) })
	c.dropEarly(alias)
}

// subgroupEnd takes the end of a data stream.
func (c *core) subgroupEnd(ev evSubgroupEnd) error {
	if we, ok := errors.AsType[*wire.Error](ev.err); ok {
		return we
	}
	d := c.data[ev.sid]
	if d == nil {
		return nil
	}
	delete(c.data, ev.sid)
	f := d.feed
	if f == nil {
		c.timers.Stop(&d.timer)
		c.parked = slices.DeleteFunc(c.parked, func(p *dataStream) bool { return p == d })
		return nil
	}
	delete(f.open, ev.sid)
	if errors.Is(ev.err, wire.ErrMalformedTrack) && f.live { // section 2.4.2
		c.malformed(f.name, ev.err)
		return nil
	}
	if _, current := f.st.role.(*feed); current {
		f.check(c)
	}
	return nil
}

// recent remembers the last few cancelled aliases, so that what still comes for
// them is stopped at once (section 11.1).
type recent struct {
	ring []uint64 // of mostRecent, once there is one
	n    int      // how many were added
}

const mostRecent = 64

func (r *recent) has(alias uint64) bool {
	return slices.Contains(r.ring[:min(r.n, len(r.ring))], alias)
}

func (r *recent) add(alias uint64) {
	if !r.has(alias) {
		if r.ring == nil {
			r.ring = make([]uint64, mostRecent)
		}
		r.ring[r.n%len(r.ring)] = alias
		r.n++
	}
}

// remove forgets an alias that is used again.
func (r *recent) remove(alias uint64) {
	for i := range r.ring[:min(r.n, len(r.ring))] {
		if r.ring[i] == alias {
			last := min(r.n, len(r.ring)) - 1
			r.ring[i] = r.ring[last]
			if r.n > len(r.ring) {
				r.n = len(r.ring)
			}
			r.n--
			return
		}
	}
}
