package transport

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
)

// BenchmarkTryWrite moves media from one connection's TryWrite to the other's
// Read, over loopback, with a new stream for each MiB.
func BenchmarkTryWrite(b *testing.B) {
	for _, scheme := range []string{"moqt", "https"} {
		for _, size := range []int{1 << 10, 4 << 10, 16 << 10} {
			b.Run(fmt.Sprintf("scheme=%s/write=%d", scheme, size), func(b *testing.B) {
				e := start(b, Config{})
				client, server := e.dial(scheme, "/")
				go func() {
					for {
						in, err := client.AcceptUniStream(b.Context())
						if err != nil {
							return
						}
						go io.Copy(io.Discard, in)
					}
				}()
				p := make([]byte, size)
				var str moqt.SendStream
				left := 0
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if left <= 0 {
						if str != nil {
							str.Close()
						}
						str, left = open(b, server), 1<<20
					}
					for errors.Is(str.TryWrite(p), moqt.ErrWouldBlock) {
						runtime.Gosched()
					}
					left -= size
				}
			})
		}
	}
}

func open(b *testing.B, c moqt.Conn) moqt.SendStream {
	for {
		str, err := c.OpenUniStream()
		if err == nil {
			return str
		}
		if !errors.Is(err, moqt.ErrStreamLimit) {
			b.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// TestTryWriteAllocs counts what our side of TryWrite allocates: nothing. The
// call fails for want of room, because quic-go allocates frames otherwise.
func TestTryWriteAllocs(t *testing.T) {
	e := start(t, Config{})
	for _, scheme := range []string{"moqt", "https"} {
		_, server := e.dial(scheme, "/")
		str := mustOpen(t, server)
		p := make([]byte, 64<<10)
		for str.TryWrite(p) == nil {
		}
		var err error
		if n := testing.AllocsPerRun(1000, func() { err = str.TryWrite(p) }); n != 0 {
			t.Errorf("%s: TryWrite allocates %v times", scheme, n)
		}
		if !errors.Is(err, moqt.ErrWouldBlock) {
			t.Errorf("%s: TryWrite: %v, want ErrWouldBlock", scheme, err)
		}
	}
}
