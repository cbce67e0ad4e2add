package conformance_test

import (
	"errors"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

var errUnauthorized = errors.New("no token")

// TestRequests is about single requests, their answers and their ends.
func TestRequests(t *testing.T) {
	relayed := func(name string, f func(*testing.T, *net)) {
		t.Run(name, func(t *testing.T) { run(t, relay.Config{}, f) })
	}
	plain := func(name string, f func(*testing.T, *live)) {
		t.Run(name, func(t *testing.T) { through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, f) })
	}
	plain("5.1_one_answer", func(t *testing.T, l *live) {
		offered := l.pub.publish(t, wire.Publish{Track: audio, TrackAlias: 4})
		time.Sleep(3 * time.Second)
		silent(t, "SUBSCRIBE", l.down)
		silent(t, "PUBLISH", offered)
		silent(t, "PUBLISH_NAMESPACE", l.space)
		silent(t, "our SUBSCRIBE", l.up)
	})
	plain("5.1.1_nothing_behind_an_error", func(t *testing.T, l *live) {
		l.send(header(l.alias, 7), object("x")).Close()
		l.sub.groups(t, 1)
		late := l.peer()
		f := wire.Filter{Type: wire.FilterAbsoluteRange, EndGroup: 3}
		late.subscribe(video, wire.Params{Filter: &f}).ExpectError(wire.RequestInvalidRange, wire.TypeSubscribe)
		l.send(header(l.alias, 8), object("x")).Close()
		l.sub.groups(t, 1)
		late.noData(t, "refused")
	})
	plain("5.1.2_nothing_outside_the_filter", func(t *testing.T, l *live) {
		late := l.peer()
		f := wire.Filter{Type: wire.FilterAbsoluteRange, Start: wire.Location{Group: 3, Object: 1}, EndGroup: 4}
		st := late.subscribe(video, wire.Params{Filter: &f})
		message[wire.SubscribeOK](t, st, wire.TypeSubscribe)
		for g := uint64(2); g < 7; g++ {
			l.send(header(l.alias, g), object("a"), object("b")).Close()
			l.sub.groups(t, 1)
		}
		gs := late.groups(t, 2)
		if !slices.Equal(gs[0].payloads(), []string{"b"}) || gs[0].header.Group != 3 || gs[1].header.Group != 4 || len(gs[1].objects) != 2 {
			t.Errorf("got %+v, want {3, 1} to the end of group 4", gs)
		}
		done := message[wire.PublishDone](t, st, wire.TypeSubscribe)
		if done.Status != wire.PublishDoneSubscriptionEnded || done.StreamCount != 2 {
			t.Errorf("ended with %+v, want SUBSCRIPTION_ENDED and 2 streams", done)
		}
		st.ExpectFIN()
		late.noData(t, "behind PUBLISH_DONE")
	})
	t.Run("6.2_second_answer", func(t *testing.T) {
		session(t, moqt.Config{}, func(t *testing.T, s *moqt.Session, p *moqttest.Peer) {
			p.Setup(wire.Setup{})
			go s.Announce(t.Context(), cam, source{})
			p.Accept().Send(wire.RequestOK{}, wire.RequestOK{})
			p.ExpectClose(wire.SessionProtocolViolation)
		})
	})
	relayed("10.3.1_a_server_sends_neither", func(t *testing.T, n *net) {
		for _, transport := range []moqt.Transport{moqt.QUIC, moqt.WebTransport} {
			if m := n.setup(t, moqttest.Config{Transport: transport}); m.Authority != nil || m.Path != nil {
				t.Errorf("%s: SETUP of the server is %+v", transport, m)
			}
		}
	})
	relayed("10.3.1.1_AUTHORITY_on_WebTransport", func(t *testing.T, n *net) {
		client, server := moqttest.Pair(moqttest.Config{Transport: moqt.WebTransport})
		n.wg.Go(func() { n.r.Serve(n.ctx, server) })
		p := moqttest.NewPeer(t, client)
		p.OpenUni(wire.Setup{Authority: new("a.example")})
		p.ExpectClose(wire.SessionInvalidAuthority)
	})
	relayed("10.3.1.5_implementation", func(t *testing.T, n *net) {
		m := n.setup(t, moqttest.Config{})
		if !regexp.MustCompile(`^broadcastd(/[0-9][0-9A-Za-z.+-]*)?$`).MatchString(m.Implementation) || !utf8.ValidString(m.Implementation) {
			t.Errorf("MOQT_IMPLEMENTATION is %q, want name and version", m.Implementation)
		}
	})
	t.Run("10.6.2_load_has_a_retry_interval", func(t *testing.T) {
		run(t, relay.Config{Session: moqt.Config{Limits: moqt.Limits{Namespaces: 1}}, MaxHeld: 1}, func(t *testing.T, n *net) {
			p := n.peer()
			p.announce(cam)
			p.subscribe(wire.FullTrackName{Namespace: ns("x")}, wire.Params{RendezvousTimeout: ms(9000)})
			synctest.Wait()
			for what, st := range map[wire.MessageType]*moqttest.PeerStream{
				wire.TypePublishNamespace: p.Open(wire.PublishNamespace{RequestID: p.id(), Namespace: ns("b")}),
				wire.TypeSubscribe:        p.subscribe(wire.FullTrackName{Namespace: ns("y")}, wire.Params{RendezvousTimeout: ms(9000)}),
			} {
				if m := refused(t, st, what, wire.RequestExcessiveLoad); !m.Retry {
					t.Errorf("%v is refused without a time to come again: %+v", what, m)
				}
			}
		})
	})
	relayed("10.10_uninterested", func(t *testing.T, n *net) {
		if _, err := n.r.Announce(n.ctx, cam, source{}); err != nil {
			t.Fatal(err)
		}
		pub := n.peer()
		st := pub.Open(wire.Publish{RequestID: pub.id(), Track: video, TrackAlias: 4})
		data := pub.OpenUni(header(4, 1), object("x"))
		st.ExpectError(wire.RequestUninterested, wire.TypePublish)
		data.ExpectStop(wire.ResetCancelled)
	})
	plain("10.11_no_stream", func(t *testing.T, l *live) {
		l.up.Send(wire.PublishDone{Status: wire.PublishDoneTrackEnded})
		l.up.Close()
		l.down.Expect(wire.PublishDone{Status: wire.PublishDoneTrackEnded})
		l.down.ExpectFIN()
	})
	relayed("10.18_overlap", func(t *testing.T, n *net) {
		p := n.peer()
		watch := func(prefix wire.Namespace) *moqttest.PeerStream {
			return p.Open(wire.SubscribeNamespace{RequestID: p.id(), Prefix: prefix})
		}
		first := watch(ns("a", "b"))
		first.Expect(wire.RequestOK{})
		for _, overlapping := range []wire.Namespace{ns(), ns("a"), ns("a", "b"), ns("a", "b", "c")} {
			watch(overlapping).ExpectError(wire.RequestPrefixOverlap, wire.TypeSubscribeNamespace)
		}
		watch(ns("a", "c")).Expect(wire.RequestOK{})
		watch(ns("a", "bb")).Expect(wire.RequestOK{})
		first.Reset(wire.ResetCancelled)
		synctest.Wait()
		watch(ns("a", "b", "c")).Expect(wire.RequestOK{})
	})
	relayed("11.1_aliases", func(t *testing.T, n *net) {
		src := source{}
		for _, name := range []string{"a", "b", "c"} {
			src[name] = track.New(wire.FullTrackName{Namespace: cam, Name: name}, track.Info{}, track.Config{})
		}
		if _, err := n.r.Announce(n.ctx, cam, src); err != nil {
			t.Fatal(err)
		}
		p := n.peer()
		seen := make(map[uint64]string)
		for range 3 { // each alias is free again when its subscription has ended
			var open []*moqttest.PeerStream
			clear(seen)
			for name := range src {
				st := p.subscribe(wire.FullTrackName{Namespace: cam, Name: name}, wire.Params{})
				alias := message[wire.SubscribeOK](t, st, wire.TypeSubscribe).TrackAlias
				if other, ok := seen[alias]; ok {
					t.Errorf("%s has the alias of %s", name, other)
				}
				seen[alias] = name
				open = append(open, st)
			}
			open[0].Stop(wire.ResetCancelled)
			for _, st := range open[1:] {
				st.Stop(wire.ResetCancelled)
				st.Reset(wire.ResetCancelled)
			}
			synctest.Wait()
		}
	})
}

// setup connects a client and returns the relay's SETUP.
func (n *net) setup(t *testing.T, link moqttest.Config) wire.Setup {
	t.Helper()
	client, server := moqttest.Pair(link)
	n.wg.Go(func() { n.r.Serve(n.ctx, server) })
	p := moqttest.NewPeer(t, client)
	p.OpenUni(wire.Setup{})
	return message[wire.Setup](t, p.AcceptUni(), 0)
}

// session runs f with a session of our client, and the scripted server that it
// talks to.
func session(t *testing.T, cfg moqt.Config, f func(*testing.T, *moqt.Session, *moqttest.Peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, server := moqttest.Pair(moqttest.Config{})
		s, err := moqt.NewSession(client, cfg)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Run(t.Context())
		}()
		defer func() {
			s.Close(wire.SessionNoError, "")
			<-done
		}()
		f(t, s, moqttest.NewPeer(t, server))
	})
}
