package moqt_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	cam   = track.MustNamespace("stream", "local", "cam")
	video = track.Name{Namespace: cam, Name: "video"}
)

// tracks is a track.Source.
type tracks map[string]*track.Track

func (s tracks) Track(name string) (*track.Track, bool) {
	t, ok := s[name]
	return t, ok
}

// run runs a session until the test ends, and checks that it ends well.
func run(t *testing.T, conn moqt.Conn, cfg moqt.Config) *moqt.Session {
	t.Helper()
	s, err := moqt.NewSession(conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

// pair runs two sessions against each other.
func pair(t *testing.T, link moqttest.Config, client, server moqt.Config) (c, s *moqt.Session) {
	t.Helper()
	cc, sc := moqttest.Pair(link)
	return run(t, cc, client), run(t, sc, server)
}

func newTrack() *track.Track { return track.New(video, track.Info{}, track.Config{}) }

// writeGroup writes a whole group of n objects.
func writeGroup(t *testing.T, tr *track.Track, group uint64, n int) {
	t.Helper()
	w, err := tr.Subgroup(track.SubgroupHeader{Group: group, EndOfGroup: true, FirstObject: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := w.WriteObject(track.Object{ID: uint64(i), Payload: payload(group, i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func payload(group uint64, object int) []byte {
	return fmt.Appendf(make([]byte, 2000), "group %d object %d", group, object)
}

// readGroup reads the next group and checks it.
func readGroup(t *testing.T, r *track.Reader, group uint64, n int) {
	t.Helper()
	g, err := r.NextGroup(t.Context())
	if err != nil {
		t.Fatalf("NextGroup: %v, want group %d", err, group)
	}
	if g.ID() != group {
		t.Fatalf("NextGroup: group %d, want %d", g.ID(), group)
	}
	for i := 0; ; i++ {
		o, err := g.Next(t.Context())
		if errors.Is(err, io.EOF) && i == n {
			return
		}
		if err != nil {
			t.Fatalf("group %d: object %d: %v, want %d objects", group, i, err, n)
		}
		if string(o.Payload) != string(payload(group, i)) {
			t.Fatalf("group %d: object %d has the wrong payload", group, i)
		}
	}
}

func subscribe(t *testing.T, s *moqt.Session, opt track.SubscribeOptions) *track.Subscription {
	t.Helper()
	sub, err := s.Subscribe(t.Context(), video, opt)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// handler answers with what it is given; nil fields refuse.
type handler struct {
	subscribe          func(*moqt.SubscribeRequest)
	fetch              func(*moqt.FetchRequest)
	trackStatus        func(*moqt.TrackStatusRequest)
	publish            func(*moqt.PublishRequest)
	publishNamespace   func(*moqt.PublishNamespaceRequest)
	subscribeNamespace func(*moqt.SubscribeNamespaceRequest)
	subscribeTracks    func(*moqt.SubscribeTracksRequest)
}

func (h handler) HandleSubscribeTracks(r *moqt.SubscribeTracksRequest) {
	if h.subscribeTracks == nil {
		r.Reject(wire.RequestNotSupported, "")
		return
	}
	h.subscribeTracks(r)
}

func (h handler) HandleSubscribe(r *moqt.SubscribeRequest) {
	if h.subscribe == nil {
		r.Reject(wire.RequestNotSupported, "")
		return
	}
	h.subscribe(r)
}

func (h handler) HandleFetch(r *moqt.FetchRequest) {
	if h.fetch == nil {
		r.Reject(wire.RequestNotSupported, "")
		return
	}
	h.fetch(r)
}

func (h handler) HandleTrackStatus(r *moqt.TrackStatusRequest) {
	if h.trackStatus == nil {
		r.Reject(wire.RequestNotSupported, "")
		return
	}
	h.trackStatus(r)
}

func (h handler) HandlePublish(r *moqt.PublishRequest) {
	if h.publish == nil {
		r.Reject(wire.RequestNotSupported, "")
		return
	}
	h.publish(r)
}

func (h handler) HandlePublishNamespace(r *moqt.PublishNamespaceRequest) {
	if h.publishNamespace == nil {
		r.Accept()
		return
	}
	h.publishNamespace(r)
}

func (h handler) HandleSubscribeNamespace(r *moqt.SubscribeNamespaceRequest) {
	if h.subscribeNamespace == nil {
		r.Accept()
		return
	}
	h.subscribeNamespace(r)
}

// links are what sessions have to work over.
var links = []struct {
	name string
	cfg  moqttest.Config
}{
	{"at once", moqttest.Config{}},
	{"WebTransport", moqttest.Config{Transport: moqt.WebTransport, Path: "/x"}},
	{"20 ms and 1 MB/s", moqttest.Config{
		Up:   moqttest.Link{Delay: 20 * time.Millisecond, Rate: 1 << 20},
		Down: moqttest.Link{Delay: 20 * time.Millisecond, Rate: 1 << 20},
	}},
	{"small windows", moqttest.Config{Window: 700}},
	{"few streams", moqttest.Config{UniStreams: 3, Streams: 2}},
}

func TestPublishAndSubscribe(t *testing.T) {
	for _, l := range links {
		for _, publisher := range []string{"client", "server"} {
			t.Run(l.name+"/"+publisher+" publishes", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := handler{}
					pub, sub := pair(t, l.cfg, moqt.Config{Handler: h}, moqt.Config{Handler: h})
					if publisher == "server" {
						pub, sub = sub, pub
					}
					tr := newTrack()
					withdraw, err := pub.Announce(t.Context(), cam, tracks{"video": tr})
					if err != nil {
						t.Fatal(err)
					}
					defer withdraw()
					writeGroup(t, tr, 0, 5)
					writeGroup(t, tr, 1, 5)
					s := subscribe(t, sub, track.SubscribeOptions{})
					defer s.Close()
					r := s.Track().NewReader(track.From(track.Location{}))
					readGroup(t, r, 1, 5) // the current group, from its beginning
					for g := uint64(2); g < 30; g++ {
						writeGroup(t, tr, g, 5)
						time.Sleep(200 * time.Millisecond) // virtual: the pace of the source
						readGroup(t, r, g, 5)
					}
					tr.End(wire.PublishDoneTrackEnded, "over")
					if _, err := r.NextGroup(t.Context()); !errors.Is(err, io.EOF) {
						t.Errorf("NextGroup after the end: %v, want io.EOF", err)
					}
				})
			})
		}
	}
}

func TestSubscribeRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, moqttest.Config{}, moqt.Config{}, moqt.Config{})
		if _, err := a.Announce(t.Context(), cam, tracks{}); err == nil {
			t.Error("Announce to a peer without a handler succeeds")
		}
		_, err := b.Subscribe(t.Context(), video, track.SubscribeOptions{})
		if e, ok := errors.AsType[*moqt.RequestError](err); !ok || e.Code != wire.RequestNotSupported {
			t.Errorf("Subscribe: %v, want NOT_SUPPORTED", err)
		}
	})
}

// TestPublishBetweenSessions offers tracks to a handler, over and over.
func TestPublishBetweenSessions(t *testing.T) {
	for _, l := range links {
		t.Run(l.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := make(chan *moqt.PublishRequest, 1)
				h := handler{publish: func(r *moqt.PublishRequest) {
					r.Accept()
					asked <- r
				}}
				pub, _ := pair(t, l.cfg, moqt.Config{}, moqt.Config{Handler: h})
				for round := range 3 {
					tr := newTrack()
					writeGroup(t, tr, 5, 3)
					release, err := pub.Publish(t.Context(), tr)
					if err != nil {
						t.Fatal(err)
					}
					r := <-asked
					reader := r.Track().NewReader(track.CurrentGroup)
					readGroup(t, reader, 5, 3)
					switch round {
					case 0: // the publisher stops publishing
						release()
					case 1: // the track ends
						tr.End(wire.PublishDoneTrackEnded, "over")
					case 2: // the subscriber has enough
						r.Close()
					}
					<-r.Context().Done()
					_, endErr := reader.NextGroup(t.Context())
					if end, ok := errors.AsType[*track.EndError](context.Cause(r.Context())); round < 2 && (!ok || end.Code != wire.PublishDoneTrackEnded || !errors.Is(endErr, io.EOF)) {
						t.Errorf("round %d ended with %v and %v", round, context.Cause(r.Context()), endErr)
					}
					time.Sleep(time.Second) // virtual: for the last messages
				}
			})
		})
	}
}

