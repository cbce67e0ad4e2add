package publisher

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"pgregory.net/rapid"
)

// feed is one call of a scripted input: a chunk of a track, or a word.
type feed struct {
	do    string // "v", "a": a chunk; "jump", "close v", "open v", "cut v", "wait"
	dts   int64  // ms
	dur   int64
	rap   bool
	delay int64 // composition offset, ms
}

// place runs feeds through a grouper and returns "v0@5 a20@5 …": the track, its
// decode time and the group.
func place(g *grouper, feeds []feed) []string {
	v := &groupTrack{kind: cmaf.KindVideo, scale: 1000}
	a := &groupTrack{kind: cmaf.KindAudio, scale: 1000}
	names := map[*groupTrack]string{v: "v", a: "a"}
	tracks := map[byte]*groupTrack{'v': v, 'a': a}
	added := map[*groupTrack]bool{}
	now := time.Unix(0, 0)
	var out []string
	take := func() {
		for _, p := range g.take() {
			out = append(out, fmt.Sprintf("%s%d@%d", names[p.track], p.chunk.DecodeTime, p.group))
		}
	}
	for _, f := range feeds {
		t := tracks[f.do[len(f.do)-1]]
		if t != nil && !added[t] {
			added[t] = true
			g.add(t)
		}
		switch f.do {
		case "jump":
			g.discontinuity()
		case "wait":
			now = now.Add(time.Duration(f.dur) * time.Millisecond)
			g.step(now)
		case "add v", "add a":
		case "close v", "close a":
			g.close(t)
		case "open v", "open a":
			g.reopen(t, false)
		case "cut v", "cut a":
			g.close(t)
			take()
			g.reopen(t, true)
		default:
			g.push(now, t, chunk(f.dts, f.dur, f.delay, f.rap))
		}
		take()
	}
	g.flush()
	take()
	return out
}

func chunk(dts, dur, delay int64, rap bool) cmaf.Chunk {
	flags := cmaf.FlagsNonSync
	if rap {
		flags = cmaf.FlagsSync
	}
	return cmaf.Chunk{
		DecodeTime: dts, RAP: rap, Data: []byte{1},
		Samples: []cmaf.Sample{{Duration: uint32(dur), Size: 1, Flags: flags, CompositionOffset: int32(delay)}},
	}
}

// video and audio return one feed of half a second.
func video(dts int64, rap bool) feed { return feed{do: "v", dts: dts, dur: 500, rap: rap} }
func audio(dts int64) feed           { return feed{do: "a", dts: dts, dur: 500, rap: true} }

