package transport

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func testDatagrams(t *testing.T, client, server moqt.Conn) {
	bothWays(t, client, server, func(t *testing.T, a, b moqt.Conn) {
		for _, size := range []int{0, 1, 1000} {
			want := bytes.Repeat([]byte{7}, size)
			if err := a.SendDatagram(want); err != nil {
				t.Fatalf("SendDatagram of %d bytes: %v", size, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			got, err := b.ReceiveDatagram(ctx)
			cancel()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("datagram of %d bytes arrived as %d bytes, %v", size, len(got), err)
			}
		}
		if err := a.SendDatagram(make([]byte, 4000)); err == nil {
			t.Error("SendDatagram took 4000 bytes")
		}
		within(t, 5*time.Second, "a burst of SendDatagram", func() {
			for range 100_000 {
				if err := a.SendDatagram(make([]byte, 1000)); errors.Is(err, ErrDatagramQueueFull) {
					return
				}
			}
			t.Error("the queue never filled up")
		})
		ctx, cancel := context.WithCancel(t.Context())
		for ctx.Err() == nil { // drain what is left, until there is nothing for a while
			stop := time.AfterFunc(100*time.Millisecond, cancel)
			if _, err := b.ReceiveDatagram(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			stop.Stop()
		}
		cancel()
	})
}

func testClose(t *testing.T, pair pairFunc) {
	for _, tt := range []struct {
		name   string
		code   wire.SessionCode
		reason string
		want   string
	}{
		{"clean", wire.SessionNoError, "", ""},
		{"unauthorized", wire.SessionUnauthorized, "the token has expired: ask for a new one", "the token has expired: ask for a new one"},
		{"grease", 0x9d + 3*0x7f, "?", "?"},
		{"too long", wire.SessionInternalError, strings.Repeat("é", 600), strings.Repeat("é", 512)},
	} {
		for _, from := range []string{"client", "server"} {
			t.Run(tt.name+"/from="+from, func(t *testing.T) {
				a, b := pair(t)
				if from == "server" {
					a, b = b, a
				}
				within(t, 5*time.Second, "CloseWithError", func() { a.CloseWithError(tt.code, tt.reason) })
				checkClosed(t, a, tt.code, tt.want, false)
				checkClosed(t, b, tt.code, tt.want, true)
				a.CloseWithError(wire.SessionProtocolViolation, "too late")
				b.CloseWithError(wire.SessionProtocolViolation, "too late")
				checkClosed(t, a, tt.code, tt.want, false)
				checkClosed(t, b, tt.code, tt.want, true)
			})
		}
	}
}

func checkClosed(t *testing.T, c moqt.Conn, code wire.SessionCode, reason string, remote bool) {
	t.Helper()
	select {
	case <-c.Context().Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the connection's context did not end")
	}
	cause := context.Cause(c.Context())
	se, ok := errors.AsType[*moqt.SessionError](cause)
	if !ok || se.Code != code || se.Reason != reason || se.Remote != remote || se.Err != nil {
		t.Errorf("ended with %v, want code %v, reason %q, remote %t", cause, code, reason, remote)
	}
}

// testCloseUnblocks closes one end while both wait in every call that blocks.
func testCloseUnblocks(t *testing.T, client, server moqt.Conn) {
	ctx := context.Background()
	str, err := client.OpenStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := str.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := server.AcceptStream(ctx); err != nil {
		t.Fatal(err)
	}
	answer, err := server.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 32<<20)
	calls := map[string]func() error{
		"AcceptStream": func() error { _, err := client.AcceptStream(ctx); return err },
		"AcceptUniStream": func() error {
			for {
				if _, err := client.AcceptUniStream(ctx); err != nil {
					return err
				}
			}
		},
		"ReceiveDatagram": func() error { _, err := client.ReceiveDatagram(ctx); return err },
		"Read":            func() error { _, err := str.Read(make([]byte, 1)); return err },
		"Write":           func() error { _, err := str.Write(big); return err },
		"OpenStream": func() error {
			for {
				s, err := client.OpenStream(ctx)
				if err != nil {
					return err
				}
				if err := s.TryWrite([]byte("x")); err != nil {
					return err
				}
			}
		},
		"peer AcceptUniStream": func() error { _, err := server.AcceptUniStream(ctx); return err },
		"peer ReceiveDatagram": func() error { _, err := server.ReceiveDatagram(ctx); return err },
		"peer Write":           func() error { _, err := answer.Write(big); return err },
	}
	type result struct {
		call string
		err  error
	}
	results := make(chan result, len(calls))
	var started sync.WaitGroup
	for name, call := range calls {
		started.Add(1)
		go func() {
			started.Done()
			results <- result{name, call()}
		}()
	}
	started.Wait()
	time.Sleep(50 * time.Millisecond) // let them block: nothing tells when they do
	closing := time.Now()
	go client.CloseWithError(wire.SessionUnauthorized, "bye")
	for range calls {
		select {
		case r := <-results:
			delete(calls, r.call)
			se, ok := errors.AsType[*moqt.SessionError](r.err)
			if !ok || se.Code != wire.SessionUnauthorized {
				t.Errorf("%s: %v, want a SessionError UNAUTHORIZED", r.call, r.err)
			}
		case <-time.After(5 * time.Second):
			for name := range calls {
				t.Errorf("%s still blocks after the close", name)
			}
			return
		}
	}
	if d := time.Since(closing); d > 250*time.Millisecond {
		t.Errorf("the last call returned after %v: it waited for the linger", d)
	}
}

// testStreamsAfterClose checks that nothing works, or blocks, after a close.
func testStreamsAfterClose(t *testing.T, client, server moqt.Conn) {
	bidi, err := server.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	uni, err := server.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	server.CloseWithError(wire.SessionGoawayTimeout, "")
	within(t, 5*time.Second, "a call after the close", func() {
		_ = bidi.SetReadDeadline(time.Time{})
		_ = bidi.SetWriteDeadline(time.Time{})
		for name, call := range map[string]func() error{
			"OpenStream":      func() error { _, err := server.OpenStream(t.Context()); return err },
			"OpenUniStream":   func() error { _, err := server.OpenUniStream(); return err },
			"AcceptStream":    func() error { _, err := server.AcceptStream(t.Context()); return err },
			"AcceptUniStream": func() error { _, err := server.AcceptUniStream(t.Context()); return err },
			"SendDatagram":    func() error { return server.SendDatagram([]byte("x")) },
			"ReceiveDatagram": func() error { _, err := server.ReceiveDatagram(t.Context()); return err },
			"TryWrite":        func() error { return uni.TryWrite([]byte("x")) },
			"Write":           func() error { _, err := bidi.Write(make([]byte, 32<<20)); return err },
			"Read":            func() error { _, err := bidi.Read(make([]byte, 1)); return err },
		} {
			se, ok := errors.AsType[*moqt.SessionError](call())
			if !ok || se.Code != wire.SessionGoawayTimeout || se.Remote {
				t.Errorf("%s: %v, want our own SessionError", name, call())
			}
		}
		uni.CancelWrite(wire.ResetSessionClosed)
		bidi.CancelRead(wire.ResetSessionClosed)
		bidi.Close()
	})
}
