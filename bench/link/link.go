package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Stats counts packets towards the client.
type Stats struct {
	Sent uint64 `json:"sent"` // delivered, or on their way
	Full uint64 `json:"full"` // found the queue full
	Lost uint64 `json:"lost"` // by chance
}

// A Link relays one client's packets to a server and back. New makes it; Run
// moves the packets.
type Link struct {
	cfg    Config
	client *net.UDPConn // where the client sends to
	server *net.UDPConn // connected to the server
	peer   peer
	down   *pipe
	up     *pipe
}

// The pipes of a link: what waits for its time.
const (
	maxPacket = 64 << 10
	// maxFlight is how many packets may be on their way in one direction: 100 ms
	// of 1 Gbit/s. Nothing here is faster than that.
	maxFlight = 10_000
	udpBuffer = 4 << 20
)

// New opens a link to the server at addr (host:port) on the loopback interface.
func New(addr string, cfg Config) (*Link, error) {
	cfg, err := cfg.Checked()
	if err != nil {
		return nil, err
	}
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	client, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	server, err := net.DialUDP("udp", nil, to)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("link: %w", err), client.Close())
	}
	for _, c := range []*net.UDPConn{client, server} {
		_ = c.SetReadBuffer(udpBuffer) // what the system gives
		_ = c.SetWriteBuffer(udpBuffer)
	}
	return &Link{
		cfg: cfg, client: client, server: server,
		down: newPipe(cfg), up: newPipe(Config{Delay: cfg.Delay}),
	}, nil
}

// Addr is where the client finds the server.
func (l *Link) Addr() string { return l.client.LocalAddr().String() }

// Stats returns what has happened so far.
func (l *Link) Stats() Stats { return l.down.stats() }

// Run relays packets until ctx ends, and returns its cause.
func (l *Link) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.down.read(ctx, l.server.Read) })
	g.Go(func() error { return l.down.write(ctx, l.peer.writer(l.client)) })
	g.Go(func() error { return l.up.read(ctx, l.peer.reader(l.client)) })
	g.Go(func() error { return l.up.write(ctx, l.server.Write) })
	g.Go(func() error {
		<-ctx.Done()
		_ = l.Close()
		return context.Cause(ctx)
	})
	return g.Wait()
}

// Close ends the link, also one that never ran.
func (l *Link) Close() error { return errors.Join(l.client.Close(), l.server.Close()) }

// A peer is the client's address, which its packets tell.
type peer struct {
	mu   sync.Mutex
	addr *net.UDPAddr
}

func (p *peer) reader(c *net.UDPConn) func([]byte) (int, error) {
	return func(b []byte) (int, error) {
		n, from, err := c.ReadFromUDP(b)
		if err == nil {
			p.mu.Lock()
			p.addr = from
			p.mu.Unlock()
		}
		return n, err
	}
}

func (p *peer) writer(c *net.UDPConn) func([]byte) (int, error) {
	return func(b []byte) (int, error) {
		p.mu.Lock()
		to := p.addr
		p.mu.Unlock()
		if to == nil {
			return 0, nil
		}
		return c.WriteToUDP(b, to)
	}
}

// A pipe is one direction.
type pipe struct {
	mu      sync.Mutex
	shape   *shaper
	packets chan packet
	buffers sync.Pool
}

type packet struct {
	at  time.Time
	buf []byte
}

func newPipe(cfg Config) *pipe {
	return &pipe{shape: newShaper(cfg), packets: make(chan packet, maxFlight)}
}

func (p *pipe) stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{p.shape.sent, p.shape.full, p.shape.lost}
}

// read takes packets in until they end.
func (p *pipe) read(ctx context.Context, from func([]byte) (int, error)) error {
	buf := make([]byte, maxPacket)
	for {
		n, err := from(buf)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			continue // an ICMP answer to a packet before
		}
		p.mu.Lock()
		at, ok := p.shape.take(time.Now(), n)
		p.mu.Unlock()
		if !ok {
			continue
		}
		select {
		case p.packets <- packet{at, append(p.buffer(), buf[:n]...)}:
		default: // the limit of what may be under way
		}
	}
}

func (p *pipe) buffer() []byte {
	if b, ok := p.buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 1500)
}

// write lets packets out when their time has come.
func (p *pipe) write(ctx context.Context, to func([]byte) (int, error)) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var next packet
		select {
		case next = <-p.packets:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if wait := time.Until(next.at); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if _, err := to(next.buf); errors.Is(err, net.ErrClosed) {
			return err
		}
		p.buffers.Put(&next.buf)
	}
}
