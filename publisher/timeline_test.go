package publisher

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"pgregory.net/rapid"
)

// A recordingBroadcast keeps what it is given, one line a call.
type recordingBroadcast struct {
	lines  []string
	chunks map[string][]cmaf.Chunk
	fail   error
}

func (b *recordingBroadcast) note(format string, args ...any) {
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}

func (b *recordingBroadcast) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	b.note("add %s", name)
	return recordingSink{b, name}, b.fail
}
func (b *recordingBroadcast) Event(e cmaf.Event) error { b.note("event %v", e.Time); return nil }
func (b *recordingBroadcast) Discontinuity(string)     { b.note("jump") }
func (b *recordingBroadcast) Anchor(m cmaf.Time, w time.Time) {
	b.note("anchor %v", w.Add(-m.Duration()).Sub(time.Unix(0, 0)))
}
func (b *recordingBroadcast) Close(error) error { b.note("end"); return nil }

type recordingSink struct {
	b    *recordingBroadcast
	name string
}

func (s recordingSink) WriteChunk(c cmaf.Chunk) error {
	s.b.note("%s %d", s.name, c.DecodeTime)
	if s.b.chunks == nil {
		s.b.chunks = map[string][]cmaf.Chunk{}
	}
	s.b.chunks[s.name] = append(s.b.chunks[s.name], c)
	return nil
}
func (s recordingSink) Close() error { s.b.note("close %s", s.name); return nil }

// without returns lines that do not start with prefix.
func without(lines []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.HasPrefix(l, prefix) })
}

