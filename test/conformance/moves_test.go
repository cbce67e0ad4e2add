package conformance_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// watch sends SUBSCRIBE_NAMESPACE, which is accepted.
func (p *peer) watch(prefix wire.Namespace) *moqttest.PeerStream {
	st := p.Open(wire.SubscribeNamespace{RequestID: p.id(), Prefix: prefix})
	st.Expect(wire.RequestOK{})
	return st
}

// move asks for another prefix.
func (p *peer) move(st *moqttest.PeerStream, prefix wire.Namespace) {
	st.Send(wire.RequestUpdate{RequestID: p.id(), Params: wire.Params{NamespacePrefix: &prefix}})
}

// TestMoves is about requests whose prefix moves (section 10.9.2).
func TestMoves(t *testing.T) {
	relayed := func(name string, f func(*testing.T, *net)) {
		t.Run(name, func(t *testing.T) { run(t, relay.Config{}, f) })
	}
	relayed("10.9.2_SUBSCRIBE_NAMESPACE", func(t *testing.T, n *net) {
		pub, p := n.peer(), n.peer()
		ab := pub.announce(ns("a", "b"))
		pub.announce(ns("a", "c"))
		pub.announce(ns("d"))
		st := p.watch(ns("a"))
		st.Expect(wire.NamespaceMsg{Suffix: ns("b")}, wire.NamespaceMsg{Suffix: ns("c")})
		p.move(st, ns("a", "b"))
		st.Expect(wire.RequestOK{})
		silent(t, "a/b is known and a/c cannot be named", st)
		pub.announce(ns("a", "b", "x"))
		st.Expect(wire.NamespaceMsg{Suffix: ns("x")})
		ab.Close()
		st.Expect(wire.NamespaceDone{})
		p.move(st, ns())
		st.Expect(wire.RequestOK{}, wire.NamespaceMsg{Suffix: ns("a", "c")}, wire.NamespaceMsg{Suffix: ns("d")})
		p.move(st, ns("e"))
		st.Expect(wire.RequestOK{})
		pub.announce(ns("a", "b"))
		silent(t, "nothing is below e", st)
		pub.announce(ns("e", "f"))
		st.Expect(wire.NamespaceMsg{Suffix: ns("f")})
	})
	relayed("10.9.2_SUBSCRIBE_TRACKS", func(t *testing.T, n *net) {
		pub, p := n.peer(), n.peer()
		other := wire.FullTrackName{Namespace: ns("other"), Name: "a"}
		pub.publish(t, wire.Publish{Track: video, TrackAlias: 4})
		pub.publish(t, wire.Publish{Track: other, TrackAlias: 5})
		st := p.watchTracks(ns("stream"), wire.Params{})
		m, first := p.offered(t)
		first.Send(wire.RequestOK{})
		p.move(st, ns("other"))
		st.Expect(wire.RequestOK{})
		if m, _ := p.offered(t); m.Track != other {
			t.Errorf("offered %v, want what is below the new prefix", m.Track)
		}
		pub.publish(t, wire.Publish{Track: audio, TrackAlias: 6})
		p.noRequest(t, "no longer below the prefix")
		pub.OpenUni(header(4, 7), object("x")).Close()
		if g := p.groups(t, 1)[0]; g.header.Group != 7 || g.header.Alias != m.TrackAlias {
			t.Errorf("the subscription of before got %+v", g)
		}
	})
	relayed("10.2.14_onto_another", func(t *testing.T, n *net) {
		p := n.peer()
		p.watch(ns("a"))
		st := p.watch(ns("b"))
		p.move(st, ns("c")) // which the other type may have
		p.watchTracks(ns("a"), wire.Params{})
		tr := p.watchTracks(ns("b"), wire.Params{})
		p.move(tr, ns("c"))
		st.Expect(wire.RequestOK{})
		tr.Expect(wire.RequestOK{})
		p.move(st, ns("a", "b"))
		st.ExpectError(wire.RequestPrefixOverlap, wire.TypeRequestUpdate)
		p.move(tr, ns())
		tr.ExpectError(wire.RequestPrefixOverlap, wire.TypeRequestUpdate)
		p.watch(ns("b")) // which they have left, and ended
		p.watch(ns("c"))
		p.watchTracks(ns("b"), wire.Params{})
		p.watchTracks(ns("c"), wire.Params{})
	})
	relayed("10.9_along_with_the_request", func(t *testing.T, n *net) {
		n.peer().announce(ns("b"))
		p := n.peer()
		st := p.Open(wire.SubscribeNamespace{RequestID: p.id(), Prefix: ns("a")},
			wire.RequestUpdate{RequestID: p.id(), Params: wire.Params{NamespacePrefix: new(ns("b"))}})
		st.Expect(wire.RequestOK{}, wire.RequestOK{}, wire.NamespaceMsg{})
	})
	t.Run("10.18_authorised_anew", func(t *testing.T) {
		run(t, relay.Config{Authorizer: fence{}}, func(t *testing.T, n *net) {
			p := n.peer()
			st, tr := p.watch(ns("open")), p.watchTracks(ns("open"), wire.Params{})
			p.move(st, ns("open", "a"))
			st.Expect(wire.RequestOK{})
			p.move(st, ns("fenced"))
			st.ExpectError(wire.RequestUnauthorized, wire.TypeRequestUpdate)
			p.move(tr, ns("fenced"))
			tr.ExpectError(wire.RequestUnauthorized, wire.TypeRequestUpdate)
		})
	})
}

