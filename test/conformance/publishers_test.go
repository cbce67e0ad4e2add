package conformance_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// both runs f with a track that two publishers feed.
func both(t *testing.T, f func(t *testing.T, l *live, second *peer, up *moqttest.PeerStream)) {
	t.Helper()
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		l := &live{net: n, pub: n.peer(), sub: n.peer(), alias: upstreamAlias}
		l.space = l.pub.announce(cam)
		l.down = l.sub.subscribe(video, wire.Params{})
		l.asked, l.up = l.pub.asked(t)
		l.up.Send(wire.SubscribeOK{TrackAlias: upstreamAlias})
		l.relayed = message[wire.SubscribeOK](t, l.down, wire.TypeSubscribe).TrackAlias
		second := n.peer()
		second.announce(cam)
		_, up := second.asked(t)
		up.Send(wire.SubscribeOK{TrackAlias: upstreamAlias})
		synctest.Wait()
		f(t, l, second, up)
	})
}

// TestPublishers is about several publishers of one track (sections 9.3 and 9.5).
func TestPublishers(t *testing.T) {
	t.Run("9.5_SUBSCRIBE_to_all", func(t *testing.T) {
		run(t, relay.Config{}, func(t *testing.T, n *net) {
			exact, prefix, other, sub := n.peer(), n.peer(), n.peer(), n.peer()
			exact.announce(cam)
			prefix.announce(ns("stream"))
			other.announce(ns("stream", "local", "other"))
			start := time.Now()
			sub.subscribe(video, wire.Params{})
			for _, p := range []*peer{exact, prefix} { // the longer prefix may go first
				m, up := p.asked(t)
				if m.Track != video {
					t.Errorf("asked for %v", m.Track)
				}
				up.Send(wire.SubscribeOK{TrackAlias: 1})
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("asked within %v, want at once", took)
			}
			other.noRequest(t, "another namespace")
		})
	})
	t.Run("9.3_both_are_passed_on", func(t *testing.T) {
		both(t, func(t *testing.T, l *live, second *peer, _ *moqttest.PeerStream) {
			l.send(header(l.alias, 1), object("first")).Close()
			second.OpenUni(header(upstreamAlias, 2), object("second")).Close()
			gs := l.sub.groups(t, 2)
			if !slices.Equal(gs[0].payloads(), []string{"first"}) || !slices.Equal(gs[1].payloads(), []string{"second"}) {
				t.Errorf("got %+v", gs)
			}
		})
	})
	t.Run("9.3_without_duplicates", func(t *testing.T) {
		both(t, func(t *testing.T, l *live, second *peer, _ *moqttest.PeerStream) {
			for g := uint64(1); g < 5; g++ {
				one, two := l.send(header(l.alias, g), object("a")), second.OpenUni(header(upstreamAlias, g))
				synctest.Wait()
				if g%2 == 0 { // the second one is ahead
					two.Send(object("a"), object("b"))
					two.Close()
					synctest.Wait()
				}
				one.Send(object("b"))
				one.Close()
				if g%2 == 1 {
					two.Send(object("a"), object("b"))
					two.Close()
				}
				if got := l.sub.groups(t, 1)[0]; !slices.Equal(got.payloads(), []string{"a", "b"}) || got.err != nil {
					t.Errorf("got %+v", got)
				}
			}
			l.sub.noData(t, "everything came once")
			silent(t, "the subscription goes on", l.down)
		})
	})
	t.Run("9.3_failover", func(t *testing.T) {
		both(t, func(t *testing.T, l *live, second *peer, _ *moqttest.PeerStream) {
			l.send(header(l.alias, 1), object("a"))
			two := second.OpenUni(header(upstreamAlias, 1), object("a"), object("b"))
			down := l.sub.AcceptUni()
			down.Expect(header(l.relayed, 1), object("a"))
			l.pub.cut()
			two.Send(object("c"))
			two.Close()
			b, _ := down.ReadAll()
			var got []string
			if len(b) == 0 { // the rest comes on a stream of its own
				got = l.sub.groups(t, 1)[0].payloads()
			} else {
				got = parseObjects(t, b)
			}
			if !slices.Equal(got, []string{"b", "c"}) {
				t.Errorf("behind the loss: %q, want b and c", got)
			}
			second.OpenUni(header(upstreamAlias, 2), object("d")).Close()
			if got := l.sub.groups(t, 1)[0]; !slices.Equal(got.payloads(), []string{"d"}) {
				t.Errorf("got %+v", got)
			}
			silent(t, "the subscription goes on", l.down)
		})
	})
	t.Run("9.3_one_ends", func(t *testing.T) {
		both(t, func(t *testing.T, l *live, second *peer, up *moqttest.PeerStream) {
			l.up.Send(wire.PublishDone{Status: wire.PublishDoneGoingAway})
			l.up.Close()
			synctest.Wait()
			silent(t, "the other one goes on", l.down)
			second.OpenUni(header(upstreamAlias, 2), object("d")).Close()
			l.sub.groups(t, 1)
			up.Send(wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: 1})
			up.Close()
			if m := message[wire.PublishDone](t, l.down, wire.TypeSubscribe); m.Status != wire.PublishDoneTrackEnded {
				t.Errorf("ended with %+v", m)
			}
		})
	})
	t.Run("9.5_late_PUBLISH_NAMESPACE", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, func(t *testing.T, l *live) {
			late := l.peer()
			late.announce(ns("stream", "local"))
			m, up := late.asked(t)
			if m.Track != video || m.Params.Forward != nil && !*m.Params.Forward {
				t.Errorf("asked for %+v", m)
			}
			up.Send(wire.SubscribeOK{TrackAlias: 3})
			late.OpenUni(header(3, 5), object("late")).Close()
			l.sub.groups(t, 1)
		})
	})
	t.Run("9.5_late_PUBLISH", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, func(t *testing.T, l *live) {
			late := l.peer()
			st := late.Open(wire.Publish{RequestID: late.id(), Track: video, TrackAlias: 3, Params: wire.Params{Forward: new(false)}})
			if m := message[wire.RequestOK](t, st, wire.TypePublish); m.Params.Forward != nil && !*m.Params.Forward {
				t.Errorf("accepted with %+v, want Forward 1", m.Params)
			}
			late.OpenUni(header(3, 5), object("late")).Close()
			l.sub.groups(t, 1)
			silent(t, "the first one goes on", l.up)
		})
	})
	t.Run("11_restart_with_lower_numbers", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, func(t *testing.T, l *live) {
			for g := uint64(1000); g < 1005; g++ {
				l.send(header(l.alias, g), object("old")).Close()
			}
			l.sub.groups(t, 5)
			l.pub.cut()
			time.Sleep(time.Second)
			again := l.peer()
			again.announce(cam)
			_, up := again.asked(t)
			up.Send(wire.SubscribeOK{TrackAlias: 3})
			again.OpenUni(header(3, 0), object("new")).Close()
			synctest.Wait()
			if l.down.Pending() { // ended, so that the subscriber asks again
				message[wire.PublishDone](t, l.down, wire.TypeSubscribe)
				l.down.Stop(wire.ResetCancelled)
				l.down.Reset(wire.ResetCancelled)
				synctest.Wait()
				st := l.sub.subscribe(video, wire.Params{RendezvousTimeout: ms(5000)})
				message[wire.SubscribeOK](t, st, wire.TypeSubscribe)
			}
			if g := l.sub.groups(t, 1)[0]; g.header.Group != 0 || !slices.Equal(g.payloads(), []string{"new"}) {
				t.Errorf("got %+v, want the new group 0", g)
			}
		})
	})
}

// parseObjects returns the payloads of objects without properties.
func parseObjects(t *testing.T, b []byte) (out []string) {
	t.Helper()
	for len(b) > 0 {
		o, n, err := wire.ParseObjectHeader(b, false)
		if err != nil || uint64(len(b)-n) < o.Length {
			return out
		}
		end := n + int(o.Length)
		out = append(out, string(b[n:end]))
		b = b[end:]
	}
	return out
}
