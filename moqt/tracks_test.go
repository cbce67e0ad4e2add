package moqt_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A tracksPeer is a scripted peer that has asked for tracks.
type tracksPeer struct {
	*moqttest.Peer
	st  *moqttest.PeerStream
	req *moqt.SubscribeTracksRequest
	got []error // what Answered said
}

// offer offers a track below the prefix.
func (p *tracksPeer) offer(name string) (tr *track.Track, withdraw func()) {
	n := track.Name{Namespace: cam, Name: name}
	tr = track.New(n, track.Info{}, track.Config{})
	return tr, p.req.Offer(moqt.Offer{Name: n, Track: tr, Answered: func(err error) { p.got = append(p.got, err) }})
}

// tracksOver runs f with a server session that a peer has asked for all tracks
// below "stream" with these parameters, and that has accepted.
func tracksOver(t *testing.T, link moqttest.Config, cfg moqt.Config, params wire.Params, f func(t *testing.T, p *tracksPeer)) {
	t.Helper()
	p := &tracksPeer{}
	cfg.Handler = handler{subscribeTracks: func(r *moqt.SubscribeTracksRequest) { p.req = r }}
	script(t, false, link, cfg, func(t *testing.T, peer *moqttest.Peer, _ *moqt.Session) {
		peer.Setup(wire.Setup{})
		p.Peer = peer
		p.st = peer.Open(wire.SubscribeTracks{Prefix: ns("stream"), Params: params})
		synctest.Wait()
		p.req.Accept()
		p.st.Expect(wire.RequestOK{})
		f(t, p)
	})
}

