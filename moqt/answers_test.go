package moqt_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// handled runs f with a session, and a handler that keeps the last request of
// each kind.
func handled(t *testing.T, client bool, f func(t *testing.T, p *moqttest.Peer, got *requests)) {
	t.Helper()
	got := &requests{}
	cfg := moqt.Config{Handler: handler{
		subscribe:          func(r *moqt.SubscribeRequest) { got.sub = r },
		publish:            func(r *moqt.PublishRequest) { got.pub = r },
		publishNamespace:   func(r *moqt.PublishNamespaceRequest) { got.pubNS = r },
		subscribeNamespace: func(r *moqt.SubscribeNamespaceRequest) { got.subNS = r },
		subscribeTracks:    func(r *moqt.SubscribeTracksRequest) { got.tracks = r },
	}}
	script(t, client, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session) {
		p.Setup(wire.Setup{})
		f(t, p, got)
	})
}

type requests struct {
	sub    *moqt.SubscribeRequest
	pub    *moqt.PublishRequest
	pubNS  *moqt.PublishNamespaceRequest
	subNS  *moqt.SubscribeNamespaceRequest
	tracks *moqt.SubscribeTracksRequest
}

func TestRedirect(t *testing.T) {
	elsewhere := track.Redirect{ConnectURI: "moqt://b.example", Track: track.Name{Namespace: ns("x"), Name: "y"}}
	here := track.Redirect{Track: track.Name{Namespace: ns("x"), Name: "y"}}
	nameless := track.Redirect{ConnectURI: "moqt://b.example", Track: track.Name{Namespace: ns("x")}}
	for _, tt := range []struct {
		name   string
		client bool // the session is one
		open   func(id uint64) wire.Message
		answer func(*requests)
		want   wire.RequestError
	}{
		{
			name: "10.6.1 a track", open: func(id uint64) wire.Message { return sub(id) },
			answer: func(r *requests) { r.sub.Redirect(elsewhere, "there") },
			want:   wire.RequestError{Code: wire.RequestRedirect, Reason: "there", Redirect: &elsewhere},
		},
		{
			name: "10.6.1 a namespace has no track name", open: func(id uint64) wire.Message { return wire.PublishNamespace{RequestID: id, Namespace: cam} },
			answer: func(r *requests) { r.pubNS.Redirect(elsewhere, "") },
			want:   wire.RequestError{Code: wire.RequestRedirect, Redirect: &nameless},
		},
		{
			name: "10.6.1 nor has a prefix", open: func(id uint64) wire.Message { return wire.SubscribeNamespace{RequestID: id, Prefix: cam} },
			answer: func(r *requests) { r.subNS.Redirect(elsewhere, "") },
			want:   wire.RequestError{Code: wire.RequestRedirect, Redirect: &nameless},
		},
		{
			name: "10.6.1 a client names no URI", client: true, open: func(id uint64) wire.Message { return sub(id) },
			answer: func(r *requests) { r.sub.Redirect(elsewhere, "") },
			want:   wire.RequestError{Code: wire.RequestInternalError, Reason: "the request can only succeed elsewhere"},
		},
		{
			name: "10.6.1 a client names a track", client: true, open: func(id uint64) wire.Message { return sub(id) },
			answer: func(r *requests) { r.sub.Redirect(here, "") },
			want:   wire.RequestError{Code: wire.RequestRedirect, Redirect: &here},
		},
		{
			name: "10.6.1 more than a message takes", open: func(id uint64) wire.Message { return sub(id) },
			answer: func(r *requests) { r.sub.Redirect(track.Redirect{ConnectURI: strings.Repeat("x", 1<<16)}, "") },
			want:   wire.RequestError{Code: wire.RequestInternalError, Reason: "the request can only succeed elsewhere"},
		},
		{
			name: "10.6 when to retry", open: func(id uint64) wire.Message { return sub(id) },
			answer: func(r *requests) {
				r.sub.Refuse(&moqt.RequestError{Code: wire.RequestRedirect, RetryAfter: time.Minute})
			},
			want: wire.RequestError{Code: wire.RequestRedirect, Retry: true, RetryAfter: time.Minute, Redirect: &wire.Redirect{}},
		},
		{
			name: "10.6 retry at once", open: func(id uint64) wire.Message { return sub(id) },
			answer: func(r *requests) {
				r.sub.Refuse(&moqt.RequestError{Code: wire.RequestUnauthorized, RetryAfter: 1, Redirect: &here})
			},
			want: wire.RequestError{Code: wire.RequestUnauthorized, Retry: true},
		},
		{
			name: "10.6 an expired token", open: func(id uint64) wire.Message { return sub(id) },
			answer: func(r *requests) { r.sub.Reject(wire.RequestExpiredAuthToken, "") },
			want:   wire.RequestError{Code: wire.RequestExpiredAuthToken},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			handled(t, tt.client, func(_ *testing.T, p *moqttest.Peer, got *requests) {
				id := uint64(0)
				if tt.client {
					id = 1
				}
				st := p.Open(tt.open(id))
				synctest.Wait()
				tt.answer(got)
				st.Expect(tt.want)
				st.ExpectFIN()
			})
		})
	}
	t.Run("10.6.1 received", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			out := subscribeAside(t, s)
			p.Accept().Send(wire.RequestError{Code: wire.RequestRedirect, Retry: true, RetryAfter: time.Second, Redirect: &elsewhere})
			e, ok := errors.AsType[*moqt.RequestError]((<-out).err)
			if !ok || e.Redirect == nil || *e.Redirect != elsewhere || e.RetryAfter != time.Second {
				t.Errorf("Subscribe: %+v, want a redirect to %+v", e, elsewhere)
			}
		})
	})
	t.Run("10.6.1 a client redirects to a URI", func(t *testing.T) {
		script(t, false, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			subscribeAside(t, s)
			p.Accept().Send(wire.RequestError{Code: wire.RequestRedirect, Redirect: &elsewhere})
			p.ExpectClose(wire.SessionProtocolViolation)
		})
	})
	t.Run("10.6.1 and in answer to an update", func(t *testing.T) {
		script(t, false, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			got, st := subscribeOver(t, p, s, 1)
			got.Update(track.SubscribeUpdate{})
			st.Send(wire.RequestError{Code: wire.RequestRedirect, Redirect: &elsewhere})
			p.ExpectClose(wire.SessionProtocolViolation)
		})
	})
}

