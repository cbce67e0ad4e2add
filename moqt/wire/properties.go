package wire

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// The property types (sections 12 and 15.8). LOC's own types are those of
// draft-ietf-moq-loc-04.
const (
	PropObjectDeliveryTimeout            uint64 = 0x02 // track; milliseconds
	PropMaxCacheDuration                 uint64 = 0x04 // track; milliseconds
	PropSubgroupDeliveryTimeout          uint64 = 0x06 // track; milliseconds
	PropImmutable                        uint64 = 0x0b // track, object; nested properties
	PropDefaultPublisherPriority         uint64 = 0x0e // track; 0 to 255
	PropDefaultPublisherGroupOrder       uint64 = 0x22 // track; a GroupOrder
	PropDynamicGroups                    uint64 = 0x30 // track; 0 or 1
	PropPriorGroupIDGap                  uint64 = 0x3c // object; groups that will never exist
	PropPriorObjectIDGap                 uint64 = 0x3e // object; objects that will never exist
	PropLOCTimescale                     uint64 = 0x08 // track, object; ticks per second
	PropLOCVideoFrameMarking             uint64 = 0x09 // object; RFC 9626
	PropLOCAudioLevel                    uint64 = 0x0c // object; RFC 6464
	PropLOCVideoConfig                   uint64 = 0x0d // track, object; decoder configuration
	PropLOCAudioConfig                   uint64 = 0x0f // track, object; decoder configuration
	PropLOCTimestamp                     uint64 = 0x10 // object; ticks
	propMandatoryFirst, propMandatoryEnd uint64 = 0x4000, 0x8000
)

const (
	// MaxValue is the longest byte value of a property or setup option
	// (section 1.4.3).
	MaxValue = 1<<16 - 1
	// MaxObjectProperties is the most bytes of properties that we accept on one
	// object; a house limit.
	MaxObjectProperties = 1 << 16
)

// ErrMalformedTrack reports that an object makes its track malformed (section
// 2.4.2): the subscription or fetch ends, the session goes on.
var ErrMalformedTrack = errors.New("moqt/wire: malformed track")

// A KeyValue is one Key-Value-Pair (section 1.4.3): a property or a setup
// option. An even type has the value Uint, an odd type the value Bytes.
type KeyValue struct {
	Type  uint64
	Uint  uint64
	Bytes []byte // at most MaxValue bytes
}

// AppendKeyValues appends kvs to b in ascending order of type. Those of equal
// type keep their order. kvs is left as it is.
func AppendKeyValues(b []byte, kvs ...KeyValue) []byte {
	byType := func(x, y KeyValue) int { return cmp.Compare(x.Type, y.Type) }
	if !slices.IsSortedFunc(kvs, byType) {
		kvs = slices.Clone(kvs)
		slices.SortStableFunc(kvs, byType)
	}
	prev := uint64(0)
	for _, kv := range kvs {
		b = AppendVarint(b, kv.Type-prev)
		prev = kv.Type
		if kv.Type%2 == 0 {
			b = AppendVarint(b, kv.Uint)
		} else {
			b = appendBytes(b, kv.Bytes)
		}
	}
	return b
}

// A kvReader walks a run of Key-Value-Pairs. It does not allocate, except for
// an Error.
type kvReader struct {
	b    []byte
	off  int
	prev uint64
	in   string
}

func (r *kvReader) more() bool { return r.off < len(r.b) }

// next reads one pair. Its Bytes alias the input.
func (r *kvReader) next() (KeyValue, error) {
	start := r.off
	delta, n, err := ParseVarint(r.b[r.off:])
	if err != nil {
		return KeyValue{}, r.misformed(start, "type is cut off")
	}
	r.off += n
	kv := KeyValue{Type: r.prev + delta}
	if kv.Type < delta {
		return KeyValue{}, violation(r.in, start, "type exceeds 2^64-1")
	}
	r.prev = kv.Type
	v, n, err := ParseVarint(r.b[r.off:])
	if err != nil {
		return KeyValue{}, r.misformed(start, "value is cut off")
	}
	r.off += n
	switch {
	case kv.Type%2 == 0:
		kv.Uint = v
	case v > MaxValue:
		return KeyValue{}, violation(r.in, start, "value exceeds 65535 bytes")
	case v > uint64(len(r.b)-r.off):
		return KeyValue{}, r.misformed(start, "value is cut off")
	default:
		kv.Bytes = r.b[r.off : r.off+int(v)]
		r.off += int(v)
	}
	return kv, nil
}

