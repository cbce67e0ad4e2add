package wire

import (
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/golden"
)

// A sample is a message that parses to itself, and what ParseMessage must know
// of its context.
type sample struct {
	name    string
	message Message
	request MessageType
}

const maxID = math.MaxUint64

var (
	cam     = MustNamespace("live", "cam")
	video   = FullTrackName{cam, "video"}
	oddName = FullTrackName{MustNamespace("\x00\xff", strings.Repeat("n", 200)), "\xfe/name"}
	catalog = FullTrackName{MustNamespace("live", "test"), "catalog"}
	tokens  = []Token{
		{AliasType: TokenDelete, Alias: 7},
		{AliasType: TokenRegister, Alias: 8, Type: 1, Value: []byte("cat")},
		{AliasType: TokenUseAlias, Alias: 300},
		{AliasType: TokenUseValue, Type: 0, Value: []byte("secret")},
		{AliasType: TokenUseValue, Type: 1},
	}
	trackProperties = NewProperties(
		KeyValue{Type: PropObjectDeliveryTimeout, Uint: 1500},
		KeyValue{Type: PropMaxCacheDuration, Uint: 30000},
		KeyValue{Type: PropLOCTimescale, Uint: 90000},
		KeyValue{Type: PropImmutable, Bytes: NewProperties(KeyValue{Type: PropLOCVideoConfig, Bytes: []byte("avcC")})},
		KeyValue{Type: PropDefaultPublisherPriority, Uint: 64},
		KeyValue{Type: PropDefaultPublisherGroupOrder, Uint: 2},
		KeyValue{Type: PropDynamicGroups, Uint: 1},
		KeyValue{Type: 0x79, Bytes: []byte("application")},
		KeyValue{Type: Grease(1), Uint: maxID},
	)
)

