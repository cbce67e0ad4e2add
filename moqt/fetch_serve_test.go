package moqt_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// In this file the scripted peer fetches from the session.

// at is a location.
func at(group, object uint64) wire.Location { return wire.Location{Group: group, Object: object} }

// standalone is a FETCH of the track that fetchable has.
func standalone(id uint64, start, end wire.Location) wire.Fetch {
	return wire.Fetch{RequestID: id, FetchType: wire.FetchStandalone, Track: video, Start: start, End: end}
}

// joining is a joining FETCH.
func joining(id uint64, typ wire.FetchType, sub, start uint64) wire.Fetch {
	return wire.Fetch{RequestID: id, FetchType: typ, JoiningRequestID: sub, JoiningStart: start}
}

// fetchable runs f against a session that publishes a track of this process: the
// groups 0 to 4 of three objects each, but that group 2 was left out.
func fetchable(t *testing.T, cfg moqt.Config, f func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track)) {
	t.Helper()
	script(t, true, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(solicit)
		props := wire.NewProperties(wire.KeyValue{Type: wire.PropDefaultPublisherPriority, Uint: 7})
		tr := track.New(video, track.Info{Properties: props, Local: true}, track.Config{})
		for _, g := range []uint64{0, 1, 3, 4} {
			writeGroup(t, tr, g, 3)
		}
		if _, err := s.Announce(t.Context(), cam, tracks{"video": tr}); err != nil {
			t.Fatal(err)
		}
		f(t, p, s, tr)
	})
}

// A fetched is what a FETCH was answered.
type fetched struct {
	ok    wire.FetchOK
	items []string // objects as {group, object}, ranges with ! and ? in front
}

