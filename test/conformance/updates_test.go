package conformance_test

import (
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestUpdates is about REQUEST_UPDATE and what it may carry.
func TestUpdates(t *testing.T) {
	dynamic := wire.NewProperties(wire.KeyValue{Type: wire.PropDynamicGroups, Uint: 1})
	largest := wire.Params{LargestObject: &wire.Location{Group: 3}}
	t.Run("10.2.13_with_SUBSCRIBE", func(t *testing.T) {
		for _, want := range []uint64{0, 7} {
			through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{NewGroupRequest: &want}, func(t *testing.T, l *live) {
				if got := l.asked.Params.NewGroupRequest; got == nil || *got != want {
					t.Errorf("upstream is asked with %v, want %d", got, want)
				}
			})
		}
	})
	t.Run("10.2.13_with_REQUEST_UPDATE", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{Properties: dynamic, Params: largest}, wire.Params{}, func(t *testing.T, l *live) {
			ask := func(v uint64) {
				l.down.Send(wire.RequestUpdate{RequestID: l.sub.id(), Params: wire.Params{NewGroupRequest: &v}})
				message[wire.RequestOK](t, l.down, wire.TypeRequestUpdate)
			}
			asked := func(want uint64) {
				t.Helper()
				m := message[wire.RequestUpdate](t, l.up, wire.TypeSubscribe)
				if got := m.Params.NewGroupRequest; got == nil || *got != want {
					t.Errorf("upstream is asked for %v, want %d", got, want)
				}
				l.up.Send(wire.RequestOK{})
			}
			ask(3)
			time.Sleep(time.Second)
			silent(t, "group 3 is there", l.up)
			ask(4)
			asked(4)
			ask(4)
			time.Sleep(time.Second)
			silent(t, "it is asked for already", l.up)
			l.send(header(l.alias, 4), object("x")).Close()
			l.sub.groups(t, 1)
			ask(0)
			asked(0)
		})
	})
	t.Run("10.2.13_not_where_groups_are_fixed", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{Params: largest}, wire.Params{}, func(t *testing.T, l *live) {
			message[wire.SubscribeOK](t, l.peer().subscribe(video, wire.Params{NewGroupRequest: new(uint64(4))}), wire.TypeSubscribe)
			time.Sleep(time.Second)
			silent(t, "the track has no DYNAMIC_GROUPS", l.up)
		})
	})
}
