package load

import (
	"encoding/binary"
	"time"
)

// A payload begins with its stamp and ends with a mark, so that a viewer knows
// when it was due and that it is whole. In between is noise.
const (
	stampSize = 8 + 4 + 4 // due, Unix nanoseconds; index; track
	markSize  = 4
	minObject = stampSize + markSize
)

// A stamp says which object a payload is.
type stamp struct {
	due   time.Time
	track int
	index int
}

// put stamps and marks the payload p, of minObject bytes or more.
func (s stamp) put(p []byte) {
	binary.BigEndian.PutUint64(p, uint64(s.due.UnixNano()))
	binary.BigEndian.PutUint32(p[8:], uint32(s.index))
	binary.BigEndian.PutUint32(p[12:], uint32(s.track))
	binary.BigEndian.PutUint32(p[len(p)-markSize:], s.mark(len(p)))
}

// mark differs between neighbouring objects and between sizes.
func (s stamp) mark(size int) uint32 {
	return (uint32(s.index)*2+uint32(s.track))*2654435761 ^ uint32(size)
}

// readStamp returns the stamp of p, and whether its mark belongs to it.
func readStamp(p []byte) (s stamp, ok bool) {
	if len(p) < minObject {
		return stamp{}, false
	}
	s = stamp{
		due:   time.Unix(0, int64(binary.BigEndian.Uint64(p))),
		index: int(binary.BigEndian.Uint32(p[8:])),
		track: int(binary.BigEndian.Uint32(p[12:])),
	}
	return s, binary.BigEndian.Uint32(p[len(p)-markSize:]) == s.mark(len(p))
}
