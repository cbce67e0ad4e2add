package ceiling

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/quic-go/quic-go"
)

// laneQueue is how many pieces may wait for one viewer's track, which is about
// 3 s. After that the rest of the group is left out.
const laneQueue = 128

const (
	codeDropped = 1 // of a reset: the viewer was too slow
	codeCut     = 2 // the publisher's stream was
)

// A Server takes groups from publishers and hands them to all viewers. The zero
// value is ready to use.
type Server struct {
	mu      sync.Mutex
	viewers []*viewer
}

// Serve serves connections on pc until ctx ends, and returns its cause, or until
// pc fails. It does not close pc.
func (s *Server) Serve(ctx context.Context, pc net.PacketConn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tlsConfig, err := serverTLS()
	if err != nil {
		return err
	}
	askForBuffers(pc)
	tr := &quic.Transport{Conn: pc, ConnectionIDLength: 8}
	ln, err := tr.Listen(tlsConfig, quicConfig())
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for {
		var qc *quic.Conn
		if qc, err = ln.Accept(ctx); err != nil {
			break
		}
		wg.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = qc.CloseWithError(0, "") })()
			if qc.ConnectionState().TLS.NegotiatedProtocol == protoPublish {
				s.publisher(qc)
			} else {
				s.viewer(qc)
			}
		})
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(err)
	_ = ln.Close()
	wg.Wait()
	_ = tr.Close()
	return err
}

// Viewers returns how many viewers there are.
func (s *Server) Viewers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.viewers)
}

// publisher reads the groups of one connection until it ends.
func (s *Server) publisher(qc *quic.Conn) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		in, err := qc.AcceptUniStream(qc.Context())
		if err != nil {
			return
		}
		wg.Go(func() {
			if err := s.group(in); err != nil {
				in.CancelRead(codeCut)
			}
		})
	}
}

// group reads one group and hands it on, piece by piece, to those who are
// viewers when it begins.
func (s *Server) group(in *quic.ReceiveStream) error {
	r := bufio.NewReader(in)
	track, group, err := readHeader(r)
	if err != nil {
		return err
	}
	legs := s.legs(track)
	head, err := pass(r, legs, appendHeader(nil, track, group))
	kind := cutPiece
	if err == nil {
		kind = lastPiece
	}
	for _, l := range legs {
		l.send(piece{kind: kind, data: head})
	}
	return err
}

// pass hands on the objects of r, with head before the first. It returns the
// head if there was none, and a nil error at the end of the group.
func pass(r *bufio.Reader, legs []*leg, head []byte) ([]byte, error) {
	for {
		n, err := readLength(r)
		if errors.Is(err, io.EOF) {
			return head, nil
		}
		if err != nil {
			return nil, err
		}
		head = binary.BigEndian.AppendUint32(head, uint32(n))
		for first := true; n > 0 || first; first = false {
			data := make([]byte, len(head)+min(n, pieceSize))
			k := copy(data, head)
			if got, err := io.ReadFull(r, data[k:]); err != nil {
				return nil, fmt.Errorf("ceiling: the group ended %d bytes before its object did: %w", n-got, err)
			}
			n -= len(data) - k
			head = nil
			for _, l := range legs {
				l.send(piece{data: data})
			}
		}
	}
}

// legs begins a group of track at every viewer.
func (s *Server) legs(track uint8) []*leg {
	s.mu.Lock()
	defer s.mu.Unlock()
	legs := make([]*leg, 0, len(s.viewers))
	for _, v := range s.viewers {
		legs = append(legs, &leg{lane: v.lane(track)})
	}
	return legs
}

// viewer serves one viewer until its connection ends.
func (s *Server) viewer(qc *quic.Conn) {
	v := &viewer{qc: qc}
	s.mu.Lock()
	s.viewers = append(s.viewers, v)
	s.mu.Unlock()
	if out, err := qc.OpenUniStream(); err == nil {
		_, _ = out.Write(appendHeader(nil, welcome, 0))
		_ = out.Close()
	}
	<-qc.Context().Done()
	s.mu.Lock()
	s.viewers = slices.DeleteFunc(s.viewers, func(o *viewer) bool { return o == v })
	s.mu.Unlock()
	v.wg.Wait()
}

