package recorder

import (
	"bytes"
	"context"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/publisher"
	"github.com/broadcastd/broadcastd/viewer"
)

var ns = track.MustNamespace("stream", "local", "cam")

// direct subscribes to a publisher's own tracks, as the embedded relay does.
type direct struct{ p *publisher.Publisher }

func (d direct) Subscribe(_ context.Context, name track.Name, _ track.SubscribeOptions) (*track.Subscription, error) {
	t, ok := d.p.Track(name.Name)
	if !ok {
		return nil, &track.RequestError{Code: track.RequestDoesNotExist}
	}
	return track.NewSubscription(t, nil), nil
}

func (direct) Namespaces(context.Context, track.Namespace) iter.Seq2[track.NamespaceEvent, error] {
	return func(yield func(track.NamespaceEvent, error) bool) {
		yield(track.NamespaceEvent{}, &track.RequestError{Code: track.RequestNotSupported})
	}
}

// clip makes a clip with ffmpeg and returns its path.
func clip(t testing.TB, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clip.mp4")
	all := append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"}, args...)
	cmd := exec.Command("ffmpeg", append(all, "-movflags", "+frag_keyframe+empty_moov+default_base_moof", path)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("ffmpeg is needed to make a clip: %v\n%s", err, &stderr)
	}
	return path
}

// A step is a call that a paced input makes.
type step struct {
	at   time.Duration
	call func(b cmaf.Broadcast, sinks map[string]cmaf.Sink) error
}

