package moqt

import (
	"math"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// Ranges are half open in this program, and End Locations are not on the wire:
// there they are one past the last object, and object 0 stands for the whole
// group (section 10.12.1).

// after returns the location behind l.
func after(l track.Location) track.Location {
	if l.Object == math.MaxUint64 {
		return behindGroup(l.Group)
	}
	return track.Location{Group: l.Group, Object: l.Object + 1}
}

// behindGroup returns the location behind every object of a group. Behind the
// last group there is none; its last location stands in.
func behindGroup(group uint64) track.Location {
	if group == math.MaxUint64 {
		return track.Location{Group: group, Object: math.MaxUint64}
	}
	return track.Location{Group: group + 1}
}

// before returns the last location in front of l, which is not {0, 0}.
func before(l track.Location) track.Location {
	if l.Object == 0 {
		return track.Location{Group: l.Group - 1, Object: math.MaxUint64}
	}
	return track.Location{Group: l.Group, Object: l.Object - 1}
}

// rangeEnd returns where the range ends that has this End Location on the wire.
func rangeEnd(end wire.Location) track.Location {
	if end.Object == 0 {
		return behindGroup(end.Group)
	}
	return end
}

// wireEnd returns the End Location of a range that ends in front of end, which
// is not {0, 0}.
func wireEnd(end track.Location) wire.Location {
	if end.Object == 0 {
		return wire.Location{Group: end.Group - 1}
	}
	return end
}

// lastOf returns the last location of a group.
func lastOf(group uint64) track.Location {
	return track.Location{Group: group, Object: math.MaxUint64}
}

func earlier(a, b track.Location) track.Location {
	if b.Less(a) {
		return b
	}
	return a
}
