package conformance_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestRoute is about which request of whom goes to whom (section 9).
func TestRoute(t *testing.T) {
	relayed := func(name string, f func(*testing.T, *net)) {
		t.Run(name, func(t *testing.T) { run(t, relay.Config{}, f) })
	}
	relayed("3.2.2_session_level_requests_stay", func(t *testing.T, n *net) {
		pub, sub := n.peer(), n.peer()
		pub.announce(cam)
		sub.subscribe(wire.FullTrackName{Namespace: ns(".session"), Name: "x"}, wire.Params{}).ExpectError(wire.RequestDoesNotExist, wire.TypeSubscribe)
		sub.subscribe(wire.FullTrackName{Namespace: ns(".session", "y")}, wire.Params{}).ExpectError(wire.RequestDoesNotExist, wire.TypeSubscribe)
		pub.noRequest(t, "a session-level track")
	})
	relayed("4_every_request_is_answered", func(t *testing.T, n *net) {
		p := n.peer()
		for _, m := range []wire.Request{
			wire.PublishNamespace{RequestID: 0, Namespace: ns("a")},
			wire.SubscribeNamespace{RequestID: 2, Prefix: ns("b")},
			wire.SubscribeTracks{RequestID: 4, Prefix: ns("c")},
			wire.Publish{RequestID: 6, Track: video, TrackAlias: 1},
			wire.Subscribe{RequestID: 8, Track: audio},
			wire.Fetch{RequestID: 10, FetchType: wire.FetchStandalone, Track: audio, End: at(1, 0)},
			wire.Fetch{RequestID: 12, FetchType: wire.FetchRelativeJoining, JoiningRequestID: 8},
			wire.TrackStatus{RequestID: 14, Track: audio},
		} {
			typ, body := p.Open(m).Message()
			got, err := wire.ParseMessage(typ, body, m.Type())
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := got.(wire.RequestError); ok && e.Code == wire.RequestNotSupported {
				t.Errorf("%v is refused with %v", m.Type(), e.Code)
			}
		}
	})
	relayed("6.2_NAMESPACE_to_every_watcher", func(t *testing.T, n *net) {
		pub := n.peer()
		told := func(p *peer, prefix, suffix wire.Namespace) func() {
			st := p.Open(wire.SubscribeNamespace{RequestID: p.id(), Prefix: prefix})
			st.Expect(wire.RequestOK{})
			return func() {
				t.Helper()
				st.Expect(wire.NamespaceMsg{Suffix: suffix})
				silent(t, "behind it", st)
			}
		}
		checks := []func(){
			told(n.peer(), ns(), cam),
			told(n.peer(), ns("stream"), ns("local", "cam")),
			told(n.peer(), cam, ns()),
			told(pub, ns("stream", "local"), ns("cam")), // its own, too
		}
		other := n.peer()
		elsewhere := other.Open(wire.SubscribeNamespace{RequestID: other.id(), Prefix: ns("stream", "loc")})
		elsewhere.Expect(wire.RequestOK{})
		pub.announce(cam)
		for _, check := range checks {
			check()
		}
		told(n.peer(), ns("stream"), ns("local", "cam"))()
		silent(t, "a prefix of other fields", elsewhere)
	})
	t.Run("7.3_priority_and_order_stay_downstream", func(t *testing.T) {
		params := wire.Params{
			SubscriberPriority: new(uint8(3)), GroupOrder: wire.GroupDescending,
			ObjectDeliveryTimeout: ms(500), SubgroupDeliveryTimeout: ms(700),
		}
		through(t, relay.Config{}, wire.SubscribeOK{}, params, func(t *testing.T, l *live) {
			got := l.asked.Params
			if got.SubscriberPriority != nil || got.GroupOrder != wire.GroupOrderUnset {
				t.Errorf("upstream is asked with priority %v and order %v", got.SubscriberPriority, got.GroupOrder)
			}
			if got.ObjectDeliveryTimeout != nil || got.SubgroupDeliveryTimeout != nil {
				t.Errorf("upstream is asked with the timeouts %v and %v", got.ObjectDeliveryTimeout, got.SubgroupDeliveryTimeout)
			}
		})
	})
	t.Run("9.2_forward_1_upstream", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{Forward: new(false)}, func(t *testing.T, l *live) {
			if f := l.asked.Params.Forward; f != nil && !*f {
				t.Error("upstream is asked with Forward 0")
			}
			l.send(header(l.alias, 3), object("x")).Close()
			l.sub.noData(t, "downstream is at Forward 0")
		})
	})
	relayed("9.4_SUBSCRIBE_OK_waits_for_upstream", func(t *testing.T, n *net) {
		pub, sub := n.peer(), n.peer()
		pub.announce(cam)
		down := sub.subscribe(video, wire.Params{})
		_, up := pub.asked(t)
		time.Sleep(5 * time.Second)
		silent(t, "before upstream's answer", down)
		up.Send(wire.SubscribeOK{TrackAlias: 1})
		message[wire.SubscribeOK](t, down, wire.TypeSubscribe)
	})
	for code, want := range map[wire.RequestCode]wire.RequestCode{
		wire.RequestUnauthorized:          wire.RequestUnauthorized,
		wire.RequestDoesNotExist:          wire.RequestDoesNotExist,
		wire.RequestNotSupported:          wire.RequestNotSupported,
		wire.RequestGoingAway:             wire.RequestDoesNotExist, // not this session does
		wire.RequestRedirect:              wire.RequestDoesNotExist,
		wire.RequestExpiredAuthToken:      wire.RequestInternalError, // not the subscriber's
		wire.RequestDuplicateSubscription: wire.RequestInternalError,
	} {
		relayed("9.4_refused_upstream_"+code.String(), func(t *testing.T, n *net) {
			pub, sub := n.peer(), n.peer()
			pub.announce(cam)
			down := sub.subscribe(video, wire.Params{})
			_, up := pub.asked(t)
			m := wire.RequestError{Code: code}
			if code == wire.RequestRedirect {
				m.Redirect = &wire.Redirect{Track: audio}
			}
			up.Send(m)
			up.Close()
			down.ExpectError(want, wire.TypeSubscribe)
			sub.noRequest(t, "refused")
		})
	}
	t.Run("10.2.11_largest_object", func(t *testing.T) {
		at := wire.Location{Group: 5, Object: 2}
		through(t, relay.Config{}, wire.SubscribeOK{Params: wire.Params{LargestObject: &at}}, wire.Params{}, func(t *testing.T, l *live) {
			largest := func(what string, got *wire.Location, want wire.Location) {
				t.Helper()
				if got == nil || *got != want {
					t.Errorf("%s: LARGEST_OBJECT is %v, want %v", what, got, want)
				}
			}
			late := func() *wire.Location {
				return message[wire.SubscribeOK](t, l.peer().subscribe(video, wire.Params{}), wire.TypeSubscribe).Params.LargestObject
			}
			largest("as upstream told", l.ok.Params.LargestObject, at)
			l.send(header(l.alias, 4), object("older")).Close()
			synctest.Wait()
			largest("behind an older object", late(), at)
			l.send(header(l.alias, 6), object("a"), object("b")).Close()
			l.sub.groups(t, 1)
			largest("behind a newer one", late(), wire.Location{Group: 6, Object: 1})
			l.down.Send(wire.RequestUpdate{RequestID: l.sub.id()})
			largest("in the answer to an update", message[wire.RequestOK](t, l.down, wire.TypeRequestUpdate).Params.LargestObject, wire.Location{Group: 6, Object: 1})
		})
	})
	relayed("9.5_PUBLISH_is_no_namespace", func(t *testing.T, n *net) {
		pub, sub := n.peer(), n.peer()
		pub.publish(t, wire.Publish{Track: video, TrackAlias: 4})
		sub.subscribe(audio, wire.Params{}).ExpectError(wire.RequestDoesNotExist, wire.TypeSubscribe)
		pub.noRequest(t, "a track that was not offered")
	})
	t.Run("9.5_accepted_from_what_runs", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, func(t *testing.T, l *live) {
			late := l.peer()
			message[wire.SubscribeOK](t, late.subscribe(video, wire.Params{}), wire.TypeSubscribe)
			l.pub.noRequest(t, "a second subscriber")
			l.send(header(l.alias, 3), object("x")).Close()
			l.sub.groups(t, 1)
			late.groups(t, 1)
		})
	})
	relayed("9.5_forward_turns_upstream_on", func(t *testing.T, n *net) {
		pub, sub := n.peer(), n.peer()
		st := pub.Open(wire.Publish{RequestID: pub.id(), Track: video, TrackAlias: 4, Params: wire.Params{Forward: new(false)}})
		on := message[wire.RequestOK](t, st, wire.TypePublish).Params.Forward
		sub.subscribe(video, wire.Params{})
		if on == nil || *on {
			return // it is on already
		}
		m := message[wire.RequestUpdate](t, st, wire.TypePublish)
		if m.Params.Forward == nil || !*m.Params.Forward {
			t.Errorf("updated to %+v, want Forward 1", m.Params)
		}
	})
	relayed("10.2.6_held", func(t *testing.T, n *net) {
		pub, sub, short := n.peer(), n.peer(), n.peer()
		start := time.Now()
		down := sub.subscribe(video, wire.Params{RendezvousTimeout: ms(5000)})
		short.subscribe(video, wire.Params{RendezvousTimeout: ms(1000)}).ExpectError(wire.RequestTimeout, wire.TypeSubscribe)
		if took := time.Since(start); took != time.Second {
			t.Errorf("refused after %v, want 1s", took)
		}
		time.Sleep(2 * time.Second)
		silent(t, "held", down)
		pub.announce(cam)
		_, up := pub.asked(t)
		up.Send(wire.SubscribeOK{TrackAlias: 4})
		message[wire.SubscribeOK](t, down, wire.TypeSubscribe)
	})
	relayed("10.2.6_capped", func(t *testing.T, n *net) {
		start := time.Now()
		n.peer().subscribe(video, wire.Params{RendezvousTimeout: ms(3_600_000)}).ExpectError(wire.RequestTimeout, wire.TypeSubscribe)
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("refused after %v, want 10s", took)
		}
	})
	relayed("10.2.6_not_held", func(t *testing.T, n *net) {
		sub, start := n.peer(), time.Now()
		sub.subscribe(video, wire.Params{}).ExpectError(wire.RequestDoesNotExist, wire.TypeSubscribe)
		sub.subscribe(video, wire.Params{RendezvousTimeout: ms(0)}).ExpectError(wire.RequestDoesNotExist, wire.TypeSubscribe)
		if took := time.Since(start); took != 0 {
			t.Errorf("refused after %v, want at once", took)
		}
	})
	t.Run("13_each_subscriber_is_authorized", func(t *testing.T) {
		run(t, relay.Config{Authorizer: byToken{}}, func(t *testing.T, n *net) {
			shown := wire.Params{Tokens: []wire.Token{{AliasType: wire.TokenUseValue, Value: []byte("good")}}}
			pub, first, second := n.peer(), n.peer(), n.peer()
			pub.Open(wire.PublishNamespace{RequestID: pub.id(), Namespace: cam, Params: shown}).Expect(wire.RequestOK{})
			down := first.subscribe(video, shown)
			_, up := pub.asked(t)
			up.Send(wire.SubscribeOK{TrackAlias: 9})
			message[wire.SubscribeOK](t, down, wire.TypeSubscribe)
			second.subscribe(video, wire.Params{}).ExpectError(wire.RequestUnauthorized, wire.TypeSubscribe)
			up2 := pub.OpenUni(header(9, 1), object("x"))
			up2.Close()
			first.groups(t, 1)
			second.noData(t, "refused")
			synctest.Wait()
			second.ExpectOpen()
		})
	})
}

// byToken admits everybody, and allows what is asked with the token "good".
type byToken struct{}

func (byToken) Admit(relay.Credentials) (relay.Permit, error) { return byToken{}, nil }

func (byToken) Authorize(r relay.AuthRequest) (wire.Namespace, error) {
	for _, tok := range r.Tokens {
		if string(tok.Value) == "good" {
			return r.Namespace, nil
		}
	}
	return wire.Namespace{}, errUnauthorized
}

func (byToken) Visible(wire.Namespace) bool { return true }
func (byToken) Context() context.Context    { return context.Background() }
func (byToken) Close()                      {}
