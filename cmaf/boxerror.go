package cmaf

import "fmt"

// A BoxError says which box of an input is wrong. Every fault of the input's
// bytes is one, so that the sentence can go back to whoever sent them.
type BoxError struct {
	Box    string // path of four-character codes, such as "moof/traf/trun"
	Offset int64  // where the box starts, in bytes from the start of the input
	Reason string // for people; never match on it
	Err    error  // nil, or what to match on: io.ErrUnexpectedEOF when bytes are missing
}

func (e *BoxError) Error() string {
	return fmt.Sprintf("cmaf: box %s at byte %d: %s", e.Box, e.Offset, e.Reason)
}

func (e *BoxError) Unwrap() error { return e.Err }
