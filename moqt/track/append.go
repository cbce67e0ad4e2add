package track

import (
	"errors"
	"fmt"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// This file is how a SubgroupWriter appends to its log: headers, which are
// checked and entered into the index, payloads, and the memory for both.

// header takes bytes of an object's header from the front of b. When the header
// is whole it begins the object.
func (w *SubgroupWriter) header(b []byte) (took int, err error) {
	src, held := b, len(w.head)
	if held > 0 {
		// The last bytes ended inside a header. Try with a few more, then with
		// twice as many, so that neither copies nor attempts add up.
		w.head = append(w.head, b[:min(len(b), max(held, 64))]...)
		src = w.head
	}
	h, n, err := wire.ParseObjectHeader(src, w.sub.header.Properties)
	if errors.Is(err, wire.ErrShort) {
		if held == 0 {
			w.head = append(w.head, b...)
		}
		return len(src) - held, nil
	}
	if err != nil {
		return 0, w.fail(err)
	}
	ids := w.ids
	id, err := ids.Next(h.IDDelta)
	if err != nil {
		return 0, w.fail(err)
	}
	if err := w.checkProperties(h, id); err != nil {
		return 0, w.fail(err)
	}
	if err := w.begin(src[:n], h, id); err != nil {
		return 0, err
	}
	w.ids = ids
	w.release()
	return n - held, nil
}

// release empties head, and lets go of it after a large header.
func (w *SubgroupWriter) release() {
	if w.head = w.head[:0]; cap(w.head) > scratchSize {
		w.head = nil
	}
}

// checkProperties checks what an object's properties say on their own, and
// against the object before.
func (w *SubgroupWriter) checkProperties(h wire.ObjectHeader, id uint64) error {
	if len(h.Properties) == 0 {
		return nil
	}
	l := Location{Group: w.sub.header.Group, Object: id}
	if err := h.Properties.CheckObject(l); err != nil {
		return err
	}
	if gap, ok := h.Properties.Uint(PropPriorObjectIDGap); ok && w.objects > 0 && gap > id-w.lastID-1 {
		return fmt.Errorf("%w: the gap of %d before %v covers object %d", wire.ErrMalformedTrack, gap, l, w.lastID)
	}
	return nil
}

// begin takes in an object whose header, as it stands on the stream, is raw. It
// appends the header to the log and enters the object into the index, unless
// the object is to be skipped. Every error is final.
func (w *SubgroupWriter) begin(raw []byte, h wire.ObjectHeader, id uint64) error {
	if h.Length > uint64(w.t.cfg.MaxObject) {
		return w.fail(fmt.Errorf("%w: object %d of group %d has %d bytes", ErrLimit, id, w.sub.header.Group, h.Length))
	}
	if w.follows {
		if err := w.verify(); err != nil {
			return w.fail(err)
		}
	}
	if w.full() {
		if err := w.roll(); err != nil {
			return w.fail(err)
		}
	}
	store, err := w.register(h, id)
	if err != nil {
		return w.fail(err)
	}
	if w.skip = !store; store {
		delta, _ := w.stored.Delta(id)
		if delta != h.IDDelta { // what went before it on the stream is not in the log
			h.IDDelta = delta
			raw = h.Append(nil, w.sub.header.Properties)
		}
		if err := w.enter(raw, h, id); err != nil {
			return err
		}
	}
	w.objects++
	w.lastID = id
	w.payload = int64(h.Length)
	return nil
}

// enter appends a header to the log and enters the object into the index.
func (w *SubgroupWriter) enter(raw []byte, h wire.ObjectHeader, id uint64) error {
	need := len(raw)
	if whole := int64(need) + int64(h.Length); whole <= maxContiguous {
		need = int(whole)
	}
	if err := w.reserve(need); err != nil {
		return err
	}
	if i := w.count - indexFirst; i >= 0 && i%indexChunk == 0 {
		w.chunk = new(logChunk)
		if err := w.grow(chunkOverhead, nil, w.chunk); err != nil {
			return err
		}
	}
	*w.slot() = logEntry{
		id: id, off: w.offset(), header: uint32(len(raw)), length: uint32(h.Length),
		arrival: w.t.since(), status: h.Status,
	}
	w.count++
	w.used += copy(w.tail[w.used:], raw)
	return nil
}

// slot returns the entry after the last one.
func (w *SubgroupWriter) slot() *logEntry {
	if w.count < indexFirst {
		return &w.sub.log.first[w.count]
	}
	return &w.chunk[(w.count-indexFirst)%indexChunk]
}

// fill takes bytes of payload from the front of b.
func (w *SubgroupWriter) fill(b []byte) (took int, err error) {
	for took < len(b) && w.payload > 0 {
		n := int(min(w.payload, int64(len(b)-took)))
		if !w.skip {
			// At most up to the next commit. A header may have taken more than that.
			limit := max(1, commitSize-(w.offset()-w.committed))
			room, err := w.room(min(n, int(limit)))
			if err != nil {
				return took, err
			}
			n = copy(room, b[took:])
			w.used += n
		}
		if err := w.twin.match(b[took : took+n]); err != nil {
			return took, w.fail(err)
		}
		took += n
		w.payload -= int64(n)
		if w.offset()-w.committed >= commitSize {
			w.commit()
		}
	}
	return took, nil
}

// offset returns where in the log the next byte goes.
func (w *SubgroupWriter) offset() int64 { return w.tailStart + int64(w.used) }

// room returns space for at most limit bytes of payload at the end of the log.
func (w *SubgroupWriter) room(limit int) ([]byte, error) {
	if w.used == len(w.tail) {
		// Only a payload of more than maxContiguous comes here.
		if err := w.reserve(int(min(w.payload, maxContiguous))); err != nil {
			return nil, err
		}
	}
	return w.tail[w.used:min(len(w.tail), w.used+limit)], nil
}

// reserve sees to it that n bytes fit into the tail.
func (w *SubgroupWriter) reserve(n int) error {
	if len(w.tail)-w.used >= n {
		return nil
	}
	tail := make([]byte, max(w.size, n))
	if err := w.grow(int64(len(tail))+slabOverhead, tail, nil); err != nil {
		return err
	}
	w.size = min(2*w.size, maxSlab)
	w.tailStart, w.tail, w.used = w.offset(), tail, 0
	return nil
}

// grow accounts for n bytes and adds a slab or a chunk to the log. It does so
// under the track's lock, so that an evicted log stays empty.
func (w *SubgroupWriter) grow(n int64, slab []byte, chunk *logChunk) error {
	w.t.cfg.Budget.reclaim()
	t, g := w.t, w.g
	t.mu.Lock()
	defer t.mu.Unlock()
	if g.evicted {
		return w.fail(ErrTooOld)
	}
	if g.bytes+n > t.cfg.MaxGroupBytes {
		w.letGo()
	}
	if g.bytes+n > t.cfg.MaxGroupBytes {
		return w.fail(fmt.Errorf("%w: group %d of %d bytes", ErrLimit, g.id, g.bytes+n))
	}
	t.charge(g, n)
	w.bytes += n
	t.trim()
	if g.evicted { // it was the oldest
		return w.fail(ErrTooOld)
	}
	if slab != nil {
		w.sub.log.appendSlab(w.offset(), slab)
	}
	if chunk != nil {
		w.sub.log.appendChunk(chunk)
	}
	return nil
}

// commit shows what is written to the readers.
func (w *SubgroupWriter) commit() {
	off := w.offset()
	if off == w.committed {
		return
	}
	w.committed = off
	w.sub.log.count.Store(w.count)
	w.sub.log.committed.Store(off)
	if !w.standby {
		w.t.notify()
	}
}
