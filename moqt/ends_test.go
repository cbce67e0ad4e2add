package moqt_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// open returns what the gauges say is open, by kind.
func open(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "broadcastd_moqt_open" {
			continue
		}
		for _, m := range f.GetMetric() {
			out[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	return out
}

// expectNothingOpen lets every timer of the session run out, and checks that
// only the session itself and the tokens are open then.
func expectNothingOpen(t *testing.T, reg *prometheus.Registry) {
	t.Helper()
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	got := open(t, reg)
	for kind, n := range got {
		if kind != "session" && n != 0 {
			t.Errorf("%v of kind %q are open, want 0", n, kind)
		}
	}
	if got["session"] != 1 {
		t.Errorf("%v sessions are open, want 1", got["session"])
	}
}

// counting runs f with a session whose gauges reg has, and checks that they
// return to zero with it.
func counting(t *testing.T, cfg moqt.Config, f func(t *testing.T, p *moqttest.Peer, s *moqt.Session, reg *prometheus.Registry)) {
	t.Helper()
	reg := prometheus.NewRegistry()
	cfg.Registerer = reg
	script(t, true, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(wire.Setup{})
		f(t, p, s, reg)
		expectNothingOpen(t, reg)
		p.ExpectOpen()
		s.Close(wire.SessionNoError, "")
		<-s.Done()
		for kind, n := range open(t, reg) {
			if n != 0 {
				t.Errorf("%v of kind %q are open after the end of the session", n, kind)
			}
		}
	})
}

// TestPeersRequestsEnd walks every way in which a request of the peer can end
// (invariant I10: opened less closed is what lives).
func TestPeersRequestsEnd(t *testing.T) {
	kinds := map[string]wire.Message{
		"SUBSCRIBE":           wire.Subscribe{RequestID: 1, Track: video},
		"PUBLISH":             wire.Publish{RequestID: 1, Track: video, TrackAlias: 5},
		"FETCH":               wire.Fetch{RequestID: 1, FetchType: wire.FetchStandalone, Track: video, End: wire.Location{Group: 1}},
		"TRACK_STATUS":        wire.TrackStatus{RequestID: 1, Track: video},
		"PUBLISH_NAMESPACE":   wire.PublishNamespace{RequestID: 1, Namespace: cam},
		"SUBSCRIBE_NAMESPACE": wire.SubscribeNamespace{RequestID: 1, Prefix: cam},
		"SUBSCRIBE_TRACKS":    wire.SubscribeTracks{RequestID: 1, Prefix: cam},
	}
	type answers struct {
		reject func(wire.RequestCode, string)
		expire func(time.Time)
		goaway func(string, time.Duration) error
		accept func()
	}
	for kind, m := range kinds {
		for end, play := range map[string]func(st *moqttest.PeerStream, a answers){
			"refused": func(st *moqttest.PeerStream, a answers) { a.reject(wire.RequestUninterested, ""); st.Close() },
			"refused, and the peer leaves its half open": func(_ *moqttest.PeerStream, a answers) { a.reject(wire.RequestUninterested, "") },
			"reset before the answer":                    func(st *moqttest.PeerStream, _ answers) { st.Reset(wire.ResetCancelled) },
			"stopped before the answer":                  func(st *moqttest.PeerStream, _ answers) { st.Stop(wire.ResetCancelled); st.Close() },
			"ended before the answer, then accepted": func(st *moqttest.PeerStream, a answers) {
				st.Close()
				synctest.Wait()
				a.accept()
				synctest.Wait()
				st.Stop(wire.ResetCancelled)
			},
			"accepted, then reset": func(st *moqttest.PeerStream, a answers) { a.accept(); synctest.Wait(); st.Reset(wire.ResetCancelled) },
			"accepted, then expired": func(st *moqttest.PeerStream, a answers) {
				a.accept()
				a.expire(time.Now().Add(time.Second))
				st.Close()
			},
			"accepted, then sent away": func(st *moqttest.PeerStream, a answers) {
				a.accept()
				_ = a.goaway("", time.Second)
			},
			"expired before the answer": func(_ *moqttest.PeerStream, a answers) { a.expire(time.Now()) },
			"half an update": func(st *moqttest.PeerStream, a answers) {
				a.accept()
				synctest.Wait()
				st.Send(moqttest.Bytes(wire.RequestUpdate{RequestID: 3})[:2])
				time.Sleep(11 * time.Second)
				st.Stop(wire.ResetCancelled)
			},
		} {
			if kind == "TRACK_STATUS" && (end == "half an update" || end == "accepted, then expired") {
				continue // it is over with its answer, and what follows is ignored or a violation
			}
			t.Run(kind+"/"+end, func(t *testing.T) {
				var a answers
				tr := newTrack()
				cfg := moqt.Config{Handler: handler{
					subscribe: func(r *moqt.SubscribeRequest) { a = answers{r.Reject, r.ExpireAt, r.Goaway, func() { r.Accept(tr) }} },
					publish:   func(r *moqt.PublishRequest) { a = answers{r.Reject, r.ExpireAt, r.Goaway, r.Accept} },
					fetch: func(r *moqt.FetchRequest) {
						a = answers{r.Reject, r.ExpireAt, r.Goaway, func() {
							r.Accept(tr, tr.Fetch(r.Range, track.Ascending), r.Range.End, false)
						}}
					},
					trackStatus: func(r *moqt.TrackStatusRequest) {
						a = answers{r.Reject, r.ExpireAt, r.Goaway, func() { r.Accept(nil, nil) }}
					},
					publishNamespace:   func(r *moqt.PublishNamespaceRequest) { a = answers{r.Reject, r.ExpireAt, r.Goaway, r.Accept} },
					subscribeNamespace: func(r *moqt.SubscribeNamespaceRequest) { a = answers{r.Reject, r.ExpireAt, r.Goaway, r.Accept} },
					subscribeTracks:    func(r *moqt.SubscribeTracksRequest) { a = answers{r.Reject, r.ExpireAt, r.Goaway, r.Accept} },
				}}
				counting(t, cfg, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session, reg *prometheus.Registry) {
					st := p.Open(m)
					synctest.Wait()
					if got := open(t, reg)["request"]; got != 1 {
						t.Fatalf("%v requests are open, want 1", got)
					}
					play(st, a)
				})
			})
		}
	}
}

