package pull

import (
	"fmt"
	"path"
	"time"

	"github.com/broadcastd/broadcastd/hls/playlist"
)

const (
	edgeTargets = 3 // target durations to stay away from the end of a live playlist
	behindFor   = 3 // target durations after which a playlist that is behind was set back

	leastReload = 500 * time.Millisecond
	mostReload  = time.Minute
)

// A tracker follows one media playlist from load to load. It is a step
// function: playlists and the time come in, what to fetch comes out.
type tracker struct {
	distance time.Duration // to begin from the end of a live playlist; 0: as the playlist says
	stale    time.Duration

	next    uint64          // sequence number of the segment that is due
	last    *playlist.Media // nil: none with segments came yet
	changed time.Time       // when something new came
	news    bool            // the last load brought some
	behind  time.Time       // since when the playlist ends before next; zero: it does not
}

// A plan says what to do after a load.
type plan struct {
	from  int    // index of the first segment to fetch; all after it follow
	reset bool   // the numbers began anew: another run of the encoder
	lost  uint64 // segments that are due and no longer listed
	ended bool   // nothing follows
}

// update takes a playlist that was loaded at now.
func (t *tracker) update(now time.Time, m *playlist.Media) (plan, error) {
	p := plan{ended: ended(m)}
	lags := false
	switch {
	case t.last == nil:
		if t.changed.IsZero() {
			t.changed = now
		}
		p.from = begin(m, t.distance)
	case m.Next() >= t.next && m.Sequence > t.next:
		p.lost = m.Sequence - t.next
	case m.Next() >= t.next:
		p.from = int(t.next - m.Sequence)
	case t.setBack(now, m):
		p.reset = true
		p.from = begin(m, t.distance)
	default:
		lags = true
		p.from, p.ended = len(m.Segments), false
	}
	if t.news = p.from < len(m.Segments) || p.ended; t.news {
		t.changed = now
	}
	if !lags && (len(m.Segments) > 0 || p.ended) {
		t.next, t.last, t.behind = m.Next(), m, time.Time{}
	}
	if idle := now.Sub(t.changed); idle > max(t.stale, edgeTargets*m.TargetDuration) {
		return p, fmt.Errorf("%w: nothing new for %v", ErrStale, idle.Round(time.Second))
	}
	return p, nil
}

// setBack reports whether a playlist that ends before what is due is one that
// began anew. One from a cache that lags still lists what was seen, for a while.
func (t *tracker) setBack(now time.Time, m *playlist.Media) bool {
	if t.behind.IsZero() {
		t.behind = now
	}
	known := false
	for i := range m.Segments {
		s := &m.Segments[i]
		if s.Sequence < t.last.Sequence || s.Sequence >= t.last.Next() {
			continue
		}
		// Signed queries change with each load.
		was := &t.last.Segments[s.Sequence-t.last.Sequence]
		known = known || path.Base(s.URI.Path) == path.Base(was.URI.Path)
	}
	return !known || now.Sub(t.behind) > behindFor*m.TargetDuration
}

// ended reports whether nothing will be added to m.
func ended(m *playlist.Media) bool { return m.Ended || m.Type == playlist.VOD }

// begin returns the index of the segment to begin with.
func begin(m *playlist.Media, distance time.Duration) int {
	var edge int // the latest
	if ended(m) {
		edge = max(0, len(m.Segments)-1)
	} else {
		distance = edgeDistance(m, distance)
		edge = fromEnd(m, distance)
	}
	switch s := m.Start; {
	case s != nil && s.Offset < 0:
		return min(edge, fromEnd(m, -s.Offset))
	case s != nil:
		var at time.Duration
		for i := range m.Segments {
			if at += m.Segments[i].Duration; at > s.Offset {
				return min(edge, i)
			}
		}
		return edge
	case ended(m):
		return 0
	}
	return edge
}

// edgeDistance returns how far from the end of a live playlist to begin (RFC
// 8216 section 6.3.3).
func edgeDistance(m *playlist.Media, asked time.Duration) time.Duration {
	if asked > 0 {
		return asked
	}
	return max(m.HoldBack, edgeTargets*m.TargetDuration)
}

// fromEnd returns the index of the last segment that begins d or more before
// the end, 0 if there is none.
func fromEnd(m *playlist.Media, d time.Duration) int {
	for i := len(m.Segments) - 1; i > 0; i-- {
		if d -= m.Segments[i].Duration; d <= 0 {
			return i
		}
	}
	return 0
}

// reload returns how long after the start of the last load the next one is due
// (RFC 8216 section 6.3.4).
func (t *tracker) reload(m *playlist.Media) time.Duration {
	d := m.TargetDuration
	if !t.news {
		d /= 2
	}
	return min(max(d, leastReload), mostReload)
}
