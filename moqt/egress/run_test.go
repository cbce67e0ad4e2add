package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// runEgress runs a scheduler on conn until the test ends.
func runEgress(t testing.TB, conn *fakeOut, metrics *Metrics) (e *Scheduler, stop func() error) {
	e = New(conn, Config{}, slog.New(slog.DiscardHandler), metrics)
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel(errStopped)
		return <-ended
	})
	t.Cleanup(func() { stop() })
	return e, stop
}

var errStopped = errors.New("the test stops it")

func subTo(tr *track.Track) Sub {
	return Sub{
		Alias: 1, Track: tr, Start: tr.Resolve(track.CurrentGroup), EndGroup: openEnd,
		Priority: track.DefaultPriority, Order: track.Ascending, Forward: true,
		OnDone: func(wire.PublishDoneCode, string, uint64) {},
	}
}

// TestRunIsWoken writes one object at a time and checks that each is with
// the transport as soon as everything else sleeps, with no time passing.
func TestRunIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newFakeOut()
		reg := prometheus.NewRegistry()
		metrics := NewMetrics(reg)
		NewMetrics(reg) // another session on the same registry
		e, stop := runEgress(t, conn, metrics)
		tr := track.New(track.Name{Name: "video"}, track.Info{}, track.Config{})
		done := make(chan string, 1)
		sub := subTo(tr)
		sub.OnDone = func(code wire.PublishDoneCode, reason string, streams uint64) {
			done <- fmt.Sprint(code, " ", reason, " ", streams)
		}
		e.Add(sub)
		start := time.Now()
		for g := range uint64(3) {
			w := subgroup(t, tr, g, 0)
			for id := range uint64(50) {
				objects(t, w, id, id, 100)
				synctest.Wait()
				conn.mu.Lock()
				got := len(conn.streams[g].parse(t).ids)
				conn.mu.Unlock()
				if got != int(id)+1 {
					t.Fatalf("group %d: %d objects were written, want %d", g, got, id+1)
				}
			}
			finish(t, w)
		}
		tr.End(track.DoneTrackEnded, "over")
		if got, want := <-done, "TRACK_ENDED over 3"; got != want {
			t.Errorf("done with %q, want %q", got, want)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v of time", d)
		}
		if err := stop(); !errors.Is(err, errStopped) {
			t.Errorf("run = %v", err)
		}
		if got := testutil.ToFloat64(metrics.opened); got != 3 {
			t.Errorf("%v streams counted, want 3", got)
		}
		if got, want := testutil.ToFloat64(metrics.bytes), float64(3*(3+50*102)); got < want-10 || got > want+150 {
			t.Errorf("%v bytes counted, want about %v", got, want)
		}
	})
}

// TestRunRetries gives credit while run sleeps: it comes back on its own,
// and not before there is something to come back for.
func TestRunRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newFakeOut()
		conn.slots = 0
		e, _ := runEgress(t, conn, nil)
		tr := track.New(track.Name{Name: "video"}, track.Info{}, track.Config{})
		wholeGroup(t, tr, 0, 1, 10)
		h := e.Add(subTo(tr))
		time.Sleep(time.Second)
		conn.mu.Lock()
		conn.slots = 1
		conn.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		expect(t, "streams", []string{conn.streams[0].parse(t).String()}, "0/0 0..0 first FIN")
		h.Remove(wire.ResetCancelled)
		synctest.Wait()
		if n := len(e.core.subs); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
}

// TestRunEnds says how run ends, and that it leaves nothing behind.
func TestRunEnds(t *testing.T) {
	lost := errors.New("lost")
	for _, tt := range []struct {
		name string
		end  func(conn *fakeOut, stop func() error)
		want error
	}{
		{"its context ends", func(_ *fakeOut, stop func() error) { go stop() }, errStopped},
		{"the connection ends", func(conn *fakeOut, _ func() error) { conn.end(lost) }, lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := newFakeOut()
				e := New(conn, Config{}, nil, nil)
				ctx, cancel := context.WithCancelCause(context.Background())
				ended := make(chan error, 1)
				go func() { ended <- e.Run(ctx) }()
				tr := track.New(track.Name{Name: "video"}, track.Info{}, track.Config{})
				var detached atomic.Int32
				objects(t, subgroup(t, tr, 0, 0), 0, 0, 10)
				h := e.Add(subTo(tr))
				synctest.Wait()
				detach := h.sub.detach
				h.sub.detach = func() { detached.Add(1); detach() }
				tt.end(conn, func() error { cancel(errStopped); return nil })
				if err := <-ended; !errors.Is(err, tt.want) {
					t.Errorf("run = %v, want %v", err, tt.want)
				}
				expect(t, "streams", []string{conn.streams[0].parse(t).String()}, "0/0 0..0 first SESSION_CLOSED")
				if detached.Load() != 1 {
					t.Error("the track still has the egress as a notifier")
				}
				// What comes too late has no effect.
				late := e.Add(subTo(tr))
				late.Update(Sub{})
				late.Remove(wire.ResetCancelled)
				if len(e.calls) != 0 {
					t.Errorf("%d calls wait for nobody", len(e.calls))
				}
			})
		})
	}
}

// TestRace has writers, subscribers that come and go, and a connection
// whose limits change, all at once. It is for the race detector, and checks that
// each subscription is done once and each stream is a prefix of its log.
func TestRace(t *testing.T) {
	conn := newFakeOut()
	conn.window = 100_000
	e, stop := runEgress(t, conn, NewMetrics(nil))
	var writers, subscribers sync.WaitGroup
	var added, done atomic.Int64
	for range 4 {
		tr := track.New(track.Name{Name: "video"}, track.Info{}, track.Config{MaxGroups: 4})
		writers.Go(func() {
			for g := range uint64(40) {
				w := subgroup(t, tr, g, 0)
				objects(t, w, 0, 19, 700)
				if g%7 == 3 {
					w.Abort(wire.ResetInternalError)
				} else {
					finish(t, w)
				}
			}
			tr.End(track.DoneTrackEnded, "")
		})
		subscribers.Go(func() {
			for i := range 30 {
				sub := subTo(tr)
				sub.OnDone = func(wire.PublishDoneCode, string, uint64) { done.Add(1) }
				added.Add(1)
				h := e.Add(sub)
				u := sub
				u.Priority = uint8(i)
				u.Forward = i%3 > 0
				h.Update(u)
				if i%2 == 0 {
					h.Remove(wire.ResetCancelled)
				}
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	writers.Wait()
	subscribers.Wait()
	for deadline := time.Now().Add(10 * time.Second); done.Load() < added.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d subscriptions are done", done.Load(), added.Load())
		}
	}
	stop()
	if done.Load() != added.Load() {
		t.Errorf("%d subscriptions are done, %d were added", done.Load(), added.Load())
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	for _, s := range conn.streams {
		p := s.parse(t)
		for i, id := range p.ids {
			if id != uint64(i) {
				t.Fatalf("stream %v has object %d at place %d", p, id, i)
			}
		}
		if p.end == "FIN" && len(p.ids) != 20 || p.end == "" {
			t.Fatalf("stream %v", p)
		}
	}
}
