package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/broadcastd/broadcastd/moqt"
)

// What one peer may do to us. The windows bound the memory that unread stream
// data can take; the stream limits bound what is open at the same time.
const (
	handshakeTimeout = 5 * time.Second
	idleTimeout      = 20 * time.Second
	keepAlive        = 5 * time.Second

	maxIncomingStreams    = 128 // bidirectional: requests
	maxIncomingUniStreams = 256 // unidirectional: control and data

	initialStreamWindow = 512 << 10
	initialConnWindow   = 1 << 20
	serverStreamWindow  = 2 << 20 // a publisher, whom we do not know yet
	serverConnWindow    = 8 << 20
	clientStreamWindow  = 6 << 20 // a relay, which we chose
	clientConnWindow    = 16 << 20

	maxHeaderBytes = 16 << 10 // of an HTTP/3 request or response

	connectionIDLength = 8
)

// Protocols returns the MoQT version tokens that this build speaks, newest
// first: ALPN tokens on raw QUIC, WT-Available-Protocols on WebTransport
// (section 3.1).
func Protocols() []string { return []string{"moqt-18"} }

// Config configures a Server. TLS and Handle are required.
type Config struct {
	// TLS holds the certificate, usually through GetCertificate, so that it can
	// be renewed while running. ALPN and the TLS version are set by the Server.
	TLS *tls.Config
	// Handle serves one MoQT connection. ctx ends when Serve's does. When Handle
	// returns, a connection that is still open is closed with NO_ERROR.
	Handle func(ctx context.Context, conn moqt.Conn)
	// HTTP answers the HTTP/3 requests that are not WebTransport. Nil: 404.
	HTTP http.Handler
	// CheckOrigin says whether a WebTransport request may come from its Origin;
	// false is answered with 403. Nil allows every origin, because MoQT itself
	// authorizes by token.
	CheckOrigin func(r *http.Request) bool
	// Protocols are the version tokens to accept, the preferred one first. Empty
	// means Protocols().
	Protocols []string
	// MaxConns is how many connections there may be at a time, those in their
	// handshake included; further ones are refused with CONNECTION_REFUSED. Zero
	// means 16384, negative no limit.
	MaxConns int
	// StatelessResetKey lets clients of an earlier process with the same key
	// learn at once that their connection is gone. Zero means a random key.
	StatelessResetKey [32]byte
	// Log takes warnings. Nil means slog.Default.
	Log *slog.Logger
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	c.MaxConns = cmp.Or(c.MaxConns, 16384)
	c.Log = cmp.Or(c.Log, slog.Default())
	if c.HTTP == nil {
		c.HTTP = http.NotFoundHandler()
	}
	if c.CheckOrigin == nil {
		c.CheckOrigin = func(*http.Request) bool { return true }
	}
	if len(c.Protocols) == 0 {
		c.Protocols = Protocols()
	}
	c.Protocols = slices.Clone(c.Protocols)
	var faults []error
	if c.TLS == nil {
		faults = append(faults, errors.New("transport: Config.TLS is nil"))
	}
	if c.Handle == nil {
		faults = append(faults, errors.New("transport: Config.Handle is nil"))
	}
	return c, errors.Join(append(faults, checkTokens(c.Protocols))...)
}

// DialConfig configures Dial. The zero value is ready to use.
type DialConfig struct {
	// TLS is the client's TLS configuration. Nil verifies the server against the
	// system's roots. ALPN, TLS version and an empty ServerName are set by Dial.
	TLS *tls.Config
	// CertSHA256 pins the server's leaf certificate: the SHA-256 of one of these
	// must match, and the certificate must be within its validity, while names
	// and issuers are not looked at (like serverCertificateHashes in browsers).
	CertSHA256 [][]byte
	// Insecure accepts any certificate. Only for tests by hand.
	Insecure bool
	// Protocols are the version tokens to offer, the preferred one first. Empty
	// means Protocols().
	Protocols []string
}

// checked returns c with its defaults filled in, or every fault at once.
func (c DialConfig) checked() (DialConfig, error) {
	if len(c.Protocols) == 0 {
		c.Protocols = Protocols()
	}
	c.Protocols = slices.Clone(c.Protocols)
	var faults []error
	for i, pin := range c.CertSHA256 {
		if len(pin) != 32 {
			faults = append(faults, fmt.Errorf("transport: CertSHA256[%d] has %d bytes, want 32", i, len(pin)))
		}
	}
	return c, errors.Join(append(faults, checkTokens(c.Protocols))...)
}

// checkTokens finds tokens that ALPN or a structured field could not carry, and
// the one that HTTP/3 needs for itself.
func checkTokens(tokens []string) error {
	var faults []error
	for _, t := range tokens {
		printable := !slices.ContainsFunc([]byte(t), func(b byte) bool { return b < 0x20 || b > 0x7e })
		if len(t) == 0 || len(t) > 255 || t == http3.NextProtoH3 || !printable {
			faults = append(faults, fmt.Errorf("transport: %q cannot be a version token", t))
		}
	}
	return errors.Join(faults...)
}

// quicConfig is what client and server have in common. 0-RTT stays off: a
// replayed CONNECT or SETUP would cost us a session.
func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:             handshakeTimeout,
		MaxIdleTimeout:                   idleTimeout,
		KeepAlivePeriod:                  keepAlive,
		MaxIncomingStreams:               maxIncomingStreams,
		MaxIncomingUniStreams:            maxIncomingUniStreams,
		InitialStreamReceiveWindow:       initialStreamWindow,
		InitialConnectionReceiveWindow:   initialConnWindow,
		MaxStreamReceiveWindow:           clientStreamWindow,
		MaxConnectionReceiveWindow:       clientConnWindow,
		EnableDatagrams:                  true,
		EnableStreamResetPartialDelivery: true,
	}
}

func serverQUICConfig() *quic.Config {
	c := quicConfig()
	c.MaxStreamReceiveWindow = serverStreamWindow
	c.MaxConnectionReceiveWindow = serverConnWindow
	return c
}
