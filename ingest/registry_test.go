package ingest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/cmaf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs f with a registry that runs, in virtual time.
func bubble(t *testing.T, cfg Config, f func(t *testing.T, r *Registry, o *fakeOpener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := &fakeOpener{}
		cfg.Opener = o
		r, err := NewRegistry(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		f(t, r, o)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the cause of its context", err)
		}
	})
}

func header(init string) cmaf.Header {
	return cmaf.Header{Init: []byte(init), Kind: cmaf.KindVideo, Timescale: 10}
}

// second is a chunk of one second at dts.
func second(dts int64) cmaf.Chunk {
	return cmaf.Chunk{DecodeTime: dts, Samples: []cmaf.Sample{{Duration: 10, Size: 1}}, Data: []byte{0}, RAP: true}
}

func addTrack(t *testing.T, c *Conn, name, init string) cmaf.Sink {
	t.Helper()
	s, err := c.AddTrack(name, header(init))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, s cmaf.Sink, dts int64) {
	t.Helper()
	if err := s.WriteChunk(second(dts)); err != nil {
		t.Fatal(err)
	}
}

func checkLines(t *testing.T, o *fakeOpener, want ...string) {
	t.Helper()
	if got := o.take(); !slices.Equal(got, want) {
		t.Errorf("the broadcast was told %q,\nwant %q", got, want)
	}
}

func TestReturnWithinTheGrace(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *Registry, o *fakeOpener) {
		c := r.Connect("cam", Peer{Addr: "a"})
		s := addTrack(t, c, "video", "h")
		write(t, s, 0)
		c.Pause(0)
		checkLines(t, o, "open cam", "cam add video h", "cam/video chunk 0")
		if list := r.Sessions(); len(list) != 1 || list[0].Connected {
			t.Errorf("Sessions = %+v, want cam without a connection", list)
		}
		time.Sleep(4900 * time.Millisecond)

		c = r.Connect("cam", Peer{Addr: "b"})
		s = addTrack(t, c, "video", "h")
		write(t, s, 500) // elsewhere on the timeline
		write(t, s, 510)
		checkLines(t, o, "cam discontinuity", "cam/video chunk 500", "cam/video chunk 510")
		time.Sleep(time.Minute)
		synctest.Wait()
		checkLines(t, o) // it has a connection, so it lives
		if err := c.Close(nil); err != nil {
			t.Error(err)
		}
		checkLines(t, o, "cam/video close", "cam end")
		if list := r.Sessions(); len(list) != 0 {
			t.Errorf("Sessions = %+v, want none", list)
		}
	})
}

func TestStaysAway(t *testing.T) {
	for _, tt := range []struct {
		name         string
		grace, extra time.Duration
		want         time.Duration
	}{
		{"default", 0, 0, 5 * time.Second},
		{"no grace", -1, 0, 0},
		{"longer, as the next segment is due later", time.Second, 6 * time.Second, 7 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, Config{Grace: tt.grace}, func(t *testing.T, r *Registry, o *fakeOpener) {
				c := r.Connect("cam", Peer{Addr: "a"})
				write(t, addTrack(t, c, "video", "h"), 0)
				o.take()
				c.Pause(tt.extra)
				if tt.want > 0 {
					time.Sleep(tt.want - time.Millisecond)
					synctest.Wait()
					checkLines(t, o)
				}
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				checkLines(t, o, "cam/video close", "cam end lost")

				write(t, addTrack(t, r.Connect("cam", Peer{Addr: "b"}), "video", "h"), 0)
				checkLines(t, o, "open cam", "cam add video h", "cam/video chunk 0")
			})
		})
	}
}

// TestContinuesItsTimeline is an encoder that sends a request for each segment.
func TestContinuesItsTimeline(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *Registry, o *fakeOpener) {
		for _, dts := range []int64{100, 110, 121} { // the last with a lost frame before it
			c := r.Connect("cam", Peer{Addr: "a"})
			write(t, addTrack(t, c, "video", "h"), dts)
			c.Pause(0)
			time.Sleep(time.Second)
		}
		checkLines(t, o, "open cam", "cam add video h", "cam/video chunk 100", "cam/video chunk 110", "cam/video chunk 121")
	})
}

// TestGoesOnAfterAPause is the same encoder with one Conn for all requests.
func TestGoesOnAfterAPause(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *Registry, o *fakeOpener) {
		c := r.Connect("cam", Peer{Addr: "a"})
		s := addTrack(t, c, "video", "h")
		write(t, s, 0)
		write(t, s, 10)
		if got := c.Media(); got != 2*time.Second {
			t.Errorf("Media = %v, want 2s", got)
		}
		c.Pause(c.Media())
		time.Sleep(6900 * time.Millisecond) // 5 s and what the segment lasted
		write(t, s, 20)
		if got := c.Media(); got != time.Second {
			t.Errorf("Media after the pause = %v, want 1s", got)
		}
		checkLines(t, o, "open cam", "cam add video h", "cam/video chunk 0", "cam/video chunk 10", "cam/video chunk 20")
		c.Pause(0)
		time.Sleep(5001 * time.Millisecond)
		synctest.Wait()
		checkLines(t, o, "cam/video close", "cam end lost")
		if err := s.WriteChunk(second(30)); !errors.Is(err, ErrEnded) {
			t.Errorf("WriteChunk after the end = %v, want ErrEnded", err)
		}
	})
}

