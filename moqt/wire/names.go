package wire

import (
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Limits of names (section 2.4.1).
const (
	MaxNamespaceFields = 32   // fields in one namespace
	MaxFullTrackName   = 4096 // bytes of all fields and the track name
)

// A Namespace is a track namespace: 0 to 32 non-empty fields of any bytes, at
// most 4096 bytes in all. The zero value has no fields. Namespaces are
// comparable with == and serve as map keys.
type Namespace struct {
	// enc holds each field as its shortest length varint and its bytes. A field
	// therefore never starts inside another, so that one namespace is a prefix
	// of another exactly when its enc is.
	enc string
}

// NewNamespace returns the namespace with these fields. It is an error if there
// are more than 32, if one is empty, or if they exceed 4096 bytes.
func NewNamespace(fields ...string) (Namespace, error) {
	if len(fields) > MaxNamespaceFields {
		return Namespace{}, fmt.Errorf("moqt/wire: namespace of %d fields, at most %d", len(fields), MaxNamespaceFields)
	}
	var b []byte
	total := 0
	for i, f := range fields {
		if f == "" {
			return Namespace{}, fmt.Errorf("moqt/wire: namespace field %d is empty", i)
		}
		if total += len(f); total > MaxFullTrackName {
			return Namespace{}, fmt.Errorf("moqt/wire: namespace exceeds %d bytes", MaxFullTrackName)
		}
		b = AppendString(b, f)
	}
	return Namespace{enc: string(b)}, nil
}

// MustNamespace is NewNamespace for constants and tests; it panics on an error.
func MustNamespace(fields ...string) Namespace {
	n, err := NewNamespace(fields...)
	if err != nil {
		panic(err)
	}
	return n
}

// SplitNamespace returns the namespace whose fields are path's elements:
// "stream/local/cam" has three. The empty path has none; a leading, trailing
// or doubled slash is an error.
func SplitNamespace(path string) (Namespace, error) {
	if path == "" {
		return Namespace{}, nil
	}
	if strings.Count(path, "/") >= MaxNamespaceFields {
		return Namespace{}, fmt.Errorf("moqt/wire: namespace path of more than %d elements", MaxNamespaceFields)
	}
	return NewNamespace(strings.Split(path, "/")...)
}

// All iterates over the fields in order.
func (n Namespace) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := n.enc; rest != ""; {
			var f string
			f, rest = cutField(rest)
			if !yield(f) {
				return
			}
		}
	}
}

// cutField splits off the first field of enc, which must not be empty.
func cutField(enc string) (field, rest string) {
	// No field is longer than 4096 bytes, so its length takes one or two bytes.
	size, at := int(enc[0]), 1
	if enc[0] >= 0x80 {
		size, at = int(enc[0]&0x3f)<<8|int(enc[1]), 2
	}
	return enc[at : at+size], enc[at+size:]
}

// Fields returns the fields in order, nil for the empty namespace.
func (n Namespace) Fields() []string {
	var fields []string
	for f := range n.All() {
		fields = append(fields, f)
	}
	return fields
}

// Len returns the number of fields.
func (n Namespace) Len() int {
	count := 0
	for range n.All() {
		count++
	}
	return count
}

// IsEmpty reports whether n has no fields.
func (n Namespace) IsEmpty() bool { return n.enc == "" }

// size returns the bytes of all fields, as MaxFullTrackName counts them.
func (n Namespace) size() int {
	total := 0
	for f := range n.All() {
		total += len(f)
	}
	return total
}

// Reserved reports whether n's first field starts with a period (section
// 3.2.1). Of those, "." itself never exists and ".session" belongs to the
// session (section 3.2.2).
func (n Namespace) Reserved() bool {
	first := n.First()
	return first != "" && first[0] == '.'
}

// First returns the first field, "" for the empty namespace.
func (n Namespace) First() string {
	if n.enc == "" {
		return ""
	}
	f, _ := cutField(n.enc)
	return f
}

// HasPrefix reports whether n starts with all of p's fields. Every namespace
// has the empty prefix, and is a prefix of itself.
func (n Namespace) HasPrefix(p Namespace) bool { return strings.HasPrefix(n.enc, p.enc) }

// TrimPrefix returns the fields of n after those of p, and whether n has that
// prefix at all.
func (n Namespace) TrimPrefix(p Namespace) (suffix Namespace, ok bool) {
	rest, ok := strings.CutPrefix(n.enc, p.enc)
	if !ok {
		return Namespace{}, false
	}
	return Namespace{enc: rest}, true
}

