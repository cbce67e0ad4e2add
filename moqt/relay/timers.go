package relay

import (
	"container/heap"
	"time"
)

// A timer runs f once at a time that set fixes. The zero value with f is ready.
// It lies in at most one place of one queue, so that setting and stopping it
// over and over costs no memory.
type timer struct {
	f  func(now time.Time)
	at time.Time
	// pos is the place in the heap plus one; 0 while the timer is not set.
	pos int
}

// set reports whether t is going to run.
func (t *timer) set() bool { return t.pos != 0 }

// timers is a queue of timers by time.
type timers struct{ h timerHeap }

// set makes t run at the given time instead of when it was to run before. The
// zero time stops it.
func (q *timers) set(t *timer, at time.Time) {
	switch {
	case at.IsZero():
		q.stop(t)
	case t.pos == 0:
		t.at = at
		heap.Push(&q.h, t)
	default:
		t.at = at
		heap.Fix(&q.h, t.pos-1)
	}
}

func (q *timers) stop(t *timer) {
	if t.pos != 0 {
		heap.Remove(&q.h, t.pos-1)
	}
}

// pop takes the earliest timer that is due at now.
func (q *timers) pop(now time.Time) (*timer, bool) {
	if len(q.h) == 0 || q.h[0].at.After(now) {
		return nil, false
	}
	return heap.Pop(&q.h).(*timer), true
}

// next returns the time of the earliest timer, if there is one.
func (q *timers) next() (time.Time, bool) {
	if len(q.h) == 0 {
		return time.Time{}, false
	}
	return q.h[0].at, true
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.pos = len(*h) + 1
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	n := len(old) - 1
	t := old[n]
	old[n] = nil // let go of it
	t.pos = 0
	*h = old[:n]
	return t
}
