package transport

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func TestConform(t *testing.T) {
	for _, tt := range []struct{ name, scheme string }{{"quic", "moqt"}, {"webtransport", "https"}} {
		t.Run(tt.name, func(t *testing.T) {
			e := start(t, Config{})
			testConn(t, func(t *testing.T) (client, server moqt.Conn) {
				e := *e
				e.t = t
				return e.dial(tt.scheme, "/live?token=secret")
			})
		})
	}
}

type pairFunc func(t *testing.T) (client, server moqt.Conn)

// testConn checks what moqt.Conn promises. pair makes a connected pair.
func testConn(t *testing.T, pair pairFunc) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, moqt.Conn, moqt.Conn)
	}{
		{"Info", testInfo},
		{"Streams", testStreams},
		{"TryWrite", testTryWrite},
		{"StreamLimit", testStreamLimit},
		{"Reset", testReset},
		{"StopSending", testStopSending},
		{"Deadlines", testDeadlines},
		{"ReliableBoundary", testReliableBoundary},
		{"QueuedBoundary", testQueuedBoundary},
		{"Mixed", testMixed},
		{"Datagrams", testDatagrams},
		{"CloseUnblocks", testCloseUnblocks},
		{"StreamsAfterClose", testStreamsAfterClose},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server := pair(t)
			tt.test(t, client, server)
		})
	}
	t.Run("Close", func(t *testing.T) { testClose(t, pair) })
}

// bothWays runs f with each end in the role of a.
func bothWays(t *testing.T, client, server moqt.Conn, f func(t *testing.T, a, b moqt.Conn)) {
	t.Helper()
	t.Run("from=client", func(t *testing.T) { f(t, client, server) })
	t.Run("from=server", func(t *testing.T) { f(t, server, client) })
}

func testInfo(t *testing.T, client, server moqt.Conn) {
	ci, si := client.Info(), server.Info()
	if !ci.Client || si.Client {
		t.Errorf("Client = %t at the client, %t at the server", ci.Client, si.Client)
	}
	if ci.Protocol != "moqt-18" || si.Protocol != "moqt-18" {
		t.Errorf("Protocol = %q and %q, want moqt-18", ci.Protocol, si.Protocol)
	}
	if ci.Remote.String() != si.Local.String() {
		t.Errorf("the client's Remote is %v, the server's Local is %v", ci.Remote, si.Local)
	}
	if ci.Path != "" || ci.Authority != "" {
		t.Errorf("client has Path %q, Authority %q, want none", ci.Path, ci.Authority)
	}
	path, authority := "", ""
	if si.Transport == moqt.WebTransport {
		path, authority = "/live?token=secret", ci.Remote.String()
	}
	if si.Path != path || si.Authority != authority {
		t.Errorf("server has Path %q, Authority %q, want %q, %q", si.Path, si.Authority, path, authority)
	}
	if st := client.Stats(); st.BytesSent == 0 || st.PacketsSent == 0 || st.CongestionWindow == 0 {
		t.Errorf("Stats() = %+v, want traffic", st)
	}
}

func testStreams(t *testing.T, client, server moqt.Conn) {
	bothWays(t, client, server, func(t *testing.T, a, b moqt.Conn) {
		ctx := t.Context()
		out, err := a.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		if err := out.TryWrite([]byte("uni")); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(" stream")); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		in, err := b.AcceptUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(in); err != nil || string(got) != "uni stream" {
			t.Errorf("uni stream carried %q, %v", got, err)
		}

		req, err := a.OpenStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := req.Write([]byte("request")); err != nil {
			t.Fatal(err)
		}
		rsp, err := b.AcceptStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 7)
		if _, err := io.ReadFull(rsp, buf); err != nil || string(buf) != "request" {
			t.Fatalf("request = %q, %v", buf, err)
		}
		if err := rsp.TryWrite([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		rsp.Close()
		if got, err := io.ReadAll(req); err != nil || string(got) != "answer" {
			t.Errorf("answer = %q, %v", got, err)
		}
		req.Close()
		if got, err := io.ReadAll(rsp); err != nil || len(got) != 0 {
			t.Errorf("after FIN: %q, %v", got, err)
		}

		empty, err := a.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		if err := empty.Close(); err != nil {
			t.Fatal(err)
		}
		in, err = b.AcceptUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(in); err != nil || len(got) != 0 {
			t.Errorf("empty stream carried %q, %v", got, err)
		}
		select {
		case <-empty.Context().Done():
		case <-time.After(5 * time.Second):
			t.Error("the stream's context outlives FIN")
		}
	})
}

