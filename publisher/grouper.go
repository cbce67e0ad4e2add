package publisher

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// Bounds on what waits until its group is known.
const (
	maxHoldWall  = 2 * time.Second  // since it came
	maxHoldMedia = 10 * time.Second // of one track
	maxHoldBytes = 32 << 20         // of all tracks
	// maxSpans is how many groups back a late track can still be put where it
	// belongs.
	maxSpans = 64
)

// A grouper puts the chunks of all tracks of a broadcast into groups, which
// the tracks share. It is a step function: chunks and the time come in,
// placements come out, in decode order within each track.
//
// One track, the first video track as a rule, decides: a group begins at each
// of its random access points that lies at least d after the group before
// began. Chunks of the other tracks go into the group whose span holds them,
// so they wait until the deciding track has passed them, unless they are less
// than d after the start of the newest group. If it does not come, the next
// track in line decides until it does.
type grouper struct {
	d      time.Duration
	locked bool   // numbers are floor(PTS/d) always
	next   uint64 // the least number that a new group may have

	tracks   []*groupTrack
	fresh    bool        // no group has begun since the start or a discontinuity
	gap      bool        // the next group is the first after a hole in media time
	spans    []groupSpan // since the start or the discontinuity, oldest first
	progress cmaf.Time   // end of the latest media placed
	out      []placement
}

// A groupSpan is one group: its number and the presentation time at which it
// begins. It ends where the next one begins.
type groupSpan struct {
	number uint64
	start  cmaf.Time
}

// A placement says which group a chunk belongs to.
type placement struct {
	track *groupTrack
	group uint64
	chunk cmaf.Chunk
	came  time.Time
}

// groupTrack is what a grouper knows about a track.
type groupTrack struct {
	kind  cmaf.Kind
	scale uint32
	owner *mediaTrack

	held    []heldChunk
	bytes   int
	cur     uint64 // the group of the last chunk
	placed  bool   // cur is valid, and from after the last discontinuity
	min     uint64 // the next chunk's group is not below
	end     cmaf.Time
	stalled bool // left the others waiting for too long; until it comes again
	closed  bool
	cut     bool // its next random access point begins a group, at min or later
}

type heldChunk struct {
	chunk cmaf.Chunk
	came  time.Time
}

func newGrouper(d time.Duration, locked bool, next uint64) *grouper {
	return &grouper{d: d, locked: locked, next: next, fresh: true}
}

// take returns what was placed since the last call. It is valid until the next
// call of any method.
func (g *grouper) take() []placement {
	out := g.out
	g.out = g.out[:0]
	return out
}

func (g *grouper) add(t *groupTrack) { g.tracks = append(g.tracks, t) }

// push takes the next chunk of t.
func (g *grouper) push(now time.Time, t *groupTrack, c cmaf.Chunk) {
	t.stalled = false
	t.held = append(t.held, heldChunk{c, now})
	t.bytes += len(c.Data)
	g.step(now)
}

// step places what can be placed now, and what has waited for too long.
func (g *grouper) step(now time.Time) {
	g.drain()
	for g.overdue(now) {
		if m := g.master(); m != nil && len(m.held) == 0 {
			m.stalled = true
		} else {
			g.begin(g.master(), 0) // no random access point came
		}
		g.drain()
	}
}

// deadline returns when step has something to do even if no chunk comes.
func (g *grouper) deadline() (at time.Time, ok bool) {
	for _, t := range g.tracks {
		if len(t.held) == 0 {
			continue
		}
		if due := t.held[0].came.Add(maxHoldWall); !ok || due.Before(at) {
			at, ok = due, true
		}
	}
	return at, ok
}

// overdue reports whether some chunk has waited beyond a bound.
func (g *grouper) overdue(now time.Time) bool {
	bytes := 0
	for _, t := range g.tracks {
		if len(t.held) == 0 {
			continue
		}
		first, last := t.held[0], t.held[len(t.held)-1].chunk
		span := cmaf.Time{Ticks: last.End() - first.chunk.DecodeTime, Scale: t.scale}
		if now.Sub(first.came) >= maxHoldWall || span.Duration() > maxHoldMedia {
			return true
		}
		bytes += t.bytes
	}
	return bytes > maxHoldBytes
}

// discontinuity places all that waits and starts afresh: media time jumps, or
// another connection goes on.
func (g *grouper) discontinuity() {
	g.flush()
	g.fresh, g.gap = true, true
	for _, t := range g.tracks {
		t.placed, t.stalled = false, false
	}
}

