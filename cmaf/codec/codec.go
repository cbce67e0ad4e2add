// Package codec reads the decoder configuration that encoders send ahead of
// their media: what the codecs parameter of RFC 6381 is, and size, rate, bit
// depth and channels, from the bitstream's own headers. It also tells key
// frames from their bytes. Of the container it knows the names of the sample
// entries alone.
//
// Configuration comes from outside: nothing here panics, loops or allocates
// beyond the size of its input.
package codec

// A Video is what a video track's configuration says.
type Video struct {
	Codec         string  // RFC 6381, such as "avc1.64001f"
	Width, Height int     // pixels after cropping; 0: not said
	FrameRate     float64 // pictures per second; 0: not said
	BitDepth      int     // bits of a luma sample; 0: not said
	KeyFrames     KeyFrames
}

// An Audio is what an audio track's configuration says.
type Audio struct {
	Codec      string // RFC 6381, such as "mp4a.40.2"
	SampleRate int    // Hz, as decoded
	Channels   int    // as decoded; 0: not said
	Bitrate    int    // bits per second, the maximum; 0: not said
	Samples    int    // in a frame, at SampleRate; 0: not said, or not always the same
}

// A KeyFrames tells the key frames of a video track from their bytes. It is a
// value to compare and copy. The zero value tells nothing.
type KeyFrames struct {
	syntax    syntax
	nalLength int // bytes of the length ahead of each NAL unit
}

type syntax uint8

const (
	_ syntax = iota
	syntaxAVC
	syntaxHEVC
	syntaxAV1
	syntaxVP9
)

// Known reports whether k is of a codec whose key frames can be told.
func (k KeyFrames) Known() bool { return k.syntax != 0 }

// Is reports whether decoding can start at sample, one sample of the track.
func (k KeyFrames) Is(sample []byte) bool {
	switch k.syntax {
	case syntaxAVC:
		return avcKeyFrame(sample, k.nalLength)
	case syntaxHEVC:
		return hevcKeyFrame(sample, k.nalLength)
	case syntaxAV1:
		return av1KeyFrame(sample)
	case syntaxVP9:
		return vp9KeyFrame(sample)
	}
	return false
}

// plausibleRate returns rate, or 0 where it is a placeholder such as 90000.
func plausibleRate(rate float64) float64 {
	if rate < 0.1 || rate > 1000 {
		return 0
	}
	return rate
}
