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
	"sync/atomic"

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

// A lane writes one track to one viewer.
type lane struct {
	qc    *quic.Conn
	track uint8
	queue chan piece
	open  []*leg // run's alone
}

// A leg is one group on its way to one viewer. The goroutine that reads the
// group sends; the lane's writes.
type leg struct {
	lane    *lane
	dropped atomic.Bool // the queue was full: reset what has begun
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

// send queues p, or leaves out the rest of the group if the queue is full.
func (l *leg) send(p piece) {
	if l.dropped.Load() {
		return
	}
	p.leg = l
	select {
	case l.lane.queue <- p:
	default:
		l.dropped.Store(true)
	}
}

// run writes until the connection ends.
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
	if g.out == nil {
		l.sweep()
		out, err := l.qc.OpenUniStream()
		if err != nil {
			g.dropped.Store(true) // the viewer is so far behind that it gives no more credit
			return
		}
		g.out = out
		l.open = append(l.open, g)
	}
	if g.dropped.Load() {
		g.out.CancelWrite(codeDropped) // has an effect once
		return
	}
	if len(p.data) > 0 {
		if _, err := g.out.Write(p.data); err != nil {
			g.dropped.Store(true)
			return
		}
	}
	switch p.kind {
	case lastPiece:
		_ = g.out.Close()
	case cutPiece:
		g.out.CancelWrite(codeCut)
	default:
		return
	}
	l.open = slices.DeleteFunc(l.open, func(o *leg) bool { return o == g })
}

// sweep resets the groups that were dropped and of which no piece may come any
// more.
func (l *lane) sweep() {
	l.open = slices.DeleteFunc(l.open, func(g *leg) bool {
		dropped := g.dropped.Load()
		if dropped {
			g.out.CancelWrite(codeDropped)
		}
		return dropped
	})
}
