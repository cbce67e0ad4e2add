package wire

import "time"

// MaxURI is the longest New Session URI of a Goaway, in bytes.
const MaxURI = 8192

// Goaway asks the peer to move its session, or one request, to another session
// (section 10.4).
type Goaway struct {
	NewSessionURI string        // at most 8192 bytes; empty: the current URI, and always from a client
	Timeout       time.Duration // whole milliseconds; 0: none stated
	// RequestID is the smallest of the peer's request IDs that may not have been
	// processed. It is there on the control stream, and only there: nil on a
	// request stream.
	RequestID *uint64
}

// Type returns TypeGoaway.
func (Goaway) Type() MessageType { return TypeGoaway }

// Append appends the message body to b.
func (m Goaway) Append(b []byte) []byte {
	b = AppendString(b, m.NewSessionURI)
	b = AppendVarint(b, toMillis(m.Timeout))
	if m.RequestID != nil {
		b = AppendVarint(b, *m.RequestID)
	}
	return b
}

// ParseGoaway parses one whole message body that came on the control stream,
// or else on a request stream.
func ParseGoaway(body []byte, control bool) (Goaway, error) {
	c := cursor{b: body, in: "GOAWAY"}
	m := Goaway{NewSessionURI: c.string("New Session URI", MaxURI), Timeout: c.millis("timeout")}
	if control {
		m.RequestID = new(c.varint("request ID"))
	}
	return checked(m, &c)
}
