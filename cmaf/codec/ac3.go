package codec

import (
	"errors"
	"fmt"
)

// Sample rates and channels by their codes, ETSI TS 102 366 sections 4.4.1.3
// and 4.4.2.3.
var (
	ac3Rates    = [...]int{48000, 44100, 32000}
	ac3Channels = [...]int{2, 1, 2, 3, 3, 4, 4, 5}
)

func ac3Audio(codec string, fscod, acmod, lfe uint32) (Audio, error) {
	if int(fscod) >= len(ac3Rates) {
		return Audio{}, fmt.Errorf("sample rate code %d is reserved", fscod)
	}
	return Audio{Codec: codec, SampleRate: ac3Rates[fscod], Channels: ac3Channels[acmod] + int(lfe)}, nil
}

// AC3 reads the content of a dac3 box (ETSI TS 102 366 section F.4).
func AC3(p []byte) (Audio, error) {
	r := bitReader{b: p}
	fscod := r.bits(2)
	r.skip(5 + 3) // bsid, bsmod
	acmod, lfe := r.bits(3), r.bit()
	r.skip(10)
	if r.over {
		return Audio{}, fmt.Errorf("has %d bytes of content, needs 3", len(p))
	}
	return ac3Audio("ac-3", fscod, acmod, lfe)
}

// EAC3 reads the content of a dec3 box (section F.6). Channels are those of the
// first independent substream.
func EAC3(p []byte) (Audio, error) {
	r := bitReader{b: p}
	r.skip(13 + 3) // data_rate, num_ind_sub
	fscod := r.bits(2)
	r.skip(5 + 1 + 1 + 3) // bsid, reserved, asvc, bsmod
	acmod, lfe := r.bits(3), r.bit()
	if r.over {
		return Audio{}, fmt.Errorf("has %d bytes of content, needs 5", len(p))
	}
	return ac3Audio("ec-3", fscod, acmod, lfe)
}

// A Sync is what a frame of AC-3 or E-AC-3 says of its stream.
type Sync struct {
	Entry      string // type of the sample entry: "ac-3" or "ec-3"
	Config     []byte // content of its dac3 or dec3 box
	SampleRate int    // Hz
	Samples    int    // of the frame
}

// AC3Sync reads the head of an AC-3 or E-AC-3 frame (ETSI TS 102 366 sections
// 4.3 and E.1.2), from which the configuration can be made.
func AC3Sync(frame []byte) (Sync, error) {
	if len(frame) < 8 || frame[0] != 0x0b || frame[1] != 0x77 {
		return Sync{}, errors.New("does not begin with the sync word of AC-3")
	}
	switch bsid := frame[5] >> 3; {
	case bsid <= 10:
		return ac3Sync(frame)
	case bsid <= 16:
		return eac3Sync(frame)
	default:
		return Sync{}, fmt.Errorf("bit stream identification %d is unknown", bsid)
	}
}

func ac3Sync(frame []byte) (Sync, error) {
	r := bitReader{b: frame[4:]}
	fscod, size := r.bits(2), r.bits(6)
	bsid, bsmod, acmod := r.bits(5), r.bits(3), r.bits(3)
	if int(fscod) >= len(ac3Rates) || size > 37 {
		return Sync{}, fmt.Errorf("sample rate code %d and frame size code %d are reserved", fscod, size)
	}
	if acmod&1 == 1 && acmod != 1 {
		r.skip(2) // cmixlev
	}
	if acmod&4 != 0 {
		r.skip(2) // surmixlev
	}
	if acmod == 2 {
		r.skip(2) // dsurmod
	}
	v := fscod<<22 | bsid<<17 | bsmod<<14 | acmod<<11 | r.bit()<<10 | size>>1<<5
	config := []byte{byte(v >> 16), byte(v >> 8), byte(v)}
	return Sync{Entry: "ac-3", Config: config, SampleRate: ac3Rates[fscod], Samples: 1536}, nil
}

func eac3Sync(frame []byte) (Sync, error) {
	r := bitReader{b: frame[2:]}
	kind, substream, words := r.bits(2), r.bits(3), r.bits(11)+1
	if kind == 1 || substream != 0 {
		return Sync{}, errors.New("begins with a dependent or further substream of E-AC-3")
	}
	fscod := r.bits(2)
	blocks := r.bits(2) // numblkscod, or fscod2 where the rate is halved
	if fscod == 3 {
		return Sync{}, errors.New("E-AC-3 of a halved sample rate cannot be carried")
	}
	acmod, lfe, bsid := r.bits(3), r.bit(), r.bits(5)
	samples := 256 * [...]int{1, 2, 3, 6}[blocks]
	rate := uint32(int(words) * 16 * ac3Rates[fscod] / samples / 1000) // kbit/s
	head := min(rate, 1<<13-1) << 3                                    // num_ind_sub 0
	sub := fscod<<22 | bsid<<17 | acmod<<9 | lfe<<8                    // no dependent substream
	config := []byte{byte(head >> 8), byte(head), byte(sub >> 16), byte(sub >> 8), byte(sub)}
	return Sync{Entry: "ec-3", Config: config, SampleRate: ac3Rates[fscod], Samples: samples}, nil
}
