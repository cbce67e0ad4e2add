package srt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	gosrt "github.com/datarhei/gosrt"
)

// A guard stands between gosrt and the server that it calls: it passes on the
// packets of both, on loopback, but for handshakes that gosrt would panic,
// allocate without measure or wait for ever over.
type guard struct {
	up   *net.UDPConn // to the server
	down *net.UDPConn // to gosrt

	peer    atomic.Pointer[net.UDPAddr] // gosrt's socket
	alive   chan struct{}               // a slot: the server has answered the probe
	settled atomic.Bool                 // the connection is established
	refused atomic.Uint32               // the Code that the server said
	probing atomic.Bool
}

func newGuard(ctx context.Context, addr string) (*guard, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	down, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		nc.Close()
		return nil, err
	}
	g := &guard{up: nc.(*net.UDPConn), down: down, alive: make(chan struct{}, 1)}
	g.probing.Store(true)
	for _, c := range []*net.UDPConn{g.up, g.down} {
		c.SetReadBuffer(guardBuffer) //nolint:errcheck // then it has what the system gives
	}
	return g, nil
}

// guardBuffer is how much a socket holds while nobody reads, in bytes.
const guardBuffer = 4 << 20

func (g *guard) addr() string  { return g.down.LocalAddr().String() }
func (g *guard) refusal() Code { return Code(g.refused.Load()) }
func (g *guard) established()  { g.settled.Store(true) }

func (g *guard) close() {
	g.up.Close()   //nolint:errcheck // nothing is lost with them
	g.down.Close() //nolint:errcheck // as above
}

// abort makes gosrt give up a handshake, which it does not do by itself before
// its time is over.
func (g *guard) abort() {
	if to := g.peer.Load(); to != nil && !g.settled.Load() {
		p := make([]byte, handshakeSize)
		binary.BigEndian.PutUint16(p, 0x8000)
		binary.BigEndian.PutUint32(p[atType:], uint32(Closed))
		g.down.WriteToUDP(p, to) //nolint:errcheck // then it waits
	}
}

// run passes packets on until the guard is closed.
func (g *guard) run() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, gosrt.MAX_MSS_SIZE)
		for {
			n, from, err := g.down.ReadFromUDP(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			if known := g.peer.Load(); known == nil {
				g.peer.Store(from)
			} else if known.Port != from.Port || !known.IP.Equal(from.IP) {
				continue
			}
			g.up.Write(buf[:n]) //nolint:errcheck // lost, as on any network
		}
	}()
	buf := make([]byte, gosrt.MAX_MSS_SIZE+1)
	for {
		n, err := g.up.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil || n > gosrt.MAX_MSS_SIZE || !g.passes(buf[:n]) {
			continue // an ICMP message, too
		}
		if to := g.peer.Load(); to != nil {
			g.down.WriteToUDP(buf[:n], to) //nolint:errcheck // as above
		}
	}
	<-done
}

// Offsets in a handshake packet, sections 3.2 and 3.2.1, and values of its type.
const (
	headerSize    = 16
	handshakeSize = headerSize + 48
	atMTU         = headerSize + 12
	atType        = headerSize + 20

	typeInduction  = 1
	typeConclusion = 0xffff_ffff
	typeDone       = 0xffff_fffd // the types of handshakes end above it
)

// passes says whether gosrt may see a packet of the server.
func (g *guard) passes(p []byte) bool {
	if len(p) < headerSize {
		return false
	}
	if binary.BigEndian.Uint16(p) != 0x8000 { // not a handshake
		return true
	}
	if len(p) < handshakeSize || g.settled.Load() {
		return false
	}
	switch typ := binary.BigEndian.Uint32(p[atType:]); {
	case typ == typeInduction:
		if g.probing.Load() {
			select {
			case g.alive <- struct{}{}:
			default:
			}
			return false
		}
		return true
	case typ == typeConclusion:
		if binary.BigEndian.Uint32(p[atMTU:]) < minMTU || !extensionsFit(p[handshakeSize:]) {
			return false
		}
		g.settled.Store(true) // one answer is enough
		return true
	case typ < typeDone:
		g.refused.Store(typ)
		g.settled.Store(true)
		return true
	}
	return false
}

// extensionsFit says whether the extensions of a handshake are whole: gosrt
// reads the next one's header without a look at what is left.
func extensionsFit(p []byte) bool {
	for len(p) > 0 {
		if len(p) < 4 {
			return false
		}
		n := 4 + 4*int(binary.BigEndian.Uint16(p[2:]))
		if n > len(p) {
			return false
		}
		p = p[n:]
	}
	return true
}

// probe asks the server for its cookie until it answers: gosrt leaves a
// goroutine behind whenever a server does not.
func (g *guard) probe(ctx context.Context, limit time.Duration) error {
	defer g.probing.Store(false)
	p := make([]byte, handshakeSize)
	binary.BigEndian.PutUint16(p, 0x8000)
	h := p[headerSize:]
	binary.BigEndian.PutUint32(h, 4)                       // version, as section 4.3.1.1 wants it
	binary.BigEndian.PutUint16(h[6:], 2)                   // extension field
	binary.BigEndian.PutUint32(h[12:], gosrt.MAX_MSS_SIZE) // MTU
	binary.BigEndian.PutUint32(h[16:], 8192)               // flow window
	binary.BigEndian.PutUint32(h[20:], typeInduction)
	binary.BigEndian.PutUint32(h[24:], 1) // a socket that nobody has
	tick := time.NewTicker(probeAgain)
	defer tick.Stop()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		g.up.Write(p) //nolint:errcheck // the next one may reach it
		select {
		case <-g.alive:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout.C:
			return fmt.Errorf("srt: nobody answered within %v", limit)
		case <-tick.C:
		}
	}
}

// probeAgain is after how long the server is asked again.
const probeAgain = 250 * time.Millisecond
