package client_test

import (
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A relay that goes away and leads to itself is come back to with pauses that
// grow to two seconds, until another one is there.
func TestMoveToTheSame(t *testing.T) {
	run(t, func(t *testing.T, n *net) {
		const url, drain = "moqt://a.example", 30 * time.Second
		a := n.relay(url, relay.Config{})
		f := newFeed()
		if _, err := a.Announce(n.ctx, ns, f); err != nil {
			t.Fatal(err)
		}
		view, ended := n.client(url)
		sub, err := view.Subscribe(n.ctx, video, track.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n.wg.Go(func() { a.Drain(n.ctx, "", drain) })
		time.Sleep(20 * time.Second) // virtual
		n.mu.Lock()
		dials := len(n.dialed)
		n.mu.Unlock()
		// Pauses of 0.1, 0.2, … 1.6, 2, 2 s, less up to half: 9 to 28 of them.
		if dials < 9 || dials > 28 {
			t.Errorf("%d sessions within 20 s", dials)
		}
		b := n.relay(url, relay.Config{})
		if _, err := b.Announce(n.ctx, ns, f); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		n.mu.Lock()
		dials = len(n.dialed)
		n.mu.Unlock()
		time.Sleep(20 * time.Second)
		if len(n.dialed) != dials {
			t.Errorf("%d more sessions once the relay stays", len(n.dialed)-dials)
		}
		select {
		case err := <-ended:
			t.Fatalf("the client ended: %v", err)
		default:
		}
		w, err := f.t.Subgroup(track.SubgroupHeader{FirstObject: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteObject(track.Object{Payload: []byte("there")}); err != nil {
			t.Fatal(err)
		}
		if _, err := sub.Track().NewReader(track.CurrentGroup).NextGroup(n.ctx); err != nil {
			t.Errorf("after the moves: %v", err)
		}
	})
}

// A busy relay refuses requests with an interval of its own.
type busy struct {
	after time.Duration
	code  wire.RequestCode
	left  int // refusals to come
	sender

	mu sync.Mutex
	at []time.Time
}

func (b *busy) Admit(relay.Credentials) (relay.Permit, error) { return b, nil }

func (b *busy) Authorize(r relay.AuthRequest) (wire.Namespace, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = append(b.at, time.Now())
	if b.left == 0 {
		return r.Namespace, nil
	}
	b.left--
	return wire.Namespace{}, &track.RequestError{Code: b.code, Reason: "not now", RetryAfter: b.after}
}

// A request is made again after the interval that its refusal states, never when
// it states none, and not beyond Patience (section 10.6.2).
func TestRetryInterval(t *testing.T) {
	for _, tt := range []struct {
		name    string
		code    wire.RequestCode
		after   time.Duration
		refused int
		asked   int
		ok      bool
	}{
		{"10.6.2_later", wire.RequestExcessiveLoad, time.Second, 3, 4, true},
		{"10.6.2_a_token_that_is_not_valid_yet", wire.RequestUnauthorized, 4 * time.Second, 1, 2, true},
		{"10.6.2_never", wire.RequestUnauthorized, 0, 1, 1, false},
		{"10.6.2_too_late", wire.RequestExcessiveLoad, 20 * time.Second, 1, 1, false},
		{"no_longer_than_patience", wire.RequestExcessiveLoad, 3 * time.Second, 100, 4, false},
		{"the_caller_knows_when", wire.RequestDoesNotExist, time.Second, 1, 1, false},
	} {
		for _, announce := range []bool{false, true} {
			name := tt.name + "/SUBSCRIBE"
			if announce {
				name = tt.name + "/PUBLISH_NAMESPACE"
			}
			t.Run(name, func(t *testing.T) {
				run(t, func(t *testing.T, n *net) {
					b := &busy{after: tt.after, code: tt.code, left: tt.refused}
					r := n.relay("moqt://a.example", relay.Config{Authorizer: b})
					if _, err := r.Announce(n.ctx, ns, newFeed()); err != nil {
						t.Fatal(err)
					}
					c, _ := n.client("moqt://a.example")
					var err error
					if announce {
						_, err = c.Announce(n.ctx, ns, newFeed())
					} else {
						_, err = c.Subscribe(n.ctx, video, track.SubscribeOptions{})
					}
					if (err == nil) != tt.ok {
						t.Errorf("the request: %v, want success %t", err, tt.ok)
					}
					// The interval is spread by a quarter, so that fewer may fit.
					b.mu.Lock()
					defer b.mu.Unlock()
					if len(b.at) > tt.asked || len(b.at) < min(tt.asked, 3) {
						t.Fatalf("asked %d times, want %d", len(b.at), tt.asked)
					}
					for i := 1; i < len(b.at); i++ {
						if d := b.at[i].Sub(b.at[i-1]); d < tt.after || d > tt.after*5/4+100*time.Millisecond {
							t.Errorf("asked again after %v, want %v and up to a quarter", d, tt.after)
						}
					}
				})
			})
		}
	}
}

// A subscription and a namespace that the next relay refuses for a moment move
// all the same.
func TestMoveToABusyRelay(t *testing.T) {
	run(t, func(t *testing.T, n *net) {
		a := n.relay("moqt://a.example", relay.Config{})
		f := newFeed()
		pub, pubEnded := n.client("moqt://a.example")
		if _, err := pub.Announce(n.ctx, ns, f); err != nil {
			t.Fatal(err)
		}
		view, viewEnded := n.client("moqt://a.example")
		sub, err := view.Subscribe(n.ctx, video, track.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b := &busy{after: 500 * time.Millisecond, code: wire.RequestExcessiveLoad, left: 4}
		n.relay("moqt://b.example", relay.Config{Authorizer: b})
		a.Drain(n.ctx, "moqt://b.example", 20*time.Second)
		w, err := f.t.Subgroup(track.SubgroupHeader{FirstObject: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteObject(track.Object{Payload: []byte("there")}); err != nil {
			t.Fatal(err)
		}
		if _, err := sub.Track().NewReader(track.CurrentGroup).NextGroup(n.ctx); err != nil {
			t.Errorf("after the move: %v", err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.left != 0 {
			t.Errorf("%d refusals are left", b.left)
		}
		select {
		case err := <-pubEnded:
			t.Errorf("the publisher ended: %v", err)
		case err := <-viewEnded:
			t.Errorf("the viewer ended: %v", err)
		default:
		}
	})
}