func samples() []sample {
	ms := time.Millisecond
	redirect := &Redirect{ConnectURI: "moqt://b.example/live", Track: video}
	return []sample{
		{"SETUP empty", Setup{}, 0},
		{"SETUP of a client", Setup{
			Path: new("/live?token=a%20b"), Authority: new("relay.example:4443"), Tokens: tokens[1:],
			MaxAuthTokenCacheSize: 4096, Implementation: "broadcastd/1",
			Other: []KeyValue{
				{Type: Grease(0), Bytes: []byte("grease")},
				{Type: 0x40b5a, Uint: 1},
				{Type: 0x40b5a, Uint: 2}, // repeated and unknown: ignored
			},
		}, 0},
		{"SETUP with the empty path", Setup{Path: new("")}, 0},
		{"GOAWAY on the control stream", Goaway{NewSessionURI: "moqt://b.example/live", Timeout: 2 * time.Second, RequestID: new(uint64(6))}, TypeSetup},
		{"GOAWAY on a request stream", Goaway{Timeout: 250 * ms}, TypeSubscribe},
		{"SUBSCRIBE", Subscribe{RequestID: 2, Track: catalog}, 0},
		{"SUBSCRIBE with every parameter", Subscribe{RequestID: maxID, Track: oddName, Params: Params{
			ObjectDeliveryTimeout: new(1500 * ms), Tokens: tokens, RendezvousTimeout: new(5 * time.Second),
			SubgroupDeliveryTimeout: new(time.Duration(0)), Forward: new(false), SubscriberPriority: new(uint8(200)),
			Filter:     &Filter{Type: FilterAbsoluteRange, Start: Location{5, 7}, EndGroup: 305},
			GroupOrder: GroupDescending, NewGroupRequest: new(uint64(0)),
		}}, 0},
		{"SUBSCRIBE from the next group", Subscribe{Params: Params{Filter: &Filter{Type: FilterNextGroupStart}}}, 0},
		{"SUBSCRIBE from the largest object", Subscribe{Params: Params{Filter: &Filter{Type: FilterLargestObject}}}, 0},
		{"SUBSCRIBE from a location", Subscribe{Params: Params{Filter: &Filter{Type: FilterAbsoluteStart, Start: Location{maxID, maxID}}}}, 0},
		{"SUBSCRIBE to one group", Subscribe{Params: Params{Filter: &Filter{Type: FilterAbsoluteRange, Start: Location{Group: maxID}, EndGroup: maxID}}}, 0},
		{"SUBSCRIBE_OK", SubscribeOK{TrackAlias: 9}, 0},
		{"SUBSCRIBE_OK in full", SubscribeOK{
			TrackAlias: maxID, Params: Params{Expires: new(time.Minute), LargestObject: &Location{1 << 40, 77}},
			Properties: trackProperties,
		}, 0},
		{"REQUEST_UPDATE of a subscription", RequestUpdate{RequestID: 4, Params: Params{
			ObjectDeliveryTimeout: new(100 * ms), Tokens: tokens[3:4], SubgroupDeliveryTimeout: new(200 * ms),
			Forward: new(true), SubscriberPriority: new(uint8(0)), Filter: &Filter{Type: FilterLargestObject},
			NewGroupRequest: new(uint64(12)),
		}}, TypePublish},
		{"REQUEST_UPDATE of a fetch", RequestUpdate{RequestID: 6, Params: Params{SubscriberPriority: new(uint8(1))}}, TypeFetch},
		{"REQUEST_UPDATE of a prefix", RequestUpdate{RequestID: 8, Params: Params{NamespacePrefix: &cam}}, TypeSubscribeTracks},
		{"REQUEST_UPDATE of a namespace", RequestUpdate{RequestID: 10, Params: Params{Tokens: tokens[:1]}}, TypePublishNamespace},
		{"REQUEST_OK", RequestOK{}, TypeSubscribeNamespace},
		{"REQUEST_OK to PUBLISH", RequestOK{Params: Params{
			ObjectDeliveryTimeout: new(3 * time.Second), SubgroupDeliveryTimeout: new(4 * time.Second),
			Expires: new(time.Hour), Forward: new(true), SubscriberPriority: new(uint8(127)),
			Filter: &Filter{Type: FilterNextGroupStart}, GroupOrder: GroupAscending, NewGroupRequest: new(uint64(1)),
		}}, TypePublish},
		{"REQUEST_OK to REQUEST_UPDATE", RequestOK{Params: Params{Expires: new(time.Second), LargestObject: &Location{0, 0}}}, TypeRequestUpdate},
		{"REQUEST_OK to TRACK_STATUS", RequestOK{Params: Params{LargestObject: &Location{8, 1}}, Properties: trackProperties}, TypeTrackStatus},
		{"REQUEST_ERROR for good", RequestError{Code: RequestDoesNotExist, Reason: "no such track"}, TypeSubscribe},
		{"REQUEST_ERROR at once", RequestError{Code: RequestTimeout, Retry: true}, TypeSubscribe},
		{"REQUEST_ERROR later", RequestError{Code: RequestCode(Grease(3)), Retry: true, RetryAfter: 1500 * ms}, TypeFetch},
		{"REQUEST_ERROR with a redirect", RequestError{Code: RequestRedirect, Reason: "elsewhere", Redirect: redirect}, TypeSubscribe},
		{"REQUEST_ERROR to the same track", RequestError{Code: RequestRedirect, Redirect: &Redirect{}}, TypePublishNamespace},
		{"PUBLISH", Publish{RequestID: 1, Track: video, TrackAlias: 3}, 0},
		{"PUBLISH in full", Publish{RequestID: 3, Track: oddName, TrackAlias: maxID, Params: Params{
			Tokens: tokens[1:2], Expires: new(time.Minute), LargestObject: &Location{3, 4}, Forward: new(false),
		}, Properties: trackProperties}, 0},
		{"PUBLISH_DONE", PublishDone{Status: PublishDoneTrackEnded, StreamCount: 41, Reason: "over"}, 0},
		{"PUBLISH_DONE without a count", PublishDone{Status: PublishDoneTooFarBehind, StreamCount: StreamCountUnknown}, 0},
		{"FETCH standalone", Fetch{RequestID: 12, FetchType: FetchStandalone, Track: video, Start: Location{3, 4}, End: Location{9, 0}, Params: Params{
			Tokens: tokens[3:4], FillTimeout: new(time.Duration(0)), SubscriberPriority: new(uint8(9)), GroupOrder: GroupAscending,
		}}, 0},
		{"FETCH relative", Fetch{RequestID: 14, FetchType: FetchRelativeJoining, JoiningRequestID: 2, JoiningStart: 3}, 0},
		{"FETCH absolute", Fetch{RequestID: 16, FetchType: FetchAbsoluteJoining, JoiningRequestID: 2, JoiningStart: maxID}, 0},
		{"FETCH_OK", FetchOK{End: Location{9, 0}}, 0},
		{"FETCH_OK at the end of the track", FetchOK{EndOfTrack: true, End: Location{8, 31}, Properties: trackProperties}, 0},
		{"TRACK_STATUS", TrackStatus{RequestID: 18, Track: video, Params: Params{Tokens: tokens[3:4]}}, 0},
		{"PUBLISH_NAMESPACE", PublishNamespace{RequestID: 20, Namespace: cam, Params: Params{Tokens: tokens[:2]}}, 0},
		{"SUBSCRIBE_NAMESPACE", SubscribeNamespace{RequestID: 22, Prefix: Namespace{}, Params: Params{Tokens: tokens[2:3]}}, 0},
		{"SUBSCRIBE_TRACKS", SubscribeTracks{RequestID: 24, Prefix: cam, Params: Params{Tokens: tokens[2:3], Forward: new(false)}}, 0},
		{"NAMESPACE", NamespaceMsg{Suffix: MustNamespace("cam")}, 0},
		{"NAMESPACE_DONE", NamespaceDone{}, 0},
		{"PUBLISH_BLOCKED", PublishBlocked{Suffix: MustNamespace("cam"), Name: "video"}, 0},
	}
}

