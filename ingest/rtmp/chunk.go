package rtmp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bounds on what a peer may have under way.
const (
	minChunkSize    = 128      // what the protocol starts with, and no encoder goes below
	maxChunkStreams = 64       // encoders use three to eight
	maxPartial      = 16 << 20 // bytes of unfinished messages
	maxCommand      = 64 << 10 // bytes of a message before media is allowed
)

// A message is one RTMP message.
type message struct {
	typ       uint8
	timestamp uint32 // milliseconds, wraps
	body      []byte // the receiver's own
}

// Message types, RTMP section 5.4 and 7.1.
const (
	typeSetChunkSize  = 1
	typeAbort         = 2
	typeAck           = 3
	typeUserControl   = 4
	typeWindowAckSize = 5
	typePeerBandwidth = 6
	typeAudio         = 8
	typeVideo         = 9
	typeDataAMF3      = 15
	typeCommandAMF3   = 17
	typeData          = 18
	typeCommand       = 20
	typeAggregate     = 22
)

var errProtocol = errors.New("rtmp: not RTMP")

func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errProtocol, fmt.Sprintf(format, args...))
}

// A chunkStream is what a chunk's header may leave out because the one before
// it had it, and the message that is not whole yet.
type chunkStream struct {
	known     bool // a header of type 0 came
	timestamp uint32
	delta     uint32
	extended  bool   // the last header had an extended timestamp,
	ext       uint32 // this one
	typ       uint8
	length    int

	open bool
	body []byte // grows up to length
}

// A chunkReader puts messages together (RTMP section 5.3).
type chunkReader struct {
	in      *bufio.Reader
	size    int // of the peer's chunks
	limit   int // bytes of one message
	streams map[uint32]*chunkStream
	partial int // bytes that unfinished messages will take
}

func newChunkReader(in *bufio.Reader) *chunkReader {
	return &chunkReader{in: in, size: minChunkSize, limit: maxCommand, streams: make(map[uint32]*chunkStream)}
}

// next returns the next whole message. The error is io.EOF where the peer
// closed between messages.
func (r *chunkReader) next() (message, error) {
	for {
		first, err := r.in.ReadByte()
		if err != nil {
			return message{}, err
		}
		s, err := r.stream(first & 0x3f)
		if err == nil {
			err = r.header(s, first>>6)
		}
		if err == nil {
			err = r.payload(s)
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return message{}, err
		}
		if len(s.body) == s.length {
			m := message{s.typ, s.timestamp, s.body}
			r.drop(s)
			return m, nil
		}
	}
}

// stream reads the rest of the basic header.
func (r *chunkReader) stream(id byte) (*chunkStream, error) {
	n := uint32(id)
	if id < 2 {
		var more [2]byte
		if _, err := io.ReadFull(r.in, more[:1+id]); err != nil {
			return nil, err
		}
		n = 64 + uint32(more[0]) + uint32(more[1])<<8
	}
	s := r.streams[n]
	if s == nil {
		if len(r.streams) == maxChunkStreams {
			return nil, protocolError("more than %d chunk streams", maxChunkStreams)
		}
		s = new(chunkStream)
		r.streams[n] = s
	}
	return s, nil
}

// header reads the message header of a chunk, by its format.
func (r *chunkReader) header(s *chunkStream, format byte) error {
	if format == 3 {
		return r.headerAsBefore(s)
	}
	if s.open {
		return protocolError("a message begins before the last one of its chunk stream ended")
	}
	if !s.known && format != 0 {
		return protocolError("a chunk stream begins with a header of type %d", format)
	}
	var b [11]byte
	head := b[:[...]int{11, 7, 3}[format]]
	if _, err := io.ReadFull(r.in, head); err != nil {
		return err
	}
	at := uint24(head)
	if s.extended = at == 0xff_ffff; s.extended {
		var ext [4]byte
		if _, err := io.ReadFull(r.in, ext[:]); err != nil {
			return err
		}
		at = binary.BigEndian.Uint32(ext[:])
	}
	s.ext, s.delta = at, at
	if format == 0 {
		s.known, s.timestamp = true, at
	} else {
		s.timestamp += at
	}
	if format < 2 {
		s.length, s.typ = int(uint24(head[3:])), head[6]
	}
	return r.begin(s)
}

// headerAsBefore takes everything from the last header: of the message that
// goes on, or of the one before a new message.
func (r *chunkReader) headerAsBefore(s *chunkStream) error {
	if !s.known {
		return protocolError("a chunk stream begins with a header of type 3")
	}
	if s.extended {
		// The specification wants it repeated. Some peers write the timestamp
		// where the header had a delta, gortmplib 0, and some leave it out.
		ext, err := r.in.Peek(4)
		if err != nil {
			return err
		}
		if v := binary.BigEndian.Uint32(ext); v == s.ext || v == s.timestamp || v == 0 {
			if _, err := r.in.Discard(4); err != nil {
				return err
			}
		}
	}
	if s.open {
		return nil
	}
	// After a header of type 0 its timestamp is the delta (section 5.3.1.2.4).
	s.timestamp += s.delta
	return r.begin(s)
}

// begin makes room for a message.
func (r *chunkReader) begin(s *chunkStream) error {
	if s.length > r.limit {
		return protocolError("a message of %d bytes, at most %d are taken", s.length, r.limit)
	}
	if r.partial+s.length > maxPartial {
		return protocolError("unfinished messages of %d bytes, at most %d are taken", r.partial+s.length, maxPartial)
	}
	r.partial += s.length
	s.open, s.body = true, make([]byte, 0, s.length)
	return nil
}

// payload reads a chunk's part of the message.
func (r *chunkReader) payload(s *chunkStream) error {
	have := len(s.body)
	s.body = s.body[:have+min(r.size, s.length-have)]
	_, err := io.ReadFull(r.in, s.body[have:])
	return err
}

// drop forgets the message under way, if there is one.
func (r *chunkReader) drop(s *chunkStream) {
	if s != nil && s.open {
		r.partial -= s.length
		s.open, s.body = false, nil
	}
}

// control obeys the messages that are about the chunk stream itself.
func (r *chunkReader) control(m message) error {
	if len(m.body) < 4 {
		return protocolError("a control message of %d bytes", len(m.body))
	}
	v := binary.BigEndian.Uint32(m.body)
	if m.typ == typeAbort {
		r.drop(r.streams[v])
		return nil
	}
	if v < minChunkSize || v > 1<<31-1 {
		return protocolError("chunks of %d bytes, want %d or more", v, minChunkSize)
	}
	r.size = int(min(v, 1<<24)) // a message is shorter
	return nil
}

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }
