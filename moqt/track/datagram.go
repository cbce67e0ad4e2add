package track

import (
	"fmt"
	"slices"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

const (
	// maxDatagrams and maxDatagramBytes bound what Datagrams can return. Who asks
	// later than that has lost the oldest, as with datagrams on the wire.
	maxDatagrams     = 256
	maxDatagramBytes = 1 << 20
)

// A datagramRing is the newest objects that came in datagrams, in order of
// arrival. The track's lock guards it.
type datagramRing struct {
	objects []*held // the newest last
	next    uint64  // how many there were
	bytes   int64   // of objects
}

// WriteDatagram stores an object whose forwarding preference is Datagram, or a
// mark that came so, and shows it to the readers. It is copied. o needs Group,
// ID and Priority; EndOfGroup is its END_OF_GROUP bit (section 11.3.1).
//
// One that is there already is compared and dropped; one that is known not to
// exist is dropped (section 9.1). Errors are as those of SubgroupWriter.Write.
func (t *Track) WriteDatagram(o Object) error {
	o.Datagram, o.Subgroup = true, 0
	switch {
	case int64(len(o.Payload)) > t.cfg.MaxObject:
		return fmt.Errorf("%w: object %v has %d bytes", ErrLimit, o.Location(), len(o.Payload))
	case o.Status != ObjectNormal && (len(o.Payload) > 0 || len(o.Properties) > 0):
		return fmt.Errorf("track: object %v has status %v and content", o.Location(), o.Status)
	}
	if err := o.Properties.CheckObject(o.Location()); err != nil {
		return t.judge(err)
	}
	t.mu.Lock()
	err := t.writeDatagram(o)
	t.mu.Unlock()
	if err != nil {
		return t.judge(err)
	}
	t.notify()
	t.cfg.Budget.reclaim()
	return nil
}

func (t *Track) writeDatagram(o Object) error {
	if err := t.writable(); err != nil {
		return err
	}
	g, err := t.openGroup(o.Group)
	if err != nil {
		return err
	}
	if err := t.checkNew(g, wire.ObjectHeader{Status: o.Status, Properties: o.Properties}, o.ID); err != nil {
		return err
	}
	if o.EndOfGroup && g.some && g.largest > o.ID {
		return fmt.Errorf("%w: group %d ends at object %d but has object %d", wire.ErrMalformedTrack, g.id, o.ID, g.largest)
	}
	f, _ := t.findFilled(o.Group)
	if o.Status == ObjectNormal {
		switch drop, err := t.checkDatagram(g, f, o); {
		case err != nil:
			return err
		case drop:
			return nil
		}
	} else if g.hasEnd && g.end == o.ID && (o.Status == ObjectEndOfGroup || t.hasEnd) {
		return nil // the same mark again
	}
	if err := g.admit(t); err != nil {
		return err
	}
	h := t.hold(o, t.since())
	if g.bytes+h.size() > t.cfg.MaxGroupBytes {
		g.count--
		return fmt.Errorf("%w: group %d of %d bytes", ErrLimit, g.id, g.bytes+h.size())
	}
	if o.Status == ObjectNormal {
		g.datagrams = slices.Insert(g.datagrams, g.datagrams.search(o.ID), h)
	}
	t.charge(g, h.size())
	t.record(g, nil, o.Status, o.Properties, o.ID)
	if o.EndOfGroup && o.ID+1 != 0 {
		g.endAt(o.ID + 1)
	}
	t.datagrams.add(h)
	t.sent.Store(t.datagrams.next)
	t.trim()
	return nil
}

// checkDatagram reports whether o is to be dropped, because it is there already
// or known not to exist.
func (t *Track) checkDatagram(g *group, f *filled, o Object) (drop bool, err error) {
	if h := g.datagrams.find(o.ID); h != nil {
		return true, same(h.Object, o)
	}
	if g.present.has(o.ID) {
		return true, fmt.Errorf("%w: object %v has two forwarding preferences", wire.ErrMalformedTrack, o.Location())
	}
	if f != nil {
		if h := f.objects.find(o.ID); h != nil {
			if err := same(h.Object, o); err != nil {
				return true, err
			}
		}
	}
	return t.isAbsent(g, f, o.ID), nil
}

// Datagrams returns what WriteDatagram has taken after those that an earlier
// call covered, in order of arrival, and what to pass to the next call. Of those
// only the newest 256, and 1 MiB, are kept. Asking in vain takes no lock.
func (t *Track) Datagrams(seq uint64) (objects []Object, next uint64) {
	if t.sent.Load() == seq {
		return nil, seq
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.datagrams
	n := min(uint64(len(r.objects)), r.next-min(seq, r.next))
	for _, h := range r.objects[uint64(len(r.objects))-n:] {
		objects = append(objects, h.Object)
	}
	return objects, r.next
}

func (r *datagramRing) add(h *held) {
	r.objects = append(r.objects, h)
	r.bytes += h.size()
	r.next++
	drop := 0
	for n := len(r.objects); drop < n-1 && (n-drop > maxDatagrams || r.bytes > maxDatagramBytes); drop++ {
		r.bytes -= r.objects[drop].size()
	}
	r.objects = slices.Delete(r.objects, 0, drop)
}

// forget drops the objects of a group that is evicted.
func (r *datagramRing) forget(group uint64) {
	r.objects = slices.DeleteFunc(r.objects, func(h *held) bool {
		if h.Group == group {
			r.bytes -= h.size()
		}
		return h.Group == group
	})
}
