package timers_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/timers"
)

var start = time.Unix(1_800_000_000, 0)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

// due takes what is due at a time.
func due(q *timers.Queue[string], now time.Time) (out []string) {
	for {
		t, ok := q.Pop(now)
		if !ok {
			return out
		}
		out = append(out, t.Do)
	}
}

func TestQueue(t *testing.T) {
	type queue = timers.Queue[string]
	type one = timers.Timer[string]
	for _, tt := range []struct {
		name string
		do   func(q *queue, a, b, c *one)
		now  int
		want []string
		next int // of what is left; 0: nothing is
	}{
		{"by_time", func(q *queue, a, b, c *one) { q.Set(a, at(3)); q.Set(b, at(1)); q.Set(c, at(2)) }, 2, []string{"b", "c"}, 3},
		{"of_one_instant_as_they_were_set", func(q *queue, a, b, c *one) { q.Set(c, at(1)); q.Set(a, at(1)); q.Set(b, at(1)) }, 1, []string{"c", "a", "b"}, 0},
		{"set_again_is_set_last", func(q *queue, a, b, c *one) { q.Set(a, at(1)); q.Set(b, at(1)); q.Set(a, at(1)) }, 1, []string{"b", "a"}, 0},
		{"earlier", func(q *queue, a, b, c *one) { q.Set(a, at(5)); q.Set(b, at(4)); q.Set(a, at(1)) }, 1, []string{"a"}, 4},
		{"later", func(q *queue, a, b, c *one) { q.Set(a, at(1)); q.Set(b, at(4)); q.Set(a, at(5)) }, 4, []string{"b"}, 5},
		{"stopped", func(q *queue, a, b, c *one) { q.Set(a, at(1)); q.Set(b, at(2)); q.Stop(a); q.Stop(c) }, 9, []string{"b"}, 0},
		{"the_zero_time_stops", func(q *queue, a, b, c *one) { q.Set(a, at(1)); q.Set(a, time.Time{}); q.Set(b, time.Time{}) }, 9, nil, 0},
		{"nothing_is_due", func(q *queue, a, b, c *one) { q.Set(a, at(2)) }, 1, nil, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var q queue
			tt.do(&q, &one{Do: "a"}, &one{Do: "b"}, &one{Do: "c"})
			if got := due(&q, at(tt.now)); !slices.Equal(got, tt.want) {
				t.Errorf("%q were due, want %q", got, tt.want)
			}
			next, ok := q.Next()
			if ok != (tt.next != 0) || ok && !next.Equal(at(tt.next)) {
				t.Errorf("next at %v, %t, want %v", next.Sub(start), ok, tt.next)
			}
		})
	}
}

// A queue is what a sorted list would be, whatever is done to it.
func TestQueueModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var q timers.Queue[int]
	all := make([]timers.Timer[int], 50)
	var model []*timers.Timer[int] // in the order of setting
	remove := func(tm *timers.Timer[int]) {
		model = slices.DeleteFunc(model, func(o *timers.Timer[int]) bool { return o == tm })
	}
	for step := range 20_000 {
		tm := &all[rnd.IntN(len(all))]
		switch rnd.IntN(4) {
		case 0, 1:
			remove(tm)
			model = append(model, tm)
			q.Set(tm, at(rnd.IntN(20)))
		case 2:
			remove(tm)
			q.Stop(tm)
		case 3:
			now := at(rnd.IntN(20))
			var want *timers.Timer[int]
			for _, o := range model {
				if !o.At().After(now) && (want == nil || o.At().Before(want.At())) {
					want = o
				}
			}
			got, ok := q.Pop(now)
			if got != want || ok != (want != nil) {
				t.Fatalf("step %d: popped %p, %t, want %p", step, got, ok, want)
			}
			remove(want)
		}
		if q.Len() != len(model) || tm.IsSet() != slices.Contains(model, tm) {
			t.Fatalf("step %d: %d timers, IsSet %t, want %d, %t", step, q.Len(), tm.IsSet(), len(model), slices.Contains(model, tm))
		}
	}
}

// Setting a timer that is set costs no memory.
func TestQueueAllocations(t *testing.T) {
	var q timers.Queue[func()]
	var a, b timers.Timer[func()]
	q.Set(&b, at(7))
	if n := testing.AllocsPerRun(100, func() {
		q.Set(&a, at(3))
		q.Set(&a, at(9))
		q.Stop(&a)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
