package codec

import (
	"errors"
	"fmt"
)

// Opus reads the content of a dOps box (Encapsulation of Opus in ISO Base Media
// File Format section 4.3.2). Opus always decodes to 48 kHz, whatever rate
// went in.
//
// The codecs parameter is "opus" as browsers and WebCodecs have it; the sample
// entry's "Opus" means the same to Media Source Extensions.
//
// PreSkip needs nothing from us: decoders drop that much themselves, and the
// edit list that goes with it is applied to the decode times, so that what is
// heard first keeps its presentation time.
func Opus(p []byte) (Audio, error) {
	if len(p) < 11 {
		return Audio{}, fmt.Errorf("has %d bytes of content, needs 11", len(p))
	}
	version, channels, family := p[0], int(p[1]), p[10]
	switch {
	case version != 0:
		return Audio{}, fmt.Errorf("version %d is not 0", version)
	case channels == 0:
		return Audio{}, errors.New("has 0 channels")
	case family == 0 && channels > 2:
		return Audio{}, fmt.Errorf("has %d channels without a channel mapping", channels)
	case family != 0 && len(p) < 13+channels:
		return Audio{}, fmt.Errorf("ends inside the mapping of %d channels", channels)
	}
	return Audio{Codec: "opus", SampleRate: 48000, Channels: channels}, nil
}

// OpusSamples returns how many samples at 48 kHz an Opus packet decodes to (RFC
// 6716 section 3.1), 0 for what is no packet.
func OpusSamples(packet []byte) int {
	if len(packet) == 0 {
		return 0
	}
	var frame int
	switch config := int(packet[0] >> 3); {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		frame = [...]int{480, 960, 1920, 2880}[config&3]
	case config < 16: // hybrid: 10, 20 ms
		frame = 480 << (config & 1)
	default: // CELT: 2.5, 5, 10, 20 ms
		frame = 120 << (config & 3)
	}
	n := 2
	switch packet[0] & 3 {
	case 0:
		n = 1
	case 3:
		if len(packet) < 2 {
			return 0
		}
		n = int(packet[1] & 63)
	}
	if n*frame > 5760 { // 120 ms
		return 0
	}
	return n * frame
}
