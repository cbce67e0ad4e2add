package moqt_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func ns(fields ...string) track.Namespace { return track.MustNamespace(fields...) }

// solicit is the option with which moq-dev's stack wants to ask.
var solicit = wire.Setup{Other: []wire.KeyValue{{Type: 0x40b5a, Uint: 1}}}

// announceAside announces while the script goes on.
func announceAside(t *testing.T, s *moqt.Session) (<-chan func(), <-chan error) {
	done, failed := make(chan func(), 1), make(chan error, 1)
	go func() {
		withdraw, err := s.Announce(t.Context(), cam, tracks{"video": newTrack()})
		if err != nil {
			failed <- err
			return
		}
		done <- withdraw
	}()
	return done, failed
}

// TestAnnounce is about section 6.2, at the publisher.
func TestAnnounce(t *testing.T) {
	t.Run("unasked, and withdrawn", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			done, _ := announceAside(t, s)
			p.Setup(wire.Setup{})
			st := p.Accept()
			st.Expect(wire.PublishNamespace{Namespace: cam})
			// Other streams are served while the answer is outstanding.
			if typ := p.Open(sub(1)).Type(); typ != wire.TypeSubscribeOK {
				t.Fatalf("SUBSCRIBE is answered with %v", typ)
			}
			st.Send(wire.RequestOK{})
			withdraw := <-done
			withdraw()
			st.ExpectReset(wire.ResetCancelled)
			st.ExpectStop(wire.ResetCancelled)
			p.Open(wire.Subscribe{RequestID: 3, Track: track.Name{Namespace: cam}}).ExpectError(wire.RequestNotSupported, wire.TypeSubscribe)
			p.ExpectOpen()
		})
	})
	t.Run("only when asked", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(solicit)
			asked := p.Open(wire.SubscribeNamespace{RequestID: 1})
			asked.Expect(wire.RequestOK{})
			done, _ := announceAside(t, s)
			withdraw := <-done
			asked.Expect(wire.NamespaceMsg{Suffix: cam})
			late := p.Open(wire.SubscribeNamespace{RequestID: 3, Prefix: ns("stream")})
			late.ExpectError(wire.RequestPrefixOverlap, wire.TypeSubscribeNamespace)
			withdraw()
			asked.Expect(wire.NamespaceDone{Suffix: cam})
			asked.Close()
			asked.ExpectFIN()
			again := p.Open(wire.SubscribeNamespace{RequestID: 5, Prefix: ns("stream")})
			again.Expect(wire.RequestOK{})
			announceAside(t, s)
			again.Expect(wire.NamespaceMsg{Suffix: ns("local", "cam")})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if st, err := p.Conn.AcceptStream(ctx); err == nil {
				t.Errorf("the session opened a stream: %v", st)
			}
		})
	})
	t.Run("refused", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			_, failed := announceAside(t, s)
			st := p.Accept()
			st.Send(wire.RequestError{Code: wire.RequestUnauthorized, Reason: "no"})
			if e, ok := errors.AsType[*moqt.RequestError](<-failed); !ok || e.Code != wire.RequestUnauthorized {
				t.Errorf("Announce: %v", e)
			}
			p.Open(sub(1)).ExpectError(wire.RequestNotSupported, wire.TypeSubscribe)
		})
	})
	t.Run("the peer revokes its answer", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			done, _ := announceAside(t, s)
			st := p.Accept()
			st.Send(wire.RequestOK{})
			<-done
			st.Reset(wire.ResetCancelled)
			synctest.Wait()
			if typ := p.Open(sub(1)).Type(); typ != wire.TypeSubscribeOK {
				t.Errorf("SUBSCRIBE is answered with %v", typ)
			}
		})
	})
	t.Run("twice, or reserved", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			for _, n := range []track.Namespace{cam, ns(".session", "x"), ns(".")} {
				if _, err := s.Announce(t.Context(), n, tracks{}); err == nil {
					t.Errorf("Announce(%v) succeeds", n)
				}
			}
		})
	})
	for _, tt := range []struct {
		name string
		send wire.Message
	}{
		{"10.6.1 redirect with a track name", wire.RequestError{Code: wire.RequestRedirect, Redirect: &wire.Redirect{Track: video}}},
		{"10.5 properties in the answer", wire.RequestOK{Properties: wire.NewProperties(wire.KeyValue{Type: 2, Uint: 1})}},
		{"NAMESPACE", wire.NamespaceMsg{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				announceAside(t, s)
				p.Accept().Send(tt.send)
				p.ExpectClose(wire.SessionProtocolViolation)
			})
		})
	}
}

