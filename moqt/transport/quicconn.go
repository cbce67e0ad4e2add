package transport

import (
	"context"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

var _ moqt.Conn = (*quicConn)(nil)

// A quicConn is a MoQT connection on raw QUIC.
type quicConn struct{ *link }

//go:noinline
func newQUICConn(qc *quic.Conn, client bool) *quicConn {
	return &quicConn{newLink(qc, quicCodec{}, moqt.ConnInfo{
		Transport: moqt.QUIC,
		Protocol:  protocol(qc),
		Client:    client,
	})}
}

// OpenStream implements moqt.Conn.
func (c *quicConn) OpenStream(ctx context.Context) (moqt.Stream, error) {
	str, err := c.qc.OpenStreamSync(ctx)
	if err != nil {
		return nil, c.convert(err)
	}
	return newStream(c.link, str, nil), nil
}

// OpenUniStream implements moqt.Conn.
func (c *quicConn) OpenUniStream() (moqt.SendStream, error) {
	str, err := c.qc.OpenUniStream()
	if err != nil {
		return nil, c.convert(err)
	}
	return newSendStream(c.link, str, nil), nil
}

// AcceptStream implements moqt.Conn.
func (c *quicConn) AcceptStream(ctx context.Context) (moqt.Stream, error) {
	str, err := c.qc.AcceptStream(ctx)
	if err != nil {
		return nil, c.convert(err)
	}
	return newStream(c.link, str, nil), nil
}

// AcceptUniStream implements moqt.Conn.
func (c *quicConn) AcceptUniStream(ctx context.Context) (moqt.ReceiveStream, error) {
	str, err := c.qc.AcceptUniStream(ctx)
	if err != nil {
		return nil, c.convert(err)
	}
	return newReceiveStream(c.link, str), nil
}

// SendDatagram implements moqt.Conn.
func (c *quicConn) SendDatagram(b []byte) error {
	return c.dgrams.send(c.link, b, 0, c.qc.SendDatagram)
}

// ReceiveDatagram implements moqt.Conn.
func (c *quicConn) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	b, err := c.qc.ReceiveDatagram(ctx)
	return b, c.convert(err)
}

// CloseWithError implements moqt.Conn. It returns when CONNECTION_CLOSE has been
// sent.
func (c *quicConn) CloseWithError(code wire.SessionCode, reason string) error {
	if code > quicvarint.Max {
		code = wire.SessionInternalError
	}
	_ = c.qc.CloseWithError(quic.ApplicationErrorCode(code), cutReason(reason))
	// Whoever came first, us or the peer, is in the connection's own error.
	c.end(c.sessionError(context.Cause(c.qc.Context())))
	return nil
}
