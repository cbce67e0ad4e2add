package publisher

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/internal/golden"
	"github.com/broadcastd/broadcastd/moqt/track"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ns = track.MustNamespace("stream", "local", "cam")

// fixture feeds a file of cmaf's test data to b.
func fixture(t testing.TB, name string, b cmaf.Broadcast) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "cmaf", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	d := cmaf.NewDemuxer(b, cmaf.DemuxerConfig{})
	if _, err := d.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// header is a header of which only the publisher's own fields are valid.
func header(kind cmaf.Kind, init string) cmaf.Header {
	return cmaf.Header{Kind: kind, Init: []byte(init), Codec: init, Timescale: 1000, Bitrate: 1, FrameRate: 2}
}

// A clock is handed in where nothing waits.
type clock struct{ now time.Time }

func newPublisher(t testing.TB, cfg Config) *Publisher {
	t.Helper()
	p, err := New(ns, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func addTrack(t testing.TB, b cmaf.Broadcast, name string, h cmaf.Header) cmaf.Sink {
	t.Helper()
	s, err := b.AddTrack(name, h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, s cmaf.Sink, chunks ...cmaf.Chunk) {
	t.Helper()
	for _, c := range chunks {
		if err := s.WriteChunk(c); err != nil {
			t.Fatal(err)
		}
	}
}

func mustTrack(t testing.TB, p *Publisher, name string) *track.Track {
	t.Helper()
	tr, ok := p.Track(name)
	if !ok {
		t.Fatalf("no track %q", name)
	}
	return tr
}

// groups lists the cached groups of a track: "5:3 gap=2" is group 5 with three
// objects, which declares two groups before it; "…" is one that is open.
func groups(t testing.TB, tr *track.Track) (out []string) {
	t.Helper()
	subgroups, _ := tr.Since(0)
	for _, s := range subgroups {
		line := fmt.Sprintf("%d:%d", s.Header().Group, s.Objects())
		o, ok := s.Load(0)
		if !ok {
			t.Fatalf("group %d has no object 0", s.Header().Group)
		}
		if gap, ok := o.Properties.Uint(track.PropPriorGroupIDGap); ok {
			line += fmt.Sprintf(" gap=%d", gap)
		}
		if state, _ := s.State(); state == track.Open {
			line += "…"
		}
		out = append(out, line)
	}
	return out
}

// newestCatalog parses the newest catalog; ok is false when there is none.
func newestCatalog(t testing.TB, p *Publisher) (c catalog.Catalog, count int) {
	t.Helper()
	subgroups, _ := mustTrack(t, p, catalog.TrackName).Since(0)
	if len(subgroups) == 0 {
		return catalog.Catalog{}, 0
	}
	o, ok := subgroups[len(subgroups)-1].Load(0)
	if !ok {
		t.Fatal("catalog group without object")
	}
	c, err := catalog.Parse(o.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return c, len(subgroups)
}

func trackNames(c catalog.Catalog) (names []string) {
	for _, t := range c.Tracks {
		names = append(names, t.Name)
	}
	return names
}

func TestGroupBytes(t *testing.T) {
	c := &clock{time.UnixMilli(1_795_190_400_250)}
	p := newPublisher(t, Config{NextGroup: 1_795_190_397, Now: func() time.Time { return c.now }})
	v := addTrack(t, p, "video", header(cmaf.KindVideo, "v"))
	p.Anchor(cmaf.Time{Ticks: 1_795_190_400_000, Scale: 1000}, c.now)
	write(t, v,
		cmaf.Chunk{
			DecodeTime: 1_795_190_400_000, RAP: true, Data: []byte("key picture"),
			Samples: []cmaf.Sample{{Duration: 40, Size: 11, Flags: cmaf.FlagsSync, CompositionOffset: 80}},
		},
		cmaf.Chunk{
			DecodeTime: 1_795_190_400_040, Data: []byte("and two more"),
			Samples: []cmaf.Sample{
				{Duration: 40, Size: 7, Flags: cmaf.FlagsNonSync, CompositionOffset: 80},
				{Duration: 40, Size: 5, Flags: cmaf.FlagsNonSync},
			},
		})
	if err := p.Close(nil); err != nil {
		t.Fatal(err)
	}
	subgroups, _ := mustTrack(t, p, "video").Since(0)
	if len(subgroups) != 1 {
		t.Fatalf("%d subgroups, want 1", len(subgroups))
	}
	s := subgroups[0]
	state, _ := s.State()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%+v %v\n", s.Header(), state)
	d := hex.Dumper(&b)
	for off := int64(0); off < s.Committed(); {
		piece := s.Bytes(off, 1<<20)
		d.Write(piece)
		off += int64(len(piece))
	}
	d.Close()
	golden.Check(t, "group.golden", b.Bytes())
}

func TestCatalogDocument(t *testing.T) {
	c := &clock{time.UnixMilli(1_795_190_400_250)}
	p := newPublisher(t, Config{TargetLatency: 500 * time.Millisecond, Now: func() time.Time { return c.now }})
	tl := NewTimeline(p, TimelineConfig{Now: func() time.Time { return c.now }})
	fixture(t, "keyframe.mp4", tl)
	doc, _ := newestCatalog(t, p)
	b, err := doc.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	golden.Check(t, "catalog.golden", pretty.Bytes())
	if err := p.Close(nil); err != nil {
		t.Fatal(err)
	}
	doc, _ = newestCatalog(t, p)
	b, err = doc.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "complete.golden", append(b, '\n'))
}

func TestFixtures(t *testing.T) {
	for _, name := range []string{"keyframe.mp4", "everyframe.mp4", "cmaf.mp4", "editlist.mp4", "dash.mp4", "audio.mp4", "video.mp4"} {
		t.Run(name, func(t *testing.T) {
			c := &clock{time.Unix(1_795_190_400, 0)}
			now := func() time.Time { return c.now }
			want := &recordingBroadcast{}
			fixture(t, name, NewTimeline(want, TimelineConfig{Now: now}))
			p := newPublisher(t, Config{Now: now})
			fixture(t, name, NewTimeline(p, TimelineConfig{Now: now}))
			if err := p.Close(nil); err != nil {
				t.Fatal(err)
			}
			for name, chunks := range want.chunks {
				var got []cmaf.Chunk
				r := mustTrack(t, p, name).NewReader(track.From(track.Location{}))
				for {
					g, err := r.NextGroup(t.Context())
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					for id := uint64(0); ; id++ {
						o, err := g.Next(t.Context())
						if err == io.EOF {
							break
						}
						if err != nil || o.ID != id {
							t.Fatalf("group %d: object %d instead of %d, %v", g.ID(), o.ID, id, err)
						}
						c, err := cmaf.ParseChunk(o.Payload)
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, c)
					}
				}
				if len(got) != len(chunks) {
					t.Fatalf("%s: %d chunks of %d", name, len(got), len(chunks))
				}
				for i := range got {
					if got[i].DecodeTime != chunks[i].DecodeTime || !slices.Equal(got[i].Samples, chunks[i].Samples) || !bytes.Equal(got[i].Data, chunks[i].Data) {
						t.Fatalf("%s: chunk %d differs", name, i)
					}
				}
			}
		})
	}
}

func TestGroupNumbers(t *testing.T) {
	p := newPublisher(t, Config{NextGroup: 3})
	v := addTrack(t, p, "v", header(cmaf.KindVideo, "v"))
	a := addTrack(t, p, "a", header(cmaf.KindAudio, "a"))
	write(t, v, chunk(7_000, 500, 0, true))
	write(t, a, chunk(7_000, 500, 0, true))
	write(t, v, chunk(7_500, 500, 0, false), chunk(8_000, 500, 0, true))
	p.Discontinuity("test")
	write(t, v, chunk(20_000, 500, 0, true))
	write(t, a, chunk(20_000, 500, 0, true))
	if err := p.Close(nil); err != nil {
		t.Fatal(err)
	}
	if got, want := groups(t, mustTrack(t, p, "v")), []string{"7:2 gap=4", "8:1", "20:1 gap=11"}; !slices.Equal(got, want) {
		t.Errorf("video groups %v, want %v", got, want)
	}
	if got, want := groups(t, mustTrack(t, p, "a")), []string{"7:1 gap=4", "20:1 gap=12"}; !slices.Equal(got, want) {
		t.Errorf("audio groups %v, want %v", got, want)
	}
}

func TestDiscontinuityEndsGroups(t *testing.T) {
	p := newPublisher(t, Config{})
	v := addTrack(t, p, "v", header(cmaf.KindVideo, "v"))
	write(t, v, chunk(1_000, 500, 0, true))
	if got := groups(t, mustTrack(t, p, "v")); !slices.Equal(got, []string{"1:1…"}) {
		t.Fatalf("groups %v, want one that is open", got)
	}
	p.Discontinuity("test")
	if got := groups(t, mustTrack(t, p, "v")); !slices.Equal(got, []string{"1:1"}) {
		t.Errorf("groups %v, want one that has ended", got)
	}
	write(t, v, chunk(500, 500, 0, true)) // media time of another connection
	if got := groups(t, mustTrack(t, p, "v")); !slices.Equal(got, []string{"1:1", "2:1…"}) {
		t.Errorf("groups %v, want a new one", got)
	}
}

func TestIdleAudioGroupEnds(t *testing.T) {
	p := newPublisher(t, Config{})
	v := addTrack(t, p, "v", header(cmaf.KindVideo, "v"))
	a := addTrack(t, p, "a", header(cmaf.KindAudio, "a"))
	write(t, a, chunk(0, 500, 0, true))
	for i := range int64(4) {
		write(t, v, chunk(1_000*i, 1_000, 0, true))
	}
	if got := groups(t, mustTrack(t, p, "a")); !slices.Equal(got, []string{"0:1"}) {
		t.Errorf("audio groups %v, want one that has ended", got)
	}
	write(t, a, chunk(2_500, 500, 0, true))
	if got, want := groups(t, mustTrack(t, p, "a")), []string{"0:1", "2:1 gap=1…"}; !slices.Equal(got, want) {
		t.Errorf("audio groups %v, want %v", got, want)
	}
}

func TestPriorities(t *testing.T) {
	p := newPublisher(t, Config{})
	want := map[string]uint8{"catalog": 0, "audio": 16, "low": 64, "mid": 72, "high": 80}
	add := func(name string, kind cmaf.Kind, height int) cmaf.Sink {
		h := header(kind, name)
		h.Width, h.Height = height, height
		return addTrack(t, p, name, h)
	}
	sinks := []cmaf.Sink{
		add("high", cmaf.KindVideo, 1080), add("audio", cmaf.KindAudio, 0),
		add("low", cmaf.KindVideo, 360), add("mid", cmaf.KindVideo, 720),
	}
	for _, s := range sinks {
		write(t, s, chunk(0, 1000, 0, true))
	}
	for name, want := range want {
		tr := mustTrack(t, p, name)
		subgroups, _ := tr.Since(0)
		if len(subgroups) == 0 {
			t.Fatalf("%s: no subgroup", name)
		}
		if got := subgroups[0].Priority(); got != want {
			t.Errorf("%s: priority %d, want %d", name, got, want)
		}
		if h := subgroups[0].Header(); h.Subgroup != 0 || !h.FirstObject || !h.EndOfGroup {
			t.Errorf("%s: header %+v", name, h)
		}
	}
}

func TestCatalogTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		at := func(d time.Duration, wantCount int, wantTracks ...string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			c, count := newestCatalog(t, p)
			if count != wantCount || !slices.Equal(trackNames(c), wantTracks) {
				t.Errorf("%d catalogs, newest %v; want %d, %v", count, trackNames(c), wantCount, wantTracks)
			}
		}
		at(time.Minute, 0) // nothing to tell
		v := addTrack(t, p, "v", header(cmaf.KindVideo, "v"))
		a := addTrack(t, p, "a", header(cmaf.KindAudio, "a"))
		at(time.Second, 0)
		write(t, v, chunk(1_000, 500, 0, true))
		at(0, 0) // audio is still to come
		if got := groups(t, mustTrack(t, p, "v")); got != nil {
			t.Errorf("media %v ahead of the catalog", got)
		}
		write(t, a, chunk(1_000, 500, 0, true))
		at(0, 1, "v", "a")
		if got := groups(t, mustTrack(t, p, "v")); !slices.Equal(got, []string{"1:1…"}) {
			t.Errorf("media %v after the catalog", got)
		}
		at(1900*time.Millisecond, 1, "v", "a")
		at(100*time.Millisecond, 2, "v", "a")
		at(2*time.Second, 3, "v", "a")
		b := addTrack(t, p, "b", header(cmaf.KindAudio, "b"))
		at(time.Second, 3, "v", "a")
		write(t, b, chunk(1_000, 500, 0, true)) // at once on change
		at(0, 4, "v", "a", "b")
		addTrack(t, p, "c", header(cmaf.KindAudio, "c"))
		at(1900*time.Millisecond, 4, "v", "a", "b")
		at(200*time.Millisecond, 5, "v", "a", "b", "c") // c has had its time
		b.Close()
		at(1900*time.Millisecond, 6, "v", "a", "b", "c")
		at(200*time.Millisecond, 7, "v", "a", "c")
		if _, ok := p.Track("b"); ok {
			t.Error("an ended track is still offered")
		}
		subgroups, _ := mustTrack(t, p, catalog.TrackName).Since(0)
		for i, s := range subgroups {
			if i > 0 && s.Header().Group != subgroups[i-1].Header().Group+1 {
				t.Errorf("catalog group %d after %d", s.Header().Group, subgroups[i-1].Header().Group)
			}
			if state, _ := s.State(); state != track.Complete || s.Objects() != 1 {
				t.Errorf("catalog group %d: %v with %d objects", s.Header().Group, state, s.Objects())
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v, want context.Canceled", err)
		}
	})
}

func TestCatalogDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(t, Config{})
		done := make(chan error, 1)
		go func() { done <- p.Run(t.Context()) }()
		v := addTrack(t, p, "v", header(cmaf.KindVideo, "v"))
		addTrack(t, p, "a", header(cmaf.KindAudio, "a"))
		write(t, v, chunk(0, 500, 0, true))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if c, count := newestCatalog(t, p); count != 1 || !slices.Equal(trackNames(c), []string{"v", "a"}) {
			t.Errorf("%d catalogs, newest %v; want 1, [v a]", count, trackNames(c))
		}
		if got := groups(t, mustTrack(t, p, "v")); !slices.Equal(got, []string{"0:1…"}) {
			t.Errorf("media %v after the catalog", got)
		}
		if err := p.Close(nil); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("Run after Close(nil): %v", err)
		}
	})
}

func TestRestartedCatalogRises(t *testing.T) {
	now := time.UnixMilli(1_795_190_400_000)
	last := uint64(0)
	for run := range 3 {
		p := newPublisher(t, Config{Now: func() time.Time { return now }})
		write(t, addTrack(t, p, "v", header(cmaf.KindVideo, "v")), chunk(0, 500, 0, true))
		largest, ok := mustTrack(t, p, catalog.TrackName).Largest()
		if !ok || largest.Group <= last {
			t.Errorf("run %d: catalog group %d after %d", run, largest.Group, last)
		}
		last = largest.Group
		now = now.Add(time.Second)
	}
	p := newPublisher(t, Config{Now: func() time.Time { return now }, NextCatalogGroup: last + 1_000_000})
	write(t, addTrack(t, p, "v", header(cmaf.KindVideo, "v")), chunk(0, 500, 0, true))
	if largest, _ := mustTrack(t, p, catalog.TrackName).Largest(); largest.Group != last+1_000_000 {
		t.Errorf("catalog group %d, want %d", largest.Group, last+1_000_000)
	}
}

