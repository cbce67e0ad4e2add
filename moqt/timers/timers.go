// Package timers is a queue of timers for step functions, which are told the time
// and read no clock. A queue runs nothing by itself: who drives it asks when the
// next timer is due, and takes it then.
package timers

import (
	"container/heap"
	"time"
)

// A Timer says what is to be done at a time that Queue.Set fixes. The zero value
// is ready. It lies in at most one place of one queue, so that setting and
// stopping it over and over costs no memory.
type Timer[F any] struct {
	// Do is what is to be done. It may be changed while the timer is set.
	Do  F
	at  time.Time
	seq uint64 // orders timers of one instant, so that a replay is exact
	pos int    // place in the heap plus one; 0 while it is not set
}

// IsSet reports whether t is in a queue.
func (t *Timer[F]) IsSet() bool { return t.pos != 0 }

// At returns when t is due, or was when it was set last.
func (t *Timer[F]) At() time.Time { return t.at }

// A Queue holds timers by time, and those of one instant in the order in which
// they were set. The zero value is empty. One goroutine uses it.
type Queue[F any] struct {
	h   byTime[F]
	seq uint64
}

// Len returns how many timers are set.
func (q *Queue[F]) Len() int { return len(q.h) }

// Set makes t due at the given time instead of when it was to be before. The
// zero time stops it.
func (q *Queue[F]) Set(t *Timer[F], at time.Time) {
	if at.IsZero() {
		q.Stop(t)
		return
	}
	q.seq++
	t.at, t.seq = at, q.seq
	if t.pos == 0 {
		heap.Push(&q.h, t)
		return
	}
	heap.Fix(&q.h, t.pos-1)
}

// Stop takes t out of the queue, if it is in it.
func (q *Queue[F]) Stop(t *Timer[F]) {
	if t.pos != 0 {
		heap.Remove(&q.h, t.pos-1)
	}
}

// Pop takes the earliest timer that is due at now.
func (q *Queue[F]) Pop(now time.Time) (t *Timer[F], ok bool) {
	if len(q.h) == 0 || q.h[0].at.After(now) {
		return nil, false
	}
	return heap.Pop(&q.h).(*Timer[F]), true
}

// Next returns when the earliest timer is due, if there is one.
func (q *Queue[F]) Next() (at time.Time, ok bool) {
	if len(q.h) == 0 {
		return time.Time{}, false
	}
	return q.h[0].at, true
}

// byTime is a heap.
type byTime[F any] []*Timer[F]

func (h byTime[F]) Len() int { return len(h) }

func (h byTime[F]) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return h[i].seq < h[j].seq
}

func (h byTime[F]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (h *byTime[F]) Push(x any) {
	t := x.(*Timer[F])
	t.pos = len(*h) + 1
	*h = append(*h, t)
}

func (h *byTime[F]) Pop() any {
	old := *h
	n := len(old) - 1
	t := old[n]
	old[n] = nil // let go of it
	t.pos = 0
	*h = old[:n]
	return t
}
