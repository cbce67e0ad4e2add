package pull

import (
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A pace is a media clock: at at the media time media is due, and from there on
// time passes at rate.
type pace struct {
	set   bool
	media cmaf.Time
	at    time.Time
	rate  float64
	end   cmaf.Time // where the media that went out ends
}

func (p *pace) due(t cmaf.Time) time.Time {
	return p.at.Add(time.Duration(float64(t.Sub(p.media).Duration()) / p.rate))
}

// move makes media due at at.
func (p *pace) move(media cmaf.Time, at time.Time, rate float64) {
	p.set, p.media, p.at, p.rate = true, media, at, rate
}

// An outTrack is one track of one rendition.
type outTrack struct {
	feed  *feed
	local string // its name within the rendition
	kind  cmaf.Kind
	queue []item
	end   cmaf.Time // where what was queued last ends, in the same epoch
	epoch int       // of what was queued last

	// Of the sender alone.
	name   string // in the Broadcast; empty: not added yet
	header cmaf.Header
	sink   cmaf.Sink
}

// An item is one thing to do for a track, in the order of its queue: a header,
// the end of the track, or a chunk.
type item struct {
	epoch  int
	reason string // of the discontinuity that epoch began with
	header *cmaf.Header
	closed bool

	chunk  cmaf.Chunk
	scale  uint32 // of chunk
	jump   string // not empty: the times jump here, and why that is thought
	wall   time.Time
	events []cmaf.Event
}

func (it *item) isChunk() bool { return it.scale != 0 }
func (it *item) time() cmaf.Time {
	return cmaf.Time{Ticks: it.chunk.DecodeTime, Scale: it.scale}
}

// push queues it, with out.mu held.
func (t *outTrack) push(it item) {
	if it.isChunk() {
		t.epoch, t.end = it.epoch, cmaf.Time{Ticks: it.chunk.End(), Scale: it.scale}
	}
	t.queue = append(t.queue, it)
}

// jumpAt says why a chunk at the time at does not continue the track, "" if it
// does.
func (t *outTrack) jumpAt(at cmaf.Time, epoch int) string {
	if t.end.Scale == 0 || t.epoch != epoch {
		return ""
	}
	step := at.Sub(t.end)
	if d := step.Duration(); d >= -jumpBack && d <= jumpAhead {
		return ""
	}
	return fmt.Sprintf("the decode time of %s steps by %+.3f s", t.local, step.Seconds())
}

func (t *outTrack) pop() {
	t.queue[0] = item{}
	if t.queue = t.queue[1:]; len(t.queue) == 0 {
		t.queue = nil
	}
}

// span returns how much media waits.
func (t *outTrack) span() time.Duration {
	var d time.Duration
	for i := range t.queue {
		if it := &t.queue[i]; it.isChunk() {
			d += cmaf.Time{Ticks: it.chunk.Duration(), Scale: it.scale}.Duration()
		}
	}
	return d
}

// firstChunk returns the first chunk that waits, nil if none does.
func (t *outTrack) firstChunk() *item {
	for i := range t.queue {
		if it := &t.queue[i]; it.isChunk() {
			return it
		}
	}
	return nil
}
