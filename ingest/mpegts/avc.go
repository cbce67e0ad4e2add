package mpegts

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/broadcastd/broadcastd/cmaf"
)

// NAL unit types of H.264, ISO/IEC 14496-10 table 7-1.
const (
	nalSlice    = 1
	nalIDR      = 5
	nalSEI      = 6
	nalSPS      = 7
	nalPPS      = 8
	nalAUD      = 9
	nalFiller   = 12
	nalTypeMask = 0x1f

	maxAccessUnit = 8 << 20 // bytes
	maxCTS        = 10 * clockRate

	// defaultFrame is the duration of a picture alone, 1/30 s.
	defaultFrame = clockRate / 30
)

// An avc turns one H.264 stream into samples of avc1: the access units with
// their lengths in front of the NAL units, parameter sets in the header.
//
// A PES packet with a time begins an access unit; packets without one go on
// with it, as where a muxer splits large pictures.
type avc struct {
	s    *stream
	sets avcSets

	at      stamp
	unit    []byte // the access unit at at, as it comes
	lost    bool   // unit has a hole, or its start did not come
	waiting bool   // no random access point came yet

	next     avcSample // waits for its duration
	pending  bool      // next is valid
	duration uint32    // of the sample before
}

type avcSample struct {
	stamp
	sync bool
	data []byte
}

func newAVC(s *stream) elementary { return &avc{s: s, lost: true, waiting: true} }

func (a *avc) begin(t stamp) error {
	if err := a.finish(); err != nil {
		return err
	}
	if a.pending {
		if err := a.emit(t); err != nil {
			return err
		}
	}
	a.at, a.lost = t, false
	return nil
}

func (a *avc) data(p []byte) error {
	if a.lost {
		return nil
	}
	if len(a.unit)+len(p) > maxAccessUnit {
		a.lose()
		return nil
	}
	a.unit = append(a.unit, p...)
	return nil
}

func (a *avc) lose() {
	if !a.lost {
		a.s.drop()
	}
	a.unit, a.lost = a.unit[:0], true
}

func (a *avc) flush() error {
	err := a.finish()
	a.lost = true
	return err
}

func (a *avc) close() error {
	if err := a.flush(); err != nil || !a.pending {
		return err
	}
	a.pending = false
	return a.write(a.frame())
}

// frame returns the duration of a picture whose own is not known.
func (a *avc) frame() uint32 {
	if a.duration == 0 {
		return defaultFrame
	}
	return a.duration
}

// finish makes the next sample of the access unit that came.
func (a *avc) finish() error {
	if a.lost || len(a.unit) == 0 {
		return nil
	}
	defer func() { a.unit, a.lost = a.unit[:0], true }()
	u := parseUnit(a.unit)
	if cts := a.at.pts - a.at.dts; !u.picture || cts < -maxCTS || cts > maxCTS {
		a.sets.take(u.sets) // parameter sets may come in a packet of their own
		a.s.drop()
		return nil
	}
	changed := a.sets.take(u.sets)
	if u.sync && a.sets.dirty {
		if a.pending { // it needs the header from before
			if err := a.emit(a.at); err != nil {
				return err
			}
		}
		if err := a.setHeader(); err != nil {
			return err
		}
	}
	if a.waiting = a.waiting && !(u.sync && a.s.known); a.waiting {
		a.s.drop()
		return nil
	}
	if a.pending {
		if err := a.emit(a.at); err != nil {
			return err
		}
	}
	var inBand [][]byte
	if !u.sync {
		inBand = changed // between random access points only a sample can bring them
	}
	a.next = avcSample{a.at, u.sync, u.lengthPrefixed(inBand)}
	a.pending = true
	return nil
}

// setHeader describes the track by the parameter sets in force. Sets that make
// no sense leave the header as it is.
func (a *avc) setHeader() error {
	h, err := a.sets.header()
	if err != nil {
		a.s.d.c.Log.Warn("parameter sets are not understood", "pid", a.s.pid, "err", err)
		return nil
	}
	a.sets.dirty = false
	return a.s.setHeader(h)
}

