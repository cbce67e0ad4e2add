package conformance_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestLife is about what others' relays have broken at in the long run. The
// numbers are the rows of the table of such bugs.
func TestLife(t *testing.T) {
	relayed := func(name string, f func(*testing.T, *net)) {
		t.Run(name, func(t *testing.T) { run(t, relay.Config{Grace: -1}, f) })
	}
	plain := func(name string, f func(*testing.T, *live)) {
		t.Run(name, func(t *testing.T) { through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, f) })
	}
	relayed("3_publishers_come_and_go", func(t *testing.T, n *net) {
		cycle := func(i int) {
			pub, sub := n.peer(), n.peer()
			pub.announce(cam)
			down := sub.subscribe(video, wire.Params{})
			_, up := pub.asked(t)
			up.Send(wire.SubscribeOK{TrackAlias: 1})
			message[wire.SubscribeOK](t, down, wire.TypeSubscribe)
			pub.OpenUni(header(1, uint64(i)), object(strings.Repeat("x", 10_000))).Close()
			sub.groups(t, 1)
			if i%2 == 0 {
				pub.cut()
				sub.cut()
			} else {
				_ = pub.Conn.CloseWithError(wire.SessionNoError, "")
				_ = sub.Conn.CloseWithError(wire.SessionNoError, "")
			}
			time.Sleep(time.Minute) // longer than anything lingers
			synctest.Wait()
		}
		heap := func() (m runtime.MemStats) {
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m
		}
		for i := range 20 {
			cycle(i)
		}
		before, goroutines := heap().HeapAlloc, runtime.NumGoroutine()
		for i := range 200 {
			cycle(i)
		}
		if now := runtime.NumGoroutine(); now > goroutines {
			t.Errorf("%d goroutines, %d before", now, goroutines)
		}
		if grown := int64(heap().HeapAlloc) - int64(before); grown > 200*2000 {
			t.Errorf("the heap grew by %d bytes in 200 cycles", grown)
		}
	})
	t.Run("5_sixteen_streams", func(t *testing.T) {
		run(t, relay.Config{}, func(t *testing.T, n *net) {
			pub := n.peer()
			sub := n.dial(moqttest.Config{UniStreams: 16}, wire.Setup{})
			pub.announce(cam)
			down := sub.subscribe(video, wire.Params{})
			_, up := pub.asked(t)
			up.Send(wire.SubscribeOK{TrackAlias: 1})
			message[wire.SubscribeOK](t, down, wire.TypeSubscribe)
			for g := range uint64(40) { // all open, and the peer reads none
				pub.OpenUni(header(1, g), object("x"))
				synctest.Wait()
			}
			var newest uint64
			for range 15 { // and the control stream
				st := sub.AcceptUni()
				st.Stop(wire.ResetCancelled) // the peer gives a stream back
				synctest.Wait()
			}
			for _, b := range sub.data(t) {
				h, _, err := wire.ParseSubgroupHeader([]byte(b))
				if err != nil {
					t.Fatal(err)
				}
				newest = max(newest, h.Group)
			}
			if newest != 39 {
				t.Errorf("the newest group that came is %d, want 39", newest)
			}
		})
	})
	plain("12_late_joiner_gets_the_current_group", func(t *testing.T, l *live) {
		for g := range uint64(30) {
			l.send(header(l.alias, g), object("x")).Close()
			l.sub.groups(t, 1)
		}
		l.send(header(l.alias, 30), object("a"))
		l.sub.AcceptUni()
		late := l.peer()
		message[wire.SubscribeOK](t, late.subscribe(video, wire.Params{}), wire.TypeSubscribe)
		late.AcceptUni().Expect(header(1, 30), object("a"))
		late.noData(t, "the groups before")
	})
	relayed("17_a_publisher_flaps", func(t *testing.T, n *net) {
		var subs []*peer
		for range 50 {
			sub := n.peer()
			sub.subscribe(video, wire.Params{RendezvousTimeout: ms(10_000)})
			subs = append(subs, sub)
		}
		for i := range 20 {
			pub := n.peer()
			pub.announce(cam)
			if i == 19 {
				_, up := pub.asked(t)
				up.Send(wire.SubscribeOK{TrackAlias: 1})
				pub.OpenUni(header(1, 1), object("x")).Close()
				break
			}
			time.Sleep(200 * time.Millisecond)
			pub.cut()
		}
		for i, sub := range subs {
			if got := sub.groups(t, 1)[0].payloads(); !slices.Equal(got, []string{"x"}) {
				t.Errorf("subscriber %d got %q", i, got)
			}
		}
	})
	relayed("18_a_silent_publisher", func(t *testing.T, n *net) {
		pub, sub := n.peer(), n.peer()
		pub.announce(cam)
		start := time.Now()
		down := sub.subscribe(video, wire.Params{})
		_, up := pub.asked(t)
		down.ExpectError(wire.RequestTimeout, wire.TypeSubscribe)
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("refused after %v, want 10s", took)
		}
		up.ExpectStop(wire.ResetCancelled)
	})
	plain("31_a_silent_track_stays", func(t *testing.T, l *live) {
		time.Sleep(time.Hour)
		l.send(header(l.alias, 1), object("x")).Close()
		l.sub.groups(t, 1)
	})
	plain("31_leave_and_join_again", func(t *testing.T, l *live) {
		viewer := l.peer()
		for range 1000 {
			st := viewer.subscribe(video, wire.Params{})
			message[wire.SubscribeOK](t, st, wire.TypeSubscribe)
			st.Stop(wire.ResetCancelled)
			st.Reset(wire.ResetCancelled)
			synctest.Wait()
		}
		message[wire.SubscribeOK](t, viewer.subscribe(video, wire.Params{}), wire.TypeSubscribe)
		l.send(header(l.alias, 1), object("x")).Close()
		l.sub.groups(t, 1)
		viewer.groups(t, 1)
	})
	plain("32_one_bad_object", func(t *testing.T, l *live) {
		other := l.sub.subscribe(audio, wire.Params{})
		_, up := l.pub.asked(t)
		up.Send(wire.SubscribeOK{TrackAlias: 10})
		message[wire.SubscribeOK](t, other, wire.TypeSubscribe)
		l.send(header(l.alias, 1), object("x"), objectOf(wire.ObjectHeader{Status: wire.ObjectEndOfGroup}, false, ""), object("y"))
		malformed(t, l)
		l.sub.data(t)
		l.send(header(10, 1), object("x")).Close()
		if got := l.sub.groups(t, 1)[0].payloads(); !slices.Equal(got, []string{"x"}) {
			t.Errorf("the other track brings %q", got)
		}
	})
	t.Run("41_gauges_return_to_zero", func(t *testing.T) {
		reg := prometheus.NewRegistry()
		cfg := relay.Config{Grace: -1, Registerer: reg, Session: moqt.Config{Registerer: reg}}
		run(t, cfg, func(t *testing.T, n *net) {
			for i := range 6 { // each way out
				pub, sub, watcher := n.peer(), n.peer(), n.peer()
				watcher.Open(wire.SubscribeNamespace{RequestID: watcher.id()}).Expect(wire.RequestOK{})
				space := pub.announce(cam)
				down := sub.subscribe(video, wire.Params{})
				_, up := pub.asked(t)
				up.Send(wire.SubscribeOK{TrackAlias: 1})
				message[wire.SubscribeOK](t, down, wire.TypeSubscribe)
				data := pub.OpenUni(header(1, 1), object("x"))
				sub.subscribe(wire.FullTrackName{Namespace: ns("nobody")}, wire.Params{RendezvousTimeout: ms(5000)})
				synctest.Wait()
				switch i {
				case 0:
					up.Send(wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: 1})
					up.Close()
					data.Close()
					space.Reset(wire.ResetCancelled)
				case 1:
					pub.cut()
				case 2:
					sub.cut()
				case 3:
					down.Stop(wire.ResetCancelled)
					down.Reset(wire.ResetCancelled)
				case 4:
					data.Send(objectOf(wire.ObjectHeader{Status: 9}, false, "")) // closes the publisher's session
				case 5:
					up.Reset(wire.ResetInternalError)
				}
				time.Sleep(time.Second)
				for _, p := range []*peer{pub, sub, watcher} {
					p.cut()
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				for name, v := range gauges(t, reg) {
					if v != 0 {
						t.Errorf("way out %d: %s is %v", i, name, v)
					}
				}
			}
		})
	})
}

// gauges returns the gauges of a registry.
func gauges(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for i, m := range f.GetMetric() {
			if g := m.GetGauge(); g != nil {
				out[fmt.Sprint(f.GetName(), i)] = g.GetValue()
			}
		}
	}
	if len(out) < 4 {
		t.Fatalf("gathered %d gauges", len(out))
	}
	return out
}
