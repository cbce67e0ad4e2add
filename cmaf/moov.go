package cmaf

import (
	"encoding/binary"
	"fmt"
	"math"
)

const maxTracks = 64

// A trak is what a trak box and its trex say.
type trak struct {
	box     box
	id      uint32
	handler fourCC
	known   bool // a track that can be carried; else its samples are left out
	header  Header
	entry   []byte // the sample entry, header included; aliases the input
	matrix  [9]int32
	width   uint32 // 16.16, as shown
	height  uint32

	edits editList
}

// An editList is the shift that an edts box asks for.
type editList struct {
	delay uint64 // of leading empty edits, ticks of the movie's timescale
	media int64  // where the media starts, ticks of the track's timescale
}

// parseMoov reads a moov box whose tracks have no samples of their own.
func parseMoov(moov *box) ([]trak, error) {
	var traks []trak
	var movieScale uint32
	var mvex box
	it := moov.children("moov")
	for {
		b, ok, err := it.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		switch b.typ {
		case typeMvhd:
			if movieScale, err = parseTimescale(&b); err != nil {
				return nil, err
			}
		case typeTrak:
			if len(traks) == maxTracks {
				return nil, b.fail("is track %d, at most %d are taken", maxTracks+1, maxTracks)
			}
			t, err := parseTrak(&b)
			if err != nil {
				return nil, err
			}
			for i := range traks {
				if traks[i].id == t.id {
					return nil, b.fail("has track ID %d, and so has the trak at byte %d", t.id, traks[i].box.off)
				}
			}
			traks = append(traks, t)
		case typeMvex:
			mvex = b
		}
	}
	if movieScale == 0 {
		return nil, moov.fail("has no mvhd")
	}
	if len(traks) == 0 {
		return nil, moov.fail("has no trak")
	}
	if mvex.typ != 0 {
		if err := parseMvex(&mvex, traks); err != nil {
			return nil, err
		}
	}
	for i := range traks {
		if err := traks[i].finish(movieScale); err != nil {
			return nil, err
		}
	}
	return traks, nil
}

// finish turns the edit list into a shift and writes the track's own Init.
func (t *trak) finish(movieScale uint32) error {
	if !t.known {
		return nil
	}
	delay := Rescale(t.edits.delay, movieScale, t.header.Timescale)
	if delay > maxMediaTime {
		return t.box.fail("its edit list delays it by %d ticks", delay)
	}
	t.header.shift = int64(delay) - t.edits.media
	t.header.trackID = t.id
	init, err := encodeInit([]*trak{t})
	if err != nil {
		return t.box.fail("%v", err)
	}
	t.header.Init = init
	return nil
}

// parseTimescale reads the timescale of an mvhd or mdhd box.
func parseTimescale(b *box) (uint32, error) {
	version, _, err := b.fullBox(20)
	if err != nil {
		return 0, err
	}
	at := 12
	if version == 1 {
		if err := b.need(32); err != nil {
			return 0, err
		}
		at = 20
	}
	scale := binary.BigEndian.Uint32(b.body[at:])
	if scale == 0 {
		return 0, b.fail("timescale is 0")
	}
	return scale, nil
}

func parseTrak(b *box) (trak, error) {
	t := trak{box: *b}
	var mdia box
	it := b.children("moov/trak")
	for {
		c, ok, err := it.next()
		if err != nil {
			return t, err
		}
		if !ok {
			break
		}
		switch c.typ {
		case typeTkhd:
			err = t.parseTkhd(&c)
		case typeEdts:
			err = t.parseEdts(&c)
		case typeMdia:
			mdia = c
		}
		if err != nil {
			return t, err
		}
	}
	if t.id == 0 {
		return t, b.fail("has no tkhd")
	}
	if mdia.typ == 0 {
		return t, b.fail("has no mdia")
	}
	return t, t.parseMdia(&mdia)
}

func (t *trak) parseTkhd(b *box) error {
	version, _, err := b.fullBox(84)
	if err != nil {
		return err
	}
	id, rest := 12, 40
	if version == 1 {
		if err := b.need(96); err != nil {
			return err
		}
		id, rest = 20, 52
	}
	t.id = binary.BigEndian.Uint32(b.body[id:])
	if t.id == 0 {
		return b.fail("track ID is 0")
	}
	for i := range t.matrix {
		t.matrix[i] = int32(binary.BigEndian.Uint32(b.body[rest+4*i:]))
	}
	t.width = binary.BigEndian.Uint32(b.body[rest+36:])
	t.height = binary.BigEndian.Uint32(b.body[rest+40:])
	return nil
}

