package wire

import (
	"errors"
	"strings"
	"testing"
)

// str is a string on the wire, in hex.
func str(s string) string { return hexString(AppendString(nil, s)) }

func TestRejectMessages(t *testing.T) {
	open := "02" + "01" + str("a") + str("") // request ID 2, namespace (a), no name
	longURI := strings.Repeat("u", 8193)
	many := "21" + strings.Repeat(str("a"), 33)
	huge := "02" + str(strings.Repeat("n", 2048)) + str(strings.Repeat("n", 2049))
	var tokens strings.Builder
	for range MaxTokens + 1 {
		tokens.WriteString("00" + "02" + "0201")
	}
	for _, tt := range []struct {
		name    string
		typ     MessageType
		request MessageType
		body    string
		code    SessionCode
		what    string
	}{
		{"unknown type", 0x1e, 0, "00", SessionProtocolViolation, "unknown message type"},
		{"empty body", TypeSubscribe, 0, "", SessionProtocolViolation, "request ID is cut off"},
		{"33 fields", TypeSubscribe, 0, "02" + many + "0000", SessionProtocolViolation, "33 fields"},
		{"33 fields of a prefix", TypeSubscribeNamespace, 0, "02" + many + "00", SessionProtocolViolation, "33 fields"},
		{"33 fields of a suffix", TypeNamespace, 0, many, SessionProtocolViolation, "33 fields"},
		{"empty field", TypePublishNamespace, 0, "02" + "0100" + "00", SessionProtocolViolation, "empty field"},
		{"field beyond the body", TypeNamespace, 0, "01" + "05" + "6161", SessionProtocolViolation, "2 left"},
		{"namespace of 4097 bytes", TypeNamespaceDone, 0, huge, SessionProtocolViolation, "exceeds 4096"},
		{"full name of 4097 bytes", TypePublishBlocked, 0, "01" + str(strings.Repeat("n", 4096)) + str("x"), SessionProtocolViolation, "exceeds 4096"},
		{"name of 4097 bytes", TypeTrackStatus, 0, "02" + "00" + str(strings.Repeat("n", 4097)) + "00", SessionProtocolViolation, "at most 4096"},
		{"left over", TypeSubscribe, 0, open + "00" + "00", SessionProtocolViolation, "1 bytes left over"},

		{"unknown parameter", TypeSubscribe, 0, open + "01" + "0c00", SessionProtocolViolation, "0xc is unknown"},
		{"greased parameter", TypeSubscribe, 0, open + "01" + "809d00", SessionProtocolViolation, "0x9d is unknown"},
		{"parameter of another message", TypeSubscribe, 0, open + "01" + "0800", SessionProtocolViolation, "0x8 is unknown or not allowed"},
		{"parameter of FETCH_OK", TypeFetchOK, 0, "00" + "0100" + "01" + "0800", SessionProtocolViolation, "0x8 is unknown or not allowed"},
		{"parameter twice", TypeSubscribe, 0, open + "02" + "0205" + "0005", SessionProtocolViolation, "0x2 is there twice"},
		{"parameter type overflows", TypeSubscribe, 0, open + "02" + "0205" + "ffffffffffffffffff05", SessionProtocolViolation, "exceeds 2^64-1"},
		{"fewer parameters than said", TypeSubscribe, 0, open + "02" + "0205", SessionProtocolViolation, "parameter type is cut off"},
		{"billions of parameters", TypeSubscribe, 0, open + "ffffffffffffffffff", SessionProtocolViolation, "cut off"},
		{"FORWARD 2", TypeSubscribe, 0, open + "01" + "1002", SessionProtocolViolation, "FORWARD is 2"},
		{"GROUP_ORDER 0", TypeSubscribe, 0, open + "01" + "2200", SessionProtocolViolation, "GROUP_ORDER is 0"},
		{"GROUP_ORDER 3", TypeFetch, 0, "02" + "020000" + "01" + "2203", SessionProtocolViolation, "GROUP_ORDER is 3"},
		{"priority missing", TypeSubscribe, 0, open + "01" + "20", SessionProtocolViolation, "SUBSCRIBER_PRIORITY is missing"},
		{"filter 0", TypeSubscribe, 0, open + "01" + "210100", SessionProtocolViolation, "unknown filter type"},
		{"filter 5", TypeSubscribe, 0, open + "01" + "210105", SessionProtocolViolation, "unknown filter type"},
		{"filter cut off", TypeSubscribe, 0, open + "01" + "21020305", SessionProtocolViolation, "start location object is cut off"},
		{"filter left over", TypeSubscribe, 0, open + "01" + "21020200", SessionProtocolViolation, "1 bytes left over"},
		{"filter group overflows", TypeSubscribe, 0, open + "01" + "210c04" + "ffffffffffffffffff" + "00" + "01", SessionProtocolViolation, "end group exceeds"},
		{"token of unknown form", TypeSubscribe, 0, open + "01" + "030104", SessionKeyValueFormattingError, "alias type"},
		{"token cut off", TypeSubscribe, 0, open + "01" + "030101", SessionKeyValueFormattingError, "token alias is cut off"},
		{"65 tokens", TypeSubscribe, 0, open + "41" + "03" + tokens.String()[2:], SessionInternalError, "more than 64"},

		{"prefix update of a subscription", TypeRequestUpdate, TypeSubscribe, "04" + "01" + "3400", SessionProtocolViolation, "0x34"},
		{"forward update of a prefix", TypeRequestUpdate, TypeSubscribeTracks, "04" + "01" + "1001", SessionProtocolViolation, "0x10"},
		{"filter update of a fetch", TypeRequestUpdate, TypeFetch, "04" + "01" + "210102", SessionProtocolViolation, "0x21"},
		{"update of a track status", TypeRequestUpdate, TypeTrackStatus, "04" + "00", SessionProtocolViolation, "TRACK_STATUS cannot be updated"},

		{"REQUEST_OK to SUBSCRIBE", TypeRequestOK, TypeSubscribe, "00", SessionProtocolViolation, "not answered with REQUEST_OK"},
		{"properties for PUBLISH", TypeRequestOK, TypePublish, "00" + "0205", SessionProtocolViolation, "track properties"},
		{"properties for an update", TypeRequestOK, TypeRequestUpdate, "00" + "0205", SessionProtocolViolation, "track properties"},
		{"largest object for a namespace", TypeRequestOK, TypePublishNamespace, "01" + "090000", SessionProtocolViolation, "0x9"},
		{"reason of 1025 bytes", TypeRequestError, TypeSubscribe, "0100" + str(strings.Repeat("r", 1025)), SessionProtocolViolation, "at most 1024"},
		{"redirect missing", TypeRequestError, TypeSubscribe, "3400" + "00", SessionProtocolViolation, "Connect URI length is cut off"},
		{"redirect not asked for", TypeRequestError, TypeSubscribe, "1000" + "00" + "000000", SessionProtocolViolation, "left over"},
		{"redirect of a namespace to a track", TypeRequestError, TypePublishNamespace, "3400" + "00" + "00" + "01" + str("a") + str("x"), SessionProtocolViolation, "track name"},
		{"redirect of a prefix to a track", TypeRequestError, TypeSubscribeNamespace, "3400" + "00" + "00" + "00" + str("x"), SessionProtocolViolation, "track name"},

		{"fetch type 0", TypeFetch, 0, "02" + "00" + "0000" + "00", SessionProtocolViolation, "unknown fetch type"},
		{"fetch type 4", TypeFetch, 0, "02" + "04" + "0000" + "00", SessionProtocolViolation, "unknown fetch type"},
		{"end of track 2", TypeFetchOK, 0, "02" + "0000" + "00", SessionProtocolViolation, "end of track is 2"},
		{"URI of 8193 bytes", TypeGoaway, TypeSetup, str(longURI) + "0000", SessionProtocolViolation, "at most 8192"},
		{"GOAWAY without request ID", TypeGoaway, TypeSetup, "0000", SessionProtocolViolation, "request ID is cut off"},
		{"GOAWAY with request ID", TypeGoaway, TypeSubscribe, "000000", SessionProtocolViolation, "left over"},
		{"PUBLISH_DONE cut off", TypePublishDone, 0, "02" + "03" + "05" + "6161", SessionProtocolViolation, "2 left"},

		{"property cut off", TypeSubscribeOK, 0, "01" + "00" + "01056161", SessionKeyValueFormattingError, "cut off"},
		{"property without value", TypeSubscribeOK, 0, "01" + "00" + "02", SessionKeyValueFormattingError, "cut off"},
		{"property type overflows", TypePublish, 0, open + "01" + "00" + "0205" + "ffffffffffffffffff00", SessionProtocolViolation, "exceeds 2^64-1"},
		{"property of 65536 bytes", TypeFetchOK, 0, "00" + "0000" + "00" + "01" + "c10000", SessionProtocolViolation, "exceeds 65535"},
		{"default priority 256", TypeSubscribeOK, 0, "01" + "00" + "0e8100", SessionProtocolViolation, "exceeds 255"},
		{"default group order 0", TypeSubscribeOK, 0, "01" + "00" + "2200", SessionProtocolViolation, "neither 1 nor 2"},
		{"default group order 3, immutable", TypeSubscribeOK, 0, "01" + "00" + "0b02" + "2203", SessionProtocolViolation, "neither 1 nor 2"},
		{"dynamic groups 2", TypeRequestOK, TypeTrackStatus, "00" + "3002", SessionProtocolViolation, "exceeds 1"},

		{"option cut off", TypeSetup, 0, "07056161", SessionKeyValueFormattingError, "cut off"},
		{"option type overflows", TypeSetup, 0, "0400" + "ffffffffffffffffff00", SessionProtocolViolation, "exceeds 2^64-1"},
		{"known option twice", TypeSetup, 0, "0400" + "0000", SessionProtocolViolation, "twice"},
		{"path twice", TypeSetup, 0, "01012f" + "00012f", SessionProtocolViolation, "twice"},
		{"token that is none", TypeSetup, 0, "030104", SessionKeyValueFormattingError, "alias type"},
		{"path without slash", TypeSetup, 0, "01" + str("live"), SessionMalformedPath, "PATH"},
		{"path with a fragment", TypeSetup, 0, "01" + str("/live#x"), SessionMalformedPath, "PATH"},
		{"path with a bad escape", TypeSetup, 0, "01" + str("/a%2"), SessionMalformedPath, "PATH"},
		{"authority with a path", TypeSetup, 0, "05" + str("a.example/x"), SessionMalformedAuthority, "AUTHORITY"},
		{"authority without host", TypeSetup, 0, "05" + str(":443"), SessionMalformedAuthority, "AUTHORITY"},
		{"authority with a bad port", TypeSetup, 0, "05" + str("a.example:x"), SessionMalformedAuthority, "AUTHORITY"},
		{"authority with an open bracket", TypeSetup, 0, "05" + str("[::1"), SessionMalformedAuthority, "AUTHORITY"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseMessage(tt.typ, unhexBytes(t, tt.body), tt.request)
			e, ok := errors.AsType[*Error](err)
			if !ok || m != nil {
				t.Fatalf("got %+v, %v; want an *Error", m, err)
			}
			if e.Code != tt.code || !strings.Contains(e.What, tt.what) {
				t.Errorf("got %v; want %v with %q", err, tt.code, tt.what)
			}
		})
	}
}

// What the draft tells us to ignore must not close the session.
func TestIgnored(t *testing.T) {
	for _, tt := range []struct{ name, body string }{
		{"unknown option", "0901" + "61"},
		{"unknown option twice", "0800" + "0001" + "0002"},
		{"greased options", "809d0161" + "807f00"},
		{"many unknown options", strings.Repeat("0801", 100)},
		{"IPv6 authority", "05" + str("[2001:db8::1]:4443")},
		{"user in the authority", "05" + str("me@a.example")},
		{"empty port", "05" + str("a.example:")},
		{"query", "01" + str("?a=/b?c")},
	} {
		m, err := ParseSetup(unhexBytes(t, tt.body))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if len(m.Other) > MaxOtherOptions {
			t.Errorf("%s: kept %d options, at most %d", tt.name, len(m.Other), MaxOtherOptions)
		}
	}
}
