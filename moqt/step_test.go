package moqt_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A still connection does not wait: what would, says so.
type still struct{ *moqttest.Conn }

type stillStream struct{ moqt.Stream }

type stillReceive struct{ moqt.ReceiveStream }

// past is a context that has ended, so that nothing waits for it.
var past = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func readNow(r moqt.ReceiveStream, p []byte) (int, error) {
	_ = r.SetReadDeadline(time.Unix(1, 0))
	n, err := r.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	if _, ok := errors.AsType[*moqt.StreamError](err); ok {
		return n, err
	}
	if _, ok := errors.AsType[*moqt.SessionError](err); ok {
		return n, err
	}
	return n, moqt.ErrWouldBlock
}

func (s stillStream) Read(p []byte) (int, error)     { return readNow(s.Stream, p) }
func (s stillReceive) Read(p []byte) (int, error)    { return readNow(s.ReceiveStream, p) }
func (stillStream) SetReadDeadline(time.Time) error  { return nil }
func (stillReceive) SetReadDeadline(time.Time) error { return nil }

func (c still) OpenStream(context.Context) (moqt.Stream, error) {
	st, err := c.Conn.OpenStream(past)
	if errors.Is(err, context.Canceled) {
		return nil, moqt.ErrStreamLimit
	}
	return stillStream{st}, err
}

func (c still) AcceptStream(context.Context) (moqt.Stream, error) {
	st, err := c.Conn.AcceptStream(past)
	return stillStream{st}, err
}

func (c still) AcceptUniStream(context.Context) (moqt.ReceiveStream, error) {
	st, err := c.Conn.AcceptUniStream(past)
	return stillReceive{st}, err
}

func (c still) ReceiveDatagram(context.Context) ([]byte, error) { return c.Conn.ReceiveDatagram(past) }

// TestStep runs two sessions by steps: one announces a track, the other is told
// so, and each object arrives in the step after it was written.
func TestStep(t *testing.T) {
	a, b := moqttest.Pair(moqttest.Config{})
	client, server := still{a}, still{b}
	now := time.Unix(1000, 0)
	cfg := moqt.Config{TrackConfig: track.Config{Now: func() time.Time { return now }}}
	name := track.Name{Namespace: track.MustNamespace("live"), Name: "video"}
	live := track.New(name, track.Info{}, cfg.TrackConfig)
	h := &steps{live: live}
	viewer, err := moqt.NewSession(client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	scfg := cfg
	scfg.Handler = h
	publisher, err := moqt.NewSession(server, scfg)
	if err != nil {
		t.Fatal(err)
	}
	step := func() {
		for range 20 {
			for _, s := range []*moqt.Session{viewer, publisher} {
				if _, err := s.Step(now); err != nil {
					return
				}
			}
		}
	}
	step()
	select {
	case <-viewer.Ready():
	default:
		t.Fatal("no SETUP after the first steps")
	}
	// The stub that asks is a request of its own stream, as a peer would make it.
	st, err := client.OpenStream(past)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.TryWrite(moqttest.Bytes(wire.Subscribe{Track: name})); err != nil {
		t.Fatal(err)
	}
	step()
	if h.asked == nil {
		t.Fatal("SUBSCRIBE was not handed to the handler")
	}
	w, err := live.Subgroup(track.SubgroupHeader{FirstObject: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteObject(track.Object{Payload: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	if !publisher.Pending() {
		t.Error("Pending() = false after a write to a track that is sent")
	}
	next, err := publisher.Step(now)
	if err != nil {
		t.Fatal(err)
	}
	if publisher.Pending() {
		t.Errorf("Pending() = true after Step, which wants to be called at %v", next)
	}
	if got := a.Stats().BytesReceived; got == 0 {
		t.Error("nothing was sent")
	}

	// The peer stops reading: the request ends, and OnEnd says so in order.
	st.CancelWrite(wire.ResetCancelled)
	step()
	if h.ended == nil {
		t.Error("OnEnd was not called when the subscriber cancelled")
	}
	viewer.Close(wire.SessionNoError, "")
	if _, err := viewer.Step(now); err == nil {
		t.Error("Step of a closed session succeeds")
	}
	step()
	if _, err := publisher.Step(now); err == nil {
		t.Error("Step of a session whose peer has left succeeds")
	}
}

// TestStepTimeout steps a session whose peer is silent.
func TestStepTimeout(t *testing.T) {
	a, _ := moqttest.Pair(moqttest.Config{})
	s, err := moqt.NewSession(still{a}, moqt.Config{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1000, 0)
	now := start
	for range 100 {
		next, err := s.Step(now)
		if err != nil {
			se, ok := errors.AsType[*moqt.SessionError](err)
			if !ok || se.Code != wire.SessionControlMessageTimeout || now.Sub(start) != 5*time.Second {
				t.Errorf("Step = %v after %v, want a timeout after 5s", err, now.Sub(start))
			}
			return
		}
		if !next.After(now) {
			t.Fatalf("Step at %v wants to be called at %v", now, next)
		}
		now = next
	}
	t.Error("the session never gives up")
}

type steps struct {
	moqt.Handler
	live  *track.Track
	asked *moqt.SubscribeRequest
	ended error
}

func (h *steps) HandleSubscribe(r *moqt.SubscribeRequest) {
	h.asked = r
	r.OnEnd(func(cause error) { h.ended = cause })
	r.Accept(h.live)
}
