package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
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
		p := make([]byte, f.prof.size(f.prof.Tracks[track], index))
		stamp{due: time.Now().Add(-late), track: track, index: index}.put(p)
		got(p)
	})
	if f.end != nil {
		return f.end
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (f *fakeViewer) Received() (packets, bytes uint64) { return 10, 1000 }
func (f *fakeViewer) Close() error                      { f.closed = true; return nil }

// TestViewing puts one viewer of each kind into an audience: what some missed
// counts for all.
func TestViewing(t *testing.T) {
	prof := mustProfile(t, "tv")
	win := window{0, time.Second}
	video, _ := window{}.in(prof.Tracks[0])
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
			send(0, video+i, 0)
		}
	}
	refused := errors.New("refused")
	a := &audience{prof: prof, win: win}
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
	got := a.watch(ctx, time.Now())

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
	r := Result{Viewing: got}
	for _, tt := range []struct {
		q         float64
		low, high float64 // ms
	}{{0.25, 0, 1000}, {0.4, 5000, 7000}} {
		if d := delayMS(tt.q)(r); d < tt.low || d > tt.high {
			t.Errorf("quantile %v = %v ms, want %v to %v", tt.q, d, tt.low, tt.high)
		}
	}
	if d := text(delayMS(0.5)(r), 1); d != "lost" {
		t.Errorf("median = %s, want lost", d)
	}
}

// TestWrongObjects counts what comes twice or damaged.
func TestWrongObjects(t *testing.T) {
	prof := mustProfile(t, "tv")
	v := newViewer(prof, window{0, time.Second})
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
	if v.objects != 1 || v.wrong != 6 {
		t.Errorf("%d objects, %d wrong, want 1 and 6", v.objects, v.wrong)
	}
}