func TestExpires(t *testing.T) {
	expired := func(t *testing.T, st *moqttest.PeerStream) {
		t.Helper()
		typ, body := st.Message()
		m, err := wire.ParsePublishDone(body)
		if typ != wire.TypePublishDone || err != nil || m.Status != wire.PublishDoneExpired {
			t.Fatalf("read %v %+v, %v, want PUBLISH_DONE EXPIRED", typ, m, err)
		}
		st.ExpectFIN()
	}
	t.Run("10.2.10 of a subscription", func(t *testing.T) {
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			st := p.Open(sub(0))
			synctest.Wait()
			got.sub.ExpireAt(time.Now().Add(time.Minute))
			got.sub.Accept(newTrack())
			st.Expect(wire.SubscribeOK{TrackAlias: 1, Params: wire.Params{Expires: new(time.Minute)}})
			time.Sleep(59 * time.Second)
			synctest.Wait()
			if st.Pending() {
				t.Fatal("it ends before its time")
			}
			time.Sleep(time.Second)
			expired(t, st)
		})
	})
	t.Run("10.2.10 extended by an update", func(t *testing.T) {
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			st := p.Open(sub(0))
			synctest.Wait()
			got.sub.ExpireAt(time.Now().Add(time.Minute))
			token := wire.Token{AliasType: wire.TokenUseValue, Type: 1, Value: []byte("new")}
			got.sub.OnUpdate(func(u wire.Params) error {
				if len(u.Tokens) == 1 && string(u.Tokens[0].Value) == "new" {
					got.sub.ExpireAt(time.Now().Add(time.Hour))
				}
				return nil
			})
			got.sub.Accept(newTrack())
			st.Message()
			st.Send(wire.RequestUpdate{RequestID: 2})
			st.Expect(wire.RequestOK{Params: wire.Params{Expires: new(time.Minute)}})
			st.Send(wire.RequestUpdate{RequestID: 4, Params: wire.Params{Tokens: []wire.Token{token}}})
			st.Expect(wire.RequestOK{Params: wire.Params{Expires: new(time.Hour)}})
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if st.Pending() {
				t.Fatal("it ends at the old time")
			}
			time.Sleep(time.Hour)
			expired(t, st)
		})
	})
	t.Run("10.2.10 of a publication", func(t *testing.T) {
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			st := p.Open(wire.Publish{Track: video, TrackAlias: 1})
			synctest.Wait()
			got.pub.ExpireAt(time.Now().Add(time.Minute))
			got.pub.AcceptWith(track.SubscribeOptions{Paused: true, Priority: 3, HasPriority: true})
			st.Expect(wire.RequestOK{Params: wire.Params{Expires: new(time.Minute), Forward: new(false), SubscriberPriority: new(uint8(3))}})
			time.Sleep(time.Minute)
			st.ExpectReset(wire.ResetExpiredAuthToken)
			st.ExpectStop(wire.ResetExpiredAuthToken)
		})
	})
	t.Run("3.3.3 of a namespace", func(t *testing.T) {
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			st := p.Open(wire.PublishNamespace{Namespace: cam})
			synctest.Wait()
			got.pubNS.ExpireAt(time.Now().Add(time.Minute))
			got.pubNS.Accept()
			st.Expect(wire.RequestOK{})
			got.pubNS.ExpireAt(time.Time{})
			time.Sleep(time.Hour)
			got.pubNS.ExpireAt(time.Now())
			st.ExpectReset(wire.ResetExpiredAuthToken)
		})
	})
	t.Run("10.6.2 before the answer", func(t *testing.T) {
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			st := p.Open(sub(0))
			synctest.Wait()
			got.sub.ExpireAt(time.Now().Add(time.Second))
			st.ExpectError(wire.RequestExpiredAuthToken, wire.TypeSubscribe)
		})
	})
}

