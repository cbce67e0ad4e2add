package transport

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A Server accepts MoQT connections on one UDP socket, over raw QUIC and over
// WebTransport, and serves other HTTP/3 requests beside them.
type Server struct {
	cfg Config

	conns       atomic.Int64 // admitted and not ended
	handshaking atomic.Int64 // those of them that have not completed the handshake
}

// NewServer checks cfg. It starts nothing.
func NewServer(cfg Config) (*Server, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	return &Server{cfg: cfg}, nil
}

// Conns returns how many connections there are, handshakes included.
func (s *Server) Conns() int { return int(s.conns.Load()) }

// Serve accepts connections on pc until ctx ends or pc fails. It returns after
// every Handle has returned and every connection has closed: context.Cause(ctx)
// when ctx ended, else what failed. It does not close pc. Use it once.
func (s *Server) Serve(ctx context.Context, pc net.PacketConn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	askForBuffers(pc)
	tr := &quic.Transport{
		Conn:                pc,
		ConnectionIDLength:  connectionIDLength,
		StatelessResetKey:   s.resetKey(),
		VerifySourceAddress: s.suspicious,
		ConnContext:         s.admit,
	}
	// Early, so that our SETTINGS leave with the handshake and a client's CONNECT
	// needs no extra round trip. 0-RTT data is still not accepted.
	ln, err := tr.ListenEarly(s.tlsConfig(), serverQUICConfig())
	if err != nil {
		_ = tr.Close()
		return fmt.Errorf("transport: listen on %v: %w", pc.LocalAddr(), err)
	}
	warnSmallBuffers(s.cfg.Log, pc)

	var wg sync.WaitGroup
	for {
		var qc *quic.Conn
		if qc, err = ln.Accept(ctx); err != nil {
			break
		}
		wg.Go(func() { s.serve(ctx, qc) })
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else {
		err = fmt.Errorf("transport: accept on %v: %w", pc.LocalAddr(), err)
	}
	cancel(err)
	_ = ln.Close()
	wg.Wait()
	_ = tr.Close()
	return err
}

func (s *Server) resetKey() *quic.StatelessResetKey {
	key := quic.StatelessResetKey(s.cfg.StatelessResetKey)
	if key == (quic.StatelessResetKey{}) {
		_, _ = rand.Read(key[:]) // never fails
	}
	return &key
}

// tlsConfig is the caller's with our ALPN: the preferred token first, because
// crypto/tls lets the server's order win, and HTTP/3 last.
func (s *Server) tlsConfig() *tls.Config {
	protos := append(slices.Clone(s.cfg.Protocols), http3.NextProtoH3)
	adapt := func(c *tls.Config) *tls.Config {
		c = c.Clone()
		c.NextProtos = protos
		c.MinVersion = tls.VersionTLS13
		return c
	}
	c := adapt(s.cfg.TLS)
	if get := c.GetConfigForClient; get != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := get(hello)
			if chosen == nil || err != nil {
				return nil, err
			}
			return adapt(chosen), nil
		}
	}
	return c
}

// An admission counts one connection, from its first packet on.
type admission struct {
	s         *Server
	handshook sync.Once
}

type admissionKey struct{}

var errFull = errors.New("transport: too many connections")

// admit is called with the first packet of a connection attempt. An error
// refuses it with CONNECTION_REFUSED before anything was computed for it.
func (s *Server) admit(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	if n := s.conns.Add(1); s.cfg.MaxConns > 0 && n > int64(s.cfg.MaxConns) {
		s.conns.Add(-1)
		return nil, errFull
	}
	s.handshaking.Add(1)
	a := &admission{s: s}
	context.AfterFunc(ctx, func() {
		a.established()
		s.conns.Add(-1)
	})
	return context.WithValue(ctx, admissionKey{}, a), nil
}

// established says that the handshake is over, whether it succeeded or not.
func (a *admission) established() { a.handshook.Do(func() { a.s.handshaking.Add(-1) }) }

// maxUnverified is how many handshakes may be under way before a Retry makes
// clients prove their address first, at the price of a round trip.
const maxUnverified = 128

func (s *Server) suspicious(net.Addr) bool { return s.handshaking.Load() > maxUnverified }

// serve runs one QUIC connection to its end.
func (s *Server) serve(ctx context.Context, qc *quic.Conn) {
	if protocol(qc) == http3.NextProtoH3 {
		newH3Server(s, qc).serve(ctx)
		return
	}
	if conn := s.accept(qc); conn != nil {
		s.handle(ctx, conn)
		conn.wait()
	}
}

// A connection's state is half a kilobyte. Functions that stay on the stack of a
// connection for as long as it lives leave it to these, so that the stack can
// shrink once the connection is set up.

//go:noinline
func protocol(qc *quic.Conn) string { return qc.ConnectionState().TLS.NegotiatedProtocol }

//go:noinline
func takesDatagrams(qc *quic.Conn) bool { return qc.ConnectionState().SupportsDatagrams.Remote }

// established waits for the handshake to complete and reports whether it did.
func (s *Server) established(qc *quic.Conn) bool {
	select {
	case <-qc.HandshakeComplete():
	case <-qc.Context().Done():
		return false
	}
	if a, ok := qc.Context().Value(admissionKey{}).(*admission); ok {
		a.established()
	}
	return true
}

// accept waits for the handshake and returns the connection, nil if it failed or
// is not one for MoQT.
//
//go:noinline
func (s *Server) accept(qc *quic.Conn) *quicConn {
	if !s.established(qc) {
		return nil
	}
	conn := newQUICConn(qc, false)
	if !takesDatagrams(qc) {
		_ = conn.CloseWithError(wire.SessionProtocolViolation, "QUIC datagrams are required (section 3.1)")
		return nil
	}
	return conn
}

// handle runs Config.Handle and closes what it left open.
func (s *Server) handle(ctx context.Context, conn moqt.Conn) {
	defer func() { _ = conn.CloseWithError(wire.SessionNoError, "") }()
	s.cfg.Handle(ctx, conn)
}
