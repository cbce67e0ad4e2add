package wire

// RequestOK accepts a request for which the draft has no answer of its own
// (section 10.5). What it may have depends on the request:
//
//   - Publish: both delivery timeouts, Expires, Forward, SubscriberPriority,
//     Filter, GroupOrder, NewGroupRequest
//   - RequestUpdate: Expires, LargestObject
//   - TrackStatus: Expires, LargestObject; Properties
//   - SubscribeNamespace, SubscribeTracks, PublishNamespace: nothing
type RequestOK struct {
	Params     Params
	Properties Properties
}

// Type returns TypeRequestOK.
func (RequestOK) Type() MessageType { return TypeRequestOK }

// Append appends the message body to b.
func (m RequestOK) Append(b []byte) []byte {
	b = appendParams(b, &m.Params)
	return append(b, m.Properties...)
}

// ParseRequestOK parses one whole message body. request is the type of the
// message that it answers, TypeRequestUpdate for an update.
func ParseRequestOK(body []byte, request MessageType) (RequestOK, error) {
	c := cursor{b: body, in: "REQUEST_OK"}
	legal := noParams
	switch request {
	case TypePublish:
		legal = publishOKParams
	case TypeRequestUpdate:
		legal = updateOKParams
	case TypeTrackStatus:
		// "The same parameters it would have set in a SUBSCRIBE_OK" (section
		// 10.14), though EXPIRES does not list this answer (section 10.2.10).
		legal = subscribeOKParams
	case TypeSubscribeNamespace, TypeSubscribeTracks, TypePublishNamespace:
	default:
		c.violate(0, "%v is not answered with REQUEST_OK", request)
	}
	m := RequestOK{Params: c.params(legal)}
	if off := c.off; request == TypeTrackStatus {
		m.Properties = c.properties()
	} else if c.more() {
		c.violate(off, "track properties, or bytes left over, in answer to %v", request)
	}
	return checked(m, &c)
}
