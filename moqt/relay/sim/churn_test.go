package sim_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

var cycles = flag.Int("churn.cycles", defaultCycles, "how many viewers come and go")

// TestChurn has viewers connect, subscribe, read and leave, one after the other,
// in all ways of leaving. What each has cost is gone when it is gone.
func TestChurn(t *testing.T) {
	c := newChurn(t)
	c.cycle(t, 100) // what is made once
	goroutines, objects := weigh()
	open := c.gauges(t)
	for done := 0; done < *cycles; {
		n := min(*cycles-done, 10_000)
		c.cycle(t, n)
		done += n
		g, o := weigh()
		if *cycles > 10_000 {
			t.Logf("%d cycles: %d goroutines, %d heap objects", done, g, o)
		}
		if now := c.gauges(t); !maps.Equal(now, open) {
			t.Fatalf("after %d cycles the gauges are\n%v, before\n%v", done, now, open)
		}
		if g > goroutines {
			t.Fatalf("%d goroutines after %d cycles, %d before", g, done, goroutines)
		}
		// The runtime's own come and go. A leak is one object per cycle at least.
		if grown := o - objects; grown > 500 && grown > n/4 {
			t.Fatalf("%d heap objects more after %d cycles", grown, done)
		}
	}
	c.end(t)
}

// weigh counts the goroutines and the objects in the heap. What is on its way out
// has a moment to go.
func weigh() (goroutines, objects int) {
	goroutines = runtime.NumGoroutine()
	for range 50 {
		runtime.GC()
		time.Sleep(time.Millisecond) // nothing tells that a finaliser has run
		goroutines = min(goroutines, runtime.NumGoroutine())
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return goroutines, int(m.HeapObjects)
}

// A churn is a relay with a publisher.
type churn struct {
	registry  *prometheus.Registry
	relay     *relay.Relay
	cfg       moqt.Config
	name      track.Name
	publisher *moqt.Session
	stop      []func()
}

func newChurn(t *testing.T) *churn {
	t.Helper()
	c := &churn{registry: prometheus.NewRegistry(), name: track.Name{Namespace: track.MustNamespace("live", "cam"), Name: "video"}}
	var err error
	c.cfg.Registerer = prometheus.NewRegistry()
	if c.relay, err = relay.New(relay.Config{Registerer: c.registry, Grace: 50 * time.Millisecond, Session: moqt.Config{Registerer: c.registry}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.relay.Run(ctx) // which ends with ctx
	}()
	c.stop = append(c.stop, func() {
		cancel()
		<-done
	})
	live := track.New(c.name, track.Info{}, track.Config{})
	w, err := live.Subgroup(track.SubgroupHeader{FirstObject: true})
	if err != nil {
		t.Fatal(err)
	}
	for id := range uint64(3) {
		if err := w.WriteObject(track.Object{ID: id, Payload: []byte("a picture")}); err != nil {
			t.Fatal(err)
		}
	}
	var leave func(int)
	c.publisher, leave = c.connect(t)
	if _, err := c.publisher.Announce(t.Context(), c.name.Namespace, single{live}); err != nil {
		t.Fatal(err)
	}
	c.stop = append(c.stop, func() { leave(0) })
	return c
}

// single is a source of one track.
type single struct{ t *track.Track }

func (s single) Track(name string) (*track.Track, bool) { return s.t, name == s.t.Name().Name }

// connect makes a session with the relay. leave ends it in one of several ways.
func (c *churn) connect(t *testing.T) (s *moqt.Session, leave func(way int)) {
	t.Helper()
	client, server := moqttest.Pair(moqttest.Config{})
	served, ran := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(served)
		_ = c.relay.Serve(context.Background(), server) // how it ends, leave says
	}()
	s, err := moqt.NewSession(client, c.cfg)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(ran)
		_ = s.Run(ctx)
	}()
	return s, func(way int) {
		switch way % 4 {
		case 0:
			s.Close(wire.SessionNoError, "")
		case 1:
			cancel()
		case 2:
			client.Cut()
		case 3:
			s.Close(wire.SessionProtocolViolation, "no reason")
		}
		<-ran
		<-served
		cancel()
	}
}

// cycle has n viewers come and go.
func (c *churn) cycle(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		s, leave := c.connect(t)
		sub, err := s.Subscribe(t.Context(), c.name, track.SubscribeOptions{})
		if err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		if i%2 == 0 {
			g, err := sub.Track().NewReader(track.CurrentGroup).NextGroup(t.Context())
			if err != nil {
				t.Fatalf("cycle %d: %v", i, err)
			}
			if _, err := g.Next(t.Context()); err != nil {
				t.Fatalf("cycle %d: %v", i, err)
			}
		}
		if i%3 == 0 {
			sub.Close()
		}
		leave(i)
		if _, err := s.Subscribe(t.Context(), c.name, track.SubscribeOptions{}); err == nil {
			t.Fatalf("cycle %d: Subscribe on a session that is over succeeds", i) // I16
		} else if _, ok := errors.AsType[*moqt.SessionError](err); !ok {
			t.Fatalf("cycle %d: Subscribe on a session that is over: %v", i, err)
		}
	}
}

// gauges returns what every gauge of the relay, of its sessions and of the
// viewers' says, by name and labels. What is on its way out has a moment to go.
func (c *churn) gauges(t *testing.T) map[string]float64 {
	t.Helper()
	all := make(map[string]float64)
	for side, reg := range map[string]prometheus.Gatherer{"relay": c.registry, "client": c.cfg.Registerer.(prometheus.Gatherer)} {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if m.GetGauge() != nil {
					all[fmt.Sprint(side, " ", f.GetName(), m.GetLabel())] = m.GetGauge().GetValue()
				}
			}
		}
	}
	if len(all) < 15 {
		t.Fatalf("only %d gauges: %v", len(all), all)
	}
	return all
}

// end ends the rest, and holds that every gauge is at zero again and all sessions
// that were opened were closed.
func (c *churn) end(t *testing.T) {
	t.Helper()
	if got := c.gauges(t)["relay broadcastd_relay_sessions[]"]; got != 1 {
		t.Errorf("%v sessions while only the publisher is there, want 1", got)
	}
	c.stop[1]() // the publisher leaves; its tracks outlive it by Grace
	for range 1000 {
		if n := c.gauges(t); n["relay broadcastd_relay_namespaces[]"]+n["relay broadcastd_relay_upstream_tracks[]"] == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond) // nothing tells
	}
	c.stop[0]()
	for name, n := range c.gauges(t) {
		if n != 0 {
			t.Errorf("%s is %v at the end", name, n)
		}
	}
	for side, reg := range map[string]prometheus.Gatherer{"relay": c.registry, "client": c.cfg.Registerer.(prometheus.Gatherer)} {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		sums := make(map[string]float64)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				sums[f.GetName()] += m.GetCounter().GetValue()
			}
		}
		if opened, closed := sums["broadcastd_moqt_sessions_opened_total"], sums["broadcastd_moqt_sessions_closed_total"]; opened != closed || opened < float64(*cycles) {
			t.Errorf("%s: %v sessions opened, %v closed", side, opened, closed)
		}
	}
}
