package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// FLAC reads the content of a dfLa box after its version and flags
// (Encapsulation of FLAC in ISO Base Media File Format section 3.3.2), which
// opens with the STREAMINFO block of RFC 9639 section 8.2. The rate comes from
// there, for a sample entry has no room for more than 65 535 Hz.
//
// The codecs parameter is "fLaC", the sample entry's type, as RFC 6381 and HLS
// want it; Media Source Extensions take it and "flac" alike, WebCodecs knows
// "flac" alone.
func FLAC(p []byte) (Audio, error) {
	const headerSize, infoSize = 4, 34
	if len(p) < headerSize {
		return Audio{}, fmt.Errorf("has %d bytes of metadata, needs %d", len(p), headerSize+infoSize)
	}
	if typ := p[0] & 0x7f; typ != 0 {
		return Audio{}, fmt.Errorf("starts with the metadata block %d, not with STREAMINFO", typ)
	}
	if n := binary.BigEndian.Uint32(p) & 0xff_ffff; n != infoSize {
		return Audio{}, fmt.Errorf("STREAMINFO of %d bytes, want %d", n, infoSize)
	}
	if p = p[headerSize:]; len(p) < infoSize {
		return Audio{}, fmt.Errorf("ends inside STREAMINFO")
	}
	v := binary.BigEndian.Uint32(p[10:]) // 20 bits rate, 3 channels - 1, 5 bits per sample - 1, …
	rate, channels := int(v>>12), int(v>>9&7)+1
	if rate == 0 {
		return Audio{}, errors.New("STREAMINFO: sample rate 0, which is for data that is no sound")
	}
	a := Audio{Codec: "fLaC", SampleRate: rate, Channels: channels}
	if least, most := binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:]); least == most {
		a.Samples = int(most)
	}
	return a, nil
}

// FLACSamples returns how many samples of each channel a frame has (RFC 9639
// section 9.1.1), 0 for what is no frame.
func FLACSamples(frame []byte) int {
	if len(frame) < 6 || frame[0] != 0xff || frame[1]&0xfc != 0xf8 {
		return 0
	}
	size := int(frame[2] >> 4)
	switch {
	case size == 1:
		return 192
	case size >= 2 && size <= 5:
		return 144 << size
	case size >= 8:
		return 1 << size
	case size == 0:
		return 0
	}
	at := 5 // behind the coded number, whose first byte says its length as in UTF-8
	for b := frame[4]; b&0xc0 == 0xc0; b <<= 1 {
		at++
	}
	if size -= 5; len(frame) < at+size { // 1 or 2 bytes
		return 0
	}
	n := 0
	for _, b := range frame[at : at+size] {
		n = n<<8 | int(b)
	}
	return n + 1
}
