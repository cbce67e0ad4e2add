package wire

import (
	"errors"
	"time"
)

// A GroupOrder says which group comes first (section 10.2.8).
type GroupOrder uint8

// The group orders. GroupOrderUnset is never on the wire.
const (
	GroupOrderUnset GroupOrder = 0 // the parameter is absent
	GroupAscending  GroupOrder = 1
	GroupDescending GroupOrder = 2
)

func (o GroupOrder) String() string {
	switch o {
	case GroupOrderUnset:
		return "unset"
	case GroupAscending:
		return "ascending"
	case GroupDescending:
		return "descending"
	}
	return "invalid"
}

// DefaultPriority is the subscriber priority, and the publisher priority, when
// none is given (sections 10.2.7 and 12.4).
const DefaultPriority = 128

// Params are the message parameters (section 10.2). A nil or zero field is
// absent; new(v) makes a present one. Each message lists those it may have in
// its doc comment; Append writes what is set.
type Params struct {
	ObjectDeliveryTimeout   *time.Duration // whole milliseconds; 0: none
	Tokens                  []Token        // AUTHORIZATION_TOKEN, repeatable
	RendezvousTimeout       *time.Duration // whole milliseconds; 0: do not wait
	SubgroupDeliveryTimeout *time.Duration // whole milliseconds; 0: none
	Expires                 *time.Duration // whole milliseconds; 0: does not expire
	LargestObject           *Location
	FillTimeout             *time.Duration // whole milliseconds; 0: do not wait
	Forward                 *bool          // nil: true, or unchanged in an update
	SubscriberPriority      *uint8         // lower goes first; nil: 128, or unchanged in an update
	Filter                  *Filter        // nil: every object, or unchanged in an update
	GroupOrder              GroupOrder
	NewGroupRequest         *uint64 // largest known group + 1; 0: none known
	NamespacePrefix         *Namespace
}

// The parameter types (section 15.7).
const (
	paramObjectDeliveryTimeout   = 0x02
	paramToken                   = 0x03
	paramRendezvousTimeout       = 0x04
	paramSubgroupDeliveryTimeout = 0x06
	paramExpires                 = 0x08
	paramLargestObject           = 0x09
	paramFillTimeout             = 0x0a
	paramForward                 = 0x10
	paramSubscriberPriority      = 0x20
	paramFilter                  = 0x21
	paramGroupOrder              = 0x22
	paramNewGroupRequest         = 0x32
	paramNamespacePrefix         = 0x34
)

// A paramSet has bit t set for each parameter type t in it; all are below 64.
type paramSet uint64

const (
	noParams     paramSet = 0
	tokenOnly    paramSet = 1 << paramToken
	deliveryOnly paramSet = 1<<paramObjectDeliveryTimeout | 1<<paramSubgroupDeliveryTimeout |
		1<<paramForward | 1<<paramSubscriberPriority | 1<<paramFilter | 1<<paramNewGroupRequest

	// Which parameters a message may have (sections 10.2.2 to 10.2.14).
	subscribeParams       = deliveryOnly | tokenOnly | 1<<paramRendezvousTimeout | 1<<paramGroupOrder
	subscribeOKParams     = paramSet(1<<paramExpires | 1<<paramLargestObject)
	publishParams         = tokenOnly | 1<<paramExpires | 1<<paramLargestObject | 1<<paramForward
	publishOKParams       = deliveryOnly | 1<<paramExpires | 1<<paramGroupOrder
	fetchParams           = tokenOnly | 1<<paramFillTimeout | 1<<paramSubscriberPriority | 1<<paramGroupOrder
	subscribeTracksParams = tokenOnly | 1<<paramForward

	updateSubscriptionParams = deliveryOnly | tokenOnly
	updateFetchParams        = tokenOnly | 1<<paramSubscriberPriority
	updatePrefixParams       = tokenOnly | 1<<paramNamespacePrefix
	updateOKParams           = paramSet(1<<paramExpires | 1<<paramLargestObject)
)

// appendParams appends the number of parameters, then each in ascending order
// of type.
func appendParams(b []byte, p *Params) []byte {
	w := paramWriter{b: AppendVarint(b, uint64(p.count()))}
	w.millis(paramObjectDeliveryTimeout, p.ObjectDeliveryTimeout)
	for _, t := range p.Tokens {
		w.param(paramToken)
		w.b = appendToken(w.b, t)
	}
	w.millis(paramRendezvousTimeout, p.RendezvousTimeout)
	w.millis(paramSubgroupDeliveryTimeout, p.SubgroupDeliveryTimeout)
	w.millis(paramExpires, p.Expires)
	if p.LargestObject != nil {
		w.param(paramLargestObject)
		w.b = p.LargestObject.Append(w.b)
	}
	w.millis(paramFillTimeout, p.FillTimeout)
	if p.Forward != nil {
		v := byte(0)
		if *p.Forward {
			v = 1
		}
		w.uint8(paramForward, v)
	}
	if p.SubscriberPriority != nil {
		w.uint8(paramSubscriberPriority, *p.SubscriberPriority)
	}
	if p.Filter != nil {
		w.param(paramFilter)
		w.b = appendBytes(w.b, p.Filter.Append(nil))
	}
	if p.GroupOrder != GroupOrderUnset {
		w.uint8(paramGroupOrder, byte(p.GroupOrder))
	}
	if p.NewGroupRequest != nil {
		w.param(paramNewGroupRequest)
		w.b = AppendVarint(w.b, *p.NewGroupRequest)
	}
	if p.NamespacePrefix != nil {
		w.param(paramNamespacePrefix)
		w.b = p.NamespacePrefix.Append(w.b)
	}
	return w.b
}