// TestCut loses the connection in the middle of a group: a reader must see that
// it was cut, not that it ended.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cc, sc := moqttest.Pair(moqttest.Config{})
		pub, sub := run(t, cc, moqt.Config{}), run(t, sc, moqt.Config{Handler: handler{}})
		tr := newTrack()
		if _, err := pub.Announce(t.Context(), cam, tracks{"video": tr}); err != nil {
			t.Fatal(err)
		}
		w, err := tr.Subgroup(track.SubgroupHeader{Group: 1, FirstObject: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteObject(track.Object{Payload: []byte("whole")}); err != nil {
			t.Fatal(err)
		}
		s := subscribe(t, sub, track.SubscribeOptions{})
		g, err := s.Track().NewReader(track.CurrentGroup).NextGroup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		cc.Cut()
		if _, err := g.Next(t.Context()); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("the group ends with %v, want it cut", err)
		}
		<-sub.Done()
		if code, _, ok := s.Track().Ended(); !ok || code != wire.PublishDoneInternalError {
			t.Errorf("track ended %t with %v", ok, code)
		}
		w.Abort(wire.ResetCancelled)
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		cfg := moqt.Config{Registerer: reg}
		a, b := pair(t, moqttest.Config{}, cfg, cfg)
		_, err := a.Subscribe(t.Context(), video, track.SubscribeOptions{})
		if err == nil {
			t.Fatal("Subscribe succeeds")
		}
		a.Close(wire.SessionUnauthorized, "")
		<-b.Done()
		synctest.Wait()
		want := map[string]float64{
			"broadcastd_moqt_sessions_opened_total":              2,
			"broadcastd_moqt_sessions_closed_total UNAUTHORIZED": 2,
			"broadcastd_moqt_requests_total SUBSCRIBE refused":   2,
		}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				if v, ok := want[name]; ok && v != m.GetCounter().GetValue() {
					t.Errorf("%s is %v, want %v", name, m.GetCounter().GetValue(), v)
				}
				delete(want, name)
			}
		}
		for name := range want {
			t.Errorf("%s is missing", name)
		}
	})
}

