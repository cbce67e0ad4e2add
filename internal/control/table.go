package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/broadcastd/broadcastd/internal/store"
)

// A table is all records of a kind, in memory. Service.mu guards it.
type table[R any] struct {
	kind[R]
	rows map[string]*row[R]
	// gone holds what was deleted here, until the watch has seen it, so that an
	// older change does not bring it back.
	gone  map[string]uint64
	ofOrg map[string]int // how many rows are of each organisation
}

// A row is a record with its revision. Nobody changes one that is in a table.
type row[R any] struct {
	rec R
	rev uint64
}

// A kind says how records of a type are kept and checked.
type kind[R any] struct {
	name   string // of Change.Kind
	prefix string // of the keys; the id follows
	schema int    // the version of the records that are written
	// migrations bring a record from version i+1 to i+2.
	migrations []func(json.RawMessage) (json.RawMessage, error)
	id         func(*R) string
	org        func(*R) string // empty if it has none
	check      func(*R) error  // of one that was read
	// index is told of every change: old or new is nil when there is none. It
	// runs under Service.mu.
	index func(old, new *R)
}

// anyTable is a table of any type.
type anyTable interface {
	take(s *Service, c store.Change) (Change, bool, error)
	prune(s *Service, seen map[string]bool, upTo uint64) []Change
	keyPrefix() string
	restore(ctx context.Context, s *Service, e store.Entry) error
}

func newTable[R any](k kind[R]) *table[R] {
	return &table[R]{kind: k, rows: make(map[string]*row[R]), gone: make(map[string]uint64), ofOrg: make(map[string]int)}
}

func (t *table[R]) keyPrefix() string { return t.prefix }

// load reads everything. What memory holds and the store does not, goes.
func (s *Service) load(ctx context.Context) error {
	rev, err := s.cfg.Store.Revision(ctx)
	if err != nil {
		return failed("read the state", err)
	}
	var faults []error
	for _, t := range s.tables {
		seen := make(map[string]bool)
		for after := ""; ; {
			page, err := s.cfg.Store.List(ctx, t.keyPrefix(), after, 0)
			if err != nil {
				return failed("read the state", err)
			}
			for _, e := range page {
				seen[e.Key] = true
				faults = append(faults, t.restore(ctx, s, e))
			}
			if len(page) < store.MaxPage {
				break
			}
			after = page[len(page)-1].Key
		}
		s.mu.Lock()
		changes := t.prune(s, seen, rev)
		s.mu.Unlock()
		for _, c := range changes {
			s.hooks.call(c)
		}
	}
	s.mu.Lock()
	s.rev = max(s.rev, rev)
	s.mu.Unlock()
	return errors.Join(faults...)
}

// apply takes a change of the store into memory, unless it is known.
func (s *Service) apply(c store.Change) error {
	for _, t := range s.tables {
		if !strings.HasPrefix(c.Key, t.keyPrefix()) {
			continue
		}
		change, news, err := t.take(s, c)
		if news {
			s.hooks.call(change)
		}
		return err
	}
	return nil // of nobody here
}

func (t *table[R]) take(s *Service, c store.Change) (Change, bool, error) {
	id := strings.TrimPrefix(c.Key, t.prefix)
	s.mu.RLock()
	known := t.known(id, c.Revision)
	s.mu.RUnlock()
	if known && !c.Deleted {
		return Change{}, false, nil
	}
	var rec *R
	if !c.Deleted {
		var err error
		if rec, err = t.decode(c.Entry); err != nil {
			return Change{}, false, err
		}
	}
	change, news := t.takeRecord(s, c, id, rec)
	return change, news, nil
}

// takeRecord takes a change into memory whose record was read, nil if it is a
// deletion, unless it is known.
func (t *table[R]) takeRecord(s *Service, c store.Change, id string, rec *R) (Change, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Deleted && t.gone[id] == c.Revision {
		delete(t.gone, id) // the watch has come to it
		return Change{}, false
	}
	if t.known(id, c.Revision) {
		return Change{}, false
	}
	return t.put(id, rec, c.Revision), true
}

