package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// A Config describes a link. The zero value changes nothing.
type Config struct {
	// Rate is that of the bottleneck towards the client in bits per second of
	// UDP payload. Zero means no limit.
	Rate int64 `json:"rate_bits,omitempty"`
	// Delay is that of one way, each way.
	Delay time.Duration `json:"delay_ns,omitempty"`
	// Queue is how many bytes may wait for the bottleneck. Zero means 100 ms of
	// Rate, and 3000 bytes at the least.
	Queue int `json:"queue_bytes,omitempty"`
	// Loss is the share of packets towards the client that are lost, 0 to 1,
	// beside those that find the queue full.
	Loss float64 `json:"loss,omitempty"`
	// Seed chooses which ones.
	Seed uint64 `json:"seed,omitempty"`
}

// Direct reports whether the link changes nothing, so that none is needed.
func (c Config) Direct() bool { return c.Rate == 0 && c.Delay == 0 && c.Loss == 0 }

const leastQueue = 3000 // two packets

// Checked returns c with its defaults filled in, or every fault at once.
func (c Config) Checked() (Config, error) {
	var faults []error
	if c.Rate < 0 || c.Rate > 0 && c.Rate < 8_000 || c.Rate > 100_000_000_000 {
		faults = append(faults, fmt.Errorf("link: a rate of %d bit/s, want 8000 to 1e11, or 0 for no limit", c.Rate))
	}
	if c.Delay < 0 || c.Delay > 10*time.Second {
		faults = append(faults, fmt.Errorf("link: a delay of %v, want 0 to 10s", c.Delay))
	}
	if c.Queue < 0 || c.Queue > 1<<30 {
		faults = append(faults, fmt.Errorf("link: a queue of %d bytes, want 0 to 1 GiB", c.Queue))
	}
	if !(c.Loss >= 0 && c.Loss <= 1) {
		faults = append(faults, fmt.Errorf("link: a loss of %v, want 0 to 1", c.Loss))
	}
	if c.Queue == 0 {
		c.Queue = max(leastQueue, int(c.Rate/8/10))
	}
	return c, errors.Join(faults...)
}

// String describes the link for people.
func (c Config) String() string {
	if c.Direct() {
		return "direct"
	}
	s := "unlimited"
	if c.Rate > 0 {
		s = fmt.Sprintf("%g Mbit/s", float64(c.Rate)/1e6)
	}
	s += fmt.Sprintf(", %v one way", c.Delay)
	if c.Rate > 0 && c.Queue > 0 {
		s += fmt.Sprintf(", queue %g KB", float64(c.Queue)/1000)
	}
	if c.Loss > 0 {
		s += fmt.Sprintf(", loss %g %%", 100*c.Loss)
	}
	return s
}

// A shaper decides what becomes of the packets of one direction. It is a step
// function: it has no clock of its own, and a seed replays exactly.
type shaper struct {
	cfg  Config
	rand *rand.Rand
	free time.Time // when the bottleneck has sent all that it took

	sent, full, lost uint64 // packets
}

func newShaper(cfg Config) *shaper {
	return &shaper{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0x6c696e6b))}
}

// take returns when a packet of size bytes that comes at now arrives, and false
// if it is lost.
func (s *shaper) take(now time.Time, size int) (arrives time.Time, ok bool) {
	lost := s.cfg.Loss > 0 && s.rand.Float64() < s.cfg.Loss
	leaves := now
	if s.cfg.Rate > 0 {
		if waiting := s.waiting(now); waiting > 0 && waiting+size > s.cfg.Queue {
			s.full++
			return time.Time{}, false
		}
		if s.free.Before(now) {
			s.free = now
		}
		s.free = s.free.Add(time.Duration(int64(size) * 8 * int64(time.Second) / s.cfg.Rate))
		leaves = s.free
	}
	if lost { // behind the bottleneck, whose time it took
		s.lost++
		return time.Time{}, false
	}
	s.sent++
	return leaves.Add(s.cfg.Delay), true
}

// waiting returns how many bytes are before the bottleneck.
func (s *shaper) waiting(now time.Time) int {
	if !s.free.After(now) {
		return 0
	}
	return int(s.free.Sub(now).Seconds() * float64(s.cfg.Rate) / 8)
}
