package relay_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// begin opens a group, to be written object by object.
func (f feed) begin(t *testing.T, group uint64) *track.SubgroupWriter {
	t.Helper()
	w, err := f.t.Subgroup(track.SubgroupHeader{Group: group, EndOfGroup: true, FirstObject: true})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write(t *testing.T, w *track.SubgroupWriter, id uint64, text string) {
	t.Helper()
	if err := w.WriteObject(track.Object{ID: id, Payload: []byte(text)}); err != nil {
		t.Fatal(err)
	}
}

// Two sessions publish the same track (section 9.3): a viewer gets each object
// once. When one of them is lost in the middle of a group the other carries on,
// in the same subscription, and nothing is missing.
func TestRelaySeveralPublishers(t *testing.T) {
	for _, lost := range []int{0, 1} {
		t.Run(fmt.Sprintf("9.3_the_%d_is_lost", lost), func(t *testing.T) {
			run(t, relay.Config{}, func(t *testing.T, n *net) {
				feeds := []feed{newFeed(), newFeed()}
				cuts := make([]func(), 2)
				for i, f := range feeds {
					pub, cut := n.dial(moqttest.Config{})
					cuts[i] = cut
					n.announce(pub, f)
				}
				viewer, _ := n.dial(moqttest.Config{})
				r := n.subscribe(viewer).Track().NewReader(track.CurrentGroup)
				synctest.Wait()
				for _, f := range feeds {
					f.group(t, 1)
				}
				wantGroup(t, r, 1)
				writers := []*track.SubgroupWriter{feeds[0].begin(t, 2), feeds[1].begin(t, 2)}
				for id := range uint64(3) {
					for i, w := range writers {
						write(t, w, id, fmt.Sprintf("2/%d", id))
						synctest.Wait()
						if id == 0 && i == 1 {
							cuts[lost]()
							time.Sleep(100 * time.Millisecond)
						}
					}
				}
				for _, w := range writers {
					if err := w.Close(); err != nil {
						t.Fatal(err)
					}
				}
				wantGroup(t, r, 2)
				feeds[1-lost].group(t, 3)
				wantGroup(t, r, 3)
				if published, err := n.r.Published(n.ctx); err != nil || len(published) != 1 {
					t.Errorf("published: %v, %v, want the namespace still", published, err)
				}
			})
		})
	}
}

// A publisher that restarts and counts from below again: its viewer is told that
// the track has gone, and finds the new one.
func TestRelayPublisherStartsOver(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		first, second := newFeed(), newFeed()
		pub, cut := n.dial(moqttest.Config{})
		n.announce(pub, first)
		viewer, _ := n.dial(moqttest.Config{})
		r := n.subscribe(viewer).Track().NewReader(track.CurrentGroup)
		first.group(t, 1000)
		wantGroup(t, r, 1000)
		cut()
		time.Sleep(time.Second)
		again, _ := n.dial(moqttest.Config{})
		n.announce(again, second)
		synctest.Wait()
		second.group(t, 0)
		began := time.Now()
		_, err := r.NextGroup(t.Context())
		ended, ok := errors.AsType[*track.EndError](err)
		if !ok || ended.Code != wire.PublishDoneGoingAway {
			t.Fatalf("the track ended with %v, want GOING_AWAY", err)
		}
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("that took %v", d)
		}
		r = n.subscribe(viewer).Track().NewReader(track.CurrentGroup)
		second.group(t, 1)
		g, err := r.NextGroup(t.Context())
		if err != nil || g.ID() > 1 {
			t.Errorf("the new track begins with %v, %v", g, err)
		}
	})
}