// A watcher runs f at every change of a track.
type watcher func()

func (w watcher) Notify() { w() }

func TestNewHeader(t *testing.T) {
	p := newPublisher(t, Config{})
	v := addTrack(t, p, "v", header(cmaf.KindVideo, "old"))
	a := addTrack(t, p, "a", header(cmaf.KindAudio, "a"))
	write(t, v, chunk(1_000, 500, 0, true))
	write(t, a, chunk(1_000, 500, 0, true))
	before := mustTrack(t, p, "v")
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = addTrack(t, p, "v", header(cmaf.KindVideo, "new"))
	if c, _ := newestCatalog(t, p); c.Tracks[0].Codec != "old" {
		t.Errorf("the catalog has codec %q before a group needs it", c.Tracks[0].Codec)
	}
	sawMedia := false
	defer before.Attach(watcher(func() {
		if sawMedia {
			return
		}
		sawMedia = true
		subgroups, _ := p.catalog.track.Since(0)
		o, _ := subgroups[len(subgroups)-1].Load(0)
		if c, err := catalog.Parse(o.Payload); err != nil || c.Tracks[0].Codec != "new" || c.Tracks[0].InitGroup != 2 {
			t.Errorf("media ahead of its catalog: %s, %v", o.Payload, err)
		}
	}))()
	write(t, v, chunk(1_500, 500, 0, true), chunk(2_000, 500, 0, true), chunk(2_500, 500, 0, true))
	if !sawMedia {
		t.Error("no media after the change")
	}
	if mustTrack(t, p, "v") != before {
		t.Error("the track is another one")
	}
	if got, want := groups(t, before), []string{"1:1", "2:2", "3:1…"}; !slices.Equal(got, want) {
		t.Errorf("groups %v, want %v", got, want)
	}
	if _, _, ended := before.Ended(); ended {
		t.Error("the track has ended")
	}
	subgroups, _ := before.Since(0)
	for _, s := range subgroups {
		want := ""
		if s.Header().Group == 2 {
			want = "new"
		}
		for i := range s.Objects() {
			o, _ := s.Load(i)
			if got, _ := o.Properties.Bytes(propInitData); string(got) != want {
				t.Errorf("group %d, object %d carries the header %q, want %q", o.Group, o.ID, got, want)
			}
			want = ""
		}
	}
}

