package viewer

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
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
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ns = track.MustNamespace("stream", "local", "cam")

// A fakeSource offers tracks that a test fills.
type fakeSource struct {
	mu         sync.Mutex
	tracks     map[string]*track.Track
	refuse     error // what Subscribe answers, if not nil
	subscribed []string
	asked      []time.Time // when the catalog was asked for
	open       int
	announce   chan struct{} // sends the namespace; nil: not supported
}

func newFakeSource(names ...string) *fakeSource {
	s := &fakeSource{tracks: map[string]*track.Track{}}
	for _, name := range append(names, catalog.TrackName) {
		s.tracks[name] = track.New(track.Name{Namespace: ns, Name: name}, track.Info{}, track.Config{})
	}
	return s
}

func (s *fakeSource) Subscribe(_ context.Context, name track.Name, _ track.SubscribeOptions) (*track.Subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name.Name == catalog.TrackName {
		s.asked = append(s.asked, time.Now())
	}
	t := s.tracks[name.Name]
	if s.refuse != nil {
		return nil, s.refuse
	}
	if t == nil || name.Namespace != ns {
		return nil, &track.RequestError{Code: track.RequestDoesNotExist, Reason: "no such track"}
	}
	s.subscribed = append(s.subscribed, name.Name)
	s.open++
	return track.NewSubscription(t, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
	}), nil
}