// paced returns the calls of an encoder that sends data from start on, in real
// time, and closes nothing.
func paced(t testing.TB, data []byte, start time.Duration) (steps []step) {
	t.Helper()
	c := captured(t, data)
	for _, name := range c.names {
		h := c.headers[name]
		steps = append(steps, step{start, func(b cmaf.Broadcast, sinks map[string]cmaf.Sink) (err error) {
			sinks[name], err = b.AddTrack(name, h)
			return err
		}})
		for _, chunk := range c.chunks[name] {
			at := start + cmaf.Time{Ticks: chunk.End(), Scale: h.Timescale}.Duration()
			steps = append(steps, step{at, func(_ cmaf.Broadcast, sinks map[string]cmaf.Sink) error {
				return sinks[name].WriteChunk(chunk)
			}})
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
	return steps
}

// A network carries a broadcast from a publisher to a viewer. It lives until
// ctx ends and runs its goroutines in wg.
type network func(t *testing.T, ctx context.Context, wg *sync.WaitGroup, p *publisher.Publisher) ([]publisher.Target, viewer.Source)

func noNetwork(_ *testing.T, _ context.Context, _ *sync.WaitGroup, p *publisher.Publisher) ([]publisher.Target, viewer.Source) {
	return nil, direct{p}
}

// embedded is a relay in the same process.
func embedded(t *testing.T, ctx context.Context, wg *sync.WaitGroup, _ *publisher.Publisher) ([]publisher.Target, viewer.Source) {
	r, err := relay.New(relay.Config{})
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { r.Run(ctx) })
	return []publisher.Target{r}, r
}

// remote is a relay with a session for the publisher and one for the viewer.
func remote(t *testing.T, ctx context.Context, wg *sync.WaitGroup, _ *publisher.Publisher) ([]publisher.Target, viewer.Source) {
	r, err := relay.New(relay.Config{})
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { r.Run(ctx) })
	dial := func() *moqt.Session {
		link := moqttest.Link{Delay: 20 * time.Millisecond}
		client, server := moqttest.Pair(moqttest.Config{Up: link, Down: link})
		s, err := moqt.NewSession(client, moqt.Config{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { r.Serve(ctx, server) })
		wg.Go(func() { s.Run(ctx) })
		<-s.Ready()
		return s
	}
	return []publisher.Target{dial()}, dial()
}

// networks are what the pair is tested over.
var networks = map[string]network{"no network": noNetwork, "embedded relay": embedded, "remote relay": remote}

// A run is a publisher, a lossless viewer and a recorder in a synctest bubble.
type run struct {
	network network // nil: none
	steps   []step
	join    time.Duration // when the recorder comes
	cfg     viewer.Config
	end     bool // close the broadcast after the last step

	gaps []viewer.Gap
	err  error // of the viewer
	rec  *Recorder
}

func (r *run) record(t *testing.T) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.mp4")
	synctest.Test(t, func(t *testing.T) {
		p, err := publisher.New(ns, publisher.Config{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		if r.network == nil {
			r.network = noNetwork
		}
		targets, src := r.network(t, ctx, &wg, p)
		wg.Go(func() { p.Run(ctx, targets...) })
		wg.Go(func() {
			begun := time.Now()
			tl := publisher.NewTimeline(p, publisher.TimelineConfig{})
			sinks := map[string]cmaf.Sink{}
			for _, s := range r.steps {
				time.Sleep(s.at - time.Since(begun))
				if err := s.call(tl, sinks); err != nil {
					t.Errorf("at %v: %v", s.at, err)
					break
				}
			}
			if r.end {
				if err := tl.Close(nil); err != nil {
					t.Error(err)
				}
			}
		})
		time.Sleep(r.join)
		if r.rec, err = Create(path, Config{}); err != nil {
			t.Fatal(err)
		}
		r.cfg.Mode, r.cfg.Wait = viewer.Lossless, 30*time.Second
		r.cfg.OnGap = func(g viewer.Gap) { r.gaps = append(r.gaps, g) }
		v, err := viewer.New(src, ns, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.err = v.Run(ctx, r.rec)
		if err := r.rec.Close(r.err); err != nil {
			t.Error(err)
		}
		cancel()
		wg.Wait()
	})
}

// What an encoder sends is what the recorder writes, as ffmpeg sees both.
func TestPublishViewRecord(t *testing.T) {
	src := clip(t, "-t", "8", "-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "2", "-pix_fmt", "yuv420p", "-c:a", "aac")
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			r := &run{network: network, steps: paced(t, read(t, src), 0), end: true}
			r.record(t)
			if r.err != nil || len(r.gaps) > 0 {
				t.Errorf("viewer: %v, gaps %+v", r.err, r.gaps)
			}
			out := r.rec.Files()[0]
			if got, want := frames(t, out), frames(t, src); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			equalButMoved(t, captured(t, read(t, out)), captured(t, read(t, src)))
		})
	}
}

func TestRecordForSomeTime(t *testing.T) {
	src := clip(t, "-t", "8", "-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "2", "-pix_fmt", "yuv420p", "-c:a", "aac")
	r := &run{steps: paced(t, read(t, src), 0), join: 2500 * time.Millisecond, cfg: viewer.Config{Duration: 3 * time.Second}}
	r.record(t)
	if r.err != nil || len(r.gaps) > 0 {
		t.Errorf("viewer: %v, gaps %+v", r.err, r.gaps)
	}
	c := captured(t, read(t, r.rec.Files()[0]))
	for name, chunks := range c.chunks {
		scale := float64(c.headers[name].Timescale)
		if span := float64(chunks[len(chunks)-1].End()-chunks[0].DecodeTime) / scale; span < 2.9 || span > 3.05 {
			t.Errorf("%s: %.3f s recorded, want 3", name, span)
		}
		if name == "video" && !chunks[0].RAP {
			t.Error("the recording does not start with a random access point")
		}
	}
	if d := r.rec.Duration(); d < 3*time.Second || d > 3100*time.Millisecond {
		t.Errorf("duration %v, want 3 s", d)
	}
}

// The encoder is killed and comes back: the recording goes on in the same file
// with everything that was sent, and time rises.
func TestEncoderReturns(t *testing.T) {
	src := clip(t, "-t", "4", "-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "2", "-pix_fmt", "yuv420p", "-c:a", "aac")
	data := read(t, src)
	first := slices.DeleteFunc(paced(t, data, 0), func(s step) bool { return s.at > 2700*time.Millisecond })
	back := step{5 * time.Second, func(b cmaf.Broadcast, _ map[string]cmaf.Sink) error {
		b.Discontinuity("the input is back")
		return nil
	}}
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			r := &run{network: network, steps: slices.Concat(first, []step{back}, paced(t, data, 5*time.Second)), end: true}
			r.record(t)
			r.checkReturn(t, data)
		})
	}
}

