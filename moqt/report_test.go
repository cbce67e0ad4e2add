package moqt_test

import (
	"testing"
	"testing/synctest"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestLargestReported is about LARGEST_OBJECT (section 10.2.11): what a publisher
// tells of a track goes into it, because what we tell of the track covers that.
func TestLargestReported(t *testing.T) {
	expect := func(t *testing.T, tr *track.Track, want wire.Location) {
		t.Helper()
		synctest.Wait()
		if got, ok := tr.Largest(); !ok || got != want {
			t.Errorf("largest object %v, %t, want %v", got, ok, want)
		}
	}
	told := func(l wire.Location) wire.Params { return wire.Params{LargestObject: &l} }
	t.Run("10.2.11 in SUBSCRIBE_OK and the answer to an update", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			out := subscribeAside(t, s)
			st := p.Accept()
			st.Message()
			st.Send(wire.SubscribeOK{TrackAlias: 4, Params: told(at(5, 2))})
			sub := (<-out).sub
			expect(t, sub.Track(), at(5, 2))
			p.OpenUni(subgroup(4, 5), object("one")) // {5, 0} is no larger
			expect(t, sub.Track(), at(5, 2))
			sub.Update(track.SubscribeUpdate{Forward: new(true)})
			st.Message()
			st.Send(wire.RequestOK{Params: told(at(8, 1))})
			expect(t, sub.Track(), at(8, 1))
			p.OpenUni(subgroup(4, 9), object("one"))
			expect(t, sub.Track(), at(9, 0))
		})
	})
	t.Run("10.2.11 in PUBLISH, to the track that it goes into", func(t *testing.T) {
		into := track.New(video, track.Info{}, track.Config{})
		h := handler{publish: func(r *moqt.PublishRequest) {
			r.Target(into)
			r.Accept()
		}}
		script(t, false, moqttest.Config{}, moqt.Config{Handler: h}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			p.Open(wire.Publish{Track: video, TrackAlias: 4, Params: told(at(6, 6))})
			expect(t, into, at(6, 6))
		})
	})
}
