package track

import (
	"fmt"
	"slices"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// Several sources may bring one track at the same time, each with streams of its
// own (section 9.3). The first Subgroup of an ID is the one that readers see. A
// further stream of that ID stands by: what readers have is compared and
// dropped, what they lack is kept in a log that nobody sees. When the Subgroup
// is cut, the first that stands by goes on, with the first object that readers
// lack. So nothing is delivered twice and little is lost.
//
// A stream that goes on where another was cut is the same with nobody to wait
// for.

// A chain is what readers see of one subgroup ID, in order of arrival.
type chain []*Subgroup

func (g *group) chain(subgroup uint64) (c chain) {
	for _, s := range g.shown {
		if s.header.Subgroup == subgroup {
			c = append(c, s)
		}
	}
	return c
}

// last returns the ID of the last whole object, or mark, of c.
func (c chain) last() (id uint64, some bool) {
	for _, s := range c {
		n := s.Objects()
		ref, ok := s.Object(n - 1)
		if ok && !ref.Complete {
			ref, ok = s.Object(n - 2)
		}
		if ok && (!some || ref.ID > id) {
			id, some = ref.ID, true
		}
	}
	return id, some
}

// find returns where the whole object with this ID is.
func (c chain) find(id uint64) (s *Subgroup, i int, ref ObjectRef, ok bool) {
	for _, s := range c {
		i := s.SearchID(id)
		if ref, ok := s.Object(i); ok && ref.ID == id && ref.Complete {
			return s, i, ref, true
		}
	}
	return nil, 0, ObjectRef{}, false
}

// state returns Open while one of c is open, Complete if c ends as the subgroup
// does, and Aborted if it was cut.
func (c chain) state() State {
	state := Aborted
	for _, s := range c {
		switch v, _ := s.State(); {
		case v == Open:
			return Open
		case v == Complete || s.healed:
			state = Complete
		}
	}
	return state
}

// join shows w's Subgroup to readers, or has it stand by if its ID is there. The
// track's lock is held.
func (w *SubgroupWriter) join() error {
	t, g, s := w.t, w.g, w.sub
	same := func(other *Subgroup) bool { return other.header.Subgroup == s.header.Subgroup }
	i := slices.IndexFunc(g.shown, same)
	if i < 0 {
		t.publish(g, s)
		return nil
	}
	if g.shown[i].priority != s.priority {
		return fmt.Errorf("%w: subgroup %d of group %d has two priorities", wire.ErrMalformedTrack, s.header.Subgroup, g.id)
	}
	w.follows, w.standby, w.shared = true, true, true
	g.standbys = append(g.standbys, w)
	g.open--
	return nil
}

// heirs returns who can go on with a subgroup when it is cut.
func (g *group) heirs(subgroup uint64) (heirs []*SubgroupWriter) {
	for _, w := range g.standbys {
		if w.sub.header.Subgroup == subgroup {
			heirs = append(heirs, w)
		}
	}
	return heirs
}

// follow decides about an object of a stream that stands by. If afterwards it
// does not any more, the object is one that readers lack and that comes to them
// now. The track's lock is held.
func (w *SubgroupWriter) follow(h wire.ObjectHeader, id uint64) (store bool, err error) {
	t, g := w.t, w.g
	l := Location{Group: g.id, Object: id}
	c := g.chain(w.sub.header.Subgroup)
	w.twin = twin{}
	if last, some := c.last(); some && id <= last {
		return false, w.compare(c, h, id)
	}
	switch state := c.state(); {
	case state == Complete && h.Status == ObjectNormal:
		return false, fmt.Errorf("%w: object %v after the end of its subgroup", wire.ErrMalformedTrack, l)
	case state == Complete:
		t.record(g, nil, h.Status, nil, id)
		return false, nil
	case state == Open:
		if h.Status == ObjectNormal && g.present.has(id) && g.elsewhere(id, w.sub.header.Subgroup) {
			return false, fmt.Errorf("%w: object %v is in two subgroups", wire.ErrMalformedTrack, l)
		}
		if err := g.admit(t); err != nil {
			return false, err
		}
		w.admitted++
		return true, nil
	}
	return true, t.show(w)
}

// compare compares an object's header with what readers have, and sets w.twin
// for its payload.
func (w *SubgroupWriter) compare(c chain, h wire.ObjectHeader, id uint64) error {
	s, i, ref, ok := c.find(id)
	if !ok {
		return nil // skipped there, or no longer cached
	}
	known := Object{
		Group: w.g.id, Subgroup: s.header.Subgroup, ID: id, Priority: s.priority, Status: ref.Status,
	}
	if props, ok := s.properties(i); ok {
		known.Properties = props
	}
	w.twin = twin{log: s, off: ref.PayloadOff, l: known.Location()}
	return w.sameFields(known, h, ref.Length)
}

// verify compares what w holds with what readers have got meanwhile, and lets
// go of it where that is all. The caller has locked w.
func (w *SubgroupWriter) verify() error {
	if !w.standby || w.count == 0 {
		return nil
	}
	w.t.mu.Lock()
	c := w.g.chain(w.sub.header.Subgroup)
	w.t.mu.Unlock()
	state := c.state() // before the look at its objects
	last, some := c.last()
	for w.checked < w.count {
		mine, ok := w.sub.Load(int(w.checked))
		if !ok {
			if err := w.skipRest(c, last, some); err != nil {
				return err
			}
			break // incomplete
		}
		if !some || mine.ID > last {
			if state == Complete && mine.Status == ObjectNormal {
				return fmt.Errorf("%w: object %v after the end of its subgroup", wire.ErrMalformedTrack, mine.Location())
			}
			break
		}
		if s, i, _, ok := c.find(mine.ID); ok {
			if known, ok := s.Load(i); ok {
				if err := same(known, mine); err != nil {
					return err
				}
			}
		}
		w.checked++
	}
	if w.checked == w.count && (w.payload == 0 || w.skip) {
		w.forget()
	}
	return nil
}

// skipRest has w only compare the rest of the object that is arriving, if
// readers have got that meanwhile.
func (w *SubgroupWriter) skipRest(c chain, last uint64, some bool) error {
	ref, ok := w.sub.Object(int(w.checked))
	if !ok || !some || ref.ID > last || w.payload == 0 {
		return nil
	}
	h, _, err := wire.ParseObjectHeader(w.sub.Bytes(ref.Off, int(ref.PayloadOff-ref.Off)), w.sub.header.Properties)
	if err != nil {
		return ErrTooOld
	}
	w.twin = twin{}
	if err := w.compare(c, h, ref.ID); err != nil {
		return err
	}
	for off, end := ref.PayloadOff, w.sub.Committed(); off < end; {
		b := w.sub.Bytes(off, int(end-off))
		if len(b) == 0 {
			return ErrTooOld
		}
		if err := w.twin.match(b); err != nil {
			return err
		}
		off += int64(len(b))
	}
	w.skip = true
	w.checked++
	return nil
}

// forget empties the log of a stream that stands by. Its newest slab is used
// again.
func (w *SubgroupWriter) forget() {
	t, l := w.t, &w.sub.log
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(w.g.standbys, w) {
		return
	}
	tail, size, bytes := w.tail, w.size, w.bytes
	w.g.count -= w.admitted
	w.admitted = 0
	l.drop()
	l.committed.Store(0)
	l.count.Store(0)
	w.startLog(w.sub)
	if len(tail) <= maxSlab {
		l.appendSlab(0, tail)
		w.tail, w.size, w.bytes = tail, size, int64(len(tail))+slabOverhead
	}
	t.charge(w.g, w.bytes-bytes)
}

// prepare makes w's log begin with the first object that readers lack. The
// caller has locked w, and it is the one that is to cut the Subgroup before.
func (w *SubgroupWriter) prepare() error {
	if err := w.verify(); err != nil || w.checked == 0 {
		return err
	}
	// Some of what it holds readers have, the rest they lack: copy the rest.
	t, old, checked, count, bytes := w.t, w.sub, w.checked, w.count, w.bytes
	s := &Subgroup{header: old.header, priority: old.priority, epoch: old.epoch, opened: old.opened}
	t.mu.Lock()
	if !slices.Contains(w.g.standbys, w) {
		t.mu.Unlock()
		return ErrTooOld
	}
	w.g.subgroups[slices.Index(w.g.subgroups, old)] = s
	w.startLog(s)
	w.g.count -= int(checked)
	w.admitted -= int(checked)
	t.mu.Unlock()
	for i := checked; i < count; i++ {
		if err := w.copyObject(old, int(i)); err != nil {
			return err
		}
	}
	w.commit()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !w.g.evicted {
		t.charge(w.g, -bytes)
	}
	return nil
}

// copyObject appends object i of another log, or what has come of it.
func (w *SubgroupWriter) copyObject(from *Subgroup, i int) error {
	ref, ok := from.Object(i)
	if !ok {
		return ErrTooOld
	}
	h, _, err := wire.ParseObjectHeader(from.Bytes(ref.Off, int(ref.PayloadOff-ref.Off)), from.header.Properties)
	if err != nil {
		return ErrTooOld
	}
	h.IDDelta, _ = w.stored.Delta(ref.ID)
	if err := w.enter(h.Append(nil, from.header.Properties), h, ref.ID); err != nil {
		return err
	}
	payload, skip, twin0 := w.payload, w.skip, w.twin // of the object that is arriving
	defer func() { w.payload, w.skip, w.twin = payload, skip, twin0 }()
	w.payload, w.skip, w.twin = ref.Length, false, twin{}
	for off, end := ref.PayloadOff, min(ref.PayloadOff+ref.Length, from.Committed()); off < end; {
		b := from.Bytes(off, int(end-off))
		if len(b) == 0 {
			return ErrTooOld
		}
		if _, err := w.fill(b); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// show shows the log of w, which has stood by, to readers. The track's lock is
// held, and the caller has locked w.
func (t *Track) show(w *SubgroupWriter) error {
	g, s := w.g, w.sub
	g.standbys = slices.DeleteFunc(g.standbys, func(other *SubgroupWriter) bool { return other == w })
	w.standby, w.admitted = false, 0
	g.open++
	s.header.FirstObject = s.header.FirstObject && int64(w.objects) == w.count
	t.publish(g, s)
	for i := range s.Objects() {
		ref, ok := s.Object(i)
		if !ok {
			return ErrTooOld
		}
		props, _ := s.properties(i)
		if err := t.checkNew(g, wire.ObjectHeader{Status: ref.Status, Properties: props}, ref.ID); err != nil {
			return err
		}
		t.record(g, s, ref.Status, props, ref.ID)
	}
	return nil
}

// dismiss lets go of a stream that stands by. The track's lock is held.
func (t *Track) dismiss(w *SubgroupWriter, code ResetCode) {
	g := w.g
	if g.evicted || !slices.Contains(g.standbys, w) {
		return
	}
	g.standbys = slices.DeleteFunc(g.standbys, func(other *SubgroupWriter) bool { return other == w })
	g.subgroups = slices.DeleteFunc(g.subgroups, func(s *Subgroup) bool { return s == w.sub })
	if !w.final {
		t.open--
	}
	g.count -= w.admitted + 1
	w.sub.finish(Aborted, code)
	w.sub.log.drop()
	t.charge(g, -w.bytes-subgroupOverhead)
}

// closeStandby ends a stream that stands by after FIN. The caller has locked w.
func (w *SubgroupWriter) closeStandby() error {
	if err := w.verify(); err != nil {
		return w.fail(err)
	}
	t, g := w.t, w.g
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := w.writable(); err != nil {
		return err
	}
	w.err = ErrClosed
	c := g.chain(w.sub.header.Subgroup)
	last, some := c.last()
	state := c.state()
	switch {
	case w.objects == 0 || !some && state != Open:
		t.dismiss(w, ResetCancelled)
		return nil
	case some && last > w.lastID, state == Complete && last != w.lastID:
		t.dismiss(w, ResetMalformedTrack)
		return w.twoEnds(last)
	case state == Open:
		w.final = true
		t.open--
		return nil
	}
	// Complete, or cut where the subgroup ends: then nothing was lost.
	for _, s := range c {
		s.healed = true
	}
	t.dismiss(w, ResetCancelled)
	return g.finalEnd(w)
}

func (w *SubgroupWriter) twoEnds(last uint64) error {
	return fmt.Errorf("%w: subgroup %d of group %d ends at object %d and at %d",
		wire.ErrMalformedTrack, w.sub.header.Subgroup, w.g.id, w.lastID, last)
}

// finalEnd takes in that w's last object is its group's last, if its header says
// so.
func (g *group) finalEnd(w *SubgroupWriter) error {
	if !w.sub.header.EndOfGroup || w.objects == 0 {
		return nil
	}
	if g.some && g.largest > w.lastID {
		return fmt.Errorf("%w: group %d ends at object %d but has object %d", wire.ErrMalformedTrack, g.id, w.lastID, g.largest)
	}
	if w.lastID+1 != 0 {
		g.endAt(w.lastID + 1)
	}
	return nil
}
