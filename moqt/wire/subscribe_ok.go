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
	// @moq/net 0.1, with which @moq/publish 0.2 publishes, still writes the
	// GROUP_ORDER of draft-15 here. It is taken and left out of account.
	m := SubscribeOK{TrackAlias: c.varint("track alias"), Params: c.params(subscribeOKParams | 1<<paramGroupOrder), Properties: c.properties()}
	m.Params.GroupOrder = GroupOrderUnset
	return checked(m, &c)
}
