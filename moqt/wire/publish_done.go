package wire

// StreamCountUnknown says that the publisher cannot tell how many streams it
// opened (section 10.11).
const StreamCountUnknown uint64 = 1<<62 - 1

// PublishDone ends a subscription; nothing follows it (section 10.11).
type PublishDone struct {
	Status      PublishDoneCode
	StreamCount uint64 // data streams opened, or StreamCountUnknown
	Reason      string // for people; at most 1024 bytes, more are cut off
}

// Type returns TypePublishDone.
func (PublishDone) Type() MessageType { return TypePublishDone }

// Append appends the message body to b.
func (m PublishDone) Append(b []byte) []byte {
	b = AppendVarint(b, uint64(m.Status))
	b = AppendVarint(b, m.StreamCount)
	return appendReason(b, m.Reason)
}

// ParsePublishDone parses one whole message body.
func ParsePublishDone(body []byte) (PublishDone, error) {
	c := cursor{b: body, in: "PUBLISH_DONE"}
	m := PublishDone{
		Status:      PublishDoneCode(c.varint("status code")),
		StreamCount: c.varint("stream count"),
		Reason:      c.reason(),
	}
	return checked(m, &c)
}