func (s *fakeSource) set(refuse error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

func (s *fakeSource) Namespaces(ctx context.Context, prefix track.Namespace) iter.Seq2[track.NamespaceEvent, error] {
	return func(yield func(track.NamespaceEvent, error) bool) {
		if s.announce == nil {
			yield(track.NamespaceEvent{}, &track.RequestError{Code: track.RequestNotSupported})
			return
		}
		for {
			select {
			case <-s.announce:
				if !yield(track.NamespaceEvent{Namespace: prefix, Active: true}, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// A capture is a Broadcast that keeps a line for each call.
type capture struct {
	mu    sync.Mutex
	lines []string
	times map[string][]int64 // decode times of each track
	fail  error
}

func (c *capture) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, fmt.Sprintf(format, args...))
}

// take returns the lines since the last call.
func (c *capture) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.Join(c.lines, " ")
	c.lines = nil
	return s
}

func (c *capture) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	c.note("+%s(%s)", name, h.Codec)
	return captureSink{c, name}, nil
}
func (c *capture) Event(cmaf.Event) error { return nil }
func (c *capture) Discontinuity(string)   { c.note("jump") }
func (c *capture) Anchor(m cmaf.Time, w time.Time) {
	c.note("anchor=%v", w.Add(-m.Duration()).UTC().Format("15:04:05"))
}
func (c *capture) Close(error) error { c.note("closed"); return nil }

type captureSink struct {
	c    *capture
	name string
}

func (s captureSink) WriteChunk(c cmaf.Chunk) error {
	s.c.note("%s%d", s.name, c.DecodeTime)
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.times == nil {
		s.c.times = map[string][]int64{}
	}
	s.c.times[s.name] = append(s.c.times[s.name], c.DecodeTime)
	return s.c.fail
}
func (s captureSink) Close() error { s.c.note("-%s", s.name); return nil }

// headers returns a video header and an audio header from the fixtures. Tests
// count time in their ticks: 12800 and 48000 a second.
var headers = sync.OnceValues(func() (v, a cmaf.Header) {
	for _, f := range []struct {
		name string
		to   *cmaf.Header
	}{{"video.mp4", &v}, {"audio.mp4", &a}} {
		data, err := os.ReadFile(filepath.Join("..", "cmaf", "testdata", f.name))
		if err != nil {
			panic(err)
		}
		grab := &headerGrabber{to: f.to}
		d := cmaf.NewDemuxer(grab, cmaf.DemuxerConfig{})
		if _, err := d.Write(data); err != nil {
			panic(err)
		}
	}
	return v, a
})

type headerGrabber struct {
	capture
	to *cmaf.Header
}

func (g *headerGrabber) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	*g.to = h
	return g.capture.AddTrack(name, h)
}

func chunk(dts, dur int64, rap bool) cmaf.Chunk {
	flags := cmaf.FlagsNonSync
	if rap {
		flags = cmaf.FlagsSync
	}
	return cmaf.Chunk{
		DecodeTime: dts, RAP: rap, Data: []byte{1, 2},
		Samples: []cmaf.Sample{{Duration: uint32(dur), Size: 2, Flags: flags}},
	}
}

// publish writes a catalog.
func (s *fakeSource) publish(t testing.TB, c catalog.Catalog) {
	t.Helper()
	tr := s.tracks[catalog.TrackName]
	next := uint64(0)
	if l, ok := tr.Largest(); ok {
		next = l.Group + 1
	}
	b, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	g := &testGroup{t, openGroup(t, tr, next, 0), 0}
	g.write(b)
	g.end()
}

// catalogOf returns the catalog of v (video) and a (audio), as named.
func catalogOf(names ...string) catalog.Catalog {
	v, a := headers()
	var sources []catalog.Source
	for _, name := range names {
		h := v
		if name[0] == 'a' {
			h = a
		}
		sources = append(sources, catalog.Source{Name: name, Header: h})
	}
	return catalog.New(sources, catalog.Options{})
}

// A testGroup is a group that a test fills.
type testGroup struct {
	t    testing.TB
	w    *track.SubgroupWriter
	next uint64
}

func openGroup(t testing.TB, tr *track.Track, number, gap uint64) *track.SubgroupWriter {
	t.Helper()
	w, err := tr.Subgroup(track.SubgroupHeader{Group: number, FirstObject: true, EndOfGroup: true, Properties: gap > 0})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (s *fakeSource) group(t testing.TB, name string, number uint64, chunks ...cmaf.Chunk) *testGroup {
	t.Helper()
	return s.groupAfterGap(t, name, number, 0, chunks...)
}

func (s *fakeSource) groupAfterGap(t testing.TB, name string, number, gap uint64, chunks ...cmaf.Chunk) *testGroup {
	t.Helper()
	g := &testGroup{t, openGroup(t, s.tracks[name], number, gap), 0}
	for i, c := range chunks {
		if i == 0 && gap > 0 {
			g.object(track.Object{
				Properties: track.NewProperties(track.Property{Type: track.PropPriorGroupIDGap, Uint: gap}),
				Payload:    c.AppendTo(nil, 1, 1),
			})
			continue
		}
		g.chunk(c)
	}
	return g
}

func (g *testGroup) object(o track.Object) {
	g.t.Helper()
	o.ID = g.next
	g.next++
	if err := g.w.WriteObject(o); err != nil {
		g.t.Fatal(err)
	}
}

func (g *testGroup) write(b []byte)     { g.t.Helper(); g.object(track.Object{Payload: b}) }
func (g *testGroup) chunk(c cmaf.Chunk) { g.t.Helper(); g.write(c.AppendTo(nil, 1, 1)) }

func (g *testGroup) end() {
	g.t.Helper()
	if err := g.w.Close(); err != nil {
		g.t.Fatal(err)
	}
}

func (s *fakeSource) endAll(code track.DoneCode) {
	for _, t := range s.tracks {
		t.End(code, "test")
	}
}

// A viewing is a Run in a synctest bubble.
type viewing struct {
	t    testing.TB
	out  *capture
	gaps []Gap
	done chan error
	stop context.CancelFunc
	objs []Object
	mu   sync.Mutex
}

func view(t testing.TB, src Source, cfg Config) *viewing {
	t.Helper()
	w := &viewing{t: t, out: &capture{}, done: make(chan error, 1)}
	cfg.OnGap = func(g Gap) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.gaps = append(w.gaps, g)
	}
	cfg.OnObject = func(o Object) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.objs = append(w.objs, o)
	}
	v, err := New(src, ns, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.stop = cancel
	go func() { w.done <- v.Run(ctx, w.out) }()
	synctest.Wait()
	return w
}

// expect waits until nothing moves and compares what came since the last time.
func (w *viewing) expect(after time.Duration, want string) {
	w.t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if got := w.out.take(); got != want {
		w.t.Errorf("got  %q\nwant %q", got, want)
	}
}

func (w *viewing) expectGaps(want ...Gap) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.gaps, want) {
		w.t.Errorf("gaps %+v, want %+v", w.gaps, want)
	}
}

// ended waits for Run.
func (w *viewing) ended() error {
	w.t.Helper()
	select {
	case err := <-w.done:
		return err
	case <-time.After(time.Minute):
		w.t.Fatal("Run does not end")
		return nil
	}
}

