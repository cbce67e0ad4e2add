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
	tail                         // it has ended with FIN, and may have to be reset
)

// A stream is a subgroup on its way to one subscriber: a cursor into its
// log, and the stream once there is one. Or it is that of a fetch. The core owns
// it.
type stream struct {
	sub    *subscription
	log    *track.Subgroup   // nil of a fetch
	fetch  *fetch            // nil of a subgroup
	out    conn.SendStream   // for the scheduler; the core does not touch it
	shared conn.SharedWriter // out, if it can send bytes from where they are
	state  streamState
	id     uint64 // of the stream, on this connection
	group  uint64
	age    uint64    // how many groups had begun on the subscription before it
	since  time.Time // when the subscription saw it

	// What goes ahead of the log: the subgroup header and, if the subscriber
	// enters in the middle, the first object's header once more, because an ID
	// is absolute at the start of a stream. Of a fetch they are the header of the
	// stream or of the next item, and its payload.
	head    []byte
	first   []byte
	headBuf [wire.MaxSubgroupHeader]byte
	pos     int64 // in the log, of the next byte to send

	begun   bool // the header of the stream is written
	object  bool // some of its objects is
	spare   bool // it waits for what newer groups leave of the streams
	urgency int  // 0 before it was ranked
	chunk   int  // what the next write may take
	parked  bool

	// What is with the transport, where that tells.
	unsent int       // bytes that have not left
	moved  time.Time // when some left last, or the first were handed over
	shrunk time.Time // when some left last
	left   int       // the urgency of st then
	stuck  bool      // they do not leave for want of flow control credit

	complete time.Time  // when its subgroup was seen complete, for SubgroupTimeout
	due      time.Time  // of a tail: when it is reset; zero: never
	ended    bool       // of a tail: the FIN is out
	quiet    time.Time  // of a tail: since when no packet was lost
	mark     conn.Stats // at moved, at quiet of a tail
}

func (st *stream) class() uint16 {
	if st.fetch != nil {
		return classOf(st.sub.cfg.Priority, st.fetch.priority)
	}
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

// fresh is how old an object may be that has just come, however short its
// MAX_CACHE_DURATION: a relay that keeps nothing still passes on.
const fresh = 100 * time.Millisecond

// place sets the cursor to the first object of the log that passes the filter.
// It reports whether there is one yet, and otherwise whether there may be one.
//
// What MAX_CACHE_DURATION no longer lets be served does not pass (section 12.3).
func (st *stream) place(now time.Time) (found, maybe bool) {
	cfg := &st.sub.cfg
	h := st.log.Header().Wire(cfg.Alias)
	st.pos, st.first = 0, nil
	from := uint64(0)
	if st.group == cfg.Start.Group {
		from = cfg.Start.Object
	}
	limit, limited := cfg.Track.MaxCache()
	if from > 0 || limited {
		state, _ := st.log.State() // before the look at its objects
		i := st.log.SearchID(from)
		ref, ok := st.log.Object(i)
		for limited && ok && now.Sub(ref.Arrival) > max(limit, fresh) {
			i++
			ref, ok = st.log.Object(i)
		}
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
	return st.state == streaming && !st.parked && !st.stuck && st.behind()
}

// behind reports whether there is something to send, stream or not.
func (st *stream) behind() bool {
	return st.state != held && (len(st.head) > 0 || len(st.first) > 0 || st.log != nil && st.pos < st.log.Committed())
}

// data returns what to write next, in one piece, and whether it ends with the
// header of the stream.
func (st *stream) data() (b []byte, boundary bool) {
	switch {
	case len(st.head) > 0:
		b = st.head[:min(len(st.head), st.chunk)]
		return b, !st.begun && len(b) == len(st.head)
	case len(st.first) > 0:
		return st.first[:min(len(st.first), st.chunk)], false
	case st.log == nil:
		return nil, false
	}
	return st.log.Piece(st.pos, st.chunk), false
}

// write hands b to the transport, which may keep it if it is shared.
func (st *stream) write(b []byte, shared bool) error {
	if shared && st.shared != nil {
		return st.shared.TryWriteShared(b)
	}
	return st.out.TryWrite(b)
}

// advance takes n written bytes off what is to be sent.
func (st *stream) advance(n int) {
	switch {
	case len(st.head) > 0:
		st.head = st.head[n:]
		st.begun = st.begun || len(st.head) == 0
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
	if f := st.fetch; f != nil {
		switch {
		case f.broken:
			return cutShort, wire.ResetInternalError
		case f.ended && !st.behind():
			return atEnd, 0
		}
		return goesOn, 0
	}
	state, code := st.log.State() // before Committed
	switch {
	case state == track.Aborted:
		return cutShort, code
	case state == track.Complete && st.state != held && !st.behind():
		return atEnd, 0
	}
	return goesOn, 0
}

// maxMessage is how large a subgroup may be to count as a message: what it takes
// on the way holds up nothing.
const maxMessage = 1200

// message reports whether st is small and there as a whole.
func (st *stream) message() bool {
	if st.fetch != nil {
		return false
	}
	state, _ := st.log.State()
	return state == track.Complete && st.log.Committed() <= maxMessage
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
