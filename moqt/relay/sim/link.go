package sim

import (
	"time"
)

// A linkConfig is one direction of a connection.
type linkConfig struct {
	rate   int           // bytes per second
	delay  time.Duration // of every packet
	jitter time.Duration // of some, which lets later ones overtake
	loss   float64       // of packets: stream data comes later, datagrams never
	queue  int           // bytes that may wait to be sent
}

// packetSize is the most that a packet holds.
const packetSize = 1200

// A link sends what one end has to send: what is about flow control and streams
// first, then datagrams, then stream data by urgency.
type link struct {
	w        *world
	from     *conn
	cfg      linkConfig
	signals  []signal
	grams    [][]byte
	sending  []*half // that have something to send
	queued   int     // bytes of these
	busy     bool    // until the packet under way has left
	dark     time.Time
	sent     uint64 // bytes that have left
	packets  uint64
	lost     uint64
	received uint64 // bytes that have arrived
}

// A signal is a frame that carries no data. It arrives as a call.
type signal struct {
	what   string
	stream uint64
	arg    uint64
	f      func()
}

const signalSize = 30

// signal sends a frame without data.
func (l *link) signal(what string, stream, arg uint64, f func()) {
	l.signals = append(l.signals, signal{what, stream, arg, f})
	l.pump()
}

// pump sends the next packet, unless one is under way.
func (l *link) pump() {
	if l.busy || l.from.closed && len(l.signals) == 0 {
		return
	}
	size, arrive, stream := l.next()
	if size == 0 {
		return
	}
	l.busy = true
	w := l.w
	leave := w.now.Add(time.Duration(float64(size) / float64(l.cfg.rate) * float64(time.Second)))
	l.packets++
	at := leave.Add(l.cfg.delay)
	if l.cfg.jitter > 0 && w.chance(0.2) {
		at = at.Add(w.between(0, l.cfg.jitter))
	}
	for l.cfg.loss > 0 && w.chance(l.cfg.loss) || leave.Before(l.dark) {
		// It is sent again after a round trip and a half, if it is a stream's.
		l.lost++
		if !stream {
			arrive = func() {}
			break
		}
		again := 3*l.cfg.delay + 10*time.Millisecond
		at = at.Add(again)
		if leave = leave.Add(again); leave.Before(l.dark) {
			at, leave = at.Add(l.dark.Sub(leave)), l.dark
		}
	}
	w.at(w.now.Add(time.Duration(float64(size)/float64(l.cfg.rate)*float64(time.Second))), func() {
		l.busy = false
		l.sent += uint64(size)
		l.pump()
	})
	w.at(at, func() {
		l.received += uint64(size)
		arrive()
	})
}

// next takes what goes into the next packet.
func (l *link) next() (size int, arrive func(), stream bool) {
	if len(l.signals) > 0 {
		s := l.signals[0]
		l.signals = l.signals[1:]
		l.w.note(l.from.name, s.what, s.stream, s.arg, 0)
		return signalSize, s.f, true
	}
	if len(l.grams) > 0 {
		b := l.grams[0]
		l.grams = l.grams[1:]
		l.w.note(l.from.name, "datagram", 0, uint64(len(b)), digest(b))
		peer := l.from.peer
		return len(b) + signalSize, func() { peer.gram(b) }, false
	}
	h := l.best()
	if h == nil {
		return 0, nil, false
	}
	b := h.unsent[:min(len(h.unsent), packetSize)]
	h.unsent = h.unsent[len(b):]
	if l.queued > l.cfg.queue-someRoom {
		l.from.roomAt = l.w.now
	}
	l.queued -= len(b)
	off := h.sent
	h.sent += int64(len(b))
	fin := h.fin && len(h.unsent) == 0
	if len(h.unsent) == 0 {
		l.remove(h)
	}
	what := "data"
	if fin {
		what, h.finSent = "data FIN", true
	}
	l.w.note(l.from.name, what, h.st.id, uint64(len(b)), digest(b))
	return len(b) + signalSize, func() { h.arrive(off, b, fin) }, true
}

// best returns the half whose data goes next: the most urgent, of these the one
// that was opened first.
func (l *link) best() (best *half) {
	for _, h := range l.sending {
		if best == nil || h.urgency < best.urgency || h.urgency == best.urgency && h.st.id < best.st.id {
			best = h
		}
	}
	return best
}

// send queues h.
func (l *link) send(h *half) {
	if !h.listed {
		h.listed = true
		l.sending = append(l.sending, h)
	}
	l.pump()
}

// remove takes h out, which has nothing to send.
func (l *link) remove(h *half) {
	for i, o := range l.sending {
		if o == h {
			l.sending = append(l.sending[:i], l.sending[i+1:]...)
			h.listed = false
			return
		}
	}
}
