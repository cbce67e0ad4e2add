package bench

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	joinTimeout = 15 * time.Second
	joinAtOnce  = 16 // viewers that are in their handshake at a time
	maxErrors   = 3  // that a result quotes
)

// A Viewing is what all viewers of a run saw. Objects and bytes are those of
// the measured window, and payload alone.
type Viewing struct {
	Viewers int `json:"viewers"`
	// Failed viewers could not join, or lost their session before the end.
	Failed int      `json:"failed"`
	Errors []string `json:"errors,omitempty"` // of the first few
	// Incomplete viewers stayed, but missed objects.
	Incomplete    int   `json:"incomplete"`
	Expected      int64 `json:"expected_objects"` // of all viewers, failed ones too
	Objects       int64 `json:"objects"`
	ExpectedBytes int64 `json:"expected_bytes"`
	Bytes         int64 `json:"bytes"`
	Wrong         int64 `json:"wrong"` // objects that came twice, or not as they were sent
	// Delays of each track of the profile.
	Delays []Histogram `json:"delays"`
	// What came after joining, outside the window as well.
	Packets      uint64 `json:"packets"`
	WireBytes    uint64 `json:"wire_bytes"` // UDP payload
	PayloadBytes uint64 `json:"payload_bytes"`
}

// all returns the delays of all tracks.
func (v Viewing) all() *Histogram {
	h := new(Histogram)
	for i := range v.Delays {
		h.Merge(&v.Delays[i])
	}
	return h
}

// An audience is the viewers of one process.
type audience struct {
	prof    Profile
	win     window
	viewers []*viewer
}

// join connects n viewers. Those that fail stay in the audience.
func join(ctx context.Context, party Party, addr string, prof Profile, win window, n int) *audience {
	a := &audience{prof: prof, win: win, viewers: make([]*viewer, n)}
	g := new(errgroup.Group)
	g.SetLimit(joinAtOnce)
	for i := range a.viewers {
		g.Go(func() error {
			joining, cancel := context.WithTimeout(ctx, joinTimeout)
			defer cancel()
			v := newViewer(prof, win)
			a.viewers[i] = v
			conn, err := party.viewer(joining, addr, prof)
			if err != nil {
				v.err = err
				return nil
			}
			v.conn = conn
			v.packets, v.wireBytes = conn.Received()
			return nil
		})
	}
	_ = g.Wait() // returns nil: failures are the viewers'
	return a
}

// joined returns how many are connected.
func (a *audience) joined() (n int) {
	for _, v := range a.viewers {
		if v.err == nil {
			n++
		}
	}
	return n
}

// watch has everybody watch until they have what they expect, and at least until
// stay, or until ctx ends, and returns what they saw. It ends the connections.
func (a *audience) watch(ctx context.Context, stay time.Time) Viewing {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, v := range a.viewers {
		if v.err != nil {
			close(v.whole) // there is nothing to wait for
			continue
		}
		wg.Go(func() {
			err := v.conn.Run(ctx, v.got)
			if ctx.Err() == nil {
				v.err = err
				v.complete.Do(func() { close(v.whole) })
			}
		})
	}
	for _, v := range a.viewers {
		select {
		case <-v.whole:
		case <-ctx.Done():
		}
	}
	select {
	case <-time.After(time.Until(stay)):
	case <-ctx.Done():
	}
	for _, v := range a.viewers { // before they leave
		if v.conn != nil {
			packets, bytes := v.conn.Received()
			v.packets, v.wireBytes = packets-v.packets, bytes-v.wireBytes
		}
	}
	cancel()
	wg.Wait()
	_ = a.leave()
	return a.sum()
}

// leave ends the connections.
func (a *audience) leave() error {
	var err error
	for _, v := range a.viewers {
		if v.conn != nil {
			err = errors.Join(err, v.conn.Close())
		}
	}
	return err
}

func (a *audience) sum() Viewing {
	sum := Viewing{Viewers: len(a.viewers), Delays: make([]Histogram, len(a.prof.Tracks))}
	objects, bytes := a.win.expected(a.prof)
	sum.Expected, sum.ExpectedBytes = objects*int64(sum.Viewers), bytes*int64(sum.Viewers)
	for _, v := range a.viewers {
		if v.err != nil {
			sum.Failed++
			if len(sum.Errors) < maxErrors {
				sum.Errors = append(sum.Errors, v.err.Error())
			}
		} else if v.missing > 0 {
			sum.Incomplete++
		}
		sum.Objects += v.objects
		sum.Bytes += v.bytes
		sum.Wrong += v.wrong
		sum.PayloadBytes += v.payload
		sum.Packets += v.packets
		sum.WireBytes += v.wireBytes
		for i := range v.delays {
			sum.Delays[i].Merge(&v.delays[i])
		}
	}
	return sum
}

// A viewer counts what one connection brings.
type viewer struct {
	conn viewerConn
	err  error // why it has none, or lost it
	prof Profile
	win  window
	// packets and wireBytes are first what came while joining, then what came
	// after it.
	packets, wireBytes uint64
	whole              chan struct{} // closed when nothing is missing
	complete           sync.Once

	mu      sync.Mutex
	seen    [][]bool // by track and place in the window
	missing int64
	objects int64
	bytes   int64
	wrong   int64
	payload uint64
	delays  []Histogram
}

func newViewer(prof Profile, win window) *viewer {
	v := &viewer{prof: prof, win: win, whole: make(chan struct{}), delays: make([]Histogram, len(prof.Tracks))}
	for _, t := range prof.Tracks {
		first, end := win.in(t)
		v.seen = append(v.seen, make([]bool, end-first))
		v.missing += int64(end - first)
	}
	return v
}

// got takes one payload.
func (v *viewer) got(payload []byte) {
	now := time.Now()
	s, ok := readStamp(payload)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.payload += uint64(len(payload))
	if !ok || s.track >= len(v.prof.Tracks) || len(payload) != v.prof.size(v.prof.Tracks[s.track], s.index) {
		v.wrong++
		return
	}
	first, end := v.win.in(v.prof.Tracks[s.track])
	if s.index < first || s.index >= end {
		return
	}
	seen := &v.seen[s.track][s.index-first]
	if *seen {
		v.wrong++
		return
	}
	*seen = true
	v.objects++
	v.bytes += int64(len(payload))
	v.delays[s.track].Add(now.Sub(s.due))
	if v.missing--; v.missing == 0 {
		v.complete.Do(func() { close(v.whole) })
	}
}
