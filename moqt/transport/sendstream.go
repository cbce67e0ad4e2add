package transport

import (
	"context"
	"errors"
	"math"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// maxDirect is how much TryWrite leaves to quic-go's TryWriteAll: what fits into
// one pooled frame. Beyond that TryWriteAll copies and reallocates all that is
// still queued, with every call and with every packet.
const maxDirect = 1200

// A sendStream is the sending half of a stream of either transport.
//
// TryWrite must neither block nor keep p, and QUIC takes data from a blocked
// Write without copying it around. So what TryWrite accepts goes into a small
// queue, and a goroutine, the pump, writes it; it lives only while there is
// something queued. Small writes on an idle stream go without it.
type sendStream struct {
	link *link
	str  quicSend

	mu       sync.Mutex
	header   []byte // of WebTransport; goes out ahead of the first byte
	direct   int    // bytes given to TryWriteAll since sent was sentMark
	sentMark uint64 // the connection's bytes sent

	queue    sendQueue
	writing  int             // bytes at the front of queue that the pump writes just now
	from     uint64          // the connection's bytes sent, when it began to
	run      func()          // pump, bound once
	pumping  bool            // the pump runs
	idle     chan struct{}   // closed when it ends, if somebody waits for that
	boundary int             // how much of queue must arrive even after a reset
	fin      bool            // Close follows the queue
	reset    *wire.ResetCode // CancelWrite was called
	err      error           // what the pump met
	deadline time.Time       // of Write
	poked    chan struct{}   // deadline has changed

	ctxOnce sync.Once
	ctx     context.Context
}

func newSendStream(l *link, str quicSend, header []byte) *sendStream {
	s := &sendStream{link: l, str: str, header: header, poked: make(chan struct{}, 1)}
	s.run = s.pump
	l.hold(s)
	return s
}

// TryWrite implements moqt.SendStream. It takes up to maxQueued bytes more than
// QUIC has room for, and p of any size when nothing is queued.
func (s *sendStream) TryWrite(p []byte) error { return s.tryWrite(p, false) }

// TryWriteShared implements moqt.SharedWriter. Only what fits into one frame is
// copied, by QUIC.
func (s *sendStream) TryWriteShared(p []byte) error { return s.tryWrite(p, true) }

func (s *sendStream) tryWrite(p []byte, shared bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.broken(); err != nil {
		return err
	}
	if !s.pumping {
		if err := s.sendHeader(); err != nil {
			return s.link.convert(err)
		}
		// All that was sent since may have been other streams' data. Then TryWriteAll
		// costs more than it should; that is all.
		s.refresh()
		if s.direct+len(p) <= maxDirect {
			if s.direct == 0 {
				s.sentMark = s.link.qc.ConnectionStats().BytesSent
			}
			err := s.str.TryWriteAll(p)
			if err == nil {
				s.direct += len(p)
			}
			return s.link.convert(err)
		}
	}
	if s.queue.size > 0 && s.queue.size+len(p) > maxQueued {
		return moqt.ErrWouldBlock
	}
	if shared {
		s.queue.share(p)
	} else {
		s.queue.append(p)
	}
	if !s.pumping {
		s.startPump()
	}
	return nil
}

// refresh sets direct to zero once as much as that has been sent since.
func (s *sendStream) refresh() {
	if s.direct == 0 {
		return
	}
	if sent := s.link.qc.ConnectionStats().BytesSent; sent-s.sentMark >= uint64(s.direct) {
		s.direct, s.sentMark = 0, sent
	}
}

// Unsent implements moqt.Unsender. QUIC returns from a write when the last packet
// of it is next to leave. Of the block that is being written, as much as the
// connection has sent since is taken to have left, whosever data it was: at
// worst that is wrong by a block, until the write returns.
func (s *sendStream) Unsent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reset != nil && s.boundary == 0 || s.err != nil {
		return 0
	}
	s.refresh()
	n := s.direct + s.queue.size
	if s.writing > 0 {
		sent := s.link.qc.ConnectionStats().BytesSent - s.from
		sent -= sent / packetOverhead
		n -= int(min(sent, uint64(s.writing)))
	}
	return n
}

// packetOverhead is how many bytes of packets hold one that is not stream data.
const packetOverhead = 32

// broken returns why nothing can be written any more, if so.
func (s *sendStream) broken() error {
	if err := s.link.err(); err != nil {
		return err
	}
	if s.reset != nil {
		return &moqt.StreamError{Code: *s.reset}
	}
	if s.fin {
		return os.ErrClosed
	}
	if s.err != nil {
		return s.err
	}
	if ctx := s.str.Context(); ctx.Err() != nil {
		s.link.drop(s)
		return s.link.convert(context.Cause(ctx))
	}
	return nil
}

// sendHeader queues the stream header if that is still to be done. Without it a
// peer cannot tell whose stream was reset: hence the reliable boundary behind it.
func (s *sendStream) sendHeader() error {
	if s.header == nil {
		return nil
	}
	if err := s.str.TryWriteAll(s.header); err != nil {
		return err
	}
	s.str.SetReliableBoundary()
	s.header = nil
	return nil
}

