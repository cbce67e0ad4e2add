package relay_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// TestRelayKeepsWhatEachSideSaid: the publisher's priority passes through, and
// a subscriber that wants nothing yet gets nothing, although another one has the
// track flow already.
func TestRelayKeepsWhatEachSideSaid(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		f := newFeed()
		pub, _ := n.dial(moqttest.Config{})
		n.announce(pub, f)
		one, _ := n.dial(moqttest.Config{})
		two, _ := n.dial(moqttest.Config{})
		flows := n.subscribe(one)
		paused, err := two.Subscribe(t.Context(), video, track.SubscribeOptions{Paused: true})
		if err != nil {
			t.Fatal(err)
		}
		w, err := f.t.Subgroup(track.SubgroupHeader{Group: 3, Priority: 9, HasPriority: true, EndOfGroup: true, FirstObject: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteObject(track.Object{Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		g, err := flows.Track().NewReader(track.CurrentGroup).NextGroup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if o, err := g.Next(t.Context()); err != nil || o.Priority != 9 {
			t.Errorf("object has priority %d, %v, want 9", o.Priority, err)
		}
		time.Sleep(time.Second) // virtual
		synctest.Wait()
		if at, some := paused.Track().Largest(); some {
			t.Errorf("the paused subscriber got %v", at)
		}
	})
}
