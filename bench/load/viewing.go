package load

import (
	"cmp"
	"time"

	"github.com/broadcastd/broadcastd/bench/stat"
)

// Slices is into how many equal parts a run is cut, to see whether its delay
// grows.
const Slices = 6

// A Viewing is what the viewers of a run saw. Objects and bytes are those of
// the measured window, and payload alone.
type Viewing struct {
	Viewers int `json:"viewers"`
	// Stalled viewers stopped reading on purpose and are in no other figure.
	Stalled int `json:"stalled,omitempty"`
	// Failed viewers could not join, or lost their session before the end.
	Failed int      `json:"failed"`
	Errors []string `json:"errors,omitempty"` // of the first few
	// Incomplete viewers stayed, but missed objects.
	Incomplete    int         `json:"incomplete"`
	Expected      int64       `json:"expected_objects"` // of all viewers, failed ones too
	Objects       int64       `json:"objects"`
	ExpectedBytes int64       `json:"expected_bytes"`
	Bytes         int64       `json:"bytes"`
	Wrong         int64       `json:"wrong"` // objects that came twice, or not as they were sent
	Tracks        []TrackView `json:"tracks,omitempty"`
	// What came after joining, outside the window as well.
	Packets      uint64 `json:"packets"`
	WireBytes    uint64 `json:"wire_bytes"` // UDP payload
	PayloadBytes uint64 `json:"payload_bytes"`
}

// A TrackView is what the viewers saw of one track.
type TrackView struct {
	Name     string `json:"name"`
	Expected int64  `json:"expected_objects"`
	Objects  int64  `json:"objects"`
	// Decodable objects came, and so did all those before them in their group,
	// whenever. Of tracks without such needs they are the objects.
	Decodable int64 `json:"decodable"`
	// Freeze is the longest that a viewer went without a decodable object that
	// is newer than those before it, beyond the time between two objects.
	Freeze time.Duration `json:"freeze_ns"`
	// Delays are those of the objects that were due in each part of the window.
	Delays [Slices]stat.Histogram `json:"delays"`
}

// All returns the delays of the whole window.
func (t TrackView) All() *stat.Histogram {
	h := new(stat.Histogram)
	for i := range t.Delays {
		h.Merge(&t.Delays[i])
	}
	return h
}

// Track returns what the viewers saw of a track; false if there is none.
func (v *Viewing) Track(name string) (TrackView, bool) {
	for _, t := range v.Tracks {
		if t.Name == name {
			return t, true
		}
	}
	return TrackView{}, false
}

// All returns the delays of all tracks.
func (v *Viewing) All() *stat.Histogram {
	h := new(stat.Histogram)
	for _, t := range v.Tracks {
		h.Merge(t.All())
	}
	return h
}

// Add adds what the viewers of another process saw.
func (v *Viewing) Add(o Viewing) {
	v.Viewers += o.Viewers
	v.Stalled += o.Stalled
	v.Failed += o.Failed
	v.Incomplete += o.Incomplete
	v.Expected += o.Expected
	v.Objects += o.Objects
	v.ExpectedBytes += o.ExpectedBytes
	v.Bytes += o.Bytes
	v.Wrong += o.Wrong
	v.Packets += o.Packets
	v.WireBytes += o.WireBytes
	v.PayloadBytes += o.PayloadBytes
	v.Errors = append(v.Errors, o.Errors...)
	v.Errors = v.Errors[:min(len(v.Errors), maxErrors)]
	for i, t := range o.Tracks {
		if i == len(v.Tracks) {
			v.Tracks = append(v.Tracks, TrackView{Name: t.Name})
		}
		sum := &v.Tracks[i]
		sum.Expected += t.Expected
		sum.Objects += t.Objects
		sum.Decodable += t.Decodable
		sum.Freeze = max(sum.Freeze, t.Freeze)
		for k := range t.Delays {
			sum.Delays[k].Merge(&t.Delays[k])
		}
	}
}

// A counter counts what one connection brings of one track. Its viewer's lock
// guards it.
type counter struct {
	prof  Profile
	track Track
	win   Window
	first int // the window's first object
	seen  []bool
	view  TrackView

	next  map[uint64]int // by group: the first object that is not decodable
	shown int            // the newest decodable object; -1: none
	at    time.Time      // when it came
}

func newCounter(prof Profile, t Track, win Window) *counter {
	first, end := win.in(t)
	return &counter{
		prof: prof, track: t, win: win, first: first, seen: make([]bool, end-first),
		view:  TrackView{Name: t.Name, Expected: int64(end - first)},
		next:  make(map[uint64]int),
		shown: -1,
	}
}

// The fates of an object.
type fate int

const (
	counted fate = iota
	outside      // of the window
	twice
)

// take counts object i, which was due at due and came now.
func (c *counter) take(i int, due, now time.Time) fate {
	k := i - c.first
	if k < 0 || k >= len(c.seen) {
		return outside
	}
	if c.seen[k] {
		return twice
	}
	c.seen[k] = true
	c.view.Objects++
	c.view.Delays[k*Slices/len(c.seen)].Add(now.Sub(due))
	if c.shown < 0 {
		c.at = due // counts from when the first was due, not from when it came
	}
	if !c.track.Video {
		c.show(i, now)
		return counted
	}
	g, first := c.prof.group(c.track, i)
	n, ok := c.next[g]
	if !ok {
		n = max(first, c.first)
	}
	for ; n-c.first < len(c.seen) && c.seen[n-c.first]; n++ {
		if of, _ := c.prof.group(c.track, n); of != g {
			break
		}
		c.show(n, now)
	}
	c.next[g] = n
	return counted
}

// show counts object i as decodable from now on.
func (c *counter) show(i int, now time.Time) {
	c.view.Decodable++
	if i <= c.shown {
		return // too late to be seen
	}
	c.gap(now)
	c.shown, c.at = i, now
}

// gap sees how long nothing new was shown.
func (c *counter) gap(now time.Time) {
	if c.at.IsZero() {
		return
	}
	c.view.Freeze = max(c.view.Freeze, now.Sub(c.at)-c.track.Per/time.Duration(c.track.Count))
}

// done returns what was counted. began is when the schedule did; what is not
// shown at the end of the window is a freeze until then.
func (c *counter) done(began time.Time) TrackView {
	if c.shown < 0 {
		c.view.Freeze = c.win.To - c.win.From
	} else if c.shown < c.first+len(c.seen)-1 {
		c.gap(began.Add(c.win.To))
	}
	return c.view
}

// Quantile returns the delay in ms within which q (0 to 1) of all that was
// expected came; what did not come is as late as the run is long.
func (v *Viewing) Quantile(q float64, run time.Duration) stat.Number {
	return millis(v.All().Quantile(q, v.Expected), run)
}

// Delivered returns the delay in ms within which q of the objects of a track
// that came did so, in slice k of the window, or in all of it if k < 0.
func (t TrackView) Delivered(q float64, k int) stat.Number {
	h := &t.Delays[max(k, 0)]
	if k < 0 {
		h = t.All()
	}
	if h.Count() == 0 {
		return stat.NaN
	}
	return millis(h.Quantile(q, 0), 0)
}

func millis(d, lost time.Duration) stat.Number {
	if d == stat.Lost {
		d = cmp.Or(lost, stat.Lost)
	}
	return stat.Number(float64(d) / float64(time.Millisecond))
}