// close places all that waits of t, of which nothing follows.
func (g *grouper) close(t *groupTrack) {
	t.closed = true
	if len(t.held) > 0 && g.fresh {
		g.flush() // t might have been the one that the others wait for
	}
	g.release(t)
	g.drain()
}

// reopen lets t go on after close. With cut its next chunks belong to a group
// of their own, because they need another header.
func (g *grouper) reopen(t *groupTrack, cut bool) {
	t.closed = false
	if cut && t.placed {
		t.cut, t.placed, t.min = true, false, t.cur+1
	}
}

// flush places all that waits.
func (g *grouper) flush() {
	for i := 0; g.fresh && i < len(g.tracks); i++ {
		g.begin(g.tracks[i], 0)
	}
	g.drain()
	for _, t := range g.tracks {
		g.release(t)
	}
}

// release places all that waits of t, without looking for new groups.
func (g *grouper) release(t *groupTrack) {
	for len(t.held) > 0 {
		g.place(t, g.groupOf(t, t.held[0].chunk))
	}
}

// remove forgets t.
func (g *grouper) remove(t *groupTrack) {
	g.tracks = slices.DeleteFunc(g.tracks, func(u *groupTrack) bool { return u == t })
}

// master returns the track that decides where groups begin: the first one in
// line that comes, nil if there is none.
func (g *grouper) master() *groupTrack {
	var best *groupTrack
	for _, t := range g.tracks {
		if !t.closed && !t.stalled && (best == nil || rank(t.kind) < rank(best.kind)) {
			best = t
		}
	}
	return best
}

func rank(k cmaf.Kind) int {
	switch k {
	case cmaf.KindVideo:
		return 0
	case cmaf.KindAudio:
		return 1
	}
	return 2
}

// drain places every chunk whose group is known.
func (g *grouper) drain() {
	m := g.master()
	if m == nil {
		return
	}
	if g.fresh {
		i := firstRAP(m)
		if i < 0 {
			return
		}
		g.begin(m, i)
	}
	for len(m.held) > 0 {
		// The others catch up first, so that placements rise in time.
		g.drainOthers(m)
		c := m.held[0].chunk
		if g.boundary(m, c) {
			g.open(m, c)
		}
		g.place(m, g.groupOf(m, c))
	}
	g.drainOthers(m)
}

func (g *grouper) drainOthers(m *groupTrack) {
	for _, t := range g.tracks {
		for t != m && len(t.held) > 0 && (t.closed || g.known(t, m)) {
			g.place(t, g.groupOf(t, t.held[0].chunk))
		}
	}
}

// firstRAP returns the index of the first chunk that waits on t at which a
// group may begin, -1 if there is none.
func firstRAP(t *groupTrack) int {
	for i := range t.held {
		if t.kind != cmaf.KindVideo || t.held[i].chunk.RAP {
			return i
		}
	}
	return -1
}

// begin begins the first group since the start or a discontinuity, at chunk i
// of those that wait on m. All that waits before it belongs to it as well.
func (g *grouper) begin(m *groupTrack, i int) {
	if m == nil || i >= len(m.held) {
		return
	}
	g.spans = g.spans[:0]
	g.gap = true
	c := m.held[i].chunk
	g.open(m, c)
	g.fresh = false
	for _, t := range g.tracks {
		t.min = max(t.min, g.last().number)
	}
	for range i {
		g.place(m, g.last().number)
	}
}

// last returns the newest group.
func (g *grouper) last() *groupSpan { return &g.spans[len(g.spans)-1] }

// pts returns the time of c that decides on its group. A video track other
// than the deciding one gets half a picture of slack, because the same instant
// may round to an earlier tick in its timescale.
func (g *grouper) pts(t *groupTrack, c cmaf.Chunk, m *groupTrack) cmaf.Time {
	p := c.PTS()
	if t != m && t.kind == cmaf.KindVideo && len(c.Samples) > 0 {
		p += int64(c.Samples[0].Duration / 2)
	}
	return cmaf.Time{Ticks: p, Scale: t.scale}
}

