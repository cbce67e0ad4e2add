package transport

import (
	"context"
	"io"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

var _ moqt.Conn = (*wtConn)(nil)

// How a server closes a session, so that a page learns why. Chromium drops what
// a page has not read from its streams when the close capsule comes, so the
// answers on request streams get a head start. And it tells the page code and
// reason only if nothing else about the connection ends before it has read the
// capsule, so the connection outlives the session until the client has answered
// the capsule with its FIN, and the page had time to hear of it. Together they
// leave an orderly end of the server below two seconds.
const (
	closeDelay  = 200 * time.Millisecond // between the last write and the capsule
	closeAnswer = 600 * time.Millisecond // between the capsule and the FIN, at most
	closeLinger = 300 * time.Millisecond // between the FIN and the end
)

// connectStream is the CONNECT stream: *http3.Stream on the server,
// *http3.RequestStream on the client. Nothing but capsules goes over it.
type connectStream interface {
	io.ReadCloser
	StreamID() quic.StreamID
	TryWriteAll([]byte) error
	CancelWrite(quic.StreamErrorCode)
	SetReadDeadline(time.Time) error
	SendDatagram([]byte) error
	ReceiveDatagram(context.Context) ([]byte, error)
}

// A wtConn is a MoQT connection on a WebTransport session, the only one of its
// QUIC connection. Its streams are QUIC streams that begin with a stream type
// and the session ID.
type wtConn struct {
	*link
	id      quic.StreamID // session ID: that of the CONNECT stream
	connect connectStream

	// As large as the QUIC limits of concurrent streams, so that a stream which
	// waits to be accepted never holds up more than itself.
	uni  chan *quic.ReceiveStream
	bidi chan *quic.Stream

	local chan struct{} // closed when we ended the session
}

// newWTConn makes the connection. The caller runs run.
func newWTConn(qc *quic.Conn, connect connectStream, info moqt.ConnInfo) *wtConn {
	info.Transport = moqt.WebTransport
	c := &wtConn{
		link:    newLink(qc, h3Codec{}, info),
		id:      connect.StreamID(),
		connect: connect,
		uni:     make(chan *quic.ReceiveStream, maxIncomingUniStreams),
		bidi:    make(chan *quic.Stream, maxIncomingStreams),
		local:   make(chan struct{}),
	}
	// The connection stays up for a while when the session ends, so streams that
	// block have to be told.
	c.blocked = make(map[deadliner]struct{})
	return c
}

// run reads the CONNECT stream until the session ends, and closes the QUIC
// connection: at once when the peer ended the session, slowly when we did.
func (c *wtConn) run() {
	defer func() {
		_ = c.qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		c.wait()
	}()
	if c.end(c.readCapsules()) {
		_ = c.connect.Close() // the answer to a close is FIN
		return
	}
	select {
	case <-c.local:
	default:
		return // the connection itself has ended
	}
	if !c.info.Client {
		c.pause(closeDelay)
		c.sendClose()
		c.awaitAnswer()
	}
	c.pause(closeLinger)
}

// awaitAnswer waits for the end of the CONNECT stream, with which a client
// answers a close.
func (c *wtConn) awaitAnswer() {
	_ = c.connect.SetReadDeadline(time.Now().Add(closeAnswer))
	_, _ = io.Copy(io.Discard, c.connect) // however it ends
}

// pause waits for d, or for the peer to close the connection.
func (c *wtConn) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.qc.Context().Done():
	case <-timer.C:
	}
}

// sendClose tells the peer why the session has ended.
func (c *wtConn) sendClose() {
	why := c.closed.Load()
	if err := c.connect.TryWriteAll(appendCloseSession(nil, why.Code, why.Reason)); err != nil {
		c.connect.CancelWrite(wtSessionGone) // the peer withholds credit, or is gone
	}
	_ = c.connect.Close() // FIN
}

