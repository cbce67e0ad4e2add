package api

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// An optional is a field of a patch (RFC 7396): absent, null, or a value.
type optional[T any] struct {
	Set, Null bool
	Value     T
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *optional[T]) UnmarshalJSON(text []byte) error {
	o.Set = true
	if o.Null = bytes.Equal(text, []byte("null")); o.Null {
		return nil
	}
	return json.Unmarshal(text, &o.Value)
}

// Schema implements huma.SchemaProvider.
func (optional[T]) Schema(r huma.Registry) *huma.Schema {
	s := *r.Schema(reflect.TypeFor[T](), false, "")
	s.Nullable = true
	return &s
}

// apply puts the field into v: null is the zero value, absent changes nothing.
func (o optional[T]) apply(v *T) {
	if o.Set {
		*v = o.Value
	}
}
