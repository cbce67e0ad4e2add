package ingest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// sourceFunc makes a function a Source.
type sourceFunc func(context.Context, cmaf.Broadcast) error

func (f sourceFunc) Run(ctx context.Context, b cmaf.Broadcast) error { return f(ctx, b) }

// fileWithFragments reads 20 s of two tracks, four seconds of one ahead of four
// seconds of the other.
func fileWithFragments(t *testing.T, read *time.Duration) Source {
	return sourceFunc(func(_ context.Context, b cmaf.Broadcast) error {
		began := time.Now()
		var sinks []cmaf.Sink
		for _, name := range []string{"video", "audio"} {
			s, err := b.AddTrack(name, header("h"))
			if err != nil {
				return err
			}
			sinks = append(sinks, s)
		}
		for frag := range 5 {
			for _, s := range sinks {
				for i := range 4 {
					if err := s.WriteChunk(second(int64(10 * (100 + 4*frag + i)))); err != nil {
						return err
					}
				}
			}
		}
		*read = time.Since(began)
		for _, s := range sinks {
			if err := s.Close(); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &fakeOpener{}
		b, _ := o.Open(t.Context(), "f", Peer{})
		began := time.Now()
		var read time.Duration
		at := map[string]time.Duration{}
		done := make(chan error, 1)
		go func() { done <- Paced(fileWithFragments(t, &read)).Run(t.Context(), b) }()
		var lines []string
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for range 25 {
			synctest.Wait()
			for _, l := range o.take() {
				at[l] = time.Since(began)
				lines = append(lines, l)
			}
			<-tick.C
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		for line, want := range map[string]time.Duration{
			"f/video chunk 1000": 0, "f/audio chunk 1000": 0, "f/video chunk 1030": 3 * time.Second,
			"f/audio chunk 1030": 3 * time.Second, "f/video chunk 1190": 19 * time.Second, "f/audio chunk 1190": 19 * time.Second,
		} {
			if got, ok := at[line]; !ok || got != want {
				t.Errorf("%s came after %v (%t), want %v", line, got, ok, want)
			}
		}
		if n := len(lines); n < 2 || !slices.Equal(lines[n-2:], []string{"f/video close", "f/audio close"}) {
			t.Errorf("the end was %q", lines)
		}
		if read < 9*time.Second || read > 11*time.Second {
			t.Errorf("20 s were read within %v, want about 10 s ahead", read)
		}
	})
}

func TestPacedEnds(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name string
		src  sourceFunc
		want error
	}{
		{"the reader fails", func(context.Context, cmaf.Broadcast) error { return boom }, boom},
		{"the reader waits for ever", func(ctx context.Context, _ cmaf.Broadcast) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}, context.DeadlineExceeded},
		{"chunks far in the future", func(ctx context.Context, b cmaf.Broadcast) error {
			s, err := b.AddTrack("video", header("h"))
			if err != nil {
				return err
			}
			for i := range int64(100) {
				if err := s.WriteChunk(second(i * 1000)); err != nil {
					return err
				}
			}
			return nil
		}, context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := (&fakeOpener{}).Open(t.Context(), "f", Peer{})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := Paced(tt.src).Run(ctx, b); !errors.Is(err, tt.want) {
					t.Errorf("Run = %v, want %v", err, tt.want)
				}
			})
		})
	}
}

func TestPacedDiscontinuityGoesOnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &fakeOpener{}
		b, _ := o.Open(t.Context(), "f", Peer{})
		began := time.Now()
		err := Paced(sourceFunc(func(_ context.Context, b cmaf.Broadcast) error {
			s, err := b.AddTrack("video", header("h"))
			if err != nil {
				return err
			}
			if err := s.WriteChunk(second(0)); err != nil {
				return err
			}
			b.Anchor(cmaf.Time{}, time.Time{})
			b.Discontinuity("jump")
			return s.WriteChunk(second(1 << 40))
		})).Run(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		checkLines(t, o, "open f", "f add video h", "f/video chunk 0", "f discontinuity", "f/video chunk 1099511627776")
		if d := time.Since(began); d != 0 {
			t.Errorf("it took %v, want no time", d)
		}
	})
}
