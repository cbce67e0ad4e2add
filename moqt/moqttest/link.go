package moqttest

import (
	"cmp"
	"time"
)

// A link carries one direction. What is sent arrives in order. The lock of its
// pair guards it.
type link struct {
	pair    *pair
	cfg     Link
	free    time.Time // when the last byte so far is sent
	sending []item    // wait for the rate
	flying  []item    // wait for the delay
	queued  int       // bytes in sending
	sent    uint64    // bytes that have left
	arrived uint64
}

type item struct {
	at      time.Time
	size    int
	deliver func() // under the lock
}

func newLink(p *pair, cfg Link) *link {
	cfg.Queue = cmp.Or(cfg.Queue, 64<<10)
	return &link{pair: p, cfg: cfg}
}

// room returns how many bytes may be sent now. A link without a rate takes any.
func (l *link) room() int {
	if l.cfg.Rate == 0 {
		return int(^uint(0) >> 1)
	}
	return max(0, l.cfg.Queue-l.queued)
}

// send makes deliver run when size bytes, and all before them, have arrived.
func (l *link) send(size int, deliver func()) {
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	if l.cfg.Rate > 0 {
		l.free = l.free.Add(time.Duration(float64(size) / float64(l.cfg.Rate) * float64(time.Second)))
	}
	l.queued += size
	l.sending = append(l.sending, item{at: l.free, size: size, deliver: deliver})
	l.run(now)
	if len(l.sending) > 0 {
		l.later(l.free.Sub(now))
	}
}

// later has run called after d. Calls of the same instant may come in any
// order: run looks at what is due, not at who calls.
func (l *link) later(d time.Duration) {
	time.AfterFunc(d, func() {
		l.pair.mu.Lock()
		defer l.pair.mu.Unlock()
		l.run(time.Now())
	})
}

// run moves everything that is due.
func (l *link) run(now time.Time) {
	for len(l.sending) > 0 && !l.sending[0].at.After(now) {
		it := l.sending[0]
		l.sending = l.sending[1:]
		l.queued -= it.size
		l.sent += uint64(it.size)
		if it.size > 0 && l.cfg.Rate > 0 {
			l.pair.change() // there is room again
		}
		it.at = it.at.Add(l.cfg.Delay)
		l.flying = append(l.flying, it)
		if it.at.After(now) {
			l.later(it.at.Sub(now))
		}
	}
	for len(l.flying) > 0 && !l.flying[0].at.After(now) {
		it := l.flying[0]
		l.flying = l.flying[1:]
		l.arrived += uint64(it.size)
		it.deliver()
	}
}