// emit hands on the sample that waits, which lasts until the next one at t.
func (a *avc) emit(t stamp) error {
	a.pending = false
	step := t.dts - a.next.dts
	switch {
	case step > clockRate || step < -clockRate:
		err := a.write(a.frame())
		a.s.d.jump(a.s, step-int64(a.duration))
		return err
	case step <= 0:
		// The times of decoding do not rise. Only their order counts for a
		// player, and presentation times stay as they are.
		step = 1
	default:
		a.duration = uint32(step)
	}
	return a.write(uint32(step))
}

func (a *avc) write(duration uint32) error {
	flags := cmaf.FlagsNonSync
	if a.next.sync {
		flags = cmaf.FlagsSync
	}
	n := &a.next
	return a.s.sample(n.dts, cmaf.Sample{Duration: duration, Flags: flags, CompositionOffset: int32(n.pts - n.dts)}, n.data)
}

// An avcUnit is an access unit taken apart.
type avcUnit struct {
	nals    [][]byte // what goes into the sample
	sets    [][]byte // SPS and PPS
	picture bool     // it has a slice
	sync    bool     // decoding can begin here
}

// parseUnit takes an access unit of Annex B apart. The results alias b.
func parseUnit(b []byte) avcUnit {
	var u avcUnit
	recovery := false
	for nal := range nalUnits(b) {
		switch typ := nal[0] & nalTypeMask; typ {
		case nalAUD, nalFiller:
			continue
		case nalSPS, nalPPS:
			u.sets = append(u.sets, nal)
			continue
		case nalSEI:
			recovery = recovery || recoversAtOnce(nal)
		default:
			u.picture = u.picture || typ >= nalSlice && typ <= nalIDR
			u.sync = u.sync || typ == nalIDR
		}
		u.nals = append(u.nals, nal)
	}
	u.sync = u.picture && (u.sync || recovery)
	return u
}

// nalUnits yields the NAL units of a byte stream (Annex B).
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

// recoversAtOnce reports whether a SEI has a recovery point message with a
// recovery_frame_cnt of 0, which is what an open GOP begins with (sections
// 7.3.2.3 and D.1.8).
func recoversAtOnce(nal []byte) bool {
	for p := nal[1:]; len(p) > 2; {
		var typ, size int
		var ok bool
		if typ, p, ok = seiValue(p); !ok {
			return false
		}
		if size, p, ok = seiValue(p); !ok || size > len(p) {
			return false
		}
		if typ == 6 {
			return size > 0 && p[0]&0x80 != 0 // ue(v) of 0
		}
		p = p[size:]
	}
	return false
}

func seiValue(p []byte) (v int, rest []byte, ok bool) {
	for i, c := range p {
		v += int(c)
		if c != 0xff {
			return v, p[i+1:], true
		}
	}
	return 0, nil, false
}

// lengthPrefixed returns the sample: sets, then the NAL units, each with its
// length in four bytes.
func (u avcUnit) lengthPrefixed(sets [][]byte) []byte {
	n := 0
	for _, list := range [][][]byte{sets, u.nals} {
		for _, nal := range list {
			n += 4 + len(nal)
		}
	}
	out := make([]byte, 0, n)
	for _, list := range [][][]byte{sets, u.nals} {
		for _, nal := range list {
			out = binary.BigEndian.AppendUint32(out, uint32(len(nal)))
			out = append(out, nal...)
		}
	}
	return out
}

// avcSets are the parameter sets in force.
type avcSets struct {
	sps   [32][]byte
	pps   [256][]byte
	bytes int
	dirty bool // a set changed since the header was made
}

// Bounds on parameter sets.
const (
	maxSetBytes  = 4 << 10  // of one
	maxSetsBytes = 48 << 10 // of all: a sample entry has at most 64 KiB
)

