package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
)

// A tap is a connection that can stop to read, and that knows when the first
// byte of media came.
type tap struct {
	moqt.Conn
	accepted atomic.Int32
	first    atomic.Int64 // Unix nanoseconds of the first byte of media; 0: none yet
	stalled  chan struct{}
	once     sync.Once
}

func newTap(c moqt.Conn) *tap { return &tap{Conn: c, stalled: make(chan struct{})} }

// stall stops reading streams of media, for good: what the server has sent stays
// in the connection's windows, and no more credit goes back.
func (t *tap) stall() { t.once.Do(func() { close(t.stalled) }) }

// firstByte returns when media began to come, the zero time if it did not.
func (t *tap) firstByte() time.Time {
	if n := t.first.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// AcceptUniStream implements moqt.Conn. The first stream is the control stream,
// which is left alone.
func (t *tap) AcceptUniStream(ctx context.Context) (moqt.ReceiveStream, error) {
	in, err := t.Conn.AcceptUniStream(ctx)
	if err != nil || t.accepted.Add(1) == 1 {
		return in, err
	}
	return &tappedStream{in, t}, nil
}

type tappedStream struct {
	moqt.ReceiveStream
	tap *tap
}

func (s *tappedStream) Read(p []byte) (int, error) {
	select {
	case <-s.tap.stalled:
		<-s.tap.Context().Done()
		return 0, context.Cause(s.tap.Context())
	default:
	}
	n, err := s.ReceiveStream.Read(p)
	if n > 0 && s.tap.first.Load() == 0 {
		s.tap.first.CompareAndSwap(0, time.Now().UnixNano())
	}
	return n, err
}
