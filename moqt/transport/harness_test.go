package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/moqt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newCert makes a self-signed certificate as serverCertificateHashes wants it.
func newCert(t testing.TB, notAfter time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "moqt test"},
		NotBefore:    time.Now().Add(-24 * time.Hour),
		NotAfter:     notAfter,
		DNSNames:     []string{"localhost", "relay.example"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.IPv4(1, 0, 0, 2)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// An env is a running Server.
type env struct {
	t     testing.TB
	cert  tls.Certificate
	addr  string
	srv   *Server
	conns chan moqt.Conn // what Handle was given; Handle stays until it ends
}

// start runs a Server on loopback until the test ends.
func start(t testing.TB, cfg Config) *env {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return startOn(t, cfg, pc)
}

func startOn(t testing.TB, cfg Config, pc net.PacketConn) *env {
	t.Helper()
	e := &env{t: t, addr: pc.LocalAddr().String(), conns: make(chan moqt.Conn, 64)}
	e.cert = newCert(t, time.Now().Add(9*24*time.Hour))
	if cfg.TLS == nil {
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{e.cert}}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Handle == nil {
		cfg.Handle = func(ctx context.Context, conn moqt.Conn) {
			e.conns <- conn
			select {
			case <-conn.Context().Done():
			case <-ctx.Done():
			}
		}
	}
	srv, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.srv = srv
	ctx, cancel := context.WithCancelCause(context.Background())
	errStop := errors.New("the test is over")
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, pc) }()
	t.Cleanup(func() {
		cancel(errStop)
		if err := <-served; !errors.Is(err, errStop) {
			t.Errorf("Serve: %v, want %v", err, errStop)
		}
		if n := srv.Conns(); n != 0 {
			// Contexts end a moment before their AfterFuncs have run.
			waitFor(t, func() bool { return srv.Conns() == 0 })
		}
	})
	return e
}

func (e *env) pin() []byte {
	sum := sha256.Sum256(e.cert.Certificate[0])
	return sum[:]
}

// dial connects to path with scheme and returns both ends.
func (e *env) dial(scheme, path string) (client, server moqt.Conn) {
	e.t.Helper()
	client, err := Dial(e.t.Context(), scheme+"://"+e.addr+path, DialConfig{CertSHA256: [][]byte{e.pin()}})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { client.CloseWithError(0, "") })
	return client, e.accepted()
}

func (e *env) accepted() moqt.Conn {
	e.t.Helper()
	select {
	case c := <-e.conns:
		return c
	case <-time.After(10 * time.Second):
		e.t.Fatal("Handle was not called")
		return nil
	}
}

// waitFor is for what has no event to wait on.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("condition not met within 10s")
		}
		time.Sleep(time.Millisecond)
	}
}

// within fails the test when f blocks.
func within(t testing.TB, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatalf("%s did not return within %v", what, d)
	}
}