// take notes the sets and returns those that are new.
func (s *avcSets) take(nals [][]byte) (changed [][]byte) {
	for _, nal := range nals {
		at := s.slot(nal)
		if at == nil || len(nal) > maxSetBytes || bytes.Equal(*at, nal) {
			continue
		}
		if s.bytes += len(nal) - len(*at); s.bytes > maxSetsBytes {
			*s = avcSets{bytes: len(nal)} // forget what was in force long ago
		}
		*at = bytes.Clone(nal)
		s.dirty = true
		changed = append(changed, nal)
	}
	return changed
}

// slot returns where nal belongs by its ID, nil when it has none.
func (s *avcSets) slot(nal []byte) *[]byte {
	if nal[0]&nalTypeMask == nalPPS {
		if id, ok := expGolomb(nal[1:], 0); ok && id < uint32(len(s.pps)) {
			return &s.pps[id]
		}
		return nil
	}
	if len(nal) < 5 {
		return nil
	}
	if id, ok := expGolomb(nal[4:], 0); ok && id < uint32(len(s.sps)) {
		return &s.sps[id]
	}
	return nil
}

// expGolomb reads element n, counted from 0, of a run of ue(v) (section 9.1).
// Emulation prevention does not occur among the few that are read.
func expGolomb(b []byte, n int) (uint32, bool) {
	at := 0
	bit := func() (uint32, bool) {
		if at/8 >= len(b) {
			return 0, false
		}
		v := uint32(b[at/8]>>(7-at%8)) & 1
		at++
		return v, true
	}
	for ; ; n-- {
		zeros := 0
		for {
			v, ok := bit()
			if !ok || zeros > 16 {
				return 0, false
			}
			if v == 1 {
				break
			}
			zeros++
		}
		v := uint32(1)
		for range zeros {
			b, ok := bit()
			if !ok {
				return 0, false
			}
			v = v<<1 | b
		}
		if n == 0 {
			return v - 1, true
		}
	}
}

// header describes a track by the sets in force.
func (s *avcSets) header() (cmaf.Header, error) {
	record, err := s.record()
	if err != nil {
		return cmaf.Header{}, err
	}
	return videoHeader("avc1", appendBox(nil, "avcC", record))
}

// record returns the AVC decoder configuration record, ISO/IEC 14496-15
// section 5.3.3.1.
func (s *avcSets) record() ([]byte, error) {
	var sps, pps [][]byte
	for _, nal := range s.sps {
		if nal != nil && len(sps) < 31 {
			sps = append(sps, nal)
		}
	}
	for _, nal := range s.pps {
		if nal != nil && len(pps) < math.MaxUint8 {
			pps = append(pps, nal)
		}
	}
	if len(sps) == 0 || len(pps) == 0 {
		return nil, fmt.Errorf("%d SPS and %d PPS came so far", len(sps), len(pps))
	}
	first := sps[0]
	b := []byte{1, first[1], first[2], first[3], 0xfc | 3, 0xe0 | byte(len(sps))}
	b = appendSets(b, sps)
	b = append(b, byte(len(pps)))
	b = appendSets(b, pps)
	switch first[1] {
	case 100, 110, 122, 144:
		chroma, depth, depthChroma := highProfile(first)
		b = append(b, 0xfc|chroma, 0xf8|depth, 0xf8|depthChroma, 0)
	}
	return b, nil
}

func appendSets(b []byte, sets [][]byte) []byte {
	for _, nal := range sets {
		b = binary.BigEndian.AppendUint16(b, uint16(len(nal)))
		b = append(b, nal...)
	}
	return b
}

// highProfile reads chroma_format_idc and the bit depths less 8 of an SPS of a
// high profile (section 7.3.2.1.1). With 4:4:4 a flag stands before the depths,
// but the profiles of record do not have that.
func highProfile(sps []byte) (chroma, depth, depthChroma byte) {
	value := func(n int) byte {
		v, _ := expGolomb(sps[4:], n)
		return byte(v)
	}
	return value(1) & 3, value(2) & 7, value(3) & 7
}
