package track

import (
	"errors"
	"fmt"
	"io"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

const (
	// commitSize is how much a writer appends before it tells the readers, so
	// that a large object is passed on while it arrives.
	commitSize = 16 << 10
	// scratchSize is what ReadFrom reads at a time where it cannot read into
	// the log: headers and small objects.
	scratchSize = 2 << 10
)

// A SubgroupWriter fills one subgroup, either with WriteObject or with the
// bytes of a stream (Write, ReadFrom). One goroutine owns it and ends it once,
// with Close or Abort. The track may abort the subgroup at any time, on
// eviction or when it ends; the writer then returns ErrTooOld or ErrClosed.
type SubgroupWriter struct {
	t   *Track
	g   *group
	sub *Subgroup

	ids     wire.ObjectIDs
	lastID  uint64
	objects int

	tail      []byte    // the newest slab
	tailStart int64     // its offset in the log
	used      int       // bytes of tail that are written
	size      int       // of the next slab
	chunk     *logChunk // the newest chunk of the index, nil while the first entries last
	count     int64     // entries written; the log's count follows on commit
	committed int64

	head    []byte // a header that is still incomplete
	payload int64  // bytes of payload still missing from the last object
	scratch []byte // for ReadFrom
	err     error  // why nothing can be written any more
}

// Subgroup opens a subgroup. Several may be open at a time, each filled by a
// goroutine of its own.
//
// A subgroup that is cached already may only be opened again with FirstObject
// clear, by a stream that goes on where another was cut; readers see it as
// another Subgroup. Otherwise the error wraps ErrDuplicateSubgroup, or
// wire.ErrMalformedTrack if the first one is still open. ErrTooOld, ErrLimit
// and ErrClosed (the track has ended) are the other errors.
func (t *Track) Subgroup(h SubgroupHeader) (*SubgroupWriter, error) {
	w, err := t.openSubgroup(h)
	if err == nil && !h.FirstIDMode {
		t.notify()
	}
	return w, err
}

func (t *Track) openSubgroup(h SubgroupHeader) (*SubgroupWriter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended.Load() != nil {
		return nil, fmt.Errorf("%w: the track has ended", ErrClosed)
	}
	if t.open >= t.cfg.MaxOpenSubgroups {
		return nil, fmt.Errorf("%w: %d subgroups are open", ErrLimit, t.open)
	}
	g, err := t.openGroup(h.Group)
	if err != nil {
		return nil, err
	}
	if err := g.admit(t); err != nil {
		return nil, err
	}
	s := &Subgroup{header: h, priority: t.priority, epoch: t.epoch, opened: t.since()}
	if h.HasPriority {
		s.priority = h.Priority
	}
	w := &SubgroupWriter{t: t, g: g, sub: s, size: minSlab}
	if !h.FirstIDMode {
		if err := g.check(s); err != nil {
			return nil, err
		}
		t.publish(g, s)
	}
	g.subgroups = append(g.subgroups, s)
	g.open++
	t.open++
	t.charge(g, subgroupOverhead)
	t.trim()
	return w, nil
}

// admit counts one more object or subgroup in g.
func (g *group) admit(t *Track) error {
	if g.count >= t.cfg.MaxObjectsPerGroup {
		return fmt.Errorf("%w: %d objects in group %d", ErrLimit, g.count, g.id)
	}
	g.count++
	return nil
}

// check reports whether s may join what g has, under the track's lock.
func (g *group) check(s *Subgroup) error {
	for _, other := range g.shown {
		if other.header.Subgroup != s.header.Subgroup {
			continue
		}
		state, _ := other.State()
		switch {
		case other.priority != s.priority:
			return fmt.Errorf("%w: subgroup %d of group %d has two priorities", wire.ErrMalformedTrack, s.header.Subgroup, g.id)
		case s.header.FirstObject && state == Open:
			return fmt.Errorf("%w: subgroup %d of group %d starts twice", wire.ErrMalformedTrack, s.header.Subgroup, g.id)
		case s.header.FirstObject && state == Complete:
			return fmt.Errorf("%w: %d of group %d", ErrDuplicateSubgroup, s.header.Subgroup, g.id)
		}
	}
	return nil
}

// publish shows s to readers, under the track's lock.
func (t *Track) publish(g *group, s *Subgroup) {
	s.seq = t.arrived.Load() + 1
	g.shown = append(g.shown, s)
	t.list = append(t.list, s)
	t.arrived.Store(s.seq)
}

// Header returns the subgroup's header.
func (w *SubgroupWriter) Header() SubgroupHeader { return w.sub.header }

// WriteObject appends a whole object and shows it to the readers. The payload
// and the properties are copied. IDs must rise. A fault of o is an error that
// leaves the subgroup as it was; any other error is final, and the caller then
// calls Abort.
func (w *SubgroupWriter) WriteObject(o Object) error {
	if err := w.writable(); err != nil {
		return err
	}
	ids := w.ids
	delta, ok := ids.Delta(o.ID)
	switch {
	case len(w.head) > 0 || w.payload > 0:
		return errors.New("track: object written into the middle of another")
	case !ok:
		return fmt.Errorf("track: object %d after object %d", o.ID, w.lastID)
	case len(o.Properties) > 0 && !w.sub.header.Properties:
		return fmt.Errorf("track: object %d has properties, its subgroup none", o.ID)
	case o.Status != ObjectNormal && (len(o.Payload) > 0 || len(o.Properties) > 0):
		return fmt.Errorf("track: object %d has status %v and content", o.ID, o.Status)
	}
	h := wire.ObjectHeader{IDDelta: delta, Properties: o.Properties, Length: uint64(len(o.Payload)), Status: o.Status}
	if err := w.checkProperties(h, o.ID); err != nil {
		return err
	}
	w.head = h.Append(w.head[:0], w.sub.header.Properties)
	err := w.begin(w.head, h, o.ID)
	w.release()
	if err != nil {
		return err
	}
	w.ids = ids
	if _, err := w.fill(o.Payload); err != nil {
		return err
	}
	w.commit()
	return nil
}

// Write appends bytes of a subgroup stream, behind its header, in any split.
// What is whole so far is shown to the readers before Write returns: at the end
// of each call, and every 16 KiB. b is copied.
//
// An error is final; the caller then calls Abort. A *wire.Error must close the
// session. One that wraps wire.ErrMalformedTrack ends the subscription. Others
// are ErrLimit, ErrTooOld and ErrClosed.
func (w *SubgroupWriter) Write(b []byte) (n int, err error) {
	if err := w.writable(); err != nil {
		return 0, err
	}
	for n < len(b) && err == nil {
		var took int
		if w.payload > 0 {
			took, err = w.fill(b[n:])
		} else {
			took, err = w.header(b[n:])
		}
		n += took
	}
	w.commit()
	return n, err
}

// ReadFrom is Write for everything that r yields, until io.EOF (then err is
// nil) or another error. Payloads are read straight into the log.
func (w *SubgroupWriter) ReadFrom(r io.Reader) (n int64, err error) {
	if err := w.writable(); err != nil {
		return 0, err
	}
	if w.scratch == nil {
		w.scratch = make([]byte, scratchSize)
	}
	for {
		var took int
		if w.payload < scratchSize/2 {
			took, err = r.Read(w.scratch)
			if _, werr := w.Write(w.scratch[:took]); werr != nil {
				return n + int64(took), werr
			}
		} else {
			var room []byte
			if room, err = w.room(int(min(w.payload, commitSize))); err != nil {
				return n, err
			}
			took, err = r.Read(room)
			w.used += took
			w.payload -= int64(took)
			w.commit()
			if werr := w.writable(); werr != nil {
				return n + int64(took), werr
			}
		}
		n += int64(took)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// writable returns why nothing can be written, if so.
func (w *SubgroupWriter) writable() error {
	if w.err != nil {
		return w.err
	}
	state, code := w.sub.State()
	switch {
	case state == Open:
		return nil
	case state == Aborted && code == ResetTooFarBehind:
		return ErrTooOld
	}
	return ErrClosed
}

// fail makes err the answer to every further write.
func (w *SubgroupWriter) fail(err error) error {
	w.err = err
	return err
}

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

// begin appends an object's header to the log and enters the object into the
// index. Every error is final.
func (w *SubgroupWriter) begin(header []byte, h wire.ObjectHeader, id uint64) error {
	if h.Length > uint64(w.t.cfg.MaxObject) {
		return w.fail(fmt.Errorf("%w: object %d of group %d has %d bytes", ErrLimit, id, w.sub.header.Group, h.Length))
	}
	if err := w.register(h, id); err != nil {
		return w.fail(err)
	}
	need := len(header)
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
		id: id, off: w.offset(), header: uint32(len(header)), length: uint32(h.Length),
		arrival: w.t.since(), status: h.Status,
	}
	w.count++
	w.objects++
	w.lastID = id
	w.payload = int64(h.Length)
	w.used += copy(w.tail[w.used:], header)
	return nil
}

// slot returns the entry after the last one.
func (w *SubgroupWriter) slot() *logEntry {
	if w.count < indexFirst {
		return &w.sub.log.first[w.count]
	}
	return &w.chunk[(w.count-indexFirst)%indexChunk]
}

// register checks the new object against its group and its track and counts it
// in.
func (w *SubgroupWriter) register(h wire.ObjectHeader, id uint64) error {
	t, g := w.t, w.g
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := w.writable(); err != nil {
		return err
	}
	l := Location{Group: g.id, Object: id}
	switch {
	case g.hasEnd && (id > g.end || id == g.end && h.Status == ObjectNormal):
		return fmt.Errorf("%w: object %v after the group's end at %d", wire.ErrMalformedTrack, l, g.end)
	case t.hasEnd && (t.end.Less(l) || t.end == l && h.Status == ObjectNormal):
		return fmt.Errorf("%w: object %v after the track's end at %v", wire.ErrMalformedTrack, l, t.end)
	case h.Status == ObjectEndOfGroup && g.some && g.largest >= id:
		return fmt.Errorf("%w: group ends at %v before its object %d", wire.ErrMalformedTrack, l, g.largest)
	case h.Status == ObjectEndOfTrack && t.hasLargest && !t.largest.Less(l):
		return fmt.Errorf("%w: track ends at %v before %v", wire.ErrMalformedTrack, l, t.largest)
	}
	if gap, ok := h.Properties.Uint(PropPriorGroupIDGap); ok && gap > 0 {
		if _, i := t.find(g.id - gap); i < len(t.groups) && t.groups[i].id < g.id && t.groups[i].some {
			return fmt.Errorf("%w: the gap of %d groups before %v covers group %d", wire.ErrMalformedTrack, gap, l, t.groups[i].id)
		}
	}
	if err := g.admit(t); err != nil {
		return err
	}
	if s := w.sub; s.hidden() {
		s.header.FirstIDMode, s.header.Subgroup = false, id
		if err := g.check(s); err != nil {
			s.header.FirstIDMode = true
			return err
		}
		t.publish(g, s)
	}
	switch h.Status {
	case ObjectEndOfTrack:
		t.end, t.hasEnd = l, true
		g.endAt(id)
	case ObjectEndOfGroup:
		g.endAt(id)
	default:
		if !g.some || id > g.largest {
			g.largest, g.some = id, true
		}
		if !t.hasLargest || t.largest.Less(l) {
			t.largest, t.hasLargest = l, true
		}
	}
	return nil
}

// fill takes bytes of payload from the front of b.
func (w *SubgroupWriter) fill(b []byte) (took int, err error) {
	for took < len(b) && w.payload > 0 {
		// At most up to the next commit. A header may have taken more than that.
		limit := max(1, commitSize-(w.offset()-w.committed))
		room, err := w.room(int(min(w.payload, int64(len(b)-took), limit)))
		if err != nil {
			return took, err
		}
		n := copy(room, b[took:])
		w.used += n
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
	t, g := w.t, w.g
	t.mu.Lock()
	defer t.mu.Unlock()
	if g.evicted {
		return w.fail(ErrTooOld)
	}
	if g.bytes+n > t.cfg.MaxGroupBytes {
		return w.fail(fmt.Errorf("%w: group %d of %d bytes", ErrLimit, g.id, g.bytes+n))
	}
	t.charge(g, n)
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
	w.t.notify()
}

// Close completes the subgroup. In the middle of an object it aborts it
// instead and returns a *wire.Error: a stream must not end there (section
// 11.4).
func (w *SubgroupWriter) Close() error {
	if err := w.writable(); err != nil {
		w.Abort(ResetInternalError)
		return err
	}
	if len(w.head) > 0 || w.payload > 0 {
		w.Abort(ResetInternalError)
		return &wire.Error{
			Code: wire.SessionProtocolViolation, In: "object", Offset: len(w.head),
			What: fmt.Sprintf("stream ended inside an object, %d bytes of payload missing", w.payload),
		}
	}
	err := w.complete()
	w.t.notify()
	return err
}

func (w *SubgroupWriter) complete() error {
	t, g := w.t, w.g
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := w.writable(); err != nil {
		return err
	}
	w.err = ErrClosed
	if w.sub.header.EndOfGroup && w.objects > 0 && g.some && g.largest > w.lastID {
		w.sub.finish(Aborted, ResetMalformedTrack)
		g.closed(t, false)
		return fmt.Errorf("%w: group %d ends at object %d but has object %d", wire.ErrMalformedTrack, g.id, w.lastID, g.largest)
	}
	if w.sub.header.EndOfGroup && w.objects > 0 && w.lastID+1 != 0 {
		g.endAt(w.lastID + 1)
	}
	w.sub.finish(Complete, 0)
	g.closed(t, true)
	return nil
}

// Abort cuts the subgroup. After Close it has no effect.
func (w *SubgroupWriter) Abort(code ResetCode) {
	t, g := w.t, w.g
	t.mu.Lock()
	w.err = ErrClosed
	done := w.sub.finish(Aborted, code)
	if done {
		g.closed(t, false)
	}
	t.mu.Unlock()
	if done {
		w.t.notify()
	}
}

var _ io.ReaderFrom = (*SubgroupWriter)(nil)
