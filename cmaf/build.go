package cmaf

import (
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/broadcastd/broadcastd/cmaf/codec"
)

// A HeaderConfig is a track as inputs other than MP4 describe it: by the
// configuration of its decoder.
type HeaderConfig struct {
	// Entry is the type of the sample entry: "avc1", "avc3", "hvc1", "hev1",
	// "av01", "vp09", "mp4a", "Opus", "fLaC", "ac-3" or "ec-3".
	Entry string
	// Config is the content of the box that configures the decoder (avcC, hvcC,
	// av1C, vpcC, dOps, dfLa, dac3, dec3), without version and flags where it
	// has them. For mp4a it is the AudioSpecificConfig.
	Config []byte

	// Timescale is in ticks per second. Zero means 90 000 for video, the sample
	// rate for audio.
	Timescale uint32
	// Width and Height are in pixels, for what does not say its size in Config,
	// such as VP9.
	Width, Height int
	Bitrate       int    // bits per second, the maximum; 0: unknown
	Language      string // ISO 639-2/T; empty: undetermined
}

const videoTimescale = 90_000

// NewHeader makes the header of a track from the configuration of its decoder.
// What Config says of codec, size, rate and channels is in the result. The
// error is for a codec that cannot be carried, or a *BoxError for Config.
func NewHeader(c HeaderConfig) (Header, error) {
	e, err := codec.EntryOf(c.Entry)
	if err != nil {
		return Header{}, fmt.Errorf("cmaf: %w", err)
	}
	if len(c.Config) > maxSampleEntry/2 {
		return Header{}, fmt.Errorf("cmaf: %s of %d bytes, at most %d are taken", e.Config, len(c.Config), maxSampleEntry/2)
	}
	t, err := buildTrak(c, e)
	if err == nil && (t.header.Width != c.Width || t.header.Height != c.Height || e.Audio != nil) {
		// Now that size, rate and channels are known they are said where readers
		// look for them.
		c.Width, c.Height = t.header.Width, t.header.Height
		t, err = buildTrakWith(c, e, t.header)
	}
	if err != nil {
		return Header{}, err
	}
	err = t.finish(1000)
	return t.header, err
}

func buildTrak(c HeaderConfig, e codec.Entry) (trak, error) { return buildTrakWith(c, e, Header{}) }

// buildTrakWith makes a track whose sample entry says what is known of it.
func buildTrakWith(c HeaderConfig, e codec.Entry, known Header) (trak, error) {
	t := trak{id: 1, handler: typeSoun, known: true}
	fields := audioEntry(known)
	if e.Video != nil {
		t.handler, fields = typeVide, visualEntry(c.Width, c.Height)
		t.width, t.height = uint32(c.Width)<<16, uint32(c.Height)<<16
	}
	t.matrix = [9]int32{0: 1 << 16, 4: 1 << 16, 8: 1 << 30} // the unit matrix
	config := c.Config
	if c.Entry == "mp4a" {
		config = esDescriptor(config)
	}
	if e.FullBox {
		config = append([]byte{e.Version, 0, 0, 0}, config...)
	}
	body := appendBox(fields, e.Config, config)
	if c.Bitrate > 0 {
		rate := make([]byte, 12) // bufferSizeDB unknown, maximum, average unknown
		binary.BigEndian.PutUint32(rate[4:], uint32(c.Bitrate))
		body = appendBox(body, "btrt", rate)
	}
	t.entry = appendBox(nil, c.Entry, body)
	t.header.Language = c.Language
	entry := box{typ: fourCC(binary.BigEndian.Uint32(t.entry[4:])), body: t.entry[boxHeaderSize:], size: int64(len(t.entry))}
	if err := t.parseEntry(&entry); err != nil {
		return t, err
	}
	t.header.Timescale = cmp.Or(c.Timescale, videoTimescale)
	if e.Audio != nil {
		t.header.Timescale = cmp.Or(c.Timescale, uint32(t.header.SampleRate))
		if t.header.Timescale == 0 {
			return t, entry.fail("has no sample rate")
		}
	}
	return t, nil
}

// visualEntry returns the fixed fields of a VisualSampleEntry, ISO/IEC 14496-12
// section 12.1.3.
func visualEntry(width, height int) []byte {
	b := make([]byte, visualEntrySize)
	b[7] = 1 // data_reference_index
	binary.BigEndian.PutUint16(b[24:], uint16(width))
	binary.BigEndian.PutUint16(b[26:], uint16(height))
	b[29], b[33] = 0x48, 0x48 // 72 dpi
	b[41] = 1                 // frame_count
	b[75], b[76], b[77] = 24, 0xff, 0xff
	return b
}

// audioEntry returns the fixed fields of an AudioSampleEntry, section 12.2.3.
func audioEntry(known Header) []byte {
	b := make([]byte, audioEntrySize)
	b[7] = 1
	binary.BigEndian.PutUint16(b[16:], uint16(known.Channels))
	b[19] = 16                                    // samplesize
	if rate := known.SampleRate; rate <= 0xffff { // more does not fit; the configuration has it
		binary.BigEndian.PutUint32(b[24:], uint32(rate)<<16)
	}
	return b
}

// esDescriptor returns an ES descriptor with an AudioSpecificConfig, ISO/IEC
// 14496-1 section 7.2.6.5.
func esDescriptor(config []byte) []byte {
	decoder := append([]byte{
		0x40, 0x15, // AAC; an audio stream
		0, 0, 0, // bufferSizeDB
		0, 0, 0, 0, 0, 0, 0, 0, // maximum and average bitrate: not known
	}, descriptor(5, config)...)
	es := append([]byte{0, 0, 0}, descriptor(4, decoder)...)
	return descriptor(3, append(es, 6, 1, 2)) // SL configuration: as in MP4
}

// descriptor returns one descriptor, with a size of as many bytes as it needs.
func descriptor(tag byte, content []byte) []byte {
	b := []byte{tag}
	for shift := 21; shift > 0; shift -= 7 {
		if len(content)>>shift > 0 {
			b = append(b, 0x80|byte(len(content)>>shift)&0x7f)
		}
	}
	return append(append(b, byte(len(content))&0x7f), content...)
}

func appendBox(b []byte, typ string, content []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(boxHeaderSize+len(content)))
	b = append(b, typ...)
	return append(b, content...)
}
