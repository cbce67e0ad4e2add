// Package moqttest connects MoQT sessions in memory, for tests: a pair of
// [moqt.Conn] with a model of the link between them, and a scripted peer that
// writes exact bytes and expects exact messages.
//
// Nothing here touches the network. All waiting is on channels and timers, so
// that it works, with virtual time, inside a testing/synctest bubble.
package moqttest

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A Link is one direction of a connection. The zero value delivers at once.
type Link struct {
	Rate  int           // bytes per second; 0: no limit
	Delay time.Duration // from the last byte sent to its arrival
	// Queue is how many bytes may wait for a link with a rate before writes
	// block. 0: 64 KiB.
	Queue int
}

// Config says what connects a pair.
type Config struct {
	Transport moqt.Transport // "": QUIC
	Protocol  string         // "": moqt-18
	// Authority and Path are of the CONNECT request, for WebTransport.
	Authority, Path string
	Up, Down        Link // from the client to the server, and back
	// Window is how far a stream's sender may be ahead of its reader, in bytes.
	// 0: 256 KiB.
	Window int
	// Streams and UniStreams are how many of either kind each side may have open
	// at a time. 0: 128 and 256; below 0: none.
	Streams, UniStreams int
	// Tap is told of everything that is sent, in order. It must not call the
	// connection.
	Tap func(Sent)
}

// Sent is one thing that one side has sent.
type Sent struct {
	Client   bool   // by the client
	Stream   string // such as "client uni 0", the first one that the client opened
	Data     []byte // valid until Tap returns
	Fin      bool
	Reset    bool
	Stop     bool // STOP_SENDING
	Close    bool
	Code     uint64 // of Reset, Stop and Close
	Datagram bool
}

// A Conn is one end of a connection in memory.
type Conn struct {
	pair   *pair
	peer   *Conn
	info   moqt.ConnInfo
	ctx    context.Context
	end    context.CancelCauseFunc
	out    *link
	stats  moqt.ConnStats
	accept []*stream // that have arrived
	unis   []*stream
	grams  [][]byte
	open   [2]int // bidirectional and unidirectional streams of ours that are open
	opened [2]int // and all that there were
	closed bool
}

// pair is what both ends share. One lock guards everything.
type pair struct {
	cfg     Config
	mu      sync.Mutex
	changed chan struct{} // closed and replaced with every change
}

// Pair returns the two ends of a new connection.
func Pair(cfg Config) (client, server *Conn) {
	cfg.Transport = cmp.Or(cfg.Transport, moqt.QUIC)
	cfg.Protocol = cmp.Or(cfg.Protocol, "moqt-18")
	cfg.Window = cmp.Or(cfg.Window, 256<<10)
	cfg.Streams = cmp.Or(cfg.Streams, 128)
	cfg.UniStreams = cmp.Or(cfg.UniStreams, 256)
	p := &pair{cfg: cfg, changed: make(chan struct{})}
	client, server = p.end(true, cfg.Up), p.end(false, cfg.Down)
	client.peer, server.peer = server, client
	return client, server
}

func (p *pair) end(client bool, out Link) *Conn {
	c := &Conn{pair: p, out: newLink(p, out)}
	c.ctx, c.end = context.WithCancelCause(context.Background())
	c.info = moqt.ConnInfo{
		Transport: p.cfg.Transport, Protocol: p.cfg.Protocol, Client: client,
		Local: addr("server"), Remote: addr("client"),
	}
	if client {
		c.info.Local, c.info.Remote = c.info.Remote, c.info.Local
	} else {
		c.info.Authority, c.info.Path = p.cfg.Authority, p.cfg.Path
	}
	return c
}

type addr string

func (addr) Network() string  { return "memory" }
func (a addr) String() string { return string(a) }

var _ net.Addr = addr("")

// change wakes everybody who waits. The lock is held.
func (p *pair) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// wait waits for the next change, the end of ctx, or the deadline, if there is
// one. The lock is held before and after.
func (p *pair) wait(ctx context.Context, deadline time.Time) error {
	changed := p.changed
	p.mu.Unlock()
	defer p.mu.Lock()
	var late <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-late:
		return errDeadline
	}
}

var errDeadline = errors.New("moqttest: deadline exceeded")

func (c *Conn) tap(s Sent) {
	if c.pair.cfg.Tap != nil {
		s.Client = c.info.Client
		c.pair.cfg.Tap(s)
	}
}