// TestOurRequestsEnd is that for our own requests.
func TestOurRequestsEnd(t *testing.T) {
	kinds := map[string]func(ctx context.Context, s *moqt.Session) error{
		"SUBSCRIBE": func(ctx context.Context, s *moqt.Session) error {
			_, err := s.Subscribe(ctx, video, track.SubscribeOptions{})
			return err
		},
		"PUBLISH": func(ctx context.Context, s *moqt.Session) error { _, err := s.Publish(ctx, newTrack()); return err },
		"FETCH": func(ctx context.Context, s *moqt.Session) error {
			_, _, err := s.Fetch(ctx, video, track.Range{End: track.Location{Group: 1}}, moqt.FetchOptions{})
			return err
		},
		"TRACK_STATUS": func(ctx context.Context, s *moqt.Session) error { _, err := s.TrackStatus(ctx, video); return err },
		"PUBLISH_NAMESPACE": func(ctx context.Context, s *moqt.Session) error {
			_, err := s.Announce(ctx, cam, tracks{})
			return err
		},
		"SUBSCRIBE_NAMESPACE": func(ctx context.Context, s *moqt.Session) error {
			for _, err := range s.Namespaces(ctx, cam) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"SUBSCRIBE_TRACKS": func(ctx context.Context, s *moqt.Session) error {
			_, err := s.Tracks(ctx, cam, moqt.TracksOptions{})
			return err
		},
	}
	for kind, call := range kinds {
		for end, play := range map[string]func(st *moqttest.PeerStream, cancel func()){
			"refused": func(st *moqttest.PeerStream, _ func()) {
				st.Send(wire.RequestError{Code: wire.RequestUninterested})
				st.Close()
			},
			"refused, and left open":  func(st *moqttest.PeerStream, _ func()) { st.Send(wire.RequestError{Code: wire.RequestUninterested}) },
			"not answered":            func(*moqttest.PeerStream, func()) {},
			"ended without an answer": func(st *moqttest.PeerStream, _ func()) { st.Close() },
			"reset":                   func(st *moqttest.PeerStream, _ func()) { st.Reset(wire.ResetGoingAway) },
			"stopped and reset":       func(st *moqttest.PeerStream, _ func()) { st.Stop(wire.ResetCancelled); st.Reset(wire.ResetCancelled) },
			"given up":                func(_ *moqttest.PeerStream, cancel func()) { cancel() },
			"sent away":               func(st *moqttest.PeerStream, _ func()) { st.Send(wire.Goaway{}) },
			"half an answer":          func(st *moqttest.PeerStream, _ func()) { st.Send(moqttest.Bytes(wire.RequestError{})[:2]) },
		} {
			t.Run(kind+"/"+end, func(t *testing.T) {
				counting(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, _ *prometheus.Registry) {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					done := make(chan error, 1)
					go func() { done <- call(ctx, s) }()
					st := p.Accept()
					synctest.Wait()
					play(st, cancel)
					if err := <-done; err == nil {
						t.Error("the call succeeds")
					}
				})
			})
		}
	}
}

