package load

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeViewer gets what its script says, then its end.
type fakeViewer struct {
	script func(send func(track, index int, late time.Duration))
	end    error // nil: it stays
	prof   Profile
	closed bool
}

func (f *fakeViewer) Run(ctx context.Context, got func([]byte)) error {
	f.script(func(track, index int, late time.Duration) {
		p := make([]byte, f.prof.Size(f.prof.Tracks[track], index))
		stamp{due: time.Now().Add(-late), track: track, index: index}.put(p)
		got(p)
	})
	if f.end != nil {
		return f.end
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (f *fakeViewer) Subscribe(context.Context) error   { return nil }
func (f *fakeViewer) Received() (packets, bytes uint64) { return 10, 1000 }
func (f *fakeViewer) Close() error                      { f.closed = true; return nil }

// TestViewing puts one viewer of each kind into an audience: what some missed
// counts for all.
func TestViewing(t *testing.T) {
	prof := mustProfile(t, "tv")
	win := Window{0, time.Second}
	everything := func(late time.Duration) func(func(int, int, time.Duration)) {
		return func(send func(int, int, time.Duration)) {
			for ti, tr := range prof.Tracks {
				_, end := win.in(tr)
				for i := range end + 1 { // one is outside the window
					send(ti, i, late)
				}
			}
		}
	}
	half := func(send func(int, int, time.Duration)) {
		for i := range 15 {
			send(0, i, 0)
		}
	}
	refused := errors.New("refused")
	a := &Audience{cfg: AudienceConfig{Profile: prof, Window: win}, links: new(errgroup.Group), cut: func(error) {}}
	add := func(f *fakeViewer, err error) *viewer {
		v := newViewer(prof, win)
		v.err = err
		if f != nil {
			f.prof = prof
			v.conn = f
		}
		a.viewers = append(a.viewers, v)
		return v
	}
	good := &fakeViewer{script: everything(0)}
	add(good, nil)
	add(&fakeViewer{script: everything(5 * time.Second)}, nil)
	add(&fakeViewer{script: half}, nil)
	add(&fakeViewer{script: half, end: errors.New("lost")}, nil)
	add(nil, refused)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	got := a.Watch(ctx, time.Now().Add(-time.Second), time.Now())

	const all = 30 + 47
	if got.Viewers != 5 || got.Failed != 2 || got.Incomplete != 1 || got.Wrong != 0 {
		t.Errorf("viewers %d, failed %d, incomplete %d, wrong %d, want 5, 2, 1, 0", got.Viewers, got.Failed, got.Incomplete, got.Wrong)
	}
	if got.Expected != 5*all || got.Objects != 2*all+2*15 {
		t.Errorf("%d of %d objects, want %d of %d", got.Objects, got.Expected, 2*all+2*15, 5*all)
	}
	if text := strings.Join(got.Errors, ","); text != "lost,refused" {
		t.Errorf("errors %q, want lost and refused", text)
	}
	if !good.closed {
		t.Error("a viewer stayed connected")
	}
	// 107 of 385 came at once and 77 after 5 s: 27 %, 47 %, and the rest never.
	const run = 10 * time.Second
	for _, tt := range []struct {
		q         float64
		low, high float64 // ms
	}{{0.25, 0, 1000}, {0.4, 5000, 7000}, {0.5, 10_000, 10_000}} {
		if d := float64(got.Quantile(tt.q, run)); d < tt.low || d > tt.high {
			t.Errorf("quantile %v = %v ms, want %v to %v", tt.q, d, tt.low, tt.high)
		}
	}
	if v, ok := got.Track("video"); !ok || v.Objects != 2*30+2*15 || v.Expected != 5*30 || v.Freeze < 450*time.Millisecond {
		t.Errorf("video = %d of %d objects, freeze %v", v.Objects, v.Expected, v.Freeze)
	}
}

// TestWrongObjects counts what comes twice or damaged.
func TestWrongObjects(t *testing.T) {
	prof := mustProfile(t, "tv")
	v := newViewer(prof, Window{0, time.Second})
	p := make([]byte, prof.Tracks[1].Size)
	stamp{due: time.Now(), track: 1, index: 3}.put(p)
	v.got(p)
	v.got(p)           // again
	v.got(p[:100])     // cut
	v.got(nil)         // nothing
	v.got(noise(1000)) // somebody else's
	wrongTrack := make([]byte, 341)
	stamp{due: time.Now(), track: 2, index: 3}.put(wrongTrack)
	v.got(wrongTrack)
	wrongSize := make([]byte, 400)
	stamp{due: time.Now(), track: 1, index: 4}.put(wrongSize)
	v.got(wrongSize)
	if n := v.counters[1].view.Objects; n != 1 || v.wrong != 6 {
		t.Errorf("%d objects, %d wrong, want 1 and 6", n, v.wrong)
	}
}

// TestCounter plays pictures that come late, not at all and out of order.
func TestCounter(t *testing.T) {
	prof := mustProfile(t, "tv")
	tr := prof.Tracks[0]
	win := Window{0, 3 * time.Second}
	began := time.Unix(1_800_000_000, 0)
	const soon = 10 * time.Millisecond
	for _, tt := range []struct {
		name      string
		came      func(i int) (late time.Duration, ok bool)
		decodable int64
		freeze    time.Duration // about
	}{
		{"all", func(int) (time.Duration, bool) { return soon, true }, 90, 0},
		{"one that nobody needs is missing", func(i int) (time.Duration, bool) { return soon, i != 89 }, 89, 0},
		{"the rest of a group hangs on one", func(i int) (time.Duration, bool) { return soon, i != 30+3 }, 63, 900 * time.Millisecond},
		{"a pause", func(i int) (time.Duration, bool) {
			if i >= 40 && i < 55 {
				return time.Duration(55-i)*time.Second/30 + soon, true
			}
			return soon, true
		}, 90, 500 * time.Millisecond},
		{"nothing", func(int) (time.Duration, bool) { return 0, false }, 0, 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCounter(prof, tr, win)
			for i := range tr.Before(win.To) {
				if late, ok := tt.came(i); ok {
					due := began.Add(tr.at(i))
					if f := c.take(i, due, due.Add(late)); f != counted {
						t.Fatalf("take(%d) = %v", i, f)
					}
				}
			}
			got := c.done(began)
			if got.Decodable != tt.decodable {
				t.Errorf("%d decodable, want %d", got.Decodable, tt.decodable)
			}
			if d := got.Freeze - tt.freeze; d < -50*time.Millisecond || d > 50*time.Millisecond {
				t.Errorf("freeze of %v, want about %v", got.Freeze, tt.freeze)
			}
		})
	}
	c := newCounter(prof, tr, win)
	due := began.Add(tr.at(1))
	if f := c.take(1, due, due); f != counted || c.view.Decodable != 0 {
		t.Errorf("the second picture alone: %v, %d decodable, want none", f, c.view.Decodable)
	}
	if f := c.take(0, began, due); f != counted || c.view.Decodable != 2 {
		t.Errorf("the first behind it: %v, %d decodable, want 2", f, c.view.Decodable)
	}
	if f := c.take(0, began, due); f != twice {
		t.Errorf("the first again: %v, want %v", f, twice)
	}
	if f := c.take(90, began, due); f != outside {
		t.Errorf("one behind the window: %v, want %v", f, outside)
	}
}

// TestPicture: what goes in comes out, and nothing else is taken for one.
func TestPicture(t *testing.T) {
	for _, key := range []bool{true, false} {
		if got, ok := pictureBody(appendPicture(nil, []byte("body"), key)); !ok || string(got) != "body" {
			t.Errorf("key %t: %q, %t", key, got, ok)
		}
	}
	for _, b := range []string{"", "\x00\x00\x00\x01", "\x00\x00\x00\x05\x65abc", "\x00\x00\x00\x04\x06abc"} {
		if got, ok := pictureBody([]byte(b)); ok {
			t.Errorf("%q was taken for a picture of %q", b, got)
		}
	}
}

// TestUnpack sends samples through chunks, several in one payload.
func TestUnpack(t *testing.T) {
	prof := mustProfile(t, "tv")
	video, audio := prof.Tracks[0], prof.Tracks[1]
	payload := video.Chunk(0, 90000, appendPicture(nil, []byte("one"), true), true).AppendTo(nil, 1, 1)
	payload = video.Chunk(1, 90000, appendPicture(nil, []byte("two"), false), false).AppendTo(payload, 1, 2)
	payload = audio.Chunk(0, 48000, []byte("three"), true).AppendTo(payload, 1, 3)
	var got []string
	unpackCMAF(payload, func(b []byte) { got = append(got, string(b)) })
	if strings.Join(got, ",") != "one,two,three" {
		t.Errorf("unpackCMAF = %q, want one, two, three", got)
	}
	got = nil
	unpackCMAF([]byte("no box"), func(b []byte) { got = append(got, string(b)) })
	if len(got) != 1 || got[0] != "" {
		t.Errorf("unpackCMAF of no box = %q, want one object that is wrong", got)
	}
	if c := audio.Chunk(1, 48000, []byte("x"), false); c.DecodeTime != 1024 || c.Samples[0].Duration != 1024 || !c.Samples[0].Sync() {
		t.Errorf("AAC frame 1 is %+v, want 1024 ticks from 1024", c)
	}
	if c := video.Chunk(1, 90000, []byte("x"), false); c.DecodeTime != 3000 || c.Samples[0].Duration != 3000 || c.Samples[0].Sync() || c.RAP {
		t.Errorf("picture 1 is %+v, want 3000 ticks from 3000, no key frame", c)
	}
}

// TestJoinTimes: viewers come at other points of a group each time.
func TestJoinTimes(t *testing.T) {
	c := JoinsConfig{Every: time.Second, From: 2 * time.Second}
	var tenth [10]int
	for i := range 100 {
		at := c.at(i) - c.From - time.Duration(i)*time.Second
		if at < 0 || at >= time.Second {
			t.Fatalf("viewer %d comes %v after its time", i, at)
		}
		tenth[at*10/time.Second]++
	}
	for i, n := range tenth {
		if n < 8 || n > 12 {
			t.Errorf("%d of 100 viewers come in tenth %d of a group, want about 10", n, i)
		}
	}
}
