package mpegts

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A syntax is what differs between codecs that write NAL units.
type syntax interface {
	// class says what a NAL unit is. It is not empty.
	class(nal []byte) class
	// key returns what tells a parameter set from others.
	key(nal []byte) (setKey, bool)
	// header describes a track by its parameter sets, in the order of their
	// types and IDs.
	header(sets [][]byte) (cmaf.Header, error)
}

// A class says what to do with a NAL unit.
type class uint8

const (
	classOther    class = iota // part of the sample
	classDropped               // a delimiter, filler
	classSet                   // a parameter set
	classPicture               // a slice
	classKey                   // a slice at which decoding can begin
	classRecovery              // decoding can begin at this access unit
)

// A unit is an access unit taken apart.
type unit struct {
	nals    [][]byte // what goes into the sample
	sets    [][]byte // parameter sets
	picture bool     // it has a slice
	sync    bool     // decoding can begin here
}

// parseUnit takes an access unit of a byte stream apart. The results alias b.
func parseUnit(x syntax, b []byte) unit {
	var u unit
	recovery := false
	for nal := range nalUnits(b) {
		switch x.class(nal) {
		case classDropped:
			continue
		case classSet:
			u.sets = append(u.sets, nal)
			continue
		case classPicture:
			u.picture = true
		case classKey:
			u.picture, u.sync = true, true
		case classRecovery:
			recovery = true
		}
		u.nals = append(u.nals, nal)
	}
	u.sync = u.picture && (u.sync || recovery)
	return u
}

// nalUnits yields the NAL units of a byte stream (ISO/IEC 14496-10 and 23008-2,
// Annex B of each).
func nalUnits(b []byte) func(yield func([]byte) bool) {
	start := []byte{0, 0, 1}
	return func(yield func([]byte) bool) {
		i := bytes.Index(b, start)
		for i >= 0 {
			b = b[i+3:]
			nal := b
			if i = bytes.Index(b, start); i >= 0 {
				nal = b[:i]
			}
			nal = bytes.TrimRight(nal, "\x00") // trailing_zero_8bits
			if len(nal) > 0 && !yield(nal) {
				return
			}
		}
	}
}

// lengthPrefixed returns the sample: first, then the NAL units, each with its
// length in four bytes.
func (u unit) lengthPrefixed(first [][]byte) []byte {
	n := 0
	for _, list := range [][][]byte{first, u.nals} {
		for _, nal := range list {
			n += 4 + len(nal)
		}
	}
	out := make([]byte, 0, n)
	for _, list := range [][][]byte{first, u.nals} {
		for _, nal := range list {
			out = binary.BigEndian.AppendUint32(out, uint32(len(nal)))
			out = append(out, nal...)
		}
	}
	return out
}

// sets are the parameter sets in force.
type sets struct {
	syntax syntax
	list   map[setKey][]byte
	bytes  int
	dirty  bool // a set changed since the header was made
}

// A setKey is the type and the ID of a parameter set.
type setKey struct {
	typ byte
	id  uint32
}

// Bounds on parameter sets.
const (
	maxSetBytes  = 4 << 10  // of one
	maxSetsBytes = 48 << 10 // of all: a sample entry has at most 64 KiB
	maxSets      = 255      // of all
)

// take notes the sets and returns those that are new.
func (s *sets) take(nals [][]byte) (changed [][]byte) {
	for _, nal := range nals {
		key, ok := s.syntax.key(nal)
		if !ok || len(nal) > maxSetBytes || bytes.Equal(s.list[key], nal) {
			continue
		}
		s.bytes += len(nal) - len(s.list[key])
		if s.list == nil || s.bytes > maxSetsBytes || len(s.list) == maxSets && s.list[key] == nil {
			s.list, s.bytes = make(map[setKey][]byte), len(nal) // forget what was in force long ago
		}
		s.list[key] = bytes.Clone(nal)
		s.dirty = true
		changed = append(changed, nal)
	}
	return changed
}

// header describes a track by the sets in force.
func (s *sets) header() (cmaf.Header, error) {
	keys := slices.SortedFunc(maps.Keys(s.list), func(a, b setKey) int {
		return cmp.Or(cmp.Compare(a.typ, b.typ), cmp.Compare(a.id, b.id))
	})
	list := make([][]byte, len(keys))
	for i, k := range keys {
		list[i] = s.list[k]
	}
	return s.syntax.header(list)
}

func appendSets(b []byte, sets [][]byte) []byte {
	for _, nal := range sets {
		b = binary.BigEndian.AppendUint16(b, uint16(len(nal)))
		b = append(b, nal...)
	}
	return b
}

// A bitReader reads the bits of a parameter set. Past the end it reads zeros
// and over is set.
type bitReader struct {
	b    []byte
	at   int // bits
	over bool
}

// newBitReader returns a reader of a NAL unit's payload, without the bytes that
// prevent emulation of start codes.
func newBitReader(payload []byte) *bitReader {
	return &bitReader{b: bytes.ReplaceAll(payload, []byte{0, 0, 3}, []byte{0, 0})}
}

func (r *bitReader) bits(n int) (v uint32) {
	for range n {
		v <<= 1
		if r.at/8 >= len(r.b) {
			r.over = true
			continue
		}
		v |= uint32(r.b[r.at/8]>>(7-r.at%8)) & 1
		r.at++
	}
	return v
}

func (r *bitReader) skip(n int) { r.at += n }

// ue reads an unsigned Exp-Golomb code.
func (r *bitReader) ue() uint32 {
	zeros := 0
	for r.bits(1) == 0 {
		if zeros++; zeros > 31 || r.over {
			r.over = true
			return 0
		}
	}
	return 1<<zeros - 1 + r.bits(zeros)
}
