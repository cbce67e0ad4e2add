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

// In this file the session fetches.

// readItems reads to the end of a range.
func readItems(t *testing.T, rd *track.FetchReader) (list []string) {
	t.Helper()
	for {
		item, err := rd.Read(t.Context())
		switch {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatalf("after %v: %v", list, err)
		case item.Kind == track.FetchAbsent:
			list = append(list, "!"+item.To.String())
		case item.Kind == track.FetchUnknown:
			list = append(list, "?"+item.To.String())
		default:
			o := item.Object
			list = append(list, o.Location().String())
			if string(o.Payload) != string(payload(o.Group, int(o.ID))) {
				t.Errorf("object %v has the wrong payload", o.Location())
			}
		}
	}
}

// TestFetchBetweenSessions fetches from a session that publishes.
func TestFetchBetweenSessions(t *testing.T) {
	for _, link := range links {
		for _, tt := range []struct {
			name string
			rng  track.Range
			opt  moqt.FetchOptions
			want []string
		}{
			{"all", track.Range{End: at(5, 0)}, moqt.FetchOptions{}, append(three(0, 1, 3, 4), "?"+lastOf(4))},
			{"descending", track.Range{End: at(6, 0)}, moqt.FetchOptions{Order: track.Descending}, slices.Concat([]string{"?" + lastOf(5)}, three(4), []string{"?" + lastOf(4)}, three(3, 1, 0))},
			{"a part", track.Range{Start: at(0, 2), End: at(3, 1)}, moqt.FetchOptions{}, []string{"{0, 2}", "{1, 0}", "{1, 1}", "{1, 2}", "{3, 0}"}},
		} {
			t.Run(link.name+"/"+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					client, server := pair(t, link.cfg, moqt.Config{}, moqt.Config{Handler: handler{}})
					tr := track.New(video, track.Info{Local: true}, track.Config{})
					for _, g := range []uint64{0, 1, 3, 4} {
						writeGroup(t, tr, g, 3)
					}
					if _, err := client.Announce(t.Context(), cam, tracks{"video": tr}); err != nil {
						t.Fatal(err)
					}
					_, rd, err := server.Fetch(t.Context(), video, tt.rng, tt.opt)
					if err != nil {
						t.Fatal(err)
					}
					if got := readItems(t, rd); !slices.Equal(got, tt.want) {
						t.Errorf("got %v, want %v", got, tt.want)
					}
				})
			})
		}
	}
}

// A filling is a FetchInto under way, into a track of its own.
type filling struct {
	tr      *track.Track
	rng     track.Range
	cancel  func()
	started chan error
	ok      moqt.FetchOK
	done    chan error
}

// fill fetches rng while the script goes on.
func fill(t *testing.T, s *moqt.Session, rng track.Range, opt moqt.FetchOptions) *filling {
	f := &filling{
		tr: track.New(video, track.Info{}, track.Config{}), rng: rng,
		started: make(chan error, 1), done: make(chan error, 1), // a second call would block, and fail
	}
	begun := false
	f.cancel = s.FetchInto(video, rng, opt, f.tr.Fill(rng), func(ok moqt.FetchOK, err error) {
		f.ok, begun = ok, true
		f.started <- err
	}, func(err error) {
		if !begun {
			t.Error("done before started")
		}
		f.done <- err
	})
	return f
}

// items reads what is in the range.
func (f *filling) items(t *testing.T) []string {
	t.Helper()
	return readItems(t, f.tr.Fetch(f.rng, track.Ascending))
}

// fetchItem is an item on a FETCH stream, as the one before leaves it to be.
func fetchItems(order wire.GroupOrder, list ...wire.FetchObject) []byte {
	w := wire.NewFetchWriter(order)
	var b []byte
	for _, o := range list {
		var err error
		if o.Range == wire.FetchNoRange && o.Length == 0 {
			o.Length = uint64(len(payload(o.Group, int(o.Object))))
		}
		if b, err = w.Append(b, o); err != nil {
			panic(err)
		}
		if o.Range == wire.FetchNoRange {
			b = append(b, payload(o.Group, int(o.Object))...)
		}
	}
	return b
}

