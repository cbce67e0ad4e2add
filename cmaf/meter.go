package cmaf

// A Meter measures what a header did not say: bitrate and frame rate. The
// zero value is ready; one goroutine owns it.
type Meter struct {
	_ int
}

// Add counts a chunk of the track that h describes.
func (m *Meter) Add(h Header, c Chunk) {}

// Fill sets h's Bitrate and FrameRate where they are 0 and known by now, and
// reports whether it changed any.
func (m *Meter) Fill(h *Header) bool { return false }