// startPump is called with mu held and something queued.
func (s *sendStream) startPump() {
	if !s.deadline.IsZero() {
		_ = s.str.SetWriteDeadline(time.Time{}) // it is for Write
	}
	if s.pumping = s.link.start(s.run); !s.pumping {
		s.queue.clear() // the connection has ended
	}
}

// pump writes the queue. It ends when the queue is empty, or with the stream.
func (s *sendStream) pump() {
	defer s.link.wg.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil {
		limit := math.MaxInt
		if s.boundary > 0 {
			limit = s.boundary
		} else if s.reset != nil {
			s.str.CancelWrite(s.link.encodeReset(*s.reset))
			break
		}
		p := s.queue.front(limit)
		if p == nil {
			break
		}
		s.writing, s.from = len(p), s.link.qc.ConnectionStats().BytesSent
		s.mu.Unlock()
		_, err := s.str.Write(p)
		s.mu.Lock()
		s.writing = 0
		s.queue.drop(len(p))
		if s.boundary > 0 {
			if s.boundary -= len(p); s.boundary == 0 && err == nil {
				s.str.SetReliableBoundary()
			}
		}
		if err != nil {
			s.err = s.link.convert(err)
			s.link.drop(s)
		}
	}
	s.queue.clear()
	s.boundary = 0
	if s.fin && s.err == nil && s.reset == nil {
		_ = s.str.Close()
	}
	s.pumping = false
	if s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// Write implements moqt.SendStream.
func (s *sendStream) Write(p []byte) (int, error) {
	if err := s.waitIdle(); err != nil {
		return 0, err
	}
	n, err := s.str.Write(p)
	if err != nil {
		err = s.link.waitGone(err)
		if !isTimeout(err) {
			s.link.drop(s)
		}
	}
	return n, err
}

// waitIdle waits until the pump is done, and readies the stream for a Write.
func (s *sendStream) waitIdle() error {
	var expired <-chan time.Time
	for {
		s.mu.Lock()
		if err := s.broken(); err != nil {
			s.mu.Unlock()
			return err
		}
		if !s.pumping {
			defer s.mu.Unlock()
			_ = s.str.SetWriteDeadline(s.deadline)
			if s.header == nil {
				return nil
			}
			if _, err := s.str.Write(s.header); err != nil { // buffered at once, for it is tiny
				return s.link.convert(err)
			}
			s.str.SetReliableBoundary()
			s.header = nil
			return nil
		}
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle, deadline := s.idle, s.deadline
		s.mu.Unlock()
		expired = nil
		if !deadline.IsZero() {
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-idle:
		case <-s.poked:
		case <-s.link.ctx.Done():
		case <-expired:
			return os.ErrDeadlineExceeded
		}
	}
}

// SetWriteDeadline implements moqt.SendStream.
func (s *sendStream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	s.deadline = t
	if s.link.closed.Load() != nil {
		s.deadline = longAgo // never wait on a session that has ended
	}
	if !s.pumping {
		_ = s.str.SetWriteDeadline(s.deadline) // never fails
	}
	s.mu.Unlock()
	select {
	case s.poked <- struct{}{}:
	default:
	}
	return nil
}

// longAgo is a deadline in the past.
var longAgo = time.Unix(1, 0)

// expire makes a blocked Write return. What is queued still goes out.
func (s *sendStream) expire() { _ = s.SetWriteDeadline(longAgo) }

// Close implements moqt.SendStream.
func (s *sendStream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link.drop(s)
	if s.reset != nil {
		return &moqt.StreamError{Code: *s.reset}
	}
	if s.fin {
		return nil
	}
	s.fin = true
	if s.pumping {
		return nil
	}
	if s.header != nil {
		_, _ = s.str.Write(s.header)
		s.header = nil
	}
	if err := s.str.Close(); err != nil {
		return s.link.convert(context.Cause(s.str.Context())) // the peer stopped it
	}
	return nil
}

// CancelWrite implements moqt.SendStream.
func (s *sendStream) CancelWrite(code wire.ResetCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link.drop(s)
	if s.reset != nil || s.link.closed.Load() != nil {
		return // the connection ends soon; until then the last words may get out
	}
	s.reset = &code
	if s.boundary > 0 {
		return // the pump resets the stream when what must arrive is written
	}
	// Should there be no room for the header, the peer drops a stream that was
	// reset before it said what it is; nothing is lost by that.
	_ = s.sendHeader()
	s.str.CancelWrite(s.link.encodeReset(code))
}

// SetPriority implements moqt.SendStream.
func (s *sendStream) SetPriority(urgency int, incremental bool) {
	s.str.SetPriority(int8(min(max(urgency, 0), 7)), incremental)
}

// SetReliableBoundary implements moqt.SendStream.
func (s *sendStream) SetReliableBoundary() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.size > 0 {
		s.boundary = s.queue.size
		return
	}
	s.str.SetReliableBoundary()
}

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
