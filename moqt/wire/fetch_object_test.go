package wire

import (
	"errors"
	"reflect"
	"testing"
)

// fetchStream is a response: its items, and their bytes without payloads.
var fetchStreams = []struct {
	name  string
	order GroupOrder
	items []FetchObject
	hex   []string
}{
	{
		"ascending", GroupOrderUnset,
		[]FetchObject{
			{Group: 5, Object: 0, Priority: 128, Length: 3},
			{Group: 5, Object: 1, Priority: 128, Length: 300},
			{Group: 5, Object: 4, Subgroup: 1, Priority: 128, Properties: gap},
			{Group: 6, Object: 0, Subgroup: 2, Priority: 7, Length: 1},
			{Group: 9, Object: 8, Subgroup: 2, Priority: 7},
			{Group: 9, Object: 9, Datagram: true, Priority: 7},
			{Group: 9, Object: 10, Subgroup: 2, Priority: 7},
			{Group: 9, Object: 10, Subgroup: 300, Priority: 7},
		},
		[]string{
			"1c" + "05" + "00" + "80" + "03",
			"00" + "812c",
			"26" + "03" + "0610c15f902e02" + "00", // subgroup one more, object three more
			"1e" + "00" + "00" + "07" + "01",      // next group
			"0d" + "02" + "08" + "00",             // same subgroup
			"40" + "00",
			"03" + "02" + "00", // a datagram has no subgroup to refer to
			"07" + "812c" + "00" + "00",
		},
	},
	{
		"descending", GroupDescending,
		[]FetchObject{
			{Group: 9, Object: 2, Subgroup: 4, Priority: 1},
			{Group: 9, Object: 3, Subgroup: 4, Priority: 1},
			{Group: 8, Object: 4, Subgroup: 4, Priority: 1},
			{Group: 0, Object: 0, Subgroup: 5, Priority: 1},
		},
		[]string{"1f" + "09" + "04" + "02" + "01" + "00", "01" + "00", "0d" + "00" + "04" + "00", "0e" + "07" + "00" + "00"},
	},
	{
		"ranges", GroupAscending,
		[]FetchObject{
			{Range: FetchUnknown, Group: 3, Object: 9},
			{Group: 3, Object: 10, Subgroup: 1, Priority: 2, Length: 1},
			{Range: FetchNonExistent, Group: 3, Object: 12}, // ends in the group of the object
			{Range: FetchUnknown, Group: 7, Object: 0},
			{Group: 7, Object: 1, Subgroup: 1, Priority: 2, Length: 1},
			{Group: 8, Object: 1, Subgroup: 2, Priority: 2, Length: 1},
		},
		[]string{"810c" + "0309", "13" + "01" + "02" + "01", "808c" + "030c", "810c" + "0700", "01" + "01", "0e" + "00" + "01" + "01"},
	},
	{
		"largest IDs", GroupAscending,
		[]FetchObject{{Group: maxID - 1, Object: maxID, Priority: 0}, {Group: maxID, Object: maxID, Subgroup: maxID, Priority: 255}},
		[]string{"1c" + "fffffffffffffffffe" + "ffffffffffffffffff" + "00" + "00", "1f" + "00" + "ffffffffffffffffff" + "ffffffffffffffffff" + "ff" + "00"},
	},
}

func TestFetchObjects(t *testing.T) {
	for _, tt := range fetchStreams {
		w, r := NewFetchWriter(tt.order), NewFetchReader(tt.order)
		for i, o := range tt.items {
			b, err := w.Append(nil, o)
			if err != nil || hexString(b) != tt.hex[i] {
				t.Errorf("%s, item %d: Append = %x, %v; want %s", tt.name, i, b, err, tt.hex[i])
			}
			for n := range b { // the reader can be called again
				if _, _, err := r.Parse(b[:n]); err != ErrShort {
					t.Errorf("%s, item %d: Parse(%x) = %v, want ErrShort", tt.name, i, b[:n], err)
				}
			}
			got, n, err := r.Parse(append(b, 0xff))
			if !reflect.DeepEqual(got, o) || n != len(b) || err != nil {
				t.Errorf("%s, item %d: parsed to %+v, %d, %v; want %+v", tt.name, i, got, n, err, o)
			}
		}
	}
}

