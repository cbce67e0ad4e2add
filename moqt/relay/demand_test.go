package relay

import (
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// demandRig is a rig that writes down what is asked of publishers.
func demandRig(t *testing.T) *rig {
	r := newRig(t)
	r.demands = true
	return r
}

func TestForward(t *testing.T) {
	t.Run("9.5_PUBLISH_waits_for_a_subscriber", func(t *testing.T) {
		r := demandRig(t)
		r.publish("pub", video)
		r.want("take pub continue=false paused")
		r.sub("a").want.paused = true
		r.subscribe(video, "a", 0)
		r.want("accept a") // it wants nothing either
		r.subscribe(video, "b", 0)
		r.want("accept b", "update pub forward=true")
		r.subscribe(video, "c", 0)
		r.want("accept c")
	})
	t.Run("9.5_PUBLISH_for_one_that_waits", func(t *testing.T) {
		r := demandRig(t)
		r.subscribe(video, "a", time.Second)
		r.publish("pub", video)
		r.want("take pub continue=false", "accept a")
	})
	t.Run("9.5_a_paused_subscriber_that_resumes", func(t *testing.T) {
		r := demandRig(t)
		r.publish("pub", video)
		r.sub("a").want.paused = true
		r.subscribe(video, "a", 0)
		r.log = nil
		r.note(r.c.updated(r.now, video, r.sub("a"), wants{}))
		r.want("update pub forward=true")
	})
	t.Run("9.2_upstream_forwards_whatever_downstream_does", func(t *testing.T) {
		r := demandRig(t)
		r.announce("pub", nsCam)
		r.sub("a").want.paused = true
		r.subscribe(video, "a", 0)
		if r.conns["pub"].paused {
			t.Error("the subscription upstream is paused")
		}
		r.answer("pub", nil)
		r.pass(time.Minute)
		r.want("connect pub video new", "accept a")
	})
	t.Run("a_PUBLISH_that_nobody_reads_pauses_and_stays", func(t *testing.T) {
		r := demandRig(t)
		r.announce("other", nsCam)
		r.publish("pub", video)
		r.want("take pub continue=false paused") // nor is the other one asked
		for _, sub := range []string{"a", "b"} {
			r.subscribe(video, sub, 0)
			r.answer("other", nil)
			r.want("accept "+sub, "update pub forward=true", "connect other video continue")
			r.unsubscribe(video, sub)
			r.pass(time.Minute)
			r.want("update pub forward=false", "release other")
		}
	})
}

func TestNewGroupRequest(t *testing.T) {
	at := func(v uint64) *uint64 { return &v }
	dynamic := wire.NewProperties(wire.KeyValue{Type: wire.PropDynamicGroups, Uint: 1})
	for _, tt := range []struct {
		name  string
		props track.Properties
		asks  []uint64
		want  []string
	}{
		{"10.2.13_one_larger_is_forwarded", dynamic, []uint64{8}, []string{"update pub group=8"}},
		{"10.2.13_any_is_forwarded", dynamic, []uint64{0}, []string{"update pub group=0"}},
		{"10.2.13_not_one_that_has_begun", dynamic, []uint64{7, 5}, nil},
		{"10.2.13_not_where_groups_are_fixed", nil, []uint64{8}, nil},
		{"10.2.13_not_while_as_large_a_one_is_outstanding", dynamic, []uint64{9, 8, 9, 0}, []string{"update pub group=9"}},
		{"10.2.13_but_a_larger_one", dynamic, []uint64{0, 8, 9}, []string{"update pub group=0", "update pub group=8", "update pub group=9"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := demandRig(t)
			r.announce("pub", nsCam)
			r.subscribe(video, "a", 0)
			a := r.conns["pub"]
			u := &fakeUpstream{name: "pub", t: track.New(video, track.Info{Properties: tt.props}, track.Config{})}
			r.note(r.c.connected(r.now, a.name, a.epoch, u, nil))
			r.group(video, 7)
			r.log = nil
			for _, v := range tt.asks {
				r.note(r.c.wantGroup(r.now, video, u.t, v))
			}
			r.want(tt.want...)
			if tt.want == nil {
				return
			}
			r.group(video, 20) // what was asked for has come
			r.note(r.c.wantGroup(r.now, video, u.t, 21))
			r.want("update pub group=21")
		})
	}
	t.Run("10.2.13_goes_with_the_SUBSCRIBE", func(t *testing.T) {
		r := demandRig(t)
		r.sub("a").want.newGroup, r.sub("b").want.newGroup = at(0), at(4)
		r.subscribe(video, "a", time.Second)
		r.subscribe(video, "b", time.Second)
		r.announce("pub", nsCam)
		if got := r.conns["pub"].newGroup; got == nil || *got != 4 {
			t.Errorf("SUBSCRIBE asks for group %v, want 4", got)
		}
		a := r.conns["pub"]
		dyn := track.New(video, track.Info{Properties: dynamic}, track.Config{})
		r.note(r.c.connected(r.now, a.name, a.epoch, &fakeUpstream{name: "pub", t: dyn}, nil))
		r.log = nil
		r.note(r.c.wantGroup(r.now, video, dyn, 4))
		r.want() // it is outstanding
		r.note(r.c.wantGroup(r.now, video, dyn, 5))
		r.want("update pub group=5")
	})
}
