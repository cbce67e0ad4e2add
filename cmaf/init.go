package cmaf

import "errors"

// BuildInit writes ftyp and moov for a file with one track per header, track
// IDs 1, 2, … in their order; chunks for it are written with those IDs. It
// fails when a header's Init cannot be read.
func BuildInit(headers []Header) ([]byte, error) { return nil, errors.ErrUnsupported }
