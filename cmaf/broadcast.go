package cmaf

import "time"

// A Sink takes one CMAF track's chunks in decode order, then Close, all from
// one goroutine. publisher, the segment store and recorder implement it;
// ingest, hls/pull and viewer call it.
type Sink interface {
	// WriteChunk takes c with its Samples and Data: the caller must not touch
	// them again, and the Sink must not change them, for others may read the
	// same bytes. It does not wait for the network.
	WriteChunk(c Chunk) error
	// Close ends the track. No call follows it.
	Close() error
}

// A Broadcast takes one programme. AddTrack starts a track with its CMAF
// header; a codec change closes the Sink and adds the next under the same name.
//
// Calls on a Broadcast come from one goroutine at a time, and so do calls on
// the Sinks of one input.
type Broadcast interface {
	AddTrack(name string, h Header) (Sink, error)
	Event(Event) error           // SCTE-35, ID3, data
	Discontinuity(reason string) // media time jumps; never silently rewritten
	// Anchor says that what has the decode time media met the input's clock at
	// wall.
	Anchor(media Time, wall time.Time)
	Close(reason error) error
}

// An Event is timed data beside the tracks: an SCTE-35 cue, an ID3 tag, any
// emsg. The receiver of an Event may keep Payload.
type Event struct {
	Scheme   string // scheme_id_uri, for example "urn:scte:scte35:2013:bin"
	Value    string // the scheme's value, often empty
	ID       uint32 // equal scheme, value and ID: the same event again
	Time     Time   // presentation time, same timeline as the tracks
	Duration Time   // a zero Scale: unknown
	Payload  []byte // message_data
}