func fetchObject(group, object uint64) wire.FetchObject {
	return wire.FetchObject{Group: group, Object: object, Priority: 128}
}

func fetchRange(r wire.FetchRange, group, object uint64) wire.FetchObject {
	return wire.FetchObject{Range: r, Group: group, Object: object}
}

// groups12 is the range that these tests fetch.
var groups12 = track.Range{Start: at(1, 0), End: at(3, 0)}

// filler runs f against a session that fetches groups12, whose request the peer
// has taken.
func filler(t *testing.T, cfg moqt.Config, opt moqt.FetchOptions, f func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling)) {
	t.Helper()
	script(t, true, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(wire.Setup{})
		got := fill(t, s, groups12, opt)
		st := p.Accept()
		if typ := st.Type(); typ != wire.TypeFetch {
			t.Fatalf("session sent %v, want FETCH", typ)
		}
		f(t, p, s, st, got)
	})
}

var fetchHeader = wire.FetchHeader{RequestID: 0}.Append(nil)

func TestFetchMessages(t *testing.T) {
	for _, tt := range []struct {
		name string
		rng  track.Range
		opt  moqt.FetchOptions
		want wire.Fetch
	}{
		{"10.12.1 whole groups", track.Range{Start: at(1, 0), End: at(3, 0)}, moqt.FetchOptions{}, standalone(0, at(1, 0), at(2, 0))},
		{"10.12.1 one object", track.Range{Start: at(1, 4), End: at(1, 5)}, moqt.FetchOptions{}, standalone(0, at(1, 4), at(1, 5))},
		{"10.12.1 everything", track.Range{End: at(1<<64-1, 1<<64-1)}, moqt.FetchOptions{}, standalone(0, at(0, 0), at(1<<64-1, 1<<64-1))},
		{"10.2 parameters", track.Range{End: at(1, 0)}, moqt.FetchOptions{
			Priority: 3, HasPriority: true, Order: track.Descending, FillTimeout: time.Second,
		}, wire.Fetch{FetchType: wire.FetchStandalone, Track: video, Params: wire.Params{
			SubscriberPriority: new(uint8(3)), GroupOrder: wire.GroupDescending, FillTimeout: new(time.Second),
		}}},
		{"10.2.5 no waiting", track.Range{End: at(1, 0)}, moqt.FetchOptions{FillTimeout: -1}, wire.Fetch{
			FetchType: wire.FetchStandalone, Track: video, Params: wire.Params{FillTimeout: new(time.Duration(0))},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				f := fill(t, s, tt.rng, tt.opt)
				st := p.Accept()
				st.Expect(tt.want)
				f.cancel()
				st.ExpectReset(wire.ResetCancelled)
			})
		})
	}
	t.Run("an empty range is not asked for", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			f := fill(t, s, track.Range{Start: at(2, 0), End: at(2, 0)}, moqt.FetchOptions{})
			expectRefused(t, <-f.started, wire.RequestInvalidRange)
			expectRefused(t, <-f.done, wire.RequestInvalidRange)
		})
	})
}

func expectRefused(t *testing.T, err error, want wire.RequestCode) {
	t.Helper()
	if re, ok := errors.AsType[*moqt.RequestError](err); !ok || re.Code != want {
		t.Errorf("ended with %v, want %v", err, want)
	}
}