func testTryWrite(t *testing.T, client, server moqt.Conn) {
	bothWays(t, client, server, func(t *testing.T, a, b moqt.Conn) {
		str, err := a.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		sent := sha256.New()
		chunk := make([]byte, 16<<10)
		var n int
		for ; ; n++ {
			copy(chunk, fmt.Sprint("chunk ", n))
			err = str.TryWrite(chunk)
			if err != nil {
				break
			}
			sent.Write(chunk)
			if n > 10_000 {
				t.Fatal("TryWrite accepts without bound")
			}
		}
		if !errors.Is(err, moqt.ErrWouldBlock) {
			t.Fatalf("TryWrite on a full window: %v, want ErrWouldBlock", err)
		}
		if n*len(chunk) < 256<<10 {
			t.Errorf("TryWrite took %d bytes before it would block", n*len(chunk))
		}
		in, err := b.AcceptUniStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		received := sha256.New()
		copied := make(chan error, 1)
		go func() {
			_, err := io.Copy(received, in)
			copied <- err
		}()
		waitFor(t, func() bool { err = str.TryWrite(chunk); return !errors.Is(err, moqt.ErrWouldBlock) })
		if err != nil {
			t.Fatal(err)
		}
		sent.Write(chunk)
		str.Close()
		if err := <-copied; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(received.Sum(nil), sent.Sum(nil)) {
			t.Error("what arrived differs from what TryWrite accepted")
		}
	})
}

func testStreamLimit(t *testing.T, client, server moqt.Conn) {
	bothWays(t, client, server, func(t *testing.T, a, b moqt.Conn) {
		var open []moqt.SendStream
		var err error
		for range 2 * maxIncomingUniStreams {
			var str moqt.SendStream
			if str, err = a.OpenUniStream(); err != nil {
				break
			}
			if err := str.TryWrite([]byte("x")); err != nil {
				t.Fatal(err)
			}
			open = append(open, str)
		}
		if !errors.Is(err, moqt.ErrStreamLimit) {
			t.Fatalf("after %d streams: %v, want ErrStreamLimit", len(open), err)
		}
		if len(open) < maxIncomingUniStreams-4 {
			t.Errorf("the limit came after %d streams, want about %d", len(open), maxIncomingUniStreams)
		}
		for _, str := range open {
			str.Close()
		}
		for range open {
			in, err := b.AcceptUniStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(in); err != nil {
				t.Fatal(err)
			}
		}
		waitFor(t, func() bool {
			str, err := a.OpenUniStream()
			if err == nil {
				str.CancelWrite(wire.ResetCancelled)
			}
			return err == nil
		})
	})
}

// resetCodes has the draft's, a grease value, and the edges of WebTransport's
// mapping, which skips every 31st code.
var resetCodes = []wire.ResetCode{0, 1, 5, 0x12, 0x1d, 0x1e, 0x1f, 0x3b, 0x3c, 0x9d, 1<<32 - 1}

func testReset(t *testing.T, client, server moqt.Conn) {
	bothWays(t, client, server, func(t *testing.T, a, b moqt.Conn) {
		for _, code := range resetCodes {
			str, err := a.OpenUniStream()
			if err != nil {
				t.Fatal(err)
			}
			if err := str.TryWrite([]byte("some")); err != nil {
				t.Fatal(err)
			}
			in, err := b.AcceptUniStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(in, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			str.CancelWrite(code)
			_, err = io.ReadAll(in)
			checkStreamError(t, "Read", err, code, true)
			checkStreamError(t, "TryWrite", str.TryWrite([]byte("x")), code, false)
			checkStreamError(t, "Close", str.Close(), code, false)
			<-str.Context().Done()
			checkStreamError(t, "Context", context.Cause(str.Context()), code, false)
		}
	})
}

func testStopSending(t *testing.T, client, server moqt.Conn) {
	bothWays(t, client, server, func(t *testing.T, a, b moqt.Conn) {
		for _, code := range resetCodes {
			str, err := a.OpenStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := str.Write([]byte("some")); err != nil {
				t.Fatal(err)
			}
			in, err := b.AcceptStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			in.CancelRead(code)
			_, err = in.Read(make([]byte, 1))
			checkStreamError(t, "Read", err, code, false)
			<-str.Context().Done()
			checkStreamError(t, "Context", context.Cause(str.Context()), code, true)
			_, err = str.Write([]byte("x"))
			checkStreamError(t, "Write", err, code, true)
			in.CancelWrite(code)
			_, err = str.Read(make([]byte, 1))
			checkStreamError(t, "Read", err, code, true)
		}
	})
}

func checkStreamError(t *testing.T, call string, err error, code wire.ResetCode, remote bool) {
	t.Helper()
	se, ok := errors.AsType[*moqt.StreamError](err)
	if !ok || se.Code != code || se.Remote != remote {
		t.Errorf("%s: %v, want a StreamError with code %v, remote %t", call, err, code, remote)
	}
}

func testDeadlines(t *testing.T, client, server moqt.Conn) {
	str, err := client.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := str.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	in, err := server.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := str.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := str.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: %v, want os.ErrDeadlineExceeded", err)
	}
	if err := in.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 32<<20) // more than any window
	n, err := in.Write(big)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == len(big) {
		t.Errorf("Write of %d bytes: %d, %v, want os.ErrDeadlineExceeded", len(big), n, err)
	}
	// Neither ends the stream.
	if err := str.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := in.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	received := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, str)
		received <- n
	}()
	if _, err := in.Write([]byte("b")); err != nil {
		t.Errorf("Write after the deadline was lifted: %v", err)
	}
	in.Close()
	if got := <-received; got != int64(n)+1 {
		t.Errorf("%d bytes arrived, want the %d that Write counted", got, n+1)
	}
}

