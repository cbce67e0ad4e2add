package viewer

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// A broadcast without a catalog is viewed by its single track.
func TestViewWithoutCatalog(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := singleSource()
		tr := src.tracks[SingleTrack]
		init := singleInit(t, "")
		ours(t, tr, 1, init, picture(1, true), sound(1), picture(1.5, false), sound(1.5))
		var catalogs [][]string
		w := view(t, src, Config{Mode: mode, OnCatalog: func(c catalog.Catalog) {
			var names []string
			for _, d := range c.Tracks {
				names = append(names, d.Name+" "+d.Codec)
			}
			catalogs = append(catalogs, names)
		}})
		w.expect(0, "+video(avc1.64000b) +audio(mp4a.40.2) video12800 audio48000 video19200 audio72000")
		ours(t, tr, 2, init, picture(2, true), boxes("moof", "mdat"), sound(2))
		w.expect(0, "video25600 audio96000")
		w.expectGaps(Gap{Track: SingleTrack, Reason: GapInvalid, From: track.Location{Group: 2, Object: 2}, To: 3})
		ours(t, tr, 3, singleInit(t, "another"), picture(3, true), sound(3))
		w.expect(0, "-video +video(avc1.64000b) video38400 audio144000")
		ours(t, tr, 4, init, picture(1, true), sound(1)) // its publisher starts over
		w.expect(0, "-video +video(avc1.64000b) jump video38400 audio144000")
		tr.End(track.DoneTrackEnded, "over")
		w.expect(0, "-video -audio")
		if err := w.ended(); err != nil {
			t.Error(err)
		}
		if len(catalogs) != 3 || !slices.Equal(catalogs[0], []string{"video avc1.64000b", "audio mp4a.40.2"}) {
			t.Errorf("catalogs %v", catalogs)
		}
		if o := w.objs[2]; o.Track != SingleTrack || o.Time.In(1000).Ticks != 1000 || len(w.objs) != 14 {
			t.Errorf("object %+v of %d", o, len(w.objs))
		}
	})
}

func TestViewWithoutCatalogSelects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := singleSource()
		w := view(t, src, Config{Duration: time.Second, Select: func(d catalog.Track) bool { return d.Role == "video" }})
		for i := range uint64(3) {
			ours(t, src.tracks[SingleTrack], i, singleInit(t, ""), picture(float64(i), true), sound(float64(i)), picture(float64(i)+0.5, false))
		}
		if err := w.ended(); err != nil {
			t.Error(err)
		}
		w.expect(0, "+video(avc1.64000b) video0 video6400 -video")
	})
}

// Where a catalog may still come, it is preferred.
func TestCatalogIsPreferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource("v", SingleTrack)
		late := src.tracks[catalog.TrackName]
		src.publish(t, catalogOf("v"))
		delete(src.tracks, catalog.TrackName)
		w := view(t, src, Config{Wait: time.Minute})
		w.expect(200*time.Millisecond, "")
		src.mu.Lock()
		src.tracks[catalog.TrackName] = late
		src.mu.Unlock()
		w.expect(time.Second, "+v(avc1.64000b)")
		w.stop()
		w.ended()
		if slices.Contains(src.subscribed, SingleTrack) {
			t.Error("the single track was subscribed to")
		}
		delete(src.tracks, catalog.TrackName)
		w = view(t, src, Config{Wait: time.Minute})
		w.expect(time.Second, "")
		if !slices.Contains(src.subscribed, SingleTrack) {
			t.Error("the single track was not subscribed to in time")
		}
		w.stop()
		w.ended()
	})
}

// A broadcast may have the catalog of simple players alone, with its init-first
// views.
func TestViewByPlaybackCatalog(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		v, _ := headers()
		src := newFakeSource(catalog.PlaybackTrackName, "init/v")
		delete(src.tracks, catalog.TrackName)
		doc, err := catalog.NewPlayback([]catalog.Source{{Name: "v", Header: v}}, catalog.Options{}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		src.group(t, catalog.PlaybackTrackName, 1).write(doc)
		w := view(t, src, Config{Mode: mode})
		w.expect(0, "+init/v(avc1.64000b)")
		tr := src.tracks["init/v"]
		ours(t, tr, 3, v.Init, picture(3, true), picture(3.5, false))
		w.expect(0, "init/v38400 init/v44800")
		gap := track.NewProperties(track.Property{Type: track.PropPriorGroupIDGap, Uint: 4})
		subgroup(t, tr, track.SubgroupHeader{Group: 8}, 0, track.Object{Payload: v.Init, Properties: gap})
		subgroup(t, tr, track.SubgroupHeader{Group: 8, Subgroup: 1, Priority: 64, EndOfGroup: true}, 1, payloads(picture(8, true))...)
		w.expect(0, "init/v102400")
		other := bytes.Clone(v.Init)
		other[bytes.Index(other, []byte("mdhd"))+4+20]++ // another language: the view has it ahead of the catalog
		ours(t, tr, 9, other, picture(9, true))
		w.expect(0, "-init/v +init/v(avc1.64000b) init/v115200")
		w.expectGaps()
		src.endAll(track.DoneTrackEnded)
		if err := w.ended(); err != nil {
			t.Error(err)
		}
	})
}