// TestFetchResponse is about what comes on the stream (section 11.4.4).
func TestFetchResponse(t *testing.T) {
	all := "?" + lastOf(2)
	for _, tt := range []struct {
		name  string
		order wire.GroupOrder
		end   wire.Location // of FETCH_OK; zero: as asked
		items []wire.FetchObject
		want  []string
	}{
		{"10.12.3 whole groups", 0, at(2, 0), []wire.FetchObject{
			fetchObject(1, 0), fetchObject(1, 1), fetchObject(2, 0),
		}, []string{"{1, 0}", "{1, 1}", "{2, 0}"}},
		{"10.12.3 empty: nothing exists", 0, at(2, 0), nil, nil},
		{"10.12.3 gaps do not exist", 0, at(2, 0), []wire.FetchObject{fetchObject(1, 3), fetchObject(2, 7)}, []string{"{1, 3}", "{2, 7}"}},
		{"11.4.4.2 an unknown range", 0, at(2, 0), []wire.FetchObject{
			fetchObject(1, 0), fetchRange(wire.FetchUnknown, 1, 5), fetchObject(1, 6),
		}, []string{"{1, 0}", "?{1, 5}", "{1, 6}"}},
		{"11.4.4.2 both ranges", 0, at(2, 0), []wire.FetchObject{
			fetchObject(1, 0), fetchRange(wire.FetchNonExistent, 1, 5), fetchRange(wire.FetchUnknown, 1, 8), fetchObject(2, 0),
		}, []string{"{1, 0}", "!{1, 5}", "?{1, 8}", "{2, 0}"}},
		{"11.4.4.2 a range first", 0, at(2, 0), []wire.FetchObject{
			fetchRange(wire.FetchUnknown, 1, 5), fetchObject(2, 0),
		}, []string{"?{1, 5}", "{2, 0}"}},
		{"11.4.4.2 a range to beyond the end", 0, at(2, 0), []wire.FetchObject{
			fetchObject(1, 0), fetchRange(wire.FetchUnknown, 7, 5),
		}, []string{"{1, 0}", all}},
		{"10.13 the end is behind Largest", 0, at(1, 2), []wire.FetchObject{
			fetchObject(1, 0),
		}, []string{"{1, 0}", "!{1, 1}", all}},
		{"10.13 the end is behind Largest, which is the last object", 0, at(1, 2), []wire.FetchObject{
			fetchObject(1, 0), fetchObject(1, 1),
		}, []string{"{1, 0}", "{1, 1}", all}},
		{"10.13 the end is behind Largest, and nothing exists", 0, at(1, 2), nil, []string{"!{1, 1}", all}},
		{"10.13 the end is further than asked", 0, at(9, 0), []wire.FetchObject{fetchObject(2, 0)}, []string{"{2, 0}"}},
		{"10.2.8 descending", wire.GroupDescending, at(2, 0), []wire.FetchObject{
			fetchObject(2, 0), fetchObject(2, 1), fetchObject(1, 4),
		}, []string{"{1, 4}", "{2, 0}", "{2, 1}"}},
		{"10.2.8 descending, the end is behind Largest", wire.GroupDescending, at(2, 2), []wire.FetchObject{
			fetchObject(2, 0), fetchObject(1, 4),
		}, []string{"{1, 4}", "{2, 0}", "!{2, 1}", all}},
		{"10.2.8 descending, the end is behind Largest in the group before", wire.GroupDescending, at(1, 2), []wire.FetchObject{
			fetchObject(1, 1),
		}, []string{"{1, 1}", all}},
		{"10.2.8 descending, the end is behind Largest, and nothing is in its group", wire.GroupDescending, at(2, 2), []wire.FetchObject{
			fetchObject(1, 1),
		}, []string{"{1, 1}", "!{2, 1}", all}},
		{"10.2.8 descending, the end is that of a group", wire.GroupDescending, at(1, 0), []wire.FetchObject{
			fetchObject(1, 1),
		}, []string{"{1, 1}", "!" + lastOf(1), all}},
		{"10.2.8 descending, an unknown range", wire.GroupDescending, at(2, 0), []wire.FetchObject{
			fetchObject(2, 0), fetchRange(wire.FetchUnknown, 1, 5), fetchObject(1, 6),
		}, []string{"?{1, 5}", "{1, 6}", "{2, 0}", all}},
		{"11.4.4.1 a datagram", 0, at(2, 0), []wire.FetchObject{
			{Group: 1, Object: 0, Datagram: true, Priority: 3},
		}, []string{"{1, 0}"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			filler(t, moqt.Config{}, moqt.FetchOptions{Order: tt.order}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
				st.Send(wire.FetchOK{End: tt.end})
				data := p.OpenUni(fetchHeader, fetchItems(tt.order, tt.items...))
				data.Close()
				if err := <-f.started; err != nil {
					t.Fatalf("started: %v", err)
				}
				if err := <-f.done; err != nil {
					t.Fatalf("done: %v", err)
				}
				if got := f.items(t); !slices.Equal(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
				if end := f.ok.End; groups12.End.Less(end) {
					t.Errorf("FETCH_OK ends at %v, behind what was asked for", end)
				}
				st.ExpectFIN()
				p.ExpectOpen()
			})
		})
	}
}

