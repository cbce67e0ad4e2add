package publisher

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/internal/golden"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// realHeaders are the headers of a fixture's tracks, by name.
func realHeaders(t testing.TB, name string) map[string]cmaf.Header {
	t.Helper()
	h := headerBroadcast{}
	fixture(t, name, h)
	return h
}

type headerBroadcast map[string]cmaf.Header

func (b headerBroadcast) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	b[name] = h
	return nullSink{}, nil
}
func (headerBroadcast) Event(cmaf.Event) error      { return nil }
func (headerBroadcast) Discontinuity(string)        {}
func (headerBroadcast) Anchor(cmaf.Time, time.Time) {}
func (headerBroadcast) Close(error) error           { return nil }

type nullSink struct{}

func (nullSink) WriteChunk(cmaf.Chunk) error { return nil }
func (nullSink) Close() error                { return nil }

// dump writes the subgroups of a track as they are on the wire behind their
// headers.
func dump(tr *track.Track) []byte {
	var b bytes.Buffer
	subgroups, _ := tr.Since(0)
	for _, s := range subgroups {
		state, _ := s.State()
		fmt.Fprintf(&b, "%+v %v\n", s.Header(), state)
		d := hex.Dumper(&b)
		for off := int64(0); off < s.Committed(); {
			piece := s.Bytes(off, 1<<20)
			d.Write(piece)
			off += int64(len(piece))
		}
		d.Close()
	}
	return b.Bytes()
}

func TestSingleTrackBytes(t *testing.T) {
	h := realHeaders(t, "keyframe.mp4")
	p := newPublisher(t, Config{})
	single := mustTrack(t, p, SingleTrack)
	v, a := addTrack(t, p, "video", h["video"]), addTrack(t, p, "audio", h["audio"])
	vs, as := int64(h["video"].Timescale), int64(h["audio"].Timescale)
	picture := func(at int64, data string, rap bool) cmaf.Chunk {
		c := chunk(at, vs/2, 0, rap)
		c.Data, c.Samples[0].Size = []byte(data), uint32(len(data))
		return c
	}
	write(t, v, picture(5*vs, "key picture", true))
	write(t, a, chunk(5*as, as/2, 0, true))
	write(t, v, picture(5*vs+vs/2, "another", false), picture(8*vs, "next key picture", true))
	write(t, a, chunk(8*as, as/2, 0, true))
	if err := p.Close(nil); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "single.golden", dump(single))
}

// singleGroups lists the groups of a track with an init object: "7:vav" is
// group 7 with its init object and chunks of the tracks 1, 2 and 1.
func singleGroups(t testing.TB, tr *track.Track) (out []string) {
	t.Helper()
	subgroups, _ := tr.Since(0)
	ids := map[uint64]uint64{} // next object of each group
	for _, s := range subgroups {
		h := s.Header()
		if want := uint8(h.Subgroup); tr.Name().Name == SingleTrack && s.Priority() != want {
			t.Errorf("subgroup %d has priority %d, want %d", h.Subgroup, s.Priority(), want)
		}
		if !h.FirstObject || h.EndOfGroup != (h.Subgroup == 1) {
			t.Errorf("header %+v", h)
		}
		if h.Subgroup == 0 {
			out = append(out, fmt.Sprintf("%d:", h.Group))
		}
		for i := range s.Objects() {
			o, ok := s.Load(i)
			if !ok || o.ID != ids[h.Group] {
				t.Fatalf("object %d of group %d, want %d", o.ID, h.Group, ids[h.Group])
			}
			ids[h.Group]++
			if h.Subgroup == 0 {
				if kind := string(o.Payload[4:8]); kind != "ftyp" || s.Objects() != 1 {
					t.Errorf("group %d opens with %q and has %d init objects", h.Group, kind, s.Objects())
				}
				continue
			}
			moof := bytes.Index(o.Payload, []byte("tfhd"))
			out[len(out)-1] += string("?va3456789"[o.Payload[moof+11]])
		}
		if state, _ := s.State(); state == track.Open {
			out[len(out)-1] += "…"
		}
	}
	return out
}

