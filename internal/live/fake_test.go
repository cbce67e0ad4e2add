package live

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/moqt/track"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is a Service with what it stands on, inside a bubble. It notes what
// viewers get and what is kept of sessions, a line a call.
type world struct {
	t      *testing.T
	s      *Service
	inputs *ingest.Registry

	mu      sync.Mutex
	lines   []string
	next    int
	viewers atomic.Int64
	preset  Settings // of sessions that begin
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

// check compares what was noted since the last look.
func (w *world) check(want ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.lines, want) {
		w.t.Errorf("noted %q,\nwant %q", w.lines, want)
	}
	w.lines = nil
}

// taken returns what was noted since the last look.
func (w *world) taken() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	text := strings.Join(w.lines, "\n")
	w.lines = nil
	return text
}

// Started implements Sessions.
func (w *world) Started(_ context.Context, name, protocol string) (Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	w.lines = append(w.lines, fmt.Sprintf("started %s over %s", name, protocol))
	return Record{ID: fmt.Sprintf("sess_%d", w.next), Org: "local", Input: name, Settings: w.preset}, nil
}

// Ended implements Sessions.
func (w *world) Ended(_ context.Context, id, reason string, peak int) error {
	w.note("%s %s, peak %d", id, reason, peak)
	return nil
}

// inBubble runs f in virtual time that begins at a whole second.
func inBubble(t *testing.T, cfg Config, f func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t}
		cfg.Sessions = w
		cfg.Open = func(_ context.Context, o Opening) (Output, error) {
			w.note("open %s as %s, target %v", o.Name, o.Session, o.TargetLatency)
			return &output{w, o.Published}, nil
		}
		cfg.Namespace = func(name string) (track.Namespace, error) { return track.NewNamespace("stream", "local", name) }
		cfg.Name = func(ns track.Namespace) (string, bool) { return ns.Fields()[2], true }
		cfg.Audience = []func(track.Namespace) int{func(track.Namespace) int {
			return int(w.viewers.Load())
		}}
		cfg.End = func(name string) bool { return w.inputs.End(name) }
		var err error
		if w.s, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		if w.inputs, err = ingest.NewRegistry(ingest.Config{Opener: w.s, Limits: func(name string) ingest.Limits {
			if name == "loud" {
				return ingest.Limits{MaxBitrate: 8000}
			}
			return ingest.Limits{}
		}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		inputs, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.s.Run(ctx) })
		ended := make(chan struct{})
		go func() { w.inputs.Run(inputs); close(ended) }()
		f(t, w)
		stop()
		<-ended
		cancel()
		wg.Wait()
	})
}

// An output is what viewers get.
type output struct {
	w         *world
	published func(time.Duration)
}

func (o *output) AddTrack(name string, _ cmaf.Header) (cmaf.Sink, error) {
	o.w.note("add %s", name)
	return outSink{o, name}, nil
}
func (o *output) Event(cmaf.Event) error           { o.w.note("event"); return nil }
func (o *output) Discontinuity(string)             { o.w.note("discontinuity") }
func (o *output) Anchor(cmaf.Time, time.Time)      {}
func (o *output) Close(error) error                { o.w.note("close"); return nil }
func (o *output) SetTargetLatency(d time.Duration) { o.w.note("target %v", d) }

type outSink struct {
	o    *output
	name string
}

func (s outSink) WriteChunk(c cmaf.Chunk) error {
	s.o.published(3 * time.Millisecond)
	s.o.w.note("%s %d", s.name, c.DecodeTime)
	return nil
}
func (s outSink) Close() error { s.o.w.note("close %s", s.name); return nil }

func videoHeader(height int) cmaf.Header {
	return cmaf.Header{Init: fmt.Appendf(nil, "v%d", height), Kind: cmaf.KindVideo, Codec: "avc1.64001f", Timescale: 1000, Width: height * 16 / 9, Height: height}
}

func audioHeader() cmaf.Header {
	return cmaf.Header{Init: []byte("a"), Kind: cmaf.KindAudio, Codec: "mp4a.40.2", Timescale: 1000, SampleRate: 48000, Channels: 2}
}

// frame is a chunk of one sample of 40 ms.
func frame(dts int64, bytes int, rap bool) cmaf.Chunk {
	return cmaf.Chunk{DecodeTime: dts, Samples: []cmaf.Sample{{Duration: 40, Size: uint32(bytes)}}, Data: make([]byte, bytes), RAP: rap}
}

func add(t *testing.T, c *ingest.Conn, name string, h cmaf.Header) cmaf.Sink {
	t.Helper()
	s, err := c.AddTrack(name, h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, s cmaf.Sink, c cmaf.Chunk) {
	t.Helper()
	if err := s.WriteChunk(c); err != nil {
		t.Fatal(err)
	}
}
