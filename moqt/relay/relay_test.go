package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

var (
	ns    = wire.MustNamespace("stream", "local", "cam")
	video = track.Name{Namespace: ns, Name: "video"}
)

// A net is a relay and the sessions that are open to it, inside a bubble.
type net struct {
	t   *testing.T
	ctx context.Context
	r   *relay.Relay
	wg  sync.WaitGroup
}

// run runs f with a relay in a bubble, and checks that everything ends.
func run(t *testing.T, cfg relay.Config, f func(*testing.T, *net)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		n := &net{t: t, ctx: ctx, r: r}
		n.wg.Go(func() { r.Run(ctx) })
		f(t, n)
		cancel(errors.New("the test is over"))
		n.wg.Wait()
	})
}

// dial opens a session to the relay. cut ends its connection without a word.
func (n *net) dial(cfg moqttest.Config) (s *moqt.Session, cut func()) {
	client, server := moqttest.Pair(cfg)
	s, err := moqt.NewSession(client, moqt.Config{})
	if err != nil {
		n.t.Fatal(err)
	}
	n.wg.Go(func() { n.r.Serve(n.ctx, server) })
	n.wg.Go(func() { s.Run(n.ctx) })
	<-s.Ready()
	return s, client.Cut
}

// A feed is a publisher of one track, one object a group.
type feed struct{ t *track.Track }

func newFeed() feed { return feed{track.New(video, track.Info{}, track.Config{})} }

func (f feed) Track(name string) (*track.Track, bool) { return f.t, name == video.Name }

func (f feed) group(t *testing.T, id uint64) {
	t.Helper()
	w, err := f.t.Subgroup(track.SubgroupHeader{Group: id, EndOfGroup: true, FirstObject: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		if err := w.WriteObject(track.Object{ID: i, Payload: fmt.Appendf(nil, "%d/%d", id, i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func (n *net) announce(a interface {
	Announce(context.Context, track.Namespace, track.Source) (func(), error)
}, f feed,
) func() {
	n.t.Helper()
	withdraw, err := a.Announce(n.ctx, ns, f)
	if err != nil {
		n.t.Fatal(err)
	}
	return withdraw
}

type subscriber interface {
	Subscribe(context.Context, track.Name, track.SubscribeOptions) (*track.Subscription, error)
}

func (n *net) subscribe(s subscriber) *track.Subscription {
	n.t.Helper()
	sub, err := s.Subscribe(n.ctx, video, track.SubscribeOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	return sub
}

// wantGroup reads the next group, which must be whole.
func wantGroup(t *testing.T, r *track.Reader, id uint64) {
	t.Helper()
	g, err := r.NextGroup(t.Context())
	if err != nil {
		t.Fatalf("NextGroup: %v, want group %d", err, id)
	}
	if g.ID() != id {
		t.Fatalf("group %d, want %d", g.ID(), id)
	}
	for i := range uint64(3) {
		o, err := g.Next(t.Context())
		if err != nil {
			t.Fatalf("group %d object %d: %v", id, i, err)
		}
		if got, want := string(o.Payload), fmt.Sprintf("%d/%d", id, i); got != want {
			t.Fatalf("object %q, want %q", got, want)
		}
	}
	if _, err := g.Next(t.Context()); err != io.EOF {
		t.Fatalf("after the last object of group %d: %v, want EOF", id, err)
	}
}

func TestRelayFansOut(t *testing.T) {
	for _, transport := range []moqt.Transport{moqt.QUIC, moqt.WebTransport} {
		t.Run(string(transport), func(t *testing.T) {
			run(t, relay.Config{}, func(t *testing.T, n *net) {
				cfg := moqttest.Config{Transport: transport, Up: moqttest.Link{Delay: 10 * time.Millisecond}, Down: moqttest.Link{Delay: 10 * time.Millisecond}}
				f := newFeed()
				pub, _ := n.dial(cfg)
				n.announce(pub, f)
				f.group(t, 7)
				var readers []*track.Reader
				for range 5 {
					s, _ := n.dial(cfg)
					readers = append(readers, n.subscribe(s).Track().NewReader(track.CurrentGroup))
				}
				readers = append(readers, n.subscribe(n.r).Track().NewReader(track.CurrentGroup)) // in process
				f.group(t, 8)
				f.t.End(wire.PublishDoneTrackEnded, "over")
				for _, r := range readers {
					wantGroup(t, r, 7) // the group that was current at the join
					wantGroup(t, r, 8)
					if _, err := r.NextGroup(t.Context()); err != io.EOF {
						t.Errorf("after the end: %v, want EOF", err)
					}
				}
			})
		})
	}
}

func TestRelayServesAPublisherInProcess(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		f := newFeed()
		withdraw := n.announce(n.r, f)
		s, _ := n.dial(moqttest.Config{})
		r := n.subscribe(s).Track().NewReader(track.CurrentGroup)
		f.group(t, 1)
		wantGroup(t, r, 1)
		withdraw()
		synctest.Wait()
		_, err := s.Subscribe(n.ctx, track.Name{Namespace: ns, Name: "audio"}, track.SubscribeOptions{})
		wantRefused(t, err, wire.RequestDoesNotExist)
	})
}

func wantRefused(t *testing.T, err error, code wire.RequestCode) {
	t.Helper()
	if refused, ok := errors.AsType[*track.RequestError](err); !ok || refused.Code != code {
		t.Errorf("error %v, want %v", err, code)
	}
}

// A publisher whose connection is cut and that returns within the grace: the
// viewer goes on in the same session and the same subscription.
func TestRelayPublisherReturns(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		first, second := newFeed(), newFeed()
		pub, cut := n.dial(moqttest.Config{})
		n.announce(pub, first)
		viewer, _ := n.dial(moqttest.Config{})
		sub := n.subscribe(viewer)
		r := sub.Track().NewReader(track.CurrentGroup)
		first.group(t, 1)
		wantGroup(t, r, 1)
		cut()
		time.Sleep(4 * time.Second)
		if published, err := n.r.Published(n.ctx); err != nil || len(published) != 1 {
			t.Errorf("published within the grace: %v, %v, want the namespace: it was lost, not withdrawn", published, err)
		}
		again, _ := n.dial(moqttest.Config{})
		n.announce(again, second)
		synctest.Wait()
		second.group(t, 5)
		wantGroup(t, r, 5)
		time.Sleep(time.Minute)
		second.group(t, 6)
		wantGroup(t, r, 6)
	})
}

func TestRelayPublisherStaysAway(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		f := newFeed()
		pub, cut := n.dial(moqttest.Config{})
		n.announce(pub, f)
		viewer, _ := n.dial(moqttest.Config{})
		r := n.subscribe(viewer).Track().NewReader(track.CurrentGroup)
		f.group(t, 1)
		wantGroup(t, r, 1)
		cut()
		lost := time.Now()
		_, err := r.NextGroup(t.Context())
		ended, ok := errors.AsType[*track.EndError](err)
		if !ok || ended.Code != wire.PublishDoneInternalError {
			t.Errorf("the track ended with %v, want INTERNAL_ERROR", err)
		}
		if d := time.Since(lost); d < 5*time.Second || d > 7*time.Second {
			t.Errorf("the track ended after %v, want the grace of 5 s", d)
		}
		published, err := n.r.Published(n.ctx)
		if err != nil || len(published) != 0 {
			t.Errorf("published after the grace: %v, %v, want none", published, err)
		}
	})
}

func TestRelayTellsNamespaces(t *testing.T) {
	run(t, relay.Config{Grace: -1}, func(t *testing.T, n *net) {
		events := make(chan track.NamespaceEvent, 10)
		viewer, _ := n.dial(moqttest.Config{})
		n.wg.Go(func() {
			for ev, err := range viewer.Namespaces(n.ctx, wire.MustNamespace("stream", "local")) {
				if err != nil {
					return
				}
				events <- ev
			}
		})
		pub, _ := n.dial(moqttest.Config{})
		withdraw := n.announce(pub, newFeed())
		if got, want := <-events, (track.NamespaceEvent{Namespace: ns, Active: true}); got != want {
			t.Errorf("event %v, want %v", got, want)
		}
		withdraw()
		if got, want := <-events, (track.NamespaceEvent{Namespace: ns}); got != want {
			t.Errorf("event %v, want %v", got, want)
		}
	})
}

// deny admits every session and refuses every request.
type deny struct{ err error }

func (d deny) Admit(relay.Credentials) (relay.Permit, error) { return d, nil }
func (d deny) Authorize(relay.AuthRequest) (wire.Namespace, error) {
	return wire.Namespace{}, d.err
}
func (deny) Visible(wire.Namespace) bool { return true }
func (deny) Context() context.Context    { return context.Background() }
func (deny) Close()                      {}

func TestRelayAsksTheAuthorizer(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want wire.RequestCode
	}{
		{"plain error", errors.New("secret detail"), wire.RequestUnauthorized},
		{"with a code", &track.RequestError{Code: wire.RequestExpiredAuthToken, Reason: "expired"}, wire.RequestExpiredAuthToken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, relay.Config{Authorizer: deny{tt.err}}, func(t *testing.T, n *net) {
				s, _ := n.dial(moqttest.Config{})
				_, err := s.Subscribe(n.ctx, video, track.SubscribeOptions{})
				wantRefused(t, err, tt.want)
				_, err = s.Announce(n.ctx, ns, newFeed())
				wantRefused(t, err, tt.want)
				_, err = s.Publish(n.ctx, newFeed().t)
				wantRefused(t, err, tt.want)
				for _, err := range s.Namespaces(n.ctx, ns) {
					wantRefused(t, err, tt.want)
					break
				}
			})
		})
	}
}

