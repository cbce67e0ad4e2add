package wire

import "math"

// An ObjectStatus says whether an object is one, or marks an end (section
// 11.2.1.1).
type ObjectStatus uint64

// The object statuses.
const (
	ObjectNormal     ObjectStatus = 0x0
	ObjectEndOfGroup ObjectStatus = 0x3 // no object of the group at or after this ID
	ObjectEndOfTrack ObjectStatus = 0x4 // no object of the track at or after this location
)

var objectStatuses = map[ObjectStatus]string{
	ObjectNormal:     "NORMAL",
	ObjectEndOfGroup: "END_OF_GROUP",
	ObjectEndOfTrack: "END_OF_TRACK",
}

func (s ObjectStatus) String() string { return name(objectStatuses, s) }

func (s ObjectStatus) known() bool {
	return s == ObjectNormal || s == ObjectEndOfGroup || s == ObjectEndOfTrack
}

// MaxObjectHeader is the longest header of an object on a stream, in bytes: a
// buffer of this size always holds one.
const MaxObjectHeader = 6*MaxVarintLen + 1 + MaxObjectProperties

// An ObjectHeader precedes an object's payload on a subgroup stream (section
// 11.4.2).
type ObjectHeader struct {
	// IDDelta is the object ID for the first object on the stream, else how
	// many IDs were skipped since the one before. See ObjectIDs.
	IDDelta    uint64
	Properties Properties // nil: none; only if Status is ObjectNormal
	Length     uint64     // bytes of payload that follow
	Status     ObjectStatus
}

// Append appends h to b. withProperties is the Properties field of the
// stream's SubgroupHeader; without it h.Properties is left out. A status other
// than normal is only there if Length is 0.
func (h ObjectHeader) Append(b []byte, withProperties bool) []byte {
	b = AppendVarint(b, h.IDDelta)
	if withProperties {
		b = appendBytes(b, h.Properties)
	}
	b = AppendVarint(b, h.Length)
	if h.Length == 0 {
		b = AppendVarint(b, uint64(h.Status))
	}
	return b
}

// ParseObjectHeader parses the header at the start of b and returns its
// length; h.Properties aliases b. withProperties is the Properties field of
// the stream's SubgroupHeader. Before the header is whole it returns ErrShort.
func ParseObjectHeader(b []byte, withProperties bool) (h ObjectHeader, n int, err error) {
	s := scanner{b: b}
	h.IDDelta = s.varint()
	if withProperties {
		if h.Properties, err = s.properties("object"); err != nil {
			return ObjectHeader{}, 0, err
		}
	}
	h.Length = s.varint()
	statusAt := s.off
	if h.Length == 0 {
		h.Status = ObjectStatus(s.varint())
	}
	switch {
	case s.short:
		return ObjectHeader{}, 0, ErrShort
	case !h.Status.known():
		return ObjectHeader{}, 0, violation("object", statusAt, "unknown object status")
	case h.Status != ObjectNormal && h.Properties != nil:
		return ObjectHeader{}, 0, violation("object", statusAt, "properties on an object that is not normal")
	}
	return h, s.off, nil
}

// ObjectIDs turns the deltas of one subgroup stream into object IDs, or back.
// The zero value is at the start of a stream.
type ObjectIDs struct {
	prev    uint64
	started bool
}

// Next returns the ID of the object whose header has this delta, an *Error if
// that exceeds 2^64-1.
func (s *ObjectIDs) Next(delta uint64) (id uint64, err error) {
	if !s.started {
		s.prev, s.started = delta, true
		return delta, nil
	}
	if s.prev == math.MaxUint64 || delta > math.MaxUint64-s.prev-1 {
		return 0, violation("object", 0, "object ID exceeds 2^64-1")
	}
	s.prev += delta + 1
	return s.prev, nil
}

// Delta returns the delta for the object with this ID, and whether it can be
// sent on this stream: its ID must exceed the one before.
func (s *ObjectIDs) Delta(id uint64) (delta uint64, ok bool) {
	switch {
	case !s.started:
		delta = id
	case id <= s.prev:
		return 0, false
	default:
		delta = id - s.prev - 1
	}
	s.prev, s.started = id, true
	return delta, true
}
