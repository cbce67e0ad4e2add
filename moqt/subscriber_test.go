package moqt_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// In this file the session subscribes and the scripted peer publishes.

// subgroup is the header of a whole group in one subgroup, with the alias.
func subgroup(alias, group uint64) wire.SubgroupHeader {
	return wire.SubgroupHeader{Alias: alias, Group: group, DefaultPriority: true, EndOfGroup: true, FirstObject: true}
}

// object is an object on a subgroup stream whose ID follows on the one before.
func object(payload string) []byte {
	return append(wire.ObjectHeader{Length: uint64(len(payload))}.Append(nil, false), payload...)
}

// A subscribed is the outcome of a Subscribe.
type subscribed struct {
	sub *track.Subscription
	err error
}

// subscribeAside subscribes while the script goes on.
func subscribeAside(t *testing.T, s *moqt.Session) <-chan subscribed {
	out := make(chan subscribed, 1)
	go func() {
		sub, err := s.Subscribe(t.Context(), video, track.SubscribeOptions{})
		out <- subscribed{sub, err}
	}()
	return out
}

// subscribeOver subscribes to a peer that answers with alias, and returns the
// subscription and its request stream.
func subscribeOver(t *testing.T, p *moqttest.Peer, s *moqt.Session, alias uint64) (*track.Subscription, *moqttest.PeerStream) {
	t.Helper()
	out := subscribeAside(t, s)
	st := p.Accept()
	if typ := st.Type(); typ != wire.TypeSubscribe {
		t.Fatalf("session sent %v, want SUBSCRIBE", typ)
	}
	st.Send(wire.SubscribeOK{TrackAlias: alias})
	got := <-out
	if got.err != nil {
		t.Fatal(got.err)
	}
	return got.sub, st
}

// read returns the payloads of the next group.
func read(t *testing.T, r *track.Reader) (group uint64, payloads []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	g, err := r.NextGroup(ctx)
	if err != nil {
		return 0, nil, err
	}
	for {
		o, err := g.Next(ctx)
		if err != nil {
			return g.ID(), payloads, err
		}
		payloads = append(payloads, string(o.Payload))
	}
}

func expectGroup(t *testing.T, r *track.Reader, group uint64, payloads ...string) {
	t.Helper()
	g, got, err := read(t, r)
	if !errors.Is(err, io.EOF) || g != group || !slices.Equal(got, payloads) {
		t.Fatalf("read group %d, %q, %v, want group %d, %q", g, got, err, group, payloads)
	}
}

func TestSubscribeMessages(t *testing.T) {
	for _, tt := range []struct {
		name string
		opt  track.SubscribeOptions
		want wire.Params
	}{
		{"current group", track.SubscribeOptions{}, wire.Params{Filter: &wire.Filter{Type: wire.FilterLargestObject}}},
		{"next group", track.SubscribeOptions{Start: track.NextGroup}, wire.Params{Filter: &wire.Filter{Type: wire.FilterNextGroupStart}}},
		{"from", track.SubscribeOptions{Start: track.From(track.Location{Group: 7, Object: 1})}, wire.Params{
			Filter: &wire.Filter{Type: wire.FilterAbsoluteStart, Start: wire.Location{Group: 7, Object: 1}},
		}},
		{"everything else", track.SubscribeOptions{Priority: 9, HasPriority: true, GroupOrder: track.Descending, Paused: true, DeliveryTimeout: time.Second}, wire.Params{
			Filter: &wire.Filter{Type: wire.FilterLargestObject}, SubscriberPriority: new(uint8(9)),
			GroupOrder: wire.GroupDescending, Forward: new(false), ObjectDeliveryTimeout: new(time.Second),
		}},
		{"range", track.SubscribeOptions{Start: track.From(track.Location{Group: 7}), EndGroup: new(uint64(8))}, wire.Params{
			Filter: &wire.Filter{Type: wire.FilterAbsoluteRange, Start: wire.Location{Group: 7}, EndGroup: 8},
		}},
		{"for a relay", track.SubscribeOptions{SubgroupTimeout: time.Second, Rendezvous: time.Minute, NewGroup: new(uint64(0)), Tokens: []track.Token{{Type: 1, Value: []byte("t")}}}, wire.Params{
			Filter: &wire.Filter{Type: wire.FilterLargestObject}, SubgroupDeliveryTimeout: new(time.Second), RendezvousTimeout: new(time.Minute),
			NewGroupRequest: new(uint64(0)), Tokens: []wire.Token{{AliasType: wire.TokenUseValue, Type: 1, Value: []byte("t")}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				go s.Subscribe(t.Context(), video, tt.opt)
				p.Accept().Expect(wire.Subscribe{Track: video, Params: tt.want})
			})
		})
	}
}

