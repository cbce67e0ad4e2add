package auth

import (
	"slices"
	"strings"
)

// Bounds of namespaces and of patterns for them (MOQT section 2.4.1: at most 32
// fields).
const (
	maxFields  = 32
	maxPattern = 1024 // bytes
	maxLengths = 64   // patterns of one token
)

// A pattern is a set of namespaces: one, or all that begin with its fields and
// have at least one more. As text its fields are joined by "/", and "*" as the
// last one stands for one or more fields.
type pattern struct {
	fields []string
	open   bool // more fields follow
}

// parsePattern parses a pattern of a token whose organisation is org:
// playback/<id> and publish/<id> are stream/<org>/<id>.
func parsePattern(text, org string) (pattern, bool) {
	if text == "" || len(text) > maxPattern {
		return pattern{}, false
	}
	fields := resolve(strings.Split(text, "/"), org)
	if len(fields) > maxFields || slices.Contains(fields, "") {
		return pattern{}, false
	}
	last := len(fields) - 1
	p := pattern{fields: fields}
	if fields[last] == "*" {
		p = pattern{fields: fields[:last], open: true}
	}
	return p, !slices.Contains(p.fields, "*")
}

// String returns the pattern as text.
func (p pattern) String() string {
	text := strings.Join(p.fields, "/")
	switch {
	case !p.open:
		return text
	case text == "":
		return "*"
	}
	return text + "/*"
}

// covers says whether the pattern holds a namespace. Fields are compared byte
// by byte: nothing is decoded, folded or cleaned.
func (p pattern) covers(namespace []string) bool {
	if p.open {
		return len(namespace) > len(p.fields) && slices.Equal(namespace[:len(p.fields)], p.fields)
	}
	return slices.Equal(namespace, p.fields)
}

// under says whether the pattern holds something under a prefix.
func (p pattern) under(prefix []string) bool {
	n := min(len(prefix), len(p.fields))
	return slices.Equal(prefix[:n], p.fields[:n]) && (len(prefix) <= len(p.fields) || p.open)
}

// resolve returns the namespace that a client of the streams contract means
// with the fields that it sends: the path of its URL, playback/<id> or
// publish/<id>, within an organisation, or the whole name in one field, with
// slashes.
func resolve(namespace []string, org string) []string {
	if len(namespace) == 1 && strings.Count(namespace[0], "/") > 0 {
		namespace = strings.Split(namespace[0], "/")
	}
	if len(namespace) == 2 && (namespace[0] == "playback" || namespace[0] == "publish") {
		return []string{firstField, org, namespace[1]}
	}
	return namespace
}

// ingestName returns what ingest calls the broadcast of a namespace
// stream/<org>/<id>: its id, with the organisation ahead if that is not local.
func ingestName(namespace []string) string {
	if len(namespace) != 3 || namespace[0] != firstField {
		return ""
	}
	if namespace[1] == adHocOrg {
		return namespace[2]
	}
	return namespace[1] + "/" + namespace[2]
}