const (
	vs = 12800 // ticks of a second of video
	as = 48000 // and of audio
	ms = as / 1000
)

// bubble runs f for each mode.
func bubble(t *testing.T, f func(t *testing.T, mode Mode)) {
	for _, mode := range []Mode{Live, Lossless} {
		t.Run([]string{"live", "lossless"}[mode], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, mode) })
		})
	}
}

func TestView(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v", "a")
		w := view(t, src, Config{Mode: mode})
		w.expect(time.Second, "")
		c := catalogOf("v", "a")
		origin := float64(1_795_190_400_000)
		c.MediaTimeOrigin = &origin
		src.publish(t, c)
		w.expect(0, "anchor=16:00:00 +v(avc1.64000b) +a(mp4a.40.2)")
		gv := src.group(t, "v", 5, chunk(5*vs, vs/2, true))
		ga := src.group(t, "a", 5, chunk(5*as+ms, as/4, true))
		w.expect(0, "v64000 a240048")
		gv.chunk(chunk(5*vs+vs/2, vs/2, false))
		w.expect(0, "") // audio may still bring something earlier
		ga.chunk(chunk(5*as+as/4+ms, as/4, true))
		w.expect(0, "a252048 v70400")
		gv.end()
		ga.end()
		src.publish(t, c) // again, as publishers do
		src.group(t, "v", 6, chunk(6*vs, vs/2, true)).end()
		src.group(t, "a", 6, chunk(6*as+ms, as/2, true)).end()
		w.expect(3*time.Second, "v76800 a288048")
		src.publish(t, catalog.Complete(time.Now()))
		src.endAll(track.DoneTrackEnded)
		if err := w.ended(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if got := w.out.take(); got != "-v -a" && got != "-a -v" {
			t.Errorf("at the end: %q", got)
		}
		w.expectGaps()
		if src.open != 0 {
			t.Errorf("%d subscriptions are open", src.open)
		}
		if n := len(w.objs); n != 6 {
			t.Errorf("OnObject was called %d times, want 6", n)
		}
		if o := w.objs[slices.IndexFunc(w.objs, func(o Object) bool { return o.Track == "v" })]; o.Track != "v" || o.Location != (track.Location{Group: 5}) || o.Time != (cmaf.Time{Ticks: 5 * vs, Scale: vs}) || o.Arrival.IsZero() {
			t.Errorf("first object %+v", o)
		}
	})
}

func TestGroupIsMissing(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{Mode: mode})
		src.group(t, "v", 5, chunk(5*vs, vs, true)).end()
		w.expect(0, "+v(avc1.64000b) v64000")
		src.group(t, "v", 8, chunk(8*vs, vs, true)).end()
		patience := map[Mode]time.Duration{Live: time.Second, Lossless: 3 * time.Second}[mode]
		w.expect(patience-time.Millisecond, "")
		w.expect(time.Millisecond, "v102400")
		w.expectGaps(Gap{Track: "v", Reason: GapMissing, From: track.Location{Group: 6}, To: 8})
	})
}

func TestGroupComesLater(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{Mode: mode})
		src.group(t, "v", 5, chunk(5*vs, vs, true)).end()
		w.expect(0, "+v(avc1.64000b) v64000")
		src.group(t, "v", 7, chunk(7*vs, vs, true)).end()
		w.expect(500*time.Millisecond, "")
		src.group(t, "v", 6, chunk(6*vs, vs, true)).end()
		w.expect(0, "v76800 v89600")
		w.expectGaps()
	})
}

func TestGapIsDeclared(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{Mode: mode})
		src.group(t, "v", 5, chunk(5*vs, vs, true)).end()
		src.groupAfterGap(t, "v", 90, 84, chunk(90*vs, vs, true)).end()
		w.expect(0, "+v(avc1.64000b) v64000 v1152000")
		w.expectGaps()
		src.groupAfterGap(t, "v", 100, 7, chunk(100*vs, vs, true)).end() // 91 and 92 should exist
		w.expect(5*time.Second, "v1280000")
		w.expectGaps(Gap{Track: "v", Reason: GapMissing, From: track.Location{Group: 91}, To: 93})
	})
}

func TestGroupIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{Mode: mode})
		g := src.group(t, "v", 5, chunk(5*vs, vs/2, true))
		w.expect(0, "+v(avc1.64000b) v64000")
		g.w.Abort(track.ResetGoingAway)
		src.group(t, "v", 6, chunk(6*vs, vs, true)).end()
		w.expect(0, "v76800")
		w.expectGaps(Gap{Track: "v", Reason: GapCut, From: track.Location{Group: 5, Object: 1}, To: 6, Code: track.ResetGoingAway})
	})
}

func TestObjectIsInvalid(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{Mode: mode})
		g := src.group(t, "v", 5, chunk(5*vs, vs/4, true))
		g.write([]byte("no boxes here, by no means"))
		g.chunk(chunk(5*vs+vs/2, vs/2, false)) // depends on what could not be read
		g.end()
		src.group(t, "v", 6, chunk(6*vs, vs, true)).end()
		w.expect(0, "+v(avc1.64000b) v64000 v76800")
		w.expectGaps(Gap{Track: "v", Reason: GapInvalid, From: track.Location{Group: 5, Object: 1}, To: 6})
	})
}

func TestLiveSkipsLateGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource("v")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{Target: 600 * time.Millisecond})
		slow := src.group(t, "v", 5, chunk(5*vs, vs/2, true))
		w.expect(10*time.Second, "+v(avc1.64000b) v64000") // nothing newer: it is waited for
		src.group(t, "v", 6, chunk(6*vs, vs, true)).end()
		w.expect(599*time.Millisecond, "")
		w.expectGaps()
		w.expect(time.Millisecond, "v76800")
		w.expectGaps(Gap{Track: "v", Reason: GapLate, From: track.Location{Group: 5, Object: 1}, To: 6})
		slow.chunk(chunk(5*vs+vs/2, vs/2, false)) // too late
		slow.end()
		w.expect(time.Second, "")

		// Several newer groups: on at the newest, and what lies between is told.
		w.gaps = nil
		src.group(t, "v", 7, chunk(7*vs, vs/2, true))
		w.expect(0, "v89600")
		for i := uint64(8); i <= 10; i++ {
			src.group(t, "v", i, chunk(int64(i)*vs, vs/2, true))
		}
		w.expect(600*time.Millisecond, "v128000")
		w.expectGaps(
			Gap{Track: "v", Reason: GapLate, From: track.Location{Group: 7, Object: 1}, To: 8},
			Gap{Track: "v", Reason: GapLate, From: track.Location{Group: 8}, To: 10})
	})
}

func TestLateGroupInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource("v")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{})
		g := src.group(t, "v", 5, chunk(5*vs, vs/2, true))
		src.group(t, "v", 6, chunk(6*vs, vs, true)).end()
		w.expect(900*time.Millisecond, "+v(avc1.64000b) v64000")
		g.chunk(chunk(5*vs+vs/2, vs/2, false))
		g.end()
		w.expect(0, "v70400 v76800")
		w.expect(5*time.Second, "")
		w.expectGaps()
	})
}

func TestLosslessWaitsForLateGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource("v")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{Mode: Lossless})
		g := src.group(t, "v", 5, chunk(5*vs, vs/2, true))
		for i := uint64(6); i < 10; i++ {
			src.group(t, "v", i, chunk(int64(i)*vs, vs, true)).end()
		}
		w.expect(9*time.Second, "+v(avc1.64000b) v64000")
		g.chunk(chunk(5*vs+vs/2, vs/2, false))
		g.end()
		w.expect(0, "v70400 v76800 v89600 v102400 v115200")
		w.expectGaps()
	})
}

