package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A bottleneck is a simulated network: each direction has a rate, a drop-tail
// queue, a delay and, if wanted, periodic loss.
type bottleneck struct {
	simnet.PerfectRouter
	rate  int // bytes per second
	queue int // bytes
	delay time.Duration

	mu    sync.Mutex
	free  map[string]time.Time // when the link towards an address is idle again
	count int
	lose  int // every how many packets one is lost; 0: none
	cut   bool
	loss  float64 // the part of all packets that is lost at random
	rnd   *rand.Rand

	clients int
}

func (b *bottleneck) SendPacket(p simnet.Packet) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	if b.cut || b.lose > 0 && b.count%b.lose == 0 || b.loss > 0 && b.rnd.Float64() < b.loss {
		return nil
	}
	now := time.Now()
	at := b.free[p.To.String()]
	if at.Before(now) {
		at = now
	}
	if at.Sub(now) > time.Duration(b.queue)*time.Second/time.Duration(b.rate) {
		return nil
	}
	at = at.Add(time.Duration(len(p.Data)) * time.Second / time.Duration(b.rate))
	b.free[p.To.String()] = at
	time.AfterFunc(at.Add(b.delay).Sub(now), func() { _ = b.PerfectRouter.SendPacket(p) })
	return nil
}

func (b *bottleneck) set(lose int, cut bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lose, b.cut = lose, cut
}

// newBottleneck makes a network whose links carry rate bytes per second, queue
// at most queue bytes and take delay one way.
func newBottleneck(rate, queue int, delay time.Duration) *bottleneck {
	return &bottleneck{
		rate: rate, queue: queue, delay: delay,
		free: map[string]time.Time{}, rnd: rand.New(rand.NewPCG(1, 2)),
	}
}

// serverAddr is where a bottleneck has its server.
var serverAddr = &net.UDPAddr{IP: net.IPv4(1, 0, 0, 2), Port: 4443}

// serve runs a Server on b until the test ends.
func (b *bottleneck) serve(t *testing.T, cfg Config) *env {
	conn := simnet.NewBlockingSimConn(serverAddr, b)
	b.AddNode(serverAddr, conn)
	return startOn(t, cfg, conn)
}

// dial connects another client to b's server.
func (b *bottleneck) dial(t *testing.T, scheme string, cfg *quic.Config) moqt.Conn {
	t.Helper()
	b.mu.Lock()
	b.clients++
	addr := &net.UDPAddr{IP: net.IPv4(1, 1, byte(b.clients>>8), byte(b.clients)), Port: 1234}
	b.mu.Unlock()
	pc := simnet.NewBlockingSimConn(addr, b)
	b.AddNode(addr, pc)
	tr := &quic.Transport{Conn: pc}
	t.Cleanup(func() { tr.Close(); pc.Close() })

	target, err := parseTarget(scheme + "://relay.example:4443/")
	if err != nil {
		t.Fatal(err)
	}
	alpn := Protocols()
	if target.webTransport {
		alpn = []string{"h3"}
	}
	qc, err := tr.Dial(t.Context(), serverAddr, clientTLS(DialConfig{Insecure: true}, "relay.example", alpn...), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !target.webTransport {
		return newQUICConn(qc, true)
	}
	client, err := connect(t.Context(), qc, target, Protocols(), false)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// simulate runs f in a bubble, on each transport, with a pair over a network of
// 8 Mbit/s, 40 ms round trip and a queue of 400 KB.
func simulate(t *testing.T, f func(t *testing.T, b *bottleneck, client, server moqt.Conn)) {
	for _, scheme := range []string{"moqt", "https"} {
		t.Run(scheme, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBottleneck(1e6, 400e3, 20*time.Millisecond)
				e := b.serve(t, Config{})
				client := b.dial(t, scheme, quicConfig())
				server := e.accepted()
				f(t, b, client, server)
				client.CloseWithError(0, "")
				<-server.Context().Done()
			})
		})
	}
}

