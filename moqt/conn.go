package moqt

import (
	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/egress"
)

// The connection that a session runs on, under names that spare its users an
// import.
type (
	// A Conn is one QUIC connection or WebTransport session.
	Conn = conn.Conn
	// A ConnInfo says what is fixed about a connection.
	ConnInfo = conn.Info
	// ConnStats is what the transport measures.
	ConnStats = conn.Stats
	// A Transport names what carries a Conn.
	Transport = conn.Transport
	// A SendStream is the sending half of a stream.
	SendStream = conn.SendStream
	// A SharedWriter is a SendStream that can send bytes from where they are.
	SharedWriter = conn.SharedWriter
	// An Unsender is a SendStream that knows what of it has not left yet.
	Unsender = conn.Unsender
	// A ReceiveStream is the receiving half of a stream.
	ReceiveStream = conn.ReceiveStream
	// A Stream is a bidirectional stream.
	Stream = conn.Stream
	// A StreamError reports that one half of a stream was reset or stopped.
	StreamError = conn.StreamError
	// A SessionError says why a session ended. Calls that fail for it wrap it.
	SessionError = conn.SessionError
	// An EgressConfig bounds what a session sends.
	EgressConfig = egress.Config
	// An Estimate is what is known of how much a connection can carry.
	Estimate = egress.Estimate
)

// The transports of section 3.1.
const (
	QUIC         = conn.QUIC
	WebTransport = conn.WebTransport
)

// Why a transport takes nothing right now.
var (
	ErrWouldBlock  = conn.ErrWouldBlock
	ErrStreamLimit = conn.ErrStreamLimit
)