// TestPublishNamespace is about section 10.15, at the subscriber.
func TestPublishNamespace(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*moqttest.PeerStream)
	}{
		{"reset", func(st *moqttest.PeerStream) { st.Reset(wire.ResetCancelled) }},
		{"stopped", func(st *moqttest.PeerStream) { st.Stop(wire.ResetCancelled) }},
		{"ended", func(st *moqttest.PeerStream) { st.Close() }},
	} {
		t.Run("withdrawn: "+tt.name, func(t *testing.T) {
			asked := make(chan *moqt.PublishNamespaceRequest, 1)
			cfg := moqt.Config{Handler: handler{publishNamespace: func(r *moqt.PublishNamespaceRequest) {
				r.Accept()
				asked <- r
			}}}
			script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				st := p.Open(wire.PublishNamespace{Namespace: cam})
				st.Expect(wire.RequestOK{})
				r := <-asked
				if r.Namespace != cam || r.Session() != s {
					t.Errorf("request is %+v", r)
				}
				st.Send(wire.RequestUpdate{RequestID: 2})
				st.Expect(wire.RequestOK{})
				if err := context.Cause(r.Context()); err != nil {
					t.Errorf("Context ended: %v", err)
				}
				tt.end(st)
				<-r.Context().Done()
				if _, ok := errors.AsType[*moqt.StreamError](context.Cause(r.Context())); !ok {
					t.Errorf("cause is %v, want a StreamError", context.Cause(r.Context()))
				}
				p.ExpectOpen()
				// The same namespace may come again.
				p.Open(wire.PublishNamespace{RequestID: 4, Namespace: cam}).Expect(wire.RequestOK{})
			})
		})
	}
}

// TestSubscribeNamespace is about section 10.18, at the publisher.
func TestSubscribeNamespace(t *testing.T) {
	asked := func() (moqt.Config, chan *moqt.SubscribeNamespaceRequest) {
		ch := make(chan *moqt.SubscribeNamespaceRequest, 1)
		return moqt.Config{Handler: handler{subscribeNamespace: func(r *moqt.SubscribeNamespaceRequest) { ch <- r }}}, ch
	}
	t.Run("REQUEST_OK first, and no namespace twice", func(t *testing.T) {
		cfg, ch := asked()
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(solicit)
			st := p.Open(wire.SubscribeNamespace{Prefix: ns("a")})
			r := <-ch
			r.Announce(ns("a", "1"))
			r.Announce(ns("a", "gone"))
			r.Withdraw(ns("a", "gone"))
			r.Announce(ns("b"))
			r.Accept()
			r.Announce(ns("a"))
			r.Withdraw(ns("a", "never"))
			// The session's own announcement is told once with the handler's.
			withdraw, err := s.Announce(t.Context(), ns("a", "1"), tracks{})
			if err != nil {
				t.Fatal(err)
			}
			r.Withdraw(ns("a", "1"))
			withdraw()
			r.Withdraw(ns("a"))
			st.Expect(wire.RequestOK{},
				wire.NamespaceMsg{Suffix: ns("1")}, wire.NamespaceMsg{},
				wire.NamespaceDone{Suffix: ns("1")}, wire.NamespaceDone{})
			st.Close()
			st.ExpectFIN()
			<-r.Context().Done()
		})
	})
	t.Run("an update", func(t *testing.T) {
		cfg, ch := asked()
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			st := p.Open(wire.SubscribeNamespace{Prefix: ns("a")})
			(<-ch).Accept()
			st.Send(wire.RequestUpdate{RequestID: 2, Params: wire.Params{NamespacePrefix: new(ns("a"))}})
			st.Expect(wire.RequestOK{}, wire.RequestOK{})
			st.Send(wire.RequestUpdate{RequestID: 4, Params: wire.Params{NamespacePrefix: new(ns("b"))}})
			st.ExpectError(wire.RequestNotSupported, wire.TypeRequestUpdate) // and the stream ends
		})
	})
	t.Run("a peer that does not read is cut off", func(t *testing.T) {
		cfg, ch := asked()
		script(t, false, moqttest.Config{Window: 1000}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			st := p.Open(wire.SubscribeNamespace{})
			r := <-ch
			r.Accept()
			for i := range 200 {
				r.Announce(ns("stream", fmt.Sprint("a long name to fill the window ", i)))
			}
			<-r.Context().Done()
			st.ExpectReset(wire.ResetExcessiveLoad)
			p.ExpectOpen()
		})
	})
}

