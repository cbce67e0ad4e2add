package egress

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
)

// The urgencies that subgroup streams may have. 0 is for the control streams, 1
// for requests, 7 for padding.
const (
	urgencyFirst = 2 // the newest groups of the best class
	urgencyLast  = 4 // the newest groups of the third class and all below
	urgencyOld   = 5 // groups that one newer group has begun after
	urgencyStale = 6 // groups that several have
	urgencies    = 7
)

// packetOverhead is the least that a packet of stream data holds besides it:
// headers of packet and frame, and the authentication tag. A low figure counts
// too much as sent rather than too little, see backlog.
const packetOverhead = 26

// A backlog estimates how much of what was handed to the transport is
// not sent yet, by urgency, and how much that may be.
//
// The transport says only how many bytes it has sent in all. Of those, the
// packets' own bytes and what had to be sent again are taken off; the rest must
// have been stream data, the most urgent first. What a reset stream had not sent
// is never sent, so it is taken off as well.
//
// The estimate is meant to be a floor, because data held back without need costs
// every viewer, while some more of it in the transport costs only those whose
// connection is too slow for long: it is low by some bytes for each packet, and
// right again whenever the transport has sent everything, as it never falls
// below zero. It can also be too high, when packets were declared lost that held
// no stream data. Two observations correct that. A transport that has data to
// send fills its congestion window: if for two round trips it sent less than
// half of one, while the peer was heard, then half of the estimate is not there.
// And if it sent nothing at all for patience, which doubles each time, all of it
// is forgotten; a dead path gets only that much.
type backlog struct {
	cfg   Config
	ahead [urgencies]ahead
	limit int     // rate × Ahead, within MinAhead and MaxAhead
	rate  float64 // bytes per second that the transport may send; 0: unknown

	exact   bool // the transport tells what has left: nothing has to be estimated
	waiting bool // there was data for which there was no room, the last time

	last     conn.Stats
	measured bool      // last is valid
	blind    bool      // the transport does not measure: no limit
	moved    time.Time // when BytesSent last changed, or there was no backlog
	patience time.Duration
	mark     conn.Stats // at since
	since    time.Time  // the backlog has been above zero
}

// An ahead is what was handed over at one urgency, in order.
type ahead struct {
	bytes int
	parts []part // those from taken on are not sent
	taken int
}

// A part is n bytes of a stream.
type part struct {
	stream uint64
	n      int
}

const (
	// minPatience is how long a silent transport is believed at least.
	minPatience = 250 * time.Millisecond
	// minPause is the least time after which the measure is read again, which
	// bounds what waiting costs.
	minPause = time.Millisecond
	// minWindow is the least time after which a slow transport is judged.
	minWindow = 50 * time.Millisecond
)

func newBacklog(cfg Config) backlog {
	limit := min(max(64<<10, cfg.MinAhead), cfg.MaxAhead) // before the first estimate
	return backlog{cfg: cfg, limit: limit, blind: true}
}

// wrote counts n bytes as handed over on a stream of that urgency.
func (b *backlog) wrote(n, urgency int, stream uint64) {
	if !b.blind {
		b.ahead[urgency].add(part{stream, n})
	}
}

// reset takes off what a stream of that urgency has not sent.
func (b *backlog) reset(urgency int, stream uint64) { b.ahead[urgency].remove(stream) }

// rank moves what a stream has not sent to another urgency.
func (b *backlog) rank(from, to int, stream uint64) {
	if n := b.ahead[from].remove(stream); n > 0 {
		b.ahead[to].add(part{stream, n})
	}
}

func (b *backlog) total() (n int) {
	for i := range b.ahead {
		n += b.ahead[i].bytes
	}
	return n
}

// room reports whether a stream of that urgency may hand over more. What has a
// worse urgency does not count: the transport sends it later.
func (b *backlog) room(urgency int) bool {
	if b.blind && !b.exact {
		return true
	}
	ahead := 0
	for i := range b.ahead[:urgency+1] {
		ahead += b.ahead[i].bytes
	}
	return ahead < b.limit
}

