// Package conn is what a session and its egress scheduler need of a connection:
// a QUIC connection or a WebTransport session (draft-ietf-moq-transport-18,
// section 3.1). moqt/transport and moqt/moqttest implement it.
package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// ErrWouldBlock reports that the transport has no flow control credit for a
// write right now. Nothing of it was queued.
var ErrWouldBlock = errors.New("moqt: write would block")

// ErrStreamLimit reports that the peer's stream limit leaves no room for
// another stream right now.
var ErrStreamLimit = errors.New("moqt: stream limit reached")

// A Transport names what carries a Conn.
type Transport string

// The transports of section 3.1.
const (
	QUIC         Transport = "quic"
	WebTransport Transport = "webtransport"
)

// Info says what is fixed about a connection once it is up.
type Info struct {
	Transport Transport
	Protocol  string // the negotiated version token, such as "moqt-18"
	Client    bool   // we opened the connection: our request IDs are even
	Remote    net.Addr
	Local     net.Addr
	// Authority and Path (with its query) come from the CONNECT request. They
	// are empty on raw QUIC, where the client's SETUP carries them, and on
	// connections that we opened.
	Authority string
	Path      string
}

// Stats is a snapshot of what the transport measures.
type Stats struct {
	SmoothedRTT      time.Duration
	MinRTT           time.Duration
	CongestionWindow uint64 // bytes
	BytesSent        uint64 // UDP payload bytes, retransmissions included
	BytesReceived    uint64
	PacketsSent      uint64
	PacketsReceived  uint64
	PacketsLost      uint64
}

// A Conn is one MoQT transport connection: a QUIC connection or a WebTransport
// session (section 3.1). moqt/transport makes them; moqt/moqttest makes them in
// memory. Every method may be called from several goroutines.
type Conn interface {
	Info() Info
	Stats() Stats

	// OpenStream waits for stream credit; OpenUniStream does not and answers
	// ErrStreamLimit instead, so that a scheduler can put something newer first.
	OpenStream(ctx context.Context) (Stream, error)
	OpenUniStream() (SendStream, error)
	AcceptStream(ctx context.Context) (Stream, error)
	AcceptUniStream(ctx context.Context) (ReceiveStream, error)

	// ReceiveDatagram waits for the next datagram. SendDatagram drops one that
	// is too large or finds a full queue, with an error.
	SendDatagram(b []byte) error
	ReceiveDatagram(ctx context.Context) ([]byte, error)

	// CloseWithError closes the connection with an application code and a
	// reason of at most 1024 bytes. Only the first call has an effect.
	CloseWithError(code wire.SessionCode, reason string) error
	// Context ends when the connection has ended; its cause is a *SessionError.
	Context() context.Context
}

// A SendStream is the sending half of a stream. One goroutine writes.
type SendStream interface {
	// Write blocks until p is queued, a deadline passes or the stream ends.
	Write(p []byte) (int, error)
	// TryWrite queues all of p or nothing: ErrWouldBlock when flow control
	// has no room. p may be reused when it returns.
	TryWrite(p []byte) error
	SetWriteDeadline(t time.Time) error
	// Close ends the stream with FIN after what was written.
	Close() error
	// CancelWrite resets the stream. What the peer has not received is lost.
	CancelWrite(code wire.ResetCode)
	// SetPriority ranks the stream within its connection: urgency 0 goes first,
	// 7 last. Among equals, incremental streams take turns and the others go in
	// the order in which they were opened. No effect where the transport cannot.
	SetPriority(urgency int, incremental bool)
	// SetReliableBoundary keeps what was written so far deliverable after a
	// CancelWrite (RESET_STREAM_AT). No effect where the transport cannot.
	SetReliableBoundary()
	// Context ends when the sending half has ended; its cause is a *StreamError
	// when the peer asked to stop.
	Context() context.Context
}

// A SharedWriter is a SendStream that can send bytes from where they are.
// Implementing it is optional.
type SharedWriter interface {
	// TryWriteShared is TryWrite for bytes that never change: the stream may keep p
	// until it has ended.
	TryWriteShared(p []byte) error
}

// An Unsender is a SendStream that knows how many of the bytes that it took have
// not left in a packet yet, but for one packet more or less. Implementing it is
// optional: without it a scheduler works with an estimate.
type Unsender interface {
	// Unsent may be called while another goroutine writes. It is zero once the
	// stream is reset, and may still be above zero after Close.
	Unsent() int
}

// A ReceiveStream is the receiving half of a stream. One goroutine reads.
type ReceiveStream interface {
	// Read reads. It ends with io.EOF after FIN, a *StreamError after a reset,
	// or the *SessionError that ended the connection.
	Read(p []byte) (int, error)
	SetReadDeadline(t time.Time) error
	// CancelRead asks the peer to stop sending.
	CancelRead(code wire.ResetCode)
}

// A Stream is a bidirectional stream.
type Stream interface {
	SendStream
	ReceiveStream
}

// A StreamError reports that one half of a stream was reset or stopped.
type StreamError struct {
	Code   wire.ResetCode // section 15.10.4
	Remote bool           // the peer did it
}

func (e *StreamError) Error() string {
	return fmt.Sprintf("moqt: stream ended: %v (remote %t)", e.Code, e.Remote)
}

// A SessionError says why a session ended. Calls that fail for it wrap it.
type SessionError struct {
	Code   wire.SessionCode // section 3.5
	Reason string           // for people and logs; never match on it
	Remote bool             // the peer closed
	Err    error            // the transport's own error, when it was not an application close
}

func (e *SessionError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("moqt: session lost: %v", e.Err)
	}
	return fmt.Sprintf("moqt: session closed: %v (remote %t): %s", e.Code, e.Remote, e.Reason)
}

// Unwrap returns the transport's error, if that is what ended the session.
func (e *SessionError) Unwrap() error { return e.Err }
