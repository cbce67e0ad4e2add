package conformance_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// watchTracks sends SUBSCRIBE_TRACKS, which is accepted.
func (p *peer) watchTracks(prefix wire.Namespace, params wire.Params) *moqttest.PeerStream {
	st := p.Open(wire.SubscribeTracks{RequestID: p.id(), Prefix: prefix, Params: params})
	st.Expect(wire.RequestOK{})
	return st
}

// offered takes the next request of the relay, which must be a PUBLISH.
func (p *peer) offered(t *testing.T) (wire.Publish, *moqttest.PeerStream) {
	t.Helper()
	st := p.Accept()
	return message[wire.Publish](t, st, 0), st
}

// TestTracks is about SUBSCRIBE_TRACKS and the PUBLISH that it brings.
func TestTracks(t *testing.T) {
	relayed := func(name string, f func(*testing.T, *net)) {
		t.Run(name, func(t *testing.T) { run(t, relay.Config{}, f) })
	}
	props := wire.Properties("\x02\x89\xc4" + "\x0e\x80\x40" + "\x6a\x07")
	relayed("5.1_no_PUBLISH_unasked", func(t *testing.T, n *net) {
		pub, idle := n.peer(), n.peer()
		pub.publish(t, wire.Publish{Track: video, TrackAlias: 4})
		idle.noRequest(t, "nobody asked")
		pub.noRequest(t, "its own")
	})
	relayed("6.1_REQUEST_OK_first", func(t *testing.T, n *net) {
		pub, w := n.peer(), n.peer()
		pub.publish(t, wire.Publish{Track: video, TrackAlias: 4})
		st := w.watchTracks(ns("stream"), wire.Params{})
		if m, _ := w.offered(t); m.Track != video {
			t.Errorf("offered %v", m.Track)
		}
		silent(t, "one answer", st)
	})
	relayed("9.5_PUBLISH_to_every_watcher", func(t *testing.T, n *net) {
		pub := n.peer()
		var watchers []*peer
		for _, prefix := range []wire.Namespace{ns(), ns("stream"), cam} {
			w := n.peer()
			w.watchTracks(prefix, wire.Params{})
			watchers = append(watchers, w)
		}
		elsewhere := n.peer()
		elsewhere.watchTracks(ns("stream", "other"), wire.Params{})
		pub.watchTracks(ns(), wire.Params{})
		up := pub.publish(t, wire.Publish{Track: video, TrackAlias: 4})
		pub.OpenUni(header(4, 7), object("x")).Close()
		for i, w := range watchers {
			m, st := w.offered(t)
			if m.Track != video {
				t.Errorf("watcher %d is offered %v", i, m.Track)
			}
			st.Send(wire.RequestOK{})
			if g := w.groups(t, 1)[0]; g.header.Group != 7 || g.header.Alias != m.TrackAlias {
				t.Errorf("watcher %d got %+v", i, g)
			}
			defer st.ExpectFIN()
			defer func() {
				if done := message[wire.PublishDone](t, st, wire.TypePublish); done.Status != wire.PublishDoneTrackEnded {
					t.Errorf("watcher %d: ended with %v", i, done.Status)
				}
			}()
		}
		elsewhere.noRequest(t, "another prefix")
		pub.noRequest(t, "its own track")
		up.Send(wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: 1})
		up.Close()
	})
	relayed("9.6_track_properties", func(t *testing.T, n *net) {
		pub, w := n.peer(), n.peer()
		w.watchTracks(cam, wire.Params{})
		pub.publish(t, wire.Publish{Track: video, TrackAlias: 4, Properties: props, Params: wire.Params{LargestObject: &wire.Location{Group: 8, Object: 2}}})
		m, _ := w.offered(t)
		if string(m.Properties) != string(props) || m.Params.LargestObject == nil || *m.Params.LargestObject != at(8, 2) {
			t.Errorf("offered %+v", m)
		}
	})
	relayed("10.19_FORWARD", func(t *testing.T, n *net) {
		pub, w := n.peer(), n.peer()
		w.watchTracks(cam, wire.Params{Forward: new(false)})
		pub.publish(t, wire.Publish{Track: video, TrackAlias: 4})
		m, st := w.offered(t)
		if m.Params.Forward == nil || *m.Params.Forward {
			t.Errorf("offered with %+v, want Forward 0", m.Params)
		}
		st.Send(wire.RequestOK{Params: wire.Params{Forward: new(false)}})
		pub.OpenUni(header(4, 7), object("x")).Close()
		w.noData(t, "Forward 0")
	})
	t.Run("6.1_blocked", func(t *testing.T) {
		run(t, relay.Config{}, func(t *testing.T, n *net) {
			pub := n.peer()
			w := n.dial(moqttest.Config{Streams: 1}, wire.Setup{})
			st := w.watchTracks(ns("stream"), wire.Params{})
			pub.publish(t, wire.Publish{Track: video, TrackAlias: 4})
			w.offered(t)
			pub.publish(t, wire.Publish{Track: audio, TrackAlias: 5})
			m := message[wire.PublishBlocked](t, st, wire.TypeSubscribeTracks)
			if m.Name != "audio" || m.Suffix != ns("local", "cam") {
				t.Errorf("blocked: %+v", m)
			}
		})
	})
	relayed("6.1_cancelled", func(t *testing.T, n *net) {
		pub, w := n.peer(), n.peer()
		st := w.watchTracks(cam, wire.Params{})
		pub.publish(t, wire.Publish{Track: video, TrackAlias: 4})
		_, offer := w.offered(t)
		offer.Send(wire.RequestOK{})
		st.Reset(wire.ResetCancelled)
		synctest.Wait()
		pub.publish(t, wire.Publish{Track: audio, TrackAlias: 5})
		w.noRequest(t, "cancelled")
		pub.OpenUni(header(4, 7), object("x")).Close()
		w.groups(t, 1) // what was offered goes on
	})
	relayed("9.5_publish_to_held_subscribe", func(t *testing.T, n *net) {
		pub, sub := n.peer(), n.peer()
		sub.watchTracks(cam, wire.Params{})
		down := sub.subscribe(video, wire.Params{RendezvousTimeout: ms(9000)})
		time.Sleep(time.Second)
		pub.publish(t, wire.Publish{Track: video, TrackAlias: 4})
		message[wire.SubscribeOK](t, down, wire.TypeSubscribe)
		sub.noRequest(t, "its SUBSCRIBE was answered")
		pub.OpenUni(header(4, 7), object("x")).Close()
		sub.groups(t, 1)
		sub.noData(t, "once is enough")
	})
	relayed("10.10_refused", func(t *testing.T, n *net) {
		pub, w := n.peer(), n.peer()
		w.watchTracks(cam, wire.Params{})
		up := pub.publish(t, wire.Publish{Track: video, TrackAlias: 4})
		_, offer := w.offered(t)
		offer.Send(wire.RequestError{Code: wire.RequestUninterested})
		offer.Close()
		pub.OpenUni(header(4, 7), object("x")).Close()
		w.data(t)
		w.ExpectOpen()
		silent(t, "the publisher is not told", up)
	})
	relayed("10.19_33_fields", func(t *testing.T, n *net) {
		p := n.peer()
		body := append([]byte{0, 33}, strings.Repeat("\x01x", 33)...)
		p.Open(uint64(0x51), []byte{0, byte(len(body) + 1)}, body, []byte{0})
		p.ExpectClose(wire.SessionProtocolViolation)
	})
	relayed("10.19_overlap", func(t *testing.T, n *net) {
		p := n.peer()
		first := p.watchTracks(ns("a", "b"), wire.Params{})
		for _, prefix := range []wire.Namespace{ns(), ns("a"), ns("a", "b"), ns("a", "b", "c")} {
			p.Open(wire.SubscribeTracks{RequestID: p.id(), Prefix: prefix}).ExpectError(wire.RequestPrefixOverlap, wire.TypeSubscribeTracks)
		}
		p.Open(wire.SubscribeNamespace{RequestID: p.id(), Prefix: ns("a")}).Expect(wire.RequestOK{}) // a space of its own
		p.watchTracks(ns("a", "c"), wire.Params{})
		first.Reset(wire.ResetCancelled)
		synctest.Wait()
		p.watchTracks(ns("a", "b", "c"), wire.Params{})
	})
	t.Run("10.19_not_authorized", func(t *testing.T) {
		run(t, relay.Config{Authorizer: byToken{}}, func(t *testing.T, n *net) {
			p := n.peer()
			p.Open(wire.SubscribeTracks{RequestID: p.id(), Prefix: cam}).ExpectError(wire.RequestUnauthorized, wire.TypeSubscribeTracks)
		})
	})
}
