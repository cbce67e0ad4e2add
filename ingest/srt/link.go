package srt

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	gosrt "github.com/datarhei/gosrt"
	"github.com/datarhei/gosrt/packet"

	"github.com/broadcastd/broadcastd/ingest"
)

// What a connection's end may be, beside those of the session.
var (
	errIdle    = errors.New("srt: no media came for too long")
	errRate    = errors.New("srt: more came than is taken")
	errBuffer  = errors.New("srt: the peer's timestamps fill the receive buffer")
	errQueue   = errors.New("srt: media is not written as fast as it comes")
	errSilent  = errors.New("srt: the peer confirms no ACK")
	errInClear = errors.New("srt: packets came in clear on an encrypted connection")
)

const (
	// peerIdle is after how long without any packet gosrt drops a peer. SRT
	// peers send one a second.
	peerIdle = 5 * time.Second
	// maxPacket is the largest payload, in bytes.
	maxPacket = gosrt.MAX_PAYLOAD_SIZE
	// watchTick is how often a connection's figures are looked at.
	watchTick = 250 * time.Millisecond
	// silence is how long the round-trip time may stay the same to the
	// nanosecond: it is measured a hundred times a second, with ACKACK, of a peer
	// that answers. gosrt keeps a note of each ACK until then.
	silence = 2 * time.Minute
	// maxClear is how many packets in clear are passed over, which somebody else
	// may have sent.
	maxClear = 1000
)

// limits are what one connection may do.
type limits struct {
	idle   time.Duration // without media
	rate   int           // bytes a second, on average over some seconds
	buffer int           // bytes that wait for their time
	queue  int           // bytes that wait to be written
}

// A link reads one connection. Its queue takes what comes while media is
// being written.
type link struct {
	conn      gosrt.Conn
	encrypted bool
	limits    limits
	queue     chan packet.Packet
	stopped   chan struct{} // closed by stop
	once      sync.Once
	err       error         // why; set before stopped is closed
	clear     atomic.Uint64 // packets in clear
	over      atomic.Pointer[ingest.PeerStats]
}

func newLink(conn gosrt.Conn, encrypted bool, l limits) *link {
	return &link{
		conn: conn, encrypted: encrypted, limits: l,
		queue: make(chan packet.Packet, max(1, l.queue/maxPacket)), stopped: make(chan struct{}),
	}
}

// stop ends the connection. The first reason counts.
func (l *link) stop(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.stopped)
	})
	l.conn.Close() //nolint:errcheck // it has no error
}

// run reads the connection until it ends or is stopped, and hands each payload
// to write, on the goroutine of the caller. The error is what stopped it, what
// write returned, or io.EOF where the peer left or was lost. still is asked now
// and then whether the connection may go on.
func (l *link) run(write func([]byte) error, still func() error) error {
	var g sync.WaitGroup
	defer g.Wait()
	g.Go(l.read)
	g.Go(func() { l.watch(still) })
	for p := range l.queue {
		err := write(p.Data())
		p.Decommission()
		if err != nil {
			l.stop(err)
			break
		}
	}
	l.stop(io.EOF)
	s := l.stats()
	l.over.Store(&s)
	return l.err
}

// read fills the queue.
func (l *link) read() {
	defer close(l.queue)
	for {
		p, err := l.conn.ReadPacket()
		if err != nil {
			return
		}
		if l.encrypted && !encrypted(p) {
			if l.clear.Add(1) > maxClear {
				l.stop(errInClear)
				return
			}
			p.Decommission()
			continue
		}
		select {
		case l.queue <- p:
		default:
			l.stop(errQueue)
			return
		}
	}
}

// encrypted says whether gosrt has decrypted p: it also delivers what came in
// clear, or under no key.
func encrypted(p packet.Packet) bool {
	k := p.Header().KeyBaseEncryptionFlag
	return k == packet.EvenKeyEncrypted || k == packet.OddKeyEncrypted
}

// watch holds the connection to its limits.
func (l *link) watch(still func() error) {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	w := watched{limits: l.limits}
	for {
		select {
		case <-l.stopped:
			return
		case now := <-tick.C:
			var s gosrt.Statistics
			l.conn.Stats(&s)
			err := w.step(now, &s)
			if err == nil {
				err = still()
			}
			if err != nil {
				l.stop(err)
				return
			}
		}
	}
}

// watched is what was seen of a connection's figures.
type watched struct {
	limits limits
	begun  time.Time
	bytes  uint64
	media  time.Time // when they last rose
	left   float64   // bytes that may come at once
	at     time.Time
	rtt    float64
	moved  time.Time // when rtt last did
}

// rateWindow is how much may come at once, in time at the highest rate.
const rateWindow = 4 * time.Second

// step looks at the figures at now and says what is wrong with them.
func (w *watched) step(now time.Time, s *gosrt.Statistics) error {
	most := float64(w.limits.rate) * rateWindow.Seconds()
	if w.begun.IsZero() {
		w.begun, w.media, w.moved, w.at, w.left = now, now, now, now, most
	}
	got := s.Accumulated.ByteRecv
	came := got - w.bytes
	if came > 0 {
		w.bytes, w.media = got, now
	}
	if s.Instantaneous.MsRTT != w.rtt {
		w.rtt, w.moved = s.Instantaneous.MsRTT, now
	}
	w.left = min(w.left+float64(w.limits.rate)*now.Sub(w.at).Seconds(), most) - float64(came)
	w.at = now
	switch {
	case now.Sub(w.media) > w.limits.idle:
		return fmt.Errorf("%w: nothing for %v", errIdle, w.limits.idle)
	case w.left < 0:
		return fmt.Errorf("%w: more than %d bytes a second", errRate, w.limits.rate)
	case s.Instantaneous.ByteRecvBuf > uint64(w.limits.buffer):
		return fmt.Errorf("%w: %d bytes wait for their time, at most %d may", errBuffer, s.Instantaneous.ByteRecvBuf, w.limits.buffer)
	case now.Sub(w.moved) > silence:
		return errSilent
	}
	return nil
}

// stats returns the connection's figures. Any goroutine may call it.
func (l *link) stats() ingest.PeerStats {
	if s := l.over.Load(); s != nil {
		return *s
	}
	var s gosrt.Statistics
	l.conn.Stats(&s)
	return ingest.PeerStats{
		RTT:      time.Duration(s.Instantaneous.MsRTT * float64(time.Millisecond)),
		Received: s.Accumulated.PktRecv, Lost: s.Accumulated.PktRecvLoss, Retransmitted: s.Accumulated.PktRecvRetrans,
		Bytes: s.Accumulated.ByteRecv,
	}
}
