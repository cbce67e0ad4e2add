package moqt_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// dynamic are the properties of a track whose publisher begins groups on request.
var dynamic = wire.NewProperties(wire.KeyValue{Type: wire.PropDynamicGroups, Uint: 1})

// An asyncSub records what SubscribeAsync calls back, in order.
type asyncSub struct {
	mu     sync.Mutex
	sub    *track.Subscription
	calls  []string
	err    error
	cancel func()
}

func subscribeAsync(s *moqt.Session, into *track.Track, opt track.SubscribeOptions) *asyncSub {
	a := &asyncSub{}
	a.cancel = s.SubscribeAsync(video, into, opt, func(sub *track.Subscription, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.calls = append(a.calls, "started")
		a.sub, a.err = sub, err
	}, func(err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.calls = append(a.calls, "ended")
		a.err = err
	})
	return a
}

func (a *asyncSub) expect(t *testing.T, calls ...string) {
	t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.calls, calls) {
		t.Fatalf("called back %q, want %q", a.calls, calls)
	}
}

func TestSubscribeAsync(t *testing.T) {
	asking := func(t *testing.T, f func(t *testing.T, p *moqttest.Peer, s *moqt.Session)) {
		t.Helper()
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			f(t, p, s)
		})
	}
	t.Run("started, then ended", func(t *testing.T) {
		asking(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			into := newTrack()
			a := subscribeAsync(s, into, track.SubscribeOptions{})
			a.expect(t)
			st := p.Accept()
			st.Send(wire.SubscribeOK{TrackAlias: 1}, wire.PublishDone{Status: wire.PublishDoneGoingAway})
			a.expect(t, "started", "ended")
			if a.sub.Track() != into {
				t.Error("the subscription has another track than into")
			}
			if e, ok := errors.AsType[*track.EndError](a.err); !ok || e.Code != wire.PublishDoneGoingAway {
				t.Errorf("ended with %v, want GOING_AWAY", a.err)
			}
		})
	})
	t.Run("refused", func(t *testing.T) {
		asking(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			a := subscribeAsync(s, nil, track.SubscribeOptions{})
			p.Accept().Send(wire.RequestError{Code: wire.RequestDoesNotExist})
			a.expect(t, "started")
			if e, ok := errors.AsType[*moqt.RequestError](a.err); !ok || e.Code != wire.RequestDoesNotExist {
				t.Errorf("started with %v, want DOES_NOT_EXIST", a.err)
			}
		})
	})
	t.Run("10.2.6 held for a publisher", func(t *testing.T) {
		asking(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			a := subscribeAsync(s, nil, track.SubscribeOptions{Rendezvous: time.Minute})
			st := p.Accept()
			time.Sleep(65 * time.Second) // the default to answer is 10 s
			a.expect(t)
			time.Sleep(10 * time.Second)
			a.expect(t, "started")
			st.ExpectStop(wire.ResetCancelled)
			if e, ok := errors.AsType[*moqt.RequestError](a.err); !ok || e.Code != wire.RequestTimeout {
				t.Errorf("started with %v, want TIMEOUT", a.err)
			}
		})
	})
	t.Run("given up", func(t *testing.T) {
		asking(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			a := subscribeAsync(s, nil, track.SubscribeOptions{})
			st := p.Accept()
			a.cancel()
			a.cancel()
			a.expect(t, "started")
			if a.err == nil || a.sub != nil {
				t.Errorf("started with %v, %v, want an error", a.sub, a.err)
			}
			st.ExpectReset(wire.ResetCancelled)
			st.ExpectStop(wire.ResetCancelled)
		})
	})
	t.Run("closed", func(t *testing.T) {
		asking(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			a := subscribeAsync(s, nil, track.SubscribeOptions{})
			st := p.Accept()
			st.Send(wire.SubscribeOK{TrackAlias: 1})
			a.expect(t, "started")
			a.cancel()
			st.ExpectStop(wire.ResetCancelled)
			a.expect(t, "started")
		})
	})
	t.Run("the session ends", func(t *testing.T) {
		asking(t, func(t *testing.T, _ *moqttest.Peer, s *moqt.Session) {
			before := subscribeAsync(s, nil, track.SubscribeOptions{})
			s.Close(wire.SessionNoError, "")
			with := subscribeAsync(s, nil, track.SubscribeOptions{}) // the loop may not take it any more
			<-s.Done()
			after := subscribeAsync(s, nil, track.SubscribeOptions{})
			for _, a := range []*asyncSub{before, with, after} {
				a.expect(t, "started")
				if _, ok := errors.AsType[*moqt.SessionError](a.err); !ok {
					t.Errorf("started with %v, want the end of the session", a.err)
				}
			}
		})
	})
}

