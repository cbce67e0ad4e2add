package track

import (
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A SubgroupHeader says what all objects of a subgroup share, and what its
// stream is known to begin and end with (section 11.4.2).
type SubgroupHeader struct {
	Group    uint64
	Subgroup uint64 // 0 in FirstIDMode until the first object is there
	// FirstIDMode: the subgroup ID is the ID of the first object on the stream.
	// Readers see the subgroup once that is known, and never with this set.
	FirstIDMode bool
	Priority    uint8 // the publisher's, lower first; valid if HasPriority
	HasPriority bool  // otherwise the track's PublisherPriority counts
	Properties  bool  // every object has a properties block
	EndOfGroup  bool  // the last object before Close is the group's last
	FirstObject bool  // the log begins with the first object of the subgroup
}

// HeaderFromWire returns what of h is the same on every session.
func HeaderFromWire(h wire.SubgroupHeader) SubgroupHeader {
	return SubgroupHeader{
		Group: h.Group, Subgroup: h.Subgroup, FirstIDMode: h.FirstIDMode,
		Priority: h.Priority, HasPriority: !h.DefaultPriority,
		Properties: h.Properties, EndOfGroup: h.EndOfGroup, FirstObject: h.FirstObject,
	}
}

// Wire returns h as it begins a stream on the session where the track has this
// alias.
func (h SubgroupHeader) Wire(alias uint64) wire.SubgroupHeader {
	return wire.SubgroupHeader{
		Alias: alias, Group: h.Group, Subgroup: h.Subgroup, FirstIDMode: h.FirstIDMode,
		Priority: h.Priority, DefaultPriority: !h.HasPriority,
		Properties: h.Properties, EndOfGroup: h.EndOfGroup, FirstObject: h.FirstObject,
	}
}

// A State says whether more can come to a subgroup.
type State uint8

// The states of a subgroup. The only changes are from Open to one of the
// others, and from Complete to Aborted when the group is evicted.
const (
	Open     State = iota
	Complete       // every object is there
	Aborted        // cut: by the source, by the track's end, or by eviction
)

func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case Complete:
		return "complete"
	case Aborted:
		return "aborted"
	}
	return "invalid"
}

// A Subgroup is the readers' side of one subgroup: an append-only log and its
// index. Any number of goroutines may use it; none of its methods blocks.
type Subgroup struct {
	header   SubgroupHeader
	priority uint8 // the header's, or the track's
	seq      uint64
	epoch    time.Time
	opened   time.Duration // since epoch
	state    atomic.Uint64 // a State, and its reset code shifted by 2
	log      log

	// The last object that was registered, whether or not anything of it is
	// committed yet. The track's lock guards these.
	begun    uint64
	hasBegun bool
	healed   bool // it was cut where the subgroup ends, as another source shows
}

const subgroupOverhead = int64(unsafe.Sizeof(Subgroup{})) + int64(unsafe.Sizeof(SubgroupWriter{}))

// Header returns what the stream that filled the subgroup began with.
func (s *Subgroup) Header() SubgroupHeader { return s.header }

// Priority returns the publisher's priority, the header's or else the track's.
func (s *Subgroup) Priority() uint8 { return s.priority }

// Seq returns the subgroup's place in the order of arrival on its track: 1 for
// the first.
func (s *Subgroup) Seq() uint64 { return s.seq }

// Opened returns when the subgroup came into being.
func (s *Subgroup) Opened() time.Time { return s.epoch.Add(s.opened) }

// State returns the state and, if it is Aborted, why. To find out whether a
// cursor is done, load the state before Committed: what is committed of a
// subgroup that is not open does not grow.
func (s *Subgroup) State() (State, ResetCode) {
	v := s.state.Load()
	return State(v & 3), ResetCode(v >> 2)
}

// hidden reports whether the subgroup's ID is not known yet, so that readers do
// not see it. The track's lock guards it.
func (s *Subgroup) hidden() bool { return s.header.FirstIDMode }

// finish moves an open subgroup to a final state and reports whether it was the
// one to do so.
func (s *Subgroup) finish(to State, code ResetCode) bool {
	return s.state.CompareAndSwap(uint64(Open), uint64(to)|uint64(code)<<2)
}