func (r *run) checkReturn(t *testing.T, data []byte) {
	t.Helper()
	if r.err != nil || len(r.gaps) > 0 {
		t.Errorf("viewer: %v, gaps %+v", r.err, r.gaps)
	}
	if len(r.rec.Files()) != 1 {
		t.Errorf("files %v, want one", r.rec.Files())
	}
	sent := len(r.steps) - 5 // tracks twice, and the discontinuity
	if r.rec.Chunks() != sent {
		t.Errorf("%d chunks recorded, want %d", r.rec.Chunks(), sent)
	}
	c := captured(t, read(t, r.rec.Files()[0]))
	var starts []time.Duration
	for _, name := range []string{"video", "audio"} {
		h, chunks := c.headers[name], c.chunks[name]
		for i := 1; i < len(chunks); i++ {
			if chunks[i].DecodeTime < chunks[i-1].End() {
				t.Fatalf("%s: time goes back at chunk %d of %d: %d after %+v", name, i, len(chunks), chunks[i].DecodeTime, chunks[i-1])
			}
			if hole := (cmaf.Time{Ticks: chunks[i].DecodeTime - chunks[i-1].End(), Scale: h.Timescale}).Duration(); hole > time.Second {
				starts = append(starts, cmaf.Time{Ticks: chunks[i].DecodeTime, Scale: h.Timescale}.Duration())
			}
		}
	}
	// Both tracks come back together, as far apart as they are in the source.
	original := captured(t, data)
	want := cmaf.Time{Ticks: original.chunks["video"][0].DecodeTime, Scale: original.headers["video"].Timescale}.
		Sub(cmaf.Time{Ticks: original.chunks["audio"][0].DecodeTime, Scale: original.headers["audio"].Timescale}).Duration()
	if len(starts) != 2 || starts[0]-starts[1] != want {
		t.Errorf("the tracks come back at %v, want them %v apart", starts, want)
	}
}

// Another codec: the recording goes on in a second file; each file plays.
func TestCodecChanges(t *testing.T) {
	x264 := []string{"-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac"}
	small := clip(t, append([]string{"-t", "2"}, x264...)...)
	large := clip(t, append([]string{"-t", "2", "-vf", "scale=320:240"}, x264...)...)
	steps := slices.Concat(paced(t, read(t, small), 0), []step{{3 * time.Second, func(b cmaf.Broadcast, sinks map[string]cmaf.Sink) error {
		for _, s := range sinks {
			if err := s.Close(); err != nil {
				return err
			}
		}
		b.Discontinuity("the input is back")
		return nil
	}}}, paced(t, read(t, large), 3*time.Second))
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			r := &run{network: network, steps: steps, end: true}
			r.record(t)
			r.checkFiles(t, small, large)
		})
	}
}

// checkFiles fails unless the recording has a whole file for each source.
func (r *run) checkFiles(t *testing.T, sources ...string) {
	t.Helper()
	if r.err != nil || len(r.gaps) > 0 {
		t.Errorf("viewer: %v, gaps %+v", r.err, r.gaps)
	}
	if len(r.rec.Files()) != len(sources) {
		t.Fatalf("files %v, want %d", r.rec.Files(), len(sources))
	}
	for i, src := range sources {
		got := captured(t, read(t, r.rec.Files()[i]))
		want := captured(t, read(t, src))
		for _, name := range want.names {
			if len(got.chunks[name]) != len(want.chunks[name]) {
				t.Errorf("file %d, %s: %d chunks, want %d", i+1, name, len(got.chunks[name]), len(want.chunks[name]))
			}
		}
		mpeg(t, "ffmpeg", "-i", r.rec.Files()[i], "-f", "null", os.DevNull)
	}
}
