package wire

// NamespaceMsg is the NAMESPACE message: a namespace with the subscribed prefix
// is published (section 10.16).
type NamespaceMsg struct {
	Suffix Namespace // what follows the prefix of the SubscribeNamespace
}

// Type returns TypeNamespace.
func (NamespaceMsg) Type() MessageType { return TypeNamespace }

// Append appends the message body to b.
func (m NamespaceMsg) Append(b []byte) []byte { return m.Suffix.Append(b) }

// ParseNamespaceMsg parses one whole message body.
func ParseNamespaceMsg(body []byte) (NamespaceMsg, error) {
	c := cursor{b: body, in: "NAMESPACE"}
	m := NamespaceMsg{Suffix: c.namespace("track namespace suffix")}
	return checked(m, &c)
}
