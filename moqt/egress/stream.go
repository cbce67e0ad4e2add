package egress

import (
	"math"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

type streamState uint8

const (
	held      streamState = iota // forward is off, or no object within the filter has come
	waiting                      // wants a stream
	streaming                    // has one
)

// An stream is a subgroup on its way to one subscriber: a cursor into its
// log, and the stream once there is one. The core owns it.
type stream struct {
	sub   *subscription
	log   *track.Subgroup
	out   conn.SendStream // for the egress; the core does not touch it
	state streamState
	id    uint64 // of the stream, on this connection
	group uint64
	age   uint64    // how many groups had begun on the subscription before it
	since time.Time // when the subscription saw it

	// What goes ahead of the log: the subgroup header and, if the subscriber
	// enters in the middle, the first object's header once more, because an ID
	// is absolute at the start of a stream.
	head    []byte
	first   []byte
	headBuf [wire.MaxSubgroupHeader]byte
	pos     int64 // in the log, of the next byte to send

	urgency int // 0 before it was ranked
	chunk   int // what the next write may take
	parked  bool
}

func (st *stream) class() uint16 {
	return classOf(st.sub.cfg.Priority, st.log.Priority())
}

// before reports whether st goes ahead of other (section 7.2). Equals of
// different subscriptions are in no order.
func (st *stream) before(other *stream) bool {
	if a, b := st.class(), other.class(); a != b {
		return a < b
	}
	if st.sub != other.sub {
		return false
	}
	if st.group != other.group {
		return (st.group < other.group) != (st.sub.cfg.Order == track.Descending)
	}
	if a, b := st.log.Header().Subgroup, other.log.Header().Subgroup; a != b {
		return a < b
	}
	return st.log.Seq() < other.log.Seq()
}

// place sets the cursor to the first object of the log that passes the filter.
// It reports whether there is one yet, and otherwise whether there may be one.
func (st *stream) place() (found, maybe bool) {
	cfg := &st.sub.cfg
	h := st.log.Header().Wire(cfg.Alias)
	st.pos, st.first = 0, nil
	if st.group == cfg.Start.Group && cfg.Start.Object > 0 {
		state, _ := st.log.State() // before the look at its objects
		i := st.log.SearchID(cfg.Start.Object)
		ref, ok := st.log.Object(i)
		if !ok {
			return false, state == track.Open
		}
		if i > 0 {
			header, _, err := wire.ParseObjectHeader(st.log.Bytes(ref.Off, int(ref.PayloadOff-ref.Off)), h.Properties)
			if err != nil {
				return false, false // evicted
			}
			header.IDDelta = ref.ID
			st.first = header.Append(nil, h.Properties)
			st.pos = ref.PayloadOff
			h.FirstObject = false
		}
	}
	st.head = h.Append(st.headBuf[:0])
	return true, true
}

// pending reports whether there is something to write.
func (st *stream) pending() bool {
	return st.state == streaming && !st.parked && st.behind()
}

// behind reports whether there is something to send, stream or not.
func (st *stream) behind() bool {
	return st.state != held && (len(st.head) > 0 || len(st.first) > 0 || st.pos < st.log.Committed())
}

// data returns what to write next, in one piece, and whether it ends with the
// subgroup header.
func (st *stream) data() (b []byte, boundary bool) {
	switch {
	case len(st.head) > 0:
		b = st.head[:min(len(st.head), st.chunk)]
		return b, len(b) == len(st.head)
	case len(st.first) > 0:
		return st.first[:min(len(st.first), st.chunk)], false
	}
	return st.log.Bytes(st.pos, st.chunk), false
}

// advance takes n written bytes off what is to be sent.
func (st *stream) advance(n int) {
	switch {
	case len(st.head) > 0:
		st.head = st.head[n:]
	case len(st.first) > 0:
		st.first = st.first[n:]
	default:
		st.pos += int64(n)
	}
	st.chunk = min(4*st.chunk, quantum)
}

// An ending is how a stream has to end.
type ending uint8

const (
	goesOn   ending = iota
	atEnd           // the log is complete and was written whole
	cutShort        // the log was cut
)

// end returns how the stream has to end now, and the code of a cut log.
func (st *stream) end() (ending, wire.ResetCode) {
	state, code := st.log.State() // before Committed
	switch {
	case state == track.Aborted:
		return cutShort, code
	case state == track.Complete && st.state != held && !st.behind():
		return atEnd, 0
	}
	return goesOn, 0
}

// lag returns how long the next byte has been waiting for this subscriber.
func (st *stream) lag(now time.Time) time.Duration {
	from := st.since
	if ref, ok := st.log.Object(st.log.SearchOffset(st.pos)); ok && ref.Arrival.After(from) {
		from = ref.Arrival
	}
	return now.Sub(from)
}

// openEnd is the end group of a subscription that has none.
const openEnd uint64 = math.MaxUint64
