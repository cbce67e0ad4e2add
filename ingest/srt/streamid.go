package srt

import (
	"fmt"
	"strings"
)

// maxStreamID is how many bytes a stream id may have, section 3.2.1.3.
const maxStreamID = 512

// maxName bounds the name in one.
const maxName = 128

// A StreamID is what a caller says it wants.
type StreamID struct {
	Name string // of the input: letters, digits and - . _ ~, not with a dot first
	User string // empty: none; nothing depends on it
	Key  string // the stream key; empty: none
	// Play says that it wants to receive rather than to send.
	Play bool
}

// String returns the stream id in the standard form.
func (id StreamID) String() string {
	mode := "publish"
	if id.Play {
		mode = "request"
	}
	s := "#!::r=" + id.Name + ",m=" + mode
	if id.User != "" {
		s += ",u=" + id.User
	}
	if id.Key != "" {
		s += ",s=" + id.Key
	}
	return s
}

// ParseStreamID reads a stream id of any of the forms that the package names.
// The error is a *Refusal, whose text holds nothing of the stream id.
func ParseStreamID(s string) (StreamID, error) {
	switch {
	case s == "":
		return StreamID{}, refuse(BadRequest, "there is no stream id; want streamid=NAME:KEY")
	case len(s) > maxStreamID:
		return StreamID{}, refuse(BadRequest, "the stream id has %d bytes, at most %d are read", len(s), maxStreamID)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return StreamID{}, refuse(BadRequest, "byte %d of the stream id is 0x%02x; only visible ASCII is taken", i, s[i])
		}
	}
	var id StreamID
	var err error
	// ffmpeg passes on what was escaped for its URL.
	if plain, ok := strings.CutPrefix(s, "%23!"); ok {
		s = "#!" + plain
	}
	if rest, ok := strings.CutPrefix(s, "#!"); ok {
		id, err = parseStandard(rest)
	} else {
		id, err = parseSimple(s)
	}
	if err != nil {
		return StreamID{}, err
	}
	if !validName(id.Name) {
		return StreamID{}, refuse(BadRequest, "the stream id's name is empty, longer than %d bytes, or has others than letters, digits and - . _ ~", maxName)
	}
	return id, nil
}

// parseStandard reads what follows "#!" in the form of the access control
// guidelines.
func parseStandard(s string) (id StreamID, err error) {
	rest, ok := strings.CutPrefix(s, "::")
	if !ok {
		return id, refuse(BadRequest, "the stream id begins with #! but not with #!::, the form that is read")
	}
	seen := make(map[string]bool)
	id.Play = true // the form's default
	for pair := range strings.SplitSeq(rest, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return id, refuse(BadRequest, "the stream id has a part that is not of the form key=value")
		}
		if seen[key] {
			return id, refuse(BadRequest, "the stream id has a key twice")
		}
		seen[key] = true
		switch key {
		case "r":
			id.Name = value
		case "u":
			id.User = value
		case "s":
			id.Key = value
		case "t":
			if value != "stream" {
				return id, refuse(UnsupportedMedia, "the stream id's type (t) is not stream")
			}
		case "m":
			switch value {
			case "publish":
				id.Play = false
			case "request":
			default:
				return id, refuse(BadMode, "the stream id's mode (m) is neither publish nor request")
			}
		}
	}
	return id, nil
}

// parseSimple reads the forms with colons.
func parseSimple(s string) (id StreamID, err error) {
	first, rest, more := strings.Cut(s, ":")
	switch first {
	case "publish":
	case "read", "request":
		id.Play = true
	default:
		id.Name, id.Key = first, rest
		return id, nil
	}
	if !more {
		return id, refuse(BadRequest, "the stream id says what to do but not with which name")
	}
	parts := strings.SplitN(rest, ":", 3)
	switch id.Name = parts[0]; len(parts) {
	case 2:
		return id, refuse(BadRequest, "the stream id has a user and no key; want %s:NAME:USER:KEY", first)
	case 3:
		id.User, id.Key = parts[1], parts[2]
	}
	return id, nil
}

func validName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}

// A Code is why a caller was refused, as SRT has it on the wire.
type Code uint32

// The codes that callers get: below 1400 those of section 3.2.1 (table 7), from
// there on those of the access control guidelines.
const (
	Closed           Code = 1002 // by the peer, for no reason of its own
	Rogue            Code = 1004 // what the handshake says cannot be
	OldVersion       Code = 1008
	BadSecret        Code = 1010 // the passphrase is wrong
	Unsecure         Code = 1011 // a passphrase is missing, or one that nobody asked for
	BadRequest       Code = 1400 // the stream id cannot be read
	Unauthorized     Code = 1401 // the key does not count
	Overload         Code = 1402 // too many connections or attempts
	Forbidden        Code = 1403 // the key counts, but not for this, or not from here
	BadMode          Code = 1405 // playing, which is not offered
	UnsupportedMedia Code = 1415
	Unavailable      Code = 1503 // nobody could decide
)

// A Refusal is why a caller may not publish, with the code that it gets. Its
// text goes into the log.
type Refusal struct {
	Code Code
	Err  error
}

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

func refuse(code Code, format string, args ...any) error {
	return &Refusal{code, fmt.Errorf("srt: "+format, args...)}
}
