package cmaf

import (
	"fmt"
	"io"
)

// ParseChunks reads b, one or more whole chunks of the track, such as the
// payload of a MoQT object. The chunks' Data alias b where a chunk's bytes lie
// together, as they do unless another track's are between. Errors are
// *BoxError.
func (h Header) ParseChunks(b []byte) ([]Chunk, error) {
	t := []fragTrack{{id: h.trackID, defaults: h.defaults, shift: h.shift}}
	f := fragment{relative: true, room: int64(len(b))}
	var chunks []Chunk
	it := boxIter{b: b}
	pending := false
	for {
		c, ok, err := it.next()
		if err != nil {
			return chunks, err
		}
		if !ok {
			break
		}
		switch c.typ {
		case typeMoof:
			if pending {
				return chunks, f.incomplete()
			}
			if err := f.parse(&c, t); err != nil {
				return chunks, err
			}
			pending = len(f.samples) > 0
		case typeMdat:
			if !pending {
				if len(c.body) > 0 && f.end == 0 {
					return chunks, c.fail("comes before any moof")
				}
				continue
			}
			if chunks, err = f.cut(chunks, &c, b, h); err != nil {
				return chunks, err
			}
			pending = false
		}
	}
	if pending {
		return chunks, f.incomplete()
	}
	if len(chunks) == 0 {
		return nil, &BoxError{Box: "moof", Offset: int64(len(b)), Reason: "is missing", Err: io.ErrUnexpectedEOF}
	}
	return chunks, nil
}

// incomplete returns the error for a moof whose mdat did not come.
func (f *fragment) incomplete() error {
	return &BoxError{Box: "mdat", Offset: f.end, Reason: "is missing", Err: io.ErrUnexpectedEOF}
}

// cut appends the fragment's chunks, whose bytes are in mdat. in is the whole
// input. A chunk ends where decode times are not continuous.
func (f *fragment) cut(chunks []Chunk, mdat *box, in []byte, h Header) ([]Chunk, error) {
	from, to := mdat.bodyOff(), mdat.off+mdat.size
	samples := make([]Sample, 0, len(f.samples))
	for i := 0; i < len(f.samples); {
		first := &f.samples[i]
		begin, dts, size, together := len(samples), first.dts, 0, true
		for ; i < len(f.samples) && f.samples[i].dts == dts; i++ {
			s := &f.samples[i]
			if end := s.off + int64(s.Size); s.off < from || end > to {
				return chunks, f.fail(s, "sample %d has bytes %d to %d, the mdat has %d to %d", i+1, s.off, end, from, to)
			}
			together = together && s.off == first.off+int64(size)
			s.Flags = h.sampleFlags(s.Flags, in[s.off:s.off+int64(s.Size)])
			samples = append(samples, s.Sample)
			dts += int64(s.Duration)
			size += int(s.Size)
		}
		c := Chunk{
			DecodeTime: first.dts,
			Samples:    samples[begin:len(samples):len(samples)],
			RAP:        h.Kind == KindAudio || first.Sync(),
		}
		if end := first.off + int64(size); together {
			c.Data = in[first.off:end:end]
		} else {
			c.Data = make([]byte, 0, size)
			for _, s := range f.samples[i-len(c.Samples) : i] {
				c.Data = append(c.Data, in[s.off:s.off+int64(s.Size)]...)
			}
		}
		chunks = append(chunks, c)
	}
	return chunks, nil
}

// ParseChunk reads b, exactly one chunk that leaves nothing to a header's
// trex, such as AppendTo writes. Boxes other than moof and mdat are skipped.
// Data aliases b. Errors are *BoxError.
func ParseChunk(b []byte) (Chunk, error) {
	chunks, err := Header{}.ParseChunks(b)
	if err != nil {
		return Chunk{}, err
	}
	if len(chunks) > 1 {
		return Chunk{}, &BoxError{Box: "moof", Reason: fmt.Sprintf("there are %d chunks, want one", len(chunks))}
	}
	return chunks[0], nil
}

// SplitChunks cuts b, a run of whole CMAF chunks, at the chunk boundaries.
//
// Each result runs from a moof, or from the styp, prft and emsg boxes ahead
// of it, to the end of its mdat. Together the results are exactly b; they
// alias it. Box times inside stay in ticks of the track's timescale.
//
// If b ends inside a chunk the error wraps io.ErrUnexpectedEOF; for a box that
// does not belong, a *BoxError with its offset. Chunks before it are returned.
//
// Sources: ISO/IEC 14496-12 sections 8.1.1 (mdat) and 8.8.4 (moof);
// draft-ietf-moq-cmsf-00 section 3.3 (one or more chunks make an object).
func SplitChunks(b []byte) ([][]byte, error) {
	var chunks [][]byte
	start, moof := int64(0), false
	it := boxIter{b: b}
	for {
		c, ok, err := it.next()
		if err != nil {
			return chunks, err
		}
		if !ok {
			break
		}
		switch c.typ {
		case typeStyp, typePrft, typeEmsg:
			if moof {
				return chunks, c.fail("comes between a moof and its mdat")
			}
		case typeMoof:
			if moof {
				return chunks, c.fail("comes where an mdat should")
			}
			moof = true
		case typeMdat:
			if !moof {
				return chunks, c.fail("comes before its moof")
			}
			moof = false
			chunks = append(chunks, b[start:it.off:it.off])
			start = it.off
		default:
			return chunks, c.fail("does not belong in a chunk")
		}
	}
	if start < int64(len(b)) {
		return chunks, &BoxError{Box: "mdat", Offset: int64(len(b)), Reason: "is missing", Err: io.ErrUnexpectedEOF}
	}
	return chunks, nil
}