// Info returns what is fixed about the connection.
func (c *Conn) Info() moqt.ConnInfo { return c.info }

// Stats returns what was sent; the round trip is that of the links.
func (c *Conn) Stats() moqt.ConnStats {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	s := c.stats
	s.SmoothedRTT = c.pair.cfg.Up.Delay + c.pair.cfg.Down.Delay
	s.MinRTT = s.SmoothedRTT
	s.CongestionWindow = uint64(max(32<<10, int(float64(c.out.cfg.Rate)*s.SmoothedRTT.Seconds())))
	s.BytesSent, s.BytesReceived = c.out.sent, c.peer.out.arrived
	return s
}

// Context ends when the connection has ended.
func (c *Conn) Context() context.Context { return c.ctx }

// CloseWithError ends the connection. The peer learns of it behind all that was
// sent before.
func (c *Conn) CloseWithError(code wire.SessionCode, reason string) error {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	if c.closed {
		return nil
	}
	c.tap(Sent{Close: true, Code: uint64(code)})
	c.shut(&moqt.SessionError{Code: code, Reason: reason})
	c.out.send(0, func() {
		c.peer.shut(&moqt.SessionError{Code: code, Reason: reason, Remote: true})
	})
	return nil
}

// Cut ends the connection without a word to either side, as a network does.
func (c *Conn) Cut() {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	err := &moqt.SessionError{Code: wire.SessionInternalError, Err: errors.New("moqttest: connection cut")}
	c.shut(err)
	c.peer.shut(err)
}

func (c *Conn) shut(err *moqt.SessionError) {
	if !c.closed {
		c.closed = true
		c.end(err)
		c.pair.change()
	}
}

// OpenStream waits for stream credit.
func (c *Conn) OpenStream(ctx context.Context) (moqt.Stream, error) {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	for c.ctx.Err() == nil {
		if s := c.newStream(false); s != nil {
			return &end{s.a}, nil
		}
		if err := c.wait(ctx); err != nil {
			return nil, err
		}
	}
	return nil, context.Cause(c.ctx)
}

// OpenUniStream answers moqt.ErrStreamLimit when there is no stream credit.
func (c *Conn) OpenUniStream() (moqt.SendStream, error) {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	if c.ctx.Err() != nil {
		return nil, context.Cause(c.ctx)
	}
	if s := c.newStream(true); s != nil {
		return &end{s.a}, nil
	}
	return nil, moqt.ErrStreamLimit
}

// AcceptStream waits for a stream of the peer on which something has arrived.
func (c *Conn) AcceptStream(ctx context.Context) (moqt.Stream, error) { return c.take(ctx, &c.accept) }

// AcceptUniStream waits for a unidirectional stream of the peer.
func (c *Conn) AcceptUniStream(ctx context.Context) (moqt.ReceiveStream, error) {
	return c.take(ctx, &c.unis)
}

func (c *Conn) take(ctx context.Context, from *[]*stream) (*end, error) {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	for {
		if len(*from) > 0 {
			s := (*from)[0]
			*from = (*from)[1:]
			return &end{s.b}, nil
		}
		if c.ctx.Err() != nil {
			return nil, context.Cause(c.ctx)
		}
		if err := c.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// wait waits for a change, or the end of ctx or of the connection.
func (c *Conn) wait(ctx context.Context) error {
	err := c.pair.wait(ctx, time.Time{})
	if err != nil && ctx.Err() == nil {
		return nil // cannot happen: there is no deadline
	}
	return err
}

// SendDatagram drops a datagram above 1200 bytes.
func (c *Conn) SendDatagram(b []byte) error {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	if len(b) > 1200 {
		return errors.New("moqttest: datagram is too large")
	}
	c.tap(Sent{Datagram: true, Data: b})
	b = append([]byte(nil), b...)
	c.out.send(len(b), func() {
		if p := c.peer; len(p.grams) < 64 {
			p.grams = append(p.grams, b)
			c.pair.change()
		}
	})
	return nil
}

// ReceiveDatagram waits for a datagram.
func (c *Conn) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	for {
		if len(c.grams) > 0 {
			b := c.grams[0]
			c.grams = c.grams[1:]
			return b, nil
		}
		if c.ctx.Err() != nil {
			return nil, context.Cause(c.ctx)
		}
		if err := c.wait(ctx); err != nil {
			return nil, err
		}
	}
}
