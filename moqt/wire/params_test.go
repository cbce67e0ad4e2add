package wire

import (
	"fmt"
	"strings"
	"testing"
)

// Which parameter each message may have: sections 10.2.2 to 10.2.14, row by
// row. An update is named after what it updates, an answer after what it
// answers.
func TestParameterMatrix(t *testing.T) {
	const (
		name  = "01" + "0161" + "00" // namespace (a), no name
		start = "02"                 // request ID
	)
	messages := []struct {
		name    string
		typ     MessageType
		request MessageType
		open    string // the body up to the parameters
	}{
		{"SUBSCRIBE", TypeSubscribe, 0, start + name},
		{"SUBSCRIBE_OK", TypeSubscribeOK, 0, "05"},
		{"PUBLISH", TypePublish, 0, start + name + "05"},
		{"PUBLISH_OK", TypeRequestOK, TypePublish, ""},
		{"FETCH", TypeFetch, 0, start + "020000"},
		{"FETCH_OK", TypeFetchOK, 0, "000000"},
		{"TRACK_STATUS", TypeTrackStatus, 0, start + name},
		{"TRACK_STATUS_OK", TypeRequestOK, TypeTrackStatus, ""},
		{"PUBLISH_NAMESPACE", TypePublishNamespace, 0, start + "00"},
		{"PUBLISH_NAMESPACE_OK", TypeRequestOK, TypePublishNamespace, ""},
		{"SUBSCRIBE_NAMESPACE", TypeSubscribeNamespace, 0, start + "00"},
		{"SUBSCRIBE_NAMESPACE_OK", TypeRequestOK, TypeSubscribeNamespace, ""},
		{"SUBSCRIBE_TRACKS", TypeSubscribeTracks, 0, start + "00"},
		{"SUBSCRIBE_TRACKS_OK", TypeRequestOK, TypeSubscribeTracks, ""},
		{"update SUBSCRIBE", TypeRequestUpdate, TypeSubscribe, start},
		{"update PUBLISH", TypeRequestUpdate, TypePublish, start},
		{"update FETCH", TypeRequestUpdate, TypeFetch, start},
		{"update PUBLISH_NAMESPACE", TypeRequestUpdate, TypePublishNamespace, start},
		{"update SUBSCRIBE_NAMESPACE", TypeRequestUpdate, TypeSubscribeNamespace, start},
		{"update SUBSCRIBE_TRACKS", TypeRequestUpdate, TypeSubscribeTracks, start},
		{"REQUEST_UPDATE_OK", TypeRequestOK, TypeRequestUpdate, ""},
	}
	const subscriptions = "SUBSCRIBE, PUBLISH_OK, update SUBSCRIBE, update PUBLISH"
	const everyUpdate = "update SUBSCRIBE, update PUBLISH, update FETCH, update PUBLISH_NAMESPACE, update SUBSCRIBE_NAMESPACE, update SUBSCRIBE_TRACKS"
	params := []struct {
		typ   uint64
		value string
		legal string
	}{
		{0x02, "05", subscriptions},
		{0x03, "020201", "SUBSCRIBE, PUBLISH, FETCH, TRACK_STATUS, PUBLISH_NAMESPACE, SUBSCRIBE_NAMESPACE, SUBSCRIBE_TRACKS, " + everyUpdate},
		{0x04, "05", "SUBSCRIBE"},
		{0x06, "05", subscriptions},
		// TRACK_STATUS_OK has what SUBSCRIBE_OK would have (section 10.14).
		{0x08, "05", "SUBSCRIBE_OK, PUBLISH, PUBLISH_OK, REQUEST_UPDATE_OK, TRACK_STATUS_OK"},
		{0x09, "0506", "SUBSCRIBE_OK, PUBLISH, REQUEST_UPDATE_OK, TRACK_STATUS_OK"},
		{0x0a, "05", "FETCH"},
		{0x10, "01", subscriptions + ", PUBLISH, SUBSCRIBE_TRACKS"},
		{0x20, "80", subscriptions + ", FETCH, update FETCH"},
		{0x21, "0102", subscriptions},
		{0x22, "02", "SUBSCRIBE, PUBLISH_OK, FETCH, SUBSCRIBE_OK"}, // in SUBSCRIBE_OK only because of @moq/net 0.1
		{0x32, "05", subscriptions},
		{0x34, "010161", "update SUBSCRIBE_NAMESPACE, update SUBSCRIBE_TRACKS"},
		{0x0e, "05", ""}, // a parameter of older drafts
		{0x23, "00", ""}, // of a later one
		{0x40, "05", ""},
	}
	for _, p := range params {
		legal := map[string]bool{}
		for m := range strings.SplitSeq(p.legal, ", ") {
			legal[m] = true
		}
		for _, m := range messages {
			body := m.open + "01" + hexString(AppendVarint(nil, p.typ)) + p.value
			_, err := ParseMessage(m.typ, unhexBytes(t, body), m.request)
			if (err == nil) != legal[m.name] {
				t.Errorf("parameter %#x in %s: %v, want legal %t", p.typ, m.name, err, legal[m.name])
			}
			if err != nil {
				wantCode(t, fmt.Sprintf("parameter %#x in %s", p.typ, m.name), err, SessionProtocolViolation)
			}
		}
	}
}
