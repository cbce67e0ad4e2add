package moqt_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// In this file the scripted peer sends joining FETCHes.

// subscribeTo subscribes with these parameters and returns the stream.
func subscribeTo(t *testing.T, p *moqttest.Peer, id uint64, params wire.Params) *moqttest.PeerStream {
	t.Helper()
	st := p.Open(wire.Subscribe{RequestID: id, Track: video, Params: params})
	if typ := st.Type(); typ != wire.TypeSubscribeOK {
		t.Fatalf("SUBSCRIBE is answered with %v", typ)
	}
	return st
}

// nextGroup filters out what there is already.
func nextGroup() wire.Params {
	return wire.Params{Filter: &wire.Filter{Type: wire.FilterNextGroupStart}}
}

// TestFetchJoining is about section 10.12.2.
func TestFetchJoining(t *testing.T) {
	for _, tt := range []struct {
		name  string
		typ   wire.FetchType
		start uint64
		ok    wire.Location
		want  []string
	}{
		{"10.12.2.1 relative 0 is the current group", wire.FetchRelativeJoining, 0, at(4, 3), three(4)},
		{"10.12.2.1 relative 1", wire.FetchRelativeJoining, 1, at(4, 3), three(3, 4)},
		{"10.12.2.1 relative, to the first group", wire.FetchRelativeJoining, 4, at(4, 3), three(0, 1, 3, 4)},
		{"10.12.2.1 relative, before the first group", wire.FetchRelativeJoining, 1 << 63, at(4, 3), three(0, 1, 3, 4)},
		{"10.12.2.1 absolute", wire.FetchAbsoluteJoining, 3, at(4, 3), three(3, 4)},
		{"10.12.2.1 absolute, the current group", wire.FetchAbsoluteJoining, 4, at(4, 3), three(4)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
				subscribeTo(t, p, 1, nextGroup())
				writeGroup(t, tr, 5, 3) // comes by subscription, not by FETCH
				p.AcceptUni()
				m := joining(3, tt.typ, 1, tt.start)
				got := answerTo(t, p, p.Open(m), m)
				if got.ok.End != tt.ok || !slices.Equal(got.items, tt.want) {
					t.Errorf("got %v up to %v, want %v up to %v", got.items, got.ok.End, tt.want, tt.ok)
				}
			})
		})
	}
	t.Run("10.12.2.1 absolute, behind the joining location", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			subscribeTo(t, p, 1, nextGroup())
			p.Open(joining(3, wire.FetchAbsoluteJoining, 1, 5)).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
		})
	})
	t.Run("10.12.2 without forwarding", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			subscribeTo(t, p, 1, wire.Params{Forward: new(false)})
			p.Open(joining(3, wire.FetchRelativeJoining, 1, 0)).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
		})
	})
	t.Run("5.1 joins where the answer to the update says", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			sub := subscribeTo(t, p, 1, wire.Params{Forward: new(false), Filter: nextGroup().Filter})
			writeGroup(t, tr, 5, 3)
			sub.Send(wire.RequestUpdate{RequestID: 3, Params: wire.Params{Forward: new(true)}})
			sub.Expect(wire.RequestOK{Params: wire.Params{LargestObject: new(at(5, 2))}})
			writeGroup(t, tr, 6, 3)
			p.AcceptUni()
			m := joining(5, wire.FetchRelativeJoining, 1, 0)
			if got := answerTo(t, p, p.Open(m), m); got.ok.End != at(5, 3) || !slices.Equal(got.items, three(5)) {
				t.Errorf("got %v up to %v, want group 5", got.items, got.ok.End)
			}
			// An update that leaves Forward as it is does not move it.
			sub.Send(wire.RequestUpdate{RequestID: 7, Params: wire.Params{Forward: new(true)}})
			sub.Expect(wire.RequestOK{Params: wire.Params{LargestObject: new(at(6, 2))}})
			m = joining(9, wire.FetchRelativeJoining, 1, 0)
			if got := answerTo(t, p, p.Open(m), m); got.ok.End != at(5, 3) {
				t.Errorf("the joining location has moved to %v", got.ok.End)
			}
		})
	})
	t.Run("10.12.2 pausing later has no effect", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			sub := subscribeTo(t, p, 1, nextGroup())
			m := joining(3, wire.FetchRelativeJoining, 1, 1)
			st := p.Open(m)
			synctest.Wait() // streams are in no order among each other
			sub.Send(wire.RequestUpdate{RequestID: 5, Params: wire.Params{Forward: new(false)}})
			if got := answerTo(t, p, st, m); !slices.Equal(got.items, three(3, 4)) {
				t.Errorf("got %v", got.items)
			}
		})
	})
	t.Run("10.12.2 a subscription that has ended", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			sub := subscribeTo(t, p, 1, nextGroup())
			sub.Stop(wire.ResetCancelled)
			synctest.Wait()
			p.Open(joining(3, wire.FetchRelativeJoining, 1, 0)).ExpectError(wire.RequestInvalidJoiningRequestID, wire.TypeFetch)
		})
	})
	t.Run("5.1 a publication", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			go s.Publish(t.Context(), tr)
			st := p.Accept()
			if typ := st.Type(); typ != wire.TypePublish {
				t.Fatalf("session sent %v, want PUBLISH", typ)
			}
			early := joining(1, wire.FetchRelativeJoining, 0, 0)
			fetch := p.Open(early) // has overtaken PUBLISH_OK
			synctest.Wait()
			writeGroup(t, tr, 5, 3)
			st.Send(wire.RequestOK{Params: nextGroup()})
			p.AcceptUni() // group 5
			if got := answerTo(t, p, fetch, early); got.ok.End != at(4, 3) || !slices.Equal(got.items, three(4)) {
				t.Errorf("got %v up to %v, want what PUBLISH told of", got.items, got.ok.End)
			}
		})
	})
	t.Run("5.1 a publication that is not answered", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			go s.Publish(t.Context(), tr)
			p.Accept()
			start := time.Now()
			p.Open(joining(1, wire.FetchRelativeJoining, 0, 0)).ExpectError(wire.RequestInvalidJoiningRequestID, wire.TypeFetch)
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("refused after %v, want 2s", took)
			}
		})
	})
}

