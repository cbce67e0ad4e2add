package wire

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func wantCode(t *testing.T, what string, err error, code SessionCode) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != code {
		t.Errorf("%s: got %v, want an *Error with %v", what, err, code)
	}
}

func TestStreamType(t *testing.T) {
	for _, tt := range []struct {
		hex  string
		want StreamType
		n    int
	}{
		{"af00", StreamControl, 2},
		{"05", StreamFetch, 1},
		{"8005", StreamFetch, 2},
		{"10", StreamSubgroup, 1},
		{"7d", StreamSubgroup, 1},
		{"3f", StreamSubgroup, 1}, // the header parser refuses its ID mode
		{"f0132b3e28", StreamPadding, 5},
	} {
		b := unhexBytes(t, tt.hex)
		if got, n, err := ParseStreamType(append(b, 0)); got != tt.want || n != tt.n || err != nil {
			t.Errorf("ParseStreamType(%s) = %v, %d, %v; want %v, %d", tt.hex, got, n, err, tt.want, tt.n)
		}
		for n := range b {
			if _, _, err := ParseStreamType(b[:n]); err != ErrShort {
				t.Errorf("ParseStreamType(%x) = %v, want ErrShort", b[:n], err)
			}
		}
	}
	for _, bad := range []string{"00", "04", "0f", "20", "4f", "8090", "f0132b3e29"} {
		got, _, err := ParseStreamType(unhexBytes(t, bad))
		wantCode(t, bad, err, SessionProtocolViolation)
		if got != StreamUnknown {
			t.Errorf("ParseStreamType(%s) = %v", bad, got)
		}
	}
}

func TestPadding(t *testing.T) {
	if got := hexString(AppendPaddingStream(nil, 3)); got != "f0132b3e28000000" {
		t.Errorf("AppendPaddingStream = %s", got)
	}
	d := AppendPaddingDatagram(nil, 2)
	if got, err := ParseDatagramType(d); got != DatagramPadding || err != nil || hexString(d) != "f0132b3e290000" {
		t.Errorf("ParseDatagramType(%x) = %v, %v", d, got, err)
	}
}

var subgroupHeaders = []struct {
	name string
	h    SubgroupHeader
	hex  string
}{
	// What @moq/watch expects of a group, and the two of section 11.6.
	{"group", SubgroupHeader{Alias: 2, Group: 300, Priority: 128, EndOfGroup: true, FirstObject: true}, "5802812c80"},
	{"example 2", SubgroupHeader{Alias: 2, Subgroup: 1, Properties: true, DefaultPriority: true}, "35020001"},
	{"bare", SubgroupHeader{DefaultPriority: true}, "300000"},
	{"first ID", SubgroupHeader{Alias: 1, Group: 2, FirstIDMode: true, Priority: 3}, "12010203"},
	{"all", SubgroupHeader{
		Alias: maxID, Group: maxID, Subgroup: maxID, Priority: 255, Properties: true, EndOfGroup: true, FirstObject: true,
	}, "5d" + strings.Repeat("ff", 28)},
}

func TestSubgroupHeader(t *testing.T) {
	for _, tt := range subgroupHeaders {
		b := tt.h.Append(nil)
		if hexString(b) != tt.hex {
			t.Errorf("%s: Append = %x, want %s", tt.name, b, tt.hex)
		}
		if got, n, err := ParseSubgroupHeader(append(b, 0xff)); got != tt.h || n != len(b) || err != nil {
			t.Errorf("%s: parsed to %+v, %d, %v; want %+v", tt.name, got, n, err, tt.h)
		}
		for n := range b {
			if _, _, err := ParseSubgroupHeader(b[:n]); err != ErrShort {
				t.Errorf("%s: ParseSubgroupHeader(%x) = %v, want ErrShort", tt.name, b[:n], err)
			}
		}
		if len(b) > MaxSubgroupHeader {
			t.Errorf("%s: %d bytes, MaxSubgroupHeader is %d", tt.name, len(b), MaxSubgroupHeader)
		}
	}
	// The example of section 11.6: subgroup ID 0 written out.
	got, n, err := ParseSubgroupHeader(unhexBytes(t, "1402000000"))
	if want := (SubgroupHeader{Alias: 2}); got != want || n != 5 || err != nil {
		t.Errorf("got %+v, %d, %v; want %+v", got, n, err, want)
	}
}

