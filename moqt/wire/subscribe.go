package wire

// Subscribe asks for the new objects of a track (section 10.7). Parameters:
// both delivery timeouts, Tokens, RendezvousTimeout, Forward,
// SubscriberPriority, Filter, GroupOrder, NewGroupRequest.
type Subscribe struct {
	RequestID uint64
	Track     FullTrackName
	Params    Params
}

// Type returns TypeSubscribe.
func (Subscribe) Type() MessageType { return TypeSubscribe }

// ID returns the request ID.
func (m Subscribe) ID() uint64 { return m.RequestID }

// Append appends the message body to b.
func (m Subscribe) Append(b []byte) []byte {
	b = AppendVarint(b, m.RequestID)
	b = m.Track.Append(b)
	return appendParams(b, &m.Params)
}

// ParseSubscribe parses one whole message body.
func ParseSubscribe(body []byte) (Subscribe, error) {
	c := cursor{b: body, in: "SUBSCRIBE"}
	m := Subscribe{RequestID: c.varint("request ID"), Track: c.fullTrackName(), Params: c.params(subscribeParams)}
	return checked(m, &c)
}
