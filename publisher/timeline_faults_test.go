package publisher

import (
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// clockFaults is a broadcast that holds times to what a Timeline promises.
type clockFaults struct {
	t     *testing.T
	jumps int
	end   int64
	n     int
}

func (b *clockFaults) AddTrack(string, cmaf.Header) (cmaf.Sink, error) { return faultSink{b}, nil }
func (b *clockFaults) Event(cmaf.Event) error                          { return nil }
func (b *clockFaults) Discontinuity(string)                            { b.jumps++ }
func (b *clockFaults) Anchor(cmaf.Time, time.Time)                     {}
func (b *clockFaults) Close(error) error                               { return nil }
func (b faultSink) WriteChunk(c cmaf.Chunk) error {
	if b.n++; b.n > 1 && c.DecodeTime < b.end {
		b.t.Errorf("chunk %d begins at %d, before %d where the last one ended", b.n, c.DecodeTime, b.end)
	}
	b.end = c.End()
	return nil
}

type faultSink struct{ *clockFaults }

func (faultSink) Close() error { return nil }

// Whatever an input's clock does, times only rise, no chunk is lost, and what was
// a jump shows as one.
func TestTimelineClockFaults(t *testing.T) {
	const second, hour = int64(90_000), int64(90_000 * 3600)
	for _, tt := range []struct {
		name  string
		start int64             // ticks
		step  func(i int) int64 // added ahead of chunk i
		n     int
		jumps int
	}{
		{"none", 0, func(int) int64 { return 0 }, 60, 0},
		{"an hour ahead", 0, at(30, hour), 60, 1},
		{"an hour back", 5 * hour, at(30, -hour), 60, 1},
		{"25 h from the start", 25 * hour, func(int) int64 { return 0 }, 60, 0},
		{"32 bits wrap", 1<<32 - 30*second, at(30, -1<<32), 60, 1},
		{"33 bits wrap", 1<<33 - 30*second, at(30, -1<<33), 60, 1},
		{"a clock 100 ppm fast, for an hour", 0, func(int) int64 { return 9 }, 3600, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1_700_000_000, 0)
			out := &clockFaults{t: t}
			line := NewTimeline(out, TimelineConfig{Now: func() time.Time { return now }})
			s, err := line.AddTrack("video", cmaf.Header{Kind: cmaf.KindVideo, Timescale: uint32(second)})
			if err != nil {
				t.Fatal(err)
			}
			dts := tt.start
			for i := range tt.n {
				dts += tt.step(i)
				c := cmaf.Chunk{DecodeTime: dts, Samples: []cmaf.Sample{{Duration: uint32(second), Size: 1}}, Data: []byte{0}, RAP: true}
				if err := s.WriteChunk(c); err != nil {
					t.Fatal(err)
				}
				dts += second
				now = now.Add(time.Second)
			}
			if out.jumps != tt.jumps || out.n != tt.n {
				t.Errorf("%d jumps and %d chunks, want %d and %d", out.jumps, out.n, tt.jumps, tt.n)
			}
		})
	}
}

func at(i int, step int64) func(int) int64 {
	return func(j int) int64 {
		if i == j {
			return step
		}
		return 0
	}
}
