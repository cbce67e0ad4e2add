package track

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

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

	ids     wire.ObjectIDs // of the stream
	stored  wire.ObjectIDs // of the log, which may leave out some
	lastID  uint64
	objects int  // on the stream
	skip    bool // the last object is not stored
	twin    twin // of the last object

	// A stream of a subgroup that is there already; see join. Another writer may
	// hand over to it, with mu locked.
	mu       sync.Mutex
	shared   bool  // the owner locks mu
	follows  bool  // it did not begin the subgroup
	standby  bool  // readers do not see sub
	final    bool  // it stands by, and all of it has come
	checked  int64 // of sub's objects are known to be what readers have
	admitted int   // objects that stand by

	rolled *Subgroup // the one that went before sub, by roll
	bytes  int64     // that sub charges
	before int64     // that rolled charges

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
// A subgroup that is there already may be opened again, by a stream of another
// source, or by one that goes on where the first was cut. What readers have is
// compared, the rest goes on as another Subgroup of the same ID once the first
// is cut. Errors wrap wire.ErrMalformedTrack, or are ErrTooOld, ErrLimit or
// ErrClosed (the track has ended).
func (t *Track) Subgroup(h SubgroupHeader) (*SubgroupWriter, error) {
	w, err := t.openSubgroup(h)
	if err != nil {
		return nil, t.judge(err)
	}
	if !h.FirstIDMode && !w.follows {
		t.notify()
	}
	return w, nil
}

