package transport

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// Stream types, settings and codes of draft-ietf-webtrans-http3.
const (
	wtBidiStream = 0x41 // in place of a frame type, at the start of a bidirectional stream
	wtUniStream  = 0x54

	wtBufferedStreamRejected quic.StreamErrorCode = 0x3994bd84
	wtSessionGone            quic.StreamErrorCode = 0x170d7b68
)

const (
	// streamHeaderTimeout is how long a stream may take to say what it is, and
	// how long one may wait for a session that is being set up.
	streamHeaderTimeout = 5 * time.Second
	// maxEarlyStreams is how many streams may wait for their session.
	maxEarlyStreams = 32
)

// A demux reads the start of every stream that the peer opens on an HTTP/3
// connection, and hands it to the WebTransport session or to HTTP/3.
//
// Each stream gets a goroutine until it is known; QUIC's stream limits bound
// them. Streams that come before their session wait for it, a few of them.
type demux struct {
	qc   *quic.Conn
	uni  func(*quic.ReceiveStream)
	bidi func(*quic.Stream)
	wg   sync.WaitGroup

	early atomic.Int32
	ready chan struct{} // closed once sess is set
	sess  *wtConn       // read only after ready
}

func newDemux(qc *quic.Conn, uni func(*quic.ReceiveStream), bidi func(*quic.Stream)) *demux {
	return &demux{qc: qc, uni: uni, bidi: bidi, ready: make(chan struct{})}
}

// attach makes sess the connection's session. It is called at most once.
func (d *demux) attach(sess *wtConn) {
	d.sess = sess
	close(d.ready)
}

// run accepts streams until the connection ends, and waits for their goroutines.
func (d *demux) run() {
	d.wg.Go(func() {
		for {
			str, err := d.qc.AcceptUniStream(context.Background())
			if err != nil {
				return // the connection has ended
			}
			d.wg.Go(func() { d.acceptUni(str) })
		}
	})
	for {
		str, err := d.qc.AcceptStream(context.Background())
		if err != nil {
			break
		}
		d.wg.Go(func() { d.acceptBidi(str) })
	}
	d.wg.Wait()
}

func (d *demux) acceptUni(str *quic.ReceiveStream) {
	// No deadline for the type: Chromium opens its QPACK streams with the
	// connection and writes to them when there is something to write, which may
	// be never. Refusing one ends the connection with H3_CLOSED_CRITICAL_STREAM.
	typ, err := quicvarint.Peek(str)
	if err != nil {
		str.CancelRead(quic.StreamErrorCode(http3.ErrCodeStreamCreationError))
		return
	}
	if typ != wtUniStream {
		d.uni(str)
		return
	}
	_ = str.SetReadDeadline(time.Now().Add(streamHeaderTimeout))
	code := d.deliver(str, func(sess *wtConn) { sess.addUni(str) })
	if code != 0 {
		str.CancelRead(code)
	}
}

func (d *demux) acceptBidi(str *quic.Stream) {
	_ = str.SetReadDeadline(time.Now().Add(streamHeaderTimeout))
	typ, err := quicvarint.Peek(str)
	if err != nil {
		code := quic.StreamErrorCode(http3.ErrCodeRequestIncomplete)
		str.CancelRead(code)
		str.CancelWrite(code)
		return
	}
	if typ != wtBidiStream {
		_ = str.SetReadDeadline(time.Time{})
		d.bidi(str)
		return
	}
	code := d.deliver(str, func(sess *wtConn) { sess.addBidi(str) })
	if code != 0 {
		str.CancelRead(code)
		str.CancelWrite(code)
	}
}

// deliver reads the WebTransport stream header and adds the stream to its
// session. If there is none, the result is the code to reset the stream with.
func (d *demux) deliver(str quicReceive, add func(*wtConn)) quic.StreamErrorCode {
	r := quicvarint.NewReader(str)
	var id uint64
	_, err := quicvarint.Read(r) // the type
	if err == nil {
		id, err = quicvarint.Read(r)
	}
	if err != nil {
		return quic.StreamErrorCode(http3.ErrCodeGeneralProtocolError)
	}
	if id%4 != 0 { // session IDs are those of client-initiated bidirectional streams
		_ = d.qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeIDError), "invalid WebTransport session ID")
		return wtBufferedStreamRejected
	}
	_ = str.SetReadDeadline(time.Time{})
	sess := d.session()
	if sess == nil || uint64(sess.id) != id {
		return wtBufferedStreamRejected
	}
	add(sess)
	return 0
}

// session returns the connection's session, for which it waits a while. It
// returns nil if none comes.
func (d *demux) session() *wtConn {
	select {
	case <-d.ready:
		return d.sess
	default:
	}
	defer d.early.Add(-1)
	if d.early.Add(1) > maxEarlyStreams {
		return nil
	}
	timeout := time.NewTimer(streamHeaderTimeout)
	defer timeout.Stop()
	select {
	case <-d.ready:
		return d.sess
	case <-d.qc.Context().Done():
	case <-timeout.C:
	}
	return nil
}