// The bytes of every message, and that they parse back.
func TestMessages(t *testing.T) {
	var dump strings.Builder
	for _, s := range samples() {
		frame, err := AppendMessage(nil, s.message)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&dump, "# %s\n%x\n", s.name, frame)
		typ, body, n, err := ParseFrame(append(frame, 0xff))
		if typ != s.message.Type() || n != len(frame) || err != nil {
			t.Fatalf("%s: ParseFrame = %v, %d, %v", s.name, typ, n, err)
		}
		got, err := ParseMessage(typ, body, s.request)
		if err != nil || !reflect.DeepEqual(got, s.message) {
			t.Errorf("%s: parsed to %+v, %v; want %+v", s.name, got, err, s.message)
		}
		clear(frame) // the result must not alias it
		if !reflect.DeepEqual(got, s.message) {
			t.Errorf("%s: the message aliases its body", s.name)
		}
		if r, ok := got.(Request); ok != (typ.OpensRequest() || typ == TypeRequestUpdate) {
			t.Errorf("%s: is a Request: %t", s.name, ok)
		} else if ok && r.ID() != reflect.ValueOf(got).FieldByName("RequestID").Uint() {
			t.Errorf("%s: ID() = %d", s.name, r.ID())
		}
	}
	golden.Check(t, "messages.golden", []byte(dump.String()))
}

func TestSamplesCoverEveryType(t *testing.T) {
	seen := map[MessageType]bool{}
	for _, s := range samples() {
		seen[s.message.Type()] = true
	}
	for typ := range messageTypes {
		if !seen[typ] {
			t.Errorf("no sample of %v", typ)
		}
	}
}

