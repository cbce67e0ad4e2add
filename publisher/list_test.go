package publisher

import (
	"slices"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// Tracks tells of what there is and what comes, each once, and of no view.
func TestTracks(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	p := newPublisher(t, Config{Now: func() time.Time { return now }})
	var early, late []string
	note := func(to *[]string) func(*track.Track) {
		return func(tr *track.Track) { *to = append(*to, tr.Name().Name) }
	}
	want := func(what string, got *[]string, names ...string) {
		t.Helper()
		if !slices.Equal(*got, names) {
			t.Errorf("%s: told of %q, want %q", what, *got, names)
		}
		*got = nil
	}
	stop := p.Tracks(note(&early))
	want("at first", &early, catalog.TrackName, catalog.PlaybackTrackName)
	v, a := pair(t, p)
	mustTrack(t, p, SingleTrack)
	mustTrack(t, p, catalog.InitName("video"))
	want("two were added", &early, "video", "audio")
	p.Tracks(note(&late))()
	want("who comes later", &late, catalog.TrackName, catalog.PlaybackTrackName, "video", "audio")
	seconds(t, v, a, 0, 1)
	v.Close()
	now = now.Add(removeAfter)
	p.tick()
	p.Tracks(note(&late))()
	want("one was removed", &late, catalog.TrackName, catalog.PlaybackTrackName, "audio")
	h := realHeaders(t, "keyframe.mp4")
	addTrack(t, p, "video", h["video"])
	want("it is back", &early, "video")
	stop()
	addTrack(t, p, "more", h["video"])
	want("after stop", &early)
	want("after stop", &late)
}