// readCapsules returns why the peer ended the session.
func (c *wtConn) readCapsules() *moqt.SessionError {
	parser := http3.NewCapsuleParser(c.connect)
	for {
		typ, body, err := parser.Next()
		if err == io.EOF { //nolint:errorlint // FIN between capsules comes bare
			return &moqt.SessionError{Code: wire.SessionNoError, Remote: true}
		}
		if err == nil && typ == closeSessionCapsule {
			var why *moqt.SessionError
			if why, err = readCloseSession(body); err == nil {
				return why
			}
		}
		if err == nil {
			err = body.Discard() // flow control that we did not negotiate, or an extension
		}
		if err != nil {
			return h3SessionError(err)
		}
	}
}

// OpenStream implements moqt.Conn.
func (c *wtConn) OpenStream(ctx context.Context) (moqt.Stream, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()
	str, err := c.qc.OpenStreamSync(ctx)
	if err != nil {
		return nil, c.convert(err)
	}
	return newStream(c.link, str, c.header(wtBidiStream)), nil
}

// OpenUniStream implements moqt.Conn.
func (c *wtConn) OpenUniStream() (moqt.SendStream, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	str, err := c.qc.OpenUniStream()
	if err != nil {
		return nil, c.convert(err)
	}
	return newSendStream(c.link, str, c.header(wtUniStream)), nil
}

func (c *wtConn) header(streamType uint64) []byte {
	b := make([]byte, 0, 2+quicvarint.Len(uint64(c.id)))
	return quicvarint.Append(quicvarint.Append(b, streamType), uint64(c.id))
}

// addUni queues a stream of the peer. After the session's end it is left alone:
// the connection is about to close, and no reset may be seen before that.
func (c *wtConn) addUni(str *quic.ReceiveStream) {
	select {
	case c.uni <- str:
	case <-c.ctx.Done():
	}
}

func (c *wtConn) addBidi(str *quic.Stream) {
	select {
	case c.bidi <- str:
	case <-c.ctx.Done():
	}
}

// AcceptStream implements moqt.Conn.
func (c *wtConn) AcceptStream(ctx context.Context) (moqt.Stream, error) {
	select {
	case str := <-c.bidi:
		return newStream(c.link, str, nil), nil
	case <-c.ctx.Done():
		return nil, c.err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// AcceptUniStream implements moqt.Conn.
func (c *wtConn) AcceptUniStream(ctx context.Context) (moqt.ReceiveStream, error) {
	select {
	case str := <-c.uni:
		return newReceiveStream(c.link, str), nil
	case <-c.ctx.Done():
		return nil, c.err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// SendDatagram implements moqt.Conn.
func (c *wtConn) SendDatagram(b []byte) error {
	return c.dgrams.send(c.link, b, quicvarint.Len(uint64(c.id)/4), c.connect.SendDatagram)
}

// ReceiveDatagram implements moqt.Conn.
func (c *wtConn) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	recvCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()
	b, err := c.connect.ReceiveDatagram(recvCtx)
	if err == nil {
		return b, nil
	}
	// The CONNECT stream has ended, perhaps a moment before run takes note.
	select {
	case <-c.ctx.Done():
		return nil, c.err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// CloseWithError implements moqt.Conn. Our end of the session is over when it
// returns. On a connection that a client opened to us, the Server then lets what
// was written get out before it tells the client. On one that we opened, it
// returns when the server has closed the connection, or after closeLinger,
// because the process may be about to exit.
func (c *wtConn) CloseWithError(code wire.SessionCode, reason string) error {
	if !c.end(&moqt.SessionError{Code: code, Reason: cutReason(reason)}) {
		return nil
	}
	if c.info.Client {
		c.sendClose()
	}
	close(c.local)
	_ = c.connect.SetReadDeadline(longAgo) // run goes on
	if c.info.Client {
		<-c.qc.Context().Done()
	}
	return nil
}
