package wire

import "fmt"

// A SessionCode says why a session was closed (sections 3.5 and 15.10.1).
type SessionCode uint64

// The session termination codes.
const (
	SessionNoError                  SessionCode = 0x0
	SessionInternalError            SessionCode = 0x1
	SessionUnauthorized             SessionCode = 0x2
	SessionProtocolViolation        SessionCode = 0x3
	SessionInvalidRequestID         SessionCode = 0x4
	SessionDuplicateTrackAlias      SessionCode = 0x5
	SessionKeyValueFormattingError  SessionCode = 0x6
	SessionInvalidPath              SessionCode = 0x8
	SessionMalformedPath            SessionCode = 0x9
	SessionGoawayTimeout            SessionCode = 0x10
	SessionControlMessageTimeout    SessionCode = 0x11
	SessionDataStreamTimeout        SessionCode = 0x12
	SessionAuthTokenCacheOverflow   SessionCode = 0x13
	SessionDuplicateAuthTokenAlias  SessionCode = 0x14
	SessionVersionNegotiationFailed SessionCode = 0x15
	SessionMalformedAuthToken       SessionCode = 0x16
	SessionUnknownAuthTokenAlias    SessionCode = 0x17
	SessionExpiredAuthToken         SessionCode = 0x18
	SessionInvalidAuthority         SessionCode = 0x19
	SessionMalformedAuthority       SessionCode = 0x1a
)

var sessionCodes = map[SessionCode]string{
	SessionNoError:                  "NO_ERROR",
	SessionInternalError:            "INTERNAL_ERROR",
	SessionUnauthorized:             "UNAUTHORIZED",
	SessionProtocolViolation:        "PROTOCOL_VIOLATION",
	SessionInvalidRequestID:         "INVALID_REQUEST_ID",
	SessionDuplicateTrackAlias:      "DUPLICATE_TRACK_ALIAS",
	SessionKeyValueFormattingError:  "KEY_VALUE_FORMATTING_ERROR",
	SessionInvalidPath:              "INVALID_PATH",
	SessionMalformedPath:            "MALFORMED_PATH",
	SessionGoawayTimeout:            "GOAWAY_TIMEOUT",
	SessionControlMessageTimeout:    "CONTROL_MESSAGE_TIMEOUT",
	SessionDataStreamTimeout:        "DATA_STREAM_TIMEOUT",
	SessionAuthTokenCacheOverflow:   "AUTH_TOKEN_CACHE_OVERFLOW",
	SessionDuplicateAuthTokenAlias:  "DUPLICATE_AUTH_TOKEN_ALIAS",
	SessionVersionNegotiationFailed: "VERSION_NEGOTIATION_FAILED",
	SessionMalformedAuthToken:       "MALFORMED_AUTH_TOKEN",
	SessionUnknownAuthTokenAlias:    "UNKNOWN_AUTH_TOKEN_ALIAS",
	SessionExpiredAuthToken:         "EXPIRED_AUTH_TOKEN",
	SessionInvalidAuthority:         "INVALID_AUTHORITY",
	SessionMalformedAuthority:       "MALFORMED_AUTHORITY",
}

// String returns the draft's name, or the number of a code it does not define.
func (c SessionCode) String() string { return name(sessionCodes, c) }

// Effective returns c, or the internal error that an unknown code stands for
// (section 14).
func (c SessionCode) Effective() SessionCode {
	return effective(sessionCodes, c, SessionInternalError)
}

// A RequestCode says why a request failed (sections 10.6.2 and 15.10.2).
type RequestCode uint64

// The REQUEST_ERROR codes.
const (
	RequestInternalError           RequestCode = 0x0
	RequestUnauthorized            RequestCode = 0x1
	RequestTimeout                 RequestCode = 0x2
	RequestNotSupported            RequestCode = 0x3
	RequestMalformedAuthToken      RequestCode = 0x4
	RequestExpiredAuthToken        RequestCode = 0x5
	RequestGoingAway               RequestCode = 0x6
	RequestExcessiveLoad           RequestCode = 0x9
	RequestDoesNotExist            RequestCode = 0x10
	RequestInvalidRange            RequestCode = 0x11
	RequestMalformedTrack          RequestCode = 0x12
	RequestDuplicateSubscription   RequestCode = 0x19
	RequestUninterested            RequestCode = 0x20
	RequestPrefixOverlap           RequestCode = 0x30
	RequestNamespaceTooLarge       RequestCode = 0x31
	RequestInvalidJoiningRequestID RequestCode = 0x32
	RequestUnsupportedExtension    RequestCode = 0x33
	RequestRedirect                RequestCode = 0x34
)

var requestCodes = map[RequestCode]string{
	RequestInternalError:           "INTERNAL_ERROR",
	RequestUnauthorized:            "UNAUTHORIZED",
	RequestTimeout:                 "TIMEOUT",
	RequestNotSupported:            "NOT_SUPPORTED",
	RequestMalformedAuthToken:      "MALFORMED_AUTH_TOKEN",
	RequestExpiredAuthToken:        "EXPIRED_AUTH_TOKEN",
	RequestGoingAway:               "GOING_AWAY",
	RequestExcessiveLoad:           "EXCESSIVE_LOAD",
	RequestDoesNotExist:            "DOES_NOT_EXIST",
	RequestInvalidRange:            "INVALID_RANGE",
	RequestMalformedTrack:          "MALFORMED_TRACK",
	RequestDuplicateSubscription:   "DUPLICATE_SUBSCRIPTION",
	RequestUninterested:            "UNINTERESTED",
	RequestPrefixOverlap:           "PREFIX_OVERLAP",
	RequestNamespaceTooLarge:       "NAMESPACE_TOO_LARGE",
	RequestInvalidJoiningRequestID: "INVALID_JOINING_REQUEST_ID",
	RequestUnsupportedExtension:    "UNSUPPORTED_EXTENSION",
	RequestRedirect:                "REDIRECT",
}

