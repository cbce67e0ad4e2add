package wire

// The bits of a SUBGROUP_HEADER type.
const (
	subgroupProperties      = 0x01
	subgroupIDMode          = 0x06
	subgroupIDFirst         = 0x02 // ID mode 0b01: the first object's ID
	subgroupIDPresent       = 0x04 // ID mode 0b10
	subgroupEndOfGroup      = 0x08
	subgroupAlways          = 0x10
	subgroupDefaultPriority = 0x20
	subgroupFirstObject     = 0x40
)

// MaxSubgroupHeader is the longest SUBGROUP_HEADER, in bytes.
const MaxSubgroupHeader = 4*MaxVarintLen + 1

// A SubgroupHeader begins a stream of objects from one subgroup (section
// 11.4.2).
type SubgroupHeader struct {
	Alias    uint64 // track alias
	Group    uint64
	Subgroup uint64 // 0 in FirstIDMode
	// FirstIDMode: the subgroup ID is the ID of the first object on the stream.
	FirstIDMode bool
	Priority    uint8 // 0 with DefaultPriority
	// DefaultPriority: the subgroup has the track's default priority.
	DefaultPriority bool
	Properties      bool // every object has a properties block
	// EndOfGroup: the subgroup holds the group's last object, which is the last
	// one on the stream if it ends with FIN.
	EndOfGroup bool
	// FirstObject: the stream begins with the first object that the original
	// publisher published in the subgroup.
	FirstObject bool
}

// Append appends h, from the type on, to b.
func (h SubgroupHeader) Append(b []byte) []byte {
	typ := byte(subgroupAlways)
	if h.Properties {
		typ |= subgroupProperties
	}
	switch {
	case h.FirstIDMode:
		typ |= subgroupIDFirst
	case h.Subgroup != 0:
		typ |= subgroupIDPresent
	}
	if h.EndOfGroup {
		typ |= subgroupEndOfGroup
	}
	if h.DefaultPriority {
		typ |= subgroupDefaultPriority
	}
	if h.FirstObject {
		typ |= subgroupFirstObject
	}
	b = append(b, typ)
	b = AppendVarint(b, h.Alias)
	b = AppendVarint(b, h.Group)
	if typ&subgroupIDMode == subgroupIDPresent {
		b = AppendVarint(b, h.Subgroup)
	}
	if !h.DefaultPriority {
		b = append(b, h.Priority)
	}
	return b
}

// isSubgroupType reports whether v has the form 0b0XX1XXXX, which also covers
// the types with the reserved ID mode.
func isSubgroupType(v uint64) bool { return v < 0x80 && v&subgroupAlways != 0 }

// ParseSubgroupHeader parses the header at the start of b, its type included,
// and returns its length. Before the header is whole it returns ErrShort.
func ParseSubgroupHeader(b []byte) (h SubgroupHeader, n int, err error) {
	typ, n, err := ParseVarint(b)
	if err != nil {
		return SubgroupHeader{}, 0, err
	}
	switch {
	case !isSubgroupType(typ):
		return SubgroupHeader{}, 0, violation("SUBGROUP_HEADER", 0, "not a subgroup type")
	case typ&subgroupIDMode == subgroupIDMode:
		return SubgroupHeader{}, 0, violation("SUBGROUP_HEADER", 0, "reserved subgroup ID mode")
	}
	h.FirstIDMode = typ&subgroupIDMode == subgroupIDFirst
	h.DefaultPriority = typ&subgroupDefaultPriority != 0
	h.Properties = typ&subgroupProperties != 0
	h.EndOfGroup = typ&subgroupEndOfGroup != 0
	h.FirstObject = typ&subgroupFirstObject != 0

	s := scanner{b: b, off: n}
	h.Alias = s.varint()
	h.Group = s.varint()
	if typ&subgroupIDMode == subgroupIDPresent {
		h.Subgroup = s.varint()
	}
	if !h.DefaultPriority {
		h.Priority = s.uint8()
	}
	if s.short {
		return SubgroupHeader{}, 0, ErrShort
	}
	return h, s.off, nil
}

// A scanner reads from a stream whose end is not known. Running out of bytes
// sticks; reads after it give zeros.
type scanner struct {
	b     []byte
	off   int
	short bool
}

func (s *scanner) varint() uint64 {
	if s.short {
		return 0
	}
	v, n, err := ParseVarint(s.b[s.off:])
	if err != nil {
		s.short = true
		return 0
	}
	s.off += n
	return v
}

func (s *scanner) uint8() uint8 {
	if s.short || s.off == len(s.b) {
		s.short = true
		return 0
	}
	v := s.b[s.off]
	s.off++
	return v
}

// properties reads a block of object properties with its length. It returns
// nil for an empty or unfinished one; in names the structure in errors.
func (s *scanner) properties(in string) (Properties, error) {
	start := s.off
	size := s.varint()
	switch {
	case s.short || size == 0:
		return nil, nil
	case size > MaxObjectProperties:
		return nil, &Error{Code: SessionInternalError, In: in, Offset: start, What: "more than 65536 bytes of properties"}
	case size > uint64(len(s.b)-s.off):
		s.short = true
		return nil, nil
	}
	p := Properties(s.b[s.off : s.off+int(size)])
	s.off += int(size)
	return p, p.validate(in)
}