// evict aborts the subgroup, whatever its state, and lets go of its bytes.
func (s *Subgroup) evict() {
	s.state.Store(uint64(Aborted) | uint64(ResetTooFarBehind)<<2)
	s.log.drop()
}

// Committed returns how many bytes of the log are readable. It only grows.
func (s *Subgroup) Committed() int64 { return s.log.committed.Load() }

// Bytes returns at most limit of the committed bytes at off. They lie in one
// piece, which may end before limit; call again for what follows. The result is
// empty at Committed, and everywhere once the subgroup is evicted. It is shared
// by all readers, never changes, and must not be written to.
func (s *Subgroup) Bytes(off int64, limit int) []byte { return slices.Clip(s.log.bytes(off, limit)) }

// Piece is Bytes for a scheduler: its capacity reaches into what comes next in
// the same memory, by which a transport sees that two pieces are one. It must
// not be appended to.
func (s *Subgroup) Piece(off int64, limit int) []byte { return s.log.bytes(off, limit) }

// Objects returns how many objects have begun, that is, how many headers are
// committed.
func (s *Subgroup) Objects() int { return int(s.log.count.Load()) }

// An ObjectRef says where in the log an object lies.
type ObjectRef struct {
	ID         uint64
	Status     ObjectStatus
	Off        int64 // of the header
	PayloadOff int64
	Length     int64 // of the payload, in bytes
	Arrival    time.Time
	Complete   bool // all of the payload is committed
}

// Object returns the object with index i, from 0 to Objects()-1. It is not ok
// if there is no such object, or no longer.
func (s *Subgroup) Object(i int) (ref ObjectRef, ok bool) {
	if i < 0 || i >= s.Objects() {
		return ObjectRef{}, false
	}
	e := s.log.entry(i)
	if e == nil || s.log.dropped() {
		return ObjectRef{}, false
	}
	return ObjectRef{
		ID: e.id, Status: e.status, Off: e.off, PayloadOff: e.payloadOff(), Length: int64(e.length),
		Arrival: s.epoch.Add(e.arrival), Complete: e.end() <= s.Committed(),
	}, true
}

// SearchID returns the index of the first object whose ID is id or more;
// Objects() if there is none yet.
func (s *Subgroup) SearchID(id uint64) int { return s.log.search(id) }

// SearchOffset returns the index of the object that off lies in, or that begins
// there; Objects() if that one has not begun.
func (s *Subgroup) SearchOffset(off int64) int { return s.log.searchOffset(off) }

// Load reads object i whole: its payload in one piece, and its properties.
// Both are shared and must not be written to. A payload of more than 256 KiB is
// joined in a buffer of its own. It is not ok while the object is incomplete,
// and once it is evicted.
func (s *Subgroup) Load(i int) (o Object, ok bool) {
	ref, ok := s.Object(i)
	if !ok || !ref.Complete {
		return Object{}, false
	}
	o = Object{
		Group: s.header.Group, Subgroup: s.header.Subgroup, ID: ref.ID,
		Priority: s.priority, Status: ref.Status, Arrival: ref.Arrival,
	}
	if o.Properties, ok = s.properties(i); !ok {
		return Object{}, false
	}
	if o.Payload, ok = s.payload(ref); !ok {
		return Object{}, false
	}
	return o, true
}

// properties returns the properties of object i. It is not ok once the object is
// evicted.
func (s *Subgroup) properties(i int) (Properties, bool) {
	ref, ok := s.Object(i)
	if !ok || !s.header.Properties {
		return nil, ok
	}
	h, _, err := wire.ParseObjectHeader(s.Bytes(ref.Off, int(ref.PayloadOff-ref.Off)), true)
	return h.Properties, err == nil // a committed header is in one piece
}

func (s *Subgroup) payload(ref ObjectRef) ([]byte, bool) {
	if ref.Length == 0 {
		return nil, true
	}
	p := s.Bytes(ref.PayloadOff, int(ref.Length))
	if int64(len(p)) == ref.Length {
		return p, true
	}
	joined := make([]byte, 0, ref.Length)
	for int64(len(joined)) < ref.Length {
		p := s.Bytes(ref.PayloadOff+int64(len(joined)), int(ref.Length)-len(joined))
		if len(p) == 0 {
			return nil, false // evicted meanwhile
		}
		joined = append(joined, p...)
	}
	return joined, true
}
