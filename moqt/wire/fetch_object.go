package wire

import (
	"errors"
	"math"
)

// ErrFetchOrder reports that FetchWriter was given an object or range that
// comes before the last one in the order of the response.
var ErrFetchOrder = errors.New("moqt/wire: out of order for the fetch response")

// MaxFetchHeader is the longest FETCH_HEADER, in bytes.
const MaxFetchHeader = 2 * MaxVarintLen

// A FetchHeader begins the stream that answers a Fetch (section 11.4.4).
type FetchHeader struct{ RequestID uint64 }

// Append appends h, from the type on, to b.
func (h FetchHeader) Append(b []byte) []byte {
	return AppendVarint(append(b, typeFetchHeader), h.RequestID)
}

// ParseFetchHeader parses the header at the start of b, its type included, and
// returns its length. Before the header is whole it returns ErrShort.
func ParseFetchHeader(b []byte) (h FetchHeader, n int, err error) {
	s := scanner{b: b}
	typ := s.varint()
	if !s.short && typ != typeFetchHeader {
		return FetchHeader{}, 0, violation("FETCH_HEADER", 0, "not the fetch type")
	}
	h.RequestID = s.varint()
	if s.short {
		return FetchHeader{}, 0, ErrShort
	}
	return h, s.off, nil
}

// The serialization flags of a fetch object. The values of FetchRange are not
// flags: their bits mean nothing on their own.
const (
	fetchSubgroupMode  = 0x03
	fetchSubgroupZero  = 0x00
	fetchSubgroupPrior = 0x01
	fetchSubgroupNext  = 0x02
	fetchSubgroupField = 0x03
	fetchObjectDelta   = 0x04
	fetchGroupDelta    = 0x08
	fetchPriority      = 0x10
	fetchProperties    = 0x20
	fetchDatagram      = 0x40
	fetchFlagsEnd      = 0x80
)

// A FetchRange says what is known of the objects that a response leaves out
// (section 11.4.4.2).
type FetchRange uint64

// The range markers.
const (
	FetchNoRange     FetchRange = 0     // an object, not a marker
	FetchNonExistent FetchRange = 0x8c  // the objects do not exist
	FetchUnknown     FetchRange = 0x10c // nothing is known of the objects
)

var fetchRanges = map[FetchRange]string{
	FetchNoRange:     "none",
	FetchNonExistent: "End of Non-Existent Range",
	FetchUnknown:     "End of Unknown Range",
}

func (r FetchRange) String() string { return name(fetchRanges, r) }

// A FetchObject is the header of one object of a fetch response, or a marker
// for a range without objects. A marker ends at its location, inclusive, and
// starts after the item before it; of the other fields it has none.
type FetchObject struct {
	Range      FetchRange
	Group      uint64
	Object     uint64
	Subgroup   uint64 // 0 if Datagram
	Datagram   bool   // the object's forwarding preference is datagram
	Priority   uint8
	Properties Properties // nil: none
	Length     uint64     // bytes of payload that follow
}

// Location returns the location of o.
func (o FetchObject) Location() Location { return Location{o.Group, o.Object} }

// fetchPrior is what the fields of the next item may refer to.
type fetchPrior struct {
	descending  bool
	started     bool     // some item came
	at          Location // of the last item
	priority    uint8
	hasPriority bool // some object came
	subgroup    uint64
	hasSubgroup bool // the last object was not a datagram
}

// add makes o the prior item.
func (p *fetchPrior) add(o FetchObject) {
	p.started, p.at = true, o.Location()
	if o.Range != FetchNoRange {
		return // subgroup and priority stay those of the last object
	}
	p.priority, p.hasPriority = o.Priority, true
	p.subgroup, p.hasSubgroup = o.Subgroup, !o.Datagram
}

// backward reports whether l comes before the last item.
func (p *fetchPrior) backward(l Location) bool {
	switch {
	case !p.started:
		return false
	case l.Group == p.at.Group:
		return l.Object < p.at.Object
	}
	return l.Group < p.at.Group != p.descending
}

// A FetchReader parses the items of one fetch response. It belongs to one
// goroutine.
type FetchReader struct{ prior fetchPrior }

// NewFetchReader returns a reader for a response in this group order;
// GroupOrderUnset means ascending, as it does in Fetch.
func NewFetchReader(order GroupOrder) FetchReader {
	return FetchReader{fetchPrior{descending: order == GroupDescending}}
}

// Parse parses the item at the start of b and returns the length of its
// header; o.Properties aliases b. After an object, o.Length bytes of payload
// follow; after a range marker, the next item. Before the header is whole it
// returns ErrShort and can be called again.
//
// The draft leaves open how a marker gives its location, and whether a payload
// length follows. Here the location is absolute, since a delta could not end a
// range in the group it starts in, and no length follows; so do most others
// (moq-transport issue 1861).
func (r *FetchReader) Parse(b []byte) (o FetchObject, n int, err error) {
	s := scanner{b: b}
	flags := s.varint()
	switch {
	case s.short:
		return FetchObject{}, 0, ErrShort
	case flags == uint64(FetchNonExistent) || flags == uint64(FetchUnknown):
		o.Range = FetchRange(flags)
		o.Group, o.Object = s.varint(), s.varint()
		if !s.short && r.prior.backward(o.Location()) {
			err = violation("fetch object", 0, "range ends before the object ahead of it")
		}
	case flags >= fetchFlagsEnd:
		err = violation("fetch object", 0, "unknown serialization flags")
	default:
		o, err = r.prior.parse(&s, flags)
	}
	switch {
	case err != nil:
		return FetchObject{}, 0, err
	case s.short:
		return FetchObject{}, 0, ErrShort
	}
	r.prior.add(o)
	return o, s.off, nil
}

