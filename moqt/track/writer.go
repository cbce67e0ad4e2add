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

	rolled *Subgroup // the one that went before sub, by roll
	bytes  int64     // that sub charges
	before int64     // that rolled charges
	count0 int       // objects before sub's first

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
		if errors.Is(err, io.EOF) {
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