func (t *Track) openSubgroup(h SubgroupHeader) (*SubgroupWriter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.writable(); err != nil {
		return nil, err
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
	w := &SubgroupWriter{t: t, g: g, sub: s, size: minSlab, shared: h.FirstIDMode}
	g.open++
	if !h.FirstIDMode {
		if err := w.join(); err != nil {
			g.open--
			g.count--
			return nil, err
		}
	}
	g.subgroups = append(g.subgroups, s)
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

// publish shows s to readers, under the track's lock.
func (t *Track) publish(g *group, s *Subgroup) {
	s.seq = t.arrived.Load() + 1
	g.shown = append(g.shown, s)
	t.list = append(t.list, s)
	t.arrived.Store(s.seq)
}

// Header returns the subgroup's header.
func (w *SubgroupWriter) Header() SubgroupHeader {
	if w.shared {
		w.mu.Lock()
		defer w.mu.Unlock()
	}
	return w.sub.header
}

// WriteObject appends a whole object and shows it to the readers. The payload
// and the properties are copied. IDs must rise. A fault of o is an error that
// leaves the subgroup as it was; any other error is final, and the caller then
// calls Abort.
func (w *SubgroupWriter) WriteObject(o Object) error {
	if w.shared {
		w.mu.Lock()
		defer w.mu.Unlock()
	}
	err := w.writeObject(o)
	if err != nil && w.err != nil {
		return w.t.judge(err)
	}
	return err
}

func (w *SubgroupWriter) writeObject(o Object) error {
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
	if w.shared {
		w.mu.Lock()
		defer w.mu.Unlock()
	}
	n, err = w.write(b)
	if err != nil {
		err = w.t.judge(err)
	}
	return n, err
}

func (w *SubgroupWriter) write(b []byte) (n int, err error) {
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
	if w.shared && !w.follows && !w.sub.hidden() {
		w.shared = false // it began its subgroup: nobody hands over to it
	}
	return n, err
}

// ReadFrom is Write for everything that r yields, until io.EOF (then err is
// nil) or another error. Payloads are read straight into the log.
func (w *SubgroupWriter) ReadFrom(r io.Reader) (n int64, err error) {
	if _, err := w.Write(nil); err != nil {
		return 0, err
	}
	if w.scratch == nil {
		w.scratch = make([]byte, scratchSize)
	}
	for {
		var took int
		if w.shared || w.skip || w.twin.held != nil || w.payload < scratchSize/2 {
			if (w.shared || w.skip) && len(w.scratch) < commitSize {
				w.scratch = make([]byte, commitSize)
			}
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
	case state == Aborted && code == ResetMalformedTrack && w.t.Malformed() != nil:
		return w.t.Malformed()
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
	err := w.close()
	if err != nil {
		return w.t.judge(err)
	}
	w.t.notify()
	return nil
}

func (w *SubgroupWriter) close() error {
	if w.shared {
		w.mu.Lock()
		defer w.mu.Unlock()
	}
	if err := w.writable(); err != nil {
		return cmp.Or(w.abort(ResetInternalError), err)
	}
	if len(w.head) > 0 || w.payload > 0 {
		err := &wire.Error{
			Code: wire.SessionProtocolViolation, In: "object", Offset: len(w.head),
			What: fmt.Sprintf("stream ended inside an object, %d bytes of payload missing", w.payload),
		}
		_ = w.t.judge(w.abort(ResetInternalError)) // of another source, which goes on
		return err
	}
	if w.standby {
		return w.closeStandby()
	}
	finals, err := w.complete()
	for _, f := range finals { // whose sources have ended the subgroup, too
		f.mu.Lock()
		if verr := f.verify(); err == nil {
			err = verr
		}
		w.t.mu.Lock()
		w.t.dismiss(f, ResetCancelled)
		w.t.mu.Unlock()
		f.mu.Unlock()
	}
	return err
}

// complete ends the subgroup, and returns those that stand by and have ended.
func (w *SubgroupWriter) complete() (finals []*SubgroupWriter, err error) {
	t, g := w.t, w.g
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := w.writable(); err != nil {
		return nil, err
	}
	w.err = ErrClosed
	for _, other := range g.standbys {
		if other.final && other.sub.header.Subgroup == w.sub.header.Subgroup {
			finals = append(finals, other)
			if w.objects > 0 && other.lastID != w.lastID {
				err = other.twoEnds(w.lastID)
			}
		}
	}
	if err == nil {
		err = g.finalEnd(w)
	}
	if err != nil {
		w.sub.finish(Aborted, ResetMalformedTrack)
		g.closed(t, false)
		return finals, err
	}
	w.sub.finish(Complete, 0)
	g.closed(t, true)
	return finals, nil
}

// Abort cuts the subgroup. If another source has brought more of it, that goes
// on. After Close it has no effect.
func (w *SubgroupWriter) Abort(code ResetCode) {
	if w.shared {
		w.mu.Lock()
		defer w.mu.Unlock()
	}
	_ = w.t.judge(w.abort(code)) // of another source, which goes on
}

func (w *SubgroupWriter) abort(code ResetCode) (err error) {
	t, g := w.t, w.g
	t.mu.Lock()
	w.err = ErrClosed
	if w.standby && !w.final {
		t.dismiss(w, code)
		t.mu.Unlock()
		t.notify() // readers may have counted on it
		return nil
	}
	var heirs []*SubgroupWriter
	if state, _ := w.sub.State(); state == Open && !w.standby {
		heirs = g.heirs(w.sub.header.Subgroup)
	}
	t.mu.Unlock()
	var heir *SubgroupWriter
	for _, h := range heirs {
		h.mu.Lock() // their owners lock nothing else, and there is one Subgroup to cut
		defer h.mu.Unlock()
		if err = h.prepare(); err != nil {
			break
		}
		if heir == nil && (h.count > 0 || h.final) || h.count > 0 && heir.count == 0 {
			heir = h
		}
	}
	t.mu.Lock()
	done := !w.standby && w.sub.finish(Aborted, code)
	if done {
		g.closed(t, len(heirs) > 0)
	}
	if done && heir != nil && err == nil {
		err = t.hand(heir)
	}
	t.mu.Unlock()
	if done {
		t.notify()
	}
	return err
}

// hand has heir go on with a subgroup that was cut, right away if it holds
// anything that readers lack. The track's lock is held.
func (t *Track) hand(heir *SubgroupWriter) error {
	if !slices.Contains(heir.g.standbys, heir) {
		return nil // evicted
	}
	final := heir.final
	if heir.count > 0 {
		if err := t.show(heir); err != nil {
			return err
		}
	}
	if !final {
		return nil
	}
	if heir.standby { // readers have had all of it
		for _, s := range heir.g.chain(heir.sub.header.Subgroup) {
			s.healed = true
		}
		t.dismiss(heir, ResetCancelled)
		return heir.g.finalEnd(heir)
	}
	t.open++ // show counts it as open
	heir.sub.finish(Complete, 0)
	heir.g.closed(t, true)
	return heir.g.finalEnd(heir)
}

var _ io.ReaderFrom = (*SubgroupWriter)(nil)
