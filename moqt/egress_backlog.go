package moqt

import "time"

// The urgencies that subgroup streams may have. 0 is for the control streams, 1
// for requests, 7 for padding.
const (
	egressUrgencyFirst = 2 // the newest groups of the best class
	egressUrgencyLast  = 4 // the newest groups of the third class and all below
	egressUrgencyOld   = 5 // groups that one newer group has begun after
	egressUrgencyStale = 6 // groups that several have
	egressUrgencies    = 7
)

// packetOverhead is the least that a packet holds besides stream data: header,
// frame header and authentication tag. A low figure counts too much as sent
// rather than too little, see egressBacklog.
const packetOverhead = 24

// An egressBacklog estimates how much of what was handed to the transport is
// not sent yet, by urgency, and how much that may be.
//
// The transport says only how many bytes it has sent in all. Of those, the
// packets' own bytes and what had to be sent again are taken off; requests,
// acknowledgements and the rest of the overhead are not, so that the estimate
// errs on the low side: it is a floor of the true backlog, and returns to zero
// when the transport has sent everything. The estimate never falls below zero,
// which is what keeps the error from adding up, and never exceeds what was
// handed over. Should it be too high all the same (packets that were declared
// lost but were not), it would never return to zero; so it is forgotten when
// nothing was sent for patience, which doubles until something is.
type egressBacklog struct {
	cfg   EgressConfig
	bytes [egressUrgencies]int // handed over and not known to be sent
	limit int                  // rate × Ahead, within MinAhead and MaxAhead

	last     ConnStats
	measured bool      // last is valid
	blind    bool      // the transport does not measure: no limit
	moved    time.Time // when last changed, or the backlog was empty
	patience time.Duration
}

// minPatience is how long a silent transport is believed to hold the backlog
// at least.
const minPatience = 250 * time.Millisecond

func newEgressBacklog(cfg EgressConfig) egressBacklog {
	limit := min(max(64<<10, cfg.MinAhead), cfg.MaxAhead) // before the first estimate
	return egressBacklog{cfg: cfg, limit: limit, blind: true}
}

// wrote counts n bytes of a stream of that urgency as handed over.
func (b *egressBacklog) wrote(n, urgency int) { b.bytes[urgency] += n }

func (b *egressBacklog) total() (n int) {
	for _, v := range b.bytes {
		n += v
	}
	return n
}

// room reports whether a stream of that urgency may hand over more. What has a
// worse urgency does not count: the transport sends it later.
func (b *egressBacklog) room(urgency int) bool {
	if b.blind {
		return true
	}
	ahead := 0
	for _, v := range b.bytes[:urgency+1] {
		ahead += v
	}
	return ahead < b.limit
}

// measure takes what the transport says.
func (b *egressBacklog) measure(now time.Time, s ConnStats) {
	before := b.last
	b.last = s
	// A transport that measures has sent its handshake at least.
	if b.blind = s.BytesSent == 0; b.blind {
		return
	}
	b.limit = b.ahead(s)
	if !b.measured {
		b.measured, b.moved, b.patience = true, now, b.calm(s)
		return
	}
	sent := int64(s.BytesSent - before.BytesSent)
	packets := int64(s.PacketsSent - before.PacketsSent)
	if sent > 0 && packets > 0 {
		lost := int64(s.PacketsLost - before.PacketsLost)
		sent -= packets*packetOverhead + lost*(sent/packets)
	}
	b.sent(int(max(sent, 0)))
	switch {
	case s.BytesSent != before.BytesSent || b.total() == 0:
		b.moved, b.patience = now, b.calm(s)
	case now.Sub(b.moved) >= b.patience:
		clear(b.bytes[:])
		b.moved, b.patience = now, 2*b.patience
	}
}

// sent takes n bytes off the backlog, the best urgency first.
func (b *egressBacklog) sent(n int) {
	for i := range b.bytes {
		took := min(n, b.bytes[i])
		b.bytes[i] -= took
		n -= took
	}
}

// ahead returns the limit for a connection with these measures.
func (b *egressBacklog) ahead(s ConnStats) int {
	if s.CongestionWindow == 0 || s.SmoothedRTT <= 0 {
		return b.limit
	}
	rate := float64(s.CongestionWindow) / s.SmoothedRTT.Seconds()
	bytes := min(rate*b.cfg.Ahead.Seconds(), float64(b.cfg.MaxAhead))
	return max(int(bytes), b.cfg.MinAhead)
}

// calm returns the patience with a connection that sends.
func (b *egressBacklog) calm(s ConnStats) time.Duration {
	return max(minPatience, 4*s.SmoothedRTT)
}