// TestPriority lets a stream of urgency 0 come after a window full of urgency 7.
func TestPriority(t *testing.T) {
	simulate(t, func(t *testing.T, b *bottleneck, client, server moqt.Conn) {
		const lowSize, highSize = 256 << 10, 64 << 10
		low := mustOpen(t, server)
		low.SetPriority(7, false)
		for range lowSize >> 14 {
			if err := low.TryWrite(make([]byte, 1<<14)); err != nil {
				t.Fatal(err)
			}
		}
		low.Close()
		time.Sleep(time.Millisecond) // the first congestion window, 41 KB, has left
		high := mustOpen(t, server)
		high.SetPriority(0, true)
		if err := high.TryWrite(make([]byte, highSize)); err != nil {
			t.Fatal(err)
		}
		high.Close()
		began := time.Now()

		lowIn, err := client.AcceptUniStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var lowGot int
		lowDone := make(chan struct{})
		var mu sync.Mutex
		go func() {
			defer close(lowDone)
			buf := make([]byte, 4096)
			for {
				n, err := lowIn.Read(buf)
				mu.Lock()
				lowGot += n
				mu.Unlock()
				if err != nil {
					return
				}
			}
		}()
		received := func() int {
			mu.Lock()
			defer mu.Unlock()
			return lowGot
		}
		highIn, err := client.AcceptUniStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(highIn); err != nil || len(got) != highSize {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		took, meanwhile := time.Since(began), received()
		<-lowDone
		if received() != lowSize {
			t.Errorf("the low stream carried %d bytes, want %d", received(), lowSize)
		}
		t.Logf("%d KB of urgency 0 took %v, %d KB of urgency 7 passed meanwhile", highSize>>10, took, meanwhile>>10)
		// What has left cannot be overtaken. Taking turns would let as much again
		// pass as there is of urgency 0.
		if meanwhile > 48<<10 {
			t.Errorf("%d bytes of urgency 7 arrived before %d of urgency 0", meanwhile, highSize)
		}
	})
}

func mustOpen(t *testing.T, c moqt.Conn) moqt.SendStream {
	t.Helper()
	str, err := c.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	return str
}

// TestReliableBoundaryUnderLoss loses every fourth packet.
func TestReliableBoundaryUnderLoss(t *testing.T) {
	simulate(t, func(t *testing.T, b *bottleneck, client, server moqt.Conn) {
		const streams = 50
		b.set(4, false)
		header := []byte("subgroup header")
		for range streams {
			str := mustOpen(t, server)
			if err := str.TryWrite(header); err != nil {
				t.Fatal(err)
			}
			str.SetReliableBoundary()
			if err := str.TryWrite(make([]byte, 3000)); err != nil {
				t.Fatal(err)
			}
			str.CancelWrite(wire.ResetTooFarBehind)
		}
		for range streams {
			in, err := client.AcceptUniStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(in)
			checkStreamError(t, "Read", err, wire.ResetTooFarBehind, true)
			if !bytes.HasPrefix(got, header) {
				t.Errorf("received %q before the reset, want %q first", got, header)
			}
		}
		b.set(0, false)
	})
}

// TestLinkLost cuts the network. Both ends notice within the idle timeout.
func TestLinkLost(t *testing.T) {
	simulate(t, func(t *testing.T, b *bottleneck, client, server moqt.Conn) {
		time.Sleep(time.Minute) // keep-alives hold it
		if client.Context().Err() != nil || server.Context().Err() != nil {
			t.Fatalf("ended while idle: %v, %v", context.Cause(client.Context()), context.Cause(server.Context()))
		}
		b.set(0, true)
		began := time.Now()
		for _, c := range []moqt.Conn{client, server} {
			_, err := c.AcceptUniStream(t.Context())
			se, ok := errors.AsType[*moqt.SessionError](err)
			if !ok || se.Remote || !errors.As(err, new(*quic.IdleTimeoutError)) {
				t.Errorf("AcceptUniStream: %v, want a SessionError for the idle timeout", err)
			}
			if cause := context.Cause(c.Context()); !errors.Is(cause, err) {
				t.Errorf("the context ended with %v, AcceptUniStream with %v", cause, err)
			}
		}
		if d := time.Since(began); d > idleTimeout+keepAlive {
			t.Errorf("it took %v to notice", d)
		}
	})
}

// TestLinger checks that a server which closes a session keeps the connection up
// for what was written last, under loss, unless the client goes first.
func TestLinger(t *testing.T) {
	simulate(t, func(t *testing.T, b *bottleneck, client, server moqt.Conn) {
		c, ok := server.(*wtConn)
		if !ok {
			return // raw QUIC ends with CONNECTION_CLOSE, which nothing survives
		}
		b.set(0, true) // the client cannot answer
		began := time.Now()
		server.CloseWithError(wire.SessionUnauthorized, "expired")
		if d := time.Since(began); d != 0 {
			t.Errorf("CloseWithError took %v at the server", d)
		}
		<-c.qc.Context().Done()
		if d := time.Since(began); d != closeDelay+closeAnswer+closeLinger {
			t.Errorf("the connection stayed up for %v, want %v", d, closeDelay+closeAnswer+closeLinger)
		}
	})
	simulate(t, func(t *testing.T, b *bottleneck, client, server moqt.Conn) {
		if _, ok := server.(*wtConn); !ok {
			return
		}
		b.set(0, true) // until the capsule has been lost, and closeLinger is over
		server.CloseWithError(wire.SessionUnauthorized, "expired")
		time.Sleep(closeDelay + closeLinger + 50*time.Millisecond)
		b.set(0, false)
		checkClosed(t, client, wire.SessionUnauthorized, "expired", true)
	})
	simulate(t, func(t *testing.T, b *bottleneck, client, server moqt.Conn) {
		if _, ok := server.(*wtConn); !ok {
			return
		}
		req, err := client.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := req.Write([]byte("request")); err != nil {
			t.Fatal(err)
		}
		rsp, err := server.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b.set(3, false)
		if err := rsp.TryWrite([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		server.CloseWithError(wire.SessionUnauthorized, "expired")
		rsp.CancelWrite(wire.ResetSessionClosed) // as a session may on its way out
		answer := make([]byte, 6)
		if _, err := io.ReadFull(req, answer); err != nil || string(answer) != "answer" {
			t.Errorf("the last answer arrived as %q, %v", answer, err)
		}
		checkClosed(t, client, wire.SessionUnauthorized, "expired", true)
		b.set(0, false)
	})
}
