package srt

import (
	"net/netip"
	"time"
)

// The attempts that one network may make, each of which costs the derivation of
// a key.
const (
	attemptRate  = 16 // a second
	attemptBurst = 64
	maxNetworks  = 4096
)

// A limiter counts attempts by network: /24 of IPv4, /48 of IPv6. It has one
// owner.
type limiter struct{ networks map[netip.Prefix]allowance }

type allowance struct {
	left float64
	at   time.Time
}

func newLimiter() *limiter { return &limiter{make(map[netip.Prefix]allowance)} }

// take reports whether one more attempt from addr may be looked at.
func (l *limiter) take(now time.Time, addr netip.Addr) bool {
	bits := 48
	if addr = addr.Unmap(); addr.Is4() {
		bits = 24
	}
	network, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return false
	}
	a, known := l.networks[network]
	if !known {
		if len(l.networks) >= maxNetworks {
			l.forget(now)
		}
		a = allowance{attemptBurst, now}
	}
	a.left = min(a.left+now.Sub(a.at).Seconds()*attemptRate, attemptBurst) - 1
	a.at = now
	allowed := a.left >= 0
	a.left = max(a.left, 0)
	if known || len(l.networks) < maxNetworks { // else so many that only the bound on all of them is left
		l.networks[network] = a
	}
	return allowed
}

// forget drops the networks that have their whole allowance again.
func (l *limiter) forget(now time.Time) {
	for n, a := range l.networks {
		if a.left+now.Sub(a.at).Seconds()*attemptRate >= attemptBurst {
			delete(l.networks, n)
		}
	}
}