// expectOK reads a FETCH_OK.
func expectOK(t *testing.T, st *moqttest.PeerStream) wire.FetchOK {
	t.Helper()
	typ, body := st.Message()
	if typ != wire.TypeFetchOK {
		e, _ := wire.ParseRequestError(body, wire.TypeFetch)
		t.Fatalf("answered with %v %v %q, want FETCH_OK", typ, e.Code, e.Reason)
	}
	ok, err := wire.ParseFetchOK(body)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// answerTo reads a whole answer, with the stream after it.
func answerTo(t *testing.T, p *moqttest.Peer, st *moqttest.PeerStream, m wire.Fetch) fetched {
	t.Helper()
	out := fetched{ok: expectOK(t, st)}
	b, err := p.AcceptUni().ReadAll()
	if err != nil {
		t.Fatalf("fetch stream: %v", err)
	}
	h, n, err := wire.ParseFetchHeader(b)
	if err != nil || h.RequestID != m.RequestID {
		t.Fatalf("fetch stream begins with %+v, %v, want request %d", h, err, m.RequestID)
	}
	out.items = items(t, b[n:], m.Params.GroupOrder)
	st.ExpectFIN()
	return out
}

// items lists what is on a FETCH stream behind its header.
func items(t *testing.T, b []byte, order wire.GroupOrder) (list []string) {
	t.Helper()
	r := wire.NewFetchReader(order)
	for len(b) > 0 {
		o, n, err := r.Parse(b)
		if err != nil {
			t.Fatalf("after %v: %v", list, err)
		}
		b = b[n:]
		switch o.Range {
		case wire.FetchNonExistent:
			list = append(list, "!"+o.Location().String())
		case wire.FetchUnknown:
			list = append(list, "?"+o.Location().String())
		default:
			list = append(list, o.Location().String())
			if want := payload(o.Group, int(o.Object)); string(b[:o.Length]) != string(want) {
				t.Errorf("object %v has the wrong payload", o.Location())
			}
			b = b[o.Length:]
		}
	}
	return list
}

// three lists the objects of whole groups.
func three(groups ...uint64) (list []string) {
	for _, g := range groups {
		for o := range uint64(3) {
			list = append(list, at(g, o).String())
		}
	}
	return list
}

// lastOf is the last location of a group.
func lastOf(group uint64) string { return at(group, 1<<64-1).String() }

func TestFetchStandalone(t *testing.T) {
	descending := wire.Params{GroupOrder: wire.GroupDescending}
	for _, tt := range []struct {
		name       string
		start, end wire.Location
		params     wire.Params
		ok         wire.Location
		want       []string
	}{
		{"10.12.1 object 0 is the whole group", at(1, 0), at(1, 0), wire.Params{}, at(1, 0), three(1)},
		{"10.12.1 the end is one past the last object", at(1, 1), at(3, 1), wire.Params{}, at(3, 1), []string{"{1, 1}", "{1, 2}", "{3, 0}"}},
		{"10.12.1 one object", at(1, 1), at(1, 2), wire.Params{}, at(1, 2), []string{"{1, 1}"}},
		{"10.12.3 from the middle to the middle of a group", at(0, 2), at(1, 1), wire.Params{}, at(1, 1), []string{"{0, 2}", "{1, 0}"}},
		{"10.12.3 end beyond Largest in its group", at(4, 1), at(4, 9), wire.Params{}, at(4, 3), []string{"{4, 1}", "{4, 2}"}},
		{"10.12.3 end beyond Largest, whole group", at(3, 0), at(4, 0), wire.Params{}, at(4, 3), three(3, 4)},
		{"10.12.3 end beyond Largest in a later group", at(3, 2), at(1<<40, 7), wire.Params{}, at(4, 3), append([]string{"{3, 2}"}, three(4)...)},
		{"10.12.3 end at Largest", at(4, 0), at(4, 3), wire.Params{}, at(4, 3), three(4)},
		{"10.12.3 a gap between groups is not marked", at(0, 0), at(4, 0), wire.Params{}, at(4, 3), three(0, 1, 3, 4)},
		{"10.12.3 nothing in the range: header and FIN", at(2, 0), at(2, 0), wire.Params{}, at(2, 0), nil},
		{"10.12.3 nothing behind the last object of a group", at(1, 3), at(1, 7), wire.Params{}, at(1, 7), nil},
		{"10.2.8 descending", at(0, 0), at(4, 0), descending, at(4, 3), three(4, 3, 1, 0)},
		{"10.2.8 descending, cut on both sides", at(1, 2), at(3, 2), descending, at(3, 2), []string{"{3, 0}", "{3, 1}", "{1, 2}"}},
		{"10.2.8 ascending", at(0, 0), at(1, 0), wire.Params{GroupOrder: wire.GroupAscending}, at(1, 0), three(0, 1)},
		{"1.4.2 the largest range", at(0, 0), at(1<<64-1, 1<<64-1), wire.Params{}, at(4, 3), three(0, 1, 3, 4)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
				m := standalone(1, tt.start, tt.end)
				m.Params = tt.params
				got := answerTo(t, p, p.Open(m), m)
				if got.ok.End != tt.ok || got.ok.EndOfTrack {
					t.Errorf("FETCH_OK ends at %v, end of track %t, want %v, false", got.ok.End, got.ok.EndOfTrack, tt.ok)
				}
				if string(got.ok.Properties) != string(tr.Properties()) {
					t.Errorf("FETCH_OK has properties %x, want %x", got.ok.Properties, tr.Properties())
				}
				if !slices.Equal(got.items, tt.want) {
					t.Errorf("got %v, want %v", got.items, tt.want)
				}
				p.ExpectOpen()
			})
		})
	}
}

func TestFetchRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    wire.Fetch
		want wire.RequestCode
	}{
		{"10.12.3 start beyond Largest", standalone(1, at(4, 3), at(9, 0)), wire.RequestInvalidRange},
		{"10.12.3 start in a later group", standalone(1, at(5, 0), at(5, 0)), wire.RequestInvalidRange},
		{"10.12.3 end before the start", standalone(1, at(3, 0), at(1, 0)), wire.RequestInvalidRange},
		{"10.12.3 end at the start", standalone(1, at(3, 1), at(3, 1)), wire.RequestInvalidRange},
		{"10.6 no such track", wire.Fetch{
			RequestID: 1, FetchType: wire.FetchStandalone, Track: track.Name{Namespace: cam, Name: "x"}, End: at(1, 0),
		}, wire.RequestDoesNotExist},
		{"10.6 no such namespace", wire.Fetch{
			RequestID: 1, FetchType: wire.FetchStandalone, Track: track.Name{Namespace: track.MustNamespace("x"), Name: "video"}, End: at(1, 0),
		}, wire.RequestDoesNotExist},
		{"10.12.2 joining nothing", joining(1, wire.FetchRelativeJoining, 77, 0), wire.RequestInvalidJoiningRequestID},
		{"10.12.2 joining itself", joining(1, wire.FetchAbsoluteJoining, 1, 0), wire.RequestInvalidJoiningRequestID},
		{"10.12.2 joining a request of the publisher", joining(1, wire.FetchRelativeJoining, 0, 0), wire.RequestInvalidJoiningRequestID},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
				start := time.Now()
				p.Open(tt.m).ExpectError(tt.want, wire.TypeFetch)
				if took := time.Since(start); took != 0 {
					t.Errorf("refused after %v, want at once", took)
				}
				p.ExpectOpen()
			})
		})
	}
	t.Run("10.12.3 nothing published", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(solicit)
			if _, err := s.Announce(t.Context(), cam, tracks{"video": newTrack()}); err != nil {
				t.Fatal(err)
			}
			p.Open(standalone(1, at(0, 0), at(1, 0))).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
			sub := p.Open(wire.Subscribe{RequestID: 3, Track: video})
			if typ := sub.Type(); typ != wire.TypeSubscribeOK {
				t.Fatalf("SUBSCRIBE is answered with %v", typ)
			}
			p.Open(joining(5, wire.FetchRelativeJoining, 3, 0)).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
			p.ExpectOpen()
		})
	})
	t.Run("2.4.2 malformed track", func(t *testing.T) {
		fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
			tr.End(track.DoneMalformedTrack, "contradiction")
			p.Open(standalone(1, at(0, 0), at(1, 0))).ExpectError(wire.RequestMalformedTrack, wire.TypeFetch)
		})
	})
}

// TestFetchEndOfTrack is about the flag of FETCH_OK (section 10.13).
func TestFetchEndOfTrack(t *testing.T) {
	for _, tt := range []struct {
		name string
		code track.DoneCode
		end  wire.Location
		ok   wire.Location
		want bool
	}{
		{"to the end", track.DoneTrackEnded, at(4, 3), at(4, 3), true},
		{"beyond the end", track.DoneTrackEnded, at(9, 0), at(4, 3), true},
		{"the last group", track.DoneTrackEnded, at(4, 0), at(4, 3), true},
		{"not to the end", track.DoneTrackEnded, at(4, 2), at(4, 2), false},
		{"a track that was cut", track.DoneInternalError, at(9, 0), at(4, 3), false},
	} {
		t.Run("10.13 "+tt.name, func(t *testing.T) {
			fetchable(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, tr *track.Track) {
				tr.End(tt.code, "")
				m := standalone(1, at(3, 0), tt.end)
				if got := answerTo(t, p, p.Open(m), m); got.ok.EndOfTrack != tt.want || got.ok.End != tt.ok {
					t.Errorf("end of track %t at %v, want %t at %v", got.ok.EndOfTrack, got.ok.End, tt.want, tt.ok)
				}
			})
		})
	}
}

