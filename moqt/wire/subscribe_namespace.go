package wire

// SubscribeNamespace asks which namespaces with a prefix are published, now
// and later (section 10.18). Parameters: Tokens.
type SubscribeNamespace struct {
	RequestID uint64
	Prefix    Namespace
	Params    Params
}

// Type returns TypeSubscribeNamespace.
func (SubscribeNamespace) Type() MessageType { return TypeSubscribeNamespace }

// ID returns the request ID.
func (m SubscribeNamespace) ID() uint64 { return m.RequestID }

// Append appends the message body to b.
func (m SubscribeNamespace) Append(b []byte) []byte {
	b = AppendVarint(b, m.RequestID)
	b = m.Prefix.Append(b)
	return appendParams(b, &m.Params)
}

// ParseSubscribeNamespace parses one whole message body.
func ParseSubscribeNamespace(body []byte) (SubscribeNamespace, error) {
	c := cursor{b: body, in: "SUBSCRIBE_NAMESPACE"}
	m := SubscribeNamespace{
		RequestID: c.varint("request ID"),
		Prefix:    c.namespace("track namespace prefix"),
		Params:    c.params(tokenOnly),
	}
	return checked(m, &c)
}
