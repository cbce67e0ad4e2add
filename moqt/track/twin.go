package track

import (
	"bytes"
	"fmt"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A twin is the object that one which is arriving has to equal. The zero value
// equals everything.
type twin struct {
	held []byte    // its payload, if it is not in a log
	log  *Subgroup // otherwise, if not nil
	off  int64     // of the payload in log
	at   int64     // how much has been compared
	l    Location
}

// match compares the next bytes of payload.
func (w *twin) match(b []byte) error {
	for len(b) > 0 {
		var have []byte
		switch {
		case w.log != nil:
			have = w.log.Bytes(w.off+w.at, len(b))
		case w.at < int64(len(w.held)):
			have = w.held[w.at:]
		}
		n := min(len(have), len(b))
		if n == 0 {
			return nil // nothing to compare with, or no longer
		}
		if !bytes.Equal(have[:n], b[:n]) {
			return fmt.Errorf("%w: object %v has two payloads", wire.ErrMalformedTrack, w.l)
		}
		w.at += int64(n)
		b = b[n:]
	}
	return nil
}

// twinOf returns what the payload behind h has to equal if the object is known,
// and an error if its fields show already that it is another.
func (w *SubgroupWriter) twinOf(known Object, h wire.ObjectHeader) (twin, error) {
	if err := w.sameFields(known, h, int64(len(known.Payload))); err != nil {
		return twin{}, err
	}
	return twin{held: known.Payload, l: known.Location()}, nil
}

// sameFields compares a header with an object that is known, of length bytes.
func (w *SubgroupWriter) sameFields(known Object, h wire.ObjectHeader, length int64) error {
	s := w.sub
	o := Object{
		Group: known.Group, ID: known.ID, Subgroup: s.header.Subgroup, Priority: s.priority,
		Status: h.Status, Properties: h.Properties, Payload: known.Payload,
	}
	if h.Length != uint64(length) {
		return fmt.Errorf("%w: object %v has two lengths", wire.ErrMalformedTrack, known.Location())
	}
	return same(known, o)
}

// same returns an error unless both are one object (section 2.4.2).
func same(a, b Object) error {
	var what string
	switch {
	case a.Status != b.Status:
		what = "statuses"
	case a.Datagram != b.Datagram:
		what = "forwarding preferences"
	case !a.Datagram && a.Subgroup != b.Subgroup:
		what = "subgroups"
	case a.Priority != b.Priority:
		what = "priorities"
	case !bytes.Equal(a.Payload, b.Payload):
		what = "payloads"
	case !sameImmutable(a.Properties, b.Properties):
		what = "immutable properties"
	default:
		return nil
	}
	return fmt.Errorf("%w: object %v has two %s", wire.ErrMalformedTrack, a.Location(), what)
}

func sameImmutable(a, b Properties) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, _ := a.Bytes(PropImmutable)
	y, _ := b.Bytes(PropImmutable)
	return bytes.Equal(x, y)
}