// TestFetchStateEnds is about section 5.2, at the publisher.
func TestFetchStateEnds(t *testing.T) {
	// slow runs f against a FETCH whose answer does not fit into flow control.
	slow := func(t *testing.T, f func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st, data *moqttest.PeerStream)) {
		t.Helper()
		script(t, true, moqttest.Config{Window: 3000}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(solicit)
			tr := track.New(video, track.Info{Local: true}, track.Config{})
			writeGroup(t, tr, 0, 9)
			if _, err := s.Announce(t.Context(), cam, tracks{"video": tr}); err != nil {
				t.Fatal(err)
			}
			st := p.Open(standalone(1, at(0, 0), at(1, 0)))
			expectOK(t, st)
			data := p.AcceptUni()
			data.Expect(wire.FetchHeader{RequestID: 1}.Append(nil))
			f(t, p, s, st, data)
			p.ExpectOpen()
		})
	}
	t.Run("5.2 STOP_SENDING on the request stream", func(t *testing.T) {
		slow(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st, data *moqttest.PeerStream) {
			st.Stop(wire.ResetCancelled)
			data.ExpectReset(wire.ResetCancelled)
			st.ExpectStop(wire.ResetCancelled)
		})
	})
	t.Run("5.2 STOP_SENDING on the data stream", func(t *testing.T) {
		slow(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st, data *moqttest.PeerStream) {
			data.Stop(wire.ResetCancelled)
			st.ExpectReset(wire.ResetCancelled)
			st.ExpectStop(wire.ResetCancelled)
		})
	})
	t.Run("5.2 STOP_SENDING on both", func(t *testing.T) {
		slow(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st, data *moqttest.PeerStream) {
			st.Stop(wire.ResetCancelled)
			data.Stop(wire.ResetCancelled)
			st.ExpectStop(wire.ResetCancelled)
		})
	})
	t.Run("3.3.2 reset of the request stream", func(t *testing.T) {
		slow(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st, data *moqttest.PeerStream) {
			st.Reset(wire.ResetCancelled)
			data.ExpectReset(wire.ResetCancelled)
		})
	})
	t.Run("5.2 FIN of the requester is not a cancellation", func(t *testing.T) {
		slow(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st, data *moqttest.PeerStream) {
			st.Close()
			b, err := data.ReadAll()
			if got := items(t, b, wire.GroupAscending); err != nil || len(got) != 9 {
				t.Errorf("read %v, %v", got, err)
			}
			st.ExpectFIN()
		})
	})
	t.Run("10.9 REQUEST_UPDATE of the priority", func(t *testing.T) {
		slow(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st, data *moqttest.PeerStream) {
			st.Send(wire.RequestUpdate{RequestID: 3, Params: wire.Params{SubscriberPriority: new(uint8(3))}})
			st.Expect(wire.RequestOK{})
			if b, err := data.ReadAll(); err != nil || len(items(t, b, wire.GroupAscending)) != 9 {
				t.Errorf("data stream: %v", err)
			}
			st.ExpectFIN()
		})
	})
	t.Run("10.9.1 a REQUEST_UPDATE that fails", func(t *testing.T) {
		slow(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st, data *moqttest.PeerStream) {
			st.Send(wire.RequestUpdate{RequestID: 3, Params: wire.Params{
				Tokens: []wire.Token{{AliasType: wire.TokenUseAlias, Alias: 9}},
			}})
			typ, _ := st.Message()
			if typ != wire.TypeRequestError {
				t.Fatalf("answered with %v, want REQUEST_ERROR", typ)
			}
			data.ExpectReset(wire.ResetCancelled)
		})
	})
}

// TestFetchCloses is about what ends the session.
func TestFetchCloses(t *testing.T) {
	silent := handler{
		fetch:       func(*moqt.FetchRequest) {},
		trackStatus: func(*moqt.TrackStatusRequest) {},
	}
	update := wire.RequestUpdate{RequestID: 2}
	forward := wire.RequestUpdate{RequestID: 2, Params: wire.Params{Forward: new(false)}}
	fetch := standalone(0, at(0, 0), at(1, 0))
	for _, tt := range []struct {
		name  string
		parts []any
	}{
		{"10.9 update with parameters of a subscription", []any{fetch, forward}},
		{"10.9.1 answer on the stream of the peer's FETCH", []any{fetch, wire.FetchOK{End: at(1, 0)}}},
		{"10.12 unknown fetch type", []any{frame(uint64(wire.TypeFetch), uint64(0), uint64(4), uint64(0), uint64(0), uint64(0))}},
		{"10.12 FETCH twice on a stream", []any{fetch, fetch}},
		{"10.2.8 unknown group order", []any{wire.Fetch{FetchType: wire.FetchStandalone, Track: video, End: at(1, 0), Params: wire.Params{GroupOrder: 3}}}},
		{"10.14 update of a TRACK_STATUS", []any{wire.TrackStatus{Track: video}, update}},
		{"10.1 request ID of the wrong side", []any{standalone(1, at(0, 0), at(1, 0))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, false, moqttest.Config{}, moqt.Config{Handler: silent}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				p.Open(tt.parts...)
				want := wire.SessionProtocolViolation
				if strings.HasPrefix(tt.name, "10.1 ") {
					want = wire.SessionInvalidRequestID
				}
				p.ExpectClose(want)
			})
		})
	}
}

