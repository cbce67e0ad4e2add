package wire

import (
	"errors"
	"fmt"
)

// ErrShort reports that the bytes so far are a proper prefix of something
// well formed. The caller reads more and parses again from the start. At the
// end of a stream it means that the stream was cut.
var ErrShort = errors.New("moqt/wire: more bytes needed")

// ErrTooLarge reports that a message body does not fit the 16-bit length of
// its frame (section 10).
var ErrTooLarge = errors.New("moqt/wire: message larger than 65535 bytes")

// An Error says which rule the peer's bytes broke.
type Error struct {
	Code   SessionCode // what to close the session with (section 3.5)
	In     string      // the message or structure, in the draft's words: "SUBSCRIBE"
	Offset int         // bytes into In at which the offending field starts
	What   string      // the field and its fault, for people
}

func (e *Error) Error() string {
	return fmt.Sprintf("moqt/wire: %s at byte %d: %s (%v)", e.In, e.Offset, e.What, e.Code)
}

// violation makes the Error for which the draft names PROTOCOL_VIOLATION.
func violation(in string, off int, what string) *Error {
	return &Error{Code: SessionProtocolViolation, In: in, Offset: off, What: what}
}
