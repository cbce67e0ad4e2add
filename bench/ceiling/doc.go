// Package ceiling hands media from one QUIC connection to many others with
// nothing in between: no MoQ, no cache, no priorities between viewers. It is
// what a relay on quic-go is measured against, because nothing on quic-go that
// does more can cost less.
//
// A stream carries one group of one track: its header, then each object behind
// its length. The server cuts what comes into pieces of whole objects, at most
// 32 KiB, and every viewer's stream writes the same bytes.
package ceiling

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/quic-go/quic-go"
)

// The two kinds of connection, by their ALPN.
const (
	protoPublish = "bench-publish"
	protoView    = "bench-view"
)

const (
	headerSize = 1 + 8 // track, group
	lengthSize = 4
	maxObject  = 16 << 20
	// pieceSize is how much of an object is handed on at a time.
	pieceSize = 32 << 10
	// welcome is the track of an empty stream that tells a viewer that it is in.
	welcome = 255

	udpBuffer = 8 << 20
)

// quicConfig has the windows and timers of moqt/transport.
func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           5 * time.Second,
		MaxIdleTimeout:                 20 * time.Second,
		KeepAlivePeriod:                5 * time.Second,
		MaxIncomingUniStreams:          256,
		InitialStreamReceiveWindow:     512 << 10,
		InitialConnectionReceiveWindow: 1 << 20,
		MaxStreamReceiveWindow:         6 << 20,
		MaxConnectionReceiveWindow:     16 << 20,
	}
}

func appendHeader(b []byte, track uint8, group uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, track), group)
}

func readHeader(r *bufio.Reader) (track uint8, group uint64, err error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, err
	}
	return h[0], binary.BigEndian.Uint64(h[1:]), nil
}

// readLength returns the length of the next object; io.EOF after the last.
func readLength(r *bufio.Reader) (int, error) {
	var l [lengthSize]byte
	if _, err := io.ReadFull(r, l[:]); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(l[:])
	if n > maxObject {
		return 0, fmt.Errorf("ceiling: object of %d bytes, at most %d", n, maxObject)
	}
	return int(n), nil
}

// serverTLS makes a certificate that nobody checks.
func serverTLS() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &t, &t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:   []string{protoPublish, protoView},
		MinVersion:   tls.VersionTLS13,
	}, nil
}

// askForBuffers asks for large socket buffers, as moqt/transport does.
func askForBuffers(pc net.PacketConn) {
	if c, ok := pc.(*net.UDPConn); ok {
		_ = c.SetReadBuffer(udpBuffer)
		_ = c.SetWriteBuffer(udpBuffer)
	}
}