// Every type value: the draft lists which are valid.
func TestSubgroupTypes(t *testing.T) {
	valid := func(v uint64) bool {
		low := v &^ 0x60
		return v < 0x80 && (0x10 <= low && low <= 0x15 || 0x18 <= low && low <= 0x1d)
	}
	for v := range uint64(0x200) {
		b := append(AppendVarint(nil, v), make([]byte, 4)...)
		_, _, err := ParseSubgroupHeader(b)
		if (err == nil) != valid(v) {
			t.Errorf("type %#x: %v, want valid %t", v, err, valid(v))
		}
		if err != nil {
			wantCode(t, "type", err, SessionProtocolViolation)
		}
	}
}

var gap = NewProperties(KeyValue{Type: PropPriorObjectIDGap, Uint: 2}, KeyValue{Type: PropLOCTimestamp, Uint: 90000})

var objectHeaders = []struct {
	name           string
	h              ObjectHeader
	withProperties bool
	hex            string
}{
	{"plain", ObjectHeader{Length: 4}, false, "0004"},
	{"empty", ObjectHeader{}, false, "000000"},
	{"no properties", ObjectHeader{IDDelta: 3, Length: 1}, true, "030001"},
	{"properties", ObjectHeader{Properties: gap, Length: 300}, true, "000610c15f902e02812c"},
	{"empty with properties", ObjectHeader{Properties: gap}, true, "000610c15f902e020000"},
	{"end of group", ObjectHeader{IDDelta: 9, Status: ObjectEndOfGroup}, false, "090003"},
	{"end of track", ObjectHeader{Status: ObjectEndOfTrack}, true, "00000004"},
	{"large", ObjectHeader{IDDelta: maxID, Length: maxID}, false, strings.Repeat("ff", 18)},
}

func TestObjectHeader(t *testing.T) {
	for _, tt := range objectHeaders {
		b := tt.h.Append(nil, tt.withProperties)
		if hexString(b) != tt.hex {
			t.Errorf("%s: Append = %x, want %s", tt.name, b, tt.hex)
		}
		got, n, err := ParseObjectHeader(append(b, 0xff), tt.withProperties)
		if !reflect.DeepEqual(got, tt.h) || n != len(b) || err != nil {
			t.Errorf("%s: parsed to %+v, %d, %v; want %+v", tt.name, got, n, err, tt.h)
		}
		for n := range b {
			if _, _, err := ParseObjectHeader(b[:n], tt.withProperties); err != ErrShort {
				t.Errorf("%s: ParseObjectHeader(%x) = %v, want ErrShort", tt.name, b[:n], err)
			}
		}
	}
}

func TestObjectHeaderRejects(t *testing.T) {
	for _, tt := range []struct {
		name, hex      string
		withProperties bool
		code           SessionCode
	}{
		{"status 1", "000001", false, SessionProtocolViolation},
		{"status 5", "000005", false, SessionProtocolViolation},
		{"properties with a status", "00" + "020205" + "00" + "03", true, SessionProtocolViolation},
		{"properties cut off", "00" + "0102" + "01", true, SessionKeyValueFormattingError},
		{"property value beyond the block", "00" + "02" + "0105" + "6161616161" + "01", true, SessionKeyValueFormattingError},
		{"65537 bytes of properties", "00" + "c10001", true, SessionInternalError},
		{"2^64-1 bytes of properties", "00" + "ffffffffffffffffff", true, SessionInternalError},
	} {
		_, _, err := ParseObjectHeader(unhexBytes(t, tt.hex), tt.withProperties)
		wantCode(t, tt.name, err, tt.code)
	}
	// The most properties that are allowed still fit MaxObjectHeader.
	p := NewProperties(KeyValue{Type: 1, Bytes: make([]byte, MaxObjectProperties-4)})
	h := ObjectHeader{IDDelta: maxID, Properties: p, Length: maxID}
	b := h.Append(nil, true)
	if got, n, err := ParseObjectHeader(b, true); len(p) != MaxObjectProperties || !reflect.DeepEqual(got, h) || n > MaxObjectHeader || err != nil {
		t.Errorf("%d bytes of properties: %d, %v", len(p), n, err)
	}
}