// Join returns n followed by the fields of suffix. It is an error if the
// result would break a limit of NewNamespace.
func (n Namespace) Join(suffix Namespace) (Namespace, error) {
	if n.Len()+suffix.Len() > MaxNamespaceFields {
		return Namespace{}, fmt.Errorf("moqt/wire: namespace of more than %d fields", MaxNamespaceFields)
	}
	if n.size()+suffix.size() > MaxFullTrackName {
		return Namespace{}, fmt.Errorf("moqt/wire: namespace exceeds %d bytes", MaxFullTrackName)
	}
	return Namespace{enc: n.enc + suffix.enc}, nil
}

// Append appends n to b: the number of fields, then each.
func (n Namespace) Append(b []byte) []byte {
	return append(AppendVarint(b, uint64(n.Len())), n.enc...)
}

// Path returns the fields joined by slashes. It names the namespace for people
// and URLs; a field that holds a slash itself makes it ambiguous, unlike String.
func (n Namespace) Path() string { return strings.Join(n.Fields(), "/") }

// String returns the textual form of section 1.5: "example.2enet-team2".
func (n Namespace) String() string {
	var b []byte
	for f := range n.All() {
		if len(b) > 0 {
			b = append(b, '-')
		}
		b = appendText(b, f)
	}
	return string(b)
}

// MarshalText returns String, for logs and JSON.
func (n Namespace) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText parses the textual form. It accepts what String returns and
// nothing else (section 1.5.1).
func (n *Namespace) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*n = Namespace{}
		return nil
	}
	var fields []string
	for part := range strings.SplitSeq(string(text), "-") {
		f, err := parseText(part)
		if err != nil {
			return err
		}
		if len(fields) == MaxNamespaceFields {
			return fmt.Errorf("moqt/wire: namespace of more than %d fields", MaxNamespaceFields)
		}
		fields = append(fields, f)
	}
	parsed, err := NewNamespace(fields...)
	if err != nil {
		return err
	}
	*n = parsed
	return nil
}

// A FullTrackName names a track within a scope (section 2.4.1). It is
// comparable with == and serves as a map key.
type FullTrackName struct {
	Namespace Namespace
	Name      string // any bytes, also none
}

// Valid reports whether t fits the limit of 4096 bytes. What a parser returns
// is valid.
func (t FullTrackName) Valid() bool { return t.Namespace.size()+len(t.Name) <= MaxFullTrackName }

// String returns the textual form of section 1.5: "example.2enet-team2--report".
func (t FullTrackName) String() string {
	return string(appendText([]byte(t.Namespace.String()+"--"), t.Name))
}

// MarshalText returns String, for logs and JSON.
func (t FullTrackName) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText parses the textual form. It accepts what String returns and
// nothing else (section 1.5.1).
func (t *FullTrackName) UnmarshalText(text []byte) error {
	// A field is never empty and escapes its hyphens, so the first "--" is the
	// one before the name.
	before, after, ok := strings.Cut(string(text), "--")
	if !ok {
		return errors.New(`moqt/wire: track name without "--"`)
	}
	var parsed FullTrackName
	if err := parsed.Namespace.UnmarshalText([]byte(before)); err != nil {
		return err
	}
	var err error
	if parsed.Name, err = parseText(after); err != nil {
		return err
	}
	if !parsed.Valid() {
		return fmt.Errorf("moqt/wire: full track name exceeds %d bytes", MaxFullTrackName)
	}
	*t = parsed
	return nil
}

// Append appends t to b: the namespace, then the name with its length.
func (t FullTrackName) Append(b []byte) []byte {
	return AppendString(t.Namespace.Append(b), t.Name)
}

// plain reports whether c stands for itself in the textual form.
func plain(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '.', hex[c>>4], hex[c&15])
		}
	}
	return b
}

func parseText(s string) (string, error) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case plain(s[i]):
			b = append(b, s[i])
		case s[i] != '.' || i+2 >= len(s):
			return "", fmt.Errorf("moqt/wire: bad character or escape at byte %d of name %q", i, s)
		default:
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 || plain(byte(hi<<4|lo)) {
				return "", fmt.Errorf("moqt/wire: bad escape at byte %d of name %q", i, s)
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		}
	}
	return string(b), nil
}

// unhex returns the value of a lower-case hex digit, -1 for anything else.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
