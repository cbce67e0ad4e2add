package viewer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// A singleSource is a broadcast with nothing but a single track.
func singleSource() *fakeSource {
	s := newFakeSource(SingleTrack)
	delete(s.tracks, catalog.TrackName)
	return s
}

// singleInit is a header of video (track 1) and audio (track 2), of one language or another.
func singleInit(t testing.TB, lang string) []byte {
	t.Helper()
	v, a := headers()
	b, err := cmaf.BuildInit([]cmaf.Header{v, a})
	if err != nil {
		t.Fatal(err)
	}
	if lang != "" {
		at := bytes.Index(b, []byte("mdhd"))
		b[at+4+20]++ // another language
	}
	return b
}

// picture and sound are fragments of the single track, at a second.
func picture(second float64, rap bool) []byte {
	return chunk(int64(second*vs), vs/2, rap).AppendTo(nil, 1, 1)
}

func sound(second float64) []byte {
	return chunk(int64(second*as), as/2, true).AppendTo(nil, 2, 1)
}

// at returns the properties that state a presentation time.
func at(us, scale uint64) track.Properties {
	return track.NewProperties(track.Property{Type: track.PropTimescale, Uint: scale}, track.Property{Type: track.PropTimestamp, Uint: us})
}

// subgroup writes objects, from ID on, as a whole subgroup.
func subgroup(t testing.TB, tr *track.Track, h track.SubgroupHeader, id uint64, objects ...track.Object) {
	t.Helper()
	h.HasPriority, h.Properties, h.FirstObject = true, true, true
	w, err := tr.Subgroup(h)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range objects {
		o.ID = id + uint64(i)
		if err := w.WriteObject(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func payloads(pieces ...[]byte) (objects []track.Object) {
	for _, p := range pieces {
		objects = append(objects, track.Object{Payload: p})
	}
	return objects
}

// ours writes a group as broadcastd does: the header, then the media.
func ours(t testing.TB, tr *track.Track, group uint64, init []byte, media ...[]byte) {
	t.Helper()
	subgroup(t, tr, track.SubgroupHeader{Group: group}, 0, track.Object{Payload: init, Properties: at(7, 1_000_000)})
	subgroup(t, tr, track.SubgroupHeader{Group: group, Subgroup: 1, Priority: 1, EndOfGroup: true}, 1, payloads(media...)...)
}

// A reading is a Single that runs in a bubble.
type reading struct {
	t     testing.TB
	done  chan error
	stop  context.CancelFunc
	mu    sync.Mutex
	lines []string
	bytes []byte
	gaps  []Gap
}

func read(t testing.TB, src Source, cfg Config) *reading {
	t.Helper()
	r := &reading{t: t, done: make(chan error, 1)}
	cfg.OnGap = func(g Gap) { r.gaps = append(r.gaps, g) }
	s, err := NewSingle(src, ns, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() {
		r.done <- s.Run(ctx, func(c SingleChunk) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			kind := "media"
			if c.Init {
				kind = "init"
			}
			r.lines = append(r.lines, fmt.Sprintf("%s@%d/%d", kind, c.Timestamp, c.Priority))
			r.bytes = append(r.bytes, c.Data...)
			return nil
		})
	}()
	synctest.Wait()
	return r
}

func (r *reading) expect(after time.Duration, want string) {
	r.t.Helper()
	time.Sleep(after)
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := strings.Join(r.lines, " "); got != want {
		r.t.Errorf("got  %q\nwant %q", got, want)
	}
	r.lines = nil
}

func TestSingle(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := singleSource()
		tr := src.tracks[SingleTrack]
		init := singleInit(t, "")
		ours(t, tr, 4, init, picture(4, true), sound(4))
		ours(t, tr, 5, init, picture(5, true)) // the current group
		r := read(t, src, Config{Mode: mode})
		r.expect(0, "init@7/0 media@5000000/1")
		ours(t, tr, 6, init, picture(6, true), sound(6.5))
		r.expect(0, "media@6000000/1 media@6500000/1") // the header is no news
		ours(t, tr, 7, singleInit(t, "another"), picture(7, true))
		r.expect(0, "init@7/0 media@7000000/1")
		again := read(t, src, Config{Mode: mode}) // as after a reconnect
		again.expect(0, "init@7/0 media@7000000/1")
		tr.End(track.DoneTrackEnded, "over")
		for _, r := range []*reading{r, again} {
			if err := <-r.done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	})
}

// The streams of the header and of the media may overtake each other.
func TestSingleHeaderComesLast(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := singleSource()
		tr := src.tracks[SingleTrack]
		r := read(t, src, Config{Mode: mode})
		subgroup(t, tr, track.SubgroupHeader{Group: 3, Subgroup: 1, Priority: 1, EndOfGroup: true}, 1, payloads(picture(3, true))...)
		r.expect(300*time.Millisecond, "")
		subgroup(t, tr, track.SubgroupHeader{Group: 3}, 0, payloads(singleInit(t, ""))...)
		r.expect(0, "init@300000/0 media@3000000/1")
		// Where it does not come at all, what comes is as good.
		subgroup(t, tr, track.SubgroupHeader{Group: 4, Subgroup: 1, Priority: 1, EndOfGroup: true}, 1, payloads(picture(4, true))...)
		r.expect(time.Second, "media@4000000/1")
		r.stop()
		<-r.done
	})
}

