package wire

// SubscribeTracks asks for a Publish for every track in the namespaces with a
// prefix, now and later (section 10.19). Parameters: Tokens, Forward.
type SubscribeTracks struct {
	RequestID uint64
	Prefix    Namespace
	Params    Params
}

// Type returns TypeSubscribeTracks.
func (SubscribeTracks) Type() MessageType { return TypeSubscribeTracks }

// ID returns the request ID.
func (m SubscribeTracks) ID() uint64 { return m.RequestID }

// Append appends the message body to b.
func (m SubscribeTracks) Append(b []byte) []byte {
	b = AppendVarint(b, m.RequestID)
	b = m.Prefix.Append(b)
	return appendParams(b, &m.Params)
}

// ParseSubscribeTracks parses one whole message body.
func ParseSubscribeTracks(body []byte) (SubscribeTracks, error) {
	c := cursor{b: body, in: "SUBSCRIBE_TRACKS"}
	m := SubscribeTracks{
		RequestID: c.varint("request ID"),
		Prefix:    c.namespace("track namespace prefix"),
		Params:    c.params(subscribeTracksParams),
	}
	return checked(m, &c)
}