// A fence keeps everybody out of what is "fenced".
type fence struct{}

func (f fence) Admit(relay.Credentials) (relay.Permit, error) { return f, nil }
func (fence) Authorize(r relay.AuthRequest) (wire.Namespace, error) {
	if r.Namespace.First() == "fenced" {
		return wire.Namespace{}, &track.RequestError{Code: wire.RequestUnauthorized, Reason: "fenced"}
	}
	return r.Namespace, nil
}
func (fence) Visible(wire.Namespace) bool { return true }
func (fence) Context() context.Context    { return context.Background() }
func (fence) Close()                      {}

// A lister is a publisher in the relay's process that tells of its tracks.
type lister struct {
	mu   sync.Mutex
	has  source
	tell func(*track.Track)
}

func (l *lister) Track(name string) (*track.Track, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.has.Track(name)
}

func (l *lister) Tracks(f func(*track.Track)) (stop func()) {
	l.set(f)
	return func() { l.set(func(*track.Track) {}) }
}

func (l *lister) set(tell func(*track.Track)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tell = tell
}

// add adds a track.
func (l *lister) add(name wire.FullTrackName) *track.Track {
	t := track.New(name, track.Info{Local: true}, track.Config{})
	l.mu.Lock()
	l.has[name.Name] = t
	tell := l.tell
	l.mu.Unlock()
	tell(t)
	return t
}

// A subscriber that knows SUBSCRIBE_TRACKS alone watches what is published in the
// relay's own process.
func TestTracksOfThisProcess(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		l := &lister{has: source{}, tell: func(*track.Track) {}}
		withdraw, err := n.r.Announce(n.ctx, cam, l)
		if err != nil {
			t.Fatal(err)
		}
		tr := l.add(video)
		p := n.peer()
		p.watchTracks(ns("stream"), wire.Params{})
		m, st := p.offered(t)
		if m.Track != video {
			t.Fatalf("offered %v", m.Track)
		}
		st.Send(wire.RequestOK{})
		time.Sleep(time.Second)
		w, err := tr.Subgroup(track.HeaderFromWire(header(0, 3)))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteObject(track.Object{Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if g := p.groups(t, 1)[0]; g.header.Group != 3 || g.header.Alias != m.TrackAlias {
			t.Errorf("got %+v", g)
		}
		// What is subscribed to already is not offered.
		p.Open(wire.Subscribe{RequestID: p.id(), Track: audio, Params: wire.Params{RendezvousTimeout: new(5 * time.Second)}})
		time.Sleep(time.Second)
		l.add(audio)
		p.noRequest(t, "it has asked for audio itself")
		withdraw()
		l.add(wire.FullTrackName{Namespace: cam, Name: "late"})
		p.noRequest(t, "withdrawn")
	})
}