func TestObjectIDs(t *testing.T) {
	var in, out ObjectIDs
	for _, tt := range []struct{ id, delta uint64 }{{5, 5}, {6, 0}, {9, 2}, {maxID, maxID - 10}} {
		delta, ok := out.Delta(tt.id)
		if delta != tt.delta || !ok {
			t.Errorf("Delta(%d) = %d, %t; want %d", tt.id, delta, ok, tt.delta)
		}
		if id, err := in.Next(delta); id != tt.id || err != nil {
			t.Errorf("Next(%d) = %d, %v; want %d", delta, id, err, tt.id)
		}
	}
	_, err := in.Next(0)
	wantCode(t, "after 2^64-1", err, SessionProtocolViolation)
	for _, id := range []uint64{maxID, 0} {
		if _, ok := out.Delta(id); ok {
			t.Errorf("Delta(%d) after 2^64-1 is fine", id)
		}
	}
	in = ObjectIDs{}
	if id, err := in.Next(maxID - 1); id != maxID-1 || err != nil {
		t.Errorf("Next(2^64-2) = %d, %v", id, err)
	}
	_, err = in.Next(1)
	wantCode(t, "overflow by one", err, SessionProtocolViolation)
}

var datagrams = []struct {
	name string
	d    Datagram
	hex  string
}{
	{"first object", Datagram{Alias: 1, Group: 2, Priority: 3, Payload: []byte("ab")}, "040102036162"},
	{"no payload", Datagram{Alias: 1, Group: 2, Object: 7, DefaultPriority: true}, "08010207"},
	{"last object", Datagram{Object: 7, EndOfGroup: true, Properties: gap, Payload: []byte("x")}, "03000007000610c15f902e0278"},
	{"end of group", Datagram{Alias: maxID, Object: 7, DefaultPriority: true, Status: ObjectEndOfGroup}, "28ffffffffffffffffff000703"},
	{"end of track", Datagram{Priority: 1, Status: ObjectEndOfTrack}, "2400000104"},
}