func (p *Params) count() int {
	n := len(p.Tokens)
	for _, set := range []bool{
		p.ObjectDeliveryTimeout != nil, p.RendezvousTimeout != nil, p.SubgroupDeliveryTimeout != nil,
		p.Expires != nil, p.LargestObject != nil, p.FillTimeout != nil, p.Forward != nil,
		p.SubscriberPriority != nil, p.Filter != nil, p.GroupOrder != GroupOrderUnset,
		p.NewGroupRequest != nil, p.NamespacePrefix != nil,
	} {
		if set {
			n++
		}
	}
	return n
}

type paramWriter struct {
	b    []byte
	prev uint64
}

func (w *paramWriter) param(t uint64) {
	w.b = AppendVarint(w.b, t-w.prev)
	w.prev = t
}

func (w *paramWriter) uint8(t uint64, v byte) {
	w.param(t)
	w.b = append(w.b, v)
}

func (w *paramWriter) millis(t uint64, d *time.Duration) {
	if d != nil {
		w.param(t)
		w.b = AppendVarint(w.b, toMillis(*d))
	}
}

// params reads the number of parameters and each of them. Any that is not in
// legal, and any that is there twice, is a PROTOCOL_VIOLATION, because the
// receiver cannot know how long an unknown one is.
func (c *cursor) params(legal paramSet) Params {
	var p Params
	count := c.varint("number of parameters")
	typ := uint64(0)
	for i := uint64(0); i < count && c.err == nil; i++ {
		off := c.off
		delta := c.varint("parameter type")
		typ += delta
		switch {
		case c.err != nil:
			return Params{}
		case typ < delta:
			c.violate(off, "parameter type exceeds 2^64-1")
		case typ >= 64 || legal&(1<<typ) == 0:
			c.violate(off, "parameter %#x is unknown or not allowed here", typ)
		case i > 0 && delta == 0 && typ != paramToken:
			c.violate(off, "parameter %#x is there twice", typ)
		default:
			c.param(&p, typ)
		}
	}
	if c.err != nil {
		return Params{}
	}
	return p
}

// param reads the value of a parameter of type typ into p.
func (c *cursor) param(p *Params, typ uint64) {
	off := c.off
	switch typ {
	case paramObjectDeliveryTimeout:
		p.ObjectDeliveryTimeout = new(c.millis("OBJECT_DELIVERY_TIMEOUT"))
	case paramToken:
		if p.Tokens = append(p.Tokens, c.token()); len(p.Tokens) > MaxTokens {
			c.fail(SessionInternalError, off, "more than %d authorization tokens", MaxTokens)
		}
	case paramRendezvousTimeout:
		p.RendezvousTimeout = new(c.millis("RENDEZVOUS_TIMEOUT"))
	case paramSubgroupDeliveryTimeout:
		p.SubgroupDeliveryTimeout = new(c.millis("SUBGROUP_DELIVERY_TIMEOUT"))
	case paramExpires:
		p.Expires = new(c.millis("EXPIRES"))
	case paramLargestObject:
		p.LargestObject = new(c.location("LARGEST_OBJECT"))
	case paramFillTimeout:
		p.FillTimeout = new(c.millis("FILL_TIMEOUT"))
	case paramForward:
		v := c.uint8("FORWARD")
		if v > 1 {
			c.violate(off, "FORWARD is %d, want 0 or 1", v)
		}
		p.Forward = new(v == 1)
	case paramSubscriberPriority:
		p.SubscriberPriority = new(c.priority())
	case paramFilter:
		f, err := ParseFilter(c.bytes("SUBSCRIPTION_FILTER", MaxBody))
		c.nested(off, err)
		p.Filter = &f
	case paramGroupOrder:
		p.GroupOrder = GroupOrder(c.uint8("GROUP_ORDER"))
		if p.GroupOrder != GroupAscending && p.GroupOrder != GroupDescending {
			c.violate(off, "GROUP_ORDER is %d, want 1 or 2", uint8(p.GroupOrder))
		}
	case paramNewGroupRequest:
		p.NewGroupRequest = new(c.varint("NEW_GROUP_REQUEST"))
	case paramNamespacePrefix:
		p.NamespacePrefix = new(c.namespace("TRACK_NAMESPACE_PREFIX"))
	}
}

// priority reads a SUBSCRIBER_PRIORITY, one byte.
//
// @moq/net 0.2, which @moq/watch 0.4 plays with, writes it as a varint, whose
// first byte from 128 on is 0x80. Of a peer that writes one byte, the next one
// is below 0x80: the shortest delta to any type that the draft defines.
func (c *cursor) priority() uint8 {
	v := c.uint8("SUBSCRIBER_PRIORITY")
	if v == 0x80 && c.more() && c.b[c.off] >= 0x80 {
		v = c.uint8("SUBSCRIBER_PRIORITY")
	}
	return v
}

// token reads a Token with its length.
func (c *cursor) token() Token {
	off := c.off
	t, err := ParseToken(c.bytes("AUTHORIZATION_TOKEN", MaxBody))
	c.nested(off, err)
	return t
}

// nested takes over the error of a structure that starts at off, unless an
// earlier one is there.
func (c *cursor) nested(off int, err error) {
	if e, ok := errors.AsType[*Error](err); ok {
		c.fail(e.Code, off, "%s: %s", e.In, e.What)
	}
}

// properties reads the track properties that end a message.
func (c *cursor) properties() Properties {
	if !c.more() {
		return nil
	}
	off := c.off
	p := Properties(append([]byte(nil), c.rest()...))
	if e, ok := errors.AsType[*Error](p.validateTrack("track properties")); ok {
		c.fail(e.Code, off+e.Offset, "track properties: %s", e.What)
		return nil
	}
	return p
}
