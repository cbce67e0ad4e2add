package wire

import (
	"cmp"
	"fmt"
	"math"
)

// A Location names one object of a track (section 1.4.2).
type Location struct{ Group, Object uint64 }

// Compare orders locations by group, then by object: -1, 0 or +1.
func (l Location) Compare(m Location) int {
	return cmp.Or(cmp.Compare(l.Group, m.Group), cmp.Compare(l.Object, m.Object))
}

// Less reports whether l comes before m.
func (l Location) Less(m Location) bool { return l.Compare(m) < 0 }

// String returns the location as the draft writes it, {group, object}.
func (l Location) String() string { return fmt.Sprintf("{%d, %d}", l.Group, l.Object) }

// Append appends l to b.
func (l Location) Append(b []byte) []byte {
	return AppendVarint(AppendVarint(b, l.Group), l.Object)
}

// FetchEnd returns the End Location that FETCH and FETCH_OK carry for a range
// whose last object is last: one past it, where object 0 stands for the whole
// group (sections 10.12.1 and 10.13).
func FetchEnd(last Location) Location {
	return Location{last.Group, last.Object + 1} // the largest ID wraps to 0, the whole group
}

// FetchLast is the inverse of FetchEnd: the last location that the End
// Location end includes. For a whole group that is object 2^64-1.
func FetchLast(end Location) Location {
	if end.Object == 0 {
		return Location{end.Group, math.MaxUint64}
	}
	return Location{end.Group, end.Object - 1}
}
