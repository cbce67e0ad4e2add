package cmaf

import "hash/maphash"

const (
	// maxSeen is how many fragments are remembered to know one that comes again.
	maxSeen = 64
	// maxRepeat is how far back in media time a fragment that comes again may lie,
	// in seconds. Beyond it the input has begun anew with the same media.
	maxRepeat = 30
)

// repeats knows the fragments that an encoder sends again, as after a connection
// that broke: DASH-IF live media ingest asks it to send the last ones once more.
// A fragment is told by all of its moof, which has its sequence number, decode
// times and the sizes of its samples.
type repeats struct {
	seed maphash.Seed
	seen []*seenFragment // a ring of maxSeen
	next int             // in seen: the oldest, once it is full
	now  *seenFragment   // the current fragment; nil: there is none
}

type seenFragment struct {
	sum  uint64
	done int // how many of its samples were handed on
}

// leave ends the current fragment, of which so many samples were handed on.
func (r *repeats) leave(done int) {
	if r.now != nil {
		r.now.done = done
	}
	r.now = nil
}

// enter makes the fragment with this moof the current one and returns how many
// of its samples were handed on before.
func (r *repeats) enter(moof []byte) (done int) {
	if r.seen == nil {
		r.seed = maphash.MakeSeed()
	}
	sum := maphash.Bytes(r.seed, moof)
	for _, f := range r.seen {
		if f.sum == sum {
			r.now = f
			return f.done
		}
	}
	r.now = &seenFragment{sum: sum}
	if len(r.seen) < maxSeen {
		r.seen = append(r.seen, r.now)
		return 0
	}
	r.seen[r.next] = r.now
	r.next = (r.next + 1) % maxSeen
	return 0
}

// skipRepeated leaves out what was handed on of a fragment that comes again, and
// says so.
func (d *Demuxer) skipRepeated(moof []byte) {
	if d.c.Repeated == nil || len(d.fr.samples) == 0 {
		return
	}
	done := min(d.repeats.enter(moof), len(d.fr.samples))
	if done == 0 {
		return
	}
	first := &d.fr.samples[0]
	t := &d.tracks[first.track]
	if back := (Time{t.end - first.dts, t.header.Timescale}); back.Compare(Time{maxRepeat, 1}) > 0 {
		return
	}
	if done < len(d.fr.samples) {
		d.rewind(done)
	}
	d.next = done
	d.events = d.events[:0]
	d.c.Repeated(done)
}

// rewind puts the tracks of the fragment back to where they were when done of
// its samples had come.
func (d *Demuxer) rewind(done int) {
	for i := range d.fr.samples {
		s := &d.fr.samples[i]
		t := &d.tracks[s.track]
		switch {
		case i < done:
			t.begun, t.dts, t.end = true, s.dts, s.dts+int64(s.Duration)
		case s.dts <= t.dts:
			t.begun = false // it had none of them: where it was is not known
		}
	}
}
