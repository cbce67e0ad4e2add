package relay_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func span(from, to uint64) track.Range {
	return track.Range{Start: track.Location{Group: from}, End: track.Location{Group: to + 1}}
}

// fetch returns what a session gets of a range: objects as their payloads, and
// what is absent or unknown.
func (n *net) fetch(s *moqt.Session, r track.Range, o moqt.FetchOptions) (got []string, err error) {
	n.t.Helper()
	_, rd, err := s.Fetch(n.ctx, video, r, o)
	if err != nil {
		return nil, err
	}
	for {
		item, err := rd.Read(n.ctx)
		switch {
		case errors.Is(err, io.EOF):
			return got, nil
		case err != nil:
			return got, err
		case item.Kind == track.FetchObject:
			got = append(got, string(item.Object.Payload))
		case item.Kind == track.FetchUnknown:
			got = append(got, fmt.Sprintf("unknown to %d", item.To.Group))
		}
	}
}

func wantObjects(t *testing.T, got []string, err error, groups ...uint64) {
	t.Helper()
	var want []string
	for _, g := range groups {
		for i := range 3 {
			want = append(want, fmt.Sprintf("%d/%d", g, i))
		}
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("fetched %v, %v, want %v", got, err, want)
	}
}

func newLocalFeed() feed { return feed{track.New(video, track.Info{Local: true}, track.Config{})} }

// What the relay has not seen comes from the publisher, once, and from the cache
// then (sections 9.1 and 9.5).
func TestRelayFetch(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first bool // a viewer is subscribed
	}{{"live", true}, {"9.5_no_subscription", false}} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, relay.Config{}, func(t *testing.T, n *net) {
				f := newLocalFeed()
				pub, cut := n.dial(moqttest.Config{})
				n.announce(pub, f)
				for id := uint64(1); id <= 5; id++ {
					f.group(t, id)
				}
				if tt.first {
					viewer, _ := n.dial(moqttest.Config{})
					wantGroup(t, n.subscribe(viewer).Track().NewReader(track.CurrentGroup), 5)
				}
				s, _ := n.dial(moqttest.Config{})
				got, err := n.fetch(s, span(2, 3), moqt.FetchOptions{})
				wantObjects(t, got, err, 2, 3)
				got, err = n.fetch(s, span(1, 3), moqt.FetchOptions{Order: track.Descending})
				wantObjects(t, got, err, 3, 2, 1)
				_, err = n.fetch(s, span(6, 7), moqt.FetchOptions{})
				wantRefused(t, err, wire.RequestInvalidRange)
				cut()
				time.Sleep(time.Second)
				got, err = n.fetch(s, span(1, 3), moqt.FetchOptions{}) // from the cache
				wantObjects(t, got, err, 1, 2, 3)
			})
		})
	}
}

// A publisher that is gone leaves unknown what it alone knew: that is not the
// same as an object that does not exist (section 11.4.4.2).
func TestRelayFetchWithoutPublisher(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		f := newLocalFeed()
		pub, cut := n.dial(moqttest.Config{})
		n.announce(pub, f)
		for id := uint64(1); id <= 5; id++ {
			f.group(t, id)
		}
		viewer, _ := n.dial(moqttest.Config{})
		wantGroup(t, n.subscribe(viewer).Track().NewReader(track.CurrentGroup), 5)
		cut()
		time.Sleep(time.Second)
		s, _ := n.dial(moqttest.Config{})
		got, err := n.fetch(s, span(1, 3), moqt.FetchOptions{})
		if want := "[unknown to 3]"; err != nil || fmt.Sprint(got) != want {
			t.Errorf("fetched %v, %v, want %v", got, err, want)
		}
	})
}

func TestRelayTrackStatus(t *testing.T) {
	run(t, relay.Config{}, func(t *testing.T, n *net) {
		f := newLocalFeed()
		pub, _ := n.dial(moqttest.Config{})
		n.announce(pub, f)
		s, _ := n.dial(moqttest.Config{})
		_, err := s.TrackStatus(n.ctx, track.Name{Namespace: nsOther, Name: "x"})
		wantRefused(t, err, wire.RequestDoesNotExist)
		f.group(t, 8)
		for range 2 { // from the publisher, and from what is known then
			got, err := s.TrackStatus(n.ctx, video)
			if err != nil || got.Largest == nil || got.Largest.Group != 8 {
				t.Fatalf("status %+v, %v, want group 8", got, err)
			}
		}
		synctest.Wait()
	})
}

var nsOther = wire.MustNamespace("stream", "local", "other")

// A FETCH that is larger than what the relay's track holds reaches a subscriber
// whole whose connection is slower than the publisher's.
func TestRelayFetchBeyondTheCache(t *testing.T) {
	const groups, size = 100, 5000
	cfg := relay.Config{Session: moqt.Config{TrackConfig: track.Config{MaxBytes: groups * size / 5}}}
	run(t, cfg, func(t *testing.T, n *net) {
		f := feed{track.New(video, track.Info{Local: true}, track.Config{MaxGroups: 2 * groups})}
		for id := range uint64(groups) {
			w, err := f.t.Subgroup(track.SubgroupHeader{Group: id, EndOfGroup: true, FirstObject: true})
			if err == nil {
				err = errors.Join(w.WriteObject(track.Object{Payload: make([]byte, size)}), w.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		pub, _ := n.dial(moqttest.Config{})
		n.announce(pub, f)
		s, _ := n.dial(moqttest.Config{Down: moqttest.Link{Rate: 50_000, Delay: 10 * time.Millisecond}})
		_, rd, err := s.Fetch(n.ctx, video, span(0, groups-1), moqt.FetchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for id := range uint64(groups) {
			item, err := rd.Read(n.ctx)
			if err != nil || item.Kind != track.FetchObject || item.Object.Group != id {
				t.Fatalf("read kind %d of %v to %v, %v, want group %d", item.Kind, item.Object.Location(), item.To, err, id)
			}
		}
	})
}
