package moqt_test

import (
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

// In this file the session publishes and the scripted peer subscribes.

// publishing runs f against a session that has announced a track to a peer
// that wants to ask for namespaces itself. The track has the groups 0 to 2 of
// three objects each.
func publishing(t *testing.T, cfg moqt.Config, f func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track)) {
	t.Helper()
	script(t, true, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(wire.Setup{Other: []wire.KeyValue{{Type: 0x40b5a, Uint: 1}}})
		tr := track.New(video, track.Info{Properties: wire.NewProperties(wire.KeyValue{Type: wire.PropDefaultPublisherPriority, Uint: 7})}, track.Config{})
		for g := range uint64(3) {
			writeGroup(t, tr, g, 3)
		}
		if _, err := s.Announce(t.Context(), cam, tracks{"video": tr}); err != nil {
			t.Fatal(err)
		}
		f(t, p, s, tr)
	})
}

// objects reads a subgroup stream to its FIN and returns its header and the IDs
// of its objects.
func objects(t *testing.T, st *moqttest.PeerStream) (wire.SubgroupHeader, []uint64) {
	t.Helper()
	b, err := st.ReadAll()
	if err != nil {
		t.Fatalf("data stream: %v", err)
	}
	h, n, err := wire.ParseSubgroupHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	var ids []uint64
	var next wire.ObjectIDs
	for b = b[n:]; len(b) > 0; {
		o, n, err := wire.ParseObjectHeader(b, h.Properties)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := next.Next(o.IDDelta)
		ids = append(ids, id)
		b = b[n+int(o.Length):]
	}
	return h, ids
}

// TestJoin is about where a subscription starts (section 5.1.2).
func TestJoin(t *testing.T) {
	type first struct {
		group  uint64
		object uint64
	}
	filter := func(f wire.Filter) wire.Params { return wire.Params{Filter: &f} }
	for _, tt := range []struct {
		name   string
		params wire.Params
		strict bool
		want   first
	}{
		{name: "Largest Object", params: filter(wire.Filter{Type: wire.FilterLargestObject}), want: first{2, 0}},
		{name: "Largest Object, strict", params: filter(wire.Filter{Type: wire.FilterLargestObject}), strict: true, want: first{3, 0}},
		{name: "no filter", want: first{2, 0}},
		{name: "no filter, strict", strict: true, want: first{3, 0}},
		{name: "from {0, 0} is no filter", params: filter(wire.Filter{Type: wire.FilterAbsoluteStart}), want: first{2, 0}},
		{name: "next group", params: filter(wire.Filter{Type: wire.FilterNextGroupStart}), want: first{3, 0}},
		{name: "from the past", params: filter(wire.Filter{Type: wire.FilterAbsoluteStart, Start: wire.Location{Group: 1, Object: 1}}), want: first{1, 1}},
		{name: "from the past, strict", params: filter(wire.Filter{Type: wire.FilterAbsoluteStart, Start: wire.Location{Group: 1, Object: 1}}), strict: true, want: first{3, 0}},
		{name: "range", params: filter(wire.Filter{Type: wire.FilterAbsoluteRange, Start: wire.Location{Group: 3}, EndGroup: 3}), want: first{3, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			publishing(t, moqt.Config{JoinStrict: tt.strict}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
				st := p.Open(wire.Subscribe{RequestID: 1, Track: video, Params: tt.params})
				st.Expect(wire.SubscribeOK{
					TrackAlias: 1, Properties: tr.Info().Properties,
					Params: wire.Params{LargestObject: &wire.Location{Group: 2, Object: 2}},
				})
				writeGroup(t, tr, 3, 3)
				h, ids := objects(t, p.AcceptUni())
				if got := (first{h.Group, ids[0]}); got != tt.want {
					t.Errorf("first object is %v, want %v", got, tt.want)
				}
				if h.Alias != 1 {
					t.Errorf("alias %d, want 1", h.Alias)
				}
			})
		})
	}
	t.Run("end group in the past", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			p.Open(wire.Subscribe{RequestID: 1, Track: video, Params: filter(wire.Filter{Type: wire.FilterAbsoluteRange, EndGroup: 1})}).
				ExpectError(wire.RequestInvalidRange, wire.TypeSubscribe)
		})
	})
	t.Run("nothing published yet", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, _ *track.Track) {
			audio := track.Name{Namespace: track.MustNamespace("a"), Name: "audio"}
			tr := track.New(audio, track.Info{}, track.Config{})
			if _, err := s.Announce(t.Context(), audio.Namespace, tracks{"audio": tr}); err != nil {
				t.Fatal(err)
			}
			p.Open(wire.Subscribe{RequestID: 1, Track: audio, Params: filter(wire.Filter{Type: wire.FilterNextGroupStart})}).
				Expect(wire.SubscribeOK{TrackAlias: 1})
			writeGroup(t, tr, 0, 1)
			if h, _ := objects(t, p.AcceptUni()); h.Group != 0 {
				t.Errorf("first group is %d, want 0", h.Group)
			}
		})
	})
}