// A viewer is one connection that receives. The server's lock guards it.
type viewer struct {
	qc    *quic.Conn
	lanes []*lane
	wg    sync.WaitGroup
}

// lane returns the lane of track, which it begins with the track's first group.
func (v *viewer) lane(track uint8) *lane {
	for _, l := range v.lanes {
		if l.track == track {
			return l
		}
	}
	l := &lane{qc: v.qc, track: track, queue: make(chan piece, laneQueue)}
	v.lanes = append(v.lanes, l)
	v.wg.Go(l.run)
	return l
}

// A lane writes one track to one viewer. Large pieces are written by the lane's
// own goroutine, because quic-go takes those without a copy from a Write that
// blocks. Small ones, which it copies anyway, are written by whoever brings them
// as long as nothing is queued: that spares a wake-up for each of them.
type lane struct {
	qc    *quic.Conn
	track uint8
	queue chan piece

	mu      sync.Mutex
	waiting int    // pieces in the queue, and the one that run is writing
	open    []*leg // those with a stream
}

// smallPiece is what fits into one packet.
const smallPiece = 1100

// A leg is one group on its way to one viewer. Its lane's lock guards it.
type leg struct {
	lane    *lane
	dropped bool // the queue was full, or the stream failed: reset what has begun
	out     *quic.SendStream
}

type pieceKind uint8

const (
	dataPiece pieceKind = iota
	lastPiece           // the group is complete
	cutPiece            // the group was cut
)

type piece struct {
	leg  *leg
	kind pieceKind
	data []byte // shared by all viewers
}

// send writes or queues p, or leaves out the rest of the group if the queue is
// full.
func (g *leg) send(p piece) {
	l := g.lane
	p.leg = g
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.dropped || l.waiting == 0 && l.writeSmall(p) {
		return
	}
	select {
	case l.queue <- p:
		l.waiting++
	default:
		g.dropped = true
	}
}

// writeSmall writes p if that needs no waiting, and reports whether it did.
func (l *lane) writeSmall(p piece) bool {
	if len(p.data) > smallPiece || !l.begin(p.leg) {
		return p.leg.dropped
	}
	if len(p.data) > 0 && p.leg.out.TryWriteAll(p.data) != nil {
		return false // for want of room, or run meets the same error
	}
	l.end(p)
	return true
}

// run writes what is queued until the connection ends.
func (l *lane) run() {
	for {
		select {
		case p := <-l.queue:
			l.write(p)
		case <-l.qc.Context().Done():
			return
		}
	}
}

func (l *lane) write(p piece) {
	g := p.leg
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.waiting-- }()
	if !l.begin(g) {
		return
	}
	if len(p.data) > 0 {
		l.mu.Unlock()
		_, err := g.out.Write(p.data)
		l.mu.Lock()
		if err != nil {
			g.dropped = true
			return
		}
	}
	l.end(p)
}

// begin sees to it that g has a stream, and reports whether it may be written.
func (l *lane) begin(g *leg) bool {
	if g.out == nil && !g.dropped {
		l.sweep()
		out, err := l.qc.OpenUniStream()
		if err != nil {
			g.dropped = true // the viewer is so far behind that it gives no more credit
			return false
		}
		g.out = out
		l.open = append(l.open, g)
	}
	if g.dropped && g.out != nil {
		g.out.CancelWrite(codeDropped) // has an effect once
	}
	return !g.dropped
}

// end ends the stream of p's group if p is its last piece.
func (l *lane) end(p piece) {
	switch p.kind {
	case lastPiece:
		_ = p.leg.out.Close()
	case cutPiece:
		p.leg.out.CancelWrite(codeCut)
	default:
		return
	}
	l.open = slices.DeleteFunc(l.open, func(g *leg) bool { return g == p.leg })
}

// sweep resets the groups that were dropped and of which no piece may come any
// more.
func (l *lane) sweep() {
	l.open = slices.DeleteFunc(l.open, func(g *leg) bool {
		if g.dropped {
			g.out.CancelWrite(codeDropped)
		}
		return g.dropped
	})
}