func TestSubscribeTracks(t *testing.T) {
	local := track.MustNamespace("local", "cam")
	publish := func(id, alias uint64, name string, p wire.Params) wire.Publish {
		return wire.Publish{RequestID: id, Track: track.Name{Namespace: cam, Name: name}, TrackAlias: alias, Params: p}
	}
	t.Run("10.19 a PUBLISH for each", func(t *testing.T) {
		tracksOver(t, moqttest.Config{}, moqt.Config{}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			tr, _ := p.offer("a")
			st := p.Accept()
			st.Expect(publish(1, 1, "a", wire.Params{}))
			st.Send(wire.RequestOK{})
			synctest.Wait()
			if len(p.got) != 1 || p.got[0] != nil {
				t.Errorf("answered %v, want nil", p.got)
			}
			w, err := tr.Subgroup(track.SubgroupHeader{EndOfGroup: true, FirstObject: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.WriteObject(track.Object{Payload: []byte("x")}); err != nil {
				t.Fatal(err)
			}
			w.Close()
			h, ids := objects(t, p.AcceptUni())
			if h.Alias != 1 || len(ids) != 1 {
				t.Errorf("a stream of alias %d with %d objects, want one of alias 1", h.Alias, len(ids))
			}
			p.offer("b")
			p.Accept().Expect(publish(3, 2, "b", wire.Params{}))
			// What was offered outlives the request.
			p.st.Close()
			p.st.ExpectFIN()
			tr.End(wire.PublishDoneTrackEnded, "over")
			st.Expect(wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: 1, Reason: "over"})
			st.ExpectFIN()
			p.ExpectOpen()
		})
	})
	t.Run("10.19 before it is accepted", func(t *testing.T) {
		var req *moqt.SubscribeTracksRequest
		cfg := moqt.Config{Handler: handler{subscribeTracks: func(r *moqt.SubscribeTracksRequest) { req = r }}}
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session) {
			p.Setup(wire.Setup{})
			st := p.Open(wire.SubscribeTracks{})
			synctest.Wait()
			req.Offer(moqt.Offer{Name: video, Track: newTrack()})
			req.Accept()
			st.Expect(wire.RequestOK{})
			p.Accept().Expect(publish(1, 1, "video", wire.Params{}))
		})
	})
	t.Run("10.19 FORWARD is copied", func(t *testing.T) {
		tracksOver(t, moqttest.Config{}, moqt.Config{}, wire.Params{Forward: new(false)}, func(t *testing.T, p *tracksPeer) {
			p.offer("a")
			p.Accept().Expect(publish(1, 1, "a", wire.Params{Forward: new(false)}))
		})
	})
	t.Run("10.20 no stream credit", func(t *testing.T) {
		tracksOver(t, moqttest.Config{Up: moqttest.Link{}, Streams: 1}, moqt.Config{}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			p.offer("a")
			first := p.Accept()
			first.Expect(publish(1, 1, "a", wire.Params{}))
			p.offer("b")
			p.st.Expect(wire.PublishBlocked{Suffix: local, Name: "b"})
			first.Send(wire.RequestError{Code: wire.RequestUninterested})
			first.Close()
			first.ExpectFIN()
			p.offer("b") // there is credit now, but the peer was told
			p.offer("c")
			p.Accept().Expect(publish(5, 3, "c", wire.Params{}))
			synctest.Wait()
			if len(p.got) != 3 || !errors.Is(p.got[0], moqt.ErrBlocked) || !errors.Is(p.got[2], moqt.ErrBlocked) {
				t.Errorf("answered %v, want blocked, UNINTERESTED, blocked", p.got)
			}
		})
	})
	t.Run("10.20 as many subscriptions as it may have", func(t *testing.T) {
		tracksOver(t, moqttest.Config{}, moqt.Config{Limits: moqt.Limits{Subscriptions: 2}}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			p.offer("a")
			_, withdraw := p.offer("b")
			p.offer("c")
			p.st.Expect(wire.PublishBlocked{Suffix: local, Name: "c"})
			var second *moqttest.PeerStream
			for range 2 { // their streams are opened side by side
				st := p.Accept()
				_, body := st.Message()
				if bytes.Contains(body, []byte("\x01b")) { // the name
					second = st
				}
				st.Send(wire.RequestOK{})
			}
			synctest.Wait()
			withdraw()
			second.Expect(wire.PublishDone{Status: wire.PublishDoneTrackEnded, Reason: "no longer published"})
			p.offer("d")
			p.Accept().Expect(publish(5, 3, "d", wire.Params{}))
		})
	})
	t.Run("10.20 more than anybody remembers", func(t *testing.T) {
		tracksOver(t, moqttest.Config{}, moqt.Config{Limits: moqt.Limits{Subscriptions: 1, Matches: 2}}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			for i := range 4 {
				p.offer(fmt.Sprint(i))
			}
			p.st.ExpectReset(wire.ResetExcessiveLoad)
		})
	})
	t.Run("5.1 one that the peer is subscribed to", func(t *testing.T) {
		var sub *moqt.SubscribeRequest
		var req *moqt.SubscribeTracksRequest
		cfg := moqt.Config{Handler: handler{
			subscribe:       func(r *moqt.SubscribeRequest) { sub = r },
			subscribeTracks: func(r *moqt.SubscribeTracksRequest) { req = r; r.Accept() },
		}}
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session) {
			p.Setup(wire.Setup{})
			p.Open(wire.Subscribe{Track: video})
			synctest.Wait() // two streams are in no order
			p.Open(wire.SubscribeTracks{RequestID: 2}).Expect(wire.RequestOK{})
			var got error
			req.Offer(moqt.Offer{Name: video, Track: newTrack(), Answered: func(err error) { got = err }})
			synctest.Wait()
			if e, ok := errors.AsType[*moqt.RequestError](got); !ok || e.Code != wire.RequestDuplicateSubscription {
				t.Errorf("answered %v, want DUPLICATE_SUBSCRIPTION", got)
			}
			sub.Reject(wire.RequestDoesNotExist, "")
		})
	})
	t.Run("10.19 a track that takes the name of one that is still being sent", func(t *testing.T) {
		tracksOver(t, moqttest.Config{Window: 64}, moqt.Config{}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			old, _ := p.offer("a")
			st := p.Accept()
			st.Expect(publish(1, 1, "a", wire.Params{}))
			st.Send(wire.RequestOK{})
			w, err := old.Subgroup(track.SubgroupHeader{EndOfGroup: true, FirstObject: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.WriteObject(track.Object{Payload: make([]byte, 1000)}); err != nil {
				t.Fatal(err)
			}
			w.Close()
			data := p.AcceptUni()
			old.End(wire.PublishDoneTrackEnded, "over")
			synctest.Wait()
			p.offer("a") // too early: two of a name would be one subscription
			p.offer("a") // a newer one yet
			synctest.Wait()
			if e, ok := errors.AsType[*moqt.RequestError](p.got[1]); len(p.got) != 2 || !ok || e.Code != wire.RequestUninterested {
				t.Errorf("answered %v, want nil and UNINTERESTED", p.got)
			}
			if _, ids := objects(t, data); len(ids) != 1 {
				t.Errorf("%d objects, want 1", len(ids))
			}
			st.Expect(wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: 1, Reason: "over"})
			p.ExpectOpen()
			if n := len(p.got); n != 2 {
				t.Errorf("answered %v before the end was seen", p.got)
			}
			st.Close() // now it has seen the end
			p.Accept().Expect(publish(3, 2, "a", wire.Params{}))
		})
	})
	t.Run("6.1 nothing after the end of the request", func(t *testing.T) {
		tracksOver(t, moqttest.Config{Streams: 1}, moqt.Config{}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			p.offer("a")
			first := p.Accept()
			p.offer("b") // which waits for a stream
			synctest.Wait()
			p.st.Reset(wire.ResetCancelled)
			p.st.Stop(wire.ResetCancelled)
			synctest.Wait()
			first.Send(wire.RequestError{Code: wire.RequestUninterested})
			first.Close()
			synctest.Wait()
			p.offer("c")
			time.Sleep(time.Second)
			synctest.Wait()
			if len(p.got) != 3 || p.got[0] == nil || p.got[1] == nil || p.got[2] == nil {
				t.Errorf("answered %v, want three errors", p.got)
			}
		})
	})
	t.Run("10.19 overlap, apart from SUBSCRIBE_NAMESPACE", func(t *testing.T) {
		tracksOver(t, moqttest.Config{}, moqt.Config{}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			p.Open(wire.SubscribeTracks{RequestID: 2, Prefix: cam}).ExpectError(wire.RequestPrefixOverlap, wire.TypeSubscribeTracks)
			p.Open(wire.SubscribeTracks{RequestID: 4}).ExpectError(wire.RequestPrefixOverlap, wire.TypeSubscribeTracks)
			p.Open(wire.SubscribeNamespace{RequestID: 6, Prefix: cam}).Expect(wire.RequestOK{})
			p.Open(wire.SubscribeTracks{RequestID: 8, Prefix: ns("other")})
			synctest.Wait()
			p.req.Accept()
			p.Open(wire.SubscribeTracks{RequestID: 10, Prefix: ns("other")}).ExpectError(wire.RequestPrefixOverlap, wire.TypeSubscribeTracks)
		})
	})
	t.Run("10.9.2 moved", func(t *testing.T) {
		tracksOver(t, moqttest.Config{}, moqt.Config{}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			p.offer("a")
			st := p.Accept()
			st.Message()
			st.Send(wire.RequestOK{})
			var asked []wire.Params
			p.req.OnUpdate(func(u wire.Params) error { asked = append(asked, u); return nil })
			p.st.Send(wire.RequestUpdate{RequestID: 2, Params: wire.Params{NamespacePrefix: new(ns("other"))}})
			p.st.Expect(wire.RequestOK{})
			p.offer("b") // no longer below the prefix
			p.req.Offer(moqt.Offer{Name: track.Name{Namespace: ns("other"), Name: "c"}, Track: newTrack()})
			p.Accept().Expect(wire.Publish{RequestID: 3, Track: track.Name{Namespace: ns("other"), Name: "c"}, TrackAlias: 2})
			if len(asked) != 1 || *asked[0].NamespacePrefix != ns("other") {
				t.Errorf("asked about %+v, want the new prefix", asked)
			}
			if st.Pending() {
				t.Error("the subscription of before has ended")
			}
		})
	})
	t.Run("10.9.2 moved without consent", func(t *testing.T) {
		tracksOver(t, moqttest.Config{}, moqt.Config{}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			p.st.Send(wire.RequestUpdate{RequestID: 2, Params: wire.Params{NamespacePrefix: new(ns("other"))}})
			p.st.ExpectError(wire.RequestNotSupported, wire.TypeRequestUpdate)
		})
	})
	t.Run("10.2.14 moved onto another", func(t *testing.T) {
		tracksOver(t, moqttest.Config{}, moqt.Config{}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			st := p.Open(wire.SubscribeTracks{RequestID: 2, Prefix: ns("other")})
			synctest.Wait()
			p.req.OnUpdate(func(wire.Params) error { return nil })
			p.req.Accept()
			st.Expect(wire.RequestOK{})
			st.Send(wire.RequestUpdate{RequestID: 4, Params: wire.Params{NamespacePrefix: &cam}})
			st.ExpectError(wire.RequestPrefixOverlap, wire.TypeRequestUpdate)
		})
	})
	t.Run("10.2.10 EXPIRES of an offer", func(t *testing.T) {
		tracksOver(t, moqttest.Config{}, moqt.Config{}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			p.req.Offer(moqt.Offer{Name: video, Track: newTrack(), Expires: time.Now().Add(time.Minute)})
			st := p.Accept()
			st.Expect(publish(1, 1, "video", wire.Params{Expires: new(time.Minute)}))
			st.Send(wire.RequestOK{})
			time.Sleep(time.Minute)
			if typ, body := st.Message(); typ != wire.TypePublishDone {
				t.Errorf("read %v, want PUBLISH_DONE", typ)
			} else if m, err := wire.ParsePublishDone(body); err != nil || m.Status != wire.PublishDoneExpired {
				t.Errorf("read %+v, %v, want EXPIRED", m, err)
			}
		})
	})
	t.Run("10.9.1 what the subscriber asks for", func(t *testing.T) {
		tracksOver(t, moqttest.Config{}, moqt.Config{}, wire.Params{}, func(t *testing.T, p *tracksPeer) {
			var asked []wire.Params
			var ended error
			p.req.Offer(moqt.Offer{
				Name: video, Track: newTrack(),
				Updated: func(u wire.Params) error {
					asked = append(asked, u)
					if len(asked) == 3 {
						return errors.New("a secret")
					}
					return nil
				},
				Ended: func(err error) { ended = err },
			})
			st := p.Accept()
			st.Message()
			st.Send(wire.RequestOK{Params: wire.Params{Forward: new(false)}})
			st.Send(wire.RequestUpdate{RequestID: 2, Params: wire.Params{Forward: new(true)}})
			st.Expect(wire.RequestOK{})
			if len(asked) != 2 || *asked[0].Forward || !*asked[1].Forward {
				t.Errorf("asked about %+v, want FORWARD 0, then 1", asked)
			}
			st.Send(wire.RequestUpdate{RequestID: 4})
			st.Expect(wire.RequestError{Code: wire.RequestUnauthorized, Reason: "not authorized"})
			st.Expect(wire.PublishDone{Status: wire.PublishDoneUpdateFailed, Reason: "not authorized"})
			synctest.Wait()
			if e, ok := errors.AsType[*track.EndError](ended); !ok || e.Code != wire.PublishDoneUpdateFailed {
				t.Errorf("ended with %v, want UPDATE_FAILED", ended)
			}
		})
	})
}

