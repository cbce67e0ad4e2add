package rtmp

import (
	"encoding/binary"
	"encoding/json"
	"math"

	"github.com/bluenviron/gortmplib/pkg/amf0"
)

// Bounds on AMF0, of which each level costs a sender a few bytes.
const (
	maxAMFDepth  = 16
	maxAMFValues = 1024
)

// AMF0 markers, AMF 0 specification section 2.1.
const (
	amfNumber      = 0x00
	amfBoolean     = 0x01
	amfString      = 0x02
	amfObject      = 0x03
	amfNull        = 0x05
	amfUndefined   = 0x06
	amfECMAArray   = 0x08
	amfObjectEnd   = 0x09
	amfStrictArray = 0x0a
	amfDate        = 0x0b
	amfLongString  = 0x0c
	amfUnsupported = 0x0d
	amfXML         = 0x0f
	amfTypedObject = 0x10
)

// parseAMF reads the values of an AMF0 body. References, which may make loops,
// and AMF3 are refused.
func parseAMF(b []byte) (amf0.Data, error) {
	r := amfReader{b: b}
	var out amf0.Data
	for len(r.b) > 0 {
		out = append(out, r.value(0))
		if r.err != nil {
			return nil, r.err
		}
	}
	return out, nil
}

// An amfReader keeps the first error; later reads give nothing.
type amfReader struct {
	b      []byte
	values int
	err    error
}

func (r *amfReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = protocolError("AMF0: "+format, args...)
	}
	r.b = nil
}

func (r *amfReader) take(n int) []byte {
	if n > len(r.b) {
		r.fail("ends inside a value")
		return make([]byte, min(n, 8)) // of the fixed sizes, which callers read from
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *amfReader) value(depth int) any {
	if r.values++; r.values > maxAMFValues || depth > maxAMFDepth {
		r.fail("more than %d values or %d levels", maxAMFValues, maxAMFDepth)
		return nil
	}
	switch marker := r.take(1)[0]; marker {
	case amfNumber:
		return r.number()
	case amfBoolean:
		return r.take(1)[0] != 0
	case amfString:
		return r.text(int(binary.BigEndian.Uint16(r.take(2))))
	case amfLongString, amfXML:
		return r.text(int(binary.BigEndian.Uint32(r.take(4))))
	case amfObject:
		return amf0.Object(r.properties(depth))
	case amfTypedObject:
		r.text(int(binary.BigEndian.Uint16(r.take(2))))
		return amf0.Object(r.properties(depth))
	case amfECMAArray:
		r.take(4) // its count is a hint
		return amf0.ECMAArray(r.properties(depth))
	case amfStrictArray:
		var list amf0.StrictArray
		for n := binary.BigEndian.Uint32(r.take(4)); n > 0 && r.err == nil; n-- {
			list = append(list, r.value(depth+1))
		}
		return list
	case amfDate:
		v := r.number()
		r.take(2) // time zone, to be 0
		return v
	case amfNull:
		return nil
	case amfUndefined, amfUnsupported:
		return amf0.Undefined{}
	default:
		r.fail("marker 0x%02x is not supported", marker)
		return nil
	}
}

func (r *amfReader) number() float64 { return math.Float64frombits(binary.BigEndian.Uint64(r.take(8))) }

func (r *amfReader) text(n int) string {
	if n > len(r.b) {
		r.fail("a string of %d bytes, %d are left", n, len(r.b))
		return ""
	}
	return string(r.take(n))
}

func (r *amfReader) properties(depth int) []amf0.ObjectEntry {
	var list []amf0.ObjectEntry
	for r.err == nil {
		key := r.text(int(binary.BigEndian.Uint16(r.take(2))))
		if key == "" && r.err == nil && len(r.b) > 0 && r.b[0] == amfObjectEnd {
			r.take(1)
			return list
		}
		list = append(list, amf0.ObjectEntry{Key: key, Value: r.value(depth + 1)})
	}
	return nil
}

// object returns v as properties, whether it is an object or an array of names.
func object(v any) amf0.Object {
	switch o := v.(type) {
	case amf0.Object:
		return o
	case amf0.ECMAArray:
		return amf0.Object(o)
	}
	return nil
}

// text returns a property that is a string.
func text(o amf0.Object, key string) string {
	s, _ := o.GetString(key)
	return s
}

// number returns a property that is a number, 0 for none.
func number(o amf0.Object, key string) float64 {
	v, _ := o.Get(key)
	f, _ := v.(float64)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// amfJSON returns values as a JSON array. Numbers that JSON has none for are
// null.
func amfJSON(values []any) []byte {
	b, err := json.Marshal(plain(values))
	if err != nil {
		return []byte("[]") // nothing in what plain returns makes it fail
	}
	return b
}

// plain turns AMF0 into what encoding/json knows.
func plain(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	case amf0.StrictArray:
		return plain([]any(v))
	case amf0.Object, amf0.ECMAArray:
		m := make(map[string]any)
		for _, e := range object(v) {
			m[e.Key] = plain(e.Value)
		}
		return m
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
		return v
	case bool, string:
		return v
	}
	return nil
}
