package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"
)

// start is when every world begins. Only differences count.
var start = time.Unix(1_700_000_000, 0)

// A world is everything that happens in one run: the time, what is to come, who
// has something to do, and what was seen. All of it belongs to one goroutine.
type world struct {
	seed  uint64
	rand  *rand.Rand
	now   time.Time
	queue eventQueue
	seq   uint64
	nodes []*node
	ready []*node // those that have something to do, in no order
	trace trace
	calm  bool // no faults any more
	// calmed is since when.
	calmed time.Time
}

// A stepper is something that is driven by steps.
type stepper interface {
	// step does what can be done now, and returns when to do so again at the
	// latest; zero means only when something happens.
	step(now time.Time) (next time.Time)
	// pending reports whether something has happened that is not on a connection.
	pending() bool
}

// A node is a stepper and its place in the schedule.
type node struct {
	name   string
	s      stepper
	ready  bool
	due    time.Time // when the earliest wake-up is that is in the queue
	asleep time.Time // its machine does nothing until then
	gone   bool
}

// A Violation says which invariant a run has broken.
type violation struct {
	invariant string
	text      string
	at        time.Duration
}

func (v *violation) Error() string {
	return fmt.Sprintf("%s broken after %v: %s", v.invariant, v.at, v.text)
}

func newWorld(seed uint64) *world {
	return &world{seed: seed, rand: rand.New(rand.NewPCG(seed, 0x6d6f7174)), now: start}
}

// clock tells the time to those that ask for it.
func (w *world) clock() time.Time { return w.now }

func (w *world) since() time.Duration { return w.now.Sub(start) }

// fail ends the run.
func (w *world) fail(invariant, format string, args ...any) {
	panic(&violation{invariant, fmt.Sprintf(format, args...), w.since()})
}

// guarded runs f and returns the violation that ended it, or any other panic as
// one: nothing that a peer does may cause it.
func (w *world) guarded(f func()) (v *violation) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *violation:
			v = r
		default:
			v = &violation{"no panic", fmt.Sprintf("%v\n%s", r, debug.Stack()), w.since()}
		}
	}()
	f()
	return nil
}

// after has f called in d.
func (w *world) after(d time.Duration, f func()) { w.at(w.now.Add(d), f) }

// at has f called at t. Calls of one instant come in the order of at.
func (w *world) at(t time.Time, f func()) {
	w.seq++
	heap.Push(&w.queue, &event{at: t, seq: w.seq, f: f})
}

// join adds a node, which has its first step at once.
func (w *world) join(name string, s stepper) *node {
	n := &node{name: name, s: s}
	w.nodes = append(w.nodes, n)
	w.wake(n)
	return n
}

// leave takes n out of the schedule.
func (w *world) leave(n *node) {
	n.gone = true
	w.nodes = slices.DeleteFunc(w.nodes, func(o *node) bool { return o == n })
}

// wake gives n a step at this instant.
func (w *world) wake(n *node) {
	if n != nil && !n.ready && !n.gone {
		n.ready = true
		w.ready = append(w.ready, n)
	}
}

// run lets things happen for d.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	w.settle()
	for len(w.queue) > 0 && !w.queue[0].at.After(end) {
		w.now = w.queue[0].at
		for len(w.queue) > 0 && w.queue[0].at.Equal(w.now) {
			heap.Pop(&w.queue).(*event).f()
		}
		w.settle()
	}
	w.now = end
}

// settle gives a step to everyone who has something to do, in any order, until
// nobody has.
func (w *world) settle() {
	for {
		for _, n := range w.nodes {
			if !n.ready && n.s.pending() {
				w.wake(n)
			}
		}
		if len(w.ready) == 0 {
			return
		}
		i := w.rand.IntN(len(w.ready))
		n := w.ready[i]
		w.ready[i] = w.ready[len(w.ready)-1]
		w.ready = w.ready[:len(w.ready)-1]
		if n.gone {
			continue
		}
		n.ready = false
		w.step(n)
	}
}

func (w *world) step(n *node) {
	if n.asleep.After(w.now) {
		n.ready = true // so that nobody asks it
		w.at(n.asleep, func() {
			n.ready = false
			w.wake(n)
		})
		return
	}
	next := n.s.step(w.now)
	if next.IsZero() || !n.due.IsZero() && n.due.After(w.now) && !next.Before(n.due) {
		return
	}
	if !next.After(w.now) {
		w.fail("progress", "%s wants to be called at once after it was called", n.name)
	}
	n.due = next
	w.at(next, func() { w.wake(n) })
}

// chance is true with probability p.
func (w *world) chance(p float64) bool { return w.rand.Float64() < p }

// between returns a time from a to b.
func (w *world) between(a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(w.rand.Int64N(int64(b-a)))
}

// number returns a number from a to b, both inclusive.
func (w *world) number(a, b int) int { return a + w.rand.IntN(b-a+1) }

// pick returns one of vs.
func pick[T any](w *world, vs ...T) T { return vs[w.rand.IntN(len(vs))] }

// An event is something that is to come.
type event struct {
	at  time.Time
	seq uint64
	f   func()
}

// An eventQueue has the earliest first.
type eventQueue []*event

func (q eventQueue) Len() int { return len(q) }

func (q eventQueue) Less(i, j int) bool {
	if c := q[i].at.Compare(q[j].at); c != 0 {
		return c < 0
	}
	return q[i].seq < q[j].seq
}

func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(*event)) }

func (q *eventQueue) Pop() any {
	old := *q
	n := len(old) - 1
	ev := old[n]
	old[n] = nil
	*q = old[:n]
	return ev
}