// TestTracks is about what we ask for.
func TestTracks(t *testing.T) {
	asking := func(t *testing.T, o moqt.TracksOptions, f func(t *testing.T, p *moqttest.Peer, st *moqttest.PeerStream, r *moqt.TracksRequest, err error)) {
		t.Helper()
		script(t, true, moqttest.Config{}, moqt.Config{Handler: handler{}}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			done := make(chan struct{})
			var r *moqt.TracksRequest
			var err error
			go func() {
				r, err = s.Tracks(t.Context(), ns("stream"), o)
				close(done)
			}()
			st := p.Accept()
			if typ := st.Type(); typ != wire.TypeSubscribeTracks {
				t.Fatalf("session sent %v, want SUBSCRIBE_TRACKS", typ)
			}
			st.Send(wire.RequestOK{})
			<-done
			if err != nil {
				t.Fatal(err)
			}
			f(t, p, st, r, err)
		})
	}
	t.Run("10.19 the message", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			var err error
			go func() {
				_, err = s.Tracks(t.Context(), ns("stream"), moqt.TracksOptions{Paused: true, Tokens: []track.Token{{Type: 1, Value: []byte("t")}}})
			}()
			st := p.Accept()
			st.Expect(wire.SubscribeTracks{Prefix: ns("stream"), Params: wire.Params{
				Forward: new(false), Tokens: []wire.Token{{AliasType: wire.TokenUseValue, Type: 1, Value: []byte("t")}},
			}})
			st.Send(wire.RequestError{Code: wire.RequestNamespaceTooLarge})
			st.Close()
			st.ExpectFIN()
			synctest.Wait()
			if e, ok := errors.AsType[*moqt.RequestError](err); !ok || e.Code != wire.RequestNamespaceTooLarge {
				t.Errorf("Tracks: %v, want NAMESPACE_TOO_LARGE", err)
			}
		})
	})
	t.Run("10.20 blocked, and moved", func(t *testing.T) {
		var blocked []track.Name
		asking(t, moqt.TracksOptions{Blocked: func(n track.Name) { blocked = append(blocked, n) }}, func(t *testing.T, _ *moqttest.Peer, st *moqttest.PeerStream, r *moqt.TracksRequest, _ error) {
			st.Send(wire.PublishBlocked{Suffix: ns("a"), Name: "x"})
			moved := make(chan error, 1)
			go func() { moved <- r.Move(t.Context(), ns("other")) }()
			st.Expect(wire.RequestUpdate{RequestID: 2, Params: wire.Params{NamespacePrefix: new(ns("other"))}})
			st.Send(wire.PublishBlocked{Suffix: ns("b"), Name: "x"}, wire.RequestOK{}, wire.PublishBlocked{Suffix: ns("c"), Name: "x"})
			if err := <-moved; err != nil {
				t.Errorf("Move: %v", err)
			}
			synctest.Wait()
			want := []string{"stream/a", "stream/b", "other/c"}
			if len(blocked) != 3 {
				t.Fatalf("blocked %v, want %v", blocked, want)
			}
			for i, n := range blocked {
				if n.Namespace.Path() != want[i] || n.Name != "x" {
					t.Errorf("blocked %v, want %s", n, want[i])
				}
			}
			r.Close()
			<-r.Done()
			if r.Err() != nil {
				t.Errorf("ended with %v after Close", r.Err())
			}
			st.ExpectStop(wire.ResetCancelled)
		})
	})
	t.Run("10.9.2 a move that is refused", func(t *testing.T) {
		asking(t, moqt.TracksOptions{}, func(t *testing.T, _ *moqttest.Peer, st *moqttest.PeerStream, r *moqt.TracksRequest, _ error) {
			moved := make(chan error, 1)
			go func() { moved <- r.Move(t.Context(), ns("other")) }()
			st.Message()
			st.Send(wire.RequestError{Code: wire.RequestPrefixOverlap})
			if e, ok := errors.AsType[*moqt.RequestError](<-moved); !ok || e.Code != wire.RequestPrefixOverlap {
				t.Errorf("Move: %v, want PREFIX_OVERLAP", e)
			}
			<-r.Done()
			if r.Err() == nil || r.Move(t.Context(), cam) == nil {
				t.Error("the request is not over")
			}
		})
	})
	long := strings.Repeat("x", 4091)
	for _, tt := range []struct {
		name string
		send []any
	}{
		{"10.20 a namespace that is too long", []any{wire.PublishBlocked{Suffix: ns(long), Name: ""}}},
		{"10.19 an answer that nobody asked for", []any{wire.RequestOK{}}},
		{"10.20 NAMESPACE", []any{wire.NamespaceMsg{Suffix: cam}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asking(t, moqt.TracksOptions{}, func(_ *testing.T, p *moqttest.Peer, st *moqttest.PeerStream, _ *moqt.TracksRequest, _ error) {
				st.Send(tt.send...)
				p.ExpectClose(wire.SessionProtocolViolation)
			})
		})
	}
	t.Run("10.19 PUBLISH_BLOCKED first", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			go s.Tracks(t.Context(), cam, moqt.TracksOptions{})
			p.Accept().Send(wire.PublishBlocked{Suffix: cam, Name: "x"})
			p.ExpectClose(wire.SessionProtocolViolation)
		})
	})
}
