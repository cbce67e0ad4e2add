package relay

import (
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// What a request is told when it moves from one prefix to another.
func TestMovePrefix(t *testing.T) {
	a, ab, abx, ac, d := wire.MustNamespace("a"), wire.MustNamespace("a", "b"), wire.MustNamespace("a", "b", "x"),
		wire.MustNamespace("a", "c"), wire.MustNamespace("d")
	for _, tt := range []struct {
		name               string
		from, fromAs       wire.Namespace
		to, toAs           wire.Namespace
		namespaces, tracks []string // what the move tells
	}{
		{"to_a_longer_one", a, a, ab, ab, []string{"tell a/c false", "tell a/b true", "tell a/b/x true"}, nil},
		{"to_a_shorter_one", ab, ab, a, a, []string{"tell a/b true", "tell a/b/x true", "tell a/c true"}, []string{"offer w of a/c"}},
		{"elsewhere", ab, ab, d, d, []string{"tell a/b false", "tell a/b/x false", "tell d true"}, []string{"offer w of d"}},
		{"under_another_name", a, d, ab, d, []string{
			"tell a/b false", "tell a/b/x false", "tell a/c false", "tell a/b true", "tell a/b/x true",
		}, []string{"offer w of a/b", "offer w of a/b/x"}},
	} {
		t.Run("10.9.2_namespaces_"+tt.name, func(t *testing.T) {
			r := newRig(t)
			for _, ns := range []wire.Namespace{d, ac, abx, ab} {
				r.announce("pub", ns)
			}
			old := &watcher{prefix: tt.from, theirs: tt.fromAs, sink: fakeSink{}}
			r.note(r.c.watch(old))
			r.log = nil
			w := &watcher{prefix: tt.to, theirs: tt.toAs, sink: fakeSink{}}
			r.note(r.c.rewatch(old, w))
			r.want(tt.namespaces...)
			r.note(r.c.unwatch(w))
			r.announce("late", wire.MustNamespace("a", "b", "y"))
			r.want()
		})
		t.Run("10.9.2_tracks_"+tt.name, func(t *testing.T) {
			r := newRig(t)
			for _, ns := range []wire.Namespace{d, ac, abx, ab} {
				r.publish("pub", wire.FullTrackName{Namespace: ns, Name: "of " + ns.Path()})
			}
			old := &tracker{prefix: tt.from, theirs: tt.fromAs, peer: r.peer("w")}
			r.note(r.c.trackTracks(old))
			r.log = nil
			w := &tracker{prefix: tt.to, theirs: tt.toAs, peer: r.peer("w")}
			r.note(r.c.retrack(old, w))
			r.want(tt.tracks...)
			r.note(r.c.untrackTracks(w))
			r.publish("pub", wire.FullTrackName{Namespace: abx, Name: "late"})
			r.want("take pub continue=false")
		})
	}
}

// list has a publisher in this process tell of a track.
func (r *rig) list(src *source, name string) *track.Track {
	t := newTrack(wire.FullTrackName{Namespace: src.ns, Name: name})
	r.note(r.c.listed(src, t))
	return t
}

func TestListedTracks(t *testing.T) {
	t.Run("10.19_those_that_are_there_and_those_that_come", func(t *testing.T) {
		r := newRig(t)
		src := r.announceLocal()
		r.list(src, "video")
		w := r.trackTracks("w")
		r.want("offer w video")
		gone := r.list(src, "audio")
		r.want("offer w audio")
		gone.End(wire.PublishDoneTrackEnded, "over")
		r.trackTracks("x") // hears nothing of what has ended
		r.want("offer x video")
		r.list(src, "audio")
		r.want("offer w audio", "offer x audio")
		if n := len(src.tracks); n != 2 {
			t.Errorf("%d tracks are kept, want no more than there are", n)
		}
		r.note(r.c.untrackTracks(w))
		r.note(r.c.withdraw(r.now, src))
		r.list(src, "late")
		r.trackTracks("y")
		r.want()
	})
	t.Run("10.9.2_moved_to", func(t *testing.T) {
		r := newRig(t)
		r.list(r.announceLocal(), "video")
		old := &tracker{prefix: wire.MustNamespace("other"), theirs: wire.MustNamespace("other"), peer: r.peer("w")}
		r.note(r.c.trackTracks(old))
		r.want()
		w := &tracker{prefix: nsOrg, theirs: nsOrg, peer: r.peer("w")}
		r.note(r.c.retrack(old, w))
		r.want("offer w video")
		longer := &tracker{prefix: nsCam, theirs: nsCam, peer: r.peer("w")}
		r.note(r.c.retrack(w, longer))
		r.want()
	})
	t.Run("of_the_publisher_that_subscribers_get", func(t *testing.T) {
		r := newRig(t)
		first, second := r.announceLocal(), r.announceLocal()
		r.list(first, "video")
		r.list(second, "video")
		r.trackTracks("w")
		r.want("offer w video")
		r.list(second, "audio")
		r.want()
		r.note(r.c.withdraw(r.now, first))
		r.trackTracks("x")
		r.want("offer x video", "offer x audio")
	})
	t.Run("a_held_SUBSCRIBE_is_answered_first", func(t *testing.T) {
		r := newRig(t)
		r.subscribe(video, "a", time.Second)
		r.trackTracks("w")
		src := r.announceLocal("video")
		r.want("accept a")
		r.list(src, "video")
		r.want("offer w video")
	})
}
