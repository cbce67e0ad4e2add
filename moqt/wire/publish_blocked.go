package wire

// PublishBlocked names a track that a SubscribeTracks covers but that the
// publisher cannot Publish (section 10.20).
type PublishBlocked struct {
	Suffix Namespace // what follows the prefix of the SubscribeTracks
	Name   string
}

// Type returns TypePublishBlocked.
func (PublishBlocked) Type() MessageType { return TypePublishBlocked }

// Append appends the message body to b.
func (m PublishBlocked) Append(b []byte) []byte {
	return AppendString(m.Suffix.Append(b), m.Name)
}

// ParsePublishBlocked parses one whole message body.
func ParsePublishBlocked(body []byte) (PublishBlocked, error) {
	c := cursor{b: body, in: "PUBLISH_BLOCKED"}
	t := c.fullTrackName()
	return checked(PublishBlocked{Suffix: t.Namespace, Name: t.Name}, &c)
}