// known says whether memory has a revision of a record, or a later one.
func (t *table[R]) known(id string, rev uint64) bool {
	return t.revision(id) >= rev || t.gone[id] >= rev
}

// revision returns that of a record in memory, 0 if there is none.
func (t *table[R]) revision(id string) uint64 {
	if r := t.rows[id]; r != nil {
		return r.rev
	}
	return 0
}

// put puts a record into memory, or removes it if rec is nil. s.mu is held.
func (t *table[R]) put(id string, rec *R, rev uint64) Change {
	c := Change{Kind: t.name, ID: id, Deleted: rec == nil}
	var old *R
	if r, ok := t.rows[id]; ok {
		old = &r.rec
		c.Org = t.org(old)
		if t.ofOrg[c.Org]--; t.ofOrg[c.Org] == 0 {
			delete(t.ofOrg, c.Org)
		}
	}
	if rec == nil {
		delete(t.rows, id)
	} else {
		t.rows[id] = &row[R]{*rec, rev}
		delete(t.gone, id)
		c.Org = t.org(rec)
		t.ofOrg[c.Org]++
	}
	if t.index != nil {
		t.index(old, rec)
	}
	return c
}

// prune removes the records whose keys were not seen in the store as it was at
// revision upTo.
func (t *table[R]) prune(_ *Service, seen map[string]bool, upTo uint64) (out []Change) {
	for _, id := range slices.Collect(maps.Keys(t.rows)) {
		if t.rows[id].rev <= upTo && !seen[t.prefix+id] {
			out = append(out, t.put(id, nil, 0))
		}
	}
	for id, rev := range t.gone {
		if rev <= upTo {
			delete(t.gone, id)
		}
	}
	return out
}

// get returns a record.
func get[R any](s *Service, t *table[R], id string) (row[R], bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r := t.rows[id]; r != nil {
		return *r, true
	}
	return row[R]{}, false
}

// create writes a new record.
func create[R any](ctx context.Context, s *Service, t *table[R], rec R) (row[R], error) {
	id := t.id(&rec)
	text, err := t.encode(&rec)
	if err != nil {
		return row[R]{}, err
	}
	kept, err := t.decode(store.Entry{Key: t.prefix + id, Value: text}) // what a restart would read
	if err != nil {
		return row[R]{}, err
	}
	rev, err := s.cfg.Store.Put(ctx, t.prefix+id, text, store.New)
	if errors.Is(err, store.ErrConflict) {
		return row[R]{}, fail(Conflict, "there is a %s %s already", t.name, id)
	}
	if err != nil {
		return row[R]{}, failed("create the "+t.name, err)
	}
	return t.hold(s, id, kept, rev), nil
}

// hold takes into memory what was just written.
func (t *table[R]) hold(s *Service, id string, rec *R, rev uint64) row[R] {
	s.mu.Lock()
	var c Change
	news := !t.known(id, rev)
	if news {
		c = t.put(id, rec, rev)
	}
	s.mu.Unlock()
	if news {
		s.hooks.call(c)
	}
	return row[R]{*rec, rev}
}

// maxAttempts bounds how often a change is tried that others come before.
const maxAttempts = 50

// update changes a record: its revision must be rev, if that is not 0. change
// gets a copy of its own, and may be called several times. If it changes
// nothing, nothing is written.
func update[R any](ctx context.Context, s *Service, t *table[R], id string, rev uint64, change func(*R) error) (row[R], error) {
	for range maxAttempts {
		r, ok := get(s, t, id)
		if !ok {
			return row[R]{}, t.missing(id)
		}
		if rev != 0 && rev != r.rev {
			return row[R]{}, t.changed(id)
		}
		before, err := t.encode(&r.rec)
		if err != nil {
			return row[R]{}, err
		}
		rec, err := t.decode(store.Entry{Key: t.prefix + id, Value: before})
		if err != nil {
			return row[R]{}, err
		}
		if err := change(rec); err != nil {
			return row[R]{}, err
		}
		text, err := t.encode(rec)
		if err != nil || bytes.Equal(text, before) {
			return r, err
		}
		if rec, err = t.decode(store.Entry{Key: t.prefix + id, Value: text}); err != nil {
			return row[R]{}, err
		}
		next, err := s.cfg.Store.Put(ctx, t.prefix+id, text, r.rev)
		if err == nil {
			return t.hold(s, id, rec, next), nil
		}
		if err := s.lost(ctx, t, id, rev, err); err != nil {
			return row[R]{}, err
		}
	}
	return row[R]{}, fail(Conflict, "the %s %s is being changed by too many at once", t.name, id)
}

