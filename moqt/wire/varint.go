package wire

import (
	"encoding/binary"
	"math/bits"
)

// MaxVarintLen is the length of the longest varint, in bytes.
const MaxVarintLen = 9

// VarintLen returns the length of v's shortest encoding, 1 to 9 bytes.
func VarintLen(v uint64) int {
	n := (bits.Len64(v|1) + 6) / 7
	return min(n, MaxVarintLen) // 57 to 64 bits all take 9 bytes
}

// AppendVarint appends v's shortest encoding (section 1.4.1). This is not the
// varint of QUIC: the leading ones of the first byte count the bytes after it.
func AppendVarint(b []byte, v uint64) []byte {
	switch n := VarintLen(v); n {
	case 1:
		return append(b, byte(v))
	case 2:
		return append(b, 0x80|byte(v>>8), byte(v))
	case MaxVarintLen:
		return binary.BigEndian.AppendUint64(append(b, 0xff), v)
	default:
		b = append(b, byte(0xff<<(9-n))|byte(v>>(8*(n-1))))
		for i := n - 2; i >= 0; i-- {
			b = append(b, byte(v>>(8*i)))
		}
		return b
	}
}

// ParseVarint parses the varint at the start of b and returns how many bytes
// it took. Longer encodings than needed are valid (section 1.4.1). The only
// error is ErrShort.
func ParseVarint(b []byte) (v uint64, n int, err error) {
	if len(b) == 0 {
		return 0, 0, ErrShort
	}
	first := b[0]
	if first < 0x80 {
		return uint64(first), 1, nil
	}
	n = 1 + bits.LeadingZeros8(^first)
	if len(b) < n {
		return 0, 0, ErrShort
	}
	switch {
	case n == MaxVarintLen:
		return binary.BigEndian.Uint64(b[1:]), n, nil
	case len(b) >= 8: // one load instead of a loop
		v = binary.BigEndian.Uint64(b) >> (64 - 8*n)
	default:
		for _, c := range b[:n] {
			v = v<<8 | uint64(c)
		}
	}
	return v & (1<<(7*n) - 1), n, nil
}