// TestEarlyData is about section 11.1: data streams and the message that tells
// their alias arrive in any order.
func TestEarlyData(t *testing.T) {
	t.Run("attached without loss or repetition", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			out := subscribeAside(t, s)
			req := p.Accept()
			before := p.OpenUni(subgroup(4, 1), object("one"))
			whole := p.OpenUni(subgroup(4, 2), object("three"))
			whole.Close()
			time.Sleep(time.Second)
			req.Send(wire.SubscribeOK{TrackAlias: 4})
			sub := (<-out).sub
			before.Send(object("two"))
			before.Close()
			p.OpenUni(subgroup(4, 3), object("four")).Close()
			r := sub.Track().NewReader(track.From(track.Location{}))
			expectGroup(t, r, 1, "one", "two")
			expectGroup(t, r, 2, "three")
			expectGroup(t, r, 3, "four")
		})
	})
	t.Run("of an alias that nobody tells is stopped", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			start := time.Now()
			p.OpenUni(subgroup(4, 1), object("one")).ExpectStop(wire.ResetCancelled)
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("stopped after %v, want 2s", took)
			}
			p.ExpectOpen()
		})
	})
	t.Run("held within bounds", func(t *testing.T) {
		script(t, true, moqttest.Config{Window: 1 << 20}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			for range 64 {
				p.OpenUni(subgroup(4, 1), object(string(make([]byte, 60000))))
			}
			synctest.Wait()
			p.OpenUni(subgroup(4, 1)).ExpectStop(wire.ResetExcessiveLoad)
		})
	})
	t.Run("of a cancelled subscription is stopped at once", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			sub, req := subscribeOver(t, p, s, 4)
			open := p.OpenUni(subgroup(4, 1), object("one"))
			synctest.Wait()
			sub.Close()
			req.ExpectStop(wire.ResetCancelled)
			req.ExpectReset(wire.ResetCancelled)
			open.ExpectStop(wire.ResetCancelled)
			start := time.Now()
			p.OpenUni(subgroup(4, 2), object("two")).ExpectStop(wire.ResetCancelled)
			if took := time.Since(start); took != 0 {
				t.Errorf("stopped after %v, want at once", took)
			}
			if _, _, ok := sub.Track().Ended(); !ok {
				t.Error("track goes on after Close")
			}
			// The publisher may use the alias again, also before it says so.
			out := subscribeAside(t, s)
			again := p.Accept()
			p.OpenUni(subgroup(4, 3), object("three")).Close()
			synctest.Wait()
			again.Type()
			again.Send(wire.SubscribeOK{TrackAlias: 4})
			expectGroup(t, (<-out).sub.Track().NewReader(track.CurrentGroup), 3, "three")
		})
	})
}

// TestAliases is about section 11.1: one alias, one track.
func TestAliases(t *testing.T) {
	other := track.Name{Namespace: cam, Name: "audio"}
	t.Run("SUBSCRIBE_OK", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			subscribeOver(t, p, s, 4)
			go s.Subscribe(t.Context(), other, track.SubscribeOptions{})
			p.Accept().Send(wire.SubscribeOK{TrackAlias: 4})
			p.ExpectClose(wire.SessionDuplicateTrackAlias)
		})
	})
	t.Run("PUBLISH", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{Handler: handler{}}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			subscribeOver(t, p, s, 4)
			p.Open(wire.Publish{RequestID: 1, Track: other, TrackAlias: 4})
			p.ExpectClose(wire.SessionDuplicateTrackAlias)
		})
	})
}