// TestOnUpdate is about updates that somebody has to agree to.
func TestOnUpdate(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want wire.RequestError
	}{
		{"10.9 as it says", &moqt.RequestError{Code: wire.RequestExpiredAuthToken, Reason: "old"}, wire.RequestError{Code: wire.RequestExpiredAuthToken, Reason: "old"}},
		{"10.9 as anybody may know", errors.New("a secret"), wire.RequestError{Code: wire.RequestUnauthorized, Reason: "not authorized"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
				st := p.Open(wire.SubscribeNamespace{})
				synctest.Wait()
				got.subNS.Accept()
				st.Expect(wire.RequestOK{})
				got.subNS.OnUpdate(func(wire.Params) error { return tt.err })
				st.Send(wire.RequestUpdate{RequestID: 2})
				st.Expect(tt.want)
				st.ExpectFIN()
			})
		})
	}
	t.Run("10.9 in order, also before the answer", func(t *testing.T) {
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			st := p.Open(sub(0))
			synctest.Wait()
			var asked []uint8
			got.sub.OnUpdate(func(u wire.Params) error { asked = append(asked, *u.SubscriberPriority); return nil })
			for i := range uint8(4) {
				st.Send(wire.RequestUpdate{RequestID: 2 + 2*uint64(i), Params: wire.Params{SubscriberPriority: &i}})
			}
			synctest.Wait()
			if st.Pending() || string(asked) != "\x00\x01\x02\x03" {
				t.Fatalf("asked about the priorities %v; answered already: %t", asked, st.Pending())
			}
			got.sub.Accept(newTrack())
			st.Expect(wire.SubscribeOK{TrackAlias: 1}, wire.RequestOK{}, wire.RequestOK{}, wire.RequestOK{}, wire.RequestOK{})
		})
	})
}

// TestMovePrefix is about SUBSCRIBE_NAMESPACE; TestSubscribeTracks has the other.
func TestMovePrefix(t *testing.T) {
	a, ab, ac, b := ns("a"), ns("a", "b"), ns("a", "c"), ns("b")
	handled(t, false, func(_ *testing.T, p *moqttest.Peer, got *requests) {
		st := p.Open(wire.SubscribeNamespace{Prefix: a})
		synctest.Wait()
		got.subNS.OnUpdate(func(wire.Params) error { return nil })
		got.subNS.Accept()
		got.subNS.Announce(ab)
		got.subNS.Announce(ac)
		st.Expect(wire.RequestOK{}, wire.NamespaceMsg{Suffix: ns("b")}, wire.NamespaceMsg{Suffix: ns("c")})
		// To a longer prefix: what is below it and known is not said again.
		st.Send(wire.RequestUpdate{RequestID: 2, Params: wire.Params{NamespacePrefix: &ab}})
		st.Expect(wire.RequestOK{})
		got.subNS.Announce(ab)
		got.subNS.Announce(ns("a", "b", "x"))
		st.Expect(wire.NamespaceMsg{Suffix: ns("x")})
		got.subNS.Withdraw(ab)
		st.Expect(wire.NamespaceDone{})
		// What goes before it is announced anew is gone all the same.
		st.Send(wire.RequestUpdate{RequestID: 4, Params: wire.Params{NamespacePrefix: &a}})
		st.Expect(wire.RequestOK{})
		got.subNS.Withdraw(ns("a", "b", "x"))
		st.Expect(wire.NamespaceDone{Suffix: ns("b", "x")})
		got.subNS.Announce(ac)
		st.Expect(wire.NamespaceMsg{Suffix: ns("c")})
		// Elsewhere: nothing of it may be named.
		st.Send(wire.RequestUpdate{RequestID: 6, Params: wire.Params{NamespacePrefix: &b}})
		st.Expect(wire.RequestOK{})
		got.subNS.Withdraw(ac)
		got.subNS.Announce(b)
		st.Expect(wire.NamespaceMsg{})
		st.Send(wire.RequestUpdate{RequestID: 8, Params: wire.Params{NamespacePrefix: new(ns(".session"))}})
		st.ExpectError(wire.RequestDoesNotExist, wire.TypeRequestUpdate)
	})
	t.Run("10.9.2 of what the session itself announces", func(t *testing.T) {
		script(t, false, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{Other: []wire.KeyValue{{Type: 0x40b5a, Uint: 1}}})
			for _, n := range []track.Namespace{ab, ac, b} {
				if _, err := s.Announce(t.Context(), n, tracks{}); err != nil {
					t.Fatal(err)
				}
			}
			st := p.Open(wire.SubscribeNamespace{Prefix: ab})
			st.Expect(wire.RequestOK{}, wire.NamespaceMsg{})
			st.Send(wire.RequestUpdate{RequestID: 2, Params: wire.Params{NamespacePrefix: &a}})
			st.Expect(wire.RequestOK{}, wire.NamespaceMsg{Suffix: ns("c")})
			p.Open(wire.SubscribeNamespace{RequestID: 4, Prefix: b}).Expect(wire.RequestOK{}, wire.NamespaceMsg{})
			st.Send(wire.RequestUpdate{RequestID: 6, Params: wire.Params{NamespacePrefix: new(ns("b", "x"))}})
			st.ExpectError(wire.RequestPrefixOverlap, wire.TypeRequestUpdate)
		})
	})
}

