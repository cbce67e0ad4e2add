package mpegts

import (
	"encoding/binary"

	"github.com/broadcastd/broadcastd/cmaf"
)

// The headers are made by writing a sample entry, as an MP4 file would have
// it, and having cmaf read it: that is where the codecs string, the picture's
// size and whatever else come from.

// videoHeader returns the header of a video track in 90 kHz. config is the box
// that configures the decoder.
func videoHeader(entry string, config []byte) (cmaf.Header, error) {
	h, err := cmaf.ParseHeader(videoInit(entry, config, 0, 0))
	if err != nil {
		return h, err
	}
	// Now that the size is known, it is said where readers look for it.
	return cmaf.ParseHeader(videoInit(entry, config, h.Width, h.Height))
}

func videoInit(entry string, config []byte, width, height int) []byte {
	var e []byte
	e = append(e, 0, 0, 0, 0, 0, 0, 0, 1) // reserved, data_reference_index
	e = append(e, make([]byte, 16)...)
	e = binary.BigEndian.AppendUint16(e, uint16(width))
	e = binary.BigEndian.AppendUint16(e, uint16(height))
	e = append(e, 0, 0x48, 0, 0, 0, 0x48, 0, 0) // 72 dpi
	e = append(e, 0, 0, 0, 0, 0, 1)             // reserved, frame_count
	e = append(e, make([]byte, 32)...)          // compressorname
	e = append(e, 0, 24, 0xff, 0xff)            // depth, pre_defined
	e = append(e, config...)
	return trackInit("vide", clockRate, width, height, appendBox(nil, entry, e))
}

// audioHeader returns the header of an AAC track in its sample rate.
func audioHeader(h adts) (cmaf.Header, error) {
	var e []byte
	e = append(e, 0, 0, 0, 0, 0, 0, 0, 1)
	e = append(e, make([]byte, 8)...)
	e = binary.BigEndian.AppendUint16(e, uint16(h.channels))
	e = append(e, 0, 16, 0, 0, 0, 0) // samplesize, pre_defined, reserved
	rate := uint32(h.rate)
	if rate > 0xffff {
		rate = 0 // it has 16 bits; the configuration has it right
	}
	e = binary.BigEndian.AppendUint32(e, rate<<16)
	e = appendBox(e, "esds", append([]byte{0, 0, 0, 0}, esDescriptor(h.config[:])...))
	return cmaf.ParseHeader(trackInit("soun", uint32(h.rate), 0, 0, appendBox(nil, "mp4a", e)))
}

// esDescriptor returns an ES descriptor with an AudioSpecificConfig, ISO/IEC
// 14496-1 section 7.2.6.5.
func esDescriptor(config []byte) []byte {
	decoder := append([]byte{
		0x40, 0x15, // AAC; an audio stream
		0, 0, 0, // bufferSizeDB
		0, 0, 0, 0, 0, 0, 0, 0, // maximum and average bitrate: not known
		5, byte(len(config)),
	}, config...)
	es := append([]byte{0, 0, 0, 4, byte(len(decoder))}, decoder...)
	es = append(es, 6, 1, 2) // SL configuration: as in MP4
	return append([]byte{3, byte(len(es))}, es...)
}

// trackInit returns a moov with one track and as much in it as makes a header.
func trackInit(handler string, scale uint32, width, height int, entry []byte) []byte {
	be := binary.BigEndian
	mvhd := make([]byte, 100)
	be.PutUint32(mvhd[12:], 1000)

	tkhd := make([]byte, 84)
	tkhd[3] = 7 // enabled, in movie, in preview
	be.PutUint32(tkhd[12:], 1)
	for i, v := range [9]uint32{0: 1 << 16, 4: 1 << 16, 8: 1 << 30} { // the unit matrix
		be.PutUint32(tkhd[40+4*i:], v)
	}
	be.PutUint32(tkhd[76:], uint32(width)<<16)
	be.PutUint32(tkhd[80:], uint32(height)<<16)

	mdhd := make([]byte, 24)
	be.PutUint32(mdhd[12:], scale)
	be.PutUint16(mdhd[20:], 0x55c4) // und

	hdlr := make([]byte, 25)
	copy(hdlr[8:], handler)

	stsd := appendBox(nil, "stsd", append([]byte{0, 0, 0, 0, 0, 0, 0, 1}, entry...))
	minf := appendBox(nil, "minf", appendBox(nil, "stbl", stsd))
	mdia := appendBox(nil, "mdhd", mdhd)
	mdia = appendBox(mdia, "hdlr", hdlr)
	mdia = append(mdia, minf...)
	trak := appendBox(nil, "tkhd", tkhd)
	trak = appendBox(trak, "mdia", mdia)
	moov := appendBox(nil, "mvhd", mvhd)
	moov = appendBox(moov, "trak", trak)
	return appendBox(nil, "moov", moov)
}

func appendBox(b []byte, typ string, content []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(8+len(content)))
	b = append(b, typ...)
	return append(b, content...)
}