// TestFetchLimit is about Limits.Fetches.
func TestFetchLimit(t *testing.T) {
	silent := handler{fetch: func(*moqt.FetchRequest) {}}
	cfg := moqt.Config{Handler: silent, Limits: moqt.Limits{Fetches: 2}}
	script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(wire.Setup{})
		first := p.Open(standalone(0, at(0, 0), at(1, 0)))
		p.Open(joining(2, wire.FetchRelativeJoining, 0, 0)).ExpectError(wire.RequestInvalidJoiningRequestID, wire.TypeFetch)
		p.Open(standalone(4, at(0, 0), at(1, 0)))
		synctest.Wait()
		for id := uint64(6); id < 100; id += 2 {
			p.Open(standalone(id, at(0, 0), at(1, 0))).ExpectError(wire.RequestExcessiveLoad, wire.TypeFetch)
		}
		first.Reset(wire.ResetCancelled) // makes room
		synctest.Wait()
		last := p.Open(standalone(100, at(0, 0), at(1, 0)))
		synctest.Wait()
		if last.Pending() {
			t.Error("refused although there is room again")
		}
		p.ExpectOpen()
	})
}

// TestFetchFillTimeout is about section 10.2.5.
func TestFetchFillTimeout(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stated *time.Duration
		asked  time.Duration // before the handler answers
		want   time.Duration
	}{
		{"10.2.5 none stated", nil, 0, 10 * time.Second},
		{"10.2.5 stated", new(3 * time.Second), 0, 3 * time.Second},
		{"10.2.5 not at all", new(time.Duration(0)), 0, 0},
		{"10.2.5 more than we wait", new(time.Minute), 0, 10 * time.Second},
		{"10.2.5 a total budget", new(3 * time.Second), time.Second, 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := track.New(video, track.Info{}, track.Config{})
			h := handler{fetch: func(r *moqt.FetchRequest) {
				tr.Fill(track.Range{Start: at(1, 0), End: at(3, 0)}) // and nobody fills it
				time.AfterFunc(tt.asked, func() { r.Serve(tr) })
			}}
			script(t, false, moqttest.Config{}, moqt.Config{Handler: h}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				writeGroup(t, tr, 0, 3)
				writeGroup(t, tr, 3, 3)
				m := standalone(0, at(0, 0), at(4, 0))
				m.Params.FillTimeout = tt.stated
				start := time.Now()
				got := answerTo(t, p, p.Open(m), m)
				if took := time.Since(start); took != tt.want {
					t.Errorf("took %v, want %v", took, tt.want)
				}
				if want := slices.Concat(three(0), []string{"!" + lastOf(0), "?" + lastOf(2)}, three(3)); !slices.Equal(got.items, want) {
					t.Errorf("got %v, want %v", got.items, want)
				}
			})
		})
	}
}

// TestFetchBounds asks what of a range a track can answer.
func TestFetchBounds(t *testing.T) {
	tr := track.New(video, track.Info{}, track.Config{})
	writeGroup(t, tr, 4, 3)
	for _, tt := range []struct {
		name      string
		asked     track.Range
		report    wire.Location
		want      track.Location
		beginning bool
	}{
		{"10.12.3 behind Largest", track.Range{Start: at(4, 3), End: at(9, 0)}, at(0, 0), at(0, 0), false},
		{"10.12.3 cut at Largest", track.Range{Start: at(4, 2), End: at(9, 0)}, at(0, 0), at(4, 3), true},
		{"10.12.3 not cut", track.Range{Start: at(0, 0), End: at(4, 2)}, at(0, 0), at(4, 2), true},
		{"10.2.11 cut at what the publisher has told", track.Range{Start: at(4, 3), End: at(9, 0)}, at(6, 1), at(6, 2), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr.Report(tt.report)
			r := moqt.FetchRequest{Range: tt.asked}
			rng, last, err := r.Bounds(tr)
			if (err == nil) != tt.beginning || err == nil && (rng != track.Range{Start: tt.asked.Start, End: tt.want} || last) {
				t.Errorf("Bounds = %v, %t, %v, want an end at %v", rng, last, err, tt.want)
			}
		})
	}
}