func TestNewGroupRequest(t *testing.T) {
	tr := func(asked *[]uint64) *track.Track {
		tr := track.New(video, track.Info{Properties: dynamic}, track.Config{})
		tr.OnGroupRequest(func(n uint64) { *asked = append(*asked, n) })
		return tr
	}
	t.Run("10.2.13 in SUBSCRIBE and REQUEST_UPDATE", func(t *testing.T) {
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			st := p.Open(wire.Subscribe{Track: video, Params: wire.Params{NewGroupRequest: new(uint64(0))}})
			synctest.Wait()
			var asked []uint64
			got.sub.Accept(tr(&asked))
			st.Message()
			st.Send(wire.RequestUpdate{RequestID: 2, Params: wire.Params{NewGroupRequest: new(uint64(4))}})
			st.Message()
			if len(asked) != 2 || asked[0] != 0 || asked[1] != 4 {
				t.Errorf("asked for groups %v, want 0 and 4", asked)
			}
		})
	})
	t.Run("10.2.13 in PUBLISH_OK", func(t *testing.T) {
		script(t, false, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			var asked []uint64
			go s.Publish(t.Context(), tr(&asked))
			p.Accept().Send(wire.RequestOK{Params: wire.Params{NewGroupRequest: new(uint64(7))}})
			synctest.Wait()
			if len(asked) != 1 || asked[0] != 7 {
				t.Errorf("asked for groups %v, want 7", asked)
			}
		})
	})
	t.Run("12.6 a value that is not 0 or 1", func(t *testing.T) {
		handled(t, false, func(_ *testing.T, p *moqttest.Peer, _ *requests) {
			bad := wire.NewProperties(wire.KeyValue{Type: wire.PropDynamicGroups, Uint: 2})
			p.Open(wire.Publish{Track: video, TrackAlias: 1, Properties: bad})
			p.ExpectClose(wire.SessionProtocolViolation)
		})
	})
}

