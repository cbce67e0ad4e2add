package viewer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// maxUnit bounds what a framer keeps: a header, or a fragment with what stands
// ahead of it, in bytes.
const maxUnit = 64 << 20

// A framer cuts a byte stream of boxes, which comes in pieces of any size, into
// units: a header (ftyp and moov), or a fragment (what stands ahead of a moof,
// to the end of its mdat). Nothing of the stream is left out but what belongs to
// neither, such as an ftyp that no moov follows.
//
// It begins, and goes on after reset, with a piece that starts with a box.
type framer struct {
	buf    []byte // the unit so far; owned
	at     int    // in buf: where the box that is not whole begins
	ftyp   bool   // buf begins with an ftyp
	synced bool   // buf begins with a box
}

// reset forgets the unit that is not whole, because bytes are missing.
func (f *framer) reset() { *f = framer{} }

// A unit is whole. Its data may alias the last piece.
type unit struct {
	data []byte
	init bool
}

// write takes the next bytes and returns the units that they complete. An error
// says what is no box; the framer has then been reset, and the rest of p is
// dropped.
func (f *framer) write(p []byte) (units []unit, err error) {
	b := p
	if owned := len(f.buf) > 0; owned {
		b = append(f.buf, p...)
	}
	if !f.synced {
		switch {
		case len(b) < 8:
			f.keep(b, 0)
			return nil, nil
		case !slices.Contains(firstBoxes, string(b[4:8])) || binary.BigEndian.Uint32(b) == 0:
			f.reset()
			return nil, nil // the middle of a box
		}
		f.synced = true
	}
	start := 0 // of the unit in b
	for {
		typ, size, err := boxAt(b[f.at:])
		if err != nil {
			f.reset()
			return units, err
		}
		if size > int64(maxUnit-(f.at-start)) {
			f.reset()
			return units, fmt.Errorf("viewer: box %q makes a unit of more than %d bytes", string(typ[:]), maxUnit)
		}
		if size == 0 || size > int64(len(b)-f.at) {
			break
		}
		box := f.at
		f.at += int(size)
		switch string(typ[:]) {
		case "ftyp":
			start, f.ftyp = box, true
			continue
		case "moof":
			if f.ftyp {
				start, f.ftyp = box, false
			}
			continue
		case "moov", "mdat":
		default:
			continue
		}
		units = append(units, unit{b[start:f.at:f.at], string(typ[:]) == "moov"})
		start, f.ftyp = f.at, false
	}
	f.keep(b, start)
	return units, nil
}

// keep keeps what is not a whole unit: b from start on.
func (f *framer) keep(b []byte, start int) {
	f.at -= start
	if start == 0 && len(f.buf) > 0 {
		f.buf = b // it is ours, and grows in place
		return
	}
	f.buf = bytes.Clone(b[start:])
}

// firstBoxes are those with which a stream can be entered.
var firstBoxes = []string{"ftyp", "moov", "styp", "sidx", "prft", "emsg", "moof", "free", "skip"}

// boxAt returns type and size of the box that b begins with; a size of 0 where
// b is too short to tell.
func boxAt(b []byte) (typ [4]byte, size int64, err error) {
	if len(b) < 8 {
		return typ, 0, nil
	}
	typ, size = [4]byte(b[4:8]), int64(binary.BigEndian.Uint32(b))
	head := int64(8)
	if size == 0 {
		return typ, 0, fmt.Errorf("viewer: box %q goes on to the end of the stream", string(typ[:]))
	}
	if size == 1 {
		if head = 16; len(b) < 16 {
			return typ, 0, nil
		}
		size = int64(min(binary.BigEndian.Uint64(b[8:]), 1<<62))
	}
	for _, c := range typ {
		if c < ' ' || c > '~' {
			return typ, 0, fmt.Errorf("viewer: %q is no box type", string(typ[:]))
		}
	}
	if size < head {
		return typ, 0, fmt.Errorf("viewer: box %q has a size of %d bytes", string(typ[:]), size)
	}
	return typ, size, nil
}
