package wire

// A StreamType says what a unidirectional stream carries (section 3.4).
type StreamType uint8

// The kinds of unidirectional stream.
const (
	StreamUnknown  StreamType = iota // the session closes
	StreamControl                    // SETUP, then GOAWAY: read it with ParseFrame
	StreamSubgroup                   // read it with ParseSubgroupHeader
	StreamFetch                      // read it with ParseFetchHeader
	StreamPadding                    // discard it
)

func (t StreamType) String() string {
	switch t {
	case StreamControl:
		return "control"
	case StreamSubgroup:
		return "subgroup"
	case StreamFetch:
		return "fetch"
	case StreamPadding:
		return "padding"
	}
	return "unknown"
}

// The first varints of streams and datagrams.
const (
	typeFetchHeader     = 0x05
	typePaddingStream   = 0x132b3e28
	typePaddingDatagram = 0x132b3e29
)

// ParseStreamType tells from its first bytes what a unidirectional stream
// carries; n is the length of the type. The parser for that kind of stream
// takes the type again. For an unknown type it returns StreamUnknown and an
// *Error; before the type is whole, ErrShort.
func ParseStreamType(b []byte) (t StreamType, n int, err error) {
	v, n, err := ParseVarint(b)
	if err != nil {
		return StreamUnknown, 0, err
	}
	switch {
	case v == uint64(TypeSetup):
		return StreamControl, n, nil
	case isSubgroupType(v):
		return StreamSubgroup, n, nil
	case v == typeFetchHeader:
		return StreamFetch, n, nil
	case v == typePaddingStream:
		return StreamPadding, n, nil
	}
	return StreamUnknown, n, violation("stream", 0, "unknown stream type")
}

// AppendPaddingStream appends the type of a padding stream and n bytes of
// padding (section 11.5.1).
func AppendPaddingStream(b []byte, n int) []byte {
	return append(AppendVarint(b, typePaddingStream), make([]byte, n)...)
}

// AppendPaddingDatagram appends a datagram of n bytes of padding and its type
// (section 11.5.2).
func AppendPaddingDatagram(b []byte, n int) []byte {
	return append(AppendVarint(b, typePaddingDatagram), make([]byte, n)...)
}
