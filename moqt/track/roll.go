package track

import "github.com/broadcastd/broadcastd/moqt/wire"

// full reports whether the subgroup is to be continued by another one.
func (w *SubgroupWriter) full() bool {
	t := w.t
	return t.cfg.Roll && w.count > 0 && !w.standby &&
		(w.bytes > t.cfg.MaxGroupBytes/4*3 || w.count >= int64(t.cfg.MaxObjectsPerGroup/4*3))
}

// letGo lets go of what went before sub. The track's lock is held.
func (w *SubgroupWriter) letGo() {
	if w.rolled != nil {
		w.rolled.evict()
		w.t.charge(w.g, -w.before)
		w.rolled = nil
	}
}

// roll goes on in another Subgroup of the same ID; see Config.Roll. It is
// called between two objects.
func (w *SubgroupWriter) roll() error {
	w.commit()
	if err := w.switchSubgroup(); err != nil {
		return err
	}
	w.t.notify()
	return nil
}

func (w *SubgroupWriter) switchSubgroup() error {
	t, g := w.t, w.g
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := w.writable(); err != nil {
		return err
	}
	h := w.sub.header
	h.FirstObject = false
	next := &Subgroup{header: h, priority: w.sub.priority, epoch: t.epoch, opened: t.since()}
	w.sub.finish(Aborted, ResetTooFarBehind)
	g.cut = true
	w.letGo()
	g.count -= int(w.count)
	t.publish(g, next)
	g.subgroups = append(g.subgroups, next)
	t.charge(g, subgroupOverhead)
	w.rolled, w.before = w.sub, w.bytes
	w.startLog(next)
	return nil
}

// startLog has the writer go on in an empty log.
func (w *SubgroupWriter) startLog(s *Subgroup) {
	w.sub, w.bytes = s, 0
	w.tail, w.tailStart, w.used, w.size, w.chunk = nil, 0, 0, minSlab, nil
	w.count, w.committed, w.checked = 0, 0, 0
	w.stored = wire.ObjectIDs{}
}