func (r *kvReader) misformed(off int, what string) error {
	return &Error{Code: SessionKeyValueFormattingError, In: r.in, Offset: off, What: what}
}

// Properties is a run of Key-Value-Pairs, kept as the bytes that are on the
// wire, so that a relay passes on exactly what it got (section 2.5). nil and
// empty both mean no properties.
type Properties []byte

// NewProperties encodes kvs, in ascending order of type. It returns nil for
// none.
func NewProperties(kvs ...KeyValue) Properties { return AppendKeyValues(nil, kvs...) }

// Validate checks that p is a whole number of well-formed Key-Value-Pairs. The
// parsers have done so for what they return.
func (p Properties) Validate() error { return p.validate("properties") }

func (p Properties) validate(in string) error {
	for r := (kvReader{b: p, in: in}); r.more(); {
		if _, err := r.next(); err != nil {
			return err
		}
	}
	return nil
}

// validateTrack also checks the values of track properties.
func (p Properties) validateTrack(in string) error {
	for r := (kvReader{b: p, in: in}); r.more(); {
		start := r.off
		kv, err := r.next()
		if err != nil {
			return err
		}
		if err := checkTrackProperty(kv, in, start); err != nil {
			return err
		}
		if kv.Type != PropImmutable {
			continue
		}
		// Nested pairs that cannot be parsed make the track malformed, which
		// is not the session's end; their values still count.
		for n := (kvReader{b: kv.Bytes, in: in}); n.more(); {
			nested, err := n.next()
			if err != nil {
				break
			}
			if err := checkTrackProperty(nested, in, start); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkTrackProperty(kv KeyValue, in string, off int) error {
	switch {
	case kv.Type == PropDefaultPublisherPriority && kv.Uint > 255:
		return violation(in, off, "DEFAULT_PUBLISHER_PRIORITY exceeds 255")
	case kv.Type == PropDefaultPublisherGroupOrder && kv.Uint != 1 && kv.Uint != 2:
		return violation(in, off, "DEFAULT_PUBLISHER_GROUP_ORDER is neither 1 nor 2")
	case kv.Type == PropDynamicGroups && kv.Uint > 1:
		return violation(in, off, "DYNAMIC_GROUPS exceeds 1")
	}
	return nil
}

// All iterates over the pairs of p in order, without looking into
// PropImmutable. Bytes alias p.
func (p Properties) All() iter.Seq[KeyValue] {
	return func(yield func(KeyValue) bool) {
		for r := (kvReader{b: p}); r.more(); {
			kv, err := r.next()
			if err != nil || !yield(kv) {
				return
			}
		}
	}
}

// find returns the first pair of type t: of p itself, else of those nested in
// PropImmutable (section 12.7).
func (p Properties) find(t uint64) (KeyValue, bool) {
	var immutable Properties
	for r := (kvReader{b: p}); r.more(); {
		kv, err := r.next()
		if err != nil {
			break
		}
		if kv.Type == t {
			return kv, true
		}
		if kv.Type == PropImmutable {
			immutable = kv.Bytes
		}
	}
	for r := (kvReader{b: immutable}); r.more(); {
		kv, err := r.next()
		if err != nil {
			break
		}
		if kv.Type == t {
			return kv, true
		}
	}
	return KeyValue{}, false
}

// Uint returns the value of property t, which must be even, also if it is
// nested in PropImmutable, and whether there is one.
func (p Properties) Uint(t uint64) (v uint64, ok bool) {
	kv, ok := p.find(t)
	return kv.Uint, ok && t%2 == 0
}

// Bytes returns the value of property t, which must be odd, also if it is
// nested in PropImmutable, and whether there is one. It aliases p.
func (p Properties) Bytes(t uint64) (v []byte, ok bool) {
	kv, ok := p.find(t)
	return kv.Bytes, ok && t%2 == 1
}

// Mandatory returns the first Mandatory Track Property in p, also if it is
// nested in PropImmutable (section 2.5.1). The draft defines none, so a track
// that has one cannot be processed or forwarded.
func (p Properties) Mandatory() (t uint64, ok bool) {
	for kv := range p.All() {
		if isMandatory(kv.Type) {
			return kv.Type, true
		}
		if kv.Type != PropImmutable {
			continue
		}
		for nested := range Properties(kv.Bytes).All() {
			if isMandatory(nested.Type) {
				return nested.Type, true
			}
		}
	}
	return 0, false
}

func isMandatory(t uint64) bool { return propMandatoryFirst <= t && t < propMandatoryEnd }

// CheckObject checks what the properties of the object at l say on their own:
// no Mandatory Track Property, no gap before it that is repeated or reaches
// below 0, at most one well-formed PropImmutable that does not nest another
// (sections 2.5.1, 12.7 to 12.9). Its errors wrap ErrMalformedTrack. It does
// not allocate for a good object.
func (p Properties) CheckObject(l Location) error {
	var c objectCheck
	for r := (kvReader{b: p, in: "properties"}); r.more(); {
		kv, err := r.next()
		if err != nil {
			return err
		}
		if err := c.add(kv, l); err != nil {
			return err
		}
		if kv.Type != PropImmutable {
			continue
		}
		if c.immutable {
			return fmt.Errorf("%w: two immutable properties at %v", ErrMalformedTrack, l)
		}
		c.immutable = true
		for n := (kvReader{b: kv.Bytes, in: "immutable properties"}); n.more(); {
			nested, err := n.next()
			if err != nil {
				return fmt.Errorf("%w: at %v: %w", ErrMalformedTrack, l, err)
			}
			if nested.Type == PropImmutable {
				return fmt.Errorf("%w: nested immutable properties at %v", ErrMalformedTrack, l)
			}
			if err := c.add(nested, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// objectCheck remembers which of the properties that may occur once have.
type objectCheck struct{ immutable, groupGap, objectGap bool }

func (c *objectCheck) add(kv KeyValue, l Location) error {
	switch {
	case isMandatory(kv.Type):
		return fmt.Errorf("%w: mandatory track property %#x on object %v", ErrMalformedTrack, kv.Type, l)
	case kv.Type == PropPriorGroupIDGap:
		if c.groupGap || kv.Uint > l.Group {
			return fmt.Errorf("%w: PRIOR_GROUP_ID_GAP of %d at %v, or a second one", ErrMalformedTrack, kv.Uint, l)
		}
		c.groupGap = true
	case kv.Type == PropPriorObjectIDGap:
		if c.objectGap || kv.Uint > l.Object {
			return fmt.Errorf("%w: PRIOR_OBJECT_ID_GAP of %d at %v, or a second one", ErrMalformedTrack, kv.Uint, l)
		}
		c.objectGap = true
	}
	return nil
}

// TrackProperties are the properties of a track that the draft defines, with
// its defaults for those that are absent.
type TrackProperties struct {
	ObjectDeliveryTimeout   time.Duration // 0: none
	SubgroupDeliveryTimeout time.Duration // 0: none
	MaxCacheDuration        time.Duration // valid if HasMaxCacheDuration
	HasMaxCacheDuration     bool
	DefaultPriority         uint8      // 128 if absent
	GroupOrder              GroupOrder // GroupAscending if absent
	DynamicGroups           bool
}

// Track returns the properties of p that the draft defines for tracks.
func (p Properties) Track() TrackProperties {
	t := TrackProperties{DefaultPriority: DefaultPriority, GroupOrder: GroupAscending}
	if v, ok := p.Uint(PropObjectDeliveryTimeout); ok {
		t.ObjectDeliveryTimeout = fromMillis(v)
	}
	if v, ok := p.Uint(PropSubgroupDeliveryTimeout); ok {
		t.SubgroupDeliveryTimeout = fromMillis(v)
	}
	if v, ok := p.Uint(PropMaxCacheDuration); ok {
		t.MaxCacheDuration, t.HasMaxCacheDuration = fromMillis(v), true
	}
	if v, ok := p.Uint(PropDefaultPublisherPriority); ok {
		t.DefaultPriority = uint8(min(v, 255))
	}
	if v, ok := p.Uint(PropDefaultPublisherGroupOrder); ok {
		t.GroupOrder = GroupOrder(v)
	}
	if v, ok := p.Uint(PropDynamicGroups); ok {
		t.DynamicGroups = v == 1
	}
	return t
}
