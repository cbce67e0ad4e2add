package cmaf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// A fourCC is a box type as the big-endian number of its four bytes.
type fourCC uint32

const (
	typeBtrt fourCC = 'b'<<24 | 't'<<16 | 'r'<<8 | 't'
	typeEdts fourCC = 'e'<<24 | 'd'<<16 | 't'<<8 | 's'
	typeElst fourCC = 'e'<<24 | 'l'<<16 | 's'<<8 | 't'
	typeEmsg fourCC = 'e'<<24 | 'm'<<16 | 's'<<8 | 'g'
	typeFree fourCC = 'f'<<24 | 'r'<<16 | 'e'<<8 | 'e'
	typeFtyp fourCC = 'f'<<24 | 't'<<16 | 'y'<<8 | 'p'
	typeHdlr fourCC = 'h'<<24 | 'd'<<16 | 'l'<<8 | 'r'
	typeMdat fourCC = 'm'<<24 | 'd'<<16 | 'a'<<8 | 't'
	typeMdhd fourCC = 'm'<<24 | 'd'<<16 | 'h'<<8 | 'd'
	typeMdia fourCC = 'm'<<24 | 'd'<<16 | 'i'<<8 | 'a'
	typeMfra fourCC = 'm'<<24 | 'f'<<16 | 'r'<<8 | 'a'
	typeMinf fourCC = 'm'<<24 | 'i'<<16 | 'n'<<8 | 'f'
	typeMoof fourCC = 'm'<<24 | 'o'<<16 | 'o'<<8 | 'f'
	typeMoov fourCC = 'm'<<24 | 'o'<<16 | 'o'<<8 | 'v'
	typeMvex fourCC = 'm'<<24 | 'v'<<16 | 'e'<<8 | 'x'
	typeMvhd fourCC = 'm'<<24 | 'v'<<16 | 'h'<<8 | 'd'
	typePrft fourCC = 'p'<<24 | 'r'<<16 | 'f'<<8 | 't'
	typeSkip fourCC = 's'<<24 | 'k'<<16 | 'i'<<8 | 'p'
	typeStbl fourCC = 's'<<24 | 't'<<16 | 'b'<<8 | 'l'
	typeStsd fourCC = 's'<<24 | 't'<<16 | 's'<<8 | 'd'
	typeStsz fourCC = 's'<<24 | 't'<<16 | 's'<<8 | 'z'
	typeStyp fourCC = 's'<<24 | 't'<<16 | 'y'<<8 | 'p'
	typeTfdt fourCC = 't'<<24 | 'f'<<16 | 'd'<<8 | 't'
	typeTfhd fourCC = 't'<<24 | 'f'<<16 | 'h'<<8 | 'd'
	typeTkhd fourCC = 't'<<24 | 'k'<<16 | 'h'<<8 | 'd'
	typeTraf fourCC = 't'<<24 | 'r'<<16 | 'a'<<8 | 'f'
	typeTrak fourCC = 't'<<24 | 'r'<<16 | 'a'<<8 | 'k'
	typeTrex fourCC = 't'<<24 | 'r'<<16 | 'e'<<8 | 'x'
	typeTrun fourCC = 't'<<24 | 'r'<<16 | 'u'<<8 | 'n'

	typeSoun fourCC = 's'<<24 | 'o'<<16 | 'u'<<8 | 'n'
	typeVide fourCC = 'v'<<24 | 'i'<<16 | 'd'<<8 | 'e'
)

// String returns the four characters, or a number when they are not printable.
func (t fourCC) String() string {
	if !t.printable() {
		return fmt.Sprintf("0x%08x", uint32(t))
	}
	return string(binary.BigEndian.AppendUint32(nil, uint32(t)))
}

func (t fourCC) printable() bool {
	for s := 0; s < 32; s += 8 {
		if c := byte(t >> s); (c < 0x20 || c > 0x7e) && c != 0xa9 {
			return false
		}
	}
	return true
}

// A box is one whole box in memory.
type box struct {
	typ    fourCC
	parent string // path of the box around it, "" at top level
	off    int64  // where the box starts in the input
	body   []byte // without the header; aliases the input
	size   int64  // with the header
}

func (b *box) path() string { return joinPath(b.parent, b.typ) }

func joinPath(parent string, typ fourCC) string {
	if parent == "" {
		return typ.String()
	}
	return parent + "/" + typ.String()
}

