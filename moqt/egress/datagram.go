package egress

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// maxDatagrams is how many datagrams of one subscription may wait. The oldest
// makes room.
const maxDatagrams = 64

// arriveDatagrams takes in the objects of forwarding preference Datagram that
// are new to s (section 11.3).
func (c *core) arriveDatagrams(s *subscription) {
	objects, next := s.cfg.Track.Datagrams(s.seenDatagrams)
	s.seenDatagrams = next
	for _, o := range objects {
		switch {
		case o.Group > s.cfg.EndGroup:
			s.passed = true
			continue
		case !s.cfg.Forward || o.Location().Less(s.cfg.Start):
			continue
		}
		if len(s.datagrams) >= maxDatagrams {
			s.datagrams = slices.Delete(s.datagrams, 0, 1)
			c.counts.datagramsDropped++
		}
		s.datagrams = append(s.datagrams, o)
		c.grams = true
		if class := classOf(s.cfg.Priority, o.Priority); class != s.class {
			s.class = class
			c.classify()
		}
	}
}

// bestDatagram returns the index of the datagram of s that goes first, after it
// has dropped those that are too late.
func (c *core) bestDatagram(now time.Time, s *subscription) (best int) {
	s.datagrams = slices.DeleteFunc(s.datagrams, func(o track.Object) bool {
		late := now.Sub(later(o.Arrival, s.since)) >= c.lifetime(s)
		if late {
			c.counts.datagramsDropped++
		}
		return late
	})
	best = -1
	for i := range s.datagrams {
		if best < 0 || s.datagramBefore(&s.datagrams[i], &s.datagrams[best]) {
			best = i
		}
	}
	return best
}

// lifetime returns how long after its arrival a datagram of s may be sent: both
// timeouts are the same for datagrams (section 8). Without one they are not
// worth more than the oldest part of a group.
func (c *core) lifetime(s *subscription) time.Duration {
	d := c.cfg.MaxLag
	for _, t := range []time.Duration{s.cfg.ObjectTimeout, s.cfg.SubgroupTimeout} {
		if t > 0 {
			d = min(d, t)
		}
	}
	return d
}

// datagramBefore reports whether a goes ahead of b (section 7.2).
func (s *subscription) datagramBefore(a, b *track.Object) bool {
	switch {
	case a.Priority != b.Priority:
		return a.Priority < b.Priority
	case a.Group != b.Group:
		return (a.Group < b.Group) != (s.cfg.Order == track.Descending)
	}
	return a.ID < b.ID
}

// pickDatagram returns whose datagram goes next, and its class.
func (c *core) pickDatagram(now time.Time) (best *subscription, at int, class uint16) {
	if !c.grams {
		return nil, 0, 0
	}
	for i := len(c.subs) - 1; i >= 0; i-- {
		if i >= len(c.subs) || len(c.subs[i].datagrams) == 0 {
			continue
		}
		s := c.subs[i]
		k := c.bestDatagram(now, s)
		if k < 0 {
			c.conclude(s)
			continue
		}
		if cl := classOf(s.cfg.Priority, s.datagrams[k].Priority); best == nil || cl <= class {
			best, at, class = s, k, cl
		}
	}
	c.grams = best != nil
	return best, at, class
}

// sendDatagram takes datagram i of s out of its queue and says to send it.
func (c *core) sendDatagram(s *subscription, i, urgency int) action {
	o := s.datagrams[i]
	s.datagrams = slices.Delete(s.datagrams, i, i+1)
	d := wire.Datagram{
		Alias: s.cfg.Alias, Group: o.Group, Object: o.ID, Priority: o.Priority,
		EndOfGroup: o.EndOfGroup, Status: o.Status, Properties: o.Properties, Payload: o.Payload,
	}
	if o.Priority == s.cfg.Track.PublisherPriority() {
		d.DefaultPriority, d.Priority = true, 0
	}
	c.datagram = d.Append(c.datagram[:0])
	if !c.exact {
		c.backlog.wrote(len(c.datagram), urgency, 0)
	}
	c.conclude(s)
	return action{op: opDatagram, data: c.datagram}
}

// keepDatagrams drops the datagrams of s that its filter does not cover any more.
func (s *subscription) keepDatagrams() {
	s.datagrams = slices.DeleteFunc(s.datagrams, func(o track.Object) bool {
		return !s.cfg.Forward || o.Group > s.cfg.EndGroup || o.Location().Less(s.cfg.Start)
	})
}
