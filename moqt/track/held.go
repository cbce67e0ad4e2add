package track

import (
	"cmp"
	"slices"
	"time"
	"unsafe"
)

// A held object is one that is kept outside a log: it came in a datagram, or in
// the response to a FETCH.
type held struct {
	Object
	arrival time.Duration // since the track's epoch
}

const heldOverhead = int64(unsafe.Sizeof(held{})) + int64(unsafe.Sizeof((*held)(nil)))

// size returns what h charges.
func (h *held) size() int64 { return heldOverhead + int64(len(h.Properties)+len(h.Payload)) }

// hold copies o.
func (t *Track) hold(o Object, now time.Duration) *held {
	h := &held{Object: o, arrival: now}
	h.Arrival = t.epoch.Add(now)
	b := make([]byte, 0, len(o.Properties)+len(o.Payload))
	b = append(b, o.Properties...)
	n := len(b)
	b = append(b, o.Payload...)
	h.Properties, h.Payload = Properties(b[:n:n]), b[n:]
	return h
}

// heldObjects are those of one group, by ascending ID.
type heldObjects []*held

// search returns the index of the first object whose ID is id or more.
func (l heldObjects) search(id uint64) int {
	if n := len(l); n == 0 || l[n-1].ID < id {
		return n
	}
	i, _ := slices.BinarySearchFunc(l, id, func(h *held, id uint64) int { return cmp.Compare(h.ID, id) })
	return i
}

// overlaps reports whether one of the IDs from to to is there.
func (l heldObjects) overlaps(from, to uint64) bool {
	i := l.search(from)
	return i < len(l) && l[i].ID <= to
}

func (l heldObjects) find(id uint64) *held {
	if i := l.search(id); i < len(l) && l[i].ID == id {
		return l[i]
	}
	return nil
}

// A filled group is what Fillers have brought of a group. It is kept apart from
// what came live: subscriptions are not told of it. The track's lock guards it.
type filled struct {
	id      uint64
	objects heldObjects
	missing missing       // object IDs
	since   time.Duration // when the newest of this came
	bytes   int64         // charged
}

const filledOverhead = int64(unsafe.Sizeof(filled{}))

// findFilled returns what is filled of the group with this ID, and where it is
// or belongs.
func (t *Track) findFilled(id uint64) (f *filled, i int) {
	i, ok := slices.BinarySearchFunc(t.filled, id, func(f *filled, id uint64) int { return cmp.Compare(f.id, id) })
	if !ok {
		return nil, i
	}
	return t.filled[i], i
}

// openFilled returns what is filled of the group with this ID, and makes it if
// there is nothing yet.
func (t *Track) openFilled(id uint64) *filled {
	f, i := t.findFilled(id)
	if f == nil {
		f = &filled{id: id}
		t.filled = slices.Insert(t.filled, i, f)
		t.chargeFilled(f, filledOverhead)
	}
	f.since = t.since()
	return f
}

func (t *Track) chargeFilled(f *filled, n int64) {
	if n != 0 {
		f.bytes += n
		t.account(n)
	}
}

// evictFilled removes t.filled[i].
func (t *Track) evictFilled(i int) {
	f := t.filled[i]
	t.filled = slices.Delete(t.filled, i, i+1)
	t.chargeFilled(f, -f.bytes)
}
