package moqt_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestLimits is about what one peer can make a session hold.
func TestLimits(t *testing.T) {
	limits := moqt.Limits{Requests: 2, Namespaces: 2, Subscriptions: 2, Tracks: 2, DataStreams: 2}
	silent := handler{
		subscribe:        func(*moqt.SubscribeRequest) {},
		publishNamespace: func(*moqt.PublishNamespaceRequest) {},
	}
	tr := newTrack()
	taking := handler{
		subscribe: func(r *moqt.SubscribeRequest) { r.Accept(tr) },
		publish:   func(r *moqt.PublishRequest) { r.Accept() },
	}
	name := func(id uint64) track.Name { return track.Name{Namespace: cam, Name: string(rune('a' + id))} }
	// Every limit counts what it refuses.
	reg := prometheus.NewRegistry()
	counted := func(t *testing.T, kind string) float64 {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if l := m.GetLabel(); f.GetName() == "broadcastd_moqt_requests_total" && l[0].GetValue() == kind && l[1].GetValue() == "limited" {
					return m.GetCounter().GetValue()
				}
			}
		}
		return 0
	}
	for _, tt := range []struct {
		name    string
		handler moqt.Handler
		request func(id uint64) wire.Request
	}{
		{"unanswered requests", silent, func(id uint64) wire.Request { return wire.Subscribe{RequestID: id, Track: name(id)} }},
		{"subscriptions", taking, func(id uint64) wire.Request { return wire.Subscribe{RequestID: id, Track: name(id)} }},
		{"tracks", taking, func(id uint64) wire.Request {
			return wire.Publish{RequestID: id, Track: name(id), TrackAlias: id}
		}},
		{"namespaces", taking, func(id uint64) wire.Request {
			return wire.PublishNamespace{RequestID: id, Namespace: track.MustNamespace(name(id).Name)}
		}},
		{"prefixes", taking, func(id uint64) wire.Request {
			return wire.SubscribeNamespace{RequestID: id, Prefix: track.MustNamespace(name(id).Name)}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, false, moqttest.Config{}, moqt.Config{Handler: tt.handler, Limits: limits, Registerer: reg}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				first := p.Open(tt.request(0))
				p.Open(tt.request(2))
				synctest.Wait()
				before := counted(t, tt.request(4).Type().String())
				p.Open(tt.request(4)).ExpectError(wire.RequestExcessiveLoad, tt.request(4).Type())
				if got := counted(t, tt.request(4).Type().String()) - before; got != 1 {
					t.Errorf("counted %v times, want 1", got)
				}
				first.Reset(wire.ResetCancelled) // makes room
				synctest.Wait()
				last := p.Open(tt.request(6))
				synctest.Wait()
				if last.Pending() {
					if typ, _ := last.Message(); typ == wire.TypeRequestError {
						t.Error("refused although there is room again")
					}
				}
			})
		})
	}
	t.Run("streams without a request", func(t *testing.T) {
		script(t, false, moqttest.Config{}, moqt.Config{Limits: limits, Registerer: reg}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			p.Open([]byte{3})
			p.Open([]byte{3})
			synctest.Wait()
			before := counted(t, "request")
			p.Open([]byte{3}).ExpectReset(wire.ResetExcessiveLoad)
			if got := counted(t, "request") - before; got != 1 {
				t.Errorf("counted %v times, want 1", got)
			}
		})
	})
	t.Run("a request that never comes", func(t *testing.T) {
		script(t, false, moqttest.Config{}, moqt.Config{Limits: limits}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			p.Open([]byte{3}).ExpectReset(wire.ResetCancelled)
			p.ExpectOpen()
		})
	})
	t.Run("bytes of unfinished messages", func(t *testing.T) {
		script(t, false, moqttest.Config{}, moqt.Config{Registerer: reg}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			before := counted(t, "request")
			var last *moqttest.PeerStream
			for range 17 {
				last = p.Open([]byte{3, 0xff, 0xff}, make([]byte, 65000))
				synctest.Wait()
			}
			last.ExpectReset(wire.ResetExcessiveLoad)
			if got := counted(t, "request") - before; got != 1 {
				t.Errorf("counted %v times, want 1", got)
			}
			p.ExpectOpen()
		})
	})
	t.Run("data streams", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{Limits: limits, Registerer: reg}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			before := counted(t, "stream")
			subscribeOver(t, p, s, 4)
			for g := range uint64(2) {
				p.OpenUni(subgroup(4, g), object("x"))
			}
			synctest.Wait()
			p.OpenUni(subgroup(4, 2), object("x")).ExpectStop(wire.ResetExcessiveLoad)
			if got := counted(t, "stream") - before; got != 1 {
				t.Errorf("counted %v times, want 1", got)
			}
		})
	})
	t.Run("a peer that reads no answers", func(t *testing.T) {
		script(t, false, moqttest.Config{Window: 3}, moqt.Config{Handler: taking}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.OpenUni(wire.Setup{})
			p.ExpectClose(wire.SessionControlMessageTimeout)
		})
	})
}

