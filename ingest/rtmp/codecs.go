package rtmp

import (
	"encoding/binary"
	"fmt"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/codec"
)

// A setup is what a track's decoder configuration comes to.
type setup struct {
	header  cmaf.Header
	samples int // of an audio frame; 0: each says
}

// newSetup makes the header of a track from its configuration, as it came, and
// from a frame where that does not say enough. width and height are what the
// encoder's metadata says.
func newSetup(entry string, config, frame []byte, width, height int) (setup, error) {
	c := cmaf.HeaderConfig{Entry: entry, Config: config, Width: width, Height: height}
	var s setup
	var err error
	switch entry {
	case "vp09":
		c.Config = vp9Config(config)
		if f, ok := codec.ParseVP9Frame(frame); ok && f.Key {
			c.Width, c.Height = f.Width, f.Height
		}
	case "av01":
		if v, err := codec.AV1(config); err == nil && v.Width == 0 && len(config) >= 4 {
			c.Config = append(config[:4:4], codec.AV1SequenceHeader(frame)...)
		}
	case "Opus":
		c.Config, err = opusConfig(config)
	case "fLaC":
		if c.Config, err = flacConfig(config); err == nil {
			a, _ := codec.FLAC(c.Config)
			s.samples = a.Samples
		}
	case "mp4a":
		a, _ := codec.AAC(config)
		s.samples = a.Samples
	case "ac-3", "ec-3":
		var sync codec.Sync
		if sync, err = codec.AC3Sync(frame); err == nil {
			c.Entry, c.Config, s.samples = sync.Entry, sync.Config, sync.Samples
		}
	}
	if err != nil {
		return s, fmt.Errorf("rtmp: the configuration of %s: %w", entry, err)
	}
	s.header, err = cmaf.NewHeader(c)
	return s, err
}

// needsFrame reports whether a codec's configuration may leave to the first
// frame what a header needs.
func needsFrame(entry string) bool {
	switch entry {
	case "vp09", "av01", "ac-3", "ec-3":
		return true
	}
	return false
}

// keyFrames tells a track's key frames from their bytes.
func keyFrames(entry string, config []byte) codec.KeyFrames {
	e, err := codec.EntryOf(entry)
	if err != nil || e.Video == nil {
		return codec.KeyFrames{}
	}
	if entry == "vp09" {
		config = vp9Config(config)
	}
	v, err := e.Video(config)
	if err != nil {
		return codec.KeyFrames{} // whoever makes the header says so
	}
	return v.KeyFrames
}

// vp9Config returns the configuration record, which encoders write with the
// version and flags of its box, or without.
func vp9Config(p []byte) []byte {
	if len(p) >= 12 && p[0] == 1 && uint24(p[1:]) == 0 {
		return p[4:]
	}
	return p
}

// opusConfig turns an identification header (RFC 7845 section 5.1) into the
// content of a dOps box, which has the same fields in the other byte order.
func opusConfig(p []byte) ([]byte, error) {
	const size = 19
	if len(p) < size || string(p[:8]) != "OpusHead" {
		return nil, protocolError("%d bytes that are no OpusHead", len(p))
	}
	le, be := binary.LittleEndian, binary.BigEndian
	b := []byte{0, p[9]}
	b = be.AppendUint16(b, le.Uint16(p[10:])) // PreSkip
	b = be.AppendUint32(b, le.Uint32(p[12:])) // InputSampleRate
	b = be.AppendUint16(b, le.Uint16(p[16:])) // OutputGain
	return append(b, p[18:]...), nil          // ChannelMappingFamily, and its table
}

// flacConfig turns what opens a native FLAC stream, the marker "fLaC" and
// STREAMINFO (RFC 9639 section 8), into the content of a dfLa box. The marker
// and the block's header may be left out.
func flacConfig(p []byte) ([]byte, error) {
	const info = 34
	if len(p) >= 4 && string(p[:4]) == "fLaC" {
		p = p[4:]
	}
	if len(p) >= 4+info {
		p = p[4:]
	}
	if len(p) < info {
		return nil, protocolError("STREAMINFO of %d bytes, want %d", len(p), info)
	}
	return append([]byte{0x80, 0, 0, info}, p[:info]...), nil // the last block
}

// frameSamples returns how many samples at the header's rate a frame of audio
// has, 0 where that cannot be told.
func (s *setup) frameSamples(frame []byte) int {
	switch s.header.Codec {
	case "opus":
		return codec.OpusSamples(frame)
	case "fLaC":
		return codec.FLACSamples(frame)
	case "ec-3":
		if sync, err := codec.AC3Sync(frame); err == nil {
			return sync.Samples
		}
	}
	return s.samples
}
