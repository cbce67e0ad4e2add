package wire

import (
	"errors"
	"fmt"
	"testing"
)

func TestCodes(t *testing.T) {
	for _, tt := range []struct {
		got  fmt.Stringer
		want string
	}{
		{SessionProtocolViolation, "PROTOCOL_VIOLATION"},
		{SessionMalformedAuthority, "MALFORMED_AUTHORITY"},
		{SessionCode(0x9d), "0x9d"},
		{RequestDoesNotExist, "DOES_NOT_EXIST"},
		{RequestRedirect, "REDIRECT"},
		{RequestCode(7), "0x7"},
		{PublishDoneTooFarBehind, "TOO_FAR_BEHIND"},
		{ResetUnknownObjectStatus, "UNKNOWN_OBJECT_STATUS"},
		{TypeSubscribeTracks, "SUBSCRIBE_TRACKS"},
		{MessageType(0x1e), "0x1e"},
		{FilterAbsoluteRange, "AbsoluteRange"},
		{FetchRelativeJoining, "Relative Joining"},
		{TokenUseValue, "USE_VALUE"},
		{ObjectEndOfTrack, "END_OF_TRACK"},
		{GroupDescending, "descending"},
		{StreamSubgroup, "subgroup"},
		{DatagramPadding, "padding"},
		{FetchUnknown, "End of Unknown Range"},
	} {
		if got := tt.got.String(); got != tt.want {
			t.Errorf("%T String() = %q, want %q", tt.got, got, tt.want)
		}
	}
}

// Codes that implementations are known to confuse (section 15.10.2).
func TestCodeValues(t *testing.T) {
	for code, want := range map[RequestCode]uint64{
		RequestTimeout: 0x2, RequestNotSupported: 0x3, RequestDoesNotExist: 0x10,
		RequestDuplicateSubscription: 0x19, RequestPrefixOverlap: 0x30, RequestRedirect: 0x34,
	} {
		if uint64(code) != want {
			t.Errorf("%v is %#x, want %#x", code, uint64(code), want)
		}
	}
}

// An unknown code, greased or not, stands for an internal error (section 14).
func TestEffective(t *testing.T) {
	for _, v := range []uint64{Grease(0), Grease(1), 0x3fffffffffffffde, 0x77} {
		if got := SessionCode(v).Effective(); got != SessionInternalError {
			t.Errorf("session code %#x is %v", v, got)
		}
		if got := RequestCode(v).Effective(); got != RequestInternalError {
			t.Errorf("request code %#x is %v", v, got)
		}
		if got := PublishDoneCode(v).Effective(); got != PublishDoneInternalError {
			t.Errorf("publish done code %#x is %v", v, got)
		}
		if got := ResetCode(v).Effective(); got != ResetInternalError {
			t.Errorf("reset code %#x is %v", v, got)
		}
	}
	if got := RequestTimeout.Effective(); got != RequestTimeout {
		t.Errorf("TIMEOUT is %v", got)
	}
}

func TestGrease(t *testing.T) {
	for v, want := range map[uint64]bool{0x9d: true, 0x11c: true, 0x3fffffffffffffde: true, 0x9e: false, 0x1e: false, 0: false} {
		if got := IsGrease(v); got != want {
			t.Errorf("IsGrease(%#x) = %t, want %t", v, got, want)
		}
	}
	if got := Grease(1); got != 0x11c {
		t.Errorf("Grease(1) = %#x, want 0x11c", got)
	}
}

func TestErrorText(t *testing.T) {
	_, err := ParseSubscribe([]byte{2, 1, 0})
	const want = "moqt/wire: SUBSCRIBE at byte 2: track namespace has an empty field (PROTOCOL_VIOLATION)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != SessionProtocolViolation {
		t.Errorf("%v is not an *Error with PROTOCOL_VIOLATION", err)
	}
}
