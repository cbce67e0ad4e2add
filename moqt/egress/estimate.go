package egress

import (
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
)

// An Estimate is what is known of what a connection can carry.
type Estimate struct {
	// Rate is in bytes of UDP payload per second, without what was lost. Zero:
	// not known yet.
	Rate float64
	// Limited reports whether the connection was the limit when Rate was
	// measured. Otherwise nothing more was there to send, and the connection may
	// carry more.
	Limited bool
	// At is when Rate was measured.
	At time.Time
	// Unsent is how many bytes of streams were with the transport and had not
	// left yet when the scheduler looked last.
	Unsent int
}

// Estimate returns the latest estimate. It may be called from any goroutine.
func (e *Scheduler) Estimate() Estimate {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.estimate
}

// An estimator measures the rate at which a connection delivers.
//
// Transports do not say what was acknowledged. But whoever has data waiting
// sends no faster than acknowledgements come in, so what left in two round trips,
// less what was lost of it, is what was delivered in as much time. While there
// was nothing to wait, the same figure is only a lower bound: it counts if it is
// above what is known.
type estimator struct {
	Estimate
	from    time.Time // of the window
	mark    conn.Stats
	limited bool // data has been waiting since from
}

const (
	// minEstimateWindow is the least time over which the rate is measured.
	minEstimateWindow = 200 * time.Millisecond
	// estimateMemory is how many windows the rate is an average of.
	estimateMemory = 4
)

// measure takes what the transport says. waiting says whether data waits for
// it. It reports whether there is a new rate of a connection that was the limit.
func (e *estimator) measure(now time.Time, s conn.Stats, waiting bool) bool {
	if e.from.IsZero() || s.BytesSent == 0 {
		e.begin(now, s, waiting)
		return false
	}
	if !waiting && e.limited {
		e.begin(now, s, false) // the window was neither
		return false
	}
	d := now.Sub(e.from)
	if d < max(minEstimateWindow, 2*s.SmoothedRTT) {
		return false
	}
	rate := delivered(e.mark, s) / d.Seconds()
	limited := e.limited
	e.begin(now, s, waiting)
	switch {
	case limited && e.Limited:
		e.Rate += (rate - e.Rate) / estimateMemory
	case limited, rate > e.Rate:
		e.Rate = rate
	default:
		return false // less was there to send
	}
	e.Limited, e.At = limited, now
	return limited
}

func (e *estimator) begin(now time.Time, s conn.Stats, waiting bool) {
	e.from, e.mark, e.limited = now, s, waiting
}

// delivered returns how many of the bytes sent between two measures arrived.
func delivered(before, after conn.Stats) float64 {
	sent := float64(after.BytesSent - before.BytesSent)
	packets := float64(after.PacketsSent - before.PacketsSent)
	lost := float64(after.PacketsLost - before.PacketsLost)
	if packets == 0 || lost >= packets {
		return 0
	}
	return sent * (1 - lost/packets)
}