// demuxed returns the chunks in the objects of a single track, in order, group
// by group, as a byte stream.
func demuxed(t testing.TB, tr *track.Track) *recordingBroadcast {
	t.Helper()
	out := &recordingBroadcast{}
	d := cmaf.NewDemuxer(out, cmaf.DemuxerConfig{})
	for o := range objects(tr, 0) {
		if _, err := d.Write(o.Payload); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSingleTrackHasEverything(t *testing.T) {
	for _, name := range []string{"keyframe.mp4", "everyframe.mp4", "cmaf.mp4", "dash.mp4", "audio.mp4", "hevc.mp4", "tracks.mp4"} {
		t.Run(name, func(t *testing.T) {
			c := &clock{time.Unix(1_795_190_400, 0)}
			now := func() time.Time { return c.now }
			want := &recordingBroadcast{}
			fixture(t, name, NewTimeline(want, TimelineConfig{Now: now}))
			p := newPublisher(t, Config{Now: now})
			single := mustTrack(t, p, SingleTrack)
			fixture(t, name, NewTimeline(p, TimelineConfig{Now: now}))
			if err := p.Close(nil); err != nil {
				t.Fatal(err)
			}
			singleGroups(t, single)
			got := demuxed(t, single)
			if len(got.chunks) != len(want.chunks) || len(want.chunks) == 0 {
				t.Fatalf("%d tracks, want %d", len(got.chunks), len(want.chunks))
			}
			for name, chunks := range want.chunks {
				same := slices.EqualFunc(got.chunks[name], chunks, func(a, b cmaf.Chunk) bool {
					return a.DecodeTime == b.DecodeTime && slices.Equal(a.Samples, b.Samples) && bytes.Equal(a.Data, b.Data)
				})
				if !same {
					t.Errorf("%s: %d chunks differ from the %d that were written", name, len(got.chunks[name]), len(chunks))
				}
			}
			for o := range objects(single, 0) {
				scale, _ := o.Properties.Uint(track.PropTimescale)
				at, ok := o.Properties.Uint(track.PropTimestamp)
				if least := uint64(1_795_190_300_000_000); !ok || scale != 1_000_000 || at < least {
					t.Fatalf("object %v has the time %d/%d", o.Location(), at, scale)
				}
			}
			if _, _, ended := single.Ended(); !ended {
				t.Error("the track goes on")
			}
		})
	}
}

// seconds writes seconds from…to of video (two pictures each) and audio.
func seconds(t testing.TB, v, a cmaf.Sink, from, to int64) {
	t.Helper()
	for i := from; i < to; i++ {
		write(t, v, chunk(i*1000, 500, 0, true))
		write(t, a, chunk(i*1000, 500, 0, true))
		write(t, v, chunk(i*1000+500, 500, 0, false))
		write(t, a, chunk(i*1000+500, 500, 0, true))
	}
}

// pair adds a video and an audio track with real headers whose timescale is
// 1000.
func pair(t testing.TB, p *Publisher) (v, a cmaf.Sink) {
	t.Helper()
	h := realHeaders(t, "keyframe.mp4")
	hv, ha := h["video"], h["audio"]
	hv.Timescale, ha.Timescale = 1000, 1000
	return addTrack(t, p, "video", hv), addTrack(t, p, "audio", ha)
}

// Whoever asks in the middle gets the current group whole, and what follows.
func TestViewBeginsWithTheCurrentGroup(t *testing.T) {
	p := newPublisher(t, Config{})
	v, a := pair(t, p)
	seconds(t, v, a, 0, 3)
	write(t, v, chunk(3000, 500, 0, true)) // the group that is current
	write(t, a, chunk(3000, 500, 0, true))
	single := mustTrack(t, p, SingleTrack)
	video, audio := mustTrack(t, p, "init/video"), mustTrack(t, p, "init/audio")
	if single != mustTrack(t, p, SingleTrack) || video != mustTrack(t, p, "init/video") {
		t.Error("a view that was asked for twice is two")
	}
	write(t, v, chunk(3500, 500, 0, false), chunk(4000, 500, 0, true))
	write(t, a, chunk(3500, 500, 0, true), chunk(4000, 500, 0, true))
	for _, tt := range []struct {
		tr   *track.Track
		want []string
	}{
		{single, []string{"3:vav", "4:vaa…"}},
		{video, []string{"3:vv", "4:v…"}},
		{audio, []string{"3:vv", "4:v…"}}, // it is track 1 of its own
	} {
		if got := singleGroups(t, tt.tr); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.tr.Name().Name, got, tt.want)
		}
	}
}

// The objects of an init view are those of the plain track.
func TestInitViewHasTheSameBytes(t *testing.T) {
	p := newPublisher(t, Config{})
	view := func() *track.Track { return mustTrack(t, p, "init/video") }
	v, a := pair(t, p)
	first := view()
	p.Anchor(cmaf.Time{Ticks: 0, Scale: 1000}, time.Unix(1_795_190_400, 0))
	seconds(t, v, a, 0, 4)
	if err := p.Close(nil); err != nil {
		t.Fatal(err)
	}
	plain := mustTrack(t, p, "video")
	if view() != first {
		t.Fatal("the view has changed")
	}
	next := map[uint64]uint64{}
	for o := range objects(first, 0) {
		if o.ID != next[o.Group] {
			t.Fatalf("object %v, want ID %d", o.Location(), next[o.Group])
		}
		next[o.Group]++
		want, priority := realHeaders(t, "keyframe.mp4")["video"].Init, uint8(0)
		if o.ID > 0 {
			priority = priorityVideo
			for q := range objects(plain, o.Group) {
				if q.Group == o.Group && q.ID == o.ID-1 {
					want = q.Payload
				}
			}
		}
		if !bytes.Equal(o.Payload, want) || o.Priority != priority {
			t.Errorf("object %v differs, or its priority %d is not %d", o.Location(), o.Priority, priority)
		}
	}
	if len(next) != 4 {
		t.Errorf("%d groups, want 4", len(next))
	}
}

