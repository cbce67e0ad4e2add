package codec

// A bitReader reads bits, most significant first. Past the end it gives zeros
// and sets over.
type bitReader struct {
	b    []byte
	pos  int // bits
	over bool
}

func (r *bitReader) bit() uint32 {
	if r.pos >= 8*len(r.b) {
		r.over = true
		return 0
	}
	v := r.b[r.pos/8] >> (7 - r.pos%8) & 1
	r.pos++
	return uint32(v)
}

// bits reads n bits, at most 32.
func (r *bitReader) bits(n int) uint32 {
	var v uint32
	for range n {
		v = v<<1 | r.bit()
	}
	return v
}

// skip passes over n bits, which is not negative.
func (r *bitReader) skip(n int) {
	if n > 8*len(r.b)-r.pos {
		r.over, n = true, 8*len(r.b)-r.pos
	}
	r.pos += n
}

func (r *bitReader) flag() bool { return r.bit() == 1 }

// ue reads an unsigned Exp-Golomb code (ISO/IEC 14496-10 section 9.1), which
// AV1 has as uvlc().
func (r *bitReader) ue() uint32 {
	zeros := 0
	for r.bit() == 0 {
		if zeros++; zeros > 31 || r.over {
			r.over = true
			return 0
		}
	}
	return 1<<zeros - 1 + r.bits(zeros)
}

// se reads a signed Exp-Golomb code (section 9.1.1).
func (r *bitReader) se() int32 {
	v := r.ue()
	if v&1 == 1 {
		return int32(v/2 + 1)
	}
	return -int32(v / 2)
}