// TestDataStreamsEnd is that for what is received.
func TestDataStreamsEnd(t *testing.T) {
	for end, play := range map[string]func(p *moqttest.Peer, st, req *moqttest.PeerStream, sub *track.Subscription){
		"FIN": func(_ *moqttest.Peer, st, _ *moqttest.PeerStream, _ *track.Subscription) {
			st.Send(object("x"))
			st.Close()
		},
		"reset": func(_ *moqttest.Peer, st, _ *moqttest.PeerStream, _ *track.Subscription) {
			st.Reset(wire.ResetDeliveryTimeout)
		},
		"unsubscribed": func(_ *moqttest.Peer, _, _ *moqttest.PeerStream, sub *track.Subscription) { sub.Close() },
		"track ended": func(_ *moqttest.Peer, st, _ *moqttest.PeerStream, sub *track.Subscription) {
			sub.Track().End(0, "")
			st.Send(object("x"))
		},
		"malformed": func(_ *moqttest.Peer, st, _ *moqttest.PeerStream, _ *track.Subscription) {
			st.Send(wire.ObjectHeader{Status: wire.ObjectEndOfGroup}.Append(nil, false), object("x"))
		},
		"request reset": func(_ *moqttest.Peer, _, req *moqttest.PeerStream, _ *track.Subscription) {
			req.Reset(wire.ResetCancelled)
		},
		"stalled": func(_ *moqttest.Peer, st, _ *moqttest.PeerStream, _ *track.Subscription) { st.Send(object("half")[:3]) },
		"unknown alias": func(p *moqttest.Peer, st, _ *moqttest.PeerStream, _ *track.Subscription) {
			p.OpenUni(subgroup(77, 1))
			st.Close()
		},
		"done, but open": func(_ *moqttest.Peer, _, req *moqttest.PeerStream, _ *track.Subscription) {
			req.Send(wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: 1})
		},
	} {
		t.Run(end, func(t *testing.T) {
			counting(t, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, reg *prometheus.Registry) {
				sub, req := subscribeOver(t, p, s, 4)
				st := p.OpenUni(subgroup(4, 1))
				synctest.Wait()
				if got := open(t, reg); got["stream"] != 1 || got["subscription"] != 1 {
					t.Fatalf("open: %v, want a stream and a subscription", got)
				}
				play(p, st, req, sub)
				time.Sleep(time.Minute)
				req.Stop(wire.ResetCancelled)
				sub.Close()
			})
		})
	}
}