// parseEdts reads the edit list: empty edits, then at most one with media.
func (t *trak) parseEdts(edts *box) error {
	it := edts.children("moov/trak/edts")
	for {
		b, ok, err := it.next()
		if err != nil || !ok {
			return err
		}
		if b.typ != typeElst {
			continue
		}
		version, _, err := b.fullBox(8)
		if err != nil {
			return err
		}
		entry := 12
		if version == 1 {
			entry = 20
		}
		count := binary.BigEndian.Uint32(b.body[4:])
		if uint64(count)*uint64(entry) > uint64(len(b.body)-8) {
			return b.fail("has %d edits in %d bytes", count, len(b.body)-8)
		}
		media := false
		for i := range int(count) {
			p := b.body[8+i*entry:]
			var length uint64
			var start int64
			if version == 1 {
				length, start = binary.BigEndian.Uint64(p), int64(binary.BigEndian.Uint64(p[8:]))
			} else {
				length, start = uint64(binary.BigEndian.Uint32(p)), int64(int32(binary.BigEndian.Uint32(p[4:])))
			}
			switch {
			case media:
				return b.fail("has more than one edit with media, which a stream cannot show")
			case start == -1:
				if t.edits.delay += length; t.edits.delay > maxMediaTime {
					return b.fail("starts with an empty edit of %d ticks", length)
				}
			case start < 0 || start > maxMediaTime:
				return b.fail("edit %d starts at media time %d", i+1, start)
			case binary.BigEndian.Uint32(p[entry-4:]) != 1<<16:
				return b.fail("edit %d does not play at rate 1", i+1)
			default:
				media, t.edits.media = true, start
			}
		}
	}
}

func (t *trak) parseMdia(mdia *box) error {
	var minf box
	it := mdia.children("moov/trak/mdia")
	for {
		b, ok, err := it.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch b.typ {
		case typeMdhd:
			if t.header.Timescale, err = parseTimescale(&b); err != nil {
				return err
			}
			if err := t.parseLanguage(&b); err != nil {
				return err
			}
		case typeHdlr:
			if err := b.need(12); err != nil {
				return err
			}
			t.handler = fourCC(binary.BigEndian.Uint32(b.body[8:]))
		case typeMinf:
			minf = b
		}
	}
	switch {
	case t.header.Timescale == 0:
		return mdia.fail("has no mdhd")
	case t.handler == 0:
		return mdia.fail("has no hdlr")
	case minf.typ == 0:
		return mdia.fail("has no minf")
	case t.handler != typeVide && t.handler != typeSoun:
		return nil // timed metadata, timecode and the like: not a track for us
	}
	return t.parseMinf(&minf)
}

// parseLanguage reads the packed ISO 639-2/T code of an mdhd box.
func (t *trak) parseLanguage(b *box) error {
	at := 20
	if b.body[0] == 1 {
		at = 32
	}
	if err := b.need(at + 2); err != nil {
		return err
	}
	v := binary.BigEndian.Uint16(b.body[at:])
	code := []byte{byte(v>>10&31) + 0x60, byte(v>>5&31) + 0x60, byte(v&31) + 0x60}
	for _, c := range code {
		if c < 'a' || c > 'z' {
			return nil // QuickTime's numbers, or nothing
		}
	}
	if s := string(code); s != "und" {
		t.header.Language = s
	}
	return nil
}

func (t *trak) parseMinf(minf *box) error {
	stbl, err := minf.child("moov/trak/mdia/minf", typeStbl)
	if err != nil {
		return err
	}
	found := false
	it := stbl.children("moov/trak/mdia/minf/stbl")
	for {
		b, ok, err := it.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch b.typ {
		case typeStsd:
			found = true
			err = t.parseStsd(&b)
		case typeStsz:
			err = refuseSamples(&b)
		}
		if err != nil {
			return err
		}
	}
	if !found {
		return stbl.fail("has no stsd")
	}
	return nil
}