func TestGrouper(t *testing.T) {
	for _, tt := range []struct {
		name   string
		d      time.Duration
		locked bool
		next   uint64
		feeds  []feed
		want   []string
	}{
		{
			name:  "a new broadcast starts at floor(PTS/D)",
			feeds: []feed{video(7_000, true), video(7_500, false), video(8_000, true), video(8_500, false)},
			want:  []string{"v7000@7", "v7500@7", "v8000@8", "v8500@8"},
		},
		{
			name:  "a restart goes on after the last group",
			next:  100,
			feeds: []feed{video(7_000, true), video(8_000, true)},
			want:  []string{"v7000@100", "v8000@101"},
		},
		{
			name:  "a restart later than that skips numbers",
			next:  5,
			feeds: []feed{video(7_000, true), video(8_000, true)},
			want:  []string{"v7000@7", "v8000@8"},
		},
		{
			name:  "short GOPs share a group, long ones take one number each",
			feeds: []feed{video(0, true), video(500, true), video(1_000, true), video(1_500, false), video(2_000, false), video(3_000, true)},
			want:  []string{"v0@0", "v500@0", "v1000@1", "v1500@1", "v2000@1", "v3000@2"},
		},
		{
			name: "PTS decides, not the decode time",
			feeds: []feed{
				{do: "v", dts: 900, dur: 100, rap: true, delay: 200},
				{do: "v", dts: 1_000, dur: 1_000, delay: 200},
			},
			want: []string{"v900@1", "v1000@1"},
		},
		{
			name:  "audio waits for video at the end of a group",
			feeds: []feed{video(0, true), audio(0), audio(500), audio(1_000), video(500, false), video(1_000, true), audio(1_500)},
			want:  []string{"v0@0", "a0@0", "a500@0", "v500@0", "v1000@1", "a1000@1", "a1500@1"},
		},
		{
			name:  "audio goes into the group that holds it",
			feeds: []feed{video(0, true), video(500, false), video(1_000, true), audio(0), audio(900), audio(1_400)},
			want:  []string{"v0@0", "v500@0", "v1000@1", "a0@0", "a900@0", "a1400@1"},
		},
		{
			name:  "nothing before the first random access point is dropped",
			feeds: []feed{{do: "add v"}, audio(100), video(0, false), audio(600), video(500, false), video(1_000, true), audio(1_100)},
			want:  []string{"v0@1", "v500@1", "a100@1", "a600@1", "v1000@1", "a1100@1"},
		},
		{
			name:  "audio alone is cut every D, on a grid that does not drift",
			feeds: []feed{audio(0), audio(500), {do: "a", dts: 1_030, dur: 500, rap: true}, {do: "a", dts: 1_530, dur: 500, rap: true}, {do: "a", dts: 2_010, dur: 500, rap: true}},
			want:  []string{"a0@0", "a500@0", "a1030@1", "a1530@1", "a2010@2"},
		},
		{
			name:  "video that never comes is not waited for",
			feeds: []feed{{do: "add v"}, audio(0), audio(500), audio(1_000), {do: "wait", dur: 2_000}, audio(1_500)},
			want:  []string{"a0@0", "a500@0", "a1000@1", "a1500@1"},
		},
		{
			name: "video that stops is waited for, not for ever, and may return",
			feeds: []feed{
				video(0, true), audio(0), audio(1_000),
				{do: "wait", dur: 2_000},
				audio(1_500), audio(2_000),
				video(500, false), video(2_200, true), video(3_200, true),
			},
			want: []string{"v0@0", "a0@0", "a1000@1", "a1500@1", "a2000@2", "v500@0", "v2200@2", "v3200@3"},
		},
		{
			name:  "a hole in media time skips numbers",
			feeds: []feed{video(0, true), video(500, false), video(60_000, true), video(60_500, false), video(61_000, true)},
			want:  []string{"v0@0", "v500@0", "v60000@60", "v60500@60", "v61000@61"},
		},
		{
			name:  "numbers that fell behind long GOPs catch up after a hole",
			feeds: []feed{{do: "v", dts: 0, dur: 2_000, rap: true}, {do: "v", dts: 2_000, dur: 2_000, rap: true}, {do: "v", dts: 8_000, dur: 2_000, rap: true}},
			want:  []string{"v0@0", "v2000@1", "v8000@8"},
		},
		{
			name:  "a discontinuity starts anew at the next random access point",
			feeds: []feed{video(0, true), audio(0), {do: "jump"}, audio(400), video(500, false), video(9_000, true)},
			want:  []string{"v0@0", "a0@0", "v500@9", "a400@9", "v9000@9"},
		},
		{
			name:  "a discontinuity places what waits",
			feeds: []feed{video(0, true), audio(1_200), {do: "jump"}, video(5_000, true)},
			want:  []string{"v0@0", "a1200@0", "v5000@5"},
		},
		{
			name:  "a new header of video starts a group at once",
			feeds: []feed{video(0, true), {do: "cut v"}, video(500, true), video(1_000, false), video(1_500, true)},
			want:  []string{"v0@0", "v500@1", "v1000@1", "v1500@2"},
		},
		{
			name:  "a new header of audio starts a group of its own",
			feeds: []feed{video(0, true), audio(0), {do: "cut a"}, audio(500), video(500, false), video(1_000, true), audio(1_000)},
			want:  []string{"v0@0", "a0@0", "a500@1", "v500@0", "v1000@1", "a1000@1"},
		},
		{
			name:  "a closed track does not hold up the others",
			feeds: []feed{video(0, true), {do: "close v"}, audio(0), audio(500), audio(1_000), audio(2_000)},
			want:  []string{"v0@0", "a0@0", "a500@0", "a1000@1", "a2000@2"},
		},
		{
			name:   "UTC-locked publishers agree whenever they started",
			d:      2 * time.Second,
			locked: true,
			feeds:  []feed{video(6_000, true), audio(6_000), video(7_000, true), video(8_000, true), audio(8_000), video(12_000, true)},
			want:   []string{"v6000@3", "a6000@3", "v7000@3", "v8000@4", "a8000@4", "v12000@6"},
		},
		{
			name:   "UTC-locked, started later",
			d:      2 * time.Second,
			locked: true,
			feeds:  []feed{video(7_000, true), video(8_000, true), audio(8_000), video(12_000, true)},
			want:   []string{"v7000@3", "v8000@4", "a8000@4", "v12000@6"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.d == 0 {
				tt.d = time.Second
			}
			if got := place(newGrouper(tt.d, tt.locked, tt.next), tt.feeds); !slices.Equal(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
}

func TestGrouperAlignsRenditions(t *testing.T) {
	// 29.97 frames a second; the same instant is not a whole tick in both.
	g := newGrouper(time.Second, false, 0)
	low := &groupTrack{kind: cmaf.KindVideo, scale: 30_000}
	high := &groupTrack{kind: cmaf.KindVideo, scale: 12_800}
	g.add(low)
	g.add(high)
	starts := map[*groupTrack]map[uint64]int{low: {}, high: {}}
	note := func(frame int, t *groupTrack) {
		for _, p := range g.take() {
			if _, ok := starts[p.track][p.group]; !ok {
				starts[p.track][p.group] = int(p.chunk.DecodeTime * 30_000 / int64(p.track.scale) / 1000)
			}
		}
	}
	for frame := range 300 {
		rap := frame%30 == 0
		// The rendition that does not decide comes first.
		g.push(time.Unix(0, 0), high, chunk(int64(frame)*1001*12_800/30_000, 427, 0, rap))
		note(frame, high)
		g.push(time.Unix(0, 0), low, chunk(int64(frame)*1001, 1001, 0, rap))
		note(frame, low)
	}
	if len(starts[low]) != 10 {
		t.Errorf("%d groups, want 10", len(starts[low]))
	}
	for group, at := range starts[low] {
		if d := starts[high][group] - at; d < -1 || d > 1 {
			t.Errorf("group %d starts at frame %d of one rendition and %d of the other", group, at, starts[high][group])
		}
	}
}

func TestGrouperBounds(t *testing.T) {
	g := newGrouper(time.Second, false, 0)
	v, a := &groupTrack{kind: cmaf.KindVideo, scale: 1000}, &groupTrack{kind: cmaf.KindAudio, scale: 1000}
	g.add(v)
	g.add(a)
	now := time.Unix(0, 0)
	held := func() (n int) {
		for i := range a.held {
			n += len(a.held[i].chunk.Data)
		}
		return n
	}
	c := chunk(0, 1, 0, true)
	c.Data = make([]byte, 1<<20)
	for i := range 100 { // bytes
		c.DecodeTime = int64(i)
		g.push(now, a, c)
		if held() > maxHoldBytes+1<<20 {
			t.Fatalf("%d bytes held", held())
		}
	}
	g.take()
	g.discontinuity()
	for i := range 100 { // media time
		g.push(now, a, chunk(int64(1000+i*500), 500, 0, true))
		if n := len(a.held); n > 22 {
			t.Fatalf("%d chunks of 500 ms held", n)
		}
	}
}

func TestFloorGroup(t *testing.T) {
	for _, tt := range []struct {
		name string
		pts  cmaf.Time
		d    time.Duration
		want uint64
	}{
		{"exact", cmaf.Time{Ticks: 180_000, Scale: 90_000}, time.Second, 2},
		{"just below", cmaf.Time{Ticks: 179_999, Scale: 90_000}, time.Second, 1},
		{"29.97 fps, GOP of 60", cmaf.Time{Ticks: 60_060 * 7, Scale: 30_000}, 2002 * time.Millisecond, 7},
		{"below zero", cmaf.Time{Ticks: -1, Scale: 90_000}, time.Second, 0},
		{"today at 10 MHz", cmaf.Time{Ticks: 1_795_190_400 * 10_000_000, Scale: 10_000_000}, time.Second, 1_795_190_400},
		{"beyond every clock", cmaf.Time{Ticks: 1<<63 - 1, Scale: 1}, time.Second, 9_223_372_036},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := floorGroup(tt.pts, tt.d); got != tt.want {
				t.Errorf("floorGroup(%v, %v) = %d, want %d", tt.pts, tt.d, got, tt.want)
			}
		})
	}
}

// Whatever the interleaving, nothing is dropped, order is kept, groups rise,
// and a chunk lies in the group whose span holds it.
func TestGrouperProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gop := rapid.IntRange(1, 90).Draw(t, "gop")
		frames := rapid.IntRange(1, 400).Draw(t, "frames")
		firstRAP := rapid.IntRange(0, min(gop, 40)-1).Draw(t, "first RAP")
		skew := rapid.IntRange(-500, 500).Draw(t, "audio starts later by ms")
		base := int64(rapid.IntRange(1_000, 1_000_000).Draw(t, "base ms"))
		g := newGrouper(time.Second, rapid.Bool().Draw(t, "locked"), uint64(rapid.IntRange(0, 2000).Draw(t, "next")))
		v, a := &groupTrack{kind: cmaf.KindVideo, scale: 30_000}, &groupTrack{kind: cmaf.KindAudio, scale: 48_000}
		g.add(v)
		g.add(a)
		var video, audio []cmaf.Chunk
		for i := range frames {
			video = append(video, chunk(base*30+int64(i)*1000, 1000, 2000, i >= firstRAP && (i-firstRAP)%gop == 0))
		}
		for i := range frames * 1600 / 1024 {
			audio = append(audio, chunk((base+int64(skew))*48+int64(i)*1024, 1024, 0, true))
		}
		got := map[*groupTrack][]placement{}
		now := time.Unix(0, 0)
		take := func() {
			for _, p := range g.take() {
				got[p.track] = append(got[p.track], p)
			}
		}
		for nv, na := 0, 0; nv < len(video) || na < len(audio); {
			if nv < len(video) && (na == len(audio) || rapid.Bool().Draw(t, "video next")) {
				g.push(now, v, video[nv])
				nv++
			} else {
				g.push(now, a, audio[na])
				na++
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "ms")) * time.Millisecond)
			take()
		}
		g.flush()
		take()
		check := func(name string, track *groupTrack, want []cmaf.Chunk) {
			if len(got[track]) != len(want) {
				t.Fatalf("%s: %d chunks of %d", name, len(got[track]), len(want))
			}
			for i, p := range got[track] {
				if p.chunk.DecodeTime != want[i].DecodeTime {
					t.Fatalf("%s: chunk %d is the one of %d", name, i, p.chunk.DecodeTime)
				}
				if i > 0 && p.group < got[track][i-1].group {
					t.Fatalf("%s: group %d after %d", name, p.group, got[track][i-1].group)
				}
			}
		}
		check("video", v, video)
		check("audio", a, audio)
		// Each video group but the first begins with a random access point.
		for i, p := range got[v] {
			if i > 0 && p.group != got[v][i-1].group && !p.chunk.RAP {
				t.Fatalf("video group %d begins without a random access point", p.group)
			}
		}
	})
}

