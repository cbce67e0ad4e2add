package sim

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A connConfig is one connection. The limits are those that each end grants the
// other: index 0 is what the client grants.
type connConfig struct {
	up, down linkConfig
	window   [2]int64 // bytes per stream
	total    [2]int64 // bytes over all streams
	bidi     [2]uint64
	uni      [2]uint64
}

// A conn is one end of a simulated connection. It implements moqt.Conn without
// ever waiting, as moqt.Session.Step asks for.
type conn struct {
	w     *world
	name  string
	peer  *conn
	owner *node
	info  moqt.ConnInfo
	cfg   *connConfig
	out   *link

	ctx    context.Context
	end    context.CancelCauseFunc
	closed bool

	nextID  uint64
	opened  [2]uint64 // bidirectional and unidirectional streams of ours
	credit  [2]uint64 // how many we may open
	over    [2]uint64 // of the peer's streams, those that are over
	wrote   int64     // on all streams
	limit   int64     // how much that may be
	read    int64     // from all streams
	granted int64     // what the peer was told that it may send

	bidis  []*stream // that have arrived and were not accepted
	unis   []*stream
	grams  [][]byte
	roomAt time.Time // when there last was more room for all streams
	// creditAt is when credit last came of which none was left: until then no
	// message could leave, because QUIC has one limit for all streams.
	creditAt time.Time
	tells    bool                    // streams tell what they hold
	tap      func(h *half, p []byte) // is told of what is written
	// probe is called where the application calls in, and fails if it holds a
	// lock meanwhile.
	probe   func()
	excused time.Duration // how late messages may be for what was done to it
}

// side is the index into a connConfig of the limits that c grants.
func (c *conn) side() int {
	if c.info.Client {
		return 0
	}
	return 1
}

// connect returns both ends of a new connection.
func (w *world) connect(name string, cfg connConfig) (client, server *conn) {
	client, server = w.newConn(name+">", true, &cfg, cfg.up), w.newConn(name+"<", false, &cfg, cfg.down)
	client.peer, server.peer = server, client
	for _, c := range []*conn{client, server} {
		other := c.peer.side()
		c.credit = [2]uint64{cfg.bidi[other], cfg.uni[other]}
		c.limit = cfg.total[other]
		c.granted = cfg.total[c.side()]
	}
	return client, server
}

func (w *world) newConn(name string, client bool, cfg *connConfig, out linkConfig) *conn {
	c := &conn{w: w, name: name, cfg: cfg}
	c.out = &link{w: w, from: c, cfg: out}
	c.ctx, c.end = context.WithCancelCause(context.Background())
	c.info = moqt.ConnInfo{Transport: moqt.QUIC, Protocol: "moqt-18", Client: client, Local: addr(name), Remote: addr(name)}
	if !client {
		c.nextID = 1
	}
	return c
}

type addr string

func (addr) Network() string  { return "simulated" }
func (a addr) String() string { return string(a) }

var _ net.Addr = addr("")

// check is called with each call of the application.
func (c *conn) check() {
	if c.probe != nil {
		c.probe()
	}
}

// Info implements moqt.Conn.
func (c *conn) Info() moqt.ConnInfo { return c.info }

// minWindow is the smallest congestion window, in bytes: two packets, as with
// New Reno (RFC 9002 section 7.2). A window that the path never fills would say
// that a slow link has room.
const minWindow = 2 * 1200

// Stats implements moqt.Conn.
func (c *conn) Stats() moqt.ConnStats {
	rtt := c.out.cfg.delay + c.peer.out.cfg.delay
	return moqt.ConnStats{
		SmoothedRTT: rtt, MinRTT: rtt,
		CongestionWindow: uint64(max(minWindow, float64(c.out.cfg.rate)*rtt.Seconds())),
		BytesSent:        c.out.sent + 1, BytesReceived: c.peer.out.received,
		PacketsSent: c.out.packets, PacketsLost: c.out.lost,
	}
}

// Context implements moqt.Conn.
func (c *conn) Context() context.Context { return c.ctx }

// CloseWithError implements moqt.Conn. The close overtakes what is on its way.
func (c *conn) CloseWithError(code wire.SessionCode, reason string) error {
	if c.closed {
		return nil
	}
	peer := c.peer
	c.out.signals = append(c.out.signals, signal{"close", 0, uint64(code), func() {
		peer.shut(&moqt.SessionError{Code: code, Reason: reason, Remote: true})
	}})
	c.shut(&moqt.SessionError{Code: code, Reason: reason})
	c.out.pump()
	return nil
}

