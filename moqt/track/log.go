package track

import (
	"sort"
	"sync/atomic"
	"time"
	"unsafe"
)

const (
	minSlab = 4 << 10  // a subgroup's first slab; each next one is twice as large
	maxSlab = 64 << 10 // where growth stops
	// maxContiguous is how large an object may be, header included, to lie in
	// one piece. A larger payload is cut into pieces of this size.
	maxContiguous = 256 << 10

	indexChunk = 64 // entries in a chunk of the index
	indexFirst = 8  // entries in the first one, which needs no allocation
)

// A slab is a piece of a log. Its bytes are written once, from the front; the
// log goes on in the next slab where len(buf) ends.
type slab struct {
	start int64  // offset in the log of buf[0]
	buf   []byte // full capacity; what lies past the next slab's start is unused
}

// A logEntry is an object in a log. It does not change once it is published.
type logEntry struct {
	id      uint64
	off     int64         // of the header
	arrival time.Duration // since the track's epoch
	header  uint32        // bytes of header; the payload follows
	length  uint32        // bytes of payload
	status  ObjectStatus
}

func (e *logEntry) payloadOff() int64 { return e.off + int64(e.header) }
func (e *logEntry) end() int64        { return e.payloadOff() + int64(e.length) }

type logChunk [indexChunk]logEntry

// A log is the bytes of one subgroup and their index. One writer appends; any
// number of goroutines read what is committed, without a lock.
type log struct {
	// The writer stores slabs before count, and count before committed: who
	// loads in the opposite order finds everything that it was promised.
	slabs     atomic.Pointer[[]slab]
	chunks    atomic.Pointer[[]*logChunk]
	count     atomic.Int64 // entries published
	committed atomic.Int64 // bytes readable; never inside a header
	first     [indexFirst]logEntry
}

// bytes returns the readable bytes at off, at most limit and at most to the end
// of their slab; nil if there are none.
func (l *log) bytes(off int64, limit int) []byte {
	committed := l.committed.Load()
	if off < 0 || off >= committed || limit <= 0 {
		return nil
	}
	p := l.slabs.Load()
	if p == nil {
		return nil // evicted
	}
	slabs := *p
	// Cursors mostly stand in the newest slab.
	i := len(slabs) - 1
	if slabs[i].start > off {
		i = sort.Search(i, func(i int) bool { return slabs[i+1].start > off })
	}
	end := committed
	if i+1 < len(slabs) {
		end = min(end, slabs[i+1].start)
	}
	end = min(end, off+int64(limit))
	from, to := off-slabs[i].start, end-slabs[i].start
	return slabs[i].buf[from:to]
}

// entry returns entry i of the count published ones, nil if it was evicted.
func (l *log) entry(i int) *logEntry {
	if i < indexFirst {
		return &l.first[i]
	}
	p := l.chunks.Load()
	if p == nil {
		return nil
	}
	i -= indexFirst
	return &(*p)[i/indexChunk][i%indexChunk]
}

// search returns the index of the first published entry whose ID is id or more.
func (l *log) search(id uint64) int {
	n := int(l.count.Load())
	if l.dropped() {
		return n
	}
	return sort.Search(n, func(i int) bool {
		e := l.entry(i)
		return e == nil || e.id >= id
	})
}

// searchOffset returns the index of the published entry that off lies in; the
// count if off is at or past the end of the last one.
func (l *log) searchOffset(off int64) int {
	n := int(l.count.Load())
	if l.dropped() {
		return n
	}
	return sort.Search(n, func(i int) bool {
		e := l.entry(i)
		return e == nil || e.end() > off
	})
}

// drop releases what the log holds. Readers find no bytes from now on; slices
// that they have stay valid.
func (l *log) drop() {
	l.slabs.Store(nil)
	l.chunks.Store(nil)
}

// dropped reports whether drop was called. It is meant for a log of at least
// one object, which has a slab until then.
func (l *log) dropped() bool { return l.slabs.Load() == nil }

// appendSlab publishes a new slab that begins at off. The caller is the writer.
func (l *log) appendSlab(off int64, buf []byte) {
	var next []slab
	if p := l.slabs.Load(); p != nil {
		next = *p
	}
	// Appending in place is safe: readers of the old header do not see past it.
	next = append(next, slab{start: off, buf: buf})
	l.slabs.Store(&next)
}

// appendChunk publishes room for the next indexChunk entries. The caller is the
// writer.
func (l *log) appendChunk(c *logChunk) {
	var next []*logChunk
	if p := l.chunks.Load(); p != nil {
		next = *p
	}
	next = append(next, c)
	l.chunks.Store(&next)
}

// What a log costs beyond its slabs' bytes.
const (
	slabOverhead  = int64(unsafe.Sizeof(slab{})) + int64(unsafe.Sizeof([]slab{}))
	chunkOverhead = int64(unsafe.Sizeof(logChunk{})) + int64(unsafe.Sizeof([]*logChunk{})) + int64(unsafe.Sizeof(uintptr(0)))
)
