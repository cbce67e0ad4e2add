package wire

// RequestUpdate changes the parameters of a request; those that are absent
// stay (section 10.9). Which ones it may have depends on the request:
//
//   - Subscribe, Publish: both delivery timeouts, Tokens, Forward,
//     SubscriberPriority, Filter, NewGroupRequest
//   - Fetch: Tokens, SubscriberPriority
//   - SubscribeNamespace, SubscribeTracks: Tokens, NamespacePrefix
//   - PublishNamespace: Tokens
type RequestUpdate struct {
	RequestID uint64 // of the update itself
	Params    Params
}

// Type returns TypeRequestUpdate.
func (RequestUpdate) Type() MessageType { return TypeRequestUpdate }

// ID returns the request ID.
func (m RequestUpdate) ID() uint64 { return m.RequestID }

// Append appends the message body to b.
func (m RequestUpdate) Append(b []byte) []byte {
	b = AppendVarint(b, m.RequestID)
	return appendParams(b, &m.Params)
}

// ParseRequestUpdate parses one whole message body. request is the type of the
// message that opened the stream.
func ParseRequestUpdate(body []byte, request MessageType) (RequestUpdate, error) {
	c := cursor{b: body, in: "REQUEST_UPDATE"}
	legal := noParams
	switch request {
	case TypeSubscribe, TypePublish:
		legal = updateSubscriptionParams
	case TypeFetch:
		legal = updateFetchParams
	case TypeSubscribeNamespace, TypeSubscribeTracks:
		legal = updatePrefixParams
	case TypePublishNamespace:
		legal = tokenOnly
	default: // TRACK_STATUS is over once it is answered (section 10.14)
		c.violate(0, "%v cannot be updated", request)
	}
	m := RequestUpdate{RequestID: c.varint("request ID"), Params: c.params(legal)}
	return checked(m, &c)
}
