package cmaf

import "encoding/binary"

// The fixed layout of the moof that we write. With every value explicit in
// trun, only the number of samples changes its size.
const (
	boxHeaderSize = 8
	mfhdSize      = 16
	tfhdSize      = 16
	tfdtSize      = 20
	trunHeadSize  = 20
	trunEntrySize = 16

	moofHeadSize = boxHeaderSize + mfhdSize + boxHeaderSize + tfhdSize + tfdtSize + trunHeadSize

	tfhdDefaultBaseIsMoof = 0x02_0000
	trunFlagsAll          = 0x0f01 // data offset; duration, size, flags, composition offset per sample
)

func moofSize(samples int) int { return moofHeadSize + trunEntrySize*samples }

// AppendTo appends the chunk, moof and mdat, to b and returns the result.
// It allocates nothing when b has room for Size more bytes.
//
// trackID is 1 for a track that travels alone with its Header's Init, or the
// place of its header in BuildInit. seq is mfhd's sequence number, which rises
// within a file. DecodeTime must not be negative: tfdt has no sign.
func (c Chunk) AppendTo(b []byte, trackID, seq uint32) []byte {
	return append(c.AppendMoof(b, trackID, seq), c.Data...)
}

// AppendMoof appends what stands ahead of Data: the moof and the header of the
// mdat. A caller that writes with writev sends Data after it, uncopied.
// See AppendTo for the arguments.
//
// Sources: ISO/IEC 14496-12 sections 8.8.4 to 8.8.8 and 8.8.12.
func (c Chunk) AppendMoof(b []byte, trackID, seq uint32) []byte {
	be := binary.BigEndian
	n := moofSize(len(c.Samples))
	at := len(b)
	b = grow(b, n+boxHeaderSize)
	h := b[at : at+moofHeadSize]

	be.PutUint32(h[0:], uint32(n))
	copy(h[4:], "moof")

	be.PutUint32(h[8:], mfhdSize)
	copy(h[12:], "mfhd")
	be.PutUint32(h[16:], 0)
	be.PutUint32(h[20:], seq)

	be.PutUint32(h[24:], uint32(n-boxHeaderSize-mfhdSize))
	copy(h[28:], "traf")

	be.PutUint32(h[32:], tfhdSize)
	copy(h[36:], "tfhd")
	be.PutUint32(h[40:], tfhdDefaultBaseIsMoof)
	be.PutUint32(h[44:], trackID)

	be.PutUint32(h[48:], tfdtSize)
	copy(h[52:], "tfdt")
	be.PutUint32(h[56:], 1<<24)
	be.PutUint64(h[60:], uint64(c.DecodeTime))

	be.PutUint32(h[68:], uint32(trunHeadSize+trunEntrySize*len(c.Samples)))
	copy(h[72:], "trun")
	be.PutUint32(h[76:], 1<<24|trunFlagsAll)
	be.PutUint32(h[80:], uint32(len(c.Samples)))
	be.PutUint32(h[84:], uint32(n+boxHeaderSize))

	e := b[at+moofHeadSize:]
	for i := range c.Samples {
		s := &c.Samples[i]
		e := e[i*trunEntrySize : i*trunEntrySize+trunEntrySize]
		be.PutUint32(e[0:], s.Duration)
		be.PutUint32(e[4:], s.Size)
		be.PutUint32(e[8:], s.Flags)
		be.PutUint32(e[12:], uint32(s.CompositionOffset))
	}

	m := b[at+n:]
	be.PutUint32(m[0:], uint32(boxHeaderSize+len(c.Data)))
	copy(m[4:], "mdat")
	return b
}

// grow extends b by n bytes of any value.
func grow(b []byte, n int) []byte {
	if n <= cap(b)-len(b) {
		return b[:len(b)+n]
	}
	return append(b, make([]byte, n)...)
}