// fail returns the error that names b.
func (b *box) fail(format string, args ...any) error {
	return &BoxError{Box: b.path(), Offset: b.off, Reason: fmt.Sprintf(format, args...)}
}

// short returns the error for a body that ends too early.
func (b *box) short(want int) error {
	return b.fail("has %d bytes of content, needs %d", len(b.body), want)
}

// bodyOff returns where the body starts in the input.
func (b *box) bodyOff() int64 { return b.off + b.size - int64(len(b.body)) }

// need fails unless the body has n bytes.
func (b *box) need(n int) error {
	if len(b.body) < n {
		return b.short(n)
	}
	return nil
}

// fullBox returns version and flags, which the body must hold with n bytes
// in all.
func (b *box) fullBox(n int) (version byte, flags uint32, err error) {
	if err := b.need(max(n, 4)); err != nil {
		return 0, 0, err
	}
	v := binary.BigEndian.Uint32(b.body)
	return byte(v >> 24), v & 0xff_ffff, nil
}

// A boxHeader is the size and type at the start of a box.
type boxHeader struct {
	typ  fourCC
	len  int   // of the header: 8 or 16 bytes
	size int64 // of the whole box
}

// parseBoxHeader reads a header from the start of b. When b is too short it
// returns how many bytes it needs, else 0. Sizes that no box can have are a
// BoxError with parent and off.
func parseBoxHeader(b []byte, parent string, off int64) (h boxHeader, need int, err error) {
	if len(b) < 8 {
		return h, 8, nil
	}
	h = boxHeader{
		typ:  fourCC(binary.BigEndian.Uint32(b[4:])),
		len:  8,
		size: int64(binary.BigEndian.Uint32(b)),
	}
	fail := func(format string, args ...any) (boxHeader, int, error) {
		return h, 0, &BoxError{Box: joinPath(parent, h.typ), Offset: off, Reason: fmt.Sprintf(format, args...)}
	}
	switch h.size {
	case 0:
		return fail("size 0 (to the end of the input) is not accepted in a stream")
	case 1:
		if len(b) < 16 {
			return h, 16, nil
		}
		h.len = 16
		large := binary.BigEndian.Uint64(b[8:])
		if large > math.MaxInt64/2 {
			return fail("size %d is beyond any limit", large)
		}
		h.size = int64(large)
	}
	if h.size < int64(h.len) {
		return fail("size %d is less than its own header of %d bytes", h.size, h.len)
	}
	return h, 0, nil
}

// A boxIter walks the boxes in a buffer: the content of a container.
type boxIter struct {
	parent string
	off    int64 // of b's first byte in the input
	b      []byte
}

func (b *box) children(path string) boxIter {
	return boxIter{parent: path, off: b.bodyOff(), b: b.body}
}

// next returns the next box; ok is false at the end. Fewer than 8 bytes at
// the end of a container are padding that QuickTime writes, when they are zero.
func (it *boxIter) next() (b box, ok bool, err error) {
	if len(it.b) == 0 {
		return box{}, false, nil
	}
	if len(it.b) < 8 && it.parent != "" && allZero(it.b) {
		it.b = nil
		return box{}, false, nil
	}
	h, need, err := parseBoxHeader(it.b, it.parent, it.off)
	if err != nil {
		return box{}, false, err
	}
	if need > 0 {
		name := it.parent
		if name == "" {
			name = "header"
		}
		return box{}, false, &BoxError{
			Box: name, Offset: it.off, Err: io.ErrUnexpectedEOF,
			Reason: fmt.Sprintf("%d bytes are left, a box header needs %d", len(it.b), need),
		}
	}
	if h.size > int64(len(it.b)) {
		e := &BoxError{Box: joinPath(it.parent, h.typ), Offset: it.off}
		if it.parent == "" {
			e.Reason, e.Err = fmt.Sprintf("size is %d, only %d bytes came", h.size, len(it.b)), io.ErrUnexpectedEOF
		} else {
			e.Reason = fmt.Sprintf("size is %d, its container has %d bytes left", h.size, len(it.b))
		}
		return box{}, false, e
	}
	b = box{typ: h.typ, parent: it.parent, off: it.off, body: it.b[h.len:h.size], size: h.size}
	it.b = it.b[h.size:]
	it.off += h.size
	return b, true, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