// TestFetchOvertakes is about requests that arrive in another order than they
// were sent in, since each has a stream of its own.
func TestFetchOvertakes(t *testing.T) {
	t.Run("10.12.2 its SUBSCRIBE", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			m := joining(3, wire.FetchRelativeJoining, 1, 0)
			st := p.Open(m)
			time.Sleep(time.Second)
			subscribeTo(t, p, 1, nextGroup())
			if got := answerTo(t, p, st, m); !slices.Equal(got.items, three(4)) {
				t.Errorf("got %v", got.items)
			}
		})
	})
	t.Run("10.12.2 a SUBSCRIBE that never comes", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			start := time.Now()
			p.Open(joining(3, wire.FetchRelativeJoining, 1, 0)).ExpectError(wire.RequestInvalidJoiningRequestID, wire.TypeFetch)
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("refused after %v, want 2s", took)
			}
		})
	})
	t.Run("10.12.2 its REQUEST_UPDATE", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			sub := subscribeTo(t, p, 1, wire.Params{Forward: new(false), Filter: nextGroup().Filter})
			m := joining(5, wire.FetchRelativeJoining, 1, 0)
			st := p.Open(m)
			time.Sleep(time.Second)
			sub.Send(wire.RequestUpdate{RequestID: 3, Params: wire.Params{Forward: new(true)}})
			if got := answerTo(t, p, st, m); !slices.Equal(got.items, three(4)) {
				t.Errorf("got %v", got.items)
			}
		})
	})
	t.Run("10.12.2 a REQUEST_UPDATE that never comes", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			subscribeTo(t, p, 1, wire.Params{Forward: new(false)})
			start := time.Now()
			p.Open(joining(5, wire.FetchRelativeJoining, 1, 0)).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("refused after %v, want 2s", took)
			}
		})
	})
}

// TestFetchPending is about joining FETCHes of a subscription that is pending
// (section 10.12.2): they wait for its answer.
func TestFetchPending(t *testing.T) {
	run := func(t *testing.T, then func(t *testing.T, p *moqttest.Peer, fetch *moqttest.PeerStream, m wire.Fetch, sub *moqt.SubscribeRequest, st *moqttest.PeerStream)) {
		var pending *moqt.SubscribeRequest
		tr := track.New(video, track.Info{Local: true}, track.Config{})
		h := handler{
			subscribe: func(r *moqt.SubscribeRequest) { pending = r },
			fetch: func(r *moqt.FetchRequest) {
				if !r.Joining || r.Name != video {
					t.Errorf("asked for %+v", r)
				}
				r.Serve(tr)
			},
		}
		script(t, false, moqttest.Config{}, moqt.Config{Handler: h}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			writeGroup(t, tr, 4, 3)
			sub := p.Open(wire.Subscribe{RequestID: 0, Track: video, Params: nextGroup()})
			m := joining(2, wire.FetchRelativeJoining, 0, 0)
			fetch := p.Open(m)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if fetch.Pending() {
				t.Fatal("answered before the subscription")
			}
			writeGroup(t, tr, 5, 3)
			then(t, p, fetch, m, pending, sub)
			p.ExpectOpen()
		})
	}
	t.Run("accepted", func(t *testing.T) {
		run(t, func(t *testing.T, p *moqttest.Peer, fetch *moqttest.PeerStream, m wire.Fetch, sub *moqt.SubscribeRequest, _ *moqttest.PeerStream) {
			tr := track.New(video, track.Info{Local: true}, track.Config{})
			writeGroup(t, tr, 5, 3)
			sub.Accept(tr)
			if got := answerTo(t, p, fetch, m); !slices.Equal(got.items, three(5)) {
				t.Errorf("got %v", got.items)
			}
		})
	})
	t.Run("refused", func(t *testing.T) {
		run(t, func(t *testing.T, _ *moqttest.Peer, fetch *moqttest.PeerStream, _ wire.Fetch, sub *moqt.SubscribeRequest, _ *moqttest.PeerStream) {
			sub.Reject(wire.RequestTimeout, "")
			fetch.ExpectError(wire.RequestInvalidJoiningRequestID, wire.TypeFetch)
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		run(t, func(t *testing.T, _ *moqttest.Peer, fetch *moqttest.PeerStream, _ wire.Fetch, _ *moqt.SubscribeRequest, st *moqttest.PeerStream) {
			st.Stop(wire.ResetCancelled)
			fetch.ExpectError(wire.RequestInvalidJoiningRequestID, wire.TypeFetch)
		})
	})
	t.Run("the fetch is cancelled", func(t *testing.T) {
		run(t, func(t *testing.T, p *moqttest.Peer, fetch *moqttest.PeerStream, _ wire.Fetch, sub *moqt.SubscribeRequest, st *moqttest.PeerStream) {
			fetch.Stop(wire.ResetCancelled)
			fetch.ExpectStop(wire.ResetCancelled)
			sub.Accept(newTrack())
			if typ := st.Type(); typ != wire.TypeSubscribeOK {
				t.Errorf("SUBSCRIBE is answered with %v", typ)
			}
		})
	})
}
