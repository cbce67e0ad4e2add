package moqt_test

import (
	"bytes"
	"testing"
	"testing/synctest"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestRenew has SUBSCRIBE_OK and FETCH_OK bring other properties to a track that
// is there: the newest set counts, whole, for whoever comes later.
func TestRenew(t *testing.T) {
	set := func(typ uint64) track.Properties {
		return track.NewProperties(track.Property{Type: typ, Uint: 7})
	}
	first, second, third := set(0x1000), set(0x1002), set(0x1004)
	script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(solicit)
		tr := track.New(video, track.Info{Properties: first}, track.Config{})
		expect := func(after string, want track.Properties) {
			t.Helper()
			synctest.Wait()
			if got := tr.Properties(); !bytes.Equal(got, want) {
				t.Errorf("2.5: after %s the track has % x, want % x", after, got, want)
			}
		}
		go func() {
			if _, err := s.SubscribeInto(t.Context(), video, tr, track.SubscribeOptions{}, func(error) {}); err != nil {
				t.Error(err)
			}
		}()
		sub := p.Accept()
		sub.Type()
		expect("SUBSCRIBE", first)
		sub.Send(wire.SubscribeOK{TrackAlias: 4, Properties: second})
		expect("SUBSCRIBE_OK", second)
		s.FetchInto(video, groups12, moqt.FetchOptions{}, tr.Fill(groups12), func(moqt.FetchOK, error) {}, func(error) {})
		fetch := p.Accept()
		fetch.Type()
		fetch.Send(wire.FetchOK{End: at(2, 0), Properties: third})
		expect("FETCH_OK", third)
		if _, err := s.Announce(t.Context(), cam, tracks{"video": tr}); err != nil {
			t.Fatal(err)
		}
		p.Open(wire.Subscribe{RequestID: 1, Track: video}).Expect(wire.SubscribeOK{TrackAlias: 1, Properties: third})
	})
}
