package wire

// NamespaceDone takes a NamespaceMsg back (section 10.17).
type NamespaceDone struct {
	Suffix Namespace // what follows the prefix of the SubscribeNamespace
}

// Type returns TypeNamespaceDone.
func (NamespaceDone) Type() MessageType { return TypeNamespaceDone }

// Append appends the message body to b.
func (m NamespaceDone) Append(b []byte) []byte { return m.Suffix.Append(b) }

// ParseNamespaceDone parses one whole message body.
func ParseNamespaceDone(body []byte) (NamespaceDone, error) {
	c := cursor{b: body, in: "NAMESPACE_DONE"}
	m := NamespaceDone{Suffix: c.namespace("track namespace suffix")}
	return checked(m, &c)
}
