package relay

import (
	"cmp"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A fakeFetcher asks for whole groups.
type fakeFetcher struct {
	name     string
	from, to uint64 // the last one inclusive
	at       bool   // it takes what is there
	wait     time.Duration
	start    time.Time
}

func (*fakeFetcher) reject(wire.RequestCode, string)        {}
func (*fakeFetcher) accept(*track.Track, track.Range, bool) {}

func (f *fakeFetcher) began(now time.Time) { f.start = now }
func (f *fakeFetcher) since() time.Time    { return f.start }

func (f *fakeFetcher) patience() time.Duration {
	if f.at {
		return 0
	}
	return cmp.Or(f.wait, 10*time.Second)
}

func (f *fakeFetcher) bounds(t *track.Track) (track.Range, bool, *track.RequestError) {
	l, ok := t.Largest()
	if !ok || l.Group < f.from {
		return track.Range{}, false, &track.RequestError{Code: wire.RequestInvalidRange}
	}
	return groups(f.from, min(f.to, l.Group)), false, nil
}

func groups(from, to uint64) track.Range {
	return track.Range{Start: track.Location{Group: from}, End: track.Location{Group: to + 1}}
}

type fakeProber struct{}

func (fakeProber) reject(wire.RequestCode, string) {}
func (fakeProber) tell(*track.Track)               {}

func (r *rig) inquire(q inquiry) { r.note(r.c.inquire(r.now, video, q)) }

func (r *rig) inquiry(q inquiry) string {
	if f, ok := q.(*fakeFetcher); ok {
		return f.name
	}
	return "status"
}

// noteFetch writes down what concerns inquiries. Of the fillers that belong to
// fetches upstream it keeps the last one of each peer.
func (r *rig) noteFetch(a action) {
	switch a := a.(type) {
	case actAcceptFetch:
		r.logf("serve %s %d..%d", r.inquiry(a.f), a.r.Start.Group, a.r.End.Group-1)
	case actTellStatus:
		r.logf("tell status")
	case actRefuseInquiry:
		r.logf("refuse %s %v", r.inquiry(a.q), a.code)
	case actFetch:
		r.fetches[r.peerName(a.src.peer)] = a
		r.logf("fetch %s %v..%v", r.peerName(a.src.peer), a.r.Start, a.r.End)
	case actRecall:
		r.recalls = append(r.recalls, a)
		r.logf("recall %v..%v", a.r.Start, a.r.End)
	case actOffer:
		r.logf("offer %s %s", r.peerName(a.to.peer), a.name.Name)
	case actEndFill:
		a.guard.Abort(wire.ResetInternalError)
		r.logf("filled")
	}
}

// fetched ends the last fetch at a peer, which says that the range holds nothing
// else than what was written; or that it failed.
func (r *rig) fetched(p string, err error) {
	a := r.fetches[p]
	if err == nil {
		a.into.Close()
	} else {
		a.into.Abort(wire.ResetInternalError)
	}
	r.note(r.c.fetched(r.now, a.epoch, err))
}

// carried is a rig with a live track of groups 10 to 12 from two sessions, which
// has not seen what is before.
func carried(t *testing.T) *rig {
	r := newRig(t)
	r.announce("one", nsCam)
	r.announce("two", nsCam)
	r.subscribe(video, "a", 0)
	r.answer("two", nil)
	r.answer("one", nil)
	for id := uint64(10); id <= 12; id++ {
		r.group(video, id)
	}
	r.log = nil
	return r
}

func TestFetch(t *testing.T) {
	t.Run("from_the_cache", func(t *testing.T) {
		r := carried(t)
		r.inquire(&fakeFetcher{name: "f", from: 11, to: 12})
		r.want("serve f 11..12")
		r.inquire(&fakeFetcher{name: "g", from: 13, to: 14})
		r.want("refuse g INVALID_RANGE")
	})
	t.Run("9.5_a_gap_is_asked_for_once_of_any_publisher", func(t *testing.T) {
		r := carried(t)
		r.inquire(&fakeFetcher{name: "f", from: 5, to: 11})
		r.want("fetch two {5, 0}..{10, 0}", "serve f 5..11")
		r.inquire(&fakeFetcher{name: "g", from: 7, to: 9}) // is on its way
		r.want("serve g 7..9")
		r.inquire(&fakeFetcher{name: "h", from: 3, to: 9}) // but for the beginning
		r.want("fetch two {3, 0}..{5, 0}", "serve h 3..9")
		r.fetched("two", nil)
		r.want("filled")
		if n := len(r.c.fills); n != 1 {
			t.Errorf("%d fills are left, want the first one", n)
		}
	})
	t.Run("what_was_fetched_is_known", func(t *testing.T) {
		r := carried(t)
		r.inquire(&fakeFetcher{name: "f", from: 5, to: 11})
		r.fetched("two", nil)
		r.log = nil
		r.inquire(&fakeFetcher{name: "g", from: 5, to: 11})
		r.want("serve g 5..11")
	})
	t.Run("9.5_the_next_publisher_on_failure", func(t *testing.T) {
		r := carried(t)
		r.inquire(&fakeFetcher{name: "f", from: 5, to: 9})
		r.fetched("two", errOff)
		r.want("fetch two {5, 0}..{10, 0}", "serve f 5..9", "fetch one {5, 0}..{10, 0}")
		rd := r.c.tracks[video].track.Fetch(groups(5, 9), track.Ascending)
		if _, state := rd.Next(); state != track.FetchWait {
			t.Errorf("a reader gets %v between two attempts, want it to wait", state)
		}
		r.fetched("one", errors.New("lost"))
		r.want("filled")
		if item, state := rd.Next(); state != track.FetchReady || item.Kind != track.FetchUnknown {
			t.Errorf("a reader gets %v %v when all have failed, want that it is unknown", item, state)
		}
	})
	t.Run("10.2.5_FILL_TIMEOUT_0_asks_nobody", func(t *testing.T) {
		r := carried(t)
		r.inquire(&fakeFetcher{name: "f", from: 5, to: 11, at: true})
		r.want("serve f 5..11")
	})
	t.Run("10.2.5_FILL_TIMEOUT_goes_upstream_less_what_was_spent", func(t *testing.T) {
		r := carried(t)
		left := func(p string, want time.Duration) {
			t.Helper()
			if got := r.fetches[p].wait; got != want {
				t.Errorf("%s may take %v, want %v", p, got, want)
			}
		}
		r.inquire(&fakeFetcher{name: "f", from: 5, to: 9, wait: 3 * time.Second})
		left("two", 3*time.Second)
		r.pass(time.Second)
		r.inquire(&fakeFetcher{name: "g", from: 6, to: 9, wait: time.Second})
		r.fetched("two", errors.New("cut"))
		left("one", 2*time.Second)
		r.fetched("one", errors.New("cut"))
		r.inquire(&fakeFetcher{name: "h", from: 5, to: 9, wait: time.Second})
		r.log = nil
		r.pass(time.Second)
		r.fetched("two", errors.New("cut")) // too late for another one
		r.want("filled")
	})
	t.Run("10.2.5_of_a_track_that_is_asked_for_first", func(t *testing.T) {
		r := newRig(t)
		r.announce("pub", nsCam)
		r.inquire(&fakeFetcher{name: "f", from: 5, to: 9, wait: 3 * time.Second})
		r.pass(2 * time.Second)
		a := r.conns["pub"]
		u := &fakeUpstream{name: "pub", t: newTrack(video)}
		u.t.Report(track.Location{Group: 9})
		r.note(r.c.connected(r.now, a.name, a.epoch, u, nil))
		if got := r.fetches["pub"].wait; got != time.Second {
			t.Errorf("it may take %v, want 1s", got)
		}
	})
	t.Run("nobody_wants_it_any_more", func(t *testing.T) {
		r := carried(t)
		f, g := &fakeFetcher{name: "f", from: 5, to: 9}, &fakeFetcher{name: "g", from: 6, to: 9}
		r.inquire(f)
		r.inquire(g)
		r.log = nil
		r.note(r.c.uninquire(video, f))
		r.want()
		r.note(r.c.uninquire(video, g))
		r.want("unask", "filled")
		r.fetched("two", nil) // late
		r.want()
	})
	t.Run("malformed", func(t *testing.T) {
		r := carried(t)
		r.inquire(&fakeFetcher{name: "f", from: 5, to: 9})
		r.log = nil
		r.fetched("two", fmt.Errorf("bad: %w", wire.ErrMalformedTrack))
		r.want("filled", "release two", "release one", "end MALFORMED_TRACK")
	})
	t.Run("bounded", func(t *testing.T) {
		r := carried(t)
		r.c.cfg.MaxFills = 1
		r.inquire(&fakeFetcher{name: "f", from: 5, to: 6})
		r.inquire(&fakeFetcher{name: "g", from: 1, to: 2})
		r.want("fetch two {5, 0}..{7, 0}", "serve f 5..6", "serve g 1..2")
		if r.c.counts.unfilled != 1 {
			t.Errorf("unfilled = %d, want 1", r.c.counts.unfilled)
		}
	})
	t.Run("no_subscription_yet", func(t *testing.T) {
		r := newRig(t)
		r.demands = true
		r.announce("pub", nsCam)
		r.inquire(&fakeFetcher{name: "f", from: 5, to: 9})
		r.inquire(fakeProber{})
		r.want("connect pub video new")
		if !r.conns["pub"].paused {
			t.Error("the subscription is not paused")
		}
		a := r.conns["pub"]
		u := &fakeUpstream{name: "pub", t: newTrack(video)}
		u.t.Report(track.Location{Group: 9, Object: 3})
		r.note(r.c.connected(r.now, a.name, a.epoch, u, nil))
		r.want("fetch pub {5, 0}..{10, 0}", "serve f 5..9", "tell status")
		r.subscribe(video, "a", 0)
		r.want("accept a", "update pub forward=true")
	})
	t.Run("refused_upstream", func(t *testing.T) {
		r := newRig(t)
		r.announce("pub", nsCam)
		r.inquire(&fakeFetcher{name: "f"})
		r.inquire(fakeProber{})
		r.answer("pub", errOff)
		r.want("connect pub video new", "refuse f DOES_NOT_EXIST", "refuse status DOES_NOT_EXIST")
		if len(r.c.tracks) != 0 {
			t.Error("the track is still there")
		}
	})
	t.Run("nobody_publishes_it", func(t *testing.T) {
		r := newRig(t)
		r.inquire(&fakeFetcher{name: "f"})
		r.want("refuse f DOES_NOT_EXIST")
	})
	t.Run("a_publisher_in_this_process_knows_it_all", func(t *testing.T) {
		r := newRig(t)
		tr := track.New(video, track.Info{Local: true}, track.Config{})
		r.note(r.c.announce(r.now, &source{ns: nsCam, routable: true, local: fakeSource{"video": tr}}))
		w, err := tr.Subgroup(track.SubgroupHeader{Group: 8, EndOfGroup: true, FirstObject: true})
		if err == nil {
			err = errors.Join(w.WriteObject(track.Object{}), w.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		r.inquire(&fakeFetcher{name: "f", from: 5, to: 8})
		r.inquire(fakeProber{})
		r.want("serve f 5..8", "tell status")
	})
}

func TestHistory(t *testing.T) {
	r := carried(t)
	r.c.cfg.History = nowhere{}
	r.inquire(&fakeFetcher{name: "f", from: 5, to: 11})
	r.want("recall {5, 0}..{10, 0}", "serve f 5..11")
	a := r.recalls[0]
	a.into.Abort(wire.ResetInternalError)
	r.note(r.c.fetched(r.now, a.epoch, errors.New("not all of it")))
	r.want("fetch two {5, 0}..{10, 0}")
	r.fetched("two", nil)
	r.want("filled")
	r.c.tracks[video].track.Report(track.Location{Group: 30})
	r.inquire(&fakeFetcher{name: "g", from: 13, to: 20}) // newer than the cache
	r.want("fetch two {13, 0}..{21, 0}", "serve g 13..20")
}

type nowhere struct{}

func (nowhere) Fetch(track.Name, track.Range, *track.Filler, func(error)) (func(), bool) {
	return nil, false
}

// A track that has only been asked about goes like any other.
func TestInquiryLeavesNothing(t *testing.T) {
	r := newRig(t)
	r.announce("pub", nsCam)
	r.inquire(fakeProber{})
	r.answer("pub", nil)
	r.pass(time.Minute)
	r.want("connect pub video new", "tell status", "release pub", "end TRACK_ENDED", "drop")
	if len(r.c.tracks) != 0 || r.c.timers.Len() != 0 {
		t.Errorf("left over: %d tracks, %d timers", len(r.c.tracks), r.c.timers.Len())
	}
}
