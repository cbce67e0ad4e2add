package wire

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

const (
	maxReason = 1024 // bytes of a reason phrase (section 1.4.4)

	// maxMillis is the longest duration that time.Duration holds, about 292
	// years. A longer one on the wire means the same to every receiver.
	maxMillis = uint64(math.MaxInt64 / time.Millisecond)
)

// A cursor reads one whole structure. The first failure sticks; reads after it
// give zeros.
type cursor struct {
	b   []byte
	off int
	in  string // what b holds, for errors
	err *Error
}

func (c *cursor) fail(code SessionCode, off int, format string, args ...any) {
	if c.err == nil {
		c.err = &Error{Code: code, In: c.in, Offset: off, What: fmt.Sprintf(format, args...)}
	}
}

func (c *cursor) violate(off int, format string, args ...any) {
	c.fail(SessionProtocolViolation, off, format, args...)
}

// finish returns the first failure. Bytes left over are one: the length of a
// message must match its fields (section 10).
func (c *cursor) finish() error {
	if c.err == nil && c.off < len(c.b) {
		c.violate(c.off, "%d bytes left over", len(c.b)-c.off)
	}
	if c.err != nil { // a nil *Error must not become a non-nil error
		return c.err
	}
	return nil
}

func (c *cursor) more() bool { return c.err == nil && c.off < len(c.b) }

func (c *cursor) varint(field string) uint64 {
	if c.err != nil {
		return 0
	}
	v, n, err := ParseVarint(c.b[c.off:])
	if err != nil {
		c.violate(c.off, "%s is cut off", field)
		return 0
	}
	c.off += n
	return v
}

func (c *cursor) uint8(field string) uint8 {
	if c.err != nil {
		return 0
	}
	if c.off == len(c.b) {
		c.violate(c.off, "%s is missing", field)
		return 0
	}
	v := c.b[c.off]
	c.off++
	return v
}

// bytes reads a length and that many bytes, at most limit. The result aliases
// the input.
func (c *cursor) bytes(field string, limit int) []byte {
	off := c.off
	size := c.varint(field + " length")
	switch {
	case c.err != nil:
		return nil
	case size > uint64(limit):
		c.violate(off, "%s of %d bytes, at most %d", field, size, limit)
		return nil
	case size > uint64(len(c.b)-c.off):
		c.violate(off, "%s of %d bytes, %d left", field, size, len(c.b)-c.off)
		return nil
	}
	v := c.b[c.off : c.off+int(size)]
	c.off += int(size)
	return v
}

func (c *cursor) string(field string, limit int) string { return string(c.bytes(field, limit)) }

// rest reads everything that is left. The result aliases the input.
func (c *cursor) rest() []byte {
	if c.err != nil {
		return nil
	}
	v := c.b[c.off:]
	c.off = len(c.b)
	return v
}

func (c *cursor) millis(field string) time.Duration { return fromMillis(c.varint(field)) }

func (c *cursor) location(field string) Location {
	return Location{Group: c.varint(field + " group"), Object: c.varint(field + " object")}
}

func (c *cursor) namespace(field string) Namespace {
	start := c.off
	count := c.varint(field + " field count")
	if count > MaxNamespaceFields {
		c.violate(start, "%s of %d fields, at most %d", field, count, MaxNamespaceFields)
	}
	if c.err != nil {
		return Namespace{}
	}
	first, minimal, total := c.off, true, 0
	for range count {
		off := c.off
		f := c.bytes(field+" field", MaxFullTrackName)
		if c.err != nil {
			return Namespace{}
		}
		if len(f) == 0 {
			c.violate(off, "%s has an empty field", field)
			return Namespace{}
		}
		minimal = minimal && c.off-off == VarintLen(uint64(len(f)))+len(f)
		if total += len(f); total > MaxFullTrackName {
			c.violate(start, "%s exceeds %d bytes", field, MaxFullTrackName)
			return Namespace{}
		}
	}
	if minimal { // the usual case: the bytes are the canonical form already
		return Namespace{enc: string(c.b[first:c.off])}
	}
	d := cursor{b: c.b[first:c.off]}
	var enc []byte
	for d.more() {
		enc = AppendString(enc, string(d.bytes("", MaxFullTrackName)))
	}
	return Namespace{enc: string(enc)}
}

func (c *cursor) fullTrackName() FullTrackName {
	off := c.off
	t := FullTrackName{Namespace: c.namespace("track namespace"), Name: c.string("track name", MaxFullTrackName)}
	if c.err == nil && !t.Valid() {
		c.violate(off, "full track name exceeds %d bytes", MaxFullTrackName)
		return FullTrackName{}
	}
	return t
}

// reason reads a reason phrase (section 1.4.4).
func (c *cursor) reason() string { return c.string("reason phrase", maxReason) }

// AppendString appends the length of s in bytes as a varint, then s.
func AppendString(b []byte, s string) []byte {
	return append(AppendVarint(b, uint64(len(s))), s...)
}

// appendBytes is AppendString for bytes.
func appendBytes(b, v []byte) []byte {
	return append(AppendVarint(b, uint64(len(v))), v...)
}

// appendReason appends a reason phrase, cut to the 1024 bytes that a peer
// accepts. It is for people, so the end may go.
func appendReason(b []byte, s string) []byte {
	if len(s) > maxReason {
		cut := maxReason
		for cut > maxReason-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return AppendString(b, s)
}

// toMillis rounds d up to whole milliseconds, so that no timeout turns into
// the 0 that means none. A negative duration counts as 0.
func toMillis(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d-1)/time.Millisecond) + 1
}

func fromMillis(v uint64) time.Duration {
	return time.Duration(min(v, maxMillis)) * time.Millisecond
}

// checked returns m, or its zero value if reading it from c failed.
func checked[M any](m M, c *cursor) (M, error) {
	if err := c.finish(); err != nil {
		var zero M
		return zero, err
	}
	return m, nil
}