// TestControlUnderLoad: while media fills the link, an answer takes no longer
// than two round trips and what the scheduler keeps in front of the link.
func TestControlUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := moqttest.Link{Delay: 20 * time.Millisecond, Rate: 1 << 20}
		pub, sub := pair(t, moqttest.Config{Up: link, Down: link}, moqt.Config{}, moqt.Config{Handler: handler{}})
		tr, other := newTrack(), track.Name{Namespace: cam, Name: "audio"}
		audio := track.New(other, track.Info{}, track.Config{})
		if _, err := pub.Announce(t.Context(), cam, tracks{"video": tr, "audio": audio}); err != nil {
			t.Fatal(err)
		}
		s := subscribe(t, sub, track.SubscribeOptions{})
		defer s.Close()
		var wg sync.WaitGroup
		wg.Go(func() { // twice what the link carries
			for g := range uint64(50) {
				writeGroup(t, tr, g, 100)
				time.Sleep(100 * time.Millisecond)
			}
		})
		time.Sleep(3 * time.Second)
		for range 5 {
			start := time.Now()
			a, err := sub.Subscribe(t.Context(), other, track.SubscribeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if took, most := time.Since(start), 200*time.Millisecond; took > most {
				t.Errorf("SUBSCRIBE was answered after %v, want at most %v", took, most)
			}
			a.Close()
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
	})
}