// A publisher returns with all that it has kept of an outage: a viewer at the
// live edge gets none of that but the current group.
func TestRelayPublisherReturnsWithABacklog(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		first, second := newFeed(), newFeed()
		pub, cut := n.dial(moqttest.Config{})
		n.announce(pub, first)
		viewer, _ := n.dial(moqttest.Config{})
		r := n.subscribe(viewer).Track().NewReader(track.CurrentGroup)
		first.group(t, 1)
		wantGroup(t, r, 1)
		cut()
		for id := uint64(2); id <= 60; id++ {
			second.group(t, id)
		}
		time.Sleep(4 * time.Second)
		again, _ := n.dial(moqttest.Config{})
		n.announce(again, second)
		wantGroup(t, r, 60)
		second.group(t, 61)
		wantGroup(t, r, 61)
	})
}

// Two publishers that contradict each other: the track ends as malformed, the
// one that came second is not asked again for a while, and the viewer that comes
// back is served by the other.
func TestRelayMalformedTrack(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		good, bad := newFeed(), newFeed()
		pub, _ := n.dial(moqttest.Config{})
		n.announce(pub, good)
		viewer, _ := n.dial(moqttest.Config{})
		r := n.subscribe(viewer).Track().NewReader(track.CurrentGroup)
		good.group(t, 1)
		wantGroup(t, r, 1)
		w := bad.begin(t, 1)
		write(t, w, 0, "not what the other one says")
		worse, _ := n.dial(moqttest.Config{})
		n.announce(worse, bad)
		_, err := r.NextGroup(t.Context())
		ended, ok := errors.AsType[*track.EndError](err)
		if !ok || ended.Code != wire.PublishDoneMalformedTrack {
			t.Fatalf("the track ended with %v, want MALFORMED_TRACK", err)
		}
		r = n.subscribe(viewer).Track().NewReader(track.CurrentGroup)
		good.group(t, 2)
		for {
			g, err := r.NextGroup(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if g.ID() == 2 {
				break
			}
		}
	})
}

// A taker accepts what is published to it.
type taker struct {
	moqt.Handler
	got chan *moqt.PublishRequest
}

func (h taker) HandlePublish(r *moqt.PublishRequest) {
	r.Accept()
	h.got <- r
}

func (n *net) dialWith(cfg moqt.Config) *moqt.Session {
	client, server := moqttest.Pair(moqttest.Config{})
	s, err := moqt.NewSession(client, cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	n.wg.Go(func() { n.r.Serve(n.ctx, server) })
	n.wg.Go(func() { s.Run(n.ctx) })
	<-s.Ready()
	return s
}

func TestRelaySubscribeTracks(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		h := taker{got: make(chan *moqt.PublishRequest, 4)}
		viewer := n.dialWith(moqt.Config{Handler: h})
		if _, err := viewer.Tracks(n.ctx, wire.MustNamespace("stream"), moqt.TracksOptions{}); err != nil {
			t.Fatal(err)
		}
		f := newFeed()
		pub, _ := n.dial(moqttest.Config{})
		if _, err := pub.Publish(n.ctx, f.t); err != nil {
			t.Fatal(err)
		}
		req := <-h.got
		if req.Name != video {
			t.Errorf("offered %v, want %v", req.Name, video)
		}
		synctest.Wait()
		f.group(t, 3)
		r := req.Track().NewReader(track.CurrentGroup)
		wantGroup(t, r, 3)
		req.Close()
		synctest.Wait()
	})
}

// section 9.5: what is published and nobody reads is not sent.
func TestRelayPublishWaitsForASubscriber(t *testing.T) {
	sent := 0
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		f := newFeed()
		pub, _ := n.dial(moqttest.Config{Tap: func(s moqttest.Sent) {
			if s.Client {
				sent += len(s.Data)
			}
		}})
		if _, err := pub.Publish(n.ctx, f.t); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := sent
		f.group(t, 1)
		time.Sleep(time.Second)
		if sent != before {
			t.Errorf("%d bytes were sent to nobody", sent-before)
		}
		viewer, _ := n.dial(moqttest.Config{})
		r := n.subscribe(viewer).Track().NewReader(track.CurrentGroup)
		wantGroup(t, r, 1) // still the current one
		f.group(t, 2)
		wantGroup(t, r, 2)
	})
}