// With an input that interleaves as encoders do, audio lies exactly in the
// groups that video spans.
func TestGrouperAudioAligned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gop := rapid.IntRange(25, 80).Draw(t, "gop")
		lead := rapid.IntRange(-300, 300).Draw(t, "audio ahead by ms")
		g := newGrouper(time.Second, false, 0)
		v, a := &groupTrack{kind: cmaf.KindVideo, scale: 30_000}, &groupTrack{kind: cmaf.KindAudio, scale: 48_000}
		g.add(v)
		g.add(a)
		type arrival struct {
			at    int64 // ms
			track *groupTrack
			c     cmaf.Chunk
		}
		var in []arrival
		for i := range 300 {
			c := chunk(30_000+int64(i)*1000, 1000, 0, i%gop == 0)
			in = append(in, arrival{c.DecodeTime / 30, v, c})
		}
		for i := range 468 {
			c := chunk(48_000+int64(i)*1024, 1024, 0, true)
			in = append(in, arrival{c.DecodeTime/48 - int64(lead), a, c})
		}
		slices.SortStableFunc(in, func(x, y arrival) int { return int(x.at - y.at) })
		starts := map[uint64]cmaf.Time{}
		var placed []placement
		for _, x := range in {
			g.push(time.UnixMilli(x.at), x.track, x.c)
			placed = append(placed, slices.Clone(g.take())...)
		}
		g.flush()
		placed = append(placed, g.take()...)
		for _, p := range placed {
			if _, ok := starts[p.group]; !ok && p.track == v {
				starts[p.group] = cmaf.Time{Ticks: p.chunk.PTS(), Scale: v.scale}
			}
		}
		for _, p := range placed {
			at := cmaf.Time{Ticks: p.chunk.PTS(), Scale: p.track.scale}
			if next, ok := starts[p.group+1]; ok && !at.Before(next) {
				t.Fatalf("audio at %v lies in group %d, whose successor starts at %v", at, p.group, next)
			}
			if start := starts[p.group]; at.Before(start) && p.group != placed[0].group {
				t.Fatalf("audio at %v lies in group %d, which starts at %v", at, p.group, start)
			}
		}
	})
}