// shut ends c at this end alone.
func (c *conn) shut(err error) {
	if c.closed {
		return
	}
	c.closed = true
	c.w.note(c.name, "shut", 0, 0, 0)
	c.end(err)
	c.w.wake(c.owner)
}

// cut ends the connection without a word: one end knows at once, the other when
// its patience is over.
func (c *conn) cut(patience time.Duration) {
	lost := &moqt.SessionError{Code: wire.SessionInternalError, Err: errors.New("sim: connection lost")}
	c.shut(lost)
	c.peer.out.dark = c.w.now.Add(time.Hour)
	c.w.after(patience, func() { c.peer.shut(lost) })
}

// OpenStream implements moqt.Conn.
func (c *conn) OpenStream(context.Context) (moqt.Stream, error) {
	e, err := c.open(0)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// OpenUniStream implements moqt.Conn.
func (c *conn) OpenUniStream() (moqt.SendStream, error) {
	e, err := c.open(1)
	if err != nil {
		return nil, err
	}
	if c.tells {
		return unsentEnd{e}, nil
	}
	return e, nil
}

func (c *conn) open(kind int) (*end, error) {
	c.check()
	if c.closed {
		return nil, context.Cause(c.ctx)
	}
	if c.opened[kind] >= c.credit[kind] {
		return nil, moqt.ErrStreamLimit
	}
	c.opened[kind]++
	s := &stream{id: c.nextID<<1 | uint64(kind), kind: kind, opener: c}
	c.nextID += 2
	s.forth = newHalf(s, c)
	if kind == 0 {
		s.back = newHalf(s, c.peer)
	}
	return &end{c, s, s.forth, s.back}, nil
}

// AcceptStream implements moqt.Conn.
func (c *conn) AcceptStream(context.Context) (moqt.Stream, error) {
	e, err := c.accept(&c.bidis)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// AcceptUniStream implements moqt.Conn.
func (c *conn) AcceptUniStream(context.Context) (moqt.ReceiveStream, error) {
	e, err := c.accept(&c.unis)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (c *conn) accept(from *[]*stream) (*end, error) {
	if c.closed {
		return nil, context.Cause(c.ctx)
	}
	if len(*from) == 0 {
		return nil, moqt.ErrWouldBlock
	}
	s := (*from)[0]
	*from = slices.Delete(*from, 0, 1)
	return &end{c, s, s.back, s.forth}, nil
}

// SendDatagram implements moqt.Conn.
func (c *conn) SendDatagram(b []byte) error {
	c.check()
	switch {
	case c.closed:
		return context.Cause(c.ctx)
	case len(b) > packetSize:
		return errors.New("sim: datagram is too large")
	case len(c.out.grams) >= 32:
		return errors.New("sim: datagram queue is full")
	}
	c.out.grams = append(c.out.grams, slices.Clone(b))
	c.out.pump()
	return nil
}

// ReceiveDatagram implements moqt.Conn.
func (c *conn) ReceiveDatagram(context.Context) ([]byte, error) {
	if len(c.grams) == 0 {
		return nil, moqt.ErrWouldBlock
	}
	b := c.grams[0]
	c.grams = c.grams[1:]
	return b, nil
}

func (c *conn) gram(b []byte) {
	if !c.closed && len(c.grams) < 64 {
		c.grams = append(c.grams, b)
		c.w.wake(c.owner)
	}
}

// consumed counts n bytes that the application has read or dropped, and grants
// the peer as many.
func (c *conn) consumed(n int64) {
	c.read += n
	total := c.cfg.total[c.side()]
	if c.granted-c.read < total/2 && !c.closed {
		c.granted = c.read + total
		limit, peer := c.granted, c.peer
		c.out.signal("max data", 0, uint64(limit), func() {
			if peer.limit-peer.wrote < someRoom {
				peer.creditAt = c.w.now
			}
			peer.limit = max(peer.limit, limit)
			peer.roomAt = c.w.now
			c.w.wake(peer.owner)
		})
	}
}

// finished counts a stream of the peer that is over, and grants it another.
func (c *conn) finished(kind int) {
	c.over[kind]++
	grants := c.cfg.bidi
	if kind == 1 {
		grants = c.cfg.uni
	}
	limit, peer := c.over[kind]+grants[c.side()], c.peer
	if c.closed {
		return
	}
	c.out.signal("max streams", uint64(kind), limit, func() {
		peer.credit[kind] = max(peer.credit[kind], limit)
		c.w.wake(peer.owner)
	})
}
