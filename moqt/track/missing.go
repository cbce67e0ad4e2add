package track

import (
	"fmt"
	"math"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// maxMissingGroups is how many runs of groups that do not exist a track keeps.
// Of the lowest ones beyond it nothing is known again.
const maxMissingGroups = 1024

// missing is what does not exist: object IDs of a group, or groups of a track.
type missing struct {
	gaps   spans // an object's properties say so; the contrary is malformed
	absent spans // a FETCH has left them out; the contrary is merely late
	// Of a group, what its objects have said of those before it.
	groupGap    uint64
	hasGroupGap bool
}

func (m *missing) has(n uint64) bool { return m.gaps.has(n) || m.absent.has(n) }

// missingGroups are the groups of a track that do not exist.
type missingGroups struct {
	missing
	bytes int64 // charged
}

// setAbsent records that nothing exists in r.
func (t *Track) setAbsent(r Range) {
	if r.Start.Group == r.End.Group {
		t.setAbsentIn(r.Start.Group, r.Start.Object, r.End.Object-1)
		return
	}
	from := r.Start.Group
	if r.Start.Object > 0 {
		t.setAbsentIn(from, r.Start.Object, math.MaxUint64)
		from++
	}
	if r.End.Object > 0 {
		t.setAbsentIn(r.End.Group, 0, r.End.Object-1)
	}
	if from < r.End.Group {
		t.chargeTrack(t.missing.absent.add(from, r.End.Group-1))
		t.chargeTrack(t.missing.absent.limit(maxMissingGroups))
	}
}

func (t *Track) setAbsentIn(group, from, to uint64) {
	if g, _ := t.find(group); g != nil {
		t.charge(g, g.missing.absent.add(from, to))
		return
	}
	f := t.openFilled(group)
	t.chargeFilled(f, f.missing.absent.add(from, to))
}

// checkGaps checks what the properties of the object at l say of those before
// it, against what has come (sections 12.8 and 12.9).
func (t *Track) checkGaps(l Location, props Properties) error {
	if len(props) == 0 {
		return nil
	}
	g, i := t.find(l.Group)
	f, j := t.findFilled(l.Group)
	if gap, ok := props.Uint(PropPriorObjectIDGap); ok && gap > 0 {
		from, to := l.Object-gap, l.Object-1
		if g != nil && g.present.overlaps(from, to) || f != nil && f.objects.overlaps(from, to) {
			return fmt.Errorf("%w: the gap of %d before %v covers an object", wire.ErrMalformedTrack, gap, l)
		}
	}
	gap, ok := props.Uint(PropPriorGroupIDGap)
	if !ok {
		return nil
	}
	var of *missing
	switch {
	case g != nil:
		of = &g.missing
	case f != nil:
		of = &f.missing
	}
	if of != nil && of.hasGroupGap && of.groupGap != gap {
		return fmt.Errorf("%w: group %d has gaps of %d and of %d groups before it", wire.ErrMalformedTrack, l.Group, of.groupGap, gap)
	}
	from := l.Group - gap
	for i--; i >= 0 && t.groups[i].id >= from; i-- {
		if t.groups[i].some {
			return fmt.Errorf("%w: the gap of %d groups before %v covers group %d", wire.ErrMalformedTrack, gap, l, t.groups[i].id)
		}
	}
	for j--; j >= 0 && t.filled[j].id >= from; j-- {
		if len(t.filled[j].objects) > 0 {
			return fmt.Errorf("%w: the gap of %d groups before %v covers group %d", wire.ErrMalformedTrack, gap, l, t.filled[j].id)
		}
	}
	return nil
}

// setGaps records what checkGaps has checked. of is the object's group's, and
// it returns by how many bytes that grew.
func (t *Track) setGaps(l Location, props Properties, of *missing) (grown int64) {
	if len(props) == 0 {
		return 0
	}
	if gap, ok := props.Uint(PropPriorObjectIDGap); ok && gap > 0 {
		grown = of.gaps.add(l.Object-gap, l.Object-1)
	}
	if gap, ok := props.Uint(PropPriorGroupIDGap); ok {
		of.groupGap, of.hasGroupGap = gap, true
		if gap > 0 {
			t.chargeTrack(t.missing.gaps.add(l.Group-gap, l.Group-1))
			t.chargeTrack(t.missing.gaps.limit(maxMissingGroups))
		}
	}
	return grown
}

// chargeTrack accounts for n more bytes that belong to no group.
func (t *Track) chargeTrack(n int64) {
	if n != 0 {
		t.missing.bytes += n
		t.account(n)
	}
}