func TestSubscribeRequests(t *testing.T) {
	t.Run("5.1 a second subscription to a track", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			first := p.Open(sub(1))
			if typ := first.Type(); typ != wire.TypeSubscribeOK {
				t.Fatalf("answer is %v", typ)
			}
			p.Open(sub(3)).ExpectError(wire.RequestDuplicateSubscription, wire.TypeSubscribe)
			first.Stop(wire.ResetCancelled)
			first.ExpectStop(wire.ResetCancelled)
			if typ := p.Open(sub(5)).Type(); typ != wire.TypeSubscribeOK {
				t.Fatalf("answer after the first was cancelled is %v", typ)
			}
		})
	})
	t.Run("a track that the source does not have", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			p.Open(wire.Subscribe{RequestID: 1, Track: track.Name{Namespace: cam, Name: "no"}}).
				ExpectError(wire.RequestDoesNotExist, wire.TypeSubscribe)
			p.Open(wire.Subscribe{RequestID: 3, Track: track.Name{Namespace: track.MustNamespace("no"), Name: "no"}}).
				ExpectError(wire.RequestDoesNotExist, wire.TypeSubscribe)
		})
	})
	t.Run("5.1.1 STOP_SENDING resets what is being sent", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			w, err := tr.Subgroup(track.SubgroupHeader{Group: 3, FirstObject: true})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if err := w.WriteObject(track.Object{Payload: []byte("x")}); err != nil {
				t.Fatal(err)
			}
			req := p.Open(sub(1))
			req.Type()
			data := p.AcceptUni()
			data.Expect(subgroupOf(1, 3))
			req.Stop(wire.ResetCancelled)
			data.ExpectReset(wire.ResetCancelled)
			p.ExpectOpen()
		})
	})
}

// subgroupOf is the header of a group that the session sends and that is open.
func subgroupOf(alias, group uint64) wire.SubgroupHeader {
	return wire.SubgroupHeader{Alias: alias, Group: group, FirstObject: true, DefaultPriority: true}
}

// TestUpdate is about section 10.9, at the publisher.
func TestUpdate(t *testing.T) {
	at := &wire.Location{Group: 2, Object: 2}
	t.Run("each is answered, with the largest object", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			req := p.Open(sub(1), wire.RequestUpdate{RequestID: 3}, wire.RequestUpdate{RequestID: 5, Params: wire.Params{SubscriberPriority: new(uint8(3))}})
			req.Type()
			ok := wire.RequestOK{Params: wire.Params{LargestObject: at}}
			req.Expect(ok, ok)
			req.Send(wire.RequestUpdate{RequestID: 7})
			req.Expect(ok)
		})
	})
	t.Run("before the request is answered", func(t *testing.T) {
		asked := make(chan *moqt.SubscribeRequest, 1)
		cfg := moqt.Config{Handler: handler{subscribe: func(r *moqt.SubscribeRequest) { asked <- r }}}
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			req := p.Open(sub(0), wire.RequestUpdate{RequestID: 2})
			r := <-asked
			synctest.Wait()
			r.Accept(newTrack())
			r.Reject(wire.RequestInternalError, "too late")
			req.Expect(wire.SubscribeOK{TrackAlias: 1}, wire.RequestOK{})
		})
	})
	t.Run("too many before the request is answered", func(t *testing.T) {
		cfg := moqt.Config{Handler: handler{subscribe: func(*moqt.SubscribeRequest) {}}}
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			req := p.Open(sub(0))
			for id := uint64(2); id < 40; id += 2 {
				req.Send(wire.RequestUpdate{RequestID: id})
			}
			req.ExpectError(wire.RequestExcessiveLoad, wire.TypeSubscribe)
		})
	})
	t.Run("10.9.1 one that fails ends the subscription", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			req := p.Open(sub(1))
			req.Type()
			p.AcceptUni()
			req.Send(wire.RequestUpdate{RequestID: 3, Params: wire.Params{Filter: &wire.Filter{Type: wire.FilterAbsoluteRange, EndGroup: 1}}})
			typ, body := req.Message()
			m, err := wire.ParseRequestError(body, wire.TypeRequestUpdate)
			if typ != wire.TypeRequestError || err != nil || m.Code != wire.RequestInvalidRange {
				t.Fatalf("answer is %v %+v, %v", typ, m, err)
			}
			req.Expect(wire.PublishDone{Status: wire.PublishDoneUpdateFailed, StreamCount: 1, Reason: m.Reason})
			req.ExpectFIN()
		})
	})
	t.Run("5.1 Forward State", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			req := p.Open(wire.Subscribe{RequestID: 1, Track: video, Params: wire.Params{Forward: new(false)}})
			req.Type()
			writeGroup(t, tr, 3, 3)
			writeGroup(t, tr, 4, 3)
			synctest.Wait()
			req.Send(wire.RequestUpdate{RequestID: 3, Params: wire.Params{Forward: new(true)}})
			req.Expect(wire.RequestOK{Params: wire.Params{LargestObject: &wire.Location{Group: 4, Object: 2}}})
			if h, _ := objects(t, p.AcceptUni()); h.Group != 4 {
				t.Errorf("resumed with group %d, want the current one, 4", h.Group)
			}
			req.Send(wire.RequestUpdate{RequestID: 5, Params: wire.Params{Forward: new(false)}})
			req.Type()
			writeGroup(t, tr, 5, 3)
			tr.End(wire.PublishDoneTrackEnded, "")
			req.Expect(wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: 1})
		})
	})
	t.Run("narrowed to an end group", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			req := p.Open(sub(1))
			req.Type()
			objects(t, p.AcceptUni())
			req.Send(wire.RequestUpdate{RequestID: 3, Params: wire.Params{Filter: &wire.Filter{Type: wire.FilterAbsoluteRange, Start: wire.Location{Group: 2}, EndGroup: 3}}})
			req.Type()
			for g := uint64(3); g < 6; g++ {
				writeGroup(t, tr, g, 1)
			}
			if h, _ := objects(t, p.AcceptUni()); h.Group != 3 {
				t.Errorf("sent group %d, want 3", h.Group)
			}
			typ, body := req.Message()
			m, err := wire.ParsePublishDone(body)
			if typ != wire.TypePublishDone || err != nil || m.Status != wire.PublishDoneSubscriptionEnded || m.StreamCount != 2 {
				t.Errorf("end is %v %+v, %v", typ, m, err)
			}
			req.ExpectFIN()
		})
	})
}