// lost says what follows from a write that failed: nil that it is to be tried
// again, with what somebody else has written meanwhile.
func (s *Service) lost(ctx context.Context, t anyTable, id string, rev uint64, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fail(NotFound, "there is no %s any more", id)
	case !errors.Is(err, store.ErrConflict):
		return failed("write "+id, err)
	case rev != 0:
		return fail(Precondition, "%s has been changed meanwhile: read it again", id)
	}
	return s.refresh(ctx, t, id)
}

// refresh takes in what the store holds of a record.
func (s *Service) refresh(ctx context.Context, t anyTable, id string) error {
	e, err := s.cfg.Store.Get(ctx, t.keyPrefix()+id)
	if errors.Is(err, store.ErrNotFound) {
		return fail(NotFound, "there is no %s any more", id)
	}
	if err != nil {
		return failed("read "+id, err)
	}
	return s.apply(store.Change{Entry: e})
}

// remove deletes a record, if allow does not object.
func remove[R any](ctx context.Context, s *Service, t *table[R], id string, rev uint64, allow func(*R) error) error {
	for range maxAttempts {
		r, ok := get(s, t, id)
		if !ok {
			return t.missing(id)
		}
		if rev != 0 && rev != r.rev {
			return t.changed(id)
		}
		if err := allow(&r.rec); err != nil {
			return err
		}
		next, err := s.cfg.Store.Delete(ctx, t.prefix+id, r.rev)
		if err != nil {
			if err := s.lost(ctx, t, id, rev, err); err != nil {
				return err
			}
			continue
		}
		s.mu.Lock()
		have := t.revision(id)
		news := have != 0 && have < next
		var c Change
		if news {
			t.gone[id] = next
			c = t.put(id, nil, next)
		}
		s.mu.Unlock()
		if news {
			s.hooks.call(c)
		}
		return nil
	}
	return fail(Conflict, "the %s %s is being changed by too many at once", t.name, id)
}

func (t *table[R]) missing(id string) error {
	return fail(NotFound, "there is no %s %.80q", t.name, id)
}

func (t *table[R]) changed(id string) error {
	return fail(Precondition, "the %s %s has been changed meanwhile: read it again", t.name, id)
}

// reserve makes sure that one more of a kind fits below a bound, until release.
// count says how many there are; s.mu is held for it.
func (s *Service) reserve(kind, org string, most int, count func() int) (release func(), err error) {
	key := kind + "/" + org
	s.mu.Lock()
	defer s.mu.Unlock()
	if count()+s.reserved[key] >= most {
		return nil, fail(Exhausted, "there are %d of the kind %s already, which is the most", most, kind)
	}
	s.reserved[key]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.reserved[key]--; s.reserved[key] == 0 {
			delete(s.reserved, key)
		}
	}, nil
}

// restore takes in a record as the store holds it, and brings it to the present
// version, in the store too.
func (t *table[R]) restore(ctx context.Context, s *Service, e store.Entry) error {
	id := strings.TrimPrefix(e.Key, t.prefix)
	s.mu.RLock()
	known := t.known(id, e.Revision)
	s.mu.RUnlock()
	if known {
		return nil
	}
	rec, err := t.decode(e)
	if errors.Is(err, errOlder) {
		if e, err = t.migrate(ctx, s, e); err == nil {
			rec, err = t.decode(e)
		}
	}
	if err != nil {
		return err
	}
	if c, news := t.takeRecord(s, store.Change{Entry: e}, id, rec); news {
		s.hooks.call(c)
	}
	return nil
}
