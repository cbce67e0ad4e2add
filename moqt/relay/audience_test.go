package relay_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// samples returns how many samples a histogram has, and their sum.
func samples(t *testing.T, reg prometheus.Gatherer, name string) *dto.Histogram {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetHistogram()
		}
	}
	t.Fatalf("there is no %s", name)
	return nil
}

// tracks are a publisher of several.
type tracks map[string]*track.Track

func (ts tracks) Track(name string) (*track.Track, bool) { t, ok := ts[name]; return t, ok }

func TestReaders(t *testing.T) {
	reg := prometheus.NewRegistry()
	cfg := relay.Config{Listings: []string{"catalog"}, Session: moqt.Config{Registerer: reg}}
	run(t, cfg, func(t *testing.T, n *net) {
		f := newFeed()
		audio := track.New(track.Name{Namespace: ns, Name: "audio"}, track.Info{}, track.Config{})
		if _, err := n.r.Announce(n.ctx, ns, tracks{"video": f.t, "audio": audio}); err != nil {
			t.Fatal(err)
		}
		a, _ := n.dial(moqttest.Config{})
		b, cut := n.dial(moqttest.Config{})
		sub := n.subscribe(a)
		second, err := a.Subscribe(n.ctx, audio.Name(), track.SubscribeOptions{}) // the same viewer
		if err != nil {
			t.Fatal(err)
		}
		n.subscribe(b)
		lists, _ := n.dial(moqttest.Config{})
		lists.Subscribe(n.ctx, track.Name{Namespace: ns, Name: "catalog"}, track.SubscribeOptions{})
		n.subscribe(n.r) // a part of this process
		r := sub.Track().NewReader(track.CurrentGroup)
		for i := range uint64(3) {
			f.group(t, i)
			wantGroup(t, r, i)
			time.Sleep(time.Second)
		}
		if got := n.r.Readers(); len(got) != 1 || got[ns] != 2 {
			t.Errorf("Readers = %v, want 2 of %v", got, ns)
		}
		if h := samples(t, reg, "broadcastd_moqt_egress_first_object_seconds"); h.GetSampleCount() != 2 {
			t.Errorf("%d subscriptions had a first object, want 2", h.GetSampleCount())
		}
		if h := samples(t, reg, "broadcastd_moqt_egress_lateness_seconds"); h.GetSampleCount() != 6 || h.GetSampleSum() > .1 {
			t.Errorf("%d subgroups waited %v s, want 6 and next to nothing", h.GetSampleCount(), h.GetSampleSum())
		}
		cut()
		sub.Close()
		time.Sleep(time.Second)
		if got := n.r.Readers(); got[ns] != 1 {
			t.Errorf("Readers = %v, want 1: one subscription is left", got)
		}
		second.Close()
		time.Sleep(time.Second)
		if got := n.r.Readers(); len(got) != 0 {
			t.Errorf("Readers = %v, want none", got)
		}
	})
}

func TestPauseOfAPublisher(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		f := newFeed()
		pub, _ := n.dial(moqttest.Config{})
		n.announce(pub, f)
		if c, ok := n.r.Publisher(ns); !ok || c == nil {
			t.Error("there is no Publisher")
		}
		viewer, _ := n.dial(moqttest.Config{})
		r := n.subscribe(viewer).Track().NewReader(track.CurrentGroup)
		f.group(t, 1)
		wantGroup(t, r, 1)

		n.r.Pause(ns, true)
		synctest.Wait()
		f.group(t, 2)
		late, _ := n.dial(moqttest.Config{})
		lateReader := n.subscribe(late).Track().NewReader(track.CurrentGroup)
		wantGroup(t, lateReader, 1) // it does not wake the publisher
		time.Sleep(time.Second)
		n.r.Pause(ns, false)
		synctest.Wait()
		f.group(t, 3)
		for _, r := range []*track.Reader{r, lateReader} {
			wantGroup(t, r, 2) // the group that was current, from its beginning
			wantGroup(t, r, 3)
		}

		n.r.Evict(ns, "over")
		if _, err := r.NextGroup(t.Context()); err != io.EOF {
			t.Errorf("after the end: %v, want EOF", err)
		}
		<-pub.Done()
		if _, ok := n.r.Publisher(ns); ok {
			t.Error("the publisher is still there")
		}
	})
}
