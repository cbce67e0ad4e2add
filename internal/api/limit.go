package api

import (
	"container/list"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Limits bounds what clients may ask for. The zero value is the default.
type Limits struct {
	// Key is how many requests a second one API key may send on average, and
	// KeyBurst how many at once. Zero means 100 and 300.
	Key, KeyBurst float64
	// Address is the same for one address (an IPv6 one counts as its /64), all
	// its keys together. Zero means 200 and 600.
	Address, AddressBurst float64
	// Failed is how many refused credentials a second one address may show.
	// Zero means 5 and 50.
	Failed, FailedBurst float64
	// Clients is how many keys and addresses are told apart; past that the one
	// that has been quiet the longest is forgotten. Zero means 65536.
	Clients int
	// Body is the longest request body in bytes. Zero means 64 KiB.
	Body int64
	// Streams is how many event streams are open at a time, and KeyStreams how
	// many of one key. Zero means 1000 and 50.
	Streams, KeyStreams int
	// Replays is how many answers are kept for a repeated Idempotency-Key, and
	// ReplayBytes how long they are together. Zero means 10000 and 32 MiB.
	Replays, ReplayBytes int
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		v    *float64
		zero float64
	}{
		{&l.Key, 100}, {&l.KeyBurst, 300}, {&l.Address, 200}, {&l.AddressBurst, 600}, {&l.Failed, 5}, {&l.FailedBurst, 50},
	} {
		if *d.v <= 0 {
			*d.v = d.zero
		}
	}
	for _, d := range []struct {
		v    *int
		zero int
	}{
		{&l.Clients, 1 << 16}, {&l.Streams, 1000}, {&l.KeyStreams, 50}, {&l.Replays, 10_000}, {&l.ReplayBytes, 32 << 20},
	} {
		if *d.v <= 0 {
			*d.v = d.zero
		}
	}
	if l.Body <= 0 {
		l.Body = 64 << 10
	}
	return l
}

// A limiter is a token bucket for each client.
type limiter struct {
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

func newLimiter(rate, burst float64, most int, now func() time.Time) *limiter {
	return &limiter{rate: rate, burst: burst, most: most, now: now, clients: map[string]*list.Element{}}
}

// take takes n tokens of client, or says how long it is until there are so
// many. n 0 only looks whether there is one.
func (l *limiter) take(client string, n float64) (wait time.Duration, ok bool) {
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
func (l *limiter) of(client string) *bucket {
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

// retryAfter is a Retry-After (RFC 9110 section 10.2.3) of whole seconds.
func retryAfter(wait time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
}

// clientAddress is what an address counts as: an IPv6 one as its /64, which
// one customer has. remote is host:port.
func clientAddress(remote string) string {
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