func TestSingleTrackGroups(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, p *Publisher)
		want string
	}{
		{"a picture that is late for its audio", func(t *testing.T, p *Publisher) {
			v, a := pair(t, p)
			write(t, v, chunk(0, 1000, 0, true))
			write(t, a, chunk(0, 900, 0, true), chunk(900, 900, 0, true), chunk(1800, 100, 0, true))
			write(t, v, chunk(1000, 1000, 0, true))
			write(t, v, chunk(2000, 1000, 0, true))
		}, "0:vaa 1:va 2:v"},
		{"a discontinuity", func(t *testing.T, p *Publisher) {
			v, a := pair(t, p)
			seconds(t, v, a, 0, 1)
			p.Discontinuity("test")
			seconds(t, v, a, 20, 21)
		}, "0:vava 20:vava"},
		{"a new header in the middle", func(t *testing.T, p *Publisher) {
			v, a := pair(t, p)
			seconds(t, v, a, 0, 1)
			write(t, v, chunk(1000, 500, 0, true))
			write(t, a, chunk(1000, 200, 0, true))
			h := realHeaders(t, "opus.mp4")["audio"]
			h.Timescale = 1000
			a = addTrack(t, p, "audio", h)
			write(t, a, chunk(1200, 300, 0, true))
			write(t, v, chunk(1500, 500, 0, false))
			seconds(t, v, a, 2, 3)
		}, "0:vava 1:va 2:av 3:vava"},
		{"a track that comes later", func(t *testing.T, p *Publisher) {
			h := realHeaders(t, "keyframe.mp4")
			hv, ha := h["video"], h["audio"]
			hv.Timescale, ha.Timescale = 1000, 1000
			v := addTrack(t, p, "video", hv)
			write(t, v, chunk(0, 500, 0, true), chunk(500, 500, 0, false))
			a := addTrack(t, p, "audio", ha)
			write(t, a, chunk(500, 500, 0, true))
			seconds(t, v, a, 1, 2)
		}, "0:vv 1:a 2:vava"},
		{"audio alone", func(t *testing.T, p *Publisher) {
			h := realHeaders(t, "audio.mp4")["audio"]
			h.Timescale = 1000
			a := addTrack(t, p, "audio", h)
			for i := range int64(5) {
				write(t, a, chunk(i*500, 500, 0, true))
			}
		}, "0:vv 1:vv 2:v"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPublisher(t, Config{})
			single := mustTrack(t, p, SingleTrack)
			tt.run(t, p)
			if err := p.Close(nil); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(singleGroups(t, single), " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			demuxed(t, single) // and it is one stream
		})
	}
}

// A view that nobody reads costs nothing, and comes again when asked for.
func TestViewIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held int64
		p := newPublisher(t, Config{Track: track.Config{Charge: func(d int64) { held += d }}})
		v, a := pair(t, p)
		flat := func(from int64) int64 {
			before := held
			seconds(t, v, a, from, from+1)
			return held - before
		}
		plain := flat(0)
		names := []string{SingleTrack, "init/video", "init/audio"}
		var views []*track.Track
		for _, name := range names {
			views = append(views, mustTrack(t, p, name))
		}
		detach := views[0].Attach(watcher(func() {}))
		if n := flat(1); n < 2*plain {
			t.Errorf("a second with all views took %d bytes, %d without", n, plain)
		}
		time.Sleep(viewIdle + time.Second)
		flat(2)
		for i, tr := range views {
			if _, _, ended := tr.Ended(); ended != (i > 0) || i > 0 && tr.Bytes() > 0 {
				t.Errorf("%s: ended %t with %d bytes", names[i], ended, tr.Bytes())
			}
		}
		detach()
		time.Sleep(viewIdle + time.Second)
		flat(3)
		if len(p.taken) > 0 || len(p.views) > 0 || p.single != nil || views[0].Bytes() > 0 {
			t.Errorf("%d views are left, %d by name", len(p.taken), len(p.views))
		}
		again := mustTrack(t, p, SingleTrack)
		flat(4)
		if got := singleGroups(t, again); again == views[0] || len(got) != 2 || got[1] != "4:vava…" {
			t.Errorf("asked for again: %v", got)
		}
	})
}

