package edge

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// maxDepth is how deep the objects and lists of a body may nest.
const maxDepth = 32

// A Fault says where in a body something is wrong.
type Fault struct {
	Field  string // such as settings.allowFrom[1]; empty for the whole
	Reason string
}

// CheckJSON checks what encoding/json lets pass: one value and nothing behind
// it, UTF-8, no deeper than maxDepth, no name twice in one object.
func CheckJSON(body []byte) *Fault {
	if !utf8.Valid(body) {
		return &Fault{Reason: "the body is not UTF-8"}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := checkValue(d, "", 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &Fault{Reason: "something follows the JSON value"}
	}
	return nil
}

// checkValue checks the next value of d, which stands at field.
func checkValue(d *json.Decoder, field string, depth int) *Fault {
	t, err := d.Token()
	if err != nil {
		return syntaxError(d, field, err)
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth++; depth > maxDepth {
		return &Fault{Field: field, Reason: fmt.Sprintf("objects and lists nest deeper than %d", maxDepth)}
	}
	seen := map[string]bool{}
	for i := 0; d.More(); i++ {
		inner := field + "[" + strconv.Itoa(i) + "]"
		if open == '{' {
			t, err := d.Token()
			name, ok := t.(string)
			if err != nil || !ok {
				return syntaxError(d, field, err)
			}
			if inner = join(field, name); seen[name] {
				return &Fault{Field: inner, Reason: "the name stands twice in its object"}
			}
			seen[name] = true
		}
		if err := checkValue(d, inner, depth); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil { // the closing one
		return syntaxError(d, field, err)
	}
	return nil
}

// JSON is huma's JSON with refusals that name no types of Go.
func JSON() huma.Format {
	f := huma.DefaultJSONFormat
	f.Unmarshal = func(body []byte, v any) error {
		err := json.Unmarshal(body, v)
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // its schema lets it pass
			return fmt.Errorf("%s: the %s is out of range", cmp.Or(e.Field, "the body"), e.Value)
		}
		return err
	}
	return f
}

func syntaxError(d *json.Decoder, field string, err error) *Fault {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Fault{Field: field, Reason: "the JSON ends too early"}
	}
	return &Fault{Field: field, Reason: fmt.Sprintf("no JSON at byte %d: %v", d.InputOffset(), err)}
}

// MaxField bounds the name of a field in an answer, because it is what the
// client sent.
const MaxField = 200

func join(field, name string) string {
	if len(name) > MaxField {
		name = name[:MaxField] + "…"
	}
	if field == "" {
		return name
	}
	return field + "." + name
}

// CheckNames checks that the names in a body are those of its schema to the
// letter: huma and encoding/json fold their case.
func CheckNames(r huma.Registry, s *huma.Schema, value any, field string) *Fault {
	for s != nil && s.Ref != "" {
		s = r.SchemaFromRef(s.Ref)
	}
	if s == nil {
		return nil
	}
	switch v := value.(type) {
	case map[string]any:
		closed, _ := s.AdditionalProperties.(bool)
		closed = !closed && s.AdditionalProperties != nil && len(s.Properties) > 0
		for name, inner := range v {
			p, ok := s.Properties[name]
			if !ok && closed {
				return &Fault{Field: join(field, name), Reason: "unexpected property"}
			}
			if err := CheckNames(r, p, inner, join(field, name)); err != nil {
				return err
			}
		}
	case []any:
		for i, inner := range v {
			if err := CheckNames(r, s.Items, inner, field+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
	}
	return nil
}
