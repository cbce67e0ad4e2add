package moqt_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestTrackStatus is about section 10.14, at the publisher.
func TestTrackStatus(t *testing.T) {
	t.Run("10.14 answers what SUBSCRIBE_OK would say", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			st := p.Open(wire.TrackStatus{RequestID: 1, Track: video})
			st.Expect(wire.RequestOK{Params: wire.Params{LargestObject: new(at(4, 2))}, Properties: tr.Properties()})
			st.ExpectFIN()
			// There is no subscription: another request may make one, and nothing
			// is sent before.
			writeGroup(t, tr, 5, 1)
			p.Open(wire.Subscribe{RequestID: 3, Track: video}).Expect(wire.SubscribeOK{
				TrackAlias: 1, Params: wire.Params{LargestObject: new(at(5, 0))}, Properties: tr.Properties(),
			})
			if h, _ := objects(t, p.AcceptUni()); h.Alias != 1 {
				t.Errorf("objects of alias %d", h.Alias)
			}
		})
	})
	t.Run("10.14 a track without objects", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(solicit)
			if _, err := s.Announce(t.Context(), cam, tracks{"video": newTrack()}); err != nil {
				t.Fatal(err)
			}
			st := p.Open(wire.TrackStatus{RequestID: 1, Track: video})
			st.Expect(wire.RequestOK{})
			st.ExpectFIN()
		})
	})
	t.Run("10.14 no such track", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			name := track.Name{Namespace: cam, Name: "x"}
			p.Open(wire.TrackStatus{RequestID: 1, Track: name}).ExpectError(wire.RequestDoesNotExist, wire.TypeTrackStatus)
		})
	})
	t.Run("10.14 of a track that is published to the peer", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			tr := newTrack()
			writeGroup(t, tr, 2, 2)
			go s.Publish(t.Context(), tr)
			p.Accept()
			p.Open(wire.TrackStatus{RequestID: 1, Track: video}).Expect(wire.RequestOK{Params: wire.Params{LargestObject: new(at(2, 1))}})
		})
	})
	t.Run("10.14 a handler's answer", func(t *testing.T) {
		var asked *moqt.TrackStatusRequest
		h := handler{trackStatus: func(r *moqt.TrackStatusRequest) { asked = r }}
		script(t, false, moqttest.Config{}, moqt.Config{Handler: h}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			st := p.Open(wire.TrackStatus{Track: video})
			synctest.Wait()
			largest := at(7, 7)
			asked.Accept(&largest, nil)
			asked.Accept(nil, nil) // without effect
			asked.Reject(wire.RequestTimeout, "")
			st.Expect(wire.RequestOK{Params: wire.Params{LargestObject: &largest}})
			st.ExpectFIN()
			if asked.Name != video || asked.Context().Err() == nil {
				t.Errorf("asked for %v, context %v", asked.Name, asked.Context().Err())
			}
		})
	})
	t.Run("3.3.2 cancelled", func(t *testing.T) {
		var asked *moqt.TrackStatusRequest
		h := handler{trackStatus: func(r *moqt.TrackStatusRequest) { asked = r }}
		script(t, false, moqttest.Config{}, moqt.Config{Handler: h}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			st := p.Open(wire.TrackStatus{Track: video})
			synctest.Wait()
			st.Stop(wire.ResetCancelled)
			st.ExpectStop(wire.ResetCancelled)
			<-asked.Context().Done()
			asked.Accept(nil, nil)
			p.ExpectOpen()
		})
	})
}

// TestAskTrackStatus is about section 10.14, at the subscriber.
func TestAskTrackStatus(t *testing.T) {
	type answer struct {
		status moqt.TrackStatus
		err    error
	}
	props := wire.NewProperties(wire.KeyValue{Type: wire.PropDefaultPublisherPriority, Uint: 7})
	refused := func(code wire.RequestCode) func(answer) bool {
		return func(a answer) bool {
			re, ok := errors.AsType[*moqt.RequestError](a.err)
			return ok && re.Code == code
		}
	}
	for _, tt := range []struct {
		name  string
		play  func(p *moqttest.Peer, st *moqttest.PeerStream, cancel func())
		check func(answer) bool
	}{
		{"10.14 answered", func(_ *moqttest.Peer, st *moqttest.PeerStream, _ func()) {
			st.Send(wire.RequestOK{Params: wire.Params{LargestObject: new(at(3, 4)), Expires: new(time.Second)}, Properties: props})
			st.Close()
			st.ExpectFIN()
		}, func(a answer) bool {
			s := a.status
			return a.err == nil && s.Largest != nil && *s.Largest == at(3, 4) && s.Expires == time.Second && string(s.Properties) == string(props)
		}},
		{"10.14 nothing published", func(_ *moqttest.Peer, st *moqttest.PeerStream, _ func()) {
			st.Send(wire.RequestOK{})
		}, func(a answer) bool { return a.err == nil && a.status.Largest == nil }},
		{"10.6 refused", func(_ *moqttest.Peer, st *moqttest.PeerStream, _ func()) {
			st.Send(wire.RequestError{Code: wire.RequestDoesNotExist})
			st.ExpectFIN()
		}, refused(wire.RequestDoesNotExist)},
		{"no answer", func(_ *moqttest.Peer, st *moqttest.PeerStream, _ func()) {
			st.ExpectStop(wire.ResetCancelled)
		}, refused(wire.RequestTimeout)},
		{"3.3.2 FIN without an answer", func(_ *moqttest.Peer, st *moqttest.PeerStream, _ func()) {
			st.Close()
		}, refused(wire.RequestInternalError)},
		{"3.3.2 reset", func(_ *moqttest.Peer, st *moqttest.PeerStream, _ func()) {
			st.Reset(wire.ResetExcessiveLoad)
		}, refused(wire.RequestExcessiveLoad)},
		{"10.4 GOAWAY", func(_ *moqttest.Peer, st *moqttest.PeerStream, _ func()) {
			st.Send(wire.Goaway{})
		}, refused(wire.RequestGoingAway)},
		{"10.14 second answer is ignored", func(p *moqttest.Peer, st *moqttest.PeerStream, _ func()) {
			st.Send(wire.RequestOK{}, wire.RequestOK{})
			p.ExpectOpen()
		}, func(a answer) bool { return a.err == nil }},
		{"10.14 another answer closes", func(p *moqttest.Peer, st *moqttest.PeerStream, _ func()) {
			st.Send(wire.SubscribeOK{})
			p.ExpectClose(wire.SessionProtocolViolation)
		}, func(a answer) bool {
			_, ok := errors.AsType[*moqt.SessionError](a.err)
			return ok
		}},
		{"given up", func(_ *moqttest.Peer, st *moqttest.PeerStream, cancel func()) {
			cancel()
			st.ExpectStop(wire.ResetCancelled)
			st.ExpectReset(wire.ResetCancelled)
		}, func(a answer) bool { return errors.Is(a.err, context.Canceled) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				out := make(chan answer, 1)
				go func() {
					status, err := s.TrackStatus(ctx, video)
					out <- answer{status, err}
				}()
				st := p.Accept()
				st.Expect(wire.TrackStatus{Track: video})
				tt.play(p, st, cancel)
				if got := <-out; !tt.check(got) {
					t.Errorf("got %+v, %v", got.status, got.err)
				}
			})
		})
	}
}