func TestLosslessStart(t *testing.T) {
	t.Run("at the group that all tracks have", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource("v", "a")
			src.publish(t, catalogOf("v", "a"))
			src.group(t, "a", 5, chunk(5*as, as, true)).end() // video has gone on already
			src.group(t, "v", 6, chunk(6*vs, vs, true)).end()
			w := view(t, src, Config{Mode: Lossless})
			w.expect(time.Second, "+v(avc1.64000b) +a(mp4a.40.2)")
			src.group(t, "a", 6, chunk(6*as+ms, as, true)).end()
			w.expect(10*time.Second, "v76800 a288048")
			w.expectGaps()
		})
	})
	t.Run("at a random access point", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource("v", "a")
			src.publish(t, catalogOf("v", "a"))
			w := view(t, src, Config{Mode: Lossless})
			src.group(t, "v", 6, chunk(6*vs, vs, false)).end()
			src.group(t, "a", 6, chunk(6*as, as, true)).end()
			src.group(t, "v", 7, chunk(7*vs, vs, true)).end()
			src.group(t, "a", 7, chunk(7*as+ms, as, true)).end()
			w.expect(10*time.Second, "+v(avc1.64000b) +a(mp4a.40.2) v89600 a336048")
			w.expectGaps()
		})
	})
	t.Run("without a track that brings nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource("v", "a")
			src.publish(t, catalogOf("v", "a"))
			w := view(t, src, Config{Mode: Lossless})
			src.group(t, "v", 6, chunk(6*vs, vs, true)).end()
			w.expect(5*time.Second, "+v(avc1.64000b) +a(mp4a.40.2) v76800")
		})
	})
}

func TestInterleaving(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v", "a")
		src.publish(t, catalogOf("v", "a"))
		w := view(t, src, Config{Mode: mode, Interleave: 300 * time.Millisecond})
		gv := src.group(t, "v", 0, chunk(0, vs/2, true))
		ga := src.group(t, "a", 0, chunk(ms, as/2, true))
		w.expect(0, "+v(avc1.64000b) +a(mp4a.40.2) v0 a48")
		gv.chunk(chunk(vs/2, vs/2, false))
		gv.chunk(chunk(vs, vs/2, false))
		w.expect(0, "v6400") // audio has gone as far
		w.expect(299*time.Millisecond, "")
		w.expect(time.Millisecond, "v12800") // waited for long enough
		ga.chunk(chunk(as/2+ms, as/2, true))
		ga.chunk(chunk(as+ms, as/2, true))
		w.expect(0, "a24048 a48048")
		src.tracks["a"].End(track.DoneTrackEnded, "test") // not waited for anymore
		w.expect(0, "-a")
		gv.chunk(chunk(2*vs, vs/2, false))
		w.expect(0, "v25600")
	})
}

func TestHeaderChanges(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		v, _ := headers()
		src := newFakeSource("v")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{Mode: mode})
		g := src.group(t, "v", 5, chunk(5*vs, vs/2, true))
		w.expect(0, "+v(avc1.64000b) v64000")
		// The catalog is there long before the group that it is for.
		changed := catalogOf("v")
		changed.Tracks[0].InitData = ""
		changed.Tracks[0].InitGroup = 7
		changed.InitData[0].Data = base64Of(bytes.ReplaceAll(v.Init, []byte("\x64\x00\x0b"), []byte("\x64\x00\x0c")))
		src.publish(t, changed)
		w.expect(0, "")
		g.chunk(chunk(5*vs+vs/2, vs/2, false))
		g.end()
		src.group(t, "v", 6, chunk(6*vs, vs, true)).end()
		w.expect(0, "v70400 v76800")
		src.group(t, "v", 7, chunk(7*vs, vs, true)).end()
		w.expect(0, "-v +v(avc1.64000c) v89600")
		src.publish(t, changed)
		src.group(t, "v", 8, chunk(8*vs, vs, true)).end()
		w.expect(0, "v102400")
		w.expectGaps()
	})
}

func TestHeaderComesWithMedia(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		v, _ := headers()
		src := newFakeSource("v")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{Mode: mode})
		src.group(t, "v", 5, chunk(5*vs, vs, true)).end()
		w.expect(0, "+v(avc1.64000b) v64000")
		// The group is there before the catalog that it belongs to.
		init := bytes.ReplaceAll(v.Init, []byte("\x64\x00\x0b"), []byte("\x64\x00\x0c"))
		g := &testGroup{t, openGroup(t, src.tracks["v"], 6, 1), 0}
		g.object(track.Object{
			Properties: track.NewProperties(track.Property{Type: propInitData, Bytes: init}),
			Payload:    chunk(6*vs, vs, true).AppendTo(nil, 1, 1),
		})
		g.end()
		w.expect(0, "-v +v(avc1.64000c) v76800")
		changed := catalogOf("v")
		changed.Tracks[0].InitGroup, changed.Tracks[0].InitData = 6, base64Of(init)
		src.publish(t, changed)
		src.group(t, "v", 7, chunk(7*vs, vs, true)).end()
		w.expect(0, "v89600")
		w.expectGaps()
	})
}

