package wire

// TrackStatus asks what a Subscribe would be answered, without subscribing
// (section 10.14). Parameters: Tokens.
type TrackStatus struct {
	RequestID uint64
	Track     FullTrackName
	Params    Params
}

// Type returns TypeTrackStatus.
func (TrackStatus) Type() MessageType { return TypeTrackStatus }

// ID returns the request ID.
func (m TrackStatus) ID() uint64 { return m.RequestID }

// Append appends the message body to b.
func (m TrackStatus) Append(b []byte) []byte {
	b = AppendVarint(b, m.RequestID)
	b = m.Track.Append(b)
	return appendParams(b, &m.Params)
}

// ParseTrackStatus parses one whole message body.
func ParseTrackStatus(body []byte) (TrackStatus, error) {
	c := cursor{b: body, in: "TRACK_STATUS"}
	m := TrackStatus{RequestID: c.varint("request ID"), Track: c.fullTrackName(), Params: c.params(tokenOnly)}
	return checked(m, &c)
}
