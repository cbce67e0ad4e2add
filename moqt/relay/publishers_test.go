package relay

import (
	"fmt"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// end tells that the upstream at a peer was ended by its publisher.
func (r *rig) ended(p string, code wire.PublishDoneCode) {
	a := r.conns[p]
	r.note(r.c.upstreamEnded(r.now, a.name, a.epoch, &track.EndError{Code: code}))
}

func TestSeveralPublishers(t *testing.T) {
	// pair is a rig with a live track from two sessions.
	pair := func(t *testing.T) *rig {
		r := newRig(t)
		r.announce("one", nsCam)
		r.announce("two", nsCam)
		r.subscribe(video, "a", 0)
		r.answer("two", nil)
		r.answer("one", nil)
		r.want("connect two video new", "accept a", "connect one video continue")
		return r
	}
	t.Run("9.5_subscribes_at_all_that_match", func(t *testing.T) {
		r := newRig(t)
		r.announce("org", nsOrg)
		r.announce("cam", nsCam)
		r.announce("camera", wire.MustNamespace("stream", "local", "camera"))
		r.subscribe(video, "a", 0)
		r.answer("cam", nil)
		r.want("connect cam video new", "accept a", "connect org video continue")
		r.answer("org", errOff) // it has no such track, which is nobody's loss
		r.pass(time.Minute)
		r.want()
	})
	t.Run("9.5_late_PUBLISH_NAMESPACE", func(t *testing.T) {
		r := newRig(t)
		r.announce("one", nsCam)
		r.subscribe(video, "a", 0)
		r.answer("one", nil)
		r.log = nil
		r.announce("late", nsOrg)
		r.want("connect late video continue")
	})
	t.Run("one_is_lost", func(t *testing.T) {
		r := pair(t)
		r.lose("two")
		r.pass(time.Minute)
		r.want() // neither cut nor ended nor asked again
		r.lose("one")
		r.want()
		r.pass(5 * time.Second)
		r.want("end INTERNAL_ERROR")
	})
	t.Run("one_ends", func(t *testing.T) {
		r := pair(t)
		r.ended("one", wire.PublishDoneTrackEnded)
		r.want()
		r.ended("two", wire.PublishDoneTrackEnded)
		r.want("end TRACK_ENDED")
	})
	t.Run("9.3_no_more_than_the_bound", func(t *testing.T) {
		r := newRig(t)
		for i := range 6 {
			r.announce(fmt.Sprint(i), nsCam)
		}
		r.subscribe(video, "a", 0)
		for _, p := range []string{"5", "4", "3", "2"} {
			r.answer(p, nil)
		}
		r.want("connect 5 video new", "accept a", "connect 4 video continue", "connect 3 video continue", "connect 2 video continue")
		r.publish("more", video)
		r.want("refuse more EXCESSIVE_LOAD")
		r.lose("3")
		r.pass(time.Second)
		r.want("connect 1 video continue")
		if r.c.counts.surplus == 0 {
			t.Error("surplus publishers were not counted")
		}
	})
	t.Run("PUBLISH_of_several_sessions", func(t *testing.T) {
		r := newRig(t)
		r.publish("one", video)
		r.publish("two", video)
		r.want("take one continue=false", "take two continue=true")
		r.lose("one")
		r.want()
		r.lose("two")
		r.want()
	})
	t.Run("2.4.2_malformed_ends_it_and_shuns_the_culprit", func(t *testing.T) {
		r := pair(t)
		r.ended("one", wire.PublishDoneMalformedTrack)
		r.want("release two", "release one", "end MALFORMED_TRACK")
		r.subscribe(video, "b", 0)
		r.answer("two", nil)
		r.want("connect two video new", "accept b")
		r.unsubscribe(video, "b")
		r.ended("two", wire.PublishDoneTrackEnded)
		r.log = nil
		r.lose("two")
		r.pass(0)
		r.subscribe(video, "c", 0) // the culprit alone is left
		r.want("reject c MALFORMED_TRACK")
		r.pass(5 * time.Second)
		r.subscribe(video, "d", 0)
		r.want("connect one video new")
	})
}

// A publisher that restarts with lower numbers is heard.
func TestPublisherThatCountsFromBelowAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		groups []uint64
		want   []string
	}{
		{"lower", []uint64{0, 1}, []string{"release again", "end GOING_AWAY"}},
		{"on", []uint64{1009, 1010}, nil},
		{"nothing yet", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.announce("pub", nsCam)
			r.subscribe(video, "a", 0)
			r.answer("pub", nil)
			for id := uint64(1000); id < 1009; id++ {
				r.group(video, id)
			}
			r.lose("pub")
			r.announce("again", nsCam)
			r.answer("again", nil)
			r.log = nil
			for _, id := range tt.groups {
				r.group(video, id)
			}
			r.pass(3 * time.Second)
			r.want(tt.want...)
			if tt.want != nil {
				r.subscribe(video, "a", 0)
				r.want("connect again video new")
			}
		})
	}
}
