package codec

import "fmt"

// VP9 reads a VP codec configuration record, the content of a vpcC box after
// its version and flags (VP Codec ISO Media File Format Binding, version 1). It
// does not say the picture's size.
func VP9(record []byte) (Video, error) {
	const size = 8
	if len(record) < size {
		return Video{}, fmt.Errorf("has %d bytes of content, needs %d", len(record), size)
	}
	r := bitReader{b: record}
	profile, level, depth := r.bits(8), r.bits(8), r.bits(4)
	chroma, full := r.bits(3), r.bit()
	colours := [3]uint32{r.bits(8), r.bits(8), r.bits(8)}
	if profile > 3 || depth != 8 && depth != 10 && depth != 12 || chroma > 3 {
		return Video{}, fmt.Errorf("profile %d with %d bits and chroma %d is no VP9", profile, depth, chroma)
	}
	v := Video{
		Codec: fmt.Sprintf("vp09.%02d.%02d.%02d", profile, level, depth), BitDepth: int(depth),
		KeyFrames: KeyFrames{syntax: syntaxVP9},
	}
	// The second part stands only where something of it differs from what its
	// absence means: 4:2:0, colours of BT.709 or not described, limited range.
	plain := chroma <= 1 && full == 0
	for _, c := range colours {
		plain = plain && (c == 1 || c == 2)
	}
	if !plain {
		v.Codec += fmt.Sprintf(".%02d.%02d.%02d.%02d.%02d", chroma, colours[0], colours[1], colours[2], full)
	}
	return v, nil
}

// A VP9Frame is what the uncompressed header of a key frame says.
type VP9Frame struct {
	Key           bool
	Width, Height int // of a key frame
}

// ParseVP9Frame reads the beginning of a frame, or of the first of a
// superframe (VP9 bitstream section 6.2): whether decoding can start there, and
// how large the picture is then. ok is false for what is no frame.
func ParseVP9Frame(sample []byte) (f VP9Frame, ok bool) {
	r := bitReader{b: sample[:min(len(sample), 32)]}
	if r.bits(2) != 2 { // frame_marker
		return f, false
	}
	profile := r.bit() | r.bit()<<1
	if profile == 3 {
		r.bit()
	}
	if r.flag() { // show_existing_frame
		return f, !r.over
	}
	f.Key = r.bit() == 0 // frame_type
	r.skip(2)            // show_frame, error_resilient_mode
	if !f.Key {
		return f, !r.over
	}
	if r.bits(24) != 0x498342 { // frame_sync_code
		return VP9Frame{}, false
	}
	if profile >= 2 {
		r.bit() // ten_or_twelve_bit
	}
	if space := r.bits(3); space != 7 { // not RGB
		r.bit() // color_range
		if profile&1 == 1 {
			r.skip(3)
		}
	} else if profile&1 == 1 {
		r.bit()
	}
	f.Width, f.Height = int(r.bits(16))+1, int(r.bits(16))+1
	return f, !r.over
}

func vp9KeyFrame(sample []byte) bool {
	f, ok := ParseVP9Frame(sample)
	return ok && f.Key
}
