package wire

// PublishNamespace says that the sender has tracks in a namespace (section
// 10.15). Parameters: Tokens.
type PublishNamespace struct {
	RequestID uint64
	Namespace Namespace
	Params    Params
}

// Type returns TypePublishNamespace.
func (PublishNamespace) Type() MessageType { return TypePublishNamespace }

// ID returns the request ID.
func (m PublishNamespace) ID() uint64 { return m.RequestID }

// Append appends the message body to b.
func (m PublishNamespace) Append(b []byte) []byte {
	b = AppendVarint(b, m.RequestID)
	b = m.Namespace.Append(b)
	return appendParams(b, &m.Params)
}

// ParsePublishNamespace parses one whole message body.
func ParsePublishNamespace(body []byte) (PublishNamespace, error) {
	c := cursor{b: body, in: "PUBLISH_NAMESPACE"}
	m := PublishNamespace{
		RequestID: c.varint("request ID"),
		Namespace: c.namespace("track namespace"),
		Params:    c.params(tokenOnly),
	}
	return checked(m, &c)
}
