package track

import "github.com/broadcastd/broadcastd/moqt/wire"

// The draft's types, under names that let packages which know no wire format
// use a track.
type (
	// A Name is a full track name.
	Name = wire.FullTrackName
	// A Namespace is a track namespace.
	Namespace = wire.Namespace
	// A Location names one object of a track by group and object ID.
	Location = wire.Location
	// Properties are the properties of a track or an object, as on the wire.
	Properties = wire.Properties
	// A Property is one of them.
	Property = wire.KeyValue
	// A GroupOrder says which of several groups goes first.
	GroupOrder = wire.GroupOrder
	// An ObjectStatus says whether an object is one, or marks an end.
	ObjectStatus = wire.ObjectStatus
	// A ResetCode says why a subgroup was cut.
	ResetCode = wire.ResetCode
	// A DoneCode says why a track or a subscription ended.
	DoneCode = wire.PublishDoneCode
	// A RequestCode says why a request failed.
	RequestCode = wire.RequestCode
	// A Token authorizes a request.
	Token = wire.Token
	// A Redirect says where a request can succeed.
	Redirect = wire.Redirect
)

// The group orders.
const (
	Ascending  = wire.GroupAscending
	Descending = wire.GroupDescending
)

// DefaultPriority is the subscriber's and the publisher's priority when none is
// given. Lower goes first.
const DefaultPriority = wire.DefaultPriority

// The object statuses.
const (
	ObjectNormal     = wire.ObjectNormal
	ObjectEndOfGroup = wire.ObjectEndOfGroup
	ObjectEndOfTrack = wire.ObjectEndOfTrack
)

// Properties that publishers set and viewers read.
const (
	PropDefaultPriority   = wire.PropDefaultPublisherPriority
	PropDefaultGroupOrder = wire.PropDefaultPublisherGroupOrder
	PropImmutable         = wire.PropImmutable
	PropPriorGroupIDGap   = wire.PropPriorGroupIDGap
	PropPriorObjectIDGap  = wire.PropPriorObjectIDGap
	PropTimestamp         = wire.PropLOCTimestamp
	PropTimescale         = wire.PropLOCTimescale
)

// Why a subgroup was cut.
const (
	ResetInternalError   = wire.ResetInternalError
	ResetCancelled       = wire.ResetCancelled
	ResetDeliveryTimeout = wire.ResetDeliveryTimeout
	ResetSessionClosed   = wire.ResetSessionClosed
	ResetGoingAway       = wire.ResetGoingAway
	ResetTooFarBehind    = wire.ResetTooFarBehind
	ResetExcessiveLoad   = wire.ResetExcessiveLoad
	ResetMalformedTrack  = wire.ResetMalformedTrack
)

// Why a track or a subscription ended.
const (
	DoneInternalError     = wire.PublishDoneInternalError
	DoneUnauthorized      = wire.PublishDoneUnauthorized
	DoneTrackEnded        = wire.PublishDoneTrackEnded
	DoneSubscriptionEnded = wire.PublishDoneSubscriptionEnded
	DoneGoingAway         = wire.PublishDoneGoingAway
	DoneTooFarBehind      = wire.PublishDoneTooFarBehind
	DoneExpired           = wire.PublishDoneExpired
	DoneUpdateFailed      = wire.PublishDoneUpdateFailed
	DoneExcessiveLoad     = wire.PublishDoneExcessiveLoad
	DoneMalformedTrack    = wire.PublishDoneMalformedTrack
)

// Why a request failed.
const (
	RequestInternalError         = wire.RequestInternalError
	RequestUnauthorized          = wire.RequestUnauthorized
	RequestTimeout               = wire.RequestTimeout
	RequestNotSupported          = wire.RequestNotSupported
	RequestExpiredAuthToken      = wire.RequestExpiredAuthToken
	RequestGoingAway             = wire.RequestGoingAway
	RequestExcessiveLoad         = wire.RequestExcessiveLoad
	RequestDoesNotExist          = wire.RequestDoesNotExist
	RequestInvalidRange          = wire.RequestInvalidRange
	RequestMalformedTrack        = wire.RequestMalformedTrack
	RequestDuplicateSubscription = wire.RequestDuplicateSubscription
	RequestUninterested          = wire.RequestUninterested
)

// NewNamespace returns the namespace with these fields; see wire.NewNamespace.
func NewNamespace(fields ...string) (Namespace, error) { return wire.NewNamespace(fields...) }

// SplitNamespace returns the namespace whose fields are path's elements:
// "stream/local/cam" has three.
func SplitNamespace(path string) (Namespace, error) { return wire.SplitNamespace(path) }

// MustNamespace is NewNamespace for constants and tests; it panics on an error.
func MustNamespace(fields ...string) Namespace { return wire.MustNamespace(fields...) }

// NewProperties encodes properties, in ascending order of type.
func NewProperties(props ...Property) Properties { return wire.NewProperties(props...) }