func TestJoinBeforeNewHeader(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v")
		src.group(t, "v", 5, chunk(5*vs, vs, true)).end() // of a header that we never see
		c := catalogOf("v")
		c.Tracks[0].InitGroup = 6
		src.publish(t, c)
		w := view(t, src, Config{Mode: mode})
		w.expect(0, "+v(avc1.64000b)")
		src.group(t, "v", 6, chunk(6*vs, vs, true)).end()
		w.expect(0, "v76800")
		w.expectGaps()
	})
}

func TestTracksComeAndGo(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v", "a")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{Mode: mode})
		src.group(t, "v", 0, chunk(0, vs, true)).end()
		w.expect(0, "+v(avc1.64000b) v0")
		src.publish(t, catalogOf("v", "a"))
		w.expect(0, "+a(mp4a.40.2)")
		src.group(t, "a", 1, chunk(as+ms, as, true)).end()
		src.group(t, "v", 1, chunk(vs, vs, true)).end()
		w.expect(0, "v12800 a48048")
		src.tracks["a"].End(track.DoneTrackEnded, "test")
		src.publish(t, catalogOf("v"))
		w.expect(0, "-a")
		src.group(t, "v", 2, chunk(2*vs, vs, true)).end()
		w.expect(0, "v25600")
		// Of the same name, later: another track.
		src.mu.Lock()
		src.tracks["a"] = track.New(track.Name{Namespace: ns, Name: "a"}, track.Info{}, track.Config{})
		src.mu.Unlock()
		src.publish(t, catalogOf("v", "a"))
		src.group(t, "a", 3, chunk(3*as, as, true)).end()
		w.expect(time.Second, "+a(mp4a.40.2) a144000")
		w.expectGaps()
	})
}

func TestManyTracks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		w := view(t, src, Config{})
		for round := range 3 {
			var names []string
			for i := range maxTracks / 2 {
				name := fmt.Sprintf("v%d.%d", round, i)
				names = append(names, name)
				src.mu.Lock()
				src.tracks[name] = track.New(track.Name{Namespace: ns, Name: name}, track.Info{}, track.Config{})
				src.mu.Unlock()
			}
			src.publish(t, catalogOf(names...))
			synctest.Wait()
		}
		if got := strings.Count(w.out.take(), "+"); got != maxTracks {
			t.Errorf("%d tracks, want %d", got, maxTracks)
		}
		for name, tr := range src.tracks {
			if name != catalog.TrackName {
				tr.End(track.DoneTrackEnded, "test")
			}
		}
		synctest.Wait()
		src.publish(t, catalogOf())
		src.publish(t, catalogOf("v"))
		time.Sleep(time.Second)
		if got := w.out.take(); !strings.HasSuffix(got, "+v(avc1.64000b)") {
			t.Errorf("after all have ended: %q", got)
		}
		w.stop()
		w.ended()
	})
}

func TestSelect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource("v", "a")
		c := catalogOf("v", "a")
		c.Tracks = append(c.Tracks, catalog.Track{Name: "x", Packaging: "loc"}, catalog.Track{Name: "bad", Packaging: "cmaf", InitRef: "none"})
		src.publish(t, c)
		w := view(t, src, Config{Select: func(t catalog.Track) bool { return t.Role != "audio" }})
		w.expect(time.Second, "+v(avc1.64000b)")
		if want := []string{"catalog", "v"}; !slices.Equal(src.subscribed, want) {
			t.Errorf("subscribed %v, want %v", src.subscribed, want)
		}
		w.stop()
		if err := w.ended(); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v, want context.Canceled", err)
		}
		w.expect(0, "-v")
	})
}

func TestTimeGoesBack(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v", "a")
		src.publish(t, catalogOf("v", "a"))
		w := view(t, src, Config{Mode: mode})
		src.group(t, "v", 5, chunk(100*vs+1, vs, true)).end()
		src.group(t, "a", 5, chunk(100*as, as, true)).end()
		w.expect(3*time.Second, "+v(avc1.64000b) +a(mp4a.40.2) a4800000 v1280001")
		// A publisher that starts over at 0. Audio alone would fit 100 s later,
		// but both tracks have to move by the same.
		ga := src.group(t, "a", 6, chunk(ms, as, true))
		w.expect(3*time.Second, fmt.Sprintf("jump a%d", 100*as+ms))
		gv := src.group(t, "v", 6, chunk(0, vs, true))
		w.expect(3*time.Second, fmt.Sprintf("jump v%d", 101*vs))
		ga.chunk(chunk(as+ms, as, true))
		gv.chunk(chunk(vs, vs, false))
		w.expect(3*time.Second, fmt.Sprintf("v%d a%d", 102*vs, 102*as+ms))
	})
}

