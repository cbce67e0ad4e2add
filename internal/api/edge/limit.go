package edge

import (
	"container/list"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// A Limiter is a token bucket for each client.
type Limiter struct {
	rate, burst float64 // tokens a second, tokens
	most        int
	now         func() time.Time

	mu      sync.Mutex
	clients map[string]*list.Element // of *bucket
	recent  list.List                // the most recent client first
}

type bucket struct {
	client string
	tokens float64
	at     time.Time
}

// NewLimiter makes a limiter that gives each client rate tokens a second, and
// burst at once. It tells most clients apart: past that, the one that has been
// quiet the longest is forgotten.
func NewLimiter(rate, burst float64, most int, now func() time.Time) *Limiter {
	return &Limiter{rate: rate, burst: burst, most: most, now: now, clients: map[string]*list.Element{}}
}

// Take takes n tokens of client, or says how long it is until there are so
// many. n 0 only looks whether there is one.
func (l *Limiter) Take(client string, n float64) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, now := l.of(client), l.now()
	b.tokens = min(l.burst, b.tokens+max(0, now.Sub(b.at).Seconds())*l.rate)
	b.at = now
	if need := max(n, 1); b.tokens < need {
		return time.Duration((need - b.tokens) / l.rate * float64(time.Second)), false
	}
	b.tokens -= n
	return 0, true
}

// of returns the bucket of client. l.mu is held.
func (l *Limiter) of(client string) *bucket {
	if e, ok := l.clients[client]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*bucket)
	}
	if l.recent.Len() >= l.most {
		oldest := l.recent.Back()
		delete(l.clients, oldest.Value.(*bucket).client)
		l.recent.Remove(oldest)
	}
	b := &bucket{client: client, tokens: l.burst, at: l.now()}
	l.clients[client] = l.recent.PushFront(b)
	return b
}

// RetryAfter is a Retry-After (RFC 9110 section 10.2.3) of whole seconds.
func RetryAfter(wait time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
}

// Address is what an address counts as: an IPv6 one as its /64, which
// one customer has. remote is host:port.
func Address(remote string) string {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	ip := addr.Addr().Unmap().WithZone("")
	if ip.Is6() {
		p, _ := ip.Prefix(64) // never fails for IPv6
		return p.String()
	}
	return ip.String()
}