// TestEnd is about section 10.11, at the publisher: PUBLISH_DONE comes after the
// last stream is closed, tells how many there were, and is followed by FIN.
func TestEnd(t *testing.T) {
	publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
		req := p.Open(sub(1))
		req.Type()
		writeGroup(t, tr, 3, 1)
		writeGroup(t, tr, 4, 1)
		tr.End(wire.PublishDoneTrackEnded, "over")
		for range 3 {
			objects(t, p.AcceptUni())
		}
		req.Expect(wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: 3, Reason: "over"})
		req.ExpectFIN()
		p.ExpectOpen()
	})
}

// TestPublish is about section 10.10, at the publisher.
func TestPublish(t *testing.T) {
	type outcome struct {
		release func()
		err     error
	}
	publish := func(t *testing.T, s *moqt.Session, tr *track.Track) <-chan outcome {
		out := make(chan outcome, 1)
		go func() {
			release, err := s.Publish(t.Context(), tr)
			out <- outcome{release, err}
		}()
		return out
	}
	at := wire.Params{LargestObject: &wire.Location{Group: 2, Object: 2}}
	offered := func(t *testing.T, p *moqttest.Peer, tr *track.Track) *moqttest.PeerStream {
		st := p.Accept()
		st.Expect(wire.Publish{RequestID: 0, Track: video, TrackAlias: 1, Params: at, Properties: tr.Info().Properties})
		return st
	}
	t.Run("taken", func(t *testing.T) {
		publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			out := publish(t, s, tr)
			st := offered(t, p, tr)
			p.Open(sub(1)).ExpectError(wire.RequestDuplicateSubscription, wire.TypeSubscribe)
			writeGroup(t, tr, 3, 1)
			st.Send(wire.RequestOK{})
			o := <-out
			if o.err != nil {
				t.Fatal(o.err)
			}
			var groups []uint64
			for range 2 {
				h, _ := objects(t, p.AcceptUni())
				groups = append(groups, h.Group)
			}
			slices.Sort(groups)
			if !slices.Equal(groups, []uint64{2, 3}) {
				t.Errorf("got groups %v, want 2, which was current at PUBLISH, and 3", groups)
			}
			st.Send(wire.RequestUpdate{RequestID: 3, Params: wire.Params{SubscriberPriority: new(uint8(1))}})
			st.Expect(wire.RequestOK{Params: wire.Params{LargestObject: &wire.Location{Group: 3}}})
			o.release()
			st.Expect(wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: 2, Reason: "no longer published"})
			st.ExpectFIN()
		})
	})
	for _, tt := range []struct {
		name   string
		answer func(*moqttest.PeerStream)
		want   wire.RequestCode
	}{
		{"refused", func(st *moqttest.PeerStream) {
			st.Send(wire.RequestError{Code: wire.RequestNotSupported})
			st.Close()
		}, wire.RequestNotSupported},
		{"silence", func(*moqttest.PeerStream) {}, wire.RequestTimeout},
		{"FIN", func(st *moqttest.PeerStream) { st.Close() }, wire.RequestInternalError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
				out := publish(t, s, tr)
				tt.answer(offered(t, p, tr))
				if e, ok := errors.AsType[*moqt.RequestError]((<-out).err); !ok || e.Code != tt.want {
					t.Errorf("Publish: %v, want %v", e, tt.want)
				}
				if typ := p.Open(sub(1)).Type(); typ != wire.TypeSubscribeOK {
					t.Errorf("SUBSCRIBE after it is answered with %v", typ)
				}
			})
		})
	}
	for _, tt := range []struct {
		name string
		send wire.Message
	}{
		{"10.5 properties in the answer", wire.RequestOK{Properties: wire.NewProperties(wire.KeyValue{Type: 2, Uint: 1})}},
		{"update instead of the answer", wire.RequestUpdate{RequestID: 1}},
		{"SUBSCRIBE_OK", wire.SubscribeOK{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			publishing(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
				publish(t, s, tr)
				p.Accept().Send(tt.send)
				p.ExpectClose(wire.SessionProtocolViolation)
			})
		})
	}
}