// TestPublishDone is about section 10.11, at the subscriber.
func TestPublishDone(t *testing.T) {
	done := wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: 2, Reason: "over"}
	ended := func(sub *track.Subscription) bool {
		_, _, ok := sub.Track().Ended()
		return ok
	}
	for _, tt := range []struct {
		name string
		peer func(t *testing.T, p *moqttest.Peer, req *moqttest.PeerStream)
		want time.Duration // until the track ends
	}{
		{"all streams are there", func(t *testing.T, p *moqttest.Peer, req *moqttest.PeerStream) {
			p.OpenUni(subgroup(4, 1), object("one")).Close()
			p.OpenUni(subgroup(4, 2)).Close()
			synctest.Wait()
			req.Send(done)
			req.Close()
		}, 0},
		{"a stream comes late", func(t *testing.T, p *moqttest.Peer, req *moqttest.PeerStream) {
			p.OpenUni(subgroup(4, 1), object("one")).Close()
			req.Send(done)
			req.Close()
			time.Sleep(time.Second)
			p.OpenUni(subgroup(4, 2), object("two")).Close()
		}, time.Second},
		{"a stream never comes", func(t *testing.T, p *moqttest.Peer, req *moqttest.PeerStream) {
			p.OpenUni(subgroup(4, 1), object("one")).Close()
			req.Send(done)
		}, 2 * time.Second},
		{"count unknown", func(t *testing.T, p *moqttest.Peer, req *moqttest.PeerStream) {
			req.Send(wire.PublishDone{StreamCount: wire.StreamCountUnknown})
		}, 2 * time.Second},
		{"a stream goes on", func(t *testing.T, p *moqttest.Peer, req *moqttest.PeerStream) {
			long := p.OpenUni(subgroup(4, 1), object("one"))
			req.Send(done)
			time.Sleep(5 * time.Second)
			long.Send(object("two"))
			long.Close()
		}, 5 * time.Second},
		{"a stream stalls", func(t *testing.T, p *moqttest.Peer, req *moqttest.PeerStream) {
			st := p.OpenUni(subgroup(4, 1), object("one"))
			req.Send(done)
			st.ExpectStop(wire.ResetCancelled)
		}, 12 * time.Second},
		{"FIN without PUBLISH_DONE", func(t *testing.T, p *moqttest.Peer, req *moqttest.PeerStream) {
			req.Close()
		}, 2 * time.Second},
		{"reset instead", func(t *testing.T, p *moqttest.Peer, req *moqttest.PeerStream) {
			st := p.OpenUni(subgroup(4, 1), object("one"))
			synctest.Wait()
			req.Reset(wire.ResetInternalError)
			st.ExpectStop(wire.ResetCancelled)
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				sub, req := subscribeOver(t, p, s, 4)
				start := time.Now()
				tt.peer(t, p, req)
				synctest.Wait()
				for !ended(sub) && time.Since(start) < time.Minute {
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
				}
				if took := time.Since(start); took != tt.want {
					t.Errorf("track ended after %v, want %v", took, tt.want)
				}
				p.ExpectOpen()
			})
		})
	}
}