func TestTakeover(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *Registry, o *fakeOpener) {
		old := r.Connect("cam", Peer{Addr: "a"})
		oldSink := addTrack(t, old, "video", "h")
		write(t, oldSink, 0)
		next := r.Connect("cam", Peer{Addr: "b"})
		if old.Err() != nil {
			t.Error("a connection without a track replaced the one that sends")
		}
		s := addTrack(t, next, "video", "h")
		select {
		case <-old.Done():
		default:
			t.Error("Done of the replaced connection is open")
		}
		for what, err := range map[string]error{
			"WriteChunk": oldSink.WriteChunk(second(10)), "Err": old.Err(), "Close": old.Close(nil), "Event": old.Event(cmaf.Event{}),
		} {
			if !errors.Is(err, ErrReplaced) {
				t.Errorf("%s of the replaced connection = %v, want ErrReplaced", what, err)
			}
		}
		if err := oldSink.Close(); err != nil {
			t.Errorf("Close of its Sink = %v", err)
		}
		old.Pause(0) // must not start the grace
		time.Sleep(time.Minute)
		write(t, s, 0)
		checkLines(t, o, "open cam", "cam add video h", "cam/video chunk 0", "cam discontinuity", "cam/video chunk 0")
	})
}

func TestTracksChangeAcrossConnections(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *Registry, o *fakeOpener) {
		c := r.Connect("cam", Peer{Addr: "a"})
		write(t, addTrack(t, c, "video", "old"), 0)
		write(t, addTrack(t, c, "audio", "h"), 0)
		c.Pause(0)
		o.take()
		c = r.Connect("cam", Peer{Addr: "b"})
		s := addTrack(t, c, "video", "new") // another header, and no audio
		write(t, s, 0)
		checkLines(t, o, "cam/video close", "cam add video new", "cam/video chunk 0")
		time.Sleep(2100 * time.Millisecond)
		write(t, s, 10)
		checkLines(t, o, "cam/audio close", "cam/video chunk 10")
	})
}

func TestTrackComesBackOnTheSameConnection(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *Registry, o *fakeOpener) {
		c := r.Connect("cam", Peer{Addr: "a"})
		s := addTrack(t, c, "video", "h")
		write(t, s, 0)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteChunk(second(10)); err == nil {
			t.Error("WriteChunk after Close = nil error")
		}
		write(t, addTrack(t, c, "video", "h"), 10)
		checkLines(t, o, "open cam", "cam add video h", "cam/video chunk 0", "cam/video chunk 10")
	})
}

func TestBounds(t *testing.T) {
	bubble(t, Config{MaxSessions: 2, MaxTracks: 2}, func(t *testing.T, r *Registry, o *fakeOpener) {
		a := r.Connect("a", Peer{})
		addTrack(t, a, "1", "h")
		addTrack(t, a, "2", "h")
		if _, err := a.AddTrack("3", header("h")); !errors.Is(err, ErrTooManyTracks) {
			t.Errorf("third track: %v, want ErrTooManyTracks", err)
		}
		addTrack(t, r.Connect("b", Peer{}), "1", "h")
		if _, err := r.Connect("c", Peer{}).AddTrack("1", header("h")); !errors.Is(err, ErrTooMany) {
			t.Errorf("third session: %v, want ErrTooMany", err)
		}
		if !r.End("a") || r.End("a") || r.End("none") {
			t.Error("End does not report what it ended")
		}
		if err := a.Err(); !errors.Is(err, ErrEnded) {
			t.Errorf("Err after End = %v, want ErrEnded", err)
		}
		addTrack(t, r.Connect("c", Peer{}), "1", "h")
	})
}

func TestOpenFails(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *Registry, o *fakeOpener) {
		o.fail = errors.New("no relay")
		if _, err := r.Connect("cam", Peer{}).AddTrack("video", header("h")); !errors.Is(err, o.fail) {
			t.Errorf("AddTrack = %v, want %v", err, o.fail)
		}
		if list := r.Sessions(); len(list) != 0 {
			t.Errorf("Sessions = %+v, want none", list)
		}
		o.fail = nil
		addTrack(t, r.Connect("cam", Peer{}), "video", "h")
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &fakeOpener{}
		r, err := NewRegistry(Config{Opener: o})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		c := r.Connect("cam", Peer{})
		s := addTrack(t, c, "video", "h")
		cancel()
		<-done
		checkLines(t, o, "open cam", "cam add video h", "cam/video close", "cam end stopped")
		if err := s.WriteChunk(second(0)); !errors.Is(err, ErrEnded) {
			t.Errorf("WriteChunk after the stop = %v, want ErrEnded", err)
		}
		if _, err := r.Connect("cam", Peer{}).AddTrack("video", header("h")); !errors.Is(err, ErrEnded) {
			t.Errorf("AddTrack after the stop = %v, want ErrEnded", err)
		}
	})
}

