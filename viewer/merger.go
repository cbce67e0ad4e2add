package viewer

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/moqt/track"
)

const (
	// maxQueued is how many objects of one track may wait; its reader stops
	// until there is room.
	maxQueued = 256
	// maxQueuedBytes bounds what waits of all tracks, before it is handed on
	// out of order.
	maxQueuedBytes = 64 << 20
)

// An entry is one object that waits to be handed on.
type entry struct {
	track    *viewTrack
	header   *cmaf.Header
	chunks   []cmaf.Chunk
	location track.Location
	came     time.Time // here, not at the relay
	bytes    int
}

// release makes room for another object of the track.
func (e entry) release() { <-e.track.credit }

func (e entry) time() cmaf.Time {
	return cmaf.Time{Ticks: e.chunks[0].DecodeTime, Scale: e.header.Timescale}
}

func (e entry) end() cmaf.Time {
	return cmaf.Time{Ticks: e.chunks[len(e.chunks)-1].End(), Scale: e.header.Timescale}
}

// A merger puts the objects of all tracks in order of decode time. An object
// is next when no other track can still bring an earlier one, or when it has
// waited for too long. It is a step function.
type merger struct {
	wait   time.Duration
	queues []*queue
	bytes  int
}

// A queue is what waits of one track.
type queue struct {
	track   *viewTrack
	entries []entry
	end     cmaf.Time // where the last object that came ends
	ended   bool      // nothing more comes
}

func newMerger(wait time.Duration) *merger { return &merger{wait: wait} }

func (m *merger) queue(t *viewTrack) *queue {
	for _, q := range m.queues {
		if q.track == t {
			return q
		}
	}
	return nil
}

func (m *merger) add(t *viewTrack) { m.queues = append(m.queues, &queue{track: t}) }

// remove forgets a track that has ended, once nothing of it waits, and reports
// whether it did.
func (m *merger) remove(t *viewTrack) bool {
	if !m.idle(t) || m.queue(t) == nil {
		return false
	}
	m.queues = slices.DeleteFunc(m.queues, func(q *queue) bool { return q.track == t })
	return true
}

// idle reports whether nothing of a track waits.
func (m *merger) idle(t *viewTrack) bool {
	q := m.queue(t)
	return q == nil || len(q.entries) == 0
}

// push takes the next object of a track.
func (m *merger) push(e entry) {
	q := m.queue(e.track)
	q.entries = append(q.entries, e)
	q.end = e.end()
	m.bytes += e.bytes
}

// end says that a track brings nothing more.
func (m *merger) end(t *viewTrack) { m.queue(t).ended = true }

func (m *merger) empty() bool {
	return !slices.ContainsFunc(m.queues, func(q *queue) bool { return len(q.entries) > 0 })
}

// passed reports whether what t brought so far ends at or after at.
func (m *merger) passed(t *viewTrack, at cmaf.Time) bool {
	q := m.queue(t)
	return q == nil || !q.end.Before(at)
}

// next returns the object to hand on now, if there is one.
func (m *merger) next(now time.Time) (entry, bool) {
	best := m.head()
	if best == nil {
		return entry{}, false
	}
	e := best.entries[0]
	full := m.bytes > maxQueuedBytes || len(best.entries) >= maxQueued
	if !full && now.Sub(m.oldest()) < m.wait && m.awaited(e.time()) {
		return entry{}, false
	}
	best.entries[0] = entry{}
	if best.entries = best.entries[1:]; len(best.entries) == 0 {
		best.entries = nil
	}
	m.bytes -= e.bytes
	return e, true
}

// head returns the queue whose first object is the earliest.
func (m *merger) head() *queue {
	var best *queue
	for _, q := range m.queues {
		if len(q.entries) > 0 && (best == nil || q.entries[0].time().Before(best.entries[0].time())) {
			best = q
		}
	}
	return best
}

// awaited reports whether a track may still bring something before at.
func (m *merger) awaited(at cmaf.Time) bool {
	return slices.ContainsFunc(m.queues, func(q *queue) bool {
		return len(q.entries) == 0 && !q.ended && q.end.Before(at)
	})
}

// oldest returns when the object that waits for longest came.
func (m *merger) oldest() (came time.Time) {
	for _, q := range m.queues {
		if len(q.entries) > 0 && (came.IsZero() || q.entries[0].came.Before(came)) {
			came = q.entries[0].came
		}
	}
	return came
}

// deadline returns when next has something even if nothing comes.
func (m *merger) deadline() (time.Time, bool) {
	if m.empty() {
		return time.Time{}, false
	}
	return m.oldest().Add(m.wait), true
}