// TestSubscribeInto is about tracks that outlive a subscription.
func TestSubscribeInto(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(p *moqttest.Peer, req *moqttest.PeerStream, sub *track.Subscription)
		want func(error) bool
	}{
		{"PUBLISH_DONE", func(_ *moqttest.Peer, req *moqttest.PeerStream, _ *track.Subscription) {
			req.Send(wire.PublishDone{Status: wire.PublishDoneGoingAway})
		}, func(err error) bool {
			e, ok := errors.AsType[*track.EndError](err)
			return ok && e.Code == wire.PublishDoneGoingAway
		}},
		{"reset", func(_ *moqttest.Peer, req *moqttest.PeerStream, _ *track.Subscription) {
			req.Reset(wire.ResetCancelled)
		}, func(err error) bool {
			_, ok := errors.AsType[*moqt.StreamError](err)
			return ok
		}},
		{"session lost", func(p *moqttest.Peer, _ *moqttest.PeerStream, _ *track.Subscription) {
			p.Conn.(*moqttest.Conn).Cut()
		}, func(err error) bool {
			e, ok := errors.AsType[*moqt.SessionError](err)
			return ok && e.Err != nil
		}},
		{"Close", func(_ *moqttest.Peer, _ *moqttest.PeerStream, sub *track.Subscription) { sub.Close() }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				tr := newTrack()
				writeGroup(t, tr, 0, 1)
				ended := make(chan error, 2)
				var sub *track.Subscription
				made := make(chan struct{})
				go func() {
					defer close(made)
					sub, _ = s.SubscribeInto(t.Context(), video, tr, track.SubscribeOptions{}, func(err error) { ended <- err })
				}()
				req := p.Accept()
				req.Send(wire.SubscribeOK{TrackAlias: 4})
				<-made
				p.OpenUni(subgroup(4, 1), object("one")).Close()
				synctest.Wait()
				tt.end(p, req, sub)
				synctest.Wait()
				switch {
				case tt.want == nil && len(ended) > 0:
					t.Errorf("ended called with %v", <-ended)
				case tt.want != nil && len(ended) != 1:
					t.Errorf("ended called %d times", len(ended))
				case tt.want != nil:
					if err := <-ended; !tt.want(err) {
						t.Errorf("ended called with %v", err)
					}
				}
				if _, _, ok := tr.Ended(); ok {
					t.Error("the session ended a track that is not its own")
				}
				if l, _ := tr.Largest(); l != (track.Location{Group: 1}) {
					t.Errorf("Largest() = %v", l)
				}
			})
		})
	}
}

// TestRequestEnds is about requests of ours that get no answer, or the wrong one.
func TestRequestEnds(t *testing.T) {
	redirect := wire.RequestError{Code: wire.RequestRedirect, Redirect: &wire.Redirect{ConnectURI: "moqt://b.example", Track: video}}
	for _, tt := range []struct {
		name   string
		client bool
		answer func(st *moqttest.PeerStream)
		want   wire.RequestCode
		closes bool
	}{
		{name: "refused", answer: func(st *moqttest.PeerStream) {
			st.Send(wire.RequestError{Code: wire.RequestDoesNotExist})
			st.Close()
		}, want: wire.RequestDoesNotExist},
		{name: "refused, and our half stopped at once", answer: func(st *moqttest.PeerStream) {
			st.Stop(wire.ResetCancelled)
			time.Sleep(time.Second)
			st.Send(wire.RequestError{Code: wire.RequestDoesNotExist})
			st.Close()
		}, want: wire.RequestDoesNotExist},
		{name: "3.3.2 reset", answer: func(st *moqttest.PeerStream) { st.Reset(wire.ResetExcessiveLoad) }, want: wire.RequestExcessiveLoad},
		{name: "10.6.1 redirected by a server", client: true, answer: func(st *moqttest.PeerStream) { st.Send(redirect) }, want: wire.RequestRedirect},
		{name: "10.6.1 redirected to a URI by a client", answer: func(st *moqttest.PeerStream) { st.Send(redirect) }, closes: true},
		{name: "silence", answer: func(*moqttest.PeerStream) {}, want: wire.RequestTimeout},
		{name: "FIN", answer: func(st *moqttest.PeerStream) { st.Close() }, want: wire.RequestInternalError},
		{name: "10.8 REQUEST_OK", answer: func(st *moqttest.PeerStream) { st.Send(wire.RequestOK{}) }, closes: true},
		{name: "10.11 PUBLISH_DONE", answer: func(st *moqttest.PeerStream) { st.Send(wire.PublishDone{}) }, closes: true},
		{name: "2.5.1 mandatory property", answer: func(st *moqttest.PeerStream) {
			st.Send(wire.SubscribeOK{TrackAlias: 1, Properties: wire.NewProperties(wire.KeyValue{Type: 0x4000})})
			st.ExpectStop(wire.ResetCancelled)
		}, want: wire.RequestUnsupportedExtension},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, tt.client, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				out := subscribeAside(t, s)
				st := p.Accept()
				st.Type()
				tt.answer(st)
				err := (<-out).err
				if tt.closes {
					p.ExpectClose(wire.SessionProtocolViolation)
					if _, ok := errors.AsType[*moqt.SessionError](err); !ok {
						t.Errorf("Subscribe: %v, want a SessionError", err)
					}
					return
				}
				if e, ok := errors.AsType[*moqt.RequestError](err); !ok || e.Code != tt.want {
					t.Errorf("Subscribe: %v, want %v", err, tt.want)
				}
				p.ExpectOpen()
			})
		})
	}
}

