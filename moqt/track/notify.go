package track

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A Notifier is told that something changed: bytes were committed, a subgroup
// came or ended, the track ended. Notify is called from writers' goroutines,
// often and with no lock of the track held. It must not block; setting a flag
// and sending on a channel of one slot is what it is for.
//
// No wake-up is lost if the reader, before it sleeps, first clears its flag and
// then looks at the track once more.
type Notifier interface{ Notify() }

// notifierShard bounds what one Attach or detach copies.
const notifierShard = 64

// notifiers is a set of notifiers. Walking it takes no lock.
type notifiers struct {
	mu     sync.Mutex // serialises attach and detach
	shards atomic.Pointer[[]*shard]
}

type shard struct {
	members atomic.Pointer[[]*attachment]
}

type attachment struct {
	n     Notifier
	shard *shard
}

func (s *shard) list() []*attachment {
	if p := s.members.Load(); p != nil {
		return *p
	}
	return nil
}

func (l *notifiers) list() []*shard {
	if p := l.shards.Load(); p != nil {
		return *p
	}
	return nil
}

func (l *notifiers) attach(n Notifier) (detach func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var home *shard
	shards := l.list()
	for _, s := range shards {
		if len(s.list()) < notifierShard {
			home = s
			break
		}
	}
	if home == nil {
		home = new(shard)
		next := append(slices.Clone(shards), home)
		l.shards.Store(&next)
	}
	a := &attachment{n: n, shard: home}
	members := append(slices.Clone(home.list()), a)
	home.members.Store(&members)
	return func() { l.detach(a) }
}

func (l *notifiers) detach(a *attachment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := a.shard.list()
	i := slices.Index(old, a)
	if i < 0 {
		return // detached before
	}
	members := slices.Concat(old[:i], old[i+1:])
	a.shard.members.Store(&members)
}

func (l *notifiers) len() (n int) {
	for _, s := range l.list() {
		n += len(s.list())
	}
	return n
}

func (l *notifiers) notify() {
	for _, s := range l.list() {
		for _, a := range s.list() {
			a.n.Notify()
		}
	}
}

// A waiter is one goroutine that waits for a change, once. It serves the
// readers in this package: they need no Close, because a waiter is in the list
// only while it waits.
type waiter struct {
	wake       chan struct{} // one slot
	prev, next *waiter
	queued     bool
}

func newWaiter() *waiter { return &waiter{wake: make(chan struct{}, 1)} }

// A waitList holds the waiters of a track.
type waitList struct {
	waiting atomic.Int64 // what makes wakeAll cheap when nobody waits
	mu      sync.Mutex
	head    *waiter
}

// add puts w into the list. The caller looks at the track again before it
// sleeps.
func (l *waitList) add(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.queued {
		return
	}
	w.queued, w.prev, w.next = true, nil, l.head
	if l.head != nil {
		l.head.prev = w
	}
	l.head = w
	l.waiting.Add(1)
}

func (l *waitList) remove(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !w.queued {
		return
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.queued, w.prev, w.next = false, nil, nil
	l.waiting.Add(-1)
}

// wakeAll empties the list and wakes everyone who was in it.
func (l *waitList) wakeAll() {
	if l.waiting.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := l.head; w != nil; {
		next := w.next
		w.queued, w.prev, w.next = false, nil, nil
		select {
		case w.wake <- struct{}{}:
		default: // it has not slept since the last time
		}
		w = next
	}
	l.head = nil
	l.waiting.Store(0)
}
