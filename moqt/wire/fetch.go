package wire

// A FetchType says how a Fetch gives its range (section 10.12).
type FetchType uint64

// The fetch types.
const (
	FetchStandalone      FetchType = 0x1
	FetchRelativeJoining FetchType = 0x2
	FetchAbsoluteJoining FetchType = 0x3
)

var fetchTypes = map[FetchType]string{
	FetchStandalone:      "Standalone",
	FetchRelativeJoining: "Relative Joining",
	FetchAbsoluteJoining: "Absolute Joining",
}

func (t FetchType) String() string { return name(fetchTypes, t) }

// Fetch asks for objects of a track that exist already (section 10.12).
// Parameters: Tokens, FillTimeout, SubscriberPriority, GroupOrder.
type Fetch struct {
	RequestID uint64
	FetchType FetchType

	// A standalone fetch names its track and range. End is one past the last
	// object, and object 0 means the whole group: see FetchEnd and FetchLast.
	Track      FullTrackName
	Start, End Location

	// A joining fetch refers to a subscription of the session. It starts at
	// object 0 of group JoiningStart, which counts back from the subscription's
	// joining group if the fetch is relative.
	JoiningRequestID uint64
	JoiningStart     uint64

	Params Params
}

// Type returns TypeFetch.
func (Fetch) Type() MessageType { return TypeFetch }

// ID returns the request ID.
func (m Fetch) ID() uint64 { return m.RequestID }

// Append appends the message body to b.
func (m Fetch) Append(b []byte) []byte {
	b = AppendVarint(b, m.RequestID)
	b = AppendVarint(b, uint64(m.FetchType))
	if m.FetchType == FetchStandalone {
		b = m.Track.Append(b)
		b = m.Start.Append(b)
		b = m.End.Append(b)
	} else {
		b = AppendVarint(b, m.JoiningRequestID)
		b = AppendVarint(b, m.JoiningStart)
	}
	return appendParams(b, &m.Params)
}

// ParseFetch parses one whole message body.
func ParseFetch(body []byte) (Fetch, error) {
	c := cursor{b: body, in: "FETCH"}
	m := Fetch{RequestID: c.varint("request ID")}
	off := c.off
	switch m.FetchType = FetchType(c.varint("fetch type")); m.FetchType {
	case FetchStandalone:
		m.Track = c.fullTrackName()
		m.Start, m.End = c.location("start location"), c.location("end location")
	case FetchRelativeJoining, FetchAbsoluteJoining:
		m.JoiningRequestID, m.JoiningStart = c.varint("joining request ID"), c.varint("joining start")
	default:
		c.violate(off, "unknown fetch type %v", m.FetchType)
	}
	m.Params = c.params(fetchParams)
	return checked(m, &c)
}