// TestStall is about a data stream that stands still (section 3.5,
// DATA_STREAM_TIMEOUT).
func TestStall(t *testing.T) {
	run := func(t *testing.T, f func(t *testing.T, p *moqttest.Peer, st *moqttest.PeerStream)) {
		t.Helper()
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			subscribeOver(t, p, s, 4)
			f(t, p, p.OpenUni(subgroup(4, 1)))
			p.ExpectOpen()
		})
	}
	whole := object("an object")
	for n := 1; n < len(whole); n += 3 {
		t.Run(fmt.Sprintf("3.5 after %d bytes of an object", n), func(t *testing.T) {
			run(t, func(t *testing.T, p *moqttest.Peer, st *moqttest.PeerStream) {
				st.Send(whole, whole[:n])
				time.Sleep(29 * time.Second)
				if st.StopPending() {
					t.Fatal("stopped too early")
				}
				time.Sleep(20 * time.Second)
				st.ExpectStop(wire.ResetDeliveryTimeout)
			})
		})
	}
	t.Run("3.5 slow, but it goes on", func(t *testing.T) {
		run(t, func(t *testing.T, _ *moqttest.Peer, st *moqttest.PeerStream) {
			for i := range whole {
				st.Send(whole[i : i+1])
				time.Sleep(14 * time.Second)
			}
			if st.StopPending() {
				t.Fatal("stopped")
			}
		})
	})
	t.Run("3.5 between two objects", func(t *testing.T) {
		run(t, func(t *testing.T, _ *moqttest.Peer, st *moqttest.PeerStream) {
			st.Send(whole)
			time.Sleep(time.Hour)
			st.Send(whole)
			time.Sleep(time.Hour)
			if st.StopPending() {
				t.Fatal("a stream that rests is stopped")
			}
		})
	})
	t.Run("3.5 half a message on a request stream", func(t *testing.T) {
		run(t, func(t *testing.T, p *moqttest.Peer, _ *moqttest.PeerStream) {
			st := p.Open(wire.SubscribeNamespace{RequestID: 1})
			st.Expect(wire.RequestOK{})
			update := moqttest.Bytes(wire.RequestUpdate{RequestID: 3})
			for i := range update[:len(update)-1] { // a byte now and then does not help
				st.Send(update[i : i+1])
				time.Sleep(4 * time.Second)
				if i == 2 {
					break
				}
			}
			st.ExpectStop(wire.ResetCancelled)
		})
	})
	t.Run("3.5 half a message on the control stream", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(_ *testing.T, p *moqttest.Peer, _ *moqt.Session) {
			control, _ := p.Setup(wire.Setup{})
			control.Send(moqttest.Bytes(wire.Goaway{RequestID: new(uint64(0))})[:2])
			p.ExpectClose(wire.SessionControlMessageTimeout)
		})
	})
}

// TestCloseAnswersEverybody: after Close every pending call returns an error
// within a second (invariant I16), however many there are.
func TestCloseAnswersEverybody(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*moqttest.Peer, *moqt.Session)
	}{
		{"closed", func(_ *moqttest.Peer, s *moqt.Session) { s.Close(wire.SessionNoError, "") }},
		{"closed by the peer", func(p *moqttest.Peer, _ *moqt.Session) { _ = p.Conn.CloseWithError(wire.SessionNoError, "") }},
		{"a violation", func(p *moqttest.Peer, _ *moqt.Session) { p.OpenUni(uint64(0x3fff)) }},
	} {
		t.Run("I16 "+tt.name, func(t *testing.T) {
			script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				calls := map[string]func() error{
					"Subscribe": func() error { _, err := s.Subscribe(t.Context(), video, track.SubscribeOptions{}); return err },
					"Publish":   func() error { _, err := s.Publish(t.Context(), newTrack()); return err },
					"Announce":  func() error { _, err := s.Announce(t.Context(), cam, tracks{}); return err },
					"Tracks":    func() error { _, err := s.Tracks(t.Context(), cam, moqt.TracksOptions{}); return err },
					"TrackStatus": func() error {
						_, err := s.TrackStatus(t.Context(), video)
						return err
					},
					"Fetch": func() error {
						_, _, err := s.Fetch(t.Context(), video, track.Range{End: track.Location{Group: 1}}, moqt.FetchOptions{})
						return err
					},
					"Namespaces": func() error {
						for _, err := range s.Namespaces(t.Context(), cam) {
							return err
						}
						return nil
					},
				}
				type result struct {
					name string
					err  error
				}
				done := make(chan result, len(calls))
				for name, call := range calls {
					go func() { done <- result{name, call()} }()
				}
				synctest.Wait()
				before := time.Now()
				tt.end(p, s)
				for range calls {
					if r := <-done; r.err == nil {
						t.Errorf("%s succeeds", r.name)
					}
				}
				if took := time.Since(before); took > time.Second {
					t.Errorf("the calls return after %v, want 1 s", took)
				}
				for name, call := range calls { // and so do those that come later
					if call() == nil {
						t.Errorf("%s succeeds after the end", name)
					}
				}
			})
		})
	}
}
