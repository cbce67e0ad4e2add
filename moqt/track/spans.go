package track

import (
	"math"
	"slices"
	"sort"
	"unsafe"
)

// A span is a run of numbers, both ends inclusive.
type span struct{ from, to uint64 }

const spanSize = int64(unsafe.Sizeof(span{}))

// spans is a set of numbers as ascending runs that neither touch nor overlap.
type spans []span

// search returns the index of the first run that ends at n or after it.
func (s spans) search(n uint64) int {
	if last := len(s) - 1; last < 0 || s[last].to < n {
		return len(s) // numbers mostly rise
	}
	return sort.Search(len(s), func(i int) bool { return s[i].to >= n })
}

// at returns the run that holds n. If there is none it is not ok, and run.from
// is the next number in the set; more says whether there is one.
func (s spans) at(n uint64) (run span, ok, more bool) {
	i := s.search(n)
	if i == len(s) {
		return span{}, false, false
	}
	return s[i], s[i].from <= n, true
}

// has reports whether n is in the set.
func (s spans) has(n uint64) bool {
	_, ok, _ := s.at(n)
	return ok
}

// overlaps reports whether one of from to to is in the set.
func (s spans) overlaps(from, to uint64) bool {
	run, ok, more := s.at(from)
	return ok || more && run.from <= to
}

// add puts from to to into the set and returns by how many bytes it grew, which
// may be less than nothing.
func (s *spans) add(from, to uint64) (grown int64) {
	before := len(*s)
	if last := before - 1; last >= 0 && (*s)[last].to != math.MaxUint64 && (*s)[last].to+1 == from {
		(*s)[last].to = to
		return 0
	}
	lo := from
	if lo > 0 {
		lo-- // a run that ends right before is joined
	}
	i := s.search(lo)
	j := i
	for j < before && ((*s)[j].from <= to || to != math.MaxUint64 && (*s)[j].from == to+1) {
		from, to = min(from, (*s)[j].from), max(to, (*s)[j].to)
		j++
	}
	if i == j {
		*s = slices.Insert(*s, i, span{from, to})
	} else {
		(*s)[i] = span{from, to}
		*s = slices.Delete(*s, i+1, j)
	}
	return int64(len(*s)-before) * spanSize
}

// limit drops the lowest runs beyond n, and returns by how many bytes the set
// grew: never more than nothing.
func (s *spans) limit(n int) (grown int64) {
	over := max(0, len(*s)-n)
	*s = slices.Delete(*s, 0, over)
	return -int64(over) * spanSize
}
