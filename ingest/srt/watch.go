package srt

import (
	"strconv"
	"strings"
	"sync"
	"time"

	gosrt "github.com/datarhei/gosrt"
)

// A watcher is gosrt's logger, through which it shows what it tells nobody
// otherwise. It calls Print in the midst of its work, on the goroutine that does
// it, which is why this can do more than log.
type watcher struct {
	// mtu is what the handshake that was read last said, or -1. It belongs to
	// whoever calls Accept2, which is where a listener reads handshakes.
	mtu int

	mu    sync.Mutex
	links map[uint32]*link // by our socket id
}

var _ gosrt.Logger = (*watcher)(nil)

func newWatcher() *watcher { return &watcher{mtu: -1, links: make(map[uint32]*link)} }

// add makes the end of the connection that l reads one that waits for l.
func (w *watcher) add(l *link) (remove func()) {
	id := l.conn.SocketId()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links[id] = l
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.links, id)
	}
}

// Topics of gosrt's log.
const (
	topicHandshake = "handshake:recv:cif"
	topicShutdown  = "control:recv:shutdown:dump"
)

// HasTopic implements gosrt.Logger.
func (*watcher) HasTopic(topic string) bool { return topic == topicHandshake || topic == topicShutdown }

// Listen implements gosrt.Logger.
func (*watcher) Listen() <-chan gosrt.Log { return nil }

// Close implements gosrt.Logger.
func (*watcher) Close() {}

// Print implements gosrt.Logger.
func (w *watcher) Print(topic string, socket uint32, _ int, message func() string) {
	switch topic {
	case topicHandshake:
		w.mtu = mtuOf(message())
	case topicShutdown:
		// This is the one goroutine that reads what comes from the network for
		// that connection; when it goes on it throws away what is not due yet.
		w.mu.Lock()
		l := w.links[socket]
		w.mu.Unlock()
		if l != nil {
			l.drain()
		}
	}
}

// mtuOf finds the peer's MTU in gosrt's description of a handshake.
func mtuOf(text string) int {
	const label = "maxTransmissionUnitSize: "
	_, rest, ok := strings.Cut(text, label)
	if !ok {
		return -1
	}
	rest, _, _ = strings.Cut(rest, " ")
	n, err := strconv.ParseUint(rest, 0, 32)
	if err != nil {
		return -1
	}
	return int(n)
}

// minMTU is the least MTU that a peer may say: room for one transport packet.
// What is less than gosrt's own headers makes it allocate 4 GiB.
const minMTU = gosrt.UDP_HEADER_SIZE + gosrt.SRT_HEADER_SIZE + 188

// drainTick is how often drain looks. gosrt delivers every 10 ms.
const drainTick = 10 * time.Millisecond

// drain waits until what was received has become due and was read.
func (l *link) drain() {
	var s gosrt.Statistics
	l.conn.Stats(&s)
	limit := time.NewTimer(min(time.Duration(s.Instantaneous.MsRecvTsbPdDelay)*time.Millisecond, peerIdle) + 2*drainTick)
	defer limit.Stop()
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	for {
		select {
		case <-l.stopped:
			return
		case <-limit.C:
			return
		case <-tick.C:
		}
		before := s.Instantaneous.PktRecvBuf
		if l.conn.Stats(&s); before == 0 && s.Instantaneous.PktRecvBuf == 0 {
			return // and what was delivered a tick ago has been read
		}
	}
}
