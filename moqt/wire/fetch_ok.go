package wire

// FetchOK accepts a Fetch (section 10.13). It has no parameters yet; Params is
// there for extensions and must be zero.
type FetchOK struct {
	EndOfTrack bool     // the last object of the range is the last of the track
	End        Location // one past the last object, as in Fetch
	Params     Params
	Properties Properties
}

// Type returns TypeFetchOK.
func (FetchOK) Type() MessageType { return TypeFetchOK }

// Append appends the message body to b.
func (m FetchOK) Append(b []byte) []byte {
	end := byte(0)
	if m.EndOfTrack {
		end = 1
	}
	b = m.End.Append(append(b, end))
	b = appendParams(b, &m.Params)
	return append(b, m.Properties...)
}

// ParseFetchOK parses one whole message body.
func ParseFetchOK(body []byte) (FetchOK, error) {
	c := cursor{b: body, in: "FETCH_OK"}
	end := c.uint8("end of track")
	if end > 1 {
		c.violate(0, "end of track is %d, want 0 or 1", end)
	}
	m := FetchOK{
		EndOfTrack: end == 1,
		End:        c.location("end location"),
		Params:     c.params(noParams),
		Properties: c.properties(),
	}
	return checked(m, &c)
}
