package wire

// The bits of an OBJECT_DATAGRAM type.
const (
	datagramProperties      = 0x01
	datagramEndOfGroup      = 0x02
	datagramZeroObjectID    = 0x04
	datagramDefaultPriority = 0x08
	datagramStatus          = 0x20
	datagramBits            = datagramProperties | datagramEndOfGroup | datagramZeroObjectID |
		datagramDefaultPriority | datagramStatus
)

// A DatagramType says what a datagram carries (section 11.3).
type DatagramType uint8

// The kinds of datagram.
const (
	DatagramUnknown DatagramType = iota // the session closes
	DatagramObject                      // read it with ParseDatagram
	DatagramPadding                     // discard it
)

func (t DatagramType) String() string {
	switch t {
	case DatagramObject:
		return "object"
	case DatagramPadding:
		return "padding"
	}
	return "unknown"
}

// ParseDatagramType tells from its type what a datagram carries. For an
// unknown type it returns DatagramUnknown and an *Error.
func ParseDatagramType(b []byte) (DatagramType, error) {
	v, _, err := ParseVarint(b)
	switch {
	case err != nil:
		return DatagramUnknown, violation("datagram", 0, "type is cut off")
	case v&^datagramBits == 0:
		return DatagramObject, nil
	case v == typePaddingDatagram:
		return DatagramPadding, nil
	}
	return DatagramUnknown, violation("datagram", 0, "unknown datagram type")
}

// A Datagram is an object that is sent as one datagram (section 11.3.1).
type Datagram struct {
	Alias    uint64 // track alias
	Group    uint64
	Object   uint64
	Priority uint8 // 0 with DefaultPriority
	// DefaultPriority: the object has the track's default priority.
	DefaultPriority bool
	// EndOfGroup: the group has no later object. Only if Status is ObjectNormal.
	EndOfGroup bool
	Status     ObjectStatus
	Properties Properties // nil: none; only if Status is ObjectNormal
	Payload    []byte     // nil: none; only if Status is ObjectNormal
}

// Append appends d to b. What a status other than ObjectNormal cannot have is
// left out.
func (d Datagram) Append(b []byte) []byte {
	typ := byte(0)
	if d.Object == 0 {
		typ |= datagramZeroObjectID
	}
	if d.DefaultPriority {
		typ |= datagramDefaultPriority
	}
	switch {
	case d.Status != ObjectNormal:
		typ |= datagramStatus
	default:
		if d.EndOfGroup {
			typ |= datagramEndOfGroup
		}
		if len(d.Properties) > 0 {
			typ |= datagramProperties
		}
	}
	b = append(b, typ)
	b = AppendVarint(b, d.Alias)
	b = AppendVarint(b, d.Group)
	if d.Object != 0 {
		b = AppendVarint(b, d.Object)
	}
	if !d.DefaultPriority {
		b = append(b, d.Priority)
	}
	if d.Status != ObjectNormal {
		return AppendVarint(b, uint64(d.Status))
	}
	if typ&datagramProperties != 0 {
		b = appendBytes(b, d.Properties)
	}
	return append(b, d.Payload...)
}

// ParseDatagram parses one whole object datagram, its type included. Properties
// and Payload alias b.
func ParseDatagram(b []byte) (Datagram, error) {
	const in = "OBJECT_DATAGRAM"
	s := scanner{b: b}
	typ := s.varint()
	switch {
	case s.short:
		return Datagram{}, violation(in, 0, "cut off")
	case typ&^datagramBits != 0:
		return Datagram{}, violation(in, 0, "not an object type")
	case typ&(datagramStatus|datagramEndOfGroup) == datagramStatus|datagramEndOfGroup:
		return Datagram{}, violation(in, 0, "a status cannot be the end of a group too")
	}
	d := Datagram{
		DefaultPriority: typ&datagramDefaultPriority != 0,
		EndOfGroup:      typ&datagramEndOfGroup != 0,
		Alias:           s.varint(),
	}
	d.Group = s.varint()
	if typ&datagramZeroObjectID == 0 {
		d.Object = s.varint()
	}
	if !d.DefaultPriority {
		d.Priority = s.uint8()
	}
	if typ&datagramProperties != 0 {
		at := s.off
		var err error
		if d.Properties, err = s.properties(in); err != nil {
			return Datagram{}, err
		}
		if !s.short && d.Properties == nil {
			return Datagram{}, violation(in, at, "empty properties")
		}
	}
	if typ&datagramStatus != 0 {
		return d.parseStatus(&s)
	}
	if s.short {
		return Datagram{}, violation(in, s.off, "cut off")
	}
	if s.off < len(b) {
		d.Payload = b[s.off:]
	}
	return d, nil
}

// parseStatus reads the status that ends a datagram.
func (d Datagram) parseStatus(s *scanner) (Datagram, error) {
	const in = "OBJECT_DATAGRAM"
	at := s.off
	d.Status = ObjectStatus(s.varint())
	switch {
	case s.short:
		return Datagram{}, violation(in, at, "cut off")
	case !d.Status.known():
		return Datagram{}, violation(in, at, "unknown object status")
	case d.Status != ObjectNormal && d.Properties != nil:
		return Datagram{}, violation(in, at, "properties on an object that is not normal")
	case s.off < len(s.b):
		return Datagram{}, violation(in, s.off, "bytes left over after the status")
	}
	return d, nil
}