// parse reads an object after its flags.
func (p *fetchPrior) parse(s *scanner, flags uint64) (o FetchObject, err error) {
	const in = "fetch object"
	o.Datagram = flags&fetchDatagram != 0
	mode := flags & fetchSubgroupMode
	if o.Datagram {
		mode = fetchSubgroupZero // the bits are to be ignored
	}
	switch {
	case !p.started && flags&(fetchGroupDelta|fetchObjectDelta) != fetchGroupDelta|fetchObjectDelta:
		return o, violation(in, 0, "first object without group or object ID")
	case !p.hasPriority && flags&fetchPriority == 0:
		return o, violation(in, 0, "refers to the priority of an object that is not there")
	case !p.hasSubgroup && (mode == fetchSubgroupPrior || mode == fetchSubgroupNext):
		return o, violation(in, 0, "refers to the subgroup of an object that is not there")
	}
	if o.Group, err = p.group(s, flags); err != nil {
		return o, err
	}
	switch mode {
	case fetchSubgroupPrior:
		o.Subgroup = p.subgroup
	case fetchSubgroupNext:
		if p.subgroup == math.MaxUint64 {
			return o, violation(in, 0, "subgroup ID exceeds 2^64-1")
		}
		o.Subgroup = p.subgroup + 1
	case fetchSubgroupField:
		o.Subgroup = s.varint()
	}
	if o.Object, err = p.object(s, flags); err != nil {
		return o, err
	}
	o.Priority = p.priority
	if flags&fetchPriority != 0 {
		o.Priority = s.uint8()
	}
	if flags&fetchProperties != 0 {
		if o.Properties, err = s.properties(in); err != nil {
			return o, err
		}
	}
	o.Length = s.varint()
	return o, nil
}

// group reads and resolves the group ID.
func (p *fetchPrior) group(s *scanner, flags uint64) (uint64, error) {
	if flags&fetchGroupDelta == 0 {
		return p.at.Group, nil
	}
	off := s.off
	delta := s.varint()
	switch {
	case !p.started || s.short:
		return delta, nil
	case p.descending && delta >= p.at.Group:
		return 0, violation("fetch object", off, "group ID below 0")
	case p.descending:
		return p.at.Group - delta - 1, nil
	case delta >= math.MaxUint64-p.at.Group:
		return 0, violation("fetch object", off, "group ID exceeds 2^64-1")
	}
	return p.at.Group + delta + 1, nil
}

// object reads and resolves the object ID.
func (p *fetchPrior) object(s *scanner, flags uint64) (uint64, error) {
	off := s.off
	base, delta := p.at.Object, uint64(1)
	if flags&fetchObjectDelta != 0 {
		delta = s.varint()
		if flags&fetchGroupDelta != 0 {
			base = 0 // absolute
		}
	}
	if delta > math.MaxUint64-base {
		return 0, violation("fetch object", off, "object ID exceeds 2^64-1")
	}
	return base + delta, nil
}

// A FetchWriter appends the items of one fetch response, each in its shortest
// form, save that the first object of a group always states its ID. It belongs
// to one goroutine.
type FetchWriter struct{ prior fetchPrior }

// NewFetchWriter returns a writer for a response in this group order;
// GroupOrderUnset means ascending, as it does in Fetch.
func NewFetchWriter(order GroupOrder) FetchWriter {
	return FetchWriter{fetchPrior{descending: order == GroupDescending}}
}

// Append appends the header of o to b; the payload of an object goes after it.
// If o comes before the last item in the order of the response, it returns b
// as it was, and ErrFetchOrder.
func (w *FetchWriter) Append(b []byte, o FetchObject) ([]byte, error) {
	p := &w.prior
	if p.backward(o.Location()) {
		return b, ErrFetchOrder
	}
	if o.Range != FetchNoRange {
		b = o.Location().Append(AppendVarint(b, uint64(o.Range)))
	} else {
		b = p.append(b, o)
	}
	p.add(o)
	return b, nil
}

func (p *fetchPrior) append(b []byte, o FetchObject) []byte {
	flags, newGroup := uint64(0), !p.started || o.Group != p.at.Group
	switch {
	case o.Datagram:
		flags |= fetchDatagram
	case o.Subgroup == 0:
	case p.hasSubgroup && o.Subgroup == p.subgroup:
		flags |= fetchSubgroupPrior
	case p.hasSubgroup && o.Subgroup-1 == p.subgroup:
		flags |= fetchSubgroupNext
	default:
		flags |= fetchSubgroupField
	}
	if newGroup {
		flags |= fetchGroupDelta
	}
	if newGroup || o.Object-1 != p.at.Object {
		flags |= fetchObjectDelta
	}
	if !p.hasPriority || o.Priority != p.priority {
		flags |= fetchPriority
	}
	if len(o.Properties) > 0 {
		flags |= fetchProperties
	}

	b = append(b, byte(flags))
	object := o.Object
	switch {
	case !p.started:
		b = AppendVarint(b, o.Group)
	case !newGroup:
		object -= p.at.Object
	case p.descending:
		b = AppendVarint(b, p.at.Group-o.Group-1)
	default:
		b = AppendVarint(b, o.Group-p.at.Group-1)
	}
	if flags&fetchSubgroupMode == fetchSubgroupField {
		b = AppendVarint(b, o.Subgroup)
	}
	if flags&fetchObjectDelta != 0 {
		b = AppendVarint(b, object)
	}
	if flags&fetchPriority != 0 {
		b = append(b, o.Priority)
	}
	if flags&fetchProperties != 0 {
		b = appendBytes(b, o.Properties)
	}
	return AppendVarint(b, o.Length)
}