// TestRequestGoaway is about a GOAWAY for one request.
func TestRequestGoaway(t *testing.T) {
	t.Run("10.4 sent, and its time is over", func(t *testing.T) {
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			st := p.Open(sub(0))
			synctest.Wait()
			got.sub.Accept(newTrack())
			st.Message()
			for range 2 { // the second has no effect
				if err := got.sub.Goaway("moqt://b.example", time.Second); err != nil {
					t.Fatal(err)
				}
			}
			st.Expect(wire.Goaway{NewSessionURI: "moqt://b.example", Timeout: time.Second})
			st.ExpectReset(wire.ResetGoingAway)
			st.ExpectStop(wire.ResetGoingAway)
			p.ExpectOpen()
		})
	})
	t.Run("10.4 without a time", func(t *testing.T) {
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			st := p.Open(wire.PublishNamespace{Namespace: cam})
			synctest.Wait()
			got.pubNS.Accept()
			st.Message()
			if err := got.pubNS.Goaway("", 0); err != nil {
				t.Fatal(err)
			}
			st.Expect(wire.Goaway{})
			time.Sleep(time.Hour)
			st.Close()
			st.ExpectFIN()
		})
	})
	t.Run("10.4 before the answer", func(t *testing.T) {
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			st := p.Open(wire.SubscribeNamespace{})
			synctest.Wait()
			if err := got.subNS.Goaway("", 0); err != nil {
				t.Fatal(err)
			}
			st.ExpectError(wire.RequestGoingAway, wire.TypeSubscribeNamespace)
		})
	})
	t.Run("10.4 what cannot be sent", func(t *testing.T) {
		handled(t, true, func(t *testing.T, p *moqttest.Peer, got *requests) {
			p.Open(sub(1))
			synctest.Wait()
			if got.sub.Goaway("moqt://b.example", 0) == nil {
				t.Error("a client names a URI")
			}
		})
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			p.Open(sub(0))
			synctest.Wait()
			if got.sub.Goaway(strings.Repeat("x", 8193), 0) == nil {
				t.Error("a URI of 8193 bytes is taken")
			}
		})
	})
	t.Run("10.4 received", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			var uri string
			var patience time.Duration
			a := subscribeAsync(s, nil, track.SubscribeOptions{Moved: func(u string, d time.Duration) { uri, patience = u, d }})
			st := p.Accept()
			st.Send(wire.SubscribeOK{TrackAlias: 1}, wire.Goaway{NewSessionURI: "moqt://b.example", Timeout: time.Second})
			a.expect(t, "started")
			if uri != "moqt://b.example" || patience != time.Second {
				t.Errorf("moved to %q within %v", uri, patience)
			}
			time.Sleep(2 * time.Second)
			a.expect(t, "started", "ended")
			if e, ok := errors.AsType[*track.EndError](a.err); !ok || e.Code != wire.PublishDoneGoingAway {
				t.Errorf("ended with %v, want GOING_AWAY", a.err)
			}
		})
	})
	t.Run("10.4 received before the answer", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			out := subscribeAside(t, s)
			p.Accept().Send(wire.Goaway{NewSessionURI: "moqt://b.example"})
			e, ok := errors.AsType[*moqt.RequestError]((<-out).err)
			if !ok || e.Code != wire.RequestGoingAway || e.Redirect == nil || e.Redirect.ConnectURI != "moqt://b.example" {
				t.Errorf("Subscribe: %+v, want GOING_AWAY with the URI", e)
			}
		})
	})
}

// TestMatches is about how many namespaces a peer is told of for one prefix.
func TestMatches(t *testing.T) {
	t.Run("10.6.2 too many to begin with", func(t *testing.T) {
		cfg := moqt.Config{Limits: moqt.Limits{Matches: 2}}
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{Other: []wire.KeyValue{{Type: 0x40b5a, Uint: 1}}})
			for _, f := range []string{"a", "b", "c"} {
				if _, err := s.Announce(t.Context(), ns("x", f), tracks{}); err != nil {
					t.Fatal(err)
				}
			}
			p.Open(wire.SubscribeNamespace{Prefix: ns("x")}).ExpectError(wire.RequestNamespaceTooLarge, wire.TypeSubscribeNamespace)
			p.Open(wire.SubscribeNamespace{RequestID: 2, Prefix: ns("x", "a")}).Expect(wire.RequestOK{}, wire.NamespaceMsg{})
		})
	})
	t.Run("10.18 too many in the end", func(t *testing.T) {
		var req *moqt.SubscribeNamespaceRequest
		cfg := moqt.Config{Limits: moqt.Limits{Matches: 2}, Handler: handler{subscribeNamespace: func(r *moqt.SubscribeNamespaceRequest) { req = r }}}
		script(t, false, moqttest.Config{}, cfg, func(_ *testing.T, p *moqttest.Peer, _ *moqt.Session) {
			p.Setup(wire.Setup{})
			st := p.Open(wire.SubscribeNamespace{})
			synctest.Wait()
			req.Accept()
			for _, f := range []string{"a", "b"} {
				req.Announce(ns(f))
			}
			req.Withdraw(ns("a"))
			req.Announce(ns("c"))
			st.Expect(wire.RequestOK{}, wire.NamespaceMsg{Suffix: ns("a")}, wire.NamespaceMsg{Suffix: ns("b")},
				wire.NamespaceDone{Suffix: ns("a")}, wire.NamespaceMsg{Suffix: ns("c")})
			req.Announce(ns("d"))
			st.ExpectReset(wire.ResetExcessiveLoad)
			p.ExpectOpen()
		})
	})
}