// What other implementations were seen to send.
func TestCaptured(t *testing.T) {
	liveCam1 := MustNamespace("live", "cam1")
	for _, tt := range []struct {
		name, hex string
		want      Message
	}{
		{
			"SETUP of @moq/watch 0.4.6", "af000011070b6d6f712d6c6974652d6a73c40b5301",
			Setup{Implementation: "moq-lite-js", Other: []KeyValue{{Type: 0x40b5a, Uint: 1}}},
		},
		{"SETUP of @moqt/webtransport 0.5.7", "af000000", Setup{}},
		{
			"SUBSCRIBE of @moq/net 0.3.4", "03001e0202046c697665047465737407636174616c6f6704100110f50101020102",
			Subscribe{RequestID: 2, Track: catalog, Params: Params{
				Forward: new(true), SubscriberPriority: new(uint8(245)),
				Filter: &Filter{Type: FilterLargestObject}, GroupOrder: GroupDescending,
			}},
		},
		{
			// The priority is a varint, against section 10.2.7.
			"SUBSCRIBE of @moq/watch 0.4.6", "03001f0202046c6976650463616d3107636174616c6f67041001" + "10809b" + "0101020102",
			Subscribe{RequestID: 2, Track: FullTrackName{liveCam1, "catalog"}, Params: Params{
				Forward: new(true), SubscriberPriority: new(uint8(155)),
				Filter: &Filter{Type: FilterLargestObject}, GroupOrder: GroupDescending,
			}},
		},
		{
			"SUBSCRIBE_NAMESPACE of @moq/watch 0.4.6", "50000d0002046c6976650463616d3100",
			SubscribeNamespace{Prefix: liveCam1},
		},
		{"SUBSCRIBE_NAMESPACE of @moq/publish 0.2.17", "500003000000", SubscribeNamespace{}},
		{
			"PUBLISH_NAMESPACE of @moq/publish 0.2.17", "06000d0202046c6976650463616d3100",
			PublishNamespace{RequestID: 2, Namespace: liveCam1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := unhexBytes(t, tt.hex)
			typ, body, n, err := ParseFrame(b)
			if n != len(b) || err != nil {
				t.Fatalf("ParseFrame = %v, %d, %v; want %d bytes", typ, n, err, len(b))
			}
			got, err := ParseMessage(typ, body, 0)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

// Longer encodings than needed mean the same (section 1.4.1).
func TestNonMinimalFields(t *testing.T) {
	got, err := ParseSubscribe(unhexBytes(t, "8002"+"8002"+"c0000461626364"+"0161"+"800166"+"8001"+"8010"+"01"))
	want := Subscribe{
		RequestID: 2, Track: FullTrackName{MustNamespace("abcd", "a"), "f"},
		Params: Params{Forward: new(true)},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestFrameShort(t *testing.T) {
	frame, err := AppendMessage(nil, samples()[1].message)
	if err != nil {
		t.Fatal(err)
	}
	for n := range frame {
		if _, _, _, err := ParseFrame(frame[:n]); err != ErrShort {
			t.Fatalf("ParseFrame(%x) = %v, want ErrShort", frame[:n], err)
		}
	}
}

func TestMessageTooLarge(t *testing.T) {
	m := SubscribeOK{Properties: NewProperties(KeyValue{Type: 1, Bytes: make([]byte, MaxValue)})}
	b, err := AppendMessage([]byte("before"), m)
	if err != ErrTooLarge || string(b) != "before" {
		t.Errorf("AppendMessage = %d bytes, %v; want 6, ErrTooLarge", len(b), err)
	}
}

func TestReasonIsCut(t *testing.T) {
	for _, tt := range []struct {
		reason string
		want   int
	}{
		{strings.Repeat("x", 2000), 1024},
		{strings.Repeat("x", 1023) + "ü", 1023}, // not inside a character
		{strings.Repeat("\x80", 2000), 1020},    // not UTF-8 at all
	} {
		m, err := ParsePublishDone(PublishDone{Reason: tt.reason}.Append(nil))
		if err != nil || m.Reason != tt.reason[:tt.want] {
			t.Errorf("reason of %d bytes, %v; want %d", len(m.Reason), err, tt.want)
		}
	}
}

func TestDurations(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		wire uint64
	}{
		{-time.Second, 0},
		{0, 0},
		{1, 1}, // never rounded to 0, which means none
		{time.Millisecond, 1},
		{time.Millisecond + 1, 2},
		{math.MaxInt64, math.MaxInt64/1000000 + 1},
	} {
		if got := toMillis(tt.d); got != tt.wire {
			t.Errorf("toMillis(%d) = %d, want %d", tt.d, got, tt.wire)
		}
	}
	for _, v := range []uint64{math.MaxInt64/1000000 + 1, maxID} {
		if got, want := fromMillis(v), math.MaxInt64/time.Millisecond*time.Millisecond; got != want {
			t.Errorf("fromMillis(%d) = %v, want %v", v, got, want)
		}
	}
}

func TestFilterResolve(t *testing.T) {
	for _, tt := range []struct {
		filter  Filter
		largest *Location
		start   Location
		end     uint64
	}{
		{Filter{Type: FilterNextGroupStart}, nil, Location{}, maxID},
		{Filter{Type: FilterLargestObject}, nil, Location{}, maxID},
		{Filter{Type: FilterNextGroupStart}, &Location{4, 9}, Location{5, 0}, maxID},
		{Filter{Type: FilterLargestObject}, &Location{4, 9}, Location{4, 10}, maxID},
		{Filter{Type: FilterAbsoluteStart, Start: Location{2, 3}}, &Location{4, 9}, Location{2, 3}, maxID},
		{Filter{Type: FilterAbsoluteRange, Start: Location{2, 3}, EndGroup: 2}, nil, Location{2, 3}, 2},
	} {
		start, end := tt.filter.Resolve(tt.largest)
		if start != tt.start || end != tt.end {
			t.Errorf("%+v.Resolve(%v) = %v, %d; want %v, %d", tt.filter, tt.largest, start, end, tt.start, tt.end)
		}
	}
}

func TestToken(t *testing.T) {
	if got := (Token{AliasType: TokenRegister, Value: []byte("abc")}).Size(); got != 19 {
		t.Errorf("Size() = %d, want 19", got)
	}
	for _, bad := range []string{"", "04", "00", "01", "0108", "02", "03", "0007ff", "020701", "80"} {
		_, err := ParseToken(unhexBytes(t, bad))
		if e, ok := err.(*Error); !ok || e.Code != SessionKeyValueFormattingError {
			t.Errorf("ParseToken(%s) = %v, want KEY_VALUE_FORMATTING_ERROR", bad, err)
		}
	}
}

func TestOption(t *testing.T) {
	m := Setup{Other: []KeyValue{{Type: 0x9e, Uint: 3}, {Type: 0x40b5a, Uint: 1}}}
	if kv, ok := m.Option(0x40b5a); !ok || kv.Uint != 1 {
		t.Errorf("Option(0x40b5a) = %v, %t", kv, ok)
	}
	if kv, ok := m.Option(0x9d); ok {
		t.Errorf("Option(0x9d) = %v", kv)
	}
}

func hexString(b []byte) string { return hex.EncodeToString(b) }
