package transport

import (
	"context"
	"io"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// quicSend is the sending half of both *quic.SendStream and *quic.Stream.
type quicSend interface {
	io.WriteCloser
	TryWriteAll(p []byte) error
	SetWriteDeadline(t time.Time) error
	CancelWrite(code quic.StreamErrorCode)
	SetPriority(urgency int8, incremental bool)
	SetReliableBoundary()
	Context() context.Context
}

// quicReceive is the receiving half of both *quic.ReceiveStream and *quic.Stream.
type quicReceive interface {
	io.Reader
	SetReadDeadline(t time.Time) error
	CancelRead(code quic.StreamErrorCode)
}

var (
	_ moqt.SendStream    = (*sendStream)(nil)
	_ moqt.Unsender      = (*sendStream)(nil)
	_ moqt.ReceiveStream = (*receiveStream)(nil)
	_ moqt.Stream        = (*stream)(nil)
	_ quicSend           = (*quic.SendStream)(nil)
	_ quicSend           = (*quic.Stream)(nil)
	_ quicReceive        = (*quic.ReceiveStream)(nil)
	_ quicReceive        = (*quic.Stream)(nil)
)

// A receiveStream is the receiving half of a stream of either transport.
type receiveStream struct {
	link *link
	str  quicReceive
}

func newReceiveStream(l *link, str quicReceive) *receiveStream {
	r := &receiveStream{link: l, str: str}
	l.hold(r)
	return r
}

// Read implements moqt.ReceiveStream.
func (r *receiveStream) Read(p []byte) (int, error) {
	if err := r.link.err(); err != nil {
		return 0, err
	}
	n, err := r.str.Read(p)
	if err == nil {
		return n, nil
	}
	err = r.link.waitGone(err)
	if !isTimeout(err) {
		r.link.drop(r)
	}
	return n, err
}

// SetReadDeadline implements moqt.ReceiveStream.
func (r *receiveStream) SetReadDeadline(t time.Time) error {
	err := r.str.SetReadDeadline(t)
	if r.link.closed.Load() != nil {
		r.expire() // never wait on a session that has ended
	}
	return r.link.convert(err)
}

// CancelRead implements moqt.ReceiveStream.
func (r *receiveStream) CancelRead(code wire.ResetCode) {
	if r.link.closed.Load() == nil {
		r.str.CancelRead(r.link.encodeReset(code))
	}
	r.link.drop(r)
}

// expire makes a blocked Read return.
func (r *receiveStream) expire() { _ = r.str.SetReadDeadline(longAgo) }

// A stream is a bidirectional stream of either transport.
type stream struct {
	*sendStream
	*receiveStream
}

// requestUrgency is where request streams start, because DESIGN's media classes
// come after it; quic-go's own default would put them amid the media.
const requestUrgency = 1

func newStream(l *link, str *quic.Stream, header []byte) *stream {
	str.SetPriority(requestUrgency, true)
	return &stream{newSendStream(l, str, header), newReceiveStream(l, str)}
}
