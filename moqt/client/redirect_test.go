package client_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A sender answers SUBSCRIBE with a REDIRECT each, and keeps what it is shown.
type sender struct {
	to     []wire.Redirect
	paths  []string
	tokens []string // of each SUBSCRIBE
}

func (s *sender) Admit(c relay.Credentials) (relay.Permit, error) {
	s.paths = append(s.paths, c.Path)
	return s, nil
}

func (s *sender) Authorize(r relay.AuthRequest) (wire.Namespace, error) {
	if r.Action == relay.SubscribeTrack {
		var shown []byte
		for _, t := range r.Tokens {
			shown = append(shown, t.Value...)
		}
		s.tokens = append(s.tokens, string(shown))
	}
	if r.Action != relay.SubscribeTrack || len(s.to) == 0 {
		return r.Namespace, nil
	}
	to := s.to[0]
	s.to = s.to[1:]
	return wire.Namespace{}, &track.RequestError{Code: wire.RequestRedirect, Reason: "there", Redirect: &to}
}
func (*sender) Visible(wire.Namespace) bool { return true }
func (*sender) Context() context.Context    { return context.Background() }
func (*sender) Close()                      {}

func TestRedirect(t *testing.T) {
	elsewhere := wire.Redirect{ConnectURI: "moqt://b.example"}
	here := wire.Redirect{Track: video}
	for _, tt := range []struct {
		name string
		to   []wire.Redirect
		ok   bool
	}{
		{"10.6.1_another_name", []wire.Redirect{here}, true},
		{"10.6.1_another_relay", []wire.Redirect{elsewhere}, true},
		{"three_hops", []wire.Redirect{here, here, elsewhere}, true},
		{"no_more_than_three", []wire.Redirect{here, here, here, here}, false},
		{"10.6.1_another_scheme", []wire.Redirect{{ConnectURI: "https://b.example"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, n *net) {
				a := n.relay("moqt://a.example", relay.Config{Authorizer: &sender{to: tt.to}})
				b := n.relay("moqt://b.example", relay.Config{})
				for _, r := range []*relay.Relay{a, b} {
					if _, err := r.Announce(n.ctx, ns, newFeed()); err != nil {
						t.Fatal(err)
					}
				}
				c, _ := n.client("moqt://a.example")
				_, err := c.Subscribe(n.ctx, video, track.SubscribeOptions{})
				if (err == nil) != tt.ok {
					t.Errorf("Subscribe: %v, want success %t", err, tt.ok)
				}
			})
		})
	}
}

// Whoever is redirected shows its tokens to nobody else, but for what the
// redirect itself brings.
func TestRedirectTokens(t *testing.T) {
	for _, tt := range []struct {
		name  string
		to    string
		host  string   // of whom is asked next
		shown []string // with the SUBSCRIBEs there
		path  string
	}{
		{"another_host", "moqt://b.example", "moqt://b.example", []string{""}, "/"},
		{"another_host_with_a_token_of_its_own", "moqt://b.example/live?tok=its", "moqt://b.example", []string{""}, "/live?tok=its"},
		{"another_port", "moqt://a.example:444/live", "moqt://a.example:444", []string{""}, "/live"},
		{"the_same_host", "moqt://a.example/live", "moqt://a.example", []string{"mine", "mine"}, "/live"},
		{"the_same_session", "", "moqt://a.example", []string{"mine", "mine"}, "/?tok=url"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, n *net) {
				to := wire.Redirect{ConnectURI: tt.to}
				if tt.to == "" {
					to.Track = video
				}
				seen := map[string]*sender{"moqt://a.example": {to: []wire.Redirect{to}}}
				if seen[tt.host] == nil {
					seen[tt.host] = new(sender)
				}
				for host, s := range seen {
					if _, err := n.relay(host, relay.Config{Authorizer: s}).Announce(n.ctx, ns, newFeed()); err != nil {
						t.Fatal(err)
					}
				}
				c, _ := n.client("moqt://a.example/?tok=url")
				_, err := c.Subscribe(n.ctx, video, track.SubscribeOptions{Tokens: []track.Token{{Type: 1, Value: []byte("mine")}}})
				if err != nil {
					t.Fatal(err)
				}
				s := seen[tt.host]
				if !slices.Equal(s.tokens, tt.shown) {
					t.Errorf("shown %q, want %q", s.tokens, tt.shown)
				}
				if got := s.paths[len(s.paths)-1]; got != tt.path {
					t.Errorf("reached with %q, want %q", got, tt.path)
				}
			})
		})
	}
}

// A session that a REDIRECT has led to follows GOAWAY, too: a rolling restart
// there loses nothing, and whoever is redirected later finds it where it went.
func TestRedirectMoves(t *testing.T) {
	run(t, func(t *testing.T, n *net) {
		there := wire.Redirect{ConnectURI: "moqt://b.example"}
		n.relay("moqt://a.example", relay.Config{Authorizer: &sender{to: []wire.Redirect{there, there}}})
		b, c := n.relay("moqt://b.example", relay.Config{}), n.relay("moqt://c.example", relay.Config{})
		f := newFeed()
		for _, r := range []*relay.Relay{b, c} {
			if _, err := r.Announce(n.ctx, ns, f); err != nil {
				t.Fatal(err)
			}
		}
		view, ended := n.client("moqt://a.example")
		sub, err := view.Subscribe(n.ctx, video, track.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r := sub.Track().NewReader(track.CurrentGroup)
		stop := make(chan struct{})
		n.wg.Go(func() { f.publish(n.ctx, t, stop) })
		drained := make(chan time.Duration, 1)
		n.wg.Go(func() {
			time.Sleep(1030 * time.Millisecond) // into the middle of a group
			began := time.Now()
			b.Drain(n.ctx, "moqt://c.example", 10*time.Second)
			drained <- time.Since(began)
		})
		for id := uint64(0); id < 40; id++ {
			g, err := r.NextGroup(n.ctx)
			if err != nil {
				t.Fatalf("before group %d: %v", id, err)
			}
			for i := range uint64(10) {
				o, err := g.Next(n.ctx)
				if err != nil || g.ID() != id || o.ID != i {
					t.Fatalf("object %d of group %d, %v, want object %d of group %d", o.ID, g.ID(), err, i, id)
				}
			}
		}
		if d := <-drained; d > 5*time.Second {
			t.Errorf("the relay needed %v to drain, want it not to wait for its timeout", d)
		}
		if _, err := view.Subscribe(n.ctx, track.Name{Namespace: ns, Name: "other"}, track.SubscribeOptions{}); err == nil {
			t.Error("there is another track")
		}
		if want := []string{"moqt://a.example", "moqt://b.example", "moqt://c.example"}; !slices.Equal(n.dialed, want) {
			t.Errorf("dialed %v, want %v", n.dialed, want)
		}
		select {
		case err := <-ended:
			t.Errorf("the client ended: %v", err)
		default:
		}
		close(stop)
	})
}