// TestStarved is about peers that hold back stream credit or flow control.
func TestStarved(t *testing.T) {
	t.Run("no stream for a request", func(t *testing.T) {
		script(t, true, moqttest.Config{Streams: -1}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			start := time.Now()
			got := <-subscribeAside(t, s)
			if e, ok := errors.AsType[*moqt.RequestError](got.err); !ok || e.Code != wire.RequestTimeout || time.Since(start) != 10*time.Second {
				t.Errorf("Subscribe: %v after %v, want TIMEOUT after 10s", got.err, time.Since(start))
			}
			p.ExpectOpen()
		})
	})
	t.Run("answers that trickle out", func(t *testing.T) {
		cfg := moqt.Config{Handler: handler{subscribeNamespace: func(r *moqt.SubscribeNamespaceRequest) {
			r.Accept()
			for _, f := range []string{"one", "two", "three"} {
				r.Announce(track.MustNamespace(f))
			}
		}}}
		script(t, false, moqttest.Config{Window: 20}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			st := p.Open(wire.SubscribeNamespace{})
			time.Sleep(time.Second) // less than the write timeout
			st.Expect(wire.RequestOK{})
			st.Expect(wire.NamespaceMsg{Suffix: ns("one")}, wire.NamespaceMsg{Suffix: ns("two")}, wire.NamespaceMsg{Suffix: ns("three")})
			time.Sleep(time.Minute)
			p.ExpectOpen()
		})
	})
}

// TestTooLargeProperties: what a track has must not end the session of those who
// ask for it.
func TestTooLargeProperties(t *testing.T) {
	tr := track.New(video, track.Info{Properties: track.NewProperties(track.Property{Type: 0x3801, Bytes: make([]byte, 65530)})}, track.Config{})
	cfg := moqt.Config{Handler: handler{subscribe: func(r *moqt.SubscribeRequest) { r.Accept(tr) }}}
	script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(wire.Setup{})
		p.Open(sub(0)).ExpectError(wire.RequestInternalError, wire.TypeSubscribe)
		if _, err := s.Publish(t.Context(), tr); err == nil {
			t.Error("Publish succeeds")
		}
		p.ExpectOpen()
	})
}

// TestClosed is about calls after the end of a session.
func TestClosed(t *testing.T) {
	script(t, false, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(wire.Setup{})
		s.Close(wire.SessionUnauthorized, "no")
		p.ExpectClose(wire.SessionUnauthorized)
		<-s.Done()
		_, subErr := s.Subscribe(t.Context(), video, track.SubscribeOptions{})
		_, pubErr := s.Publish(t.Context(), newTrack())
		_, annErr := s.Announce(t.Context(), cam, tracks{})
		var nsErr error
		for _, err := range s.Namespaces(t.Context(), cam) {
			nsErr = err
		}
		for call, err := range map[string]error{"Subscribe": subErr, "Publish": pubErr, "Announce": annErr, "Namespaces": nsErr, "Goaway": s.Goaway("", 0)} {
			if e, ok := errors.AsType[*moqt.SessionError](err); !ok || e.Code != wire.SessionUnauthorized {
				t.Errorf("%s: %v, want the SessionError", call, err)
			}
		}
	})
}