func TestNewHeaderBeforeFirstCatalog(t *testing.T) {
	p := newPublisher(t, Config{})
	v := addTrack(t, p, "v", header(cmaf.KindVideo, "old"))
	addTrack(t, p, "a", header(cmaf.KindAudio, "a")) // brings nothing
	write(t, v, chunk(1_000, 500, 0, true))
	v = addTrack(t, p, "v", header(cmaf.KindVideo, "new"))
	write(t, v, chunk(1_500, 500, 0, true))
	c, count := newestCatalog(t, p)
	if count != 2 || c.Tracks[0].Codec != "new" || c.Tracks[0].InitGroup != 2 {
		t.Errorf("%d catalogs, newest %+v", count, c.Tracks[0])
	}
}

func TestConnectionReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(t, Config{})
		go p.Run(t.Context())
		tl := NewTimeline(p, TimelineConfig{})
		v := addTrack(t, tl, "v", header(cmaf.KindVideo, "v"))
		write(t, v, chunk(0, 500, 0, true), chunk(500, 500, 0, false))
		before := mustTrack(t, p, "v")
		v.Close()
		time.Sleep(4 * time.Second)
		if _, _, ended := before.Ended(); ended {
			t.Fatal("the track ended while the whole broadcast paused")
		}
		tl.Discontinuity("the input is back")
		back := addTrack(t, tl, "v", header(cmaf.KindVideo, "v"))
		write(t, back, chunk(0, 500, 0, true))
		if err := v.WriteChunk(chunk(0, 500, 0, true)); !errors.Is(err, ErrReplaced) {
			t.Errorf("the old Sink: %v, want ErrReplaced", err)
		}
		first, last := int64(946_684_800), int64(946_684_804) // synctest's clock starts in 2000
		want := []string{fmt.Sprintf("%d:2", first), fmt.Sprintf("%d:1 gap=%d…", last, last-first-1)}
		if got := groups(t, before); !slices.Equal(got, want) {
			t.Errorf("groups %v, want %v", got, want)
		}
		if err := p.Close(errors.New("gone")); err != nil {
			t.Fatal(err)
		}
		if code, reason, ok := before.Ended(); !ok || code != track.DoneInternalError || strings.Contains(reason, "gone") {
			t.Errorf("ended %t: %v %q", ok, code, reason)
		}
		synctest.Wait()
	})
}

