package cmaf

import "errors"

// ParseHeader reads the CMAF header of one track, ftyp (which may be absent)
// and moov, as it stands in a catalog. The result's Init is written anew;
// what the header leaves to its readers (trex, track ID, edit list) is kept
// for the result's ParseChunks. Errors are *BoxError.
func ParseHeader(init []byte) (Header, error) { return Header{}, errors.ErrUnsupported }

// ParseChunks reads b, one or more whole chunks of the track, such as the
// payload of a MoQT object. The chunks' Data alias b. Errors are *BoxError.
func (h Header) ParseChunks(b []byte) ([]Chunk, error) { return nil, errors.ErrUnsupported }

// ParseChunk reads b, exactly one chunk that leaves nothing to a header's
// trex, such as AppendTo writes. Boxes other than moof and mdat are skipped.
// Data aliases b. Errors are *BoxError.
func ParseChunk(b []byte) (Chunk, error) { return Chunk{}, errors.ErrUnsupported }

// SplitChunks cuts b, a run of whole CMAF chunks, at the chunk boundaries.
//
// Each result runs from a moof, or from the styp, prft and emsg boxes ahead
// of it, to the end of its mdat. Together the results are exactly b; they
// alias it. Box times inside stay in ticks of the track's timescale.
//
// If b ends inside a chunk the error is io.ErrUnexpectedEOF; for a box that
// does not belong, a *BoxError with its offset. Chunks before it are returned.
//
// Sources: ISO/IEC 14496-12 sections 8.1.1 (mdat) and 8.8.4 (moof);
// draft-ietf-moq-cmsf-00 section 3.3 (one or more chunks make an object).
func SplitChunks(b []byte) ([][]byte, error) { return nil, errors.ErrUnsupported }
