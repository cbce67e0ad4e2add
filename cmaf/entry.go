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

// parseEntry fills h from a sample entry of t's handler.
func (t *trak) parseEntry(entry *box) error {
	c, err := codec.EntryOf(entry.typ.String())
	if err != nil {
		return entry.fail("%v", err)
	}
	h := &t.header
	if h.Kind = KindAudio; c.Video != nil {
		h.Kind = KindVideo
	}
	if (h.Kind == KindVideo) != (t.handler == typeVide) {
		return entry.fail("does not go with the handler %s", t.handler)
	}
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
		switch {
		case b.typ == typeBtrt:
			err = parseBtrt(&b, h)
		case b.typ.String() == c.Config && !found:
			err, found = parseConfig(&b, c, h), true
		}
		if err != nil {
			return err
		}
	}
	if !found {
		return entry.fail("has no %s", c.Config)
	}
	return nil
}

// parseConfig fills h from the box that configures the decoder.
func parseConfig(b *box, c codec.Entry, h *Header) error {
	config := b.body
	if c.FullBox {
		if _, _, err := b.fullBox(4); err != nil {
			return err
		}
		config = config[4:]
	}
	if c.Video != nil {
		v, err := c.Video(config)
		if err != nil {
			return b.fail("%v", err)
		}
		h.Codec, h.FrameRate, h.BitDepth, h.keyFrames = v.Codec, v.FrameRate, v.BitDepth, v.KeyFrames
		if v.Width > 0 {
			h.Width, h.Height = v.Width, v.Height
		}
		return nil
	}
	a, err := c.Audio(config)
	if err != nil {
		return b.fail("%v", err)
	}
	h.Codec, h.SampleRate, h.Bitrate = a.Codec, a.SampleRate, max(h.Bitrate, a.Bitrate)
	if a.Channels > 0 {
		h.Channels = a.Channels
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