func TestTimeline(t *testing.T) {
	// A step feeds one chunk of 500 ms to v or a, or does what the word says.
	type step struct {
		at  int64 // wall clock, ms
		do  string
		dts int64 // ms
	}
	for _, tt := range []struct {
		name  string
		after cmaf.Time
		steps []step
		want  []string // without anchors
	}{
		{
			"whole seconds to at most UTC",
			cmaf.Time{},
			[]step{{100_700, "v", 250}, {100_710, "a", 230}, {101_200, "v", 750}},
			[]string{"add v", "add a", "v 100250", "a 100230", "v 100750"},
		},
		{
			"times below zero",
			cmaf.Time{},
			[]step{{100_700, "v", -80}, {101_200, "v", 420}},
			[]string{"add v", "add a", "v 99920", "v 100420"},
		},
		{
			"times that are UTC stay",
			cmaf.Time{},
			[]step{{100_700, "v", 98_123}, {101_200, "v", 98_623}},
			[]string{"add v", "add a", "v 98123", "v 98623"},
		},
		{
			"a new connection rises",
			cmaf.Time{},
			[]step{{100_700, "v", 250}, {100_700, "a", 250}, {104_000, "jump", 0}, {104_200, "v", 0}, {104_200, "a", 20}, {104_700, "v", 500}},
			[]string{"add v", "add a", "v 100250", "a 100250", "jump", "v 104000", "a 104020", "v 104500"},
		},
		{
			"a new connection at once rises as well",
			cmaf.Time{},
			[]step{{100_000, "v", 0}, {100_001, "v", 500}, {100_002, "v", 1_000}, {100_100, "jump", 0}, {100_200, "v", 0}, {100_200, "a", 0}},
			[]string{"add v", "add a", "v 100000", "v 100500", "v 101000", "jump", "v 103000", "a 103000"},
		},
		{
			"a new connection by adding the tracks again",
			cmaf.Time{},
			[]step{{100_000, "v", 0}, {100_000, "a", 0}, {107_000, "add v", 0}, {107_000, "add a", 0}, {107_300, "a", 60}, {107_300, "v", 40}},
			[]string{"add v", "add a", "v 100000", "a 100000", "add v", "add a", "jump", "a 107060", "v 107040"},
		},
		{
			"closed and added again, times that go on: nothing to tell",
			cmaf.Time{},
			[]step{{100_000, "v", 0}, {100_500, "close v", 0}, {100_500, "add v", 0}, {100_500, "v", 500}},
			[]string{"add v", "add a", "v 100000", "close v", "add v", "v 100500"},
		},
		{
			"a jump back; the other track follows",
			cmaf.Time{},
			[]step{{100_000, "v", 5_000}, {100_000, "a", 5_000}, {100_500, "v", 0}, {100_500, "a", 5_500}, {101_000, "a", 0}, {101_000, "v", 500}},
			[]string{"add v", "add a", "v 100000", "a 100000", "jump", "v 102000", "a 100500", "a 102000", "v 102500"},
		},
		{
			"a jump that each track reports is one",
			cmaf.Time{},
			[]step{{100_000, "v", 5_000}, {100_000, "a", 5_000}, {101_000, "jump", 0}, {101_000, "v", 0}, {101_001, "jump", 0}, {101_002, "a", 20}, {101_500, "v", 500}},
			[]string{"add v", "add a", "v 100000", "a 100000", "jump", "v 101000", "a 101020", "v 101500"},
		},
		{
			"a jump ahead without time passing",
			cmaf.Time{},
			[]step{{100_000, "v", 0}, {100_500, "v", 60_000}, {101_000, "v", 60_500}},
			[]string{"add v", "add a", "v 100000", "jump", "v 102000", "v 102500"},
		},
		{
			"a pause of the source keeps UTC",
			cmaf.Time{},
			[]step{{100_000, "v", 0}, {160_000, "v", 60_000}},
			[]string{"add v", "add a", "v 100000", "jump", "v 160000"},
		},
		{
			"a track that says little may leave holes",
			cmaf.Time{},
			[]step{{100_000, "v", 0}, {100_000, "a", 0}, {109_000, "v", 9_000}, {118_000, "v", 18_000}, {118_000, "a", 18_000}},
			[]string{"add v", "add a", "v 100000", "a 100000", "v 109000", "v 118000", "a 118000"},
		},
		{
			"a track that starts too early moves all up",
			cmaf.Time{},
			[]step{{100_000, "v", 0}, {100_000, "a", 0}, {100_000, "a", 500}, {100_900, "jump", 0}, {100_900, "v", 600}, {100_900, "a", 100}, {101_400, "v", 1_100}, {101_400, "a", 600}},
			[]string{"add v", "add a", "v 100000", "a 100000", "a 100500", "jump", "v 102600", "a 102100", "v 103100", "a 102600"},
		},
		{
			"and that much too early",
			cmaf.Time{},
			[]step{{100_000, "v", 0}, {100_000, "a", 0}, {100_000, "a", 500}, {100_900, "jump", 0}, {100_900, "v", 2_600}, {100_900, "a", 100}, {101_400, "v", 3_100}, {101_400, "a", 600}},
			[]string{"add v", "add a", "v 100000", "a 100000", "a 100500", "jump", "v 102600", "jump", "a 101100", "v 104100", "a 101600"},
		},
		{
			"after an earlier run",
			cmaf.Time{Ticks: 500_000, Scale: 1000},
			[]step{{100_000, "v", 100}},
			[]string{"add v", "add a", "v 501100"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var now time.Time
			out := &recordingBroadcast{}
			tl := NewTimeline(out, TimelineConfig{Now: func() time.Time { return now }, After: tt.after})
			sinks := map[string]cmaf.Sink{}
			add := func(name string) {
				s, err := tl.AddTrack(name, cmaf.Header{Timescale: 1000})
				if err != nil {
					t.Fatal(err)
				}
				sinks[name] = s
			}
			add("v")
			add("a")
			for _, s := range tt.steps {
				now = time.UnixMilli(s.at)
				switch s.do {
				case "jump":
					tl.Discontinuity("test")
				case "add v", "add a":
					add(s.do[4:])
				case "close v":
					sinks["v"].Close()
				default:
					if err := sinks[s.do].WriteChunk(chunk(s.dts, 500, 0, true)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := without(out.lines, "anchor"); !slices.Equal(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
}

func TestTimelineReplaced(t *testing.T) {
	out := &recordingBroadcast{}
	tl := NewTimeline(out, TimelineConfig{})
	old, _ := tl.AddTrack("v", cmaf.Header{Timescale: 1000})
	if err := old.WriteChunk(chunk(0, 500, 0, true)); err != nil {
		t.Fatal(err)
	}
	if _, err := tl.AddTrack("v", cmaf.Header{Timescale: 1000}); err != nil {
		t.Fatal(err)
	}
	if err := old.WriteChunk(chunk(500, 500, 0, true)); !errors.Is(err, ErrReplaced) {
		t.Errorf("old Sink: %v, want ErrReplaced", err)
	}
	if err := old.Close(); err != nil || slices.Contains(out.lines, "close v") {
		t.Errorf("closing the old Sink (%v) closed the new one: %v", err, out.lines)
	}
	for i := range maxTracks - 1 {
		if _, err := tl.AddTrack(fmt.Sprint(i), cmaf.Header{Timescale: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tl.AddTrack("more", cmaf.Header{Timescale: 1}); !errors.Is(err, ErrTooManyTracks) {
		t.Errorf("track %d: %v, want ErrTooManyTracks", maxTracks+1, err)
	}
}

// Differences between the times of one connection are exact in every
// timescale, and times rise across connections.
func TestTimelineProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_795_190_400, 0)
		out := &recordingBroadcast{}
		tl := NewTimeline(out, TimelineConfig{Now: func() time.Time { return now }})
		scales := []uint32{90_000, 48_000, 12_800, 1000, 10_000_000, 30_000, 44_100}
		v := rapid.SampledFrom(scales).Draw(t, "video scale")
		a := rapid.SampledFrom(scales).Draw(t, "audio scale")
		for range rapid.IntRange(1, 5).Draw(t, "connections") {
			vs, err := tl.AddTrack("v", cmaf.Header{Timescale: v})
			if err != nil {
				t.Fatal(err)
			}
			as, err := tl.AddTrack("a", cmaf.Header{Timescale: a})
			if err != nil {
				t.Fatal(err)
			}
			start := rapid.Int64Range(-int64(v), 100*int64(v)).Draw(t, "start")
			skew := rapid.Int64Range(0, int64(a)/2).Draw(t, "skew")
			before := len(out.chunks["v"])
			beforeA := len(out.chunks["a"])
			n := rapid.IntRange(1, 20).Draw(t, "chunks")
			for i := range n {
				dts := start + int64(i)*int64(v)/25
				if err := vs.WriteChunk(chunk(dts, int64(v)/25, 0, true)); err != nil {
					t.Fatal(err)
				}
				adts := cmaf.Time{Ticks: start, Scale: v}.In(a).Ticks + skew + int64(i)*int64(a)/25
				if err := as.WriteChunk(chunk(adts, int64(a)/25, 0, true)); err != nil {
					t.Fatal(err)
				}
				now = now.Add(time.Duration(rapid.IntRange(0, 80).Draw(t, "ms")) * time.Millisecond)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "outage ms")) * time.Millisecond)
			got := out.chunks["v"][before:]
			shift := got[0].DecodeTime - start
			if shift%int64(v) != 0 {
				t.Fatalf("moved by %d ticks of 1/%d s, no whole seconds", shift, v)
			}
			gotA := out.chunks["a"][beforeA:]
			want := cmaf.Time{Ticks: start, Scale: v}.In(a).Ticks + skew + shift/int64(v)*int64(a)
			if gotA[0].DecodeTime != want {
				t.Fatalf("audio at %d, want %d: out of sync", gotA[0].DecodeTime, want)
			}
		}
		for name, chunks := range out.chunks {
			for i := 1; i < len(chunks); i++ {
				if chunks[i].DecodeTime < chunks[i-1].DecodeTime {
					t.Fatalf("%s: %d after %d", name, chunks[i].DecodeTime, chunks[i-1].DecodeTime)
				}
			}
		}
	})
}

func TestAnchor(t *testing.T) {
	ms := func(n int64) cmaf.Time { return cmaf.Time{Ticks: n, Scale: 1000} }
	t.Run("the earliest arrival at the start", func(t *testing.T) {
		var a anchor
		a.restart(time.UnixMilli(10_000))
		a.arrival(ms(9_000), time.UnixMilli(10_000))
		a.arrival(ms(9_800), time.UnixMilli(10_001)) // a burst: 800 ms of media at once
		if a.rem != 201*time.Millisecond {
			t.Errorf("remainder %v, want 201ms", a.rem)
		}
	})
	t.Run("later arrivals move it slowly", func(t *testing.T) {
		var a anchor
		a.restart(time.UnixMilli(0))
		a.arrival(ms(0), time.UnixMilli(100))
		for i := int64(1); i <= 100; i++ { // ten seconds, all half a second late
			a.arrival(ms(100*i), time.UnixMilli(600+100*i))
		}
		if a.rem != 101*time.Millisecond {
			t.Errorf("remainder %v after 10 s, want 101ms", a.rem)
		}
		for i := int64(1); i <= 100; i++ { // then all 100 ms early
			a.arrival(ms(10_000+100*i), time.UnixMilli(10_000+100*i))
		}
		if a.rem != time.Millisecond {
			t.Errorf("remainder %v after 10 s more, want 1ms", a.rem)
		}
	})
	t.Run("the input's word counts", func(t *testing.T) {
		var a anchor
		a.restart(time.UnixMilli(0))
		a.state(ms(1_000), time.UnixMilli(1_050))
		a.arrival(ms(1_000), time.UnixMilli(1_010))
		if a.rem != 50*time.Millisecond {
			t.Errorf("remainder %v, want 50ms", a.rem)
		}
		a.state(ms(2_000), time.UnixMilli(3_000)) // a step of the input's clock
		if a.rem != 60*time.Millisecond {
			t.Errorf("remainder %v after a second, want 60ms: slewed, not stepped", a.rem)
		}
	})
	t.Run("told at first, then when it has moved", func(t *testing.T) {
		var a anchor
		a.restart(time.UnixMilli(0))
		a.arrival(ms(0), time.UnixMilli(300))
		if at, ok := a.due(ms(0)); !ok || !at.Equal(time.UnixMilli(300)) {
			t.Errorf("due at first: %v, %t", at, ok)
		}
		if _, ok := a.due(ms(10_000)); ok {
			t.Error("due though it has not moved")
		}
		a.state(ms(11_000), time.UnixMilli(11_000))
		if at, ok := a.due(ms(11_000)); !ok || !at.Equal(time.UnixMilli(11_190)) {
			t.Errorf("due after it moved: %v, %t", at, ok)
		}
	})
}

func TestTimelineAnchor(t *testing.T) {
	now := time.UnixMilli(100_700)
	out := &recordingBroadcast{}
	tl := NewTimeline(out, TimelineConfig{Now: func() time.Time { return now }})
	v, _ := tl.AddTrack("v", cmaf.Header{Timescale: 1000})
	tl.Anchor(cmaf.Time{Ticks: 0, Scale: 1000}, time.UnixMilli(100_400)) // before any chunk
	if err := v.WriteChunk(chunk(0, 500, 0, true)); err != nil {
		t.Fatal(err)
	}
	if err := tl.Event(cmaf.Event{Time: cmaf.Time{Ticks: 2, Scale: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := tl.Close(nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"add v", "anchor 400ms", "v 100000", "event 102/1", "end"}
	if !slices.Equal(out.lines, want) {
		t.Errorf("got  %v\nwant %v", out.lines, want)
	}
}
