package wire

import "time"

// A GroupOrder says which group comes first (section 10.2.8).
type GroupOrder uint8

// The group orders. The zero value is not on the wire.
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

// DefaultPriority is the subscriber priority and the publisher priority when
// none is given (sections 10.2.7 and 12.4).
const DefaultPriority = 128

// Params are the message parameters (section 10.2). A nil or zero field is
// absent. Which ones a message may have, its type says.
type Params struct {
	ObjectDeliveryTimeout   *time.Duration // whole milliseconds; 0: none
	Tokens                  []Token        // AUTHORIZATION_TOKEN, repeatable
	RendezvousTimeout       *time.Duration // whole milliseconds; 0: do not wait
	SubgroupDeliveryTimeout *time.Duration // whole milliseconds; 0: none
	Expires                 *time.Duration // whole milliseconds; 0: does not expire
	LargestObject           *Location
	FillTimeout             *time.Duration // whole milliseconds; 0: do not wait
	Forward                 *bool
	SubscriberPriority      *uint8 // lower goes first
	Filter                  *Filter
	GroupOrder              GroupOrder
	NewGroupRequest         *uint64 // largest known group + 1; 0: none known
	NamespacePrefix         *Namespace
}

// A FilterType says where a subscription starts and ends (section 5.1.2).
type FilterType uint64

// The subscription filters.
const (
	FilterNextGroupStart FilterType = 0x1
	FilterLargestObject  FilterType = 0x2
	FilterAbsoluteStart  FilterType = 0x3
	FilterAbsoluteRange  FilterType = 0x4
)

// A Filter is a subscription filter (section 5.1.2).
type Filter struct {
	Type     FilterType
	Start    Location // absolute filters
	EndGroup uint64   // absolute range: the last group, all of it included
}

// MaxTokens is how many authorization tokens one message may carry; a house
// limit.
const MaxTokens = 64

// An AliasType says how a token is given (section 10.2.2).
type AliasType uint64

// The alias types.
const (
	TokenDelete   AliasType = 0x0 // Alias
	TokenRegister AliasType = 0x1 // Alias, Type, Value
	TokenUseAlias AliasType = 0x2 // Alias
	TokenUseValue AliasType = 0x3 // Type, Value
)

// A Token is an authorization token, or a reference to one (section 10.2.2).
type Token struct {
	AliasType AliasType
	Alias     uint64
	Type      uint64 // 0: agreed upon outside the protocol
	Value     []byte
}