func TestPassesOnEventsAndAnchors(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *Registry, o *fakeOpener) {
		c := r.Connect("cam", Peer{})
		if err := c.Event(cmaf.Event{Scheme: "x"}); err != nil { // nobody to tell yet
			t.Error(err)
		}
		addTrack(t, c, "video", "h")
		if err := c.Event(cmaf.Event{Scheme: "x"}); err != nil {
			t.Error(err)
		}
		c.Anchor(cmaf.Time{Ticks: 1, Scale: 2}, time.Now())
		c.Discontinuity("jump")
		checkLines(t, o, "open cam", "cam add video h", "cam event x", "cam anchor 1/2", "cam discontinuity")
	})
}

// An observed broadcast notes what it hears of connections.
type observed struct{ *fakeBroadcast }

func (b observed) SessionID() string { return "sess_1" }
func (b observed) Connected(p Peer)  { b.o.note("%s connected %s", b.name, p.Addr) }
func (b observed) Lost()             { b.o.note("%s lost", b.name) }
func (b observed) Resumed()          { b.o.note("%s resumed", b.name) }

type observedOpener struct{ *fakeOpener }

func (o observedOpener) Open(_ context.Context, name string, p Peer) (cmaf.Broadcast, error) {
	o.note("open %s for %s over %s", name, p.Addr, p.Protocol)
	return observed{&fakeBroadcast{o.fakeOpener, name}}, nil
}

func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &fakeOpener{}
		var log bytes.Buffer
		r, err := NewRegistry(Config{Opener: observedOpener{o}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		c := r.Connect("cam", Peer{Addr: "a", Protocol: "fmp4"})
		s := addTrack(t, c, "video", "h")
		c.Pause(0)
		c.Pause(0) // is lost already
		write(t, s, 0)
		checkLines(t, o, "open cam for a over fmp4", "cam add video h", "cam lost", "cam resumed", "cam/video chunk 0")

		next := r.Connect("cam", Peer{Addr: "b"})
		s = addTrack(t, next, "video", "h")
		write(t, s, 10)
		next.Pause(0)
		addTrack(t, next, "video", "h")
		checkLines(t, o, "cam connected b", "cam/video chunk 10", "cam lost", "cam resumed")
		if err := next.Close(nil); err != nil {
			t.Error(err)
		}
		checkLines(t, o, "cam/video close", "cam end")
		for line := range strings.Lines(log.String()) {
			if !strings.Contains(line, "session=sess_1") {
				t.Errorf("logged without the session: %s", line)
			}
		}
	})
}

func TestLimits(t *testing.T) {
	limits := Limits{MaxTracks: 1, MaxBitrate: 80_000, Takeover: TakeoverRefuse}
	bubble(t, Config{Limits: func(string) Limits { return limits }}, func(t *testing.T, r *Registry, o *fakeOpener) {
		c := r.Connect("cam", Peer{})
		s := addTrack(t, c, "video", "h")
		if _, err := c.AddTrack("audio", header("h")); !errors.Is(err, ErrTooManyTracks) {
			t.Errorf("a second track: %v, want ErrTooManyTracks", err)
		}
		if _, err := r.Connect("cam", Peer{}).AddTrack("video", header("h")); !errors.Is(err, ErrBusy) {
			t.Errorf("a second connection: %v, want ErrBusy", err)
		}
		c.Pause(0)
		c = r.Connect("cam", Peer{}) // nobody has it now
		s = addTrack(t, c, "video", "h")

		heavy := func(dts int64, n int) error {
			return s.WriteChunk(cmaf.Chunk{DecodeTime: dts, Samples: []cmaf.Sample{{Duration: 10, Size: uint32(n)}}, Data: make([]byte, n)})
		}
		if err := heavy(0, 40_000); err != nil { // 4 s at once
			t.Errorf("the burst of an encoder that begins: %v", err)
		}
		for i := range int64(20) {
			time.Sleep(time.Second)
			if err := heavy(10*(i+1), 10_000); err != nil {
				t.Fatalf("at the highest bitrate: %v", err)
			}
		}
		if err := heavy(300, 10_000); !errors.Is(err, ErrBitrate) {
			t.Errorf("above it: %v, want ErrBitrate", err)
		}
		if err := heavy(310, 1); !errors.Is(err, ErrBitrate) {
			t.Errorf("after that: %v, want ErrBitrate", err)
		}
		if list := r.Sessions(); len(list) != 0 {
			t.Errorf("Sessions = %+v, want none", list)
		}
	})
}
