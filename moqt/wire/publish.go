package wire

// Publish offers a track to a subscriber (section 10.10). Parameters: Tokens,
// Expires, LargestObject, Forward.
type Publish struct {
	RequestID  uint64
	Track      FullTrackName
	TrackAlias uint64
	Params     Params
	Properties Properties
}

// Type returns TypePublish.
func (Publish) Type() MessageType { return TypePublish }

// ID returns the request ID.
func (m Publish) ID() uint64 { return m.RequestID }

// Append appends the message body to b.
func (m Publish) Append(b []byte) []byte {
	b = AppendVarint(b, m.RequestID)
	b = m.Track.Append(b)
	b = AppendVarint(b, m.TrackAlias)
	b = appendParams(b, &m.Params)
	return append(b, m.Properties...)
}

// ParsePublish parses one whole message body.
func ParsePublish(body []byte) (Publish, error) {
	c := cursor{b: body, in: "PUBLISH"}
	m := Publish{
		RequestID:  c.varint("request ID"),
		Track:      c.fullTrackName(),
		TrackAlias: c.varint("track alias"),
		Params:     c.params(publishParams),
		Properties: c.properties(),
	}
	return checked(m, &c)
}
