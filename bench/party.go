package bench

import (
	"context"
	"fmt"
	"net"

	"github.com/broadcastd/broadcastd/bench/ceiling"
)

// A Party is what a run measures: a server, and how the load talks to it.
type Party string

// The parties.
const (
	Relay             Party = "relay"              // broadcastd serve, MoQ over raw QUIC
	RelayWebTransport Party = "relay-webtransport" // broadcastd serve, MoQ over WebTransport
	Ceiling           Party = "ceiling"            // bare quic-go, package ceiling
)

// A publisherConn is the publishing end of a load. It belongs to one goroutine,
// a groupWriter to another.
type publisherConn interface {
	group(track int, group uint64) (groupWriter, error)
	close()
}

// A groupWriter sends one group.
type groupWriter interface {
	WriteObject(payload []byte) error
	Close() error
}

// A viewerConn is the receiving end of a load.
type viewerConn interface {
	// Run hands every payload to got, from any goroutine, until ctx ends, and
	// returns its cause, or why the server left. The payload stays the viewer's.
	Run(ctx context.Context, got func(payload []byte)) error
	// Received returns the packets and the bytes of UDP payload so far.
	Received() (packets, bytes uint64)
	Close() error
}

func (p Party) publisher(ctx context.Context, addr string, prof Profile) (publisherConn, error) {
	switch p {
	case Relay:
		return dialMoQPublisher(ctx, "moqt://"+addr, prof)
	case RelayWebTransport:
		return dialMoQPublisher(ctx, "https://"+addr, prof)
	case Ceiling:
		conn, err := ceiling.DialPublisher(ctx, addr)
		return ceilingPublisher{conn}, err
	}
	return nil, p.unknown()
}

func (p Party) viewer(ctx context.Context, addr string, prof Profile) (viewerConn, error) {
	switch p {
	case Relay:
		return dialMoQViewer(ctx, "moqt://"+addr, prof)
	case RelayWebTransport:
		return dialMoQViewer(ctx, "https://"+addr, prof)
	case Ceiling:
		return ceiling.DialViewer(ctx, addr)
	}
	return nil, p.unknown()
}

// A ServeFunc runs broadcastd with its state in dir until ctx ends. It calls
// ready once, with the address of its MoQ listener.
type ServeFunc func(ctx context.Context, dir string, ready func(addr string)) error

func (p Party) serve(ctx context.Context, dir string, relay ServeFunc, ready func(addr string)) error {
	switch p {
	case Relay, RelayWebTransport:
		return relay(ctx, dir, ready)
	case Ceiling:
		pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		defer func() { _ = pc.Close() }()
		ready(pc.LocalAddr().String())
		var s ceiling.Server
		return s.Serve(ctx, pc)
	}
	return p.unknown()
}

func (p Party) unknown() error { return fmt.Errorf("bench: there is no party %q", string(p)) }

type ceilingPublisher struct{ conn *ceiling.Publisher }

func (p ceilingPublisher) group(track int, group uint64) (groupWriter, error) {
	return p.conn.Group(uint8(track), group)
}
func (p ceilingPublisher) close() { _ = p.conn.Close() }
