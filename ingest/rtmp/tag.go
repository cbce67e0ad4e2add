package rtmp

import (
	"fmt"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A packet is what one audio or video message says of one track.
type packet struct {
	media mediaKind
	kind  packetKind
	track uint8  // 0 but for multitrack
	codec string // sample entry, such as "avc1"
	key   bool   // the encoder calls it a key frame
	mute  bool   // the encoder does not say whether it is
	cts   int32  // presentation less decode time, milliseconds
	nanos uint32 // to add to the message's timestamp
	data  []byte // configuration or coded frame; aliases the message
}

// A mediaKind is audio or video.
type mediaKind uint8

const (
	video mediaKind = iota
	audio
)

func (k mediaKind) cmaf() cmaf.Kind {
	if k == video {
		return cmaf.KindVideo
	}
	return cmaf.KindAudio
}

// A packetKind says what a packet is for.
type packetKind uint8

const (
	packetConfig packetKind = iota // of the decoder
	packetFrame
	packetEnd // of the sequence
)

// An unsupportedError names what an encoder sends and CMAF, or we, cannot carry.
type unsupportedError struct{ what string }

func (e *unsupportedError) Error() string {
	return "rtmp: " + e.what + " cannot be carried; H.264, HEVC, AV1, VP9, AAC, Opus, FLAC, AC-3 and E-AC-3 can"
}

// Packet types of Enhanced RTMP; audio and video share those that both have.
const (
	exSequenceStart = 0
	exCodedFrames   = 1
	exSequenceEnd   = 2
	exCodedFramesX  = 3 // video: without composition time
	exMetadata      = 4 // video: colours; audio: channel layout
	exMPEG2TS       = 5 // video; audio has multitrack there
	exMultitrackV   = 6
	exMultitrackA   = 5
	exModEx         = 7
)

// Multitrack types.
const (
	oneTrack             = 0
	manyTracks           = 1
	manyTracksManyCodecs = 2
)

var legacyVideo = map[byte]string{2: "Sorenson H.263", 3: "Screen Video", 4: "VP6", 5: "VP6 with alpha", 6: "Screen Video 2"}

var legacyAudio = [16]string{
	0: "PCM", 1: "ADPCM", 2: "MP3", 3: "PCM", 4: "Nellymoser", 5: "Nellymoser", 6: "Nellymoser",
	7: "G.711 A-law", 8: "G.711 mu-law", 11: "Speex", 14: "MP3 at 8 kHz", 15: "device-specific sound",
}

// appendVideo appends the packets of a video message: VIDEODATA of the FLV
// format, section E.4.3, or of Enhanced RTMP.
func appendVideo(to []packet, b []byte) ([]packet, error) {
	if len(b) < 2 {
		return to, nil // an empty message is a kind of keep-alive
	}
	// Some senders of Enhanced RTMP leave the frame type at 0, which is none.
	p := packet{key: b[0]>>4&7 == 1 || b[0]>>4&7 == 4, mute: b[0]>>4&7 == 0}
	if b[0]&0x80 != 0 {
		return appendEnhanced(to, p, b)
	}
	switch codec := b[0] & 15; codec {
	case 7:
		p.codec = "avc1"
	case 12: // a widespread extension from before Enhanced RTMP
		p.codec = "hvc1"
	case 13:
		p.codec = "av01"
	default:
		if name := legacyVideo[codec]; name != "" {
			return to, &unsupportedError{name}
		}
		return to, &unsupportedError{fmt.Sprintf("video codec %d", codec)}
	}
	if b[0]>>4 == 5 { // a command of Flash Player's
		return to, nil
	}
	if len(b) < 5 {
		return to, protocolError("a video message of %d bytes", len(b))
	}
	p.cts, p.data = int24(b[2:]), b[5:]
	switch b[1] {
	case 0:
		p.kind = packetConfig
	case 1:
		p.kind = packetFrame
	default:
		p.kind = packetEnd
	}
	return append(to, p), nil
}

// appendAudio appends the packets of an audio message: AUDIODATA, section
// E.4.2, or of Enhanced RTMP.
func appendAudio(to []packet, b []byte) ([]packet, error) {
	if len(b) < 2 {
		return to, nil
	}
	p := packet{media: audio, key: true}
	switch format := b[0] >> 4; format {
	case 9:
		return appendEnhanced(to, p, b)
	case 10:
		p.codec, p.kind, p.data = "mp4a", packetFrame, b[2:]
		if b[1] == 0 {
			p.kind = packetConfig
		}
		return append(to, p), nil
	default:
		if name := legacyAudio[format]; name != "" {
			return to, &unsupportedError{name}
		}
		return to, &unsupportedError{fmt.Sprintf("audio format %d", format)}
	}
}

// An exReader reads the head of a message of Enhanced RTMP.
type exReader struct {
	b   []byte
	err error
}

func (r *exReader) take(n int) []byte {
	if n > len(r.b) {
		if r.err == nil {
			r.err = protocolError("an Enhanced RTMP message ends inside its header")
		}
		r.b = nil
		return make([]byte, min(n, 4))
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

// appendEnhanced reads ExVideoTagHeader and ExVideoTagBody, or those of audio.
func appendEnhanced(to []packet, p packet, b []byte) ([]packet, error) {
	r := exReader{b: b[1:]}
	typ := b[0] & 15
	for typ == exModEx && r.err == nil {
		typ = r.modEx(&p)
	}
	if p.media == video && b[0]>>4&7 == 5 && typ != exMetadata {
		return to, r.err // a seek command
	}
	multi, many := -1, exMultitrackV
	if p.media == audio {
		many = exMultitrackA
	}
	if int(typ) == many {
		v := r.take(1)[0]
		multi, typ = int(v>>4), v&15
		if multi > manyTracksManyCodecs {
			return to, protocolError("multitrack type %d", multi)
		}
	}
	var codec [4]byte
	if multi != manyTracksManyCodecs {
		codec = [4]byte(r.take(4))
	}
	if multi < 0 {
		return r.body(to, p, typ, codec, r.take(len(r.b)))
	}
	for first := true; r.err == nil && (first || len(r.b) > 0); first = false {
		if multi == manyTracksManyCodecs {
			codec = [4]byte(r.take(4))
		}
		p.track = r.take(1)[0]
		size := len(r.b)
		if multi != oneTrack {
			size = int(uint24(r.take(3)))
		}
		if size > len(r.b) {
			return to, protocolError("track %d of %d bytes, %d are left", p.track, size, len(r.b))
		}
		var err error
		if to, err = r.body(to, p, typ, codec, r.take(size)); err != nil {
			return to, err
		}
	}
	return to, r.err
}

// modEx reads one modifier, of which the nanoseconds count here, and returns
// the packet type behind it.
func (r *exReader) modEx(p *packet) byte {
	size := int(r.take(1)[0]) + 1
	if size == 256 {
		size = int(uint24(append([]byte{0}, r.take(2)...))) + 1
	}
	if size > len(r.b) {
		r.take(size)
		return 0
	}
	data := r.take(size)
	v := r.take(1)[0]
	if v>>4 == 0 && len(data) >= 3 {
		p.nanos = min(uint24(data), 999_999)
	}
	return v & 15
}

// body appends one track's packet, unless it is of a kind that means nothing
// here.
func (r *exReader) body(to []packet, p packet, typ byte, fourCC [4]byte, data []byte) ([]packet, error) {
	if r.err != nil {
		return to, r.err
	}
	switch typ {
	case exSequenceStart:
		p.kind = packetConfig
	case exCodedFrames, exCodedFramesX:
		p.kind = packetFrame
	case exSequenceEnd:
		p.kind = packetEnd
	case exMPEG2TS:
		return to, &unsupportedError{"AV1 as in MPEG-2 TS"}
	default: // colours, channel layout: they are in the bitstream too
		return to, nil
	}
	if p.codec = entryOf(p.media, fourCC); p.codec == "" {
		return to, &unsupportedError{fmt.Sprintf("codec %q", fourCC[:])}
	}
	if typ == exCodedFrames && (p.codec == "avc1" || p.codec == "hvc1") {
		if len(data) < 3 {
			return to, protocolError("a coded frame of %d bytes", len(data))
		}
		p.cts, data = int24(data), data[3:]
	}
	p.data = data
	return append(to, p), nil
}

// entryOf returns the sample entry for a FourCC.
func entryOf(media mediaKind, fourCC [4]byte) string {
	if media == video {
		switch string(fourCC[:]) {
		case "avc1":
			return "avc1"
		case "hvc1":
			return "hvc1"
		case "av01":
			return "av01"
		case "vp09":
			return "vp09"
		}
		return ""
	}
	switch string(fourCC[:]) {
	case "mp4a":
		return "mp4a"
	case "Opus":
		return "Opus"
	case "fLaC":
		return "fLaC"
	case "ac-3":
		return "ac-3"
	case "ec-3":
		return "ec-3"
	}
	return ""
}

func int24(b []byte) int32 { return int32(uint24(b)<<8) >> 8 }

// A subMessage is one message of an aggregate.
type subMessage struct {
	typ    uint8
	offset uint32 // milliseconds after the first
	body   []byte
}

// appendAggregate appends the messages of an aggregate message (RTMP section
// 7.1.6): FLV tags, whose times count from the first one's.
func appendAggregate(to []subMessage, b []byte) ([]subMessage, error) {
	const head, tail = 11, 4
	var first uint32
	for begin := true; len(b) > 0; begin = false {
		if len(b) < head {
			return to, protocolError("an aggregate ends inside a header")
		}
		size := int(uint24(b[1:]))
		at := uint24(b[4:]) | uint32(b[7])<<24
		if size > len(b)-head {
			return to, protocolError("a message of %d bytes in an aggregate, %d are left", size, len(b)-head)
		}
		if begin {
			first = at
		}
		to = append(to, subMessage{b[0], at - first, b[head : head+size]})
		b = b[min(head+size+tail, len(b)):]
	}
	return to, nil
}
