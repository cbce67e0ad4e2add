package relay

import (
	"testing"
	"time"
)

func (r *rig) trackTracks(p string) *tracker {
	w := &tracker{prefix: nsOrg, peer: r.peer(p)}
	r.note(r.c.trackTracks(w))
	return w
}

// section 9.5: a PUBLISH goes to everybody who has asked for tracks under a
// prefix of its namespace.
func TestSubscribeTracks(t *testing.T) {
	t.Run("those_that_are_there_and_those_that_come", func(t *testing.T) {
		r := newRig(t)
		r.publish("pub", video)
		r.log = nil
		w := r.trackTracks("w")
		r.want("offer w video")
		r.publish("pub", audio)
		r.want("take pub continue=false", "offer w audio")
		r.note(r.c.untrackTracks(w))
		r.publish("pub", single)
		r.want("take pub continue=false")
	})
	t.Run("each_once", func(t *testing.T) {
		r := newRig(t)
		r.trackTracks("w")
		r.publish("one", video)
		r.publish("two", video)
		r.want("take one continue=false", "offer w video", "take two continue=true")
	})
	t.Run("10.19_not_what_the_session_publishes", func(t *testing.T) {
		r := newRig(t)
		r.trackTracks("pub")
		r.publish("pub", video)
		r.want("take pub continue=false")
	})
	t.Run("9.5_a_held_SUBSCRIBE_is_answered_instead", func(t *testing.T) {
		r := newRig(t)
		r.trackTracks("w")
		r.trackTracks("x")
		r.sub("a").peer = r.peer("w")
		r.subscribe(video, "a", time.Second)
		r.publish("pub", video)
		r.want("take pub continue=false", "accept a", "offer x video")
	})
	t.Run("one_that_accepts_is_a_subscriber", func(t *testing.T) {
		r := demandRig(t)
		r.trackTracks("w")
		r.publish("pub", video)
		r.want("take pub continue=false paused", "offer w video")
		r.note(r.c.took(r.now, video, r.c.tracks[video].track, r.sub("a")))
		r.want("update pub forward=true")
		r.pass(time.Hour)
		r.want()
		r.unsubscribe(video, "a")
		r.pass(time.Minute)
		r.want("update pub forward=false")
	})
}