// boundary reports whether a new group begins at c, a chunk of the deciding
// track.
func (g *grouper) boundary(m *groupTrack, c cmaf.Chunk) bool {
	hole := cmaf.Time{Ticks: c.DecodeTime, Scale: m.scale}.Sub(g.progress)
	if g.progress.Scale != 0 && hole.Duration() > g.d {
		g.gap = true
	}
	if m.kind == cmaf.KindVideo && !c.RAP {
		return false
	}
	p := g.pts(m, c, m)
	switch {
	case m.cut && g.last().number < m.min:
		return true
	case g.locked:
		return floorGroup(p, g.d) > g.last().number
	}
	return g.gap && g.last().start.Before(p) || g.reached(p)
}

// reached reports whether p lies d or more after the newest group began.
func (g *grouper) reached(p cmaf.Time) bool {
	d := cmaf.Time{Ticks: int64(g.d), Scale: uint32(time.Second)}
	return p.Sub(g.last().start).Compare(d) >= 0
}

// open begins a group at c.
func (g *grouper) open(m *groupTrack, c cmaf.Chunk) {
	p := g.pts(m, c, m)
	s := groupSpan{number: g.next, start: p}
	if g.gap || g.locked {
		s.number = max(g.next, floorGroup(p, g.d))
	} else if m.kind != cmaf.KindVideo {
		// Every frame of audio may begin a group, so the grid is kept, and the
		// groups do not grow by a part of a frame each.
		d := cmaf.Time{Ticks: int64(g.d), Scale: uint32(time.Second)}
		if grid := g.last().start.Add(d); !g.last().start.Add(d).Add(d).Before(p) {
			s.start = grid
		}
	}
	g.gap = false
	g.next = s.number + 1
	if len(g.spans) == maxSpans {
		g.spans = slices.Delete(g.spans, 0, 1)
	}
	g.spans = append(g.spans, s)
	g.closeIdle(s.number)
}

// closeIdle ends the groups of tracks that gave nothing for a whole group: what
// they bring later goes into a later group. Video is left out, because a group
// of it needs a random access point.
func (g *grouper) closeIdle(number uint64) {
	for _, t := range g.tracks {
		if t.kind != cmaf.KindVideo && t.placed && t.cur+1 < number && len(t.held) == 0 {
			t.min = max(t.min, t.cur+1)
		}
	}
}

// known reports whether the group of t's next chunk is known: no group can
// begin at or before it anymore.
func (g *grouper) known(t, m *groupTrack) bool {
	if g.fresh {
		return false
	}
	c := t.held[0].chunk
	if t.kind == cmaf.KindVideo && !c.RAP && t.placed {
		return true // its group goes on
	}
	p := g.pts(t, c, m)
	if p.Before(m.end) {
		return true
	}
	if g.locked {
		return floorGroup(p, g.d) <= g.last().number
	}
	return !g.reached(p)
}

// groupOf returns the group that c, the next chunk of t, belongs to.
func (g *grouper) groupOf(t *groupTrack, c cmaf.Chunk) uint64 {
	if t.placed && t.kind == cmaf.KindVideo && !c.RAP {
		return t.cur
	}
	p := g.pts(t, c, g.master())
	number := g.spans[0].number
	for i := len(g.spans) - 1; i > 0; i-- {
		if !p.Before(g.spans[i].start) {
			number = g.spans[i].number
			break
		}
	}
	if t.placed {
		number = max(number, t.cur)
	}
	return max(number, t.min)
}

// place puts t's next chunk into a group.
func (g *grouper) place(t *groupTrack, number uint64) {
	h := t.held[0]
	t.held = slices.Delete(t.held, 0, 1)
	t.bytes -= len(h.chunk.Data)
	if t.cut && (t.kind != cmaf.KindVideo || h.chunk.RAP) {
		t.cut = false
	}
	t.cur, t.placed = number, true
	g.next = max(g.next, number) // a header change may run ahead by one
	t.end = cmaf.Time{Ticks: h.chunk.End(), Scale: t.scale}
	if g.progress.Before(t.end) {
		g.progress = t.end
	}
	g.out = append(g.out, placement{t, number, h.chunk, h.came})
}

// floorGroup returns floor(pts/d), 0 for a time below 0. It is exact in every
// timescale.
func floorGroup(pts cmaf.Time, d time.Duration) uint64 {
	if pts.Ticks < 0 || pts.Scale == 0 {
		return 0
	}
	// floor(x/(ab)) = floor(floor(x/a)/b)
	hi, lo := bits.Mul64(uint64(pts.Ticks), uint64(time.Second))
	if hi >= uint64(pts.Scale) {
		return math.MaxInt64 / uint64(d)
	}
	ns, _ := bits.Div64(hi, lo, uint64(pts.Scale))
	return ns / uint64(d)
}
