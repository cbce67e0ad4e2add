package cmaf

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// maxFragmentSamples bounds a moof whose samples cost no bytes of their own.
const maxFragmentSamples = 1 << 17

// tfhd and trun flags, ISO/IEC 14496-12 sections 8.8.7 and 8.8.8.
const (
	tfhdHasBase     = 0x01
	tfhdHasEntry    = 0x02
	tfhdHasDuration = 0x08
	tfhdHasSize     = 0x10
	tfhdHasFlags    = 0x20

	trunDataOffset  = 0x001
	trunFirstFlags  = 0x004
	trunDuration    = 0x100
	trunSize        = 0x200
	trunFlags       = 0x400
	trunComposition = 0x800
)

// A fragTrack is what reading a track's fragments needs and keeps.
type fragTrack struct {
	id       uint32 // 0: any
	skip     bool   // not carried: its samples are left out
	defaults sampleDefaults
	shift    int64 // added to decode times

	next     int64  // decode time after the last fragment, before the shift
	duration uint32 // the last one that was not 0
	dataEnd  int64  // where its last run ended; within one fragment
}

// A fragSample is one sample with nothing left to defaults.
type fragSample struct {
	Sample
	track int   // index of its fragTrack
	run   int   // index in fragment.runs
	dts   int64 // decode time after the shift
	off   int64 // of its bytes in the input
}

// A fragment is what one moof says. Its slices are used again for the next.
type fragment struct {
	end     int64        // of the moof in the input
	samples []fragSample // in the order of their bytes
	runs    []int64      // where each trun starts in the input
	// room is the most bytes that all samples together can have, for it bounds
	// those that cost none in their moof.
	room int64
	// relative reads an explicit base data offset as the moof's own, for
	// fragments that were taken out of their file.
	relative bool
}

// trafDefaults are the values that hold for one traf.
type trafDefaults struct {
	sampleDefaults
	track   int
	base    int64
	dts     int64 // of the next sample, before the shift
	dataEnd int64 // where the previous run ended
}

// parse reads moof. tracks are those that the moov has, in its order.
func (f *fragment) parse(moof *box, tracks []fragTrack) error {
	f.end, f.samples, f.runs = moof.off+moof.size, f.samples[:0], f.runs[:0]
	for i := range tracks {
		tracks[i].dataEnd = f.end
	}
	prevEnd := moof.off // where the first traf's data is counted from
	it := moof.children("moof")
	for {
		b, ok, err := it.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if b.typ == typeTraf {
			if prevEnd, err = f.parseTraf(&b, moof.off, prevEnd, tracks); err != nil {
				return err
			}
		}
	}
	return f.order()
}

// parseTraf reads one traf and returns where its data ends.
func (f *fragment) parseTraf(traf *box, moofOff, prevEnd int64, tracks []fragTrack) (int64, error) {
	d, haveTime, err := f.parseTrafHead(traf, moofOff, prevEnd, tracks)
	if err != nil {
		return 0, err
	}
	t := &tracks[d.track]
	if !haveTime {
		d.dts = t.next
	}
	first := len(f.samples)
	it := traf.children("moof/traf")
	for {
		b, ok, err := it.next()
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		if b.typ == typeTrun {
			if err := f.parseTrun(&b, &d, t); err != nil {
				return 0, err
			}
		}
	}
	if n := len(f.samples); n > first {
		// A muxer that does not know how long its last sample lasts writes 0,
		// and players drop such a sample: let it last as long as the one before.
		if last := &f.samples[n-1]; last.Duration == 0 {
			last.Duration = t.duration
			d.dts += int64(t.duration)
		}
	}
	t.next = d.dts
	if t.next > maxMediaTime {
		return 0, traf.fail("decode time %d is beyond any limit", t.next)
	}
	if t.skip {
		f.samples = f.samples[:first]
	}
	return d.dataEnd, nil
}