func TestDuration(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v", "a")
		src.publish(t, catalogOf("v", "a"))
		w := view(t, src, Config{Mode: mode, Duration: 2 * time.Second})
		for i := range int64(4) {
			src.group(t, "v", uint64(i), chunk(i*vs+100, vs/2, true), chunk(i*vs+100+vs/2, vs/2, false)).end()
			src.group(t, "a", uint64(i), chunk(i*as+100, as/2, true), chunk(i*as+100+as/2, as/2, true)).end()
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if err := w.ended(); err != nil {
			t.Errorf("Run: %v", err)
		}
		// Audio starts first, so the limit is 2 s and 100/48000.
		wantV, wantA := []int64{100, 6500, 12900, 19300}, []int64{100, 24100, 48100, 72100}
		if !slices.Equal(w.out.times["v"], wantV) || !slices.Equal(w.out.times["a"], wantA) {
			t.Errorf("video %v, audio %v; want %v, %v", w.out.times["v"], w.out.times["a"], wantV, wantA)
		}
	})
}

func TestDurationWithoutAudio(t *testing.T) {
	bubble(t, func(t *testing.T, mode Mode) {
		src := newFakeSource("v", "a")
		src.publish(t, catalogOf("v", "a"))
		w := view(t, src, Config{Mode: mode, Duration: 2 * time.Second})
		for i := range int64(3) {
			src.group(t, "v", uint64(i), chunk(i*vs, vs, true)).end()
			synctest.Wait()
		}
		if err := w.ended(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if got := w.out.times["v"]; !slices.Equal(got, []int64{0, vs}) {
			t.Errorf("video %v, want two seconds", got)
		}
	})
}

func TestEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(src *fakeSource, t testing.TB)
		want error // nil, or what the error wraps
		in   time.Duration
	}{
		{"all tracks complete", func(src *fakeSource, _ testing.TB) { src.endAll(track.DoneTrackEnded) }, nil, 0},
		{"the publisher went away", func(src *fakeSource, _ testing.TB) { src.endAll(track.DoneInternalError) }, &track.EndError{}, 0},
		{"media ends, the catalog says nothing", func(src *fakeSource, _ testing.TB) { src.tracks["v"].End(track.DoneTrackEnded, "") }, nil, lastWords},
		{"complete, media says nothing", func(src *fakeSource, t testing.TB) { src.publish(t, catalog.Complete(time.Now())) }, nil, lastWords},
		{"the catalog ends, media says nothing", func(src *fakeSource, _ testing.TB) { src.tracks["catalog"].End(track.DoneTrackEnded, "") }, nil, lastWords},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, mode Mode) {
				src := newFakeSource("v")
				src.publish(t, catalogOf("v"))
				w := view(t, src, Config{Mode: mode})
				src.group(t, "v", 5, chunk(5*vs, vs/2, true)).end()
				w.expect(time.Second, "+v(avc1.64000b) v64000")
				tt.end(src, t)
				start := time.Now()
				err := w.ended()
				var end *track.EndError
				if tt.want == nil && err != nil || tt.want != nil && !errors.As(err, &end) {
					t.Errorf("Run: %v", err)
				}
				if took := time.Since(start); took != tt.in {
					t.Errorf("it took %v, want %v", took, tt.in)
				}
				w.expect(0, "-v")
			})
		})
	}
}

func TestBroadcastIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.publish(t, catalog.Complete(time.Now()))
		src.endAll(track.DoneTrackEnded)
		if err := view(t, src, Config{}).ended(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestWait(t *testing.T) {
	absent := &track.RequestError{Code: track.RequestDoesNotExist, Reason: "no such namespace"}
	t.Run("in vain", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.refuse = absent
			start := time.Now()
			err := view(t, src, Config{Wait: 10 * time.Second}).ended()
			if !errors.Is(err, ErrNotThere) || !errors.Is(err, absent) || time.Since(start) != 10*time.Second {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
			var waits []time.Duration
			for i := range src.asked[1:] {
				waits = append(waits, src.asked[i+1].Sub(src.asked[i]))
			}
			ms := time.Millisecond
			if want := []time.Duration{250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 2000 * ms, 2000 * ms, 2000 * ms, 250 * ms}; !slices.Equal(waits, want) {
				t.Errorf("tried again after %v, want %v", waits, want)
			}
		})
	})
	t.Run("not at all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.refuse = absent
			start := time.Now()
			if err := view(t, src, Config{}).ended(); !errors.Is(err, ErrNotThere) || time.Since(start) != 0 {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		})
	})
	t.Run("until the namespace comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource("v")
			src.refuse, src.announce = absent, make(chan struct{})
			src.publish(t, catalogOf("v"))
			w := view(t, src, Config{Wait: 30 * time.Second})
			w.expect(20*time.Second+123*time.Millisecond, "")
			src.set(nil)
			src.announce <- struct{}{}
			w.expect(0, "+v(avc1.64000b)")
			w.stop()
			w.ended()
		})
	})
	t.Run("as long as the peer asks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.refuse = &track.RequestError{Code: track.RequestDoesNotExist, RetryAfter: 4 * time.Second}
			view(t, src, Config{Wait: 5 * time.Second}).ended()
			if n := len(src.asked); n != 3 {
				t.Errorf("asked %d times, want 3", n)
			}
		})
	})
	t.Run("never with a refusal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			refusal := &track.RequestError{Code: track.RequestUnauthorized, Reason: "auth"}
			src.refuse = refusal
			start := time.Now()
			if err := view(t, src, Config{Wait: time.Minute}).ended(); !errors.Is(err, refusal) || time.Since(start) != 0 {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		})
	})
	t.Run("for a catalog", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			err := view(t, newFakeSource(), Config{Wait: 5 * time.Second}).ended()
			if !errors.Is(err, ErrNoTracks) || time.Since(start) != 15*time.Second {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		})
	})
	t.Run("for a track of the catalog", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource("v")
			late := src.tracks["v"]
			delete(src.tracks, "v")
			src.publish(t, catalogOf("v"))
			w := view(t, src, Config{})
			w.expect(time.Second, "+v(avc1.64000b)")
			src.mu.Lock()
			src.tracks["v"] = late
			src.mu.Unlock()
			src.group(t, "v", 0, chunk(0, vs, true)).end()
			w.expect(2*time.Second, "v0")
			w.stop()
			w.ended()
		})
	})
	t.Run("for a track that never comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource("v")
			src.publish(t, catalogOf("v", "a"))
			var refusal *track.RequestError
			if err := view(t, src, Config{}).ended(); !errors.As(err, &refusal) || !strings.Contains(err.Error(), `track "a"`) {
				t.Errorf("Run: %v", err)
			}
		})
	})
}

func TestCatalogFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource("v")
		bad := func() {
			l, _ := src.tracks["catalog"].Largest()
			g := &testGroup{t, openGroup(t, src.tracks["catalog"], l.Group+1, 0), 0}
			g.write([]byte(`{"version":"draft-99","tracks":[]}`))
			g.end()
		}
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{})
		w.expect(0, "+v(avc1.64000b)")
		bad() // the one from before stays in force
		src.group(t, "v", 0, chunk(0, vs, true)).end()
		w.expect(time.Second, "v0")
		w.stop()
		w.ended()
		if err := view(t, src, Config{}).ended(); !errors.Is(err, catalog.ErrVersion) {
			t.Errorf("only a catalog of another version: %v", err)
		}
	})
}

func TestReceiverFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource("v")
		src.publish(t, catalogOf("v"))
		w := view(t, src, Config{})
		fault := errors.New("disk full")
		w.out.fail = fault
		src.group(t, "v", 0, chunk(0, vs, true)).end()
		if err := w.ended(); !errors.Is(err, fault) {
			t.Errorf("Run: %v, want %v", err, fault)
		}
	})
}

func TestConfig(t *testing.T) {
	for _, cfg := range []Config{{Wait: -1}, {Duration: -1}, {Target: time.Millisecond}, {GapWait: -1}, {Interleave: -1}} {
		if _, err := New(newFakeSource(), ns, cfg); err == nil {
			t.Errorf("New with %+v worked", cfg)
		}
	}
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