// TestReceivePublish is about section 10.10, at the subscriber.
func TestReceivePublish(t *testing.T) {
	accepting := func(target *track.Track) (moqt.Config, chan *moqt.PublishRequest) {
		asked := make(chan *moqt.PublishRequest, 1)
		return moqt.Config{Handler: handler{publish: func(r *moqt.PublishRequest) {
			if target != nil {
				r.Target(target)
			}
			asked <- r
		}}}, asked
	}
	t.Run("everything comes before the answer", func(t *testing.T) {
		cfg, asked := accepting(nil)
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			req := p.Open(wire.Publish{Track: video, TrackAlias: 1})
			p.OpenUni(subgroup(1, 0), object("one")).Close()
			req.Send(wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: 1})
			r := <-asked
			time.Sleep(time.Second)
			r.Accept()
			req.Expect(wire.RequestOK{})
			req.ExpectFIN()
			reader := r.Track().NewReader(track.CurrentGroup)
			expectGroup(t, reader, 0, "one")
			if _, err := reader.NextGroup(t.Context()); !errors.Is(err, io.EOF) {
				t.Errorf("NextGroup: %v, want io.EOF", err)
			}
			<-r.Context().Done()
		})
	})
	t.Run("refused with its data", func(t *testing.T) {
		cfg, asked := accepting(nil)
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			req := p.Open(wire.Publish{Track: video, TrackAlias: 1})
			data := p.OpenUni(subgroup(1, 0), object("one"))
			(<-asked).Reject(wire.RequestUninterested, "no")
			req.ExpectError(wire.RequestUninterested, wire.TypePublish)
			data.ExpectStop(wire.ResetCancelled)
		})
	})
	t.Run("continues a track", func(t *testing.T) {
		tr := newTrack()
		cfg, asked := accepting(tr)
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			req := p.Open(wire.Publish{Track: video, TrackAlias: 1})
			r := <-asked
			r.Accept()
			p.OpenUni(subgroup(1, 5), object("one")).Close()
			req.Send(wire.PublishDone{StreamCount: 1})
			<-r.Context().Done()
			expectGroup(t, tr.NewReader(track.CurrentGroup), 5, "one")
			if _, _, ended := tr.Ended(); ended {
				t.Error("the session ended a track that is not its own")
			}
		})
	})
	t.Run("5.1 crosses our SUBSCRIBE", func(t *testing.T) {
		cfg, asked := accepting(nil)
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			out := subscribeAside(t, s)
			ours := p.Accept()
			req := p.Open(wire.Publish{Track: video, TrackAlias: 1})
			(<-asked).Accept()
			req.Expect(wire.RequestOK{})
			ours.ExpectStop(wire.ResetCancelled)
			if e, ok := errors.AsType[*moqt.RequestError]((<-out).err); !ok || e.Code != wire.RequestDuplicateSubscription {
				t.Errorf("Subscribe: %v, want DUPLICATE_SUBSCRIPTION", e)
			}
		})
	})
	t.Run("5.1 of a track that is subscribed", func(t *testing.T) {
		cfg, _ := accepting(nil)
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			subscribeOver(t, p, s, 1)
			p.Open(wire.Publish{Track: video, TrackAlias: 2}).ExpectError(wire.RequestDuplicateSubscription, wire.TypePublish)
		})
	})
	t.Run("an update of it", func(t *testing.T) {
		cfg, asked := accepting(nil)
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			req := p.Open(wire.Publish{Track: video, TrackAlias: 1})
			(<-asked).Accept()
			req.Send(wire.RequestUpdate{RequestID: 2})
			req.Expect(wire.RequestOK{}, wire.RequestOK{})
		})
	})
}