// parseTrafHead reads tfhd and tfdt.
func (f *fragment) parseTrafHead(traf *box, moofOff, prevEnd int64, tracks []fragTrack) (d trafDefaults, haveTime bool, err error) {
	d.track = -1
	var dts uint64
	it := traf.children("moof/traf")
	for {
		b, ok, err := it.next()
		if err != nil {
			return d, false, err
		}
		if !ok {
			break
		}
		switch b.typ {
		case typeTfhd:
			if d, err = parseTfhd(&b, moofOff, prevEnd, tracks, f.relative); err != nil {
				return d, false, err
			}
		case typeTfdt:
			if dts, err = parseTfdt(&b); err != nil {
				return d, false, err
			}
			haveTime = true
		}
	}
	if d.track < 0 {
		return d, false, traf.fail("has no tfhd")
	}
	d.dts = int64(dts)
	return d, haveTime, nil
}

func parseTfhd(b *box, moofOff, prevEnd int64, tracks []fragTrack, relative bool) (trafDefaults, error) {
	d := trafDefaults{track: -1}
	_, flags, err := b.fullBox(8)
	if err != nil {
		return d, err
	}
	id := binary.BigEndian.Uint32(b.body[4:])
	for i := range tracks {
		if tracks[i].id == id || tracks[i].id == 0 {
			d.track = i
			break
		}
	}
	if d.track < 0 {
		return d, b.fail("names track %d, which the moov does not have", id)
	}
	d.sampleDefaults = tracks[d.track].defaults
	d.base = prevEnd
	if flags&tfhdDefaultBaseIsMoof != 0 {
		d.base = moofOff
	}
	at := 8
	u32 := func(flag uint32, v *uint32) {
		if flags&flag != 0 && err == nil {
			if err = b.need(at + 4); err == nil {
				*v = binary.BigEndian.Uint32(b.body[at:])
				at += 4
			}
		}
	}
	if flags&tfhdHasBase != 0 {
		if err := b.need(at + 8); err != nil {
			return d, err
		}
		base := binary.BigEndian.Uint64(b.body[at:])
		at += 8
		if base > maxMediaTime {
			return d, b.fail("base data offset %d is beyond any limit", base)
		}
		d.base = int64(base)
		if relative {
			d.base = moofOff
		}
	}
	u32(tfhdHasEntry, &d.entry)
	u32(tfhdHasDuration, &d.duration)
	u32(tfhdHasSize, &d.size)
	u32(tfhdHasFlags, &d.flags)
	if err == nil && d.entry > 1 && !tracks[d.track].skip {
		err = b.fail("uses sample description %d; only the first is carried", d.entry)
	}
	d.dataEnd = d.base
	return d, err
}

func parseTfdt(b *box) (uint64, error) {
	version, _, err := b.fullBox(8)
	if err != nil {
		return 0, err
	}
	if version == 0 {
		return uint64(binary.BigEndian.Uint32(b.body[4:])), nil
	}
	if err := b.need(12); err != nil {
		return 0, err
	}
	dts := binary.BigEndian.Uint64(b.body[4:])
	if dts > maxMediaTime {
		return 0, b.fail("decode time %d is beyond any limit", dts)
	}
	return dts, nil
}

