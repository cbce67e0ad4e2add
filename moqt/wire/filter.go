package wire

import "math"

// A FilterType says where a subscription starts and ends (section 5.1.2).
type FilterType uint64

// The subscription filters.
const (
	FilterNextGroupStart FilterType = 0x1
	FilterLargestObject  FilterType = 0x2
	FilterAbsoluteStart  FilterType = 0x3
	FilterAbsoluteRange  FilterType = 0x4
)

var filterTypes = map[FilterType]string{
	FilterNextGroupStart: "Next Group Start",
	FilterLargestObject:  "Largest Object",
	FilterAbsoluteStart:  "AbsoluteStart",
	FilterAbsoluteRange:  "AbsoluteRange",
}

func (t FilterType) String() string { return name(filterTypes, t) }

// A Filter is a subscription filter (section 5.1.2).
type Filter struct {
	Type     FilterType
	Start    Location // absolute filters only, else zero
	EndGroup uint64   // absolute range only: the last group, all of it; else zero
}

// Resolve returns where the filter starts, and the last group that passes,
// 2^64-1 if it is open ended. largest is the track's largest object, nil if
// there is none yet.
func (f Filter) Resolve(largest *Location) (start Location, endGroup uint64) {
	switch {
	case f.Type == FilterAbsoluteRange:
		return f.Start, f.EndGroup
	case f.Type == FilterAbsoluteStart:
		return f.Start, math.MaxUint64
	case largest == nil:
		return Location{}, math.MaxUint64
	case f.Type == FilterNextGroupStart:
		return Location{Group: largest.Group + 1}, math.MaxUint64
	}
	return Location{Group: largest.Group, Object: largest.Object + 1}, math.MaxUint64
}

// Append appends the Subscription Filter structure, without its length, to b.
// An EndGroup before the start group counts as the start group.
func (f Filter) Append(b []byte) []byte {
	b = AppendVarint(b, uint64(f.Type))
	if f.Type == FilterAbsoluteStart || f.Type == FilterAbsoluteRange {
		b = f.Start.Append(b)
	}
	if f.Type == FilterAbsoluteRange {
		b = AppendVarint(b, max(f.EndGroup, f.Start.Group)-f.Start.Group)
	}
	return b
}

// ParseFilter parses one whole Subscription Filter structure. An unknown type,
// an end group beyond 2^64-1 and a length that does not match are each a
// PROTOCOL_VIOLATION.
func ParseFilter(b []byte) (Filter, error) {
	c := cursor{b: b, in: "Subscription Filter"}
	f := Filter{Type: FilterType(c.varint("filter type"))}
	if f.Type < FilterNextGroupStart || f.Type > FilterAbsoluteRange {
		c.violate(0, "unknown filter type %v", f.Type)
	}
	if f.Type == FilterAbsoluteStart || f.Type == FilterAbsoluteRange {
		f.Start = c.location("start location")
	}
	if f.Type == FilterAbsoluteRange {
		off := c.off
		delta := c.varint("end group delta")
		if delta > math.MaxUint64-f.Start.Group {
			c.violate(off, "end group exceeds 2^64-1")
		}
		f.EndGroup = f.Start.Group + delta
	}
	return checked(f, &c)
}