// TestFetchOrders is about FETCH_OK and the stream in either order (section
// 10.12.3).
func TestFetchOrders(t *testing.T) {
	t.Run("10.12.3 the stream comes first", func(t *testing.T) {
		filler(t, moqt.Config{}, moqt.FetchOptions{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
			p.OpenUni(fetchHeader, fetchItems(0, fetchObject(1, 0))).Close()
			time.Sleep(5 * time.Second)
			if len(f.started)+len(f.done) > 0 {
				t.Fatal("over before FETCH_OK")
			}
			st.Send(wire.FetchOK{End: at(1, 1), EndOfTrack: true})
			if err := <-f.done; err != nil {
				t.Fatal(err)
			}
			if f.ok.End != at(1, 1) || !f.ok.EndOfTrack {
				t.Errorf("FETCH_OK is %+v", f.ok)
			}
			if got, want := f.items(t), []string{"{1, 0}", "?" + lastOf(2)}; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	})
	t.Run("5.2 the publisher ends the request stream first", func(t *testing.T) {
		filler(t, moqt.Config{}, moqt.FetchOptions{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
			st.Send(wire.FetchOK{End: at(2, 0)})
			st.Close()
			time.Sleep(time.Second)
			p.OpenUni(fetchHeader, fetchItems(0, fetchObject(1, 0))).Close()
			if err := <-f.done; err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("11.4.4 byte by byte", func(t *testing.T) {
		filler(t, moqt.Config{}, moqt.FetchOptions{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
			st.Send(wire.FetchOK{End: at(2, 0)})
			props := wire.NewProperties(wire.KeyValue{Type: 0x3801, Bytes: make([]byte, 300)})
			b := append(slices.Clone(fetchHeader), fetchItems(0,
				wire.FetchObject{Group: 1, Subgroup: 9, Priority: 1, Properties: props}, fetchRange(wire.FetchUnknown, 1, 700), fetchObject(2, 0))...)
			data := p.OpenUni()
			for i := range b {
				data.Send(b[i : i+1])
				synctest.Wait()
			}
			data.Close()
			if err := <-f.done; err != nil {
				t.Fatal(err)
			}
			if got, want := f.items(t), []string{"{1, 0}", "?{1, 700}", "{2, 0}"}; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			item, _ := f.tr.Fetch(groups12, track.Ascending).Next()
			if o := item.Object; o.Subgroup != 9 || o.Priority != 1 || string(o.Properties) != string(props) {
				t.Errorf("first object: subgroup %d, priority %d, %d bytes of properties", o.Subgroup, o.Priority, len(o.Properties))
			}
		})
	})
}

// TestFetchAfterTheEnd calls when there is nobody left to answer.
func TestFetchAfterTheEnd(t *testing.T) {
	script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(wire.Setup{})
		p.Conn.CloseWithError(wire.SessionNoError, "")
		<-s.Done()
		f := fill(t, s, groups12, moqt.FetchOptions{})
		for _, err := range []error{<-f.started, <-f.done} {
			if _, ok := errors.AsType[*moqt.SessionError](err); !ok {
				t.Errorf("ended with %v, want the *SessionError", err)
			}
		}
		if got, want := f.items(t), []string{"?" + lastOf(2)}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if _, _, err := s.Fetch(t.Context(), video, groups12, moqt.FetchOptions{}); err == nil {
			t.Error("Fetch succeeds")
		}
		if _, err := s.TrackStatus(t.Context(), video); err == nil {
			t.Error("TrackStatus succeeds")
		}
	})
}
