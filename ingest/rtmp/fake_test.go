package rtmp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/cmaf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeBroadcast notes what it is told, a line a call, the samples of one
// track in a row together: "video 0+3000* 3000+3000" are decode time and
// duration, a star marks a random access point, "@" presentation times that
// differ.
type fakeBroadcast struct {
	lines []string
	bytes int
}

func (b *fakeBroadcast) note(format string, args ...any) {
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}

func (b *fakeBroadcast) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	b.note("add %s %s", name, h.Codec)
	return &fakeSink{b, name, h.Kind}, nil
}

func (b *fakeBroadcast) Event(e cmaf.Event) error {
	b.note("event %s %q %v %q", e.Scheme, e.Value, e.Time, e.Payload)
	return nil
}
func (b *fakeBroadcast) Discontinuity(reason string) { b.note("jump: %s", reason) }
func (b *fakeBroadcast) Anchor(cmaf.Time, time.Time) {}
func (b *fakeBroadcast) Close(error) error           { return nil }
func (b *fakeBroadcast) String() string              { return strings.Join(b.lines, "\n") }

type fakeSink struct {
	b    *fakeBroadcast
	name string
	kind cmaf.Kind
}

func (s *fakeSink) WriteChunk(c cmaf.Chunk) error {
	s.b.bytes += len(c.Data)
	text := fmt.Sprintf(" %d+%d", c.DecodeTime, c.Samples[0].Duration)
	if off := c.Samples[0].CompositionOffset; off != 0 {
		text += fmt.Sprintf("@%d", off)
	}
	if c.RAP && s.kind == cmaf.KindVideo {
		text += "*"
	}
	if n := len(s.b.lines) - 1; n >= 0 && (s.b.lines[n] == s.name || strings.HasPrefix(s.b.lines[n], s.name+" ")) {
		s.b.lines[n] += text
		return nil
	}
	s.b.lines = append(s.b.lines, s.name+text)
	return nil
}

func (s *fakeSink) Close() error { s.b.note("close %s", s.name); return nil }