// Views are asked for and read while media comes.
func TestViewsWhileMediaComes(t *testing.T) {
	p := newPublisher(t, Config{})
	v, a := pair(t, p)
	seconds(t, v, a, 0, 1)
	var asked, wg sync.WaitGroup
	for _, name := range []string{SingleTrack, "init/video", "init/audio", SingleTrack} {
		asked.Add(1)
		wg.Go(func() {
			tr, ok := p.Track(name)
			asked.Done()
			if !ok {
				t.Errorf("no track %q", name)
				return
			}
			r := tr.NewReader(track.CurrentGroup)
			for {
				g, err := r.NextGroup(t.Context())
				if err != nil {
					if err != io.EOF {
						t.Errorf("%s: %v", name, err)
					}
					return
				}
				for id := uint64(0); ; id++ {
					o, err := g.Next(t.Context())
					if err == io.EOF && id > 1 {
						break
					}
					if err != nil || o.ID != id || (id == 0) != (o.Priority == 0) {
						t.Errorf("%s: group %d: object %d with priority %d, want %d, %v", name, g.ID(), o.ID, o.Priority, id, err)
						return
					}
				}
			}
		})
	}
	for i := range int64(200) {
		seconds(t, v, a, i+1, i+2)
	}
	asked.Wait()
	if err := p.Close(nil); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

func TestViewNames(t *testing.T) {
	p := newPublisher(t, Config{})
	pair(t, p)
	for _, name := range []string{"init/", "init/catalog", "init/.catalog", "init/broadcast", "init/other", "init/init/video", "other"} {
		if _, ok := p.Track(name); ok {
			t.Errorf("there is a track %q", name)
		}
	}
	mustTrack(t, p, "init/video")
	if _, ok := p.Track("init/init/video"); ok {
		t.Error("there is a view of a view")
	}
	for _, name := range []string{SingleTrack, ".catalog", "catalog", "init/x"} {
		if _, err := p.AddTrack(name, header(cmaf.KindVideo, "v")); err == nil {
			t.Errorf("a media track may be called %q", name)
		}
	}
	if err := p.Close(nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Track(SingleTrack); ok {
		t.Error("a view is made of a broadcast that has ended")
	}
}

// A header that cannot be joined with others costs the single track alone.
func TestSingleTrackWithoutHeader(t *testing.T) {
	p := newPublisher(t, Config{})
	single := mustTrack(t, p, SingleTrack)
	v := addTrack(t, p, "v", header(cmaf.KindVideo, "no box"))
	write(t, v, chunk(0, 500, 0, true))
	if got := groups(t, mustTrack(t, p, "v")); !slices.Equal(got, []string{"0:1…"}) {
		t.Errorf("plain groups %v", got)
	}
	if got := singleGroups(t, single); len(got) > 0 {
		t.Errorf("groups %v of a track without a header", got)
	}
}

func TestPlaybackCatalog(t *testing.T) {
	c := &clock{time.UnixMilli(1_795_190_400_250)}
	p := newPublisher(t, Config{Now: func() time.Time { return c.now }})
	tr := mustTrack(t, p, ".catalog")
	fixture(t, "keyframe.mp4", NewTimeline(p, TimelineConfig{Now: func() time.Time { return c.now }}))
	c.now = c.now.Add(2 * time.Second)
	p.tick()
	if err := p.Close(nil); err != nil {
		t.Fatal(err)
	}
	var last catalog.Playback
	var live []int
	for o := range objects(tr, 0) {
		var err error
		if last, err = catalog.ParsePlayback(o.Payload); err != nil {
			t.Fatal(err)
		}
		live = append(live, len(last.Tracks))
		for _, d := range last.Tracks {
			if _, ok := p.Track(d.Name); !ok && !last.IsComplete {
				plain, _ := catalog.PlainName(d.Name)
				if _, ok := p.Track(plain); !ok {
					t.Errorf("the catalog lists %q", d.Name)
				}
			}
		}
	}
	if n := len(live); n < 3 || live[n-2] != 2 || live[n-1] != 0 || !last.IsComplete {
		t.Errorf("catalogs of %v tracks, the last %+v", live, last)
	}
}

// BenchmarkViews shows what a chunk of 16 KiB costs where nobody reads a view,
// and where somebody does.
func BenchmarkViews(b *testing.B) {
	for _, names := range []string{"none", "init/video", SingleTrack} {
		b.Run("view="+names, func(b *testing.B) {
			p := newPublisher(b, Config{})
			v, _ := pair(b, p)
			if names != "none" {
				defer mustTrack(b, p, names).Attach(watcher(func() {}))()
			}
			c := chunk(0, 33, 0, true)
			c.Data = make([]byte, 16<<10)
			c.Samples[0].Size = 16 << 10
			b.SetBytes(int64(c.Size()))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.DecodeTime, c.RAP = int64(33*i), i%30 == 0
				if err := v.WriteChunk(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