// A target that announces what it is told to.
type target struct {
	err       error
	announced track.Namespace
	withdrawn bool
}

func (a *target) Announce(_ context.Context, ns track.Namespace, _ track.Source) (func(), error) {
	a.announced = ns
	return func() { a.withdrawn = true }, a.err
}

func TestRun(t *testing.T) {
	t.Run("withdraws when it ends", func(t *testing.T) {
		p, a := newPublisher(t, Config{}), &target{}
		reason := errors.New("gone")
		if err := p.Close(reason); err != nil {
			t.Fatal(err)
		}
		if err := p.Run(t.Context(), a); err != reason {
			t.Errorf("Run: %v, want %v", err, reason)
		}
		if a.announced != ns || !a.withdrawn {
			t.Errorf("announced %v, withdrawn %t", a.announced, a.withdrawn)
		}
	})
	t.Run("refused", func(t *testing.T) {
		p, first := newPublisher(t, Config{}), &target{}
		refusal := &track.RequestError{Code: track.RequestUnauthorized}
		if err := p.Run(t.Context(), first, &target{err: refusal}); !errors.Is(err, refusal) {
			t.Errorf("Run: %v, want %v", err, refusal)
		}
		if !first.withdrawn {
			t.Error("the other announcement stands")
		}
	})
}