// A reader that a relay lets in in the middle of a group gets nothing before a
// header.
func TestSingleJoinsInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := singleSource()
		tr := src.tracks[SingleTrack]
		subgroup(t, tr, track.SubgroupHeader{Group: 3, Subgroup: 1, Priority: 1, EndOfGroup: true}, 8, payloads([]byte("half an mdat"), picture(3, false))...)
		r := read(t, src, Config{})
		r.expect(2*time.Second, "")
		ours(t, tr, 4, singleInit(t, ""), picture(4, true))
		r.expect(0, "init@7/0 media@4000000/1")
		r.stop()
		<-r.done
	})
}

func TestSingleTimestamps(t *testing.T) {
	for _, tt := range []struct {
		name    string
		track   track.Properties
		objects []track.Object
		want    string
	}{
		{"stated", nil, []track.Object{
			{Payload: singleInit(t, ""), Properties: at(10, 1000)}, {Payload: picture(1, true), Properties: at(90_000, 90_000)},
		}, "init@10000/0 media@1000000/1"},
		{"in the timescale of the track", track.NewProperties(track.Property{Type: track.PropTimescale, Uint: 1000}), []track.Object{
			{Payload: singleInit(t, ""), Properties: track.NewProperties(track.Property{Type: track.PropTimestamp, Uint: 3})},
		}, "init@3000/0"},
		{"in no timescale", nil, []track.Object{
			{Payload: singleInit(t, ""), Properties: track.NewProperties(track.Property{Type: track.PropTimestamp, Uint: 3})},
		}, "init@3/0"},
		{"not at all", nil, payloads(singleInit(t, ""), picture(2, true), singleInit(t, "x"), sound(3)), "init@1000000/0 media@2000000/1 init@2000000/0 media@3000000/1"},
		{"on the first of several boxes", nil, slices.Concat(
			[]track.Object{{Payload: singleInit(t, ""), Properties: at(10, 1000)}, {Payload: picture(1, true)[:104], Properties: at(5, 1)}},
			payloads(picture(1, true)[104:])), "init@10000/0 media@5000000/1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := singleSource()
				tr := track.New(track.Name{Namespace: ns, Name: SingleTrack}, track.Info{Properties: tt.track}, track.Config{})
				src.tracks[SingleTrack] = tr
				r := read(t, src, Config{})
				time.Sleep(time.Second)
				subgroup(t, tr, track.SubgroupHeader{Priority: 1, EndOfGroup: true}, 0, tt.objects...)
				r.expect(0, tt.want)
				r.stop()
				<-r.done
			})
		})
	}
}

// byBox cuts a stream at every box.
func byBox(t testing.TB, b []byte) (pieces [][]byte) {
	t.Helper()
	for len(b) > 0 {
		_, size, err := boxAt(b)
		if err != nil || size == 0 {
			t.Fatalf("no box: %v", err)
		}
		pieces = append(pieces, b[:size:size])
		b = b[size:]
	}
	return pieces
}

// Whatever objects a publisher cuts its stream into, the chunks are the same.
func TestSingleIsAByteStream(t *testing.T) {
	for _, name := range []string{"keyframe.mp4", "everyframe.mp4", "cmaf.mp4", "dash.mp4"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("..", "cmaf", "testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			want := &capture{}
			d := cmaf.NewDemuxer(want, cmaf.DemuxerConfig{})
			if _, err := d.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{0, 1000, 77_777, len(data)} {
				synctest.Test(t, func(t *testing.T) {
					pieces := byBox(t, data)
					if size > 0 {
						pieces = slices.Collect(slices.Chunk(data, size))
					}
					src := singleSource()
					tr := src.tracks[SingleTrack]
					w := view(t, src, Config{Mode: Lossless})
					half := len(pieces) / 2
					subgroup(t, tr, track.SubgroupHeader{Group: 0, EndOfGroup: true}, 0, payloads(pieces[:half]...)...)
					subgroup(t, tr, track.SubgroupHeader{Group: 1, EndOfGroup: true}, 0, payloads(pieces[half:]...)...)
					tr.End(track.DoneTrackEnded, "over")
					if err := w.ended(); err != nil {
						t.Fatal(err)
					}
					w.expectGaps()
					for name, times := range want.times {
						if !slices.Equal(w.out.times[name], times) {
							t.Errorf("in objects of %d bytes: %s: %d chunks, want %d", size, name, len(w.out.times[name]), len(times))
						}
					}
				})
			}
		})
	}
}

func TestSingleGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := singleSource()
		tr := src.tracks[SingleTrack]
		init := singleInit(t, "")
		r := read(t, src, Config{Mode: Lossless, GapWait: time.Second})
		ours(t, tr, 1, init, picture(1, true), picture(1.5, false)[:50]) // and the rest of it never comes
		ours(t, tr, 3, init, picture(3, true))
		r.expect(time.Second, "init@7/0 media@1000000/1 media@3000000/1")
		subgroup(t, tr, track.SubgroupHeader{Group: 4}, 0, payloads(init)...)
		w, err := tr.Subgroup(track.SubgroupHeader{Group: 4, Subgroup: 1, FirstObject: true, HasPriority: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteObject(track.Object{ID: 1, Payload: picture(4, true)[:60]}); err != nil {
			t.Fatal(err)
		}
		w.Abort(track.ResetInternalError)
		ours(t, tr, 5, init, append(boxes("styp"), "\x00\x00\x00\x08\x00\x00\x00\x00"...), picture(5, true))
		r.expect(time.Second, "media@5000000/1")
		r.stop()
		<-r.done
		want := []Gap{
			{Track: SingleTrack, Reason: GapMissing, From: track.Location{Group: 2}, To: 3},
			{Track: SingleTrack, Reason: GapCut, From: track.Location{Group: 4, Object: 2}, To: 5, Code: track.ResetInternalError},
			{Track: SingleTrack, Reason: GapInvalid, From: track.Location{Group: 5, Object: 1}, To: 6},
		}
		if !slices.Equal(r.gaps, want) {
			t.Errorf("gaps %+v, want %+v", r.gaps, want)
		}
	})
}

func TestSingleEnds(t *testing.T) {
	t.Run("no header", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := singleSource()
			r := read(t, src, Config{Wait: time.Second})
			start := time.Now()
			if err := <-r.done; !errors.Is(err, ErrNoTracks) || time.Since(start) != 11*time.Second {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		})
	})
	t.Run("not there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if err := <-read(t, newFakeSource(), Config{}).done; !errors.Is(err, ErrNotThere) {
				t.Errorf("Run: %v", err)
			}
		})
	})
	t.Run("the publisher is lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := singleSource()
			r := read(t, src, Config{})
			src.endAll(track.DoneInternalError)
			if end, ok := errors.AsType[*track.EndError](<-r.done); !ok || end.Code != track.DoneInternalError {
				t.Errorf("Run: %v", end)
			}
		})
	})
	t.Run("the receiver fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := singleSource()
			ours(t, src.tracks[SingleTrack], 1, singleInit(t, ""), picture(1, true))
			s, err := NewSingle(src, ns, Config{})
			if err != nil {
				t.Fatal(err)
			}
			fault := errors.New("full")
			if err := s.Run(t.Context(), func(SingleChunk) error { return fault }); !errors.Is(err, fault) || src.open != 0 {
				t.Errorf("Run: %v with %d subscriptions left", err, src.open)
			}
		})
	})
}

// A publisher may count its groups by the clock.
func TestSingleNumbersAreNotConsecutive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := singleSource()
		r := read(t, src, Config{Mode: Lossless})
		ours(t, src.tracks[SingleTrack], 1000, singleInit(t, ""), picture(0, true))
		r.expect(0, "init@7/0 media@0/1")
		for i, wait := range []time.Duration{3 * time.Second, 3 * time.Second, 3 * time.Second, 0, 0} {
			n := i + 1
			ours(t, src.tracks[SingleTrack], uint64(1000*n+1000), singleInit(t, ""), picture(float64(n), true))
			r.expect(wait, fmt.Sprintf("media@%d000000/1", n))
		}
		if len(r.gaps) != maxSkips {
			t.Errorf("%d gaps, want %d", len(r.gaps), maxSkips)
		}
		r.stop()
		<-r.done
	})
}
