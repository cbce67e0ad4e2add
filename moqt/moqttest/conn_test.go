package moqttest_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within runs f with a new pair in a bubble.
func within(t *testing.T, cfg moqttest.Config, f func(t *testing.T, client, server *moqttest.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, server := moqttest.Pair(cfg)
		f(t, client, server)
		client.Cut()
	})
}

func open(t *testing.T, c *moqttest.Conn) moqt.SendStream {
	t.Helper()
	s, err := c.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func accept(t *testing.T, c *moqttest.Conn) moqt.ReceiveStream {
	t.Helper()
	s, err := c.AcceptUniStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLink(t *testing.T) {
	for _, tt := range []struct {
		name string
		link moqttest.Link
		size int
		want time.Duration
	}{
		{"at once", moqttest.Link{}, 100_000, 0},
		{"delay", moqttest.Link{Delay: 30 * time.Millisecond}, 100_000, 30 * time.Millisecond},
		{"rate", moqttest.Link{Rate: 1_000_000}, 100_000, 100 * time.Millisecond},
		{"rate and delay", moqttest.Link{Rate: 1_000_000, Delay: 30 * time.Millisecond}, 100_000, 130 * time.Millisecond},
		{"a queue smaller than the write", moqttest.Link{Rate: 1_000_000, Queue: 1000}, 100_000, 100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			within(t, moqttest.Config{Up: tt.link}, func(t *testing.T, client, server *moqttest.Conn) {
				start := time.Now()
				out := open(t, client)
				go func() {
					out.Write(make([]byte, tt.size))
					out.Close()
				}()
				b, err := io.ReadAll(accept(t, server))
				if err != nil || len(b) != tt.size {
					t.Fatalf("read %d bytes, %v", len(b), err)
				}
				if took := time.Since(start); took != tt.want {
					t.Errorf("took %v, want %v", took, tt.want)
				}
				if s := client.Stats(); s.BytesSent != uint64(tt.size) || s.SmoothedRTT != tt.link.Delay {
					t.Errorf("Stats() = %+v", s)
				}
			})
		})
	}
}

func TestFlowControl(t *testing.T) {
	within(t, moqttest.Config{Window: 1000}, func(t *testing.T, client, server *moqttest.Conn) {
		out := open(t, client)
		if err := out.TryWrite(make([]byte, 1001)); !errors.Is(err, moqt.ErrWouldBlock) {
			t.Errorf("TryWrite beyond the window: %v", err)
		}
		if err := out.TryWrite(make([]byte, 1000)); err != nil {
			t.Errorf("TryWrite: %v", err)
		}
		start := time.Now()
		out.SetWriteDeadline(start.Add(time.Second))
		if n, err := out.Write([]byte("x")); n != 0 || err == nil || time.Since(start) != time.Second {
			t.Errorf("Write = %d, %v after %v, want a deadline", n, err, time.Since(start))
		}
		out.SetWriteDeadline(time.Time{})
		in := accept(t, server)
		if n, err := in.Read(make([]byte, 400)); n != 400 || err != nil {
			t.Fatalf("Read = %d, %v", n, err)
		}
		if err := out.TryWrite(make([]byte, 400)); err != nil {
			t.Errorf("TryWrite after a read: %v", err)
		}
	})
}

func TestStreamCredit(t *testing.T) {
	within(t, moqttest.Config{UniStreams: 1, Streams: 1}, func(t *testing.T, client, server *moqttest.Conn) {
		out := open(t, client)
		if _, err := client.OpenUniStream(); !errors.Is(err, moqt.ErrStreamLimit) {
			t.Errorf("second stream: %v", err)
		}
		out.Write([]byte("x"))
		out.Close()
		if _, err := client.OpenUniStream(); !errors.Is(err, moqt.ErrStreamLimit) {
			t.Errorf("second stream before the first was read: %v", err)
		}
		io.ReadAll(accept(t, server))
		open(t, client)

		bidi, err := client.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := client.OpenStream(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second request stream: %v", err)
		}
		bidi.CancelWrite(wire.ResetCancelled)
		bidi.CancelRead(wire.ResetCancelled)
		if _, err := client.OpenStream(t.Context()); err != nil {
			t.Errorf("request stream after the first was cancelled: %v", err)
		}
	})
}

func TestReset(t *testing.T) {
	for _, tt := range []struct {
		name     string
		boundary bool
		want     string
	}{
		{"loses what was not read", false, ""},
		{"spares what was made reliable", true, "header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			within(t, moqttest.Config{Up: moqttest.Link{Delay: time.Millisecond}}, func(t *testing.T, client, server *moqttest.Conn) {
				out := open(t, client)
				out.Write([]byte("header"))
				if tt.boundary {
					out.SetReliableBoundary()
				}
				out.Write([]byte("body"))
				out.CancelWrite(wire.ResetTooFarBehind)
				time.Sleep(time.Second)
				b, err := io.ReadAll(accept(t, server))
				se, ok := errors.AsType[*moqt.StreamError](err)
				if string(b) != tt.want || !ok || !se.Remote || se.Code != wire.ResetTooFarBehind {
					t.Errorf("read %q, %v, want %q and a reset", b, err, tt.want)
				}
			})
		})
	}
}

func TestStop(t *testing.T) {
	within(t, moqttest.Config{}, func(t *testing.T, client, server *moqttest.Conn) {
		out := open(t, client)
		out.Write([]byte("x"))
		in := accept(t, server)
		in.CancelRead(wire.ResetCancelled)
		<-out.Context().Done()
		se, ok := errors.AsType[*moqt.StreamError](context.Cause(out.Context()))
		if !ok || !se.Remote || se.Code != wire.ResetCancelled {
			t.Errorf("sender's cause is %v", context.Cause(out.Context()))
		}
		if _, err := out.Write([]byte("y")); err == nil {
			t.Error("Write after STOP_SENDING succeeds")
		}
		if _, err := in.Read(make([]byte, 1)); err == nil {
			t.Error("Read after CancelRead succeeds")
		}
	})
}

func TestClose(t *testing.T) {
	within(t, moqttest.Config{Up: moqttest.Link{Delay: time.Second}}, func(t *testing.T, client, server *moqttest.Conn) {
		out := open(t, client)
		out.Write([]byte("x"))
		client.SendDatagram([]byte("gram"))
		in := accept(t, server)
		if b, err := server.ReceiveDatagram(t.Context()); string(b) != "gram" || err != nil {
			t.Errorf("ReceiveDatagram = %q, %v", b, err)
		}
		client.CloseWithError(wire.SessionProtocolViolation, "why")
		client.CloseWithError(wire.SessionNoError, "")
		if _, err := out.Write([]byte("y")); err == nil {
			t.Error("Write after Close succeeds")
		}
		start := time.Now()
		<-server.Context().Done()
		if took := time.Since(start); took != time.Second {
			t.Errorf("the peer learns of it after %v, want 1s", took)
		}
		se, ok := errors.AsType[*moqt.SessionError](context.Cause(server.Context()))
		if !ok || !se.Remote || se.Code != wire.SessionProtocolViolation || se.Reason != "why" {
			t.Errorf("the peer's cause is %v", context.Cause(server.Context()))
		}
		if b, err := io.ReadAll(in); string(b) != "x" || err == nil {
			t.Errorf("read %q, %v, want what came before the end", b, err)
		}
		if _, err := server.AcceptStream(t.Context()); err == nil {
			t.Error("AcceptStream after the end succeeds")
		}
	})
}
