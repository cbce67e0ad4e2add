package rtmp

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/bluenviron/gortmplib/pkg/amf0"
)

func TestAMF(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		want      amf0.Data
	}{
		{"scalars", "003ff0000000000000 0101 020003616263 05 06", amf0.Data{1.0, true, "abc", nil, amf0.Undefined{}}},
		{"object", "03 000161 020000 000009", amf0.Data{amf0.Object{{Key: "a", Value: ""}}}},
		{"array of names", "08 ffffffff 000161 0100 000009", amf0.Data{amf0.ECMAArray{{Key: "a", Value: false}}}},
		{"array", "0a 00000002 05 0101", amf0.Data{amf0.StrictArray{nil, true}}},
		{"date and long string", "0b 3ff0000000000000 0000 0c 00000001 61", amf0.Data{1.0, "a"}},
		{"an object with a class", "10 000141 000161 05 000009", amf0.Data{amf0.Object{{Key: "a"}}}},
	} {
		if got, err := parseAMF(unhex(t, tt.hex)); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %#v, %v; want %#v", tt.name, got, err, tt.want)
		}
	}
	for name, b := range map[string][]byte{
		"depth":           bytes.Repeat([]byte{3, 0, 1, 'a'}, 1000),
		"depth of arrays": bytes.Repeat([]byte{10, 0, 0, 0, 1}, 1000),
		"many values":     bytes.Repeat([]byte{5}, maxAMFValues+1),
		"a long array":    {10, 0xff, 0xff, 0xff, 0xff, 5, 5},
		"a reference":     {7, 0, 0},
		"AMF3":            {0x11, 1},
		"a short string":  {2, 0, 9, 'a'},
		"no object end":   {3, 0, 0},
		"a short number":  {0, 1},
	} {
		if got, err := parseAMF(b); err == nil {
			t.Errorf("%s: %v, want an error", name, got)
		}
	}
}

func TestAMFJSON(t *testing.T) {
	values := []any{"a", 1.5, math.NaN(), nil, amf0.ECMAArray{{Key: "b", Value: amf0.StrictArray{true, amf0.Undefined{}}}}}
	if got, want := string(amfJSON(values)), `["a",1.5,null,null,{"b":[true,null]}]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What parses is written by gortmplib to something that parses to the same.
func FuzzAMF(f *testing.F) {
	f.Add([]byte("\x02\x00\x03abc\x08\x00\x00\x00\x01\x00\x01a\x01\x01\x00\x00\x09"))
	f.Add([]byte("\x0a\x00\x00\x00\x02\x05\x06\x10\x00\x01A\x00\x01a\x00\x3f\xf0\x00\x00\x00\x00\x00\x00\x00\x00\x09"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseAMF(b)
		if err != nil {
			return
		}
		if !strings.HasPrefix(string(amfJSON(got)), "[") {
			t.Fatalf("no JSON of %v", got)
		}
		if long(got) {
			return // gortmplib writes no strings of more than 65 535 bytes, nor empty names
		}
		wire, err := got.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseAMF(wire)
		wire2, err2 := again.Marshal()
		if err != nil || err2 != nil || !bytes.Equal(wire, wire2) {
			t.Fatalf("%x -> %v -> %x -> %v, %v", b, got, wire, again, err)
		}
	})
}

func long(v any) bool {
	switch v := v.(type) {
	case amf0.Data:
		return long(amf0.StrictArray(v))
	case string:
		return len(v) > math.MaxUint16
	case amf0.StrictArray:
		for _, e := range v {
			if long(e) {
				return true
			}
		}
	case amf0.Object, amf0.ECMAArray:
		for _, e := range object(v) {
			if e.Key == "" || long(e.Value) {
				return true
			}
		}
	}
	return false
}
