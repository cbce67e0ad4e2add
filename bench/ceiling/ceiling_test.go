package ceiling

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errOver = errors.New("over")

// serve runs a server for the test and returns its address.
func serve(t *testing.T) (s *Server, addr string) {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s = new(Server)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, pc) }()
	t.Cleanup(func() {
		cancel(errOver)
		if err := <-done; !errors.Is(err, errOver) {
			t.Errorf("Serve: %v, want %v", err, errOver)
		}
		pc.Close()
	})
	return s, pc.LocalAddr().String()
}

// received collects payloads as texts.
type received struct {
	mu    sync.Mutex
	count map[string]int
	each  chan struct{} // a value for each payload
}

func (r *received) got(p []byte) {
	r.mu.Lock()
	r.count[string(p)]++
	r.mu.Unlock()
	r.each <- struct{}{}
}

// object is what the tests send: of every size that is cut differently.
func object(track uint8, group uint64, i int) []byte {
	size := []int{0, 1, 4096, pieceSize, pieceSize + 1, 3*pieceSize + 7}[i%6]
	head := fmt.Sprintf("%d/%d/%d:", track, group, i)
	return append([]byte(head), bytes.Repeat([]byte{byte(i)}, size)...)
}

// TestFanOut sends two tracks, two groups of each open at a time, to three
// viewers, and each gets every byte once.
func TestFanOut(t *testing.T) {
	const viewers, groups, objects = 3, 4, 12
	s, addr := serve(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("too slow"))
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	var all []*received
	for range viewers {
		v, err := DialViewer(ctx, addr)
		if err != nil {
			t.Fatal(err)
		}
		r := &received{count: make(map[string]int), each: make(chan struct{}, 1000)}
		all = append(all, r)
		wg.Go(func() { _ = v.Run(ctx, r.got) })
	}
	if n := s.Viewers(); n != viewers {
		t.Errorf("Viewers() = %d, want %d", n, viewers)
	}
	p, err := DialPublisher(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want := make(map[string]bool)
	for track := range uint8(2) {
		wg.Go(func() {
			for pair := uint64(0); pair < groups; pair += 2 {
				send(t, p, track, pair, objects)
			}
		})
		for g := range uint64(groups) {
			for i := range objects {
				want[string(object(track, g, i))] = true
			}
		}
	}
	for i, r := range all {
		for range len(want) {
			select {
			case <-r.each:
			case <-ctx.Done():
				t.Fatalf("viewer %d has %d of %d objects", i, len(r.count), len(want))
			}
		}
		r.mu.Lock()
		for text, n := range r.count {
			if !want[text] || n != 1 {
				t.Errorf("viewer %d got %.20q… of %d bytes %d times", i, text, len(text), n)
			}
		}
		r.mu.Unlock()
	}
	cancel()
}

// send sends groups g and g+1 of track side by side.
func send(t *testing.T, p *Publisher, track uint8, g uint64, objects int) {
	var w [2]*GroupWriter
	for k := range w {
		var err error
		if w[k], err = p.Group(track, g+uint64(k)); err != nil {
			t.Error(err)
			return
		}
	}
	for i := range objects {
		for k := range w {
			if err := w[k].WriteObject(object(track, g+uint64(k), i)); err != nil {
				t.Error(err)
			}
		}
	}
	for k := range w {
		if err := w[k].Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSlowViewer lets one viewer read nothing: what waits for it is bounded, and
// the other gets everything.
func TestSlowViewer(t *testing.T) {
	const groups, size = 150, 32 << 10 // 10 MB, and more pieces than a lane takes
	_, addr := serve(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errors.New("too slow"))
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	slow, err := DialViewer(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	stuck := make(chan struct{})
	defer close(stuck)
	first := make(chan struct{}, 10*groups)
	wg.Go(func() { _ = slow.Run(ctx, func([]byte) { first <- struct{}{}; <-stuck }) })
	fast, err := DialViewer(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &received{count: make(map[string]int), each: make(chan struct{}, 10*groups)}
	wg.Go(func() { _ = fast.Run(ctx, r.got) })
	p, err := DialPublisher(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for g := range uint64(groups) {
		w, err := p.Group(0, g)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := w.WriteObject(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			select {
			case <-r.each:
			case <-ctx.Done():
				t.Fatalf("the fast viewer waits in group %d", g)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(first); n == 0 || n >= groups {
		t.Errorf("the slow viewer has begun %d groups of %d, want some and not all", n, groups)
	}
	cancel()
}

// TestCutGroup ends the publisher inside a group: viewers do not take it for
// complete, and what was whole has come.
func TestCutGroup(t *testing.T) {
	_, addr := serve(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("too slow"))
	defer cancel()
	v, err := DialViewer(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	p, err := DialPublisher(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.Group(1, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteObject([]byte("whole")); err != nil {
		t.Fatal(err)
	}
	in, err := v.qc.AcceptUniStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, headerSize+lengthSize+5)
	for n := 0; n < len(buf); {
		k, err := in.Read(buf[n:])
		if n += k; err != nil {
			t.Fatal(err)
		}
	}
	if want := append(appendHeader(nil, 1, 7), "\x00\x00\x00\x05whole"...); !bytes.Equal(buf, want) {
		t.Errorf("got %x, want %x", buf, want)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := in.Read(buf); n > 0 || err == nil || err.Error() == "EOF" {
		t.Errorf("behind the cut: %d bytes, %v, want a reset", n, err)
	}
}