// String returns the draft's name, or the number of a code it does not define.
func (c RequestCode) String() string { return name(requestCodes, c) }

// Effective returns c, or the internal error that an unknown code stands for
// (section 14).
func (c RequestCode) Effective() RequestCode {
	return effective(requestCodes, c, RequestInternalError)
}

// A PublishDoneCode says why a subscription ended (sections 10.11 and 15.10.3).
type PublishDoneCode uint64

// The PUBLISH_DONE status codes.
const (
	PublishDoneInternalError     PublishDoneCode = 0x0
	PublishDoneUnauthorized      PublishDoneCode = 0x1
	PublishDoneTrackEnded        PublishDoneCode = 0x2
	PublishDoneSubscriptionEnded PublishDoneCode = 0x3
	PublishDoneGoingAway         PublishDoneCode = 0x4
	PublishDoneTooFarBehind      PublishDoneCode = 0x5
	PublishDoneExpired           PublishDoneCode = 0x6
	PublishDoneUpdateFailed      PublishDoneCode = 0x8
	PublishDoneExcessiveLoad     PublishDoneCode = 0x9
	PublishDoneMalformedTrack    PublishDoneCode = 0x12
)

var publishDoneCodes = map[PublishDoneCode]string{
	PublishDoneInternalError:     "INTERNAL_ERROR",
	PublishDoneUnauthorized:      "UNAUTHORIZED",
	PublishDoneTrackEnded:        "TRACK_ENDED",
	PublishDoneSubscriptionEnded: "SUBSCRIPTION_ENDED",
	PublishDoneGoingAway:         "GOING_AWAY",
	PublishDoneTooFarBehind:      "TOO_FAR_BEHIND",
	PublishDoneExpired:           "EXPIRED",
	PublishDoneUpdateFailed:      "UPDATE_FAILED",
	PublishDoneExcessiveLoad:     "EXCESSIVE_LOAD",
	PublishDoneMalformedTrack:    "MALFORMED_TRACK",
}

// String returns the draft's name, or the number of a code it does not define.
func (c PublishDoneCode) String() string { return name(publishDoneCodes, c) }

// Effective returns c, or the internal error that an unknown code stands for
// (section 14).
func (c PublishDoneCode) Effective() PublishDoneCode {
	return effective(publishDoneCodes, c, PublishDoneInternalError)
}

// A ResetCode goes with RESET_STREAM and STOP_SENDING (sections 3.3.3 and
// 15.10.4).
type ResetCode uint64

// The stream reset codes.
const (
	ResetInternalError       ResetCode = 0x0
	ResetCancelled           ResetCode = 0x1
	ResetDeliveryTimeout     ResetCode = 0x2
	ResetSessionClosed       ResetCode = 0x3
	ResetGoingAway           ResetCode = 0x4
	ResetTooFarBehind        ResetCode = 0x5
	ResetUnknownObjectStatus ResetCode = 0x6
	ResetExpiredAuthToken    ResetCode = 0x7
	ResetExcessiveLoad       ResetCode = 0x9
	ResetMalformedTrack      ResetCode = 0x12
)

var resetCodes = map[ResetCode]string{
	ResetInternalError:       "INTERNAL_ERROR",
	ResetCancelled:           "CANCELLED",
	ResetDeliveryTimeout:     "DELIVERY_TIMEOUT",
	ResetSessionClosed:       "SESSION_CLOSED",
	ResetGoingAway:           "GOING_AWAY",
	ResetTooFarBehind:        "TOO_FAR_BEHIND",
	ResetUnknownObjectStatus: "UNKNOWN_OBJECT_STATUS",
	ResetExpiredAuthToken:    "EXPIRED_AUTH_TOKEN",
	ResetExcessiveLoad:       "EXCESSIVE_LOAD",
	ResetMalformedTrack:      "MALFORMED_TRACK",
}

// String returns the draft's name, or the number of a code it does not define.
func (c ResetCode) String() string { return name(resetCodes, c) }

// Effective returns c, or the internal error that an unknown code stands for
// (section 14).
func (c ResetCode) Effective() ResetCode { return effective(resetCodes, c, ResetInternalError) }

// Grease returns the nth value reserved for greasing (section 14), which
// setup options, properties, token types and all four code spaces share.
func Grease(n uint64) uint64 { return 0x7f*n + 0x9d }

// IsGrease reports whether v is reserved for greasing.
func IsGrease(v uint64) bool { return v >= 0x9d && (v-0x9d)%0x7f == 0 }

func name[C ~uint64](names map[C]string, c C) string {
	if s, ok := names[c]; ok {
		return s
	}
	return fmt.Sprintf("%#x", uint64(c))
}

func effective[C ~uint64](names map[C]string, c, unknown C) C {
	if _, ok := names[c]; ok {
		return c
	}
	return unknown
}