// testReliableBoundary resets streams right after their header was queued. The
// header must arrive all the same, every time.
func testReliableBoundary(t *testing.T, client, server moqt.Conn) {
	bothWays(t, client, server, func(t *testing.T, a, b moqt.Conn) {
		const streams = 100
		header := []byte("subgroup header")
		var wg sync.WaitGroup
		wg.Go(func() {
			for range streams {
				in, err := b.AcceptUniStream(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(in)
				checkStreamError(t, "Read", err, wire.ResetDeliveryTimeout, true)
				if !bytes.HasPrefix(got, header) {
					t.Errorf("received %q before the reset, want %q first", got, header)
				}
			}
		})
		for range streams {
			str, err := a.OpenUniStream()
			if err != nil {
				t.Fatal(err)
			}
			if err := str.TryWrite(header); err != nil {
				t.Fatal(err)
			}
			str.SetReliableBoundary()
			if err := str.TryWrite(make([]byte, 16<<10)); err != nil && !errors.Is(err, moqt.ErrWouldBlock) {
				t.Fatal(err)
			}
			str.CancelWrite(wire.ResetDeliveryTimeout)
		}
		wg.Wait()
	})
}

// testQueuedBoundary resets a stream whose reliable part is still queued, for
// the peer has no window for it yet.
func testQueuedBoundary(t *testing.T, client, server moqt.Conn) {
	bothWays(t, client, server, func(t *testing.T, a, b moqt.Conn) {
		str, err := a.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		chunk := bytes.Repeat([]byte("boundary"), 2<<10)
		var sent int
		for str.TryWrite(chunk) == nil { // until the window and our queue are full
			sent += len(chunk)
		}
		str.SetReliableBoundary()
		str.CancelWrite(wire.ResetTooFarBehind)
		checkStreamError(t, "TryWrite", str.TryWrite(chunk), wire.ResetTooFarBehind, false)
		in, err := b.AcceptUniStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in)
		checkStreamError(t, "Read", err, wire.ResetTooFarBehind, true)
		if !bytes.Equal(got, bytes.Repeat([]byte("boundary"), sent/8)) {
			t.Errorf("%d bytes arrived before the reset, want the %d ahead of the boundary", len(got), sent)
		}
	})
}

// testMixed interleaves Write and TryWrite of all sizes, then closes at once.
func testMixed(t *testing.T, client, server moqt.Conn) {
	bothWays(t, client, server, func(t *testing.T, a, b moqt.Conn) {
		str, err := a.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		received := make(chan []byte, 1)
		go func() {
			in, err := b.AcceptUniStream(t.Context())
			if err != nil {
				t.Error(err)
				received <- nil
				return
			}
			got, err := io.ReadAll(in)
			if err != nil {
				t.Error(err)
			}
			received <- got
		}()
		var want []byte
		for i, size := range []int{1, 1200, 1201, 16 << 10, 3, 100 << 10, 7, 0, 70_000, 5000, 1, 1} {
			p := bytes.Repeat([]byte{byte(i)}, size)
			if i%3 == 2 {
				if _, err := str.Write(p); err != nil {
					t.Fatal(err)
				}
			} else {
				waitFor(t, func() bool { err = str.TryWrite(p); return !errors.Is(err, moqt.ErrWouldBlock) })
				if err != nil {
					t.Fatal(err)
				}
			}
			want = append(want, p...)
			clear(p) // p is ours again
		}
		if err := str.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-received; !bytes.Equal(got, want) {
			t.Errorf("%d bytes arrived, not the %d that were written", len(got), len(want))
		}
	})
}
