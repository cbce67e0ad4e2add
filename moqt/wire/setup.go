package wire

import (
	"bytes"
	"strings"
)

// The setup options (section 15.4).
const (
	optionPath                  uint64 = 0x01
	optionToken                 uint64 = 0x03
	optionMaxAuthTokenCacheSize uint64 = 0x04
	optionAuthority             uint64 = 0x05
	optionImplementation        uint64 = 0x07
)

// MaxOtherOptions is how many options that the draft does not define a parsed
// Setup keeps; a house limit. The rest are ignored, as the draft would have
// all of them be.
const MaxOtherOptions = 64

// Setup is the first message of each control stream (section 10.3). Path and
// Authority are the client's, over QUIC only: elsewhere the session closes
// with INVALID_PATH or INVALID_AUTHORITY if they are there.
type Setup struct {
	Path                  *string // path and query of the URI; nil: absent
	Authority             *string // host and port of the URI; nil: absent
	Tokens                []Token
	MaxAuthTokenCacheSize uint64 // bytes; 0, as if absent, prohibits aliases
	Implementation        string // name and version of the software; may hold any bytes
	// Other are the options that the draft does not define, in ascending order
	// of type: extensions, and grease.
	Other []KeyValue
}

// Type returns TypeSetup.
func (Setup) Type() MessageType { return TypeSetup }

// Append appends the message body to b.
func (m Setup) Append(b []byte) []byte {
	var kvs []KeyValue
	if m.Path != nil {
		kvs = append(kvs, KeyValue{Type: optionPath, Bytes: []byte(*m.Path)})
	}
	for _, t := range m.Tokens {
		kvs = append(kvs, KeyValue{Type: optionToken, Bytes: t.Append(nil)})
	}
	if m.MaxAuthTokenCacheSize != 0 {
		kvs = append(kvs, KeyValue{Type: optionMaxAuthTokenCacheSize, Uint: m.MaxAuthTokenCacheSize})
	}
	if m.Authority != nil {
		kvs = append(kvs, KeyValue{Type: optionAuthority, Bytes: []byte(*m.Authority)})
	}
	if m.Implementation != "" {
		kvs = append(kvs, KeyValue{Type: optionImplementation, Bytes: []byte(m.Implementation)})
	}
	return AppendKeyValues(b, append(kvs, m.Other...)...)
}

// Option returns the first option of type t in Other, and whether there is one.
func (m Setup) Option(t uint64) (KeyValue, bool) {
	for _, kv := range m.Other {
		if kv.Type == t {
			return kv, true
		}
	}
	return KeyValue{}, false
}

// ParseSetup parses one whole message body. The result does not alias body.
//
// Options that the draft does not define are never an error, also if repeated;
// a repeated one that it does define is, except AUTHORIZATION_TOKEN.
func ParseSetup(body []byte) (Setup, error) {
	var m Setup
	var seen [8]bool // the options that the draft defines
	for r := (kvReader{b: body, in: "SETUP"}); r.more(); {
		off := r.off
		kv, err := r.next()
		if err != nil {
			return Setup{}, err
		}
		if !m.parseOption(kv) {
			if len(m.Other) < MaxOtherOptions {
				kv.Bytes = bytes.Clone(kv.Bytes)
				m.Other = append(m.Other, kv)
			}
			continue
		}
		if seen[kv.Type] && kv.Type != optionToken {
			return Setup{}, violation("SETUP", off, "option is there twice")
		}
		seen[kv.Type] = true
		if err := m.checkOption(kv, off); err != nil {
			return Setup{}, err
		}
	}
	return m, nil
}

// parseOption takes over kv if the draft defines it, and reports whether it does.
func (m *Setup) parseOption(kv KeyValue) bool {
	switch kv.Type {
	case optionPath:
		m.Path = new(string(kv.Bytes))
	case optionToken: // checkOption parses it
	case optionMaxAuthTokenCacheSize:
		m.MaxAuthTokenCacheSize = kv.Uint
	case optionAuthority:
		m.Authority = new(string(kv.Bytes))
	case optionImplementation:
		m.Implementation = string(kv.Bytes)
	default:
		return false
	}
	return true
}

// checkOption checks the value of an option that the draft defines.
func (m *Setup) checkOption(kv KeyValue, off int) error {
	switch kv.Type {
	case optionPath:
		if !validPath(*m.Path) {
			return &Error{Code: SessionMalformedPath, In: "SETUP", Offset: off, What: "PATH is not the path and query of a URI"}
		}
	case optionAuthority:
		if !validAuthority(*m.Authority) {
			return &Error{Code: SessionMalformedAuthority, In: "SETUP", Offset: off, What: "AUTHORITY is not that of a URI"}
		}
	case optionToken:
		if len(m.Tokens) == MaxTokens {
			return &Error{Code: SessionInternalError, In: "SETUP", Offset: off, What: "too many authorization tokens"}
		}
		t, err := ParseToken(kv.Bytes)
		if err != nil {
			return err
		}
		m.Tokens = append(m.Tokens, t)
	}
	return nil
}

// validPath reports whether s is RFC 3986's path-abempty, and "?" and query if
// there is one.
func validPath(s string) bool {
	path, query, _ := strings.Cut(s, "?")
	return (path == "" || path[0] == '/') && validURI(path, ":@/") && validURI(query, ":@/?")
}

// validAuthority reports whether s is RFC 3986's authority with a host:
// [userinfo "@"] host [":" port].
func validAuthority(s string) bool {
	if user, rest, ok := strings.Cut(s, "@"); ok {
		if !validURI(user, ":") {
			return false
		}
		s = rest
	}
	if strings.HasPrefix(s, "[") { // an IPv6 address
		address, port, ok := strings.Cut(s[1:], "]")
		return ok && address != "" && validURI(address, ":") && (port == "" || port[0] == ':' && digits(port[1:]))
	}
	host, port, _ := strings.Cut(s, ":")
	return host != "" && validURI(host, "") && digits(port)
}

// validURI reports whether s has only unreserved characters, sub-delims,
// percent escapes, and those in extra.
func validURI(s, extra string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case plain(c), strings.IndexByte("-.~!$&'()*+,;=", c) >= 0, strings.IndexByte(extra, c) >= 0:
		case c == '%' && i+2 < len(s) && unhex(s[i+1]|0x20) >= 0 && unhex(s[i+2]|0x20) >= 0:
			i += 2
		default:
			return false
		}
	}
	return true
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }
