package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/client"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

var (
	ns    = wire.MustNamespace("stream", "local", "cam")
	video = track.Name{Namespace: ns, Name: "video"}
)

// A net is relays by their URL, inside a bubble.
type net struct {
	t      *testing.T
	ctx    context.Context
	wg     sync.WaitGroup
	mu     sync.Mutex
	relays map[string]*relay.Relay
	dialed []string
}

func run(t *testing.T, f func(*testing.T, *net)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		n := &net{t: t, ctx: ctx, relays: make(map[string]*relay.Relay)}
		defer n.wg.Wait()
		defer cancel(errors.New("the test is over"))
		f(t, n)
	})
}

func (n *net) relay(url string, cfg relay.Config) *relay.Relay {
	r, err := relay.New(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	n.relays[url] = r
	n.mu.Unlock()
	n.wg.Go(func() { r.Run(n.ctx) })
	return r
}

func (n *net) dial(_ context.Context, to string) (*moqt.Session, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	r := n.relays[u.Scheme+"://"+u.Host]
	if r == nil {
		return nil, errors.New("nobody is there")
	}
	n.dialed = append(n.dialed, to)
	link := moqttest.Link{Delay: 20 * time.Millisecond}
	here, there := moqttest.Pair(moqttest.Config{Up: link, Down: link})
	n.wg.Go(func() { r.Serve(n.ctx, there) })
	return moqt.NewSession(here, moqt.Config{Path: u.RequestURI()})
}

// client runs a client at url; ended gets what Run returned.
func (n *net) client(url string) (c *client.Client, ended chan error) {
	c, err := client.Dial(n.ctx, client.Config{URL: url, Dial: n.dial})
	if err != nil {
		n.t.Fatal(err)
	}
	ended = make(chan error, 1)
	n.wg.Go(func() { ended <- c.Run(n.ctx) })
	return c, ended
}

// A feed is a publisher of one track.
type feed struct{ t *track.Track }

func newFeed() feed { return feed{track.New(video, track.Info{Local: true}, track.Config{})} }

func (f feed) Track(name string) (*track.Track, bool) { return f.t, name == video.Name }

// publish writes groups of ten objects, one each 20 ms, until stop is closed, and
// returns how many it wrote.
func (f feed) publish(ctx context.Context, t *testing.T, stop <-chan struct{}) (groups uint64) {
	for ; ; groups++ {
		w, err := f.t.Subgroup(track.SubgroupHeader{Group: groups, EndOfGroup: true, FirstObject: true})
		if err != nil {
			t.Error(err)
			return groups
		}
		for i := range uint64(10) {
			time.Sleep(20 * time.Millisecond) // virtual
			if ctx.Err() != nil {
				return groups
			}
			if err := w.WriteObject(track.Object{ID: i, Payload: fmt.Appendf(nil, "%d/%d", groups, i)}); err != nil {
				t.Error(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		select {
		case <-stop:
			return groups + 1
		default:
		}
	}
}

// A rolling restart: the relay sends everybody to another one and ends. A viewer
// gets every object once, in one track, and never hears of it (sections 9.4.1
// and 9.5.1).
func TestMove(t *testing.T) {
	for _, tt := range []struct{ name, uri, next string }{
		{"3.6_to_another_URI", "moqt://b.example", "moqt://b.example"},
		{"10.4_to_the_same_URI", "", "moqt://a.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, n *net) {
				a := n.relay("moqt://a.example", relay.Config{})
				f := newFeed()
				pub, pubEnded := n.client("moqt://a.example")
				if _, err := pub.Announce(n.ctx, ns, f); err != nil {
					t.Fatal(err)
				}
				view, _ := n.client("moqt://a.example")
				sub, err := view.Subscribe(n.ctx, video, track.SubscribeOptions{})
				if err != nil {
					t.Fatal(err)
				}
				r := sub.Track().NewReader(track.CurrentGroup)
				stop := make(chan struct{})
				wrote := make(chan uint64, 1)
				n.wg.Go(func() { wrote <- f.publish(n.ctx, t, stop) })
				drained := make(chan time.Duration, 1)
				n.wg.Go(func() {
					time.Sleep(1030 * time.Millisecond) // into the middle of a group
					n.relay(tt.next, relay.Config{})
					began := time.Now()
					a.Drain(n.ctx, tt.uri, 10*time.Second)
					drained <- time.Since(began)
				})
				for id := uint64(0); id < 40; id++ {
					g, err := r.NextGroup(n.ctx)
					if err != nil {
						t.Fatalf("before group %d: %v", id, err)
					}
					if g.ID() != id {
						t.Fatalf("group %d, want %d", g.ID(), id)
					}
					for i := range uint64(10) {
						o, err := g.Next(n.ctx)
						if err != nil {
							t.Fatalf("group %d object %d: %v", id, i, err)
						}
						if got, want := string(o.Payload), fmt.Sprintf("%d/%d", id, i); got != want {
							t.Fatalf("object %q, want %q", got, want)
						}
					}
				}
				if d := <-drained; d > 5*time.Second {
					t.Errorf("the relay needed %v to drain, want it not to wait for its timeout", d)
				}
				for _, c := range []*client.Client{pub, view} {
					if s := c.Session(); s.ID() == 0 || over(s.Done()) {
						t.Error("the current session is over")
					}
				}
				select {
				case err := <-pubEnded:
					t.Errorf("the publisher ended: %v", err)
				default:
				}
				close(stop)
				if groups := <-wrote; groups < 40 {
					t.Errorf("%d groups were published", groups)
				}
			})
		})
	}
}

func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// A relay that leads nowhere is stayed with until it closes the session.
func TestMoveInVain(t *testing.T) {
	for _, tt := range []struct{ name, uri string }{
		{"nobody_there", "moqt://nowhere.example"},
		{"3.6_another_scheme", "https://a.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, n *net) {
				a := n.relay("moqt://a.example", relay.Config{})
				n.relay("https://a.example", relay.Config{})
				f := newFeed()
				if _, err := a.Announce(n.ctx, ns, f); err != nil {
					t.Fatal(err)
				}
				view, ended := n.client("moqt://a.example")
				sub, err := view.Subscribe(n.ctx, video, track.SubscribeOptions{})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				n.wg.Go(func() { a.Drain(n.ctx, tt.uri, 3*time.Second) })
				<-ended
				if d := time.Since(began); d < 2900*time.Millisecond || d > 4*time.Second {
					t.Errorf("the session ended after %v, want all the time that the relay gave", d)
				}
				if _, err := sub.Track().NewReader(track.CurrentGroup).NextGroup(n.ctx); err == nil {
					t.Error("the track goes on")
				}
				if len(n.dialed) != 1 {
					t.Errorf("dialed %v", n.dialed)
				}
			})
		})
	}
}
