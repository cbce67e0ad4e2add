package conformance_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestTimeouts is about what is too late to be sent (sections 8 and 12.3).
func TestTimeouts(t *testing.T) {
	// slow runs f with a subscriber that takes 1000 bytes a stream unread.
	slow := func(name string, props wire.Properties, params wire.Params, f func(*testing.T, *live)) {
		t.Run(name, func(t *testing.T) {
			run(t, relay.Config{}, func(t *testing.T, n *net) {
				l := &live{net: n, pub: n.peer(), sub: n.dial(moqttest.Config{Window: 1000}, wire.Setup{}), alias: upstreamAlias, relayed: 1}
				l.pub.announce(cam)
				l.down = l.sub.subscribe(video, params)
				_, l.up = l.pub.asked(t)
				l.up.Send(wire.SubscribeOK{TrackAlias: upstreamAlias, Properties: props})
				l.relayed = message[wire.SubscribeOK](t, l.down, wire.TypeSubscribe).TrackAlias
				f(t, l)
			})
		})
	}
	large := object(strings.Repeat("x", 5000))
	// expires checks that what is sent of group 1 is reset after d, that nothing
	// more of its subgroup comes, and that the next group does.
	expires := func(d time.Duration) func(*testing.T, *live) {
		return func(t *testing.T, l *live) {
			st := l.send(header(l.alias, 1), large)
			down := l.sub.AcceptUni()
			time.Sleep(d - time.Millisecond)
			select {
			case <-l.sub.Conn.Context().Done():
				t.Fatal("the session ended")
			default:
			}
			time.Sleep(100 * time.Millisecond)
			down.ExpectReset(wire.ResetDeliveryTimeout)
			st.Send(object("more"))
			l.sub.noData(t, "the rest of the subgroup")
			l.send(header(l.alias, 2), object("next")).Close()
			if g := l.sub.groups(t, 1)[0]; !slices.Equal(g.payloads(), []string{"next"}) || g.err != nil {
				t.Errorf("got %+v", g)
			}
			silent(t, "the subscription goes on", l.down)
		}
	}
	timeout := func(objects, subgroups uint64) wire.Properties {
		return wire.NewProperties(wire.KeyValue{Type: wire.PropObjectDeliveryTimeout, Uint: objects}, wire.KeyValue{Type: wire.PropSubgroupDeliveryTimeout, Uint: subgroups})
	}
	slow("8_object", nil, wire.Params{ObjectDeliveryTimeout: ms(500)}, expires(500*time.Millisecond))
	slow("8_object_of_the_track", timeout(300, 0), wire.Params{}, expires(300*time.Millisecond))
	slow("8_object_the_shorter_one", timeout(300, 0), wire.Params{ObjectDeliveryTimeout: ms(800)}, expires(300*time.Millisecond))
	slow("8_object_zero_is_none", timeout(300, 0), wire.Params{ObjectDeliveryTimeout: ms(0)}, expires(300*time.Millisecond))
	slow("8_object_in_time", nil, wire.Params{ObjectDeliveryTimeout: ms(500)}, func(t *testing.T, l *live) {
		l.send(header(l.alias, 1), large).Close()
		down := l.sub.AcceptUni()
		time.Sleep(400 * time.Millisecond)
		if g := read(t, down); len(g.objects) != 1 || g.err != nil {
			t.Errorf("got %d objects, %v", len(g.objects), g.err)
		}
	})
	slow("8_subgroup", nil, wire.Params{SubgroupDeliveryTimeout: ms(500)}, func(t *testing.T, l *live) {
		st := l.send(header(l.alias, 1), large)
		down := l.sub.AcceptUni()
		time.Sleep(time.Second) // it does not run yet
		st.Close()
		time.Sleep(400 * time.Millisecond)
		down.Expect(header(l.relayed, 1), large[:500])
		time.Sleep(200 * time.Millisecond)
		down.ExpectReset(wire.ResetDeliveryTimeout)
	})
	slow("8_none", nil, wire.Params{}, func(t *testing.T, l *live) {
		l.send(header(l.alias, 1), large).Close()
		down := l.sub.AcceptUni()
		time.Sleep(2 * time.Second)
		if g := read(t, down); len(g.objects) != 1 || g.err != nil {
			t.Errorf("got %d objects, %v", len(g.objects), g.err)
		}
	})
	t.Run("12.3_max_cache_duration", func(t *testing.T) {
		props := wire.NewProperties(wire.KeyValue{Type: wire.PropMaxCacheDuration, Uint: 1000})
		through(t, relay.Config{}, wire.SubscribeOK{Properties: props}, wire.Params{}, func(t *testing.T, l *live) {
			st := l.send(header(l.alias, 1), object("old"))
			l.sub.AcceptUni()
			synctest.Wait()
			join := func() *peer {
				late := l.peer()
				message[wire.SubscribeOK](t, late.subscribe(video, wire.Params{}), wire.TypeSubscribe)
				return late
			}
			time.Sleep(500 * time.Millisecond)
			soon := join()
			soon.AcceptUni().Expect(header(1, 1), object("old"))
			time.Sleep(1500 * time.Millisecond)
			late := join()
			st.Send(object("new"))
			st.Close()
			for _, b := range late.data(t) {
				if strings.Contains(b, "old") {
					t.Errorf("sent %q after 2 s", b)
				}
			}
		})
	})
}
