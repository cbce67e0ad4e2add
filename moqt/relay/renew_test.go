package relay_test

import (
	"bytes"
	"testing"
	"testing/synctest"

	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// TestRelayRenewsProperties has a second publisher bring a track with other
// properties by PUBLISH: whoever subscribes later is told of those (section 2.5).
func TestRelayRenewsProperties(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		for i := range uint64(3) {
			props := track.NewProperties(track.Property{Type: 0x1000 + 2*i, Uint: i})
			pub, _ := n.dial(moqttest.Config{})
			f := newFeed()
			if _, err := pub.Publish(n.ctx, track.New(f.t.Name(), track.Info{Properties: props, Local: true}, track.Config{})); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			viewer, _ := n.dial(moqttest.Config{})
			if got := n.subscribe(viewer).Track().Properties(); !bytes.Equal(got, props) {
				t.Errorf("after publisher %d a viewer is told % x, want % x", i, got, props)
			}
		}
	})
}
