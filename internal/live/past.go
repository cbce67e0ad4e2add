package live

import (
	"time"
)

// kept is how long the past is kept, in seconds.
const kept = 3600

// A sample is one second of a session. It is small because there are many.
type sample struct {
	second  int64
	viewers uint32
	dropped uint32  // frames missing
	bits    float32 // that came
	fps     float32
	quality float32 // 0 to 100
	delay   float32 // ingest to publish, mean in seconds; 0: nothing came
	rtt     float32 // seconds; 0: unknown
	jitter  float32 // seconds
	loss    float32 // 0 to 1
}

// samples are the last hour, oldest first from at. They grow with the session.
type samples struct {
	list []sample
	at   int // of the oldest, once list is full
}

func (s *samples) add(x sample) {
	if len(s.list) < kept {
		s.list = append(s.list, x)
		return
	}
	s.list[s.at] = x
	s.at = (s.at + 1) % kept
}

// since calls f for each sample of second from and later.
func (s *samples) since(from int64, f func(sample)) {
	for i := range s.list {
		if x := s.list[(s.at+i)%len(s.list)]; x.second >= from {
			f(x)
		}
	}
}

// bounds are those of the histograms of delays.
var bounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// seconds returns bounds as Prometheus has them.
func seconds() []float64 {
	out := make([]float64, len(bounds))
	for i, b := range bounds {
		out[i] = b.Seconds()
	}
	return out
}

// delays count how long something took.
type delays struct {
	counts [len(bounds) + 1]uint32
	n      uint32
	sum    time.Duration
}

func (d *delays) observe(v time.Duration) {
	v = max(v, 0)
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	d.counts[i]++
	d.n++
	d.sum += v
}

// addTo adds d to h, which has room.
func (d *delays) addTo(h *Histogram) {
	for i, n := range d.counts {
		h.Counts[i] += uint64(n)
	}
	h.Count += uint64(d.n)
	h.Sum += d.sum
}

func newHistogram() Histogram {
	return Histogram{Bounds: bounds[:], Counts: make([]uint64, len(bounds)+1)}
}

// slot is how long one entry of a delayLog is.
const slot = 10 * time.Second

// A delayLog keeps delays of the last hour by slots, and all since the start.
type delayLog struct {
	all  delays
	list []slotDelays // grows with the session, then a ring with the oldest at
	at   int
}

type slotDelays struct {
	number int64 // of the slot since 1970
	delays
}

func numberOf(t time.Time) int64 { return t.Unix() / int64(slot/time.Second) }

func (l *delayLog) observe(now time.Time, v time.Duration) {
	l.all.observe(v)
	number := numberOf(now)
	if len(l.list) == 0 || l.newest().number != number {
		l.push(slotDelays{number: number})
	}
	l.newest().observe(v)
}

func (l *delayLog) newest() *slotDelays {
	n := len(l.list)
	return &l.list[(l.at+n-1)%n]
}

func (l *delayLog) push(d slotDelays) {
	if len(l.list) < int(time.Hour/slot) {
		l.list = append(l.list, d)
		return
	}
	l.list[l.at] = d
	l.at = (l.at + 1) % len(l.list)
}

// addSince adds what was observed in the period before now; a zero period: all.
func (l *delayLog) addSince(now time.Time, period time.Duration, h *Histogram) {
	if period == 0 {
		l.all.addTo(h)
		return
	}
	from := numberOf(now.Add(-period))
	for i := range l.list {
		if l.list[i].number >= from {
			l.list[i].addTo(h)
		}
	}
}