func TestRefusals(t *testing.T) {
	p := newPublisher(t, Config{})
	for name, h := range map[string]cmaf.Header{
		"":        header(cmaf.KindVideo, "v"),
		"catalog": header(cmaf.KindVideo, "v"),
		"zero":    {Kind: cmaf.KindVideo},
	} {
		if _, err := p.AddTrack(name, h); err == nil {
			t.Errorf("AddTrack(%q, %+v) worked", name, h)
		}
	}
	v := addTrack(t, p, "v", header(cmaf.KindVideo, "v"))
	if _, err := p.AddTrack("v", header(cmaf.KindAudio, "a")); err == nil {
		t.Error("video became audio")
	}
	for i := range maxTracks - 1 {
		addTrack(t, p, fmt.Sprint(i), header(cmaf.KindAudio, "a"))
	}
	if _, err := p.AddTrack("more", header(cmaf.KindAudio, "a")); !errors.Is(err, ErrTooManyTracks) {
		t.Errorf("track %d: %v, want ErrTooManyTracks", maxTracks+1, err)
	}
	write(t, v, chunk(1_000, 500, 0, true))
	for _, c := range []struct {
		chunk cmaf.Chunk
		want  error
	}{
		{chunk(999, 500, 0, true), ErrTimeBack},
		{chunk(-1, 500, 0, true), nil},
		{cmaf.Chunk{DecodeTime: 2_000}, nil},
	} {
		if err := v.WriteChunk(c.chunk); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("chunk at %d: %v, want %v", c.chunk.DecodeTime, err, c.want)
		}
	}
	if err := p.Close(nil); err != nil {
		t.Fatal(err)
	}
	if err := v.WriteChunk(chunk(3_000, 500, 0, true)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
	if _, err := p.AddTrack("v", header(cmaf.KindVideo, "v")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
	for _, cfg := range []Config{
		{GroupDuration: time.Millisecond}, {GroupDuration: time.Hour}, {CatalogWait: time.Hour}, {TargetLatency: -1},
	} {
		if _, err := New(ns, cfg); err == nil {
			t.Errorf("New with %+v worked", cfg)
		}
	}
	if _, err := New(track.Namespace{}, Config{}); err == nil {
		t.Error("New without a namespace worked")
	}
}

// Without a picture at which a group may end, a group grows until its bound,
// and the input hears of it.
func TestEndlessGroup(t *testing.T) {
	p := newPublisher(t, Config{Track: track.Config{MaxObjectsPerGroup: 10}})
	v := addTrack(t, p, "v", header(cmaf.KindVideo, "v"))
	var err error
	for i := int64(0); i < 20 && err == nil; i++ {
		err = v.WriteChunk(chunk(i*40, 40, 0, i == 0))
	}
	if !errors.Is(err, track.ErrLimit) {
		t.Errorf("%v, want track.ErrLimit", err)
	}
}

func BenchmarkWriteChunk(b *testing.B) {
	p := newPublisher(b, Config{})
	v := addTrack(b, p, "v", header(cmaf.KindVideo, "v"))
	c := chunk(0, 33, 0, true)
	c.Data = make([]byte, 16<<10) // one frame at 4 Mb/s and 30 fps
	c.Samples[0].Size = 16 << 10
	b.SetBytes(int64(c.Size()))
	for i := 0; b.Loop(); i++ {
		c.DecodeTime, c.RAP = int64(33*i), i%30 == 0
		if err := v.WriteChunk(c); err != nil {
			b.Fatal(err)
		}
	}
}
