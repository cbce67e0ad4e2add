package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Descriptor tags, ISO/IEC 14496-1 section 7.2.2.1.
const (
	tagES            = 3
	tagDecoderConfig = 4
	tagDecSpecific   = 5
	objectTypeAAC    = 0x40
)

// descriptor returns the content of the first descriptor with this tag in p.
func descriptor(p []byte, tag byte) ([]byte, error) {
	for len(p) > 0 {
		t, n, at := p[0], 0, 1
		for { // expandable size: 7 bits a byte, at most 4 bytes
			if at >= len(p) || at > 4 {
				return nil, fmt.Errorf("descriptor %d has no end to its size", t)
			}
			n = n<<7 | int(p[at]&0x7f)
			at++
			if p[at-1]&0x80 == 0 {
				break
			}
		}
		if n > len(p)-at {
			return nil, fmt.Errorf("descriptor %d has size %d, %d bytes are left", t, n, len(p)-at)
		}
		if t == tag {
			return p[at : at+n], nil
		}
		p = p[at+n:]
	}
	return nil, fmt.Errorf("descriptor %d is missing", tag)
}

// ESDS reads the content of an esds box after its version and flags: ISO/IEC
// 14496-1 sections 7.2.6.5 and 7.2.6.6, 14496-14 section 5.6.
func ESDS(p []byte) (Audio, error) {
	es, err := descriptor(p, tagES)
	if err != nil {
		return Audio{}, err
	}
	if len(es) < 3 {
		return Audio{}, errors.New("ES descriptor ends early")
	}
	skip, flags := 3, es[2]
	if flags&0x80 != 0 { // streamDependenceFlag
		skip += 2
	}
	if flags&0x40 != 0 && skip < len(es) { // URL_Flag
		skip += 1 + int(es[skip])
	}
	if flags&0x20 != 0 { // OCRstreamFlag
		skip += 2
	}
	if skip > len(es) {
		return Audio{}, errors.New("ES descriptor ends early")
	}
	dc, err := descriptor(es[skip:], tagDecoderConfig)
	if err != nil {
		return Audio{}, err
	}
	if len(dc) < 13 {
		return Audio{}, fmt.Errorf("decoder configuration of %d bytes, needs 13", len(dc))
	}
	if dc[0] != objectTypeAAC {
		return Audio{}, fmt.Errorf("object type 0x%02x (%s) cannot be carried; of mp4a AAC (0x40) can", dc[0], objectName(dc[0]))
	}
	asc, err := descriptor(dc[13:], tagDecSpecific)
	if err != nil {
		return Audio{}, err
	}
	a, err := AAC(asc)
	if err != nil {
		return Audio{}, err
	}
	a.Bitrate = int(max(binary.BigEndian.Uint32(dc[5:]), binary.BigEndian.Uint32(dc[9:])))
	return a, nil
}

var aacRates = [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

var aacChannels = [...]int{0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 24, 8}

// AAC reads object type, rate and channels from an AudioSpecificConfig, ISO/IEC
// 14496-3 section 1.6.2.1. With SBR said up front the rate is that after SBR,
// which is what a decoder puts out; with parametric stereo, so are the
// channels. Channels is 0 where a program configuration element has them.
func AAC(p []byte) (Audio, error) {
	r := bitReader{b: p}
	object := aacObject(&r)
	rate, ok := aacRate(&r)
	channels := r.bits(4)
	core := rate
	sbr := object == 5 || object == 29
	if sbr {
		rate, ok = aacRate(&r)
		aacObject(&r)
	}
	if r.over || !ok || rate == 0 || core == 0 {
		return Audio{}, fmt.Errorf("AudioSpecificConfig %x is not valid", p[:min(len(p), 16)])
	}
	a := Audio{Codec: fmt.Sprintf("mp4a.40.%d", object), SampleRate: rate}
	if int(channels) < len(aacChannels) {
		a.Channels = aacChannels[channels]
	}
	if object == 29 {
		a.Channels = 2
	}
	// frameLengthFlag of GASpecificConfig, section 4.4.1
	switch frame := 1024 - 64*int(r.bits(1)); {
	case sbr && rate == 2*core:
		a.Samples = 2 * frame
	case !sbr && object >= 1 && object <= 4:
		a.Samples = frame
	}
	return a, nil
}

func aacObject(r *bitReader) uint32 {
	if t := r.bits(5); t != 31 {
		return t
	}
	return 32 + r.bits(6)
}

func aacRate(r *bitReader) (int, bool) {
	i := r.bits(4)
	if i == 15 {
		return int(r.bits(24)), true
	}
	if int(i) >= len(aacRates) {
		return 0, false
	}
	return aacRates[i], true
}
