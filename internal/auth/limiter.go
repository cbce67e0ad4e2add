package auth

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of failed attempts: by one address (an IPv6 one stands for its /64),
// and by one address on one input. An input alone has no limit, or anybody could
// keep its publisher out.
const (
	failuresByAddress = 120
	failuresByInput   = 30
	refillByAddress   = 500 * time.Millisecond // for one more
	refillByInput     = 2 * time.Second
	// maxFailing bounds the addresses and inputs that are remembered.
	maxFailing = 16_384
)

// A limiter counts wrong credentials, and says when there were too many.
type limiter struct {
	mu sync.Mutex
	// A full generation becomes the old one, and that is forgotten.
	young, old map[failing]*bucket
}

type failing struct {
	from  netip.Prefix
	input string // empty: whatever it is
}

// A bucket holds failures that have not been forgiven yet.
type bucket struct {
	n    float64
	seen time.Time
}

func (b *bucket) drain(now time.Time, refill time.Duration) {
	b.n = max(0, b.n-float64(now.Sub(b.seen))/float64(refill))
	b.seen = now
}

// block returns what a peer shares with those that it can pass for.
func block(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// keys returns what a failure on an input counts for.
func failures(from netip.Addr, input string) [2]failing {
	p := block(from)
	return [2]failing{{p, ""}, {p, input[:min(len(input), maxName)] + "/"}}
}

// wait returns how long a peer has to wait until it may try again, 0 if it may.
func (l *limiter) wait(now time.Time, from netip.Addr, input string) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, k := range failures(from, input) {
		b := l.find(k)
		if b == nil {
			continue
		}
		most, refill := rate(i)
		b.drain(now, refill)
		if b.n > most-1 {
			wait = max(wait, time.Duration((b.n-most+1)*float64(refill)))
		}
	}
	return wait
}

func rate(i int) (most float64, refill time.Duration) {
	if i == 0 {
		return failuresByAddress, refillByAddress
	}
	return failuresByInput, refillByInput
}

// failed counts a wrong credential.
func (l *limiter) failed(now time.Time, from netip.Addr, input string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, k := range failures(from, input) {
		b := l.find(k)
		if b == nil {
			b = &bucket{seen: now}
		}
		_, refill := rate(i)
		b.drain(now, refill)
		b.n++
		if l.young == nil || len(l.young) >= maxFailing/2 {
			l.young, l.old = make(map[failing]*bucket), l.young
		}
		l.young[k] = b
		delete(l.old, k)
	}
}

// find returns the bucket of k, nil if there is none. l.mu is held.
func (l *limiter) find(k failing) *bucket {
	if b := l.young[k]; b != nil {
		return b
	}
	return l.old[k]
}