// TestNamespaces is about section 10.18, at the subscriber.
func TestNamespaces(t *testing.T) {
	type event struct {
		ev  track.NamespaceEvent
		err error
	}
	watch := func(t *testing.T, s *moqt.Session, prefix track.Namespace) <-chan event {
		out := make(chan event, 100)
		go func() {
			defer close(out)
			for ev, err := range s.Namespaces(t.Context(), prefix) {
				out <- event{ev, err}
			}
		}()
		return out
	}
	collect := func(ch <-chan event) (got []string, err error) {
		for e := range ch {
			if e.err != nil {
				return got, e.err
			}
			got = append(got, fmt.Sprint(e.ev.Namespace.Path(), " ", e.ev.Active))
		}
		return got, nil
	}
	t.Run("come and go", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			ch := watch(t, s, ns("a"))
			st := p.Accept()
			st.Expect(wire.SubscribeNamespace{Prefix: ns("a")})
			send := func(m ...any) {
				st.Send(m...)
				synctest.Wait()
			}
			send(wire.RequestOK{}, wire.NamespaceMsg{Suffix: ns("1")}, wire.NamespaceMsg{Suffix: ns("1")})
			send(wire.NamespaceMsg{Suffix: ns("2")})
			send(wire.NamespaceDone{Suffix: ns("1")})
			st.Close()
			got, err := collect(ch)
			want := []string{"a/1 true", "a/2 true", "a/1 false", "a/2 false"}
			if !slices.Equal(got, want) || err == nil {
				t.Errorf("got %q, %v, want %q and an error", got, err, want)
			}
			p.ExpectOpen()
		})
	})
	t.Run("too many", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{Limits: moqt.Limits{Namespaces: 2}}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			ch := watch(t, s, ns("a"))
			st := p.Accept()
			st.Send(wire.RequestOK{}, wire.NamespaceMsg{Suffix: ns("1")}, wire.NamespaceMsg{Suffix: ns("2")}, wire.NamespaceMsg{Suffix: ns("3")})
			st.ExpectStop(wire.ResetExcessiveLoad)
			if _, err := collect(ch); err == nil {
				t.Error("no error")
			}
		})
	})
	t.Run("10.6.1 refused", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			ch := watch(t, s, ns())
			st := p.Accept()
			st.Send(wire.RequestError{Code: wire.RequestNamespaceTooLarge})
			_, err := collect(ch)
			if e, ok := errors.AsType[*moqt.RequestError](err); !ok || e.Code != wire.RequestNamespaceTooLarge {
				t.Errorf("error is %v", err)
			}
		})
	})
	t.Run("left by the reader", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			go func() {
				for range s.Namespaces(t.Context(), ns()) {
					break
				}
			}()
			st := p.Accept()
			st.Send(wire.RequestOK{}, wire.NamespaceMsg{Suffix: cam})
			st.ExpectReset(wire.ResetCancelled)
		})
	})
	full := make([]string, 32)
	for i := range full {
		full[i] = "x"
	}
	for _, tt := range []struct {
		name  string
		first wire.Message
		send  []any
	}{
		{"10.17 NAMESPACE_DONE without NAMESPACE", wire.RequestOK{}, []any{wire.NamespaceDone{Suffix: ns("1")}}},
		{"10.18 NAMESPACE before REQUEST_OK", wire.NamespaceMsg{}, nil},
		{"2.4.1 more than 32 fields together", wire.RequestOK{}, []any{wire.NamespaceMsg{Suffix: ns(full...)}}},
		{"10.20 PUBLISH_BLOCKED", wire.RequestOK{}, []any{wire.PublishBlocked{}}},
		{"second REQUEST_OK", wire.RequestOK{}, []any{wire.RequestOK{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				ch := watch(t, s, ns("a"))
				p.Accept().Send(append([]any{tt.first}, tt.send...)...)
				p.ExpectClose(wire.SessionProtocolViolation)
				if _, err := collect(ch); err == nil {
					t.Error("no error")
				}
			})
		})
	}
}