// measure takes what the transport says.
func (b *backlog) measure(now time.Time, s conn.Stats) {
	before := b.last
	b.last = s
	// A transport that measures has sent its handshake at least.
	if b.blind = s.BytesSent == 0; b.blind {
		return
	}
	b.limit = b.allowed(s)
	if b.exact {
		return
	}
	if b.measured {
		b.sent(newlySent(before, s))
	}
	switch {
	case !b.measured || b.total() == 0:
		b.measured = true
		b.moved, b.patience = now, calm(s)
		b.since, b.mark = now, s
		return
	case s.BytesSent != before.BytesSent:
		b.moved, b.patience = now, calm(s)
	case now.Sub(b.moved) >= b.patience:
		b.sent(b.total())
		b.moved, b.patience = now, 2*b.patience
	}
	if now.Sub(b.since) >= max(minWindow, 2*s.SmoothedRTT) {
		if s.BytesSent-b.mark.BytesSent < s.CongestionWindow/2 && s.BytesReceived != b.mark.BytesReceived {
			b.sent((b.total() + 1) / 2)
		}
		b.since, b.mark = now, s
	}
}

// newlySent returns how much stream data was sent for the first time between
// two measures.
func newlySent(before, after conn.Stats) int {
	sent := int64(after.BytesSent - before.BytesSent)
	packets := int64(after.PacketsSent - before.PacketsSent)
	if sent > 0 && packets > 0 {
		lost := int64(after.PacketsLost - before.PacketsLost)
		sent -= packets*packetOverhead + lost*(sent/packets)
	}
	return int(max(sent, 0))
}

// calm returns the patience with a transport that sends.
func calm(s conn.Stats) time.Duration { return max(minPatience, 4*s.SmoothedRTT) }

// sent takes n bytes off the backlog, the best urgency first.
func (b *backlog) sent(n int) {
	for i := range b.ahead {
		n -= b.ahead[i].take(n)
	}
}

// allowed returns the limit for a connection with these measures.
func (b *backlog) allowed(s conn.Stats) int {
	if s.CongestionWindow == 0 || s.SmoothedRTT <= 0 {
		return b.limit
	}
	b.rate = float64(s.CongestionWindow) / s.SmoothedRTT.Seconds()
	bytes := min(b.rate*b.cfg.Ahead.Seconds(), float64(b.cfg.MaxAhead))
	return max(int(bytes), b.cfg.MinAhead)
}

// pause returns how long to wait when the limit is reached: until half of it may
// have been sent, so that the transport of a fast connection does not run dry
// within a tick.
func (b *backlog) pause() time.Duration {
	if b.rate == 0 {
		return b.cfg.Tick
	}
	half := time.Duration(float64(b.limit) / 2 / b.rate * float64(time.Second))
	return min(max(half, minPause), b.cfg.Tick)
}

// add appends p.
func (a *ahead) add(p part) {
	a.bytes += p.n
	if last := len(a.parts) - 1; last >= a.taken && a.parts[last].stream == p.stream {
		a.parts[last].n += p.n
		return
	}
	if a.taken > len(a.parts)/2 {
		a.parts, a.taken = slices.Delete(a.parts, 0, a.taken), 0
	}
	a.parts = append(a.parts, p)
}

// take takes at most n bytes off the front and returns how many.
func (a *ahead) take(n int) (took int) {
	for took < n && a.taken < len(a.parts) {
		p := &a.parts[a.taken]
		k := min(n-took, p.n)
		took += k
		if p.n -= k; p.n == 0 {
			a.taken++
		}
	}
	a.bytes -= took
	return took
}

// remove takes off everything of a stream and returns how much that was.
func (a *ahead) remove(stream uint64) (n int) {
	a.parts = slices.DeleteFunc(slices.Delete(a.parts, 0, a.taken), func(p part) bool {
		if p.stream == stream {
			n += p.n
		}
		return p.stream == stream
	})
	a.taken = 0
	a.bytes -= n
	return n
}
