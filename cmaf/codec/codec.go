// Package codec reads the decoder configuration that encoders send ahead of
// their media: what the codecs parameter of RFC 6381 is, and size, rate and
// channels, from the bitstream's own headers. It knows no container.
//
// Configuration comes from outside: nothing here panics, loops or allocates
// beyond the size of its input.
package codec

// A Video is what a video track's configuration says.
type Video struct {
	Codec         string  // RFC 6381, such as "avc1.64001f"
	Width, Height int     // pixels after cropping; 0: not said
	FrameRate     float64 // pictures per second; 0: not said
	NALLength     int     // bytes of the length ahead of each NAL unit in a sample
}

// An Audio is what an audio track's configuration says.
type Audio struct {
	Codec      string // RFC 6381, such as "mp4a.40.2"
	SampleRate int    // Hz, as decoded
	Channels   int    // as decoded; 0: not said
	Bitrate    int    // bits per second, the maximum; 0: not said
}
