package moqt

import (
	"errors"
	"slices"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// maxEarlyDatagrams bounds the bytes of datagrams that wait for their alias,
// beside Limits.EarlyDatagrams.
const maxEarlyDatagrams = 256 << 10

// earlyDatagrams are those whose track alias is not known yet, in order of
// arrival (section 11.3).
type earlyDatagrams struct {
	list  []*earlyDatagram
	bytes int
}

type earlyDatagram struct {
	d     wire.Datagram
	size  int
	timer timer // of the wait
}

// datagram takes a datagram (section 11.3). b is the core's from now on.
func (c *core) datagram(b []byte) error {
	t, err := wire.ParseDatagramType(b)
	if err != nil || t == wire.DatagramPadding {
		return err
	}
	d, err := wire.ParseDatagram(b)
	if err != nil {
		return err
	}
	f := c.aliases[d.Alias]
	switch {
	case f != nil && f.live:
		c.object(f, d)
	case f == nil && c.cancelled.has(d.Alias) && !c.subscribing():
		c.do(actCount{kindDatagram, outcomeDropped})
	case len(c.early.list) >= c.cfg.Limits.EarlyDatagrams || c.early.bytes+len(b) > maxEarlyDatagrams:
		c.do(actCount{kindDatagram, outcomeLimited})
	default:
		e := &earlyDatagram{d: d, size: len(b)}
		c.early.list = append(c.early.list, e)
		c.early.bytes += e.size
		c.arm(&e.timer, c.cfg.Limits.EarlyWait, func() error {
			c.takeEarly(func(o *earlyDatagram) bool { return o == e })
			c.do(actCount{kindDatagram, outcomeDropped})
			return nil
		})
	}
	return nil
}

// takeEarly takes the waiting datagrams that match out of the queue.
func (c *core) takeEarly(match func(*earlyDatagram) bool) (found []*earlyDatagram) {
	c.early.list = slices.DeleteFunc(c.early.list, func(e *earlyDatagram) bool {
		if !match(e) {
			return false
		}
		found = append(found, e)
		c.early.bytes -= e.size
		c.timers.Stop(&e.timer)
		return true
	})
	return found
}

// deliverEarly writes the datagrams that came before f's alias was known.
func (c *core) deliverEarly(f *feed) {
	for _, e := range c.takeEarly(func(e *earlyDatagram) bool { return e.d.Alias == f.alias }) {
		if c.aliases[f.alias] == f { // the one before may have ended it
			c.object(f, e.d)
		} else {
			c.do(actCount{kindDatagram, outcomeDropped})
		}
	}
}

// dropEarly drops the datagrams of an alias that nobody wants.
func (c *core) dropEarly(alias uint64) {
	for range c.takeEarly(func(e *earlyDatagram) bool { return e.d.Alias == alias }) {
		c.do(actCount{kindDatagram, outcomeDropped})
	}
}

// object writes the object of a datagram into its track.
func (c *core) object(f *feed, d wire.Datagram) {
	o := track.Object{
		Group: d.Group, ID: d.Object, Priority: d.Priority, Datagram: true,
		EndOfGroup: d.EndOfGroup, Status: d.Status, Properties: d.Properties, Payload: d.Payload,
	}
	if d.DefaultPriority {
		o.Priority = f.track.PublisherPriority()
	}
	outcome := outcomeOK
	if err := f.track.WriteDatagram(o); err != nil {
		outcome = outcomeDropped
		if errors.Is(err, wire.ErrMalformedTrack) {
			c.malformed(f.name, err)
		}
	}
	c.do(actCount{kindDatagram, outcome})
}
