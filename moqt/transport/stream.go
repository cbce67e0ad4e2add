package transport

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
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
	_ moqt.ReceiveStream = (*receiveStream)(nil)
	_ moqt.Stream        = (*stream)(nil)
	_ quicSend           = (*quic.SendStream)(nil)
	_ quicSend           = (*quic.Stream)(nil)
	_ quicReceive        = (*quic.ReceiveStream)(nil)
	_ quicReceive        = (*quic.Stream)(nil)
)

// A sendStream is the sending half of a stream of either transport.
type sendStream struct {
	link *link
	str  quicSend

	// The WebTransport stream header goes out with the first write, so that a
	// stream costs no packet of its own.
	headerDue atomic.Bool
	headerMu  sync.Mutex
	header    []byte

	ctxOnce sync.Once
	ctx     context.Context
}

func newSendStream(l *link, str quicSend, header []byte) *sendStream {
	s := &sendStream{link: l, str: str, header: header}
	s.headerDue.Store(len(header) > 0)
	l.hold(s)
	return s
}

// Write implements moqt.SendStream.
func (s *sendStream) Write(p []byte) (int, error) {
	if err := s.link.err(); err != nil {
		return 0, err
	}
	if s.headerDue.Load() {
		if err := s.sendHeader(s.writeAll); err != nil {
			return 0, s.failed(s.link.waitGone(err))
		}
	}
	n, err := s.str.Write(p)
	if err != nil {
		return n, s.failed(s.link.waitGone(err))
	}
	return n, nil
}

// TryWrite implements moqt.SendStream. It does not allocate.
func (s *sendStream) TryWrite(p []byte) error {
	if err := s.link.err(); err != nil {
		return err
	}
	if s.headerDue.Load() {
		if err := s.sendHeader(s.str.TryWriteAll); err != nil {
			return s.failed(s.link.convert(err))
		}
	}
	if err := s.str.TryWriteAll(p); err != nil {
		return s.failed(s.link.convert(err))
	}
	return nil
}

func (s *sendStream) writeAll(p []byte) error {
	_, err := s.str.Write(p)
	return err
}

// sendHeader sends the stream header if that is still to be done. It is worth
// nothing in parts, and a peer that never sees it cannot tell whose stream was
// reset: hence the reliable boundary behind it.
func (s *sendStream) sendHeader(write func([]byte) error) error {
	s.headerMu.Lock()
	defer s.headerMu.Unlock()
	if s.header == nil {
		return nil
	}
	if err := write(s.header); err != nil {
		return err
	}
	s.str.SetReliableBoundary()
	s.header = nil
	s.headerDue.Store(false)
	return nil
}

// SetWriteDeadline implements moqt.SendStream.
func (s *sendStream) SetWriteDeadline(t time.Time) error {
	err := s.str.SetWriteDeadline(t)
	if s.link.closed.Load() != nil {
		s.expire() // never wait on a session that has ended
	}
	return s.link.convert(err)
}

// Close implements moqt.SendStream.
func (s *sendStream) Close() error {
	if err := s.sendHeader(s.writeAll); err != nil {
		return s.failed(s.link.convert(err))
	}
	s.link.drop(s)
	if err := s.str.Close(); err != nil {
		// It was reset before, by us or by the peer: say by whom.
		return s.link.convert(context.Cause(s.str.Context()))
	}
	return nil
}

// CancelWrite implements moqt.SendStream.
func (s *sendStream) CancelWrite(code wire.ResetCode) {
	// Should there be no room for the header, the peer drops a stream that was
	// reset before it said what it is; nothing is lost by that.
	_ = s.sendHeader(s.str.TryWriteAll)
	s.str.CancelWrite(s.link.encodeReset(code))
	s.link.drop(s)
}

// SetPriority implements moqt.SendStream.
func (s *sendStream) SetPriority(urgency int, incremental bool) {
	s.str.SetPriority(int8(min(max(urgency, 0), 7)), incremental)
}

// SetReliableBoundary implements moqt.SendStream.
func (s *sendStream) SetReliableBoundary() { s.str.SetReliableBoundary() }

// Context implements moqt.SendStream. Most streams are never asked for it, so it
// is made on demand.
func (s *sendStream) Context() context.Context {
	s.ctxOnce.Do(func() {
		quicCtx := s.str.Context()
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(quicCtx))
		s.ctx = ctx
		end := func() {
			cause := context.Cause(quicCtx)
			if errors.Is(cause, quic.ErrStreamClosed) {
				cancel(nil) // FIN
				return
			}
			cancel(s.link.convert(cause))
		}
		if quicCtx.Err() != nil {
			end()
			return
		}
		context.AfterFunc(quicCtx, end)
	})
	return s.ctx
}

// expire makes a blocked Write return. What is queued still goes out.
func (s *sendStream) expire() { _ = s.str.SetWriteDeadline(time.Unix(1, 0)) }

// failed takes a stream that can send no more out of the link.
func (s *sendStream) failed(err error) error {
	if !errors.Is(err, moqt.ErrWouldBlock) && !isTimeout(err) {
		s.link.drop(s)
	}
	return err
}

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
	r.str.CancelRead(r.link.encodeReset(code))
	r.link.drop(r)
}

// expire makes a blocked Read return.
func (r *receiveStream) expire() { _ = r.str.SetReadDeadline(time.Unix(1, 0)) }

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
