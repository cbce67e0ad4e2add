package moqt_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestGoawayOfARequest is about a GOAWAY for one request (section 10.4): it ends,
// and whoever made it learns that it may be asked again.
func TestGoawayOfARequest(t *testing.T) {
	for _, tt := range []struct {
		name  string
		send  func(*moqttest.PeerStream)
		after time.Duration
	}{
		{"no time", func(st *moqttest.PeerStream) { st.Send(wire.Goaway{}) }, 0},
		{"some time", func(st *moqttest.PeerStream) { st.Send(wire.Goaway{Timeout: 3 * time.Second}) }, 3 * time.Second},
		{"reset meanwhile", func(st *moqttest.PeerStream) {
			st.Send(wire.Goaway{Timeout: 3 * time.Second})
			time.Sleep(time.Second)
			st.Reset(wire.ResetGoingAway)
		}, time.Second},
	} {
		t.Run("subscription, "+tt.name, func(t *testing.T) {
			script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				sub, st := subscribeOver(t, p, s, 4)
				p.OpenUni(subgroup(4, 0), object("one")).Close()
				r := sub.Track().NewReader(track.CurrentGroup)
				expectGroup(t, r, 0, "one") // media goes on meanwhile
				start := time.Now()
				tt.send(st)
				_, err := r.NextGroup(t.Context())
				end, ok := errors.AsType[*track.EndError](err)
				if !ok || end.Code != wire.PublishDoneGoingAway || time.Since(start) != tt.after {
					t.Errorf("the track ends with %v after %v, want GOING_AWAY after %v", err, time.Since(start), tt.after)
				}
				again := subscribeAside(t, s)
				p.Accept().Send(wire.SubscribeOK{TrackAlias: 5})
				if got := <-again; got.err != nil {
					t.Errorf("Subscribe again: %v", got.err)
				}
			})
		})
	}
	going := func(t *testing.T, err error) {
		t.Helper()
		if e, ok := errors.AsType[*moqt.RequestError](err); !ok || e.Code != wire.RequestGoingAway {
			t.Errorf("error is %v, want GOING_AWAY", err)
		}
	}
	t.Run("subscription that is not answered", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			asked := subscribeAside(t, s)
			st := p.Accept()
			st.Send(wire.Goaway{Timeout: time.Minute})
			st.ExpectStop(wire.ResetCancelled)
			going(t, (<-asked).err)
		})
	})
	t.Run("namespaces", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			ended := make(chan error, 1)
			go func() {
				for _, err := range s.Namespaces(t.Context(), cam) {
					if err != nil {
						ended <- err
					}
				}
			}()
			p.Accept().Send(wire.RequestOK{}, wire.NamespaceMsg{}, wire.Goaway{Timeout: time.Minute})
			going(t, <-ended)
			p.ExpectOpen()
		})
	})
	t.Run("announcement that is accepted", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			done, _ := announceAside(t, s)
			p.Accept().Send(wire.RequestOK{}, wire.Goaway{})
			<-done
			synctest.Wait()
			if typ := p.Open(sub(1)).Type(); typ != wire.TypeSubscribeOK {
				t.Errorf("SUBSCRIBE is answered with %v", typ)
			}
		})
	})
	t.Run("publication", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, _ *track.Track) {
			tr := track.New(track.Name{Namespace: cam, Name: "other"}, track.Info{}, track.Config{})
			go s.Publish(t.Context(), tr)
			st := p.Accept()
			if typ := st.Type(); typ != wire.TypePublish {
				t.Fatalf("request is %v, want PUBLISH", typ)
			}
			st.Send(wire.RequestOK{}, wire.Goaway{Timeout: time.Second})
			typ, body := st.Message()
			if m, err := wire.ParsePublishDone(body); typ != wire.TypePublishDone || err != nil || m.Status != wire.PublishDoneGoingAway {
				t.Errorf("read %v %+v, %v, want PUBLISH_DONE GOING_AWAY", typ, m, err)
			}
			st.ExpectFIN()
		})
	})
}
