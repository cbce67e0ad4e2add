package cmaf

import "errors"

// A DemuxerConfig configures a Demuxer. The zero value is ready to use.
type DemuxerConfig struct {
	// Video and Audio say how the tracks are cut; zero is one sample a chunk.
	Video, Audio ChunkPolicy
	// MaxMoov and MaxMoof bound the header and each fragment's metadata, in
	// bytes. Zero means 4 MiB and 1 MiB.
	MaxMoov, MaxMoof int
	// MaxMdat bounds one fragment's media, in bytes. Zero means 64 MiB.
	MaxMdat int64
	// Name names the tracks; it gets each track's header and how many tracks
	// of the same kind came before it. Nil means "video", "video2", "audio" ….
	Name func(h Header, n int) string
}

// A Demuxer reads a fragmented MP4 byte stream and feeds a Broadcast. It is
// pushed: Write takes the next bytes in pieces of any size and hands on every
// sample that they complete, without waiting for the rest of its fragment.
//
// Write and the other methods belong to one goroutine, on which the Broadcast
// and the Sinks are called. After an error from Write nothing more is read;
// what came before was handed on whole.
type Demuxer struct {
	b Broadcast
}

// NewDemuxer returns a Demuxer that feeds b. It never closes b.
func NewDemuxer(b Broadcast, c DemuxerConfig) *Demuxer { return &Demuxer{b: b} }

// Write takes the next bytes of the stream and keeps none of p. The error is a
// *BoxError for what is wrong with the bytes, else what the Broadcast or a
// Sink returned.
func (d *Demuxer) Write(p []byte) (int, error) { return 0, errors.ErrUnsupported }

// EndBody tells that a body ended and that another may follow, as where an
// encoder sends a request per segment: offsets count from 0 again. A body
// that ended inside a box is a *BoxError that wraps io.ErrUnexpectedEOF; its
// whole samples were handed on, and the next body starts afresh.
func (d *Demuxer) EndBody() error { return errors.ErrUnsupported }

// Close ends the stream: it flushes and closes every Sink that the Demuxer
// added. Its error is EndBody's, or the Sinks'.
func (d *Demuxer) Close() error { return errors.ErrUnsupported }