// parseTrun reads one run and adds its samples.
func (f *fragment) parseTrun(b *box, d *trafDefaults, t *fragTrack) error {
	_, flags, err := b.fullBox(8)
	if err != nil {
		return err
	}
	count := binary.BigEndian.Uint32(b.body[4:])
	head, entry := 8, 0
	for _, flag := range [...]uint32{trunDataOffset, trunFirstFlags} {
		if flags&flag != 0 {
			head += 4
		}
	}
	for _, flag := range [...]uint32{trunDuration, trunSize, trunFlags, trunComposition} {
		if flags&flag != 0 {
			entry += 4
		}
	}
	if err := b.need(head); err != nil {
		return err
	}
	if uint64(count)*uint64(entry) > uint64(len(b.body)-head) {
		return b.fail("counts %d samples of %d bytes, has %d bytes for them", count, entry, len(b.body)-head)
	}
	if uint64(count) > uint64(maxFragmentSamples-len(f.samples)) {
		return b.fail("brings the fragment to %d samples, at most %d are taken", uint64(count)+uint64(len(f.samples)), maxFragmentSamples)
	}

	if entry == 0 && int64(count)*max(1, int64(d.size)) > f.room {
		return b.fail("counts %d samples of %d bytes each, where %d bytes can follow", count, d.size, f.room)
	}

	p := b.body[8:]
	off := d.dataEnd
	if flags&trunDataOffset != 0 {
		off = d.base + int64(int32(binary.BigEndian.Uint32(p)))
		p = p[4:]
	}
	firstFlags := d.flags
	if flags&trunFirstFlags != 0 {
		firstFlags = binary.BigEndian.Uint32(p)
		p = p[4:]
	}
	if count > 0 && !t.skip {
		if off < f.end {
			return b.fail("its data starts at byte %d, before its moof ends at %d", off, f.end)
		}
		if off < t.dataEnd {
			return b.fail("its data starts at byte %d, inside or before a run of the same track that ends at %d", off, t.dataEnd)
		}
	}

	run := len(f.runs)
	f.runs = append(f.runs, b.off)
	f.samples = slices.Grow(f.samples, int(count))
	for i := range int(count) {
		s := fragSample{
			Sample: Sample{Duration: d.duration, Size: d.size, Flags: d.flags},
			track:  d.track, run: run, dts: d.dts + t.shift, off: off,
		}
		p = s.read(p, flags)
		if i == 0 && flags&trunFirstFlags != 0 {
			s.Flags = firstFlags
		}
		if s.Duration != 0 {
			t.duration = s.Duration
		}
		d.dts += int64(s.Duration)
		off += int64(s.Size)
		f.samples = append(f.samples, s)
	}
	d.dataEnd = off
	if count > 0 {
		t.dataEnd = off
	}
	return nil
}

// read takes the values that trun has for this sample from the start of p.
// Version 0 has unsigned composition offsets, but files that mean negative
// ones exist and none that needs the upper half, so both versions are signed.
func (s *fragSample) read(p []byte, flags uint32) []byte {
	if flags&trunDuration != 0 {
		s.Duration, p = binary.BigEndian.Uint32(p), p[4:]
	}
	if flags&trunSize != 0 {
		s.Size, p = binary.BigEndian.Uint32(p), p[4:]
	}
	if flags&trunFlags != 0 {
		s.Flags, p = binary.BigEndian.Uint32(p), p[4:]
	}
	if flags&trunComposition != 0 {
		s.CompositionOffset, p = int32(binary.BigEndian.Uint32(p)), p[4:]
	}
	return p
}

// order sorts the samples by where their bytes are, and fails where two
// samples claim the same byte. Within a track they are in order already.
func (f *fragment) order() error {
	byOffset := func(a, b fragSample) int {
		// Where two are at one place, the one that is empty goes first.
		return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(min(a.Size, 1), min(b.Size, 1)))
	}
	if !slices.IsSortedFunc(f.samples, byOffset) {
		slices.SortStableFunc(f.samples, byOffset)
	}
	for i := 1; i < len(f.samples); i++ {
		s, prev := &f.samples[i], &f.samples[i-1]
		if prev.off+int64(prev.Size) > s.off {
			return f.fail(s, "sample bytes %d to %d overlap those of the trun at byte %d", s.off, s.off+int64(s.Size), f.runs[prev.run])
		}
	}
	return nil
}

// fail returns the error that names the trun of s.
func (f *fragment) fail(s *fragSample, format string, args ...any) error {
	b := box{typ: typeTrun, parent: "moof/traf", off: f.runs[s.run]}
	return b.fail(format, args...)
}
