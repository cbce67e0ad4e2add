package transport

import (
	"errors"
	"fmt"
	"sync"

	"github.com/quic-go/quic-go"
)

// ErrDatagramQueueFull reports that a datagram was dropped, because the ones
// before it have not been sent yet.
var ErrDatagramQueueFull = errors.New("transport: datagram queue is full")

const datagramQueue = 64 // on top of quic-go's own 32

// datagrams puts a bounded queue in front of quic-go's, whose SendDatagram
// blocks when it is full. The zero value is ready to use: most sessions send no
// datagram, so the goroutine starts with the first one and ends with the session.
type datagrams struct {
	start sync.Once
	queue chan []byte
}

// sizeProbe is longer than any datagram can be; quic-go answers with the limit.
var sizeProbe [64 << 10]byte

// send queues a copy of b for write. overhead is what write puts in front of it.
func (d *datagrams) send(l *link, b []byte, overhead int, write func([]byte) error) error {
	if err := l.err(); err != nil {
		return err
	}
	err := l.qc.SendDatagram(sizeProbe[:])
	tooLarge, ok := errors.AsType[*quic.DatagramTooLargeError](err)
	if !ok {
		return l.convert(err)
	}
	if limit := tooLarge.MaxDatagramPayloadSize - int64(overhead); int64(len(b)) > limit {
		return fmt.Errorf("transport: datagram of %d bytes, the path takes %d: %w", len(b), limit, tooLarge)
	}
	d.start.Do(func() {
		d.queue = make(chan []byte, datagramQueue)
		l.spawn(func() { d.pump(l, write) })
	})
	select {
	case d.queue <- append([]byte(nil), b...):
		return nil
	default:
		return ErrDatagramQueueFull
	}
}

// pump hands the queue to QUIC until the session ends. A datagram that has
// become too large for the path meanwhile is lost, as datagrams may be.
func (d *datagrams) pump(l *link, write func([]byte) error) {
	for {
		select {
		case b := <-d.queue:
			_ = write(b)
		case <-l.ctx.Done():
			return
		}
	}
}
