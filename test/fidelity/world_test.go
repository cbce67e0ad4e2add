package fidelity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is a relay that listens on loopback.
type world struct {
	addr string
	pin  [32]byte
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// newWorld runs a relay until the test ends.
func newWorld(t *testing.T, cfg relay.Config) *world {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cert := certificate(t)
	srv, err := transport.NewServer(transport.Config{
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Log: slog.New(slog.DiscardHandler),
		Handle: func(ctx context.Context, c moqt.Conn) { _ = r.Serve(ctx, c) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	wg.Go(func() { _ = srv.Serve(ctx, pc) })
	t.Cleanup(func() {
		cancel(errors.New("the test is over"))
		wg.Wait()
		pc.Close()
	})
	return &world{addr: pc.LocalAddr().String(), pin: sha256.Sum256(cert.Certificate[0])}
}

func (w *world) dial(t *testing.T, scheme string) moqt.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := transport.Dial(ctx, scheme+"://"+w.addr+"/", transport.DialConfig{CertSHA256: [][]byte{w.pin[:]}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A source publishes one track at the relay, as a session of its own.
type source struct {
	t    *testing.T
	conn moqt.Conn
	name track.Name
	tr   *track.Track
	w    *track.SubgroupWriter // of the group that is being written
}

// Track implements track.Source.
func (s *source) Track(name string) (*track.Track, bool) { return s.tr, name == s.name.Name }

func newSource(t *testing.T, conn moqt.Conn, field string) *source {
	t.Helper()
	name := track.Name{Namespace: wire.MustNamespace("fidelity", field), Name: "video"}
	s := &source{t: t, conn: conn, name: name, tr: track.New(name, track.Info{}, track.Config{})}
	session, err := moqt.NewSession(conn, moqt.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = session.Run(ctx) })
	t.Cleanup(func() {
		cancel(errors.New("the test is over"))
		wg.Wait()
	})
	if _, err := session.Announce(t.Context(), name.Namespace, s); err != nil {
		t.Fatal(err)
	}
	return s
}

const objectSize = 2000

// content is what each object of these tests holds.
func content(group, id uint64) []byte {
	b := make([]byte, objectSize)
	for i := range b {
		b[i] = byte(uint64(i) + 31*group + 7*id)
	}
	return b
}

// begin opens a group.
func (s *source) begin(group uint64) {
	s.t.Helper()
	w, err := s.tr.Subgroup(track.SubgroupHeader{Group: group, EndOfGroup: true, FirstObject: true})
	if err != nil {
		s.t.Fatal(err)
	}
	s.w = w
}

// objects writes whole objects of the group that is open.
func (s *source) objects(group uint64, ids ...uint64) {
	s.t.Helper()
	for _, id := range ids {
		if err := s.w.WriteObject(track.Object{ID: id, Payload: content(group, id)}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// half writes the header and the first third of the object that comes next.
func (s *source) half(group, id uint64) {
	s.t.Helper()
	b := wire.ObjectHeader{Length: objectSize}.Append(nil, false)
	if _, err := s.w.Write(append(b, content(group, id)[:objectSize/3]...)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *source) close() {
	s.t.Helper()
	if err := s.w.Close(); err != nil {
		s.t.Fatal(err)
	}
}
