package cmaf

import "github.com/broadcastd/broadcastd/cmaf/codec"

// A Kind says what a track carries.
type Kind string

// The kinds. KindData is neither seen nor heard: timed text, metadata.
const (
	KindVideo Kind = "video"
	KindAudio Kind = "audio"
	KindData  Kind = "data"
)

// A Header describes one CMAF track; it is a value and its Init never changes.
// ParseHeader and the Demuxer make Headers.
type Header struct {
	// Init is the CMAF header of this track alone: ftyp and moov, track ID 1,
	// no edit list, nothing in trex to rely on. It is ready for a catalog or
	// for Media Source Extensions.
	Init []byte

	Kind  Kind
	Codec string // RFC 6381, from the bitstream: "avc1.64001f", "hvc1.1.6.L93.90", "opus"

	Timescale uint32 // ticks per second of every time in the track's chunks

	Width, Height int     // picture size in pixels after cropping; video only
	FrameRate     float64 // pictures per second; 0: unknown; video only
	BitDepth      int     // bits of a luma sample; 0: unknown; video only

	SampleRate, Channels int // Hz and count as decoded; audio only

	Bitrate  int    // bits per second: the most that the input states; 0: unknown
	Language string // ISO 639-2/T; empty: undetermined

	// keyFrames tells a key frame from its bytes where its flags say nothing.
	keyFrames codec.KeyFrames

	// What a foreign header leaves to its readers, applied by ParseChunks.
	// Zero in the Headers of tracks that this package wrote.
	trackID  uint32
	defaults sampleDefaults
	shift    int64 // added to decode times in place of the edit list
}

// MIMEType returns the media type without parameters, such as "video/mp4".
func (h Header) MIMEType() string {
	switch h.Kind {
	case KindVideo:
		return "video/mp4"
	case KindAudio:
		return "audio/mp4"
	}
	return "application/mp4"
}

// sampleDefaults are the values of trex, for samples whose fragment has none.
type sampleDefaults struct {
	entry                 uint32 // sample description index, counted from 1
	duration, size, flags uint32
}

// sampleFlags returns the flags of a sample: those that it has, or where they
// are 0, which says nothing and would read as a random access point, those
// that its bytes give.
func (h Header) sampleFlags(flags uint32, data []byte) uint32 {
	switch {
	case flags != 0 || !h.keyFrames.Known():
		return flags
	case h.keyFrames.Is(data):
		return FlagsSync
	}
	return FlagsNonSync
}
