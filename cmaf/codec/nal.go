package codec

import (
	"bytes"
	"encoding/binary"
)

// rbsp returns the payload of a NAL unit without its emulation prevention
// bytes (ISO/IEC 14496-10 section 7.4.1, 23008-2 section 7.4.2).
func rbsp(payload []byte) []byte {
	return bytes.ReplaceAll(payload, []byte{0, 0, 3}, []byte{0, 0})
}

// cutNAL takes the first NAL unit off a sample. It returns nil at the end, and
// what there is of a unit that is cut off.
func cutNAL(sample []byte, nalLength int) (nal, rest []byte) {
	for len(sample) > nalLength {
		size := 0
		for _, c := range sample[:nalLength] {
			size = size<<8 | int(c)
		}
		sample = sample[nalLength:]
		if size > 0 {
			size = min(size, len(sample))
			return sample[:size], sample[size:]
		}
	}
	return nil, nil
}

// cutParameterSet takes a parameter set with its 16-bit length off p. ok is
// false where p ends inside it.
func cutParameterSet(p []byte) (nal, rest []byte, ok bool) {
	if len(p) < 2 || len(p)-2 < int(binary.BigEndian.Uint16(p)) {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(p))
	return p[2:n], p[n:], true
}
