package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A codec maps MoQT's codes to those on QUIC frames, and what ended the QUIC
// connection to what ended the session. There is one for each transport.
type codec interface {
	encodeReset(wire.ResetCode) quic.StreamErrorCode
	decodeReset(quic.StreamErrorCode) (code wire.ResetCode, sessionGone bool)
	sessionError(error) *moqt.SessionError
}

// quicCodec is raw QUIC's: the codes are MoQT's own.
type quicCodec struct{}

func (quicCodec) encodeReset(c wire.ResetCode) quic.StreamErrorCode {
	if c > quicvarint.Max {
		c = wire.ResetInternalError // not representable, so nothing that a peer could know
	}
	return quic.StreamErrorCode(c)
}

func (quicCodec) decodeReset(c quic.StreamErrorCode) (wire.ResetCode, bool) {
	return wire.ResetCode(c), false
}

func (quicCodec) sessionError(err error) *moqt.SessionError { return quicSessionError(err) }

// A link is what the connections of both transports and their streams share:
// the QUIC connection, and how and whether the session ended.
type link struct {
	codec
	qc     *quic.Conn
	info   moqt.ConnInfo
	ctx    context.Context
	cancel context.CancelCauseFunc
	closed atomic.Pointer[moqt.SessionError] // set once, before ctx ends
	dgrams datagrams

	mu      sync.Mutex
	waiting bool // wait was called: no more goroutines
	wg      sync.WaitGroup
	blocked map[deadliner]struct{} // stream halves in use; nil where closing the connection unblocks them
}

// A deadliner is a stream half that can be made to return from a blocking call.
type deadliner interface{ expire() }

func newLink(qc *quic.Conn, c codec, info moqt.ConnInfo) *link {
	l := &link{codec: c, qc: qc, info: info}
	l.info.Local, l.info.Remote = qc.LocalAddr(), qc.RemoteAddr()
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	// However the connection ends, the session ends with it.
	context.AfterFunc(qc.Context(), func() { l.end(l.sessionError(context.Cause(qc.Context()))) })
	return l
}

// Info implements moqt.Conn.
func (l *link) Info() moqt.ConnInfo { return l.info }

// Stats implements moqt.Conn.
func (l *link) Stats() moqt.ConnStats {
	s := l.qc.ConnectionStats()
	return moqt.ConnStats{
		SmoothedRTT:      s.SmoothedRTT,
		MinRTT:           s.MinRTT,
		CongestionWindow: s.CongestionWindow,
		BytesSent:        s.BytesSent,
		BytesReceived:    s.BytesReceived,
		PacketsSent:      s.PacketsSent,
		PacketsReceived:  s.PacketsReceived,
		PacketsLost:      s.PacketsLost,
	}
}

// Context implements moqt.Conn.
func (l *link) Context() context.Context { return l.ctx }

// end records why the session ended and unblocks whoever waits on it. It
// reports whether this was the first reason.
func (l *link) end(why *moqt.SessionError) bool {
	if !l.closed.CompareAndSwap(nil, why) {
		return false
	}
	l.cancel(why)
	l.mu.Lock()
	halves := l.blocked
	l.blocked = nil
	l.mu.Unlock()
	for h := range halves {
		h.expire()
	}
	return true
}

// err returns the error that calls fail with once the session has ended.
func (l *link) err() error {
	if se := l.closed.Load(); se != nil {
		return se
	}
	return nil
}

// spawn runs f in a goroutine that ends with the connection. It reports false,
// and does not, when the connection is already being cleaned up.
func (l *link) spawn(f func()) bool {
	return l.start(func() {
		defer l.wg.Done()
		f()
	})
}

// start is spawn for an f that ends with wg.Done, which spares an allocation.
func (l *link) start(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting {
		return false
	}
	l.wg.Add(1)
	go f()
	return true
}

// wait waits for what spawn started. The connection must have ended.
func (l *link) wait() {
	l.mu.Lock()
	l.waiting = true
	l.mu.Unlock()
	l.wg.Wait()
}

// hold registers a stream half that may block, drop takes it out again.
func (l *link) hold(h deadliner) {
	l.mu.Lock()
	if l.blocked != nil {
		l.blocked[h] = struct{}{}
	}
	l.mu.Unlock()
	if l.closed.Load() != nil {
		h.expire()
	}
}

func (l *link) drop(h deadliner) {
	l.mu.Lock()
	delete(l.blocked, h)
	l.mu.Unlock()
}

// convert turns an error of the QUIC stack into the one that moqt.Conn promises.
func (l *link) convert(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // io.EOF is returned bare
		return err
	}
	if se, ok := errors.AsType[*quic.StreamError](err); ok {
		code, gone := l.decodeReset(se.ErrorCode)
		if gone {
			if err := l.err(); err != nil {
				return err
			}
		}
		return &moqt.StreamError{Code: code, Remote: se.Remote}
	}
	if err := l.err(); err != nil {
		return err
	}
	switch {
	case errors.Is(err, quic.ErrWouldBlock):
		return moqt.ErrWouldBlock
	case errors.As(err, new(*quic.StreamLimitReachedError)), errors.As(err, new(quic.StreamLimitReachedError)):
		return moqt.ErrStreamLimit
	case isContext(err), isTimeout(err), errors.Is(err, quic.ErrStreamClosed), errors.As(err, new(*quic.DatagramTooLargeError)):
		return err
	case errors.Is(err, net.ErrClosed), errors.Is(err, quic.ErrTransportClosed):
		// The connection has ended. QUIC's context may follow a moment later, but
		// whoever hears of the end must find our context ended, for that reason.
		l.end(l.sessionError(err))
		return l.err()
	}
	return fmt.Errorf("transport: %w", err)
}

// waitGone gives the message that ends the session a moment to arrive after a
// stream of it was reset for that reason, so that the caller learns the reason.
func (l *link) waitGone(err error) error {
	se, ok := errors.AsType[*quic.StreamError](err)
	if !ok {
		return l.convert(err)
	}
	if _, gone := l.decodeReset(se.ErrorCode); gone {
		select {
		case <-l.ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return l.convert(err)
}
