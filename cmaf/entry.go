package cmaf

import (
	"encoding/binary"

	"github.com/broadcastd/broadcastd/cmaf/codec"
)

const (
	visualEntrySize = 78 // fixed fields of VisualSampleEntry, ISO/IEC 14496-12 section 12.1.3
	audioEntrySize  = 28 // of AudioSampleEntry, section 12.2.3
	maxSampleEntry  = 64 << 10
)

// An entryCodec reads one kind of sample entry. Its config is the box inside
// that configures the decoder, and parse fills h from it.
type entryCodec struct {
	kind    Kind
	allSync bool // every sample is a random access point, whatever its flags say
	config  fourCC
	parse   func(entry fourCC, config *box, h *Header) error
}

// codecOf is the table of sample entries that can be carried.
func codecOf(entry fourCC) (entryCodec, bool) {
	switch entry {
	case typeAvc1, typeAvc3:
		return entryCodec{kind: KindVideo, config: typeAvcC, parse: parseAvcC}, true
	case typeMp4a:
		return entryCodec{kind: KindAudio, allSync: true, config: typeEsds, parse: parseEsds}, true
	}
	return entryCodec{}, false
}

func parseAvcC(entry fourCC, b *box, h *Header) error {
	v, err := codec.AVC(entry.String(), b.body)
	if err != nil {
		return b.fail("%v", err)
	}
	h.Codec, h.FrameRate, h.nalLength = v.Codec, v.FrameRate, v.NALLength
	if v.Width > 0 {
		h.Width, h.Height = v.Width, v.Height
	}
	return nil
}

func parseEsds(_ fourCC, b *box, h *Header) error {
	if _, _, err := b.fullBox(4); err != nil {
		return err
	}
	a, err := codec.ESDS(b.body[4:])
	if err != nil {
		return b.fail("%v", err)
	}
	h.Codec, h.SampleRate, h.Bitrate = a.Codec, a.SampleRate, max(h.Bitrate, a.Bitrate)
	if a.Channels > 0 {
		h.Channels = a.Channels
	}
	return nil
}

// parseEntry fills h from a sample entry.
func (c entryCodec) parseEntry(entry *box, h *Header) error {
	h.Kind = c.kind
	fixed, err := parseEntryFields(entry, h)
	if err != nil {
		return err
	}
	found := false
	it := boxIter{parent: entry.path(), off: entry.bodyOff() + int64(fixed), b: entry.body[fixed:]}
	for {
		b, ok, err := it.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch b.typ {
		case c.config:
			err, found = c.parse(entry.typ, &b, h), true
		case typeBtrt:
			err = parseBtrt(&b, h)
		}
		if err != nil {
			return err
		}
	}
	if !found {
		return entry.fail("has no %s", c.config)
	}
	return nil
}

// parseEntryFields reads the fixed fields of a sample entry and returns how
// many bytes they take.
func parseEntryFields(entry *box, h *Header) (int, error) {
	be, p := binary.BigEndian, entry.body
	if h.Kind == KindVideo {
		if err := entry.need(visualEntrySize); err != nil {
			return 0, err
		}
		h.Width, h.Height = int(be.Uint16(p[24:])), int(be.Uint16(p[26:]))
		return visualEntrySize, nil
	}
	if err := entry.need(audioEntrySize); err != nil {
		return 0, err
	}
	h.Channels, h.SampleRate = int(be.Uint16(p[16:])), int(be.Uint32(p[24:])>>16)
	switch v := be.Uint16(p[8:]); v {
	case 0:
		return audioEntrySize, nil
	case 1: // QuickTime sound description version 1
		return audioEntrySize + 16, entry.need(audioEntrySize + 16)
	default:
		return 0, entry.fail("sound description version %d is not supported", v)
	}
}

// parseBtrt takes the maximum bitrate, or the average where it is larger
// (ISO/IEC 14496-12 section 8.5.2.2).
func parseBtrt(b *box, h *Header) error {
	if err := b.need(12); err != nil {
		return err
	}
	rate := max(binary.BigEndian.Uint32(b.body[4:]), binary.BigEndian.Uint32(b.body[8:]))
	h.Bitrate = max(h.Bitrate, int(rate))
	return nil
}
