package codec

import (
	"errors"
	"fmt"
)

// OBU types, AV1 section 6.2.2.
const (
	obuSequenceHeader = 1
	obuFrameHeader    = 3
	obuFrame          = 6
)

// AV1 reads an AV1 codec configuration record, the content of an av1C box (AV1
// Codec ISO Media File Format Binding section 2.3). Without a sequence header
// in it, which only then is in the samples, size and rate are not known here.
func AV1(record []byte) (Video, error) {
	if len(record) == 0 {
		return Video{}, errors.New("is empty, for the encoder had no sequence header yet when the moov was written " +
			"(ffmpeg with libaom: -movflags +delay_moov in place of +empty_moov and +cmaf)")
	}
	if len(record) < 4 {
		return Video{}, fmt.Errorf("has %d bytes of content, needs 4", len(record))
	}
	if record[0] != 0x81 {
		return Video{}, fmt.Errorf("marker and version are 0x%02x, want 0x81", record[0])
	}
	r := bitReader{b: record[1:3]}
	s := av1Sequence{profile: r.bits(3), level: r.bits(5), tier: r.bit(), colours: av1Undescribed}
	s.bitDepth = 8
	if high := r.flag(); high {
		s.bitDepth = 10
	}
	if twelve := r.flag(); twelve {
		s.bitDepth = 12
	}
	s.mono, s.subsampling[0], s.subsampling[1], s.subsampling[2] = r.bit(), r.bit(), r.bit(), r.bits(2)
	for p := record[4:]; len(p) > 0; {
		o, rest, err := cutOBU(p)
		if err != nil {
			return Video{}, err
		}
		if o.typ == obuSequenceHeader {
			if s, err = parseAV1Sequence(o.body); err != nil {
				return Video{}, err
			}
			break
		}
		p = rest
	}
	return Video{
		Codec: s.codec(), Width: s.width, Height: s.height, FrameRate: s.frameRate, BitDepth: s.bitDepth,
		KeyFrames: KeyFrames{syntax: syntaxAV1},
	}, nil
}

// codec returns the codecs parameter (section 5 of the binding). Its second
// part stands only where something of it differs from what its absence means:
// 4:2:0 in colours of BT.709, limited range. A bitstream that does not describe
// its colours does not differ by that, for then players assume the same.
func (s av1Sequence) codec() string {
	tier := 'M'
	if s.tier == 1 {
		tier = 'H'
	}
	short := fmt.Sprintf("av01.%d.%02d%c.%02d", s.profile, s.level, tier, s.bitDepth)
	plain := s.colours == av1Undescribed || s.colours == av1BT709
	if plain && s.mono == 0 && s.subsampling == [3]uint32{1, 1, 0} && s.fullRange == 0 {
		return short
	}
	return fmt.Sprintf("%s.%d.%d%d%d.%02d.%02d.%02d.%d", short, s.mono, s.subsampling[0], s.subsampling[1], s.subsampling[2],
		s.colours[0], s.colours[1], s.colours[2], s.fullRange)
}

// An obu is one open bitstream unit.
type obu struct {
	typ  byte
	body []byte
}

// cutOBU takes the first OBU off b, which is not empty (AV1 sections 5.3.1 and
// 5.3.2). One without a size field reaches to the end.
func cutOBU(b []byte) (o obu, rest []byte, err error) {
	head := b[0]
	if head&0x80 != 0 {
		return obu{}, nil, fmt.Errorf("OBU header 0x%02x has its forbidden bit set", head)
	}
	o.typ, b = head>>3&15, b[1:]
	if head&4 != 0 { // obu_extension_flag
		if len(b) == 0 {
			return obu{}, nil, fmt.Errorf("ends inside an OBU header")
		}
		b = b[1:]
	}
	if head&2 == 0 { // obu_has_size_field
		o.body = b
		return o, nil, nil
	}
	size := uint64(0)
	for i := 0; ; i++ { // leb128(), section 4.10.5
		if i == len(b) || i == 8 {
			return obu{}, nil, fmt.Errorf("an OBU of type %d has no end to its size", o.typ)
		}
		size |= uint64(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			b = b[i+1:]
			break
		}
	}
	if size > uint64(len(b)) {
		return obu{}, nil, fmt.Errorf("an OBU of type %d has size %d, %d bytes are left", o.typ, size, len(b))
	}
	o.body = b[:size]
	return o, b[size:], nil
}

// av1KeyFrame reports whether a sample, one temporal unit, starts with a key
// frame that is shown (section 2.4 of the binding). A frame header is read as
// far as its type.
func av1KeyFrame(sample []byte) bool {
	still := false
	for len(sample) > 0 {
		o, rest, err := cutOBU(sample)
		if err != nil {
			return false
		}
		r := bitReader{b: o.body}
		switch o.typ {
		case obuSequenceHeader:
			r.skip(4)        // seq_profile, still_picture
			still = r.flag() // reduced_still_picture_header
		case obuFrame, obuFrameHeader:
			if still {
				return true
			}
			// show_existing_frame 0, frame_type KEY_FRAME (0), show_frame 1
			return r.bits(4) == 1 && !r.over
		}
		sample = rest
	}
	return false
}

// AV1SequenceHeader returns the sequence header of a sample, a whole OBU with
// its size, or nil when it has none.
func AV1SequenceHeader(sample []byte) []byte {
	for len(sample) > 0 {
		o, rest, err := cutOBU(sample)
		if err != nil {
			return nil
		}
		if o.typ == obuSequenceHeader && sample[0]&2 != 0 {
			return sample[:len(sample)-len(rest)]
		}
		sample = rest
	}
	return nil
}