// TestAnswerBeforeSetup: streams are not ordered, so that the answer to a request
// may overtake the peer's SETUP.
func TestAnswerBeforeSetup(t *testing.T) {
	script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		out := subscribeAside(t, s)
		p.Accept().Send(wire.SubscribeOK{TrackAlias: 4})
		time.Sleep(time.Second)
		p.Setup(wire.Setup{})
		if got := <-out; got.err != nil {
			t.Error(got.err)
		}
	})
}

func TestSecondAnswer(t *testing.T) {
	script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(wire.Setup{})
		_, req := subscribeOver(t, p, s, 4)
		req.Send(wire.SubscribeOK{TrackAlias: 4})
		p.ExpectClose(wire.SessionProtocolViolation)
	})
}

func TestSubscribeCancelled(t *testing.T) {
	script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(wire.Setup{})
		ctx, cancel := context.WithCancel(t.Context())
		out := make(chan error, 1)
		go func() {
			_, err := s.Subscribe(ctx, video, track.SubscribeOptions{})
			out <- err
		}()
		st := p.Accept()
		cancel()
		st.ExpectReset(wire.ResetCancelled)
		st.ExpectStop(wire.ResetCancelled)
		if err := <-out; !errors.Is(err, context.Canceled) {
			t.Errorf("Subscribe: %v", err)
		}
	})
}

// TestBadObjects is about data that only the track can judge.
func TestBadObjects(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bytes []byte
		fin   bool
		close bool           // the session closes
		stop  wire.ResetCode // else the stream is stopped
		end   track.DoneCode // and the track ends
	}{
		{name: "11.4 FIN inside an object", bytes: object("one")[:3], fin: true, close: true},
		{name: "11.4 FIN inside an object's header", bytes: []byte{0}, fin: true, close: true},
		{name: "11.2.1.1 unknown status", bytes: []byte{0, 0, 9}, close: true},
		{name: "11.4.2 ID beyond 2^64-1", bytes: moqttest.Bytes(^uint64(0), []byte{0, 0, 0, 0, 0}), close: true},
		{name: "object of 2^64-1 bytes", bytes: moqttest.Bytes([]byte{0}, ^uint64(0)), stop: wire.ResetExcessiveLoad},
		{name: "2.4.2 object after the end of the group", bytes: moqttest.Bytes([]byte{0, 0, 3}, object("x")), stop: wire.ResetMalformedTrack, end: wire.PublishDoneMalformedTrack},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				sub, _ := subscribeOver(t, p, s, 4)
				st := p.OpenUni(subgroup(4, 1), tt.bytes)
				if tt.fin {
					st.Close()
				}
				if tt.close {
					p.ExpectClose(wire.SessionProtocolViolation)
					return
				}
				st.ExpectStop(tt.stop)
				synctest.Wait()
				code, _, ended := sub.Track().Ended()
				if ended != (tt.end != 0) || code != tt.end {
					t.Errorf("track ended %t with %v, want %v", ended, code, tt.end)
				}
				p.ExpectOpen()
			})
		})
	}
}