// TestRequestUpdate is about what we ask as subscriber.
func TestRequestUpdate(t *testing.T) {
	type outcome struct {
		track.Updated
		err error
	}
	updater := func(sub interface{ Update(track.SubscribeUpdate) }) (send func(track.SubscribeUpdate), got *[]outcome) {
		var mu sync.Mutex
		got = new([]outcome)
		return func(u track.SubscribeUpdate) {
			u.Done = func(r track.Updated, err error) {
				mu.Lock()
				defer mu.Unlock()
				*got = append(*got, outcome{r, err})
			}
			sub.Update(u)
		}, got
	}
	// subscribed runs f with a subscription whose request had the ID 0.
	subscribed := func(t *testing.T, props wire.Properties, f func(t *testing.T, st *moqttest.PeerStream, s *moqt.Session, sub *track.Subscription)) {
		t.Helper()
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			a := subscribeAsync(s, nil, track.SubscribeOptions{})
			st := p.Accept()
			st.Message()
			st.Send(wire.SubscribeOK{TrackAlias: 1, Params: wire.Params{Expires: new(time.Minute)}, Properties: props})
			a.expect(t, "started")
			f(t, st, s, a.sub)
		})
	}
	type update = track.SubscribeUpdate
	start := track.From(track.Location{Group: 5, Object: 2})
	for _, tt := range []struct {
		name  string
		props wire.Properties
		u     update
		want  wire.Params
	}{
		{name: "10.9 nothing", u: update{}},
		{name: "10.2.12 forward", u: update{Forward: new(false)}, want: wire.Params{Forward: new(false)}},
		{name: "10.2.7 priority", u: update{Priority: new(uint8(3))}, want: wire.Params{SubscriberPriority: new(uint8(3))}},
		{name: "10.2.9 next group", u: update{Start: &track.NextGroup}, want: wire.Params{Filter: &wire.Filter{Type: wire.FilterNextGroupStart}}},
		{name: "10.2.9 largest", u: update{Start: &track.NextObject}, want: wire.Params{Filter: &wire.Filter{Type: wire.FilterLargestObject}}},
		{name: "10.2.9 from", u: update{Start: &start}, want: wire.Params{
			Filter: &wire.Filter{Type: wire.FilterAbsoluteStart, Start: wire.Location{Group: 5, Object: 2}},
		}},
		{name: "10.2.9 range", u: update{Start: &start, EndGroup: new(uint64(9))}, want: wire.Params{
			Filter: &wire.Filter{Type: wire.FilterAbsoluteRange, Start: wire.Location{Group: 5, Object: 2}, EndGroup: 9},
		}},
		{name: "10.2.3 10.2.4 timeouts", u: update{DeliveryTimeout: new(time.Second), SubgroupTimeout: new(time.Duration(0))}, want: wire.Params{
			ObjectDeliveryTimeout: new(time.Second), SubgroupDeliveryTimeout: new(time.Duration(0)),
		}},
		{name: "10.2.13 new group", props: dynamic, u: update{NewGroup: new(uint64(8))}, want: wire.Params{NewGroupRequest: new(uint64(8))}},
		{name: "10.2.13 new group of a track that has none on request", u: update{NewGroup: new(uint64(8)), Forward: new(true)}, want: wire.Params{Forward: new(true)}},
		{name: "10.2.2 token", u: update{Tokens: []track.Token{{Type: 1, Value: []byte("a")}, {Type: 1, Value: []byte("a")}, {Value: []byte("b")}}}, want: wire.Params{
			Tokens: []wire.Token{{AliasType: wire.TokenUseValue, Type: 1, Value: []byte("a")}, {AliasType: wire.TokenUseValue, Value: []byte("b")}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			subscribed(t, tt.props, func(t *testing.T, st *moqttest.PeerStream, _ *moqt.Session, sub *track.Subscription) {
				sub.Update(tt.u)
				st.Expect(wire.RequestUpdate{RequestID: 2, Params: tt.want})
			})
		})
	}
	t.Run("10.9.1 the answer", func(t *testing.T) {
		subscribed(t, nil, func(t *testing.T, st *moqttest.PeerStream, _ *moqt.Session, sub *track.Subscription) {
			if got, want := sub.Expires(), time.Now().Add(time.Minute); !got.Equal(want) {
				t.Errorf("expires at %v, want %v", got, want)
			}
			send, got := updater(sub)
			send(update{Forward: new(true)})
			st.Message()
			st.Send(wire.RequestOK{Params: wire.Params{LargestObject: &wire.Location{Group: 4, Object: 1}, Expires: new(time.Hour)}})
			synctest.Wait()
			at := time.Now().Add(time.Hour)
			if len(*got) != 1 || (*got)[0].err != nil || (*got)[0].Largest != (track.Location{Group: 4, Object: 1}) || !(*got)[0].Some || !(*got)[0].Expires.Equal(at) {
				t.Errorf("the answer is %+v", *got)
			}
			if !sub.Expires().Equal(at) {
				t.Errorf("expires at %v, want %v", sub.Expires(), at)
			}
		})
	})
	t.Run("10.9 one at a time", func(t *testing.T) {
		subscribed(t, nil, func(t *testing.T, st *moqttest.PeerStream, _ *moqt.Session, sub *track.Subscription) {
			send, got := updater(sub)
			send(update{Forward: new(false)})
			st.Expect(wire.RequestUpdate{RequestID: 2, Params: wire.Params{Forward: new(false)}})
			for i := range uint8(100) {
				send(update{Priority: &i})
			}
			send(update{Forward: new(true)})
			synctest.Wait()
			if st.Pending() {
				t.Fatal("a second update before the answer to the first")
			}
			st.Send(wire.RequestOK{})
			st.Expect(wire.RequestUpdate{RequestID: 4, Params: wire.Params{Forward: new(true), SubscriberPriority: new(uint8(99))}})
			st.Send(wire.RequestOK{})
			synctest.Wait()
			if len(*got) != 102 {
				t.Errorf("%d answers, want 102", len(*got))
			}
		})
	})
	t.Run("10.9.1 refused", func(t *testing.T) {
		subscribed(t, nil, func(t *testing.T, st *moqttest.PeerStream, _ *moqt.Session, sub *track.Subscription) {
			send, got := updater(sub)
			send(update{Forward: new(false)})
			send(update{Forward: new(true)})
			st.Message()
			st.Send(wire.RequestError{Code: wire.RequestInvalidRange, Reason: "no"}, wire.PublishDone{Status: wire.PublishDoneUpdateFailed})
			synctest.Wait()
			if len(*got) != 2 {
				t.Fatalf("%d answers, want 2", len(*got))
			}
			for _, o := range *got {
				if e, ok := errors.AsType[*moqt.RequestError](o.err); !ok || e.Code != wire.RequestInvalidRange {
					t.Errorf("update failed with %v, want INVALID_RANGE", o.err)
				}
			}
			send(update{})
			synctest.Wait()
			if len(*got) != 3 || (*got)[2].err == nil {
				t.Error("a subscription that has ended can be updated")
			}
		})
	})
	t.Run("10.9 no answer, and a late one", func(t *testing.T) {
		subscribed(t, nil, func(t *testing.T, st *moqttest.PeerStream, _ *moqt.Session, sub *track.Subscription) {
			send, got := updater(sub)
			send(update{Forward: new(false)})
			st.Message()
			time.Sleep(11 * time.Second)
			send(update{Forward: new(true)})
			synctest.Wait()
			if len(*got) != 2 {
				t.Fatalf("%d answers, want 2", len(*got))
			}
			for _, o := range *got {
				if e, ok := errors.AsType[*moqt.RequestError](o.err); !ok || e.Code != wire.RequestTimeout {
					t.Errorf("update failed with %v, want TIMEOUT", o.err)
				}
			}
			st.Send(wire.RequestOK{})
			synctest.Wait()
			send(update{Forward: new(true)})
			st.Expect(wire.RequestUpdate{RequestID: 4, Params: wire.Params{Forward: new(true)}})
		})
	})
	t.Run("5.1 the session ends", func(t *testing.T) {
		subscribed(t, nil, func(t *testing.T, st *moqttest.PeerStream, s *moqt.Session, sub *track.Subscription) {
			send, got := updater(sub)
			send(update{Forward: new(false)})
			st.Message()
			s.Close(wire.SessionNoError, "")
			<-s.Done()
			send(update{})
			if len(*got) != 2 {
				t.Fatalf("%d answers, want 2", len(*got))
			}
			for _, o := range *got {
				if _, ok := errors.AsType[*moqt.SessionError](o.err); !ok {
					t.Errorf("update failed with %v, want the end of the session", o.err)
				}
			}
		})
	})
	t.Run("10.9 of a PUBLISH of the peer", func(t *testing.T) {
		var req *moqt.PublishRequest
		cfg := moqt.Config{Handler: handler{publish: func(r *moqt.PublishRequest) { req = r }}}
		script(t, true, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session) {
			p.Setup(wire.Setup{})
			st := p.Open(wire.Publish{RequestID: 1, Track: video, TrackAlias: 3, Params: wire.Params{Expires: new(time.Second)}, Properties: dynamic})
			synctest.Wait()
			send, got := updater(req)
			send(update{Forward: new(true), NewGroup: new(uint64(0))})
			synctest.Wait()
			if st.Pending() {
				t.Fatal("an update of a PUBLISH that is not accepted")
			}
			if got, want := req.Expires(), time.Now().Add(time.Second); !got.Equal(want) {
				t.Errorf("expires at %v, want %v", got, want)
			}
			req.Accept()
			st.Expect(wire.RequestOK{}, wire.RequestUpdate{Params: wire.Params{Forward: new(true), NewGroupRequest: new(uint64(0))}})
			st.Send(wire.RequestOK{Params: wire.Params{Expires: new(time.Duration(0))}})
			synctest.Wait()
			if len(*got) != 1 || (*got)[0].err != nil || !req.Expires().IsZero() {
				t.Errorf("%+v, expires at %v, want one answer and no expiry", *got, req.Expires())
			}
		})
	})
	t.Run("10.9 an answer that nobody asked for", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			_, st := subscribeOver(t, p, s, 1)
			st.Send(wire.RequestOK{})
			p.ExpectClose(wire.SessionProtocolViolation)
		})
	})
}