// TestGoaway is about sections 3.6 and 10.4.
func TestGoaway(t *testing.T) {
	t.Run("sent", func(t *testing.T) {
		script(t, false, moqttest.Config{}, moqt.Config{Handler: handler{}}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			_, control := p.Setup(wire.Setup{})
			before := p.Open(wire.PublishNamespace{RequestID: 4, Namespace: cam})
			before.Expect(wire.RequestOK{})
			if err := s.Goaway("moqt://b.example/", 3*time.Second); err != nil {
				t.Fatal(err)
			}
			s.Goaway("", 0) // has no effect
			control.Expect(wire.Goaway{NewSessionURI: "moqt://b.example/", Timeout: 3 * time.Second, RequestID: new(uint64(6))})
			p.Open(wire.PublishNamespace{RequestID: 6, Namespace: ns("b")}).ExpectError(wire.RequestGoingAway, wire.TypePublishNamespace)
			before.Send(wire.RequestUpdate{RequestID: 8})
			before.Expect(wire.RequestOK{})
			start := time.Now()
			p.ExpectClose(wire.SessionGoawayTimeout)
			if took := time.Since(start); took != 3*time.Second {
				t.Errorf("closed after %v, want 3s", took)
			}
		})
	})
	t.Run("sent, and nothing is left to move", func(t *testing.T) {
		script(t, false, moqttest.Config{}, moqt.Config{Handler: handler{}}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			_, control := p.Setup(wire.Setup{})
			s.Goaway("", time.Second)
			control.Expect(wire.Goaway{Timeout: time.Second, RequestID: new(uint64(0))})
			p.ExpectClose(wire.SessionNoError)
		})
	})
	t.Run("a client names no URI", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			if err := s.Goaway("moqt://b.example/", 0); err == nil {
				t.Error("Goaway succeeds")
			}
		})
	})
	t.Run("received", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			control, _ := p.Setup(wire.Setup{})
			sub, _ := subscribeOver(t, p, s, 4)
			control.Send(wire.Goaway{NewSessionURI: "moqt://b.example/", Timeout: time.Second, RequestID: new(uint64(2))})
			<-s.Draining()
			if uri, timeout := s.PeerGoaway(); uri != "moqt://b.example/" || timeout != time.Second {
				t.Errorf("PeerGoaway() = %q, %v", uri, timeout)
			}
			_, err := s.Announce(t.Context(), cam, tracks{})
			if e, ok := errors.AsType[*moqt.RequestError](err); !ok || e.Code != wire.RequestGoingAway {
				t.Errorf("Announce: %v, want GOING_AWAY", err)
			}
			p.OpenUni(subgroup(4, 0), object("one")).Close() // what runs goes on
			expectGroup(t, sub.Track().NewReader(track.CurrentGroup), 0, "one")
		})
	})
}

// What the handler says from the function of OnUpdate on is about the new prefix,
// and an announcement counts once however often it is made.
func TestMovePrefixInOrder(t *testing.T) {
	handled(t, false, func(_ *testing.T, p *moqttest.Peer, got *requests) {
		st := p.Open(wire.SubscribeNamespace{Prefix: ns("a")})
		synctest.Wait()
		got.subNS.OnUpdate(func(wire.Params) error {
			got.subNS.Announce(ns("b", "x"))
			return nil
		})
		got.subNS.Accept()
		st.Expect(wire.RequestOK{})
		st.Send(wire.RequestUpdate{RequestID: 2, Params: wire.Params{NamespacePrefix: new(ns("b"))}})
		st.Expect(wire.RequestOK{}, wire.NamespaceMsg{Suffix: ns("x")})
		got.subNS.Announce(ns("b", "x"))
		got.subNS.Withdraw(ns("b", "x"))
		st.Expect(wire.NamespaceDone{Suffix: ns("x")})
	})
}