func TestDatagram(t *testing.T) {
	for _, tt := range datagrams {
		b := tt.d.Append(nil)
		if hexString(b) != tt.hex {
			t.Errorf("%s: Append = %x, want %s", tt.name, b, tt.hex)
		}
		if typ, err := ParseDatagramType(b); typ != DatagramObject || err != nil {
			t.Errorf("%s: ParseDatagramType = %v, %v", tt.name, typ, err)
		}
		if got, err := ParseDatagram(b); !reflect.DeepEqual(got, tt.d) || err != nil {
			t.Errorf("%s: parsed to %+v, %v; want %+v", tt.name, got, err, tt.d)
		}
		for n := range len(b) - len(tt.d.Payload) {
			_, err := ParseDatagram(b[:n])
			wantCode(t, tt.name, err, SessionProtocolViolation)
		}
	}
	// A status of normal, written out, is an object without payload.
	got, err := ParseDatagram(unhexBytes(t, "2d0001"+"020205"+"00"))
	if want := (Datagram{Group: 1, DefaultPriority: true, Properties: Properties{2, 5}}); !reflect.DeepEqual(got, want) || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	// What a status cannot have is left out, so that the peer accepts it.
	d := Datagram{Status: ObjectEndOfGroup, EndOfGroup: true, Properties: gap, Payload: []byte("x")}
	if got, err := ParseDatagram(d.Append(nil)); err != nil || !reflect.DeepEqual(got, Datagram{Status: ObjectEndOfGroup}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDatagramRejects(t *testing.T) {
	for v := range uint64(0x100) {
		b := append(AppendVarint(nil, v), unhexBytes(t, "0101010102020500")...)
		_, err := ParseDatagramType(b)
		if want := v < 0x10 || 0x20 <= v && v < 0x30; (err == nil) != want {
			t.Errorf("type %#x: %v, want known %t", v, err, want)
		}
		if _, err := ParseDatagram(b); v >= 0x30 || v&0x10 != 0 || v&0x22 == 0x22 {
			wantCode(t, "type", err, SessionProtocolViolation)
		}
	}
	for _, tt := range []struct {
		name, hex string
		code      SessionCode
	}{
		{"nothing", "", SessionProtocolViolation},
		{"empty properties", "0d0000" + "00", SessionProtocolViolation},
		{"properties cut off", "0d0000" + "050205", SessionProtocolViolation},
		{"ill-formed properties", "0d0000" + "0102", SessionKeyValueFormattingError},
		{"status 2", "2c0000" + "02", SessionProtocolViolation},
		{"properties with a status", "2d0000" + "020205" + "03", SessionProtocolViolation},
		{"payload after a status", "2c0000" + "0361", SessionProtocolViolation},
	} {
		_, err := ParseDatagram(unhexBytes(t, tt.hex))
		wantCode(t, tt.name, err, tt.code)
	}
}

func TestPropertiesLookUp(t *testing.T) {
	immutable := NewProperties(KeyValue{Type: 2, Uint: 20}, KeyValue{Type: 5, Bytes: []byte("five")})
	p := NewProperties(
		KeyValue{Type: PropImmutable, Bytes: immutable},
		KeyValue{Type: 4, Uint: 40}, KeyValue{Type: 2, Uint: 21}, // sorted, and before the immutable one
		KeyValue{Type: 0x79, Bytes: nil},
	)
	if got := hexString(p); got != "0215"+"0228"+"0708"+"0214"+"0304"+"66697665"+"6e00" {
		t.Errorf("NewProperties = %s", got)
	}
	if v, ok := p.Uint(2); v != 21 || !ok {
		t.Errorf("Uint(2) = %d, %t; want 21", v, ok)
	}
	if v, ok := p.Bytes(5); string(v) != "five" || !ok {
		t.Errorf("Bytes(5) = %q, %t; want five", v, ok)
	}
	if v, ok := p.Bytes(0x79); len(v) != 0 || !ok {
		t.Errorf("Bytes(0x79) = %q, %t", v, ok)
	}
	if v, ok := p.Uint(6); v != 0 || ok {
		t.Errorf("Uint(6) = %d, %t", v, ok)
	}
	if _, ok := p.Uint(5); ok {
		t.Error("Uint of an odd type")
	}
	if _, ok := p.Bytes(4); ok {
		t.Error("Bytes of an even type")
	}
	var types []uint64
	for kv := range p.All() {
		types = append(types, kv.Type)
	}
	if want := []uint64{2, 4, PropImmutable, 0x79}; !reflect.DeepEqual(types, want) {
		t.Errorf("All() has %v, want %v", types, want)
	}
	if p := NewProperties(); p != nil {
		t.Errorf("NewProperties() = %x, want nil", p)
	}
}

func TestAppendKeyValuesKeepsItsInput(t *testing.T) {
	kvs := []KeyValue{{Type: 4, Uint: 1}, {Type: 2, Uint: 2}}
	AppendKeyValues(nil, kvs...)
	if kvs[0].Type != 4 {
		t.Error("AppendKeyValues sorted the caller's slice")
	}
}

func TestTrackProperties(t *testing.T) {
	if got, want := Properties(nil).Track(), (TrackProperties{DefaultPriority: 128, GroupOrder: GroupAscending}); got != want {
		t.Errorf("of none: %+v, want %+v", got, want)
	}
	got := trackProperties.Track()
	want := TrackProperties{
		ObjectDeliveryTimeout: 1500e6, MaxCacheDuration: 30e9, HasMaxCacheDuration: true,
		DefaultPriority: 64, GroupOrder: GroupDescending, DynamicGroups: true,
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestMandatory(t *testing.T) {
	for _, tt := range []struct {
		p    Properties
		want uint64
	}{
		{nil, 0},
		{trackProperties, 0},
		{NewProperties(KeyValue{Type: 0x3fff}), 0},
		{NewProperties(KeyValue{Type: 0x4000}), 0x4000},
		{NewProperties(KeyValue{Type: 0x7fff}), 0x7fff},
		{NewProperties(KeyValue{Type: 0x8000}), 0},
		{NewProperties(KeyValue{Type: PropImmutable, Bytes: NewProperties(KeyValue{Type: 0x4abc})}), 0x4abc},
	} {
		if got, ok := tt.p.Mandatory(); got != tt.want || ok != (tt.want != 0) {
			t.Errorf("Mandatory() of %x = %#x, %t; want %#x", tt.p, got, ok, tt.want)
		}
	}
}

func TestCheckObject(t *testing.T) {
	uint := func(typ, v uint64) KeyValue { return KeyValue{Type: typ, Uint: v} }
	nest := func(kvs ...KeyValue) KeyValue { return KeyValue{Type: PropImmutable, Bytes: NewProperties(kvs...)} }
	at := Location{Group: 7, Object: 3}
	for _, tt := range []struct {
		name string
		p    Properties
		ok   bool
	}{
		{"none", nil, true},
		{"gaps down to 0", NewProperties(uint(PropPriorGroupIDGap, 7), uint(PropPriorObjectIDGap, 3)), true},
		{"group gap below 0", NewProperties(uint(PropPriorGroupIDGap, 8)), false},
		{"object gap below 0", NewProperties(uint(PropPriorObjectIDGap, 4)), false},
		{"two group gaps", NewProperties(uint(PropPriorGroupIDGap, 1), uint(PropPriorGroupIDGap, 1)), false},
		{"an object gap, and an immutable one", NewProperties(uint(PropPriorObjectIDGap, 1), nest(uint(PropPriorObjectIDGap, 1))), false},
		{"mandatory track property", NewProperties(uint(0x4000, 1)), false},
		{"immutable mandatory track property", NewProperties(nest(KeyValue{Type: 0x4001})), false},
		{"immutable", NewProperties(nest(uint(2, 1))), true},
		{"two immutables", NewProperties(nest(), nest()), false},
		{"nested immutable", NewProperties(nest(nest())), false},
		{"ill-formed immutable", NewProperties(KeyValue{Type: PropImmutable, Bytes: []byte{2}}), false},
		{"unknown twice", NewProperties(uint(0x9e, 1), uint(0x9e, 2)), true},
	} {
		err := tt.p.CheckObject(at)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrMalformedTrack) {
			t.Errorf("%s: %v, want ok %t or ErrMalformedTrack", tt.name, err, tt.ok)
		}
	}
	wantCode(t, "ill-formed", Properties{2}.CheckObject(at), SessionKeyValueFormattingError)
	wantCode(t, "ill-formed", Properties{2}.Validate(), SessionKeyValueFormattingError)
	if err := bytesOf(70000).Validate(); err == nil {
		t.Error("a value of 70000 bytes is valid")
	}
}

func bytesOf(n int) Properties {
	return NewProperties(KeyValue{Type: 1, Bytes: bytes.Repeat([]byte{1}, n)})
}

// A relay passes on what it got, whatever the encoding.
func TestPropertiesStayAsTheyCame(t *testing.T) {
	body := unhexBytes(t, "0100"+"8002"+"8005"+"8001"+"800161")
	m, err := ParseSubscribeOK(body)
	if err != nil || !bytes.Equal(m.Append(nil), body) {
		t.Errorf("%x -> %x, %v", body, m.Append(nil), err)
	}
	if v, ok := m.Properties.Uint(2); v != 5 || !ok {
		t.Errorf("Uint(2) = %d, %t", v, ok)
	}
}