func TestFetchWriterOrder(t *testing.T) {
	for _, tt := range []struct {
		name        string
		order       GroupOrder
		first, next FetchObject
		ok          bool
	}{
		{"object before", GroupAscending, FetchObject{Group: 3, Object: 4}, FetchObject{Group: 3, Object: 3}, false},
		{"group before", GroupAscending, FetchObject{Group: 3, Object: 4}, FetchObject{Group: 2, Object: 9}, false},
		{"group before, descending", GroupDescending, FetchObject{Group: 3, Object: 4}, FetchObject{Group: 2, Object: 0}, true},
		{"group after, descending", GroupDescending, FetchObject{Group: 3, Object: 4}, FetchObject{Group: 4, Object: 0}, false},
		{"range before", GroupAscending, FetchObject{Group: 3, Object: 4}, FetchObject{Range: FetchUnknown, Group: 3, Object: 3}, false},
		{"object inside a range", GroupAscending, FetchObject{Range: FetchUnknown, Group: 3, Object: 4}, FetchObject{Group: 3, Object: 3}, false},
	} {
		w := NewFetchWriter(tt.order)
		b, err := w.Append(nil, tt.first)
		if err != nil {
			t.Fatal(err)
		}
		after, err := w.Append(b, tt.next)
		if (err == nil) != tt.ok || err != nil && (!errors.Is(err, ErrFetchOrder) || len(after) != len(b)) {
			t.Errorf("%s: %v, want ok %t", tt.name, err, tt.ok)
		}
	}
}

func TestFetchReaderRejects(t *testing.T) {
	first := "1c" + "05" + "05" + "80" + "00" // {5, 5}
	for _, tt := range []struct {
		name  string
		order GroupOrder
		items []string
		code  SessionCode
	}{
		{"first without group", GroupAscending, []string{"14" + "00" + "80" + "00"}, SessionProtocolViolation},
		{"first without object", GroupAscending, []string{"18" + "00" + "80" + "00"}, SessionProtocolViolation},
		{"first without priority", GroupAscending, []string{"0c" + "00" + "00" + "00"}, SessionProtocolViolation},
		{"first in the subgroup before", GroupAscending, []string{"1d" + "00" + "00" + "80" + "00"}, SessionProtocolViolation},
		{"first in the subgroup after", GroupAscending, []string{"1e" + "00" + "00" + "80" + "00"}, SessionProtocolViolation},
		{"priority after a range only", GroupAscending, []string{"810c" + "0505", "00" + "00"}, SessionProtocolViolation},
		{"subgroup after a range only", GroupAscending, []string{"810c" + "0505", "11" + "80" + "00"}, SessionProtocolViolation},
		{"subgroup of a datagram", GroupAscending, []string{"5c" + "05" + "05" + "80" + "00", "01" + "00"}, SessionProtocolViolation},
		{"flags 0x80", GroupAscending, []string{"8080"}, SessionProtocolViolation},
		{"flags 0x10d", GroupAscending, []string{"810d"}, SessionProtocolViolation},
		{"flags 0x20c of a later draft", GroupAscending, []string{"820c0000"}, SessionProtocolViolation},
		{"group overflows", GroupAscending, []string{first, "08" + "fffffffffffffffffa" + "00"}, SessionProtocolViolation},
		{"group underflows", GroupDescending, []string{first, "08" + "05" + "00"}, SessionProtocolViolation},
		{"object overflows", GroupAscending, []string{first, "04" + "fffffffffffffffffb" + "00"}, SessionProtocolViolation},
		{"next object overflows", GroupAscending, []string{"1c" + "05" + "ffffffffffffffffff" + "80" + "00", "00" + "00"}, SessionProtocolViolation},
		{"next subgroup overflows", GroupAscending, []string{"1f" + "05" + "ffffffffffffffffff" + "05" + "80" + "00", "02" + "00"}, SessionProtocolViolation},
		{"range goes back", GroupAscending, []string{first, "808c" + "0504"}, SessionProtocolViolation},
		{"ill-formed properties", GroupAscending, []string{"3c" + "05" + "05" + "80" + "0102" + "00"}, SessionKeyValueFormattingError},
	} {
		r := NewFetchReader(tt.order)
		for i, item := range tt.items {
			_, n, err := r.Parse(unhexBytes(t, item))
			if i == len(tt.items)-1 {
				wantCode(t, tt.name, err, tt.code)
			} else if n != len(item)/2 || err != nil {
				t.Errorf("%s: item %d: %d, %v", tt.name, i, n, err)
			}
		}
	}
}

// The subgroup bits of a datagram object are to be ignored.
func TestFetchDatagramBits(t *testing.T) {
	r := NewFetchReader(GroupAscending)
	got, _, err := r.Parse(unhexBytes(t, "5f"+"01"+"02"+"03"+"04"))
	if want := (FetchObject{Group: 1, Object: 2, Datagram: true, Priority: 3, Length: 4}); !reflect.DeepEqual(got, want) || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestFetchHeader(t *testing.T) {
	h := FetchHeader{RequestID: 300}
	b := h.Append(nil)
	if hexString(b) != "05812c" {
		t.Errorf("Append = %x", b)
	}
	if got, n, err := ParseFetchHeader(append(b, 0)); got != h || n != 3 || err != nil {
		t.Errorf("ParseFetchHeader = %+v, %d, %v", got, n, err)
	}
	for n := range b {
		if _, _, err := ParseFetchHeader(b[:n]); err != ErrShort {
			t.Errorf("ParseFetchHeader(%x) = %v, want ErrShort", b[:n], err)
		}
	}
	_, _, err := ParseFetchHeader([]byte{0x10, 0})
	wantCode(t, "subgroup", err, SessionProtocolViolation)
}
