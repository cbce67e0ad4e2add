package wire

// SubscribeOK accepts a Subscribe (section 10.8). Parameters: Expires,
// LargestObject.
type SubscribeOK struct {
	TrackAlias uint64
	Params     Params
	Properties Properties
}

// Type returns TypeSubscribeOK.
func (SubscribeOK) Type() MessageType { return TypeSubscribeOK }

// Append appends the message body to b.
func (m SubscribeOK) Append(b []byte) []byte {
	b = AppendVarint(b, m.TrackAlias)
	b = appendParams(b, &m.Params)
	return append(b, m.Properties...)
}

// ParseSubscribeOK parses one whole message body.
func ParseSubscribeOK(body []byte) (SubscribeOK, error) {
	c := cursor{b: body, in: "SUBSCRIBE_OK"}
	m := SubscribeOK{TrackAlias: c.varint("track alias"), Params: c.params(subscribeOKParams), Properties: c.properties()}
	return checked(m, &c)
}
