package client

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// maxChunk bounds what is written in one piece, in bytes.
const maxChunk = 16 << 20

// ErrChunk reports bytes that are no CMAF chunk and no header.
var ErrChunk = errors.New("client: not a CMAF chunk")

// checkChunk checks that b is whole boxes that end with a moov, of a header, or
// with an mdat, of a fragment, and says which.
func checkChunk(b []byte) (header bool, err error) {
	if len(b) > maxChunk {
		return false, fmt.Errorf("%w: %d bytes, want at most %d", ErrChunk, len(b), maxChunk)
	}
	var last string
	for len(b) > 0 {
		typ, size, err := boxAt(b)
		if err != nil {
			return false, err
		}
		if size > uint64(len(b)) {
			return false, fmt.Errorf("%w: box %q has %d bytes of %d", ErrChunk, typ, len(b), size)
		}
		header = header || typ == "moov"
		if b = b[size:]; typ == "moov" || typ == "mdat" {
			last = typ
		}
	}
	if last == "" || header != (last == "moov") {
		return false, fmt.Errorf("%w: want a header (ftyp, moov) or whole fragments (moof, mdat)", ErrChunk)
	}
	return header, nil
}

// boxAt returns type and size, in bytes, of the box that b begins with.
func boxAt(b []byte) (typ string, size uint64, err error) {
	if len(b) < 8 {
		return "", 0, fmt.Errorf("%w: %d bytes behind the last box", ErrChunk, len(b))
	}
	typ, size = string(b[4:8]), uint64(binary.BigEndian.Uint32(b))
	head := uint64(8)
	if size == 1 {
		if head = 16; len(b) < 16 {
			return "", 0, fmt.Errorf("%w: box %q is cut", ErrChunk, typ)
		}
		size = binary.BigEndian.Uint64(b[8:])
	}
	if size < head {
		return "", 0, fmt.Errorf("%w: box %q has a size of %d", ErrChunk, typ, size)
	}
	return typ, size, nil
}

// readChunk reads the next header or fragment of a byte stream of boxes. At the
// end, and where boxes that belong to neither are all that is left, the error is
// io.EOF; in the middle of a box it is io.ErrUnexpectedEOF.
func readChunk(r *bufio.Reader) ([]byte, error) {
	var b []byte
	for {
		head, err := r.Peek(8)
		if len(head) == 0 && errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if err == nil && binary.BigEndian.Uint32(head) == 1 {
			head, err = r.Peek(16)
		}
		if err != nil {
			return nil, unexpected(err)
		}
		typ, size, err := boxAt(head)
		if err != nil {
			return nil, err
		}
		if size > math.MaxInt32 || len(b)+int(size) > maxChunk {
			return nil, fmt.Errorf("%w: box %q makes it longer than %d bytes", ErrChunk, typ, maxChunk)
		}
		at := len(b)
		b = append(b, make([]byte, size)...)
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return nil, unexpected(err)
		}
		if typ == "moov" || typ == "mdat" {
			return b, nil
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