// child returns the first child of type typ.
func (b *box) child(path string, typ fourCC) (box, error) {
	it := b.children(path)
	for {
		c, ok, err := it.next()
		if err != nil {
			return box{}, err
		}
		if !ok {
			return box{}, b.fail("has no %s", typ)
		}
		if c.typ == typ {
			return c, nil
		}
	}
}

// refuseSamples fails for an stsz that counts samples: they would lie outside
// every fragment.
func refuseSamples(b *box) error {
	if err := b.need(12); err != nil {
		return err
	}
	if n := binary.BigEndian.Uint32(b.body[8:]); n > 0 {
		return b.fail("holds %d samples outside any fragment; write a fragmented file with an empty moov "+
			"(ffmpeg: -movflags +empty_moov+default_base_moof+frag_keyframe)", n)
	}
	return nil
}

// parseStsd reads the first sample entry; fragments that use another are
// refused when they come.
func (t *trak) parseStsd(stsd *box) error {
	if _, _, err := stsd.fullBox(8); err != nil {
		return err
	}
	it := boxIter{parent: stsd.path(), off: stsd.bodyOff() + 8, b: stsd.body[8:]}
	before := it.b
	entry, ok, err := it.next()
	if err != nil {
		return err
	}
	if !ok {
		return stsd.fail("has no sample entry")
	}
	if entry.size > maxSampleEntry {
		return entry.fail("has %d bytes, at most %d are taken", entry.size, maxSampleEntry)
	}
	if err := t.parseEntry(&entry); err != nil {
		return err
	}
	t.known, t.entry = true, before[:entry.size]
	return nil
}

// parseMvex reads the sample defaults of each track.
func parseMvex(mvex *box, traks []trak) error {
	it := mvex.children("moov/mvex")
	for {
		b, ok, err := it.next()
		if err != nil || !ok {
			return err
		}
		if b.typ != typeTrex {
			continue
		}
		if err := b.need(24); err != nil {
			return err
		}
		id := binary.BigEndian.Uint32(b.body[4:])
		for i := range traks {
			if traks[i].id == id {
				traks[i].header.defaults = sampleDefaults{
					entry:    binary.BigEndian.Uint32(b.body[8:]),
					duration: binary.BigEndian.Uint32(b.body[12:]),
					size:     binary.BigEndian.Uint32(b.body[16:]),
					flags:    binary.BigEndian.Uint32(b.body[20:]),
				}
			}
		}
	}
}

// maxMediaTime bounds every time that is read, so that sums of times stay
// within 64 bits.
const maxMediaTime = math.MaxInt64 / 4

// ParseHeader reads the CMAF header of one track, ftyp (which may be absent)
// and moov, as it stands in a catalog. The result's Init is written anew;
// what the header leaves to its readers (trex, track ID, edit list) is kept
// for the result's ParseChunks. Errors are *BoxError.
func ParseHeader(init []byte) (Header, error) {
	t, err := parseSingle(init)
	return t.header, err
}

func parseSingle(init []byte) (trak, error) {
	it := boxIter{b: init}
	for {
		b, ok, err := it.next()
		if err != nil {
			return trak{}, err
		}
		if !ok {
			return trak{}, &BoxError{Box: "moov", Offset: int64(len(init)), Reason: "is missing"}
		}
		if b.typ != typeMoov {
			continue
		}
		traks, err := parseMoov(&b)
		if err != nil {
			return trak{}, err
		}
		if len(traks) != 1 {
			return trak{}, traks[1].box.fail("is a second track; a CMAF header has one")
		}
		if !traks[0].known {
			return trak{}, traks[0].box.fail("has the handler %s; vide and soun can be carried", traks[0].handler)
		}
		return traks[0], nil
	}
}

// BuildInit writes ftyp and moov for a file with one track per header, track
// IDs 1, 2, … in their order; chunks for it are written with those IDs. It
// fails when a header's Init cannot be read.
func BuildInit(headers []Header) ([]byte, error) {
	if len(headers) == 0 || len(headers) > maxTracks {
		return nil, fmt.Errorf("cmaf: a file of %d tracks, want 1 to %d", len(headers), maxTracks)
	}
	traks := make([]*trak, len(headers))
	for i, h := range headers {
		t, err := parseSingle(h.Init)
		if err != nil {
			return nil, fmt.Errorf("cmaf: header %d (%s): %w", i+1, h.Codec, err)
		}
		traks[i] = &t
	}
	return encodeInit(traks)
}