func TestRelayForwardsPublish(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		f := newFeed()
		pub, _ := n.dial(moqttest.Config{})
		release, err := pub.Publish(n.ctx, f.t)
		if err != nil {
			t.Fatal(err)
		}
		viewer, _ := n.dial(moqttest.Config{})
		r := n.subscribe(viewer).Track().NewReader(track.CurrentGroup)
		f.group(t, 3)
		wantGroup(t, r, 3)
		f.t.End(wire.PublishDoneTrackEnded, "over")
		if _, err := r.NextGroup(t.Context()); err != io.EOF {
			t.Errorf("after the end: %v, want EOF", err)
		}
		release()
	})
}

// doorman admits who carries the word, for as long as ctx lasts. Its guests know
// the broadcast as playback/cam.
type doorman struct{ ctx context.Context }

var alias = wire.MustNamespace("playback", "cam")

func (d doorman) Admit(c relay.Credentials) (relay.Permit, error) {
	if c.Path != "/playback/cam?tok=word" {
		return nil, &track.RequestError{Code: wire.RequestUnauthorized, Reason: "auth_failed: no word"}
	}
	return d, nil
}

func (d doorman) Authorize(r relay.AuthRequest) (wire.Namespace, error) {
	if r.Namespace == alias {
		return ns, nil
	}
	return r.Namespace, nil
}
func (d doorman) Visible(n wire.Namespace) bool { return n == ns }
func (d doorman) Context() context.Context      { return d.ctx }
func (doorman) Close()                          {}

func TestRelayRefusesASession(t *testing.T) {
	run(t, relay.Config{Authorizer: doorman{context.Background()}}, func(t *testing.T, n *net) {
		for _, path := range []string{"", "/playback/cam?tok=other"} {
			cfg := moqttest.Config{Transport: moqt.WebTransport, Path: path}
			asks, _ := n.dial(cfg)
			_, err := asks.Subscribe(n.ctx, video, track.SubscribeOptions{})
			wantRefused(t, err, wire.RequestUnauthorized)
			silent, _ := n.dial(cfg)
			for _, s := range []*moqt.Session{asks, silent} {
				<-s.Done()
				closed, ok := errors.AsType[*moqt.SessionError](context.Cause(s.Conn().Context()))
				if !ok || closed.Code != wire.SessionUnauthorized || closed.Reason != "auth_failed: no word" {
					t.Errorf("closed with %v, want UNAUTHORIZED and the reason", closed)
				}
			}
		}
	})
}

func TestRelayServesUnderTheNameThatThePermitGives(t *testing.T) {
	ctx, revoke := context.WithCancelCause(context.Background())
	defer revoke(nil)
	run(t, relay.Config{Authorizer: doorman{ctx}}, func(t *testing.T, n *net) {
		cfg := moqttest.Config{Transport: moqt.WebTransport, Path: "/playback/cam?tok=word"}
		pub, _ := n.dial(cfg)
		f := newFeed()
		if _, err := pub.Announce(n.ctx, alias, f); err != nil {
			t.Fatal(err)
		}
		viewer, _ := n.dial(cfg)
		for ev, err := range viewer.Namespaces(n.ctx, alias) {
			if want := (track.NamespaceEvent{Namespace: alias, Active: true}); err != nil || ev != want {
				t.Errorf("namespace %v, %v, want %v", ev, err, want)
			}
			break
		}
		sub, err := viewer.Subscribe(n.ctx, track.Name{Namespace: alias, Name: "video"}, track.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f.group(t, 1)
		wantGroup(t, sub.Track().NewReader(track.CurrentGroup), 1)

		revoke(errors.New("auth_failed: revoked"))
		<-viewer.Done()
		closed, ok := errors.AsType[*moqt.SessionError](context.Cause(viewer.Conn().Context()))
		if !ok || closed.Code != wire.SessionUnauthorized || closed.Reason != "auth_failed: revoked" {
			t.Errorf("closed with %v, want UNAUTHORIZED and the reason", closed)
		}
	})
}
