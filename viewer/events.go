package viewer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

const (
	// maxTracks bounds what catalogs can make us subscribe to.
	maxTracks = catalog.MaxTracks
	// propInitData is MSF's Initialization Data (section 12.2).
	propInitData = 0x79
)

// An event is what a reading goroutine tells Run, which applies it.
type event interface {
	apply(ctx context.Context, v *Viewer) error
}

// send hands e to Run, unless ctx ends first.
func (v *Viewer) send(ctx context.Context, e event) bool {
	select {
	case v.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// A catalogEvent is a catalog that was read.
type catalogEvent struct{ catalog catalog.Catalog }

func (e catalogEvent) apply(ctx context.Context, v *Viewer) error {
	v.complete = v.complete || e.catalog.IsComplete
	v.touch()
	v.cfg.OnCatalog(e.catalog)
	if origin, ok := e.catalog.Origin(); ok && !origin.Equal(v.origin) {
		v.origin = origin
		v.tellOrigin()
	}
	listed := make(map[string]bool)
	for _, d := range e.catalog.Tracks {
		if d.Packaging != catalog.PackagingCMAF || d.Namespace != "" || !v.cfg.Select(d) {
			continue
		}
		listed[d.Name] = true
		if err := v.listed(ctx, e.catalog, d); err != nil {
			return err
		}
	}
	for name, t := range v.tracks {
		t.unlisted = t.unlisted || !listed[name]
	}
	return nil
}

// listed starts a track that the catalog lists, or takes its new header.
func (v *Viewer) listed(ctx context.Context, c catalog.Catalog, d catalog.Track) error {
	id := headerID{d.InitRef, d.InitData, d.InitGroup}
	t := v.tracks[d.Name]
	var before trackRising
	if t != nil && t.ended && t.unlisted && t.sink == nil {
		before, t = t.rising, nil // it was gone; this is another one
	}
	if t != nil && t.id == id {
		return nil
	}
	if t == nil && !v.room() {
		v.log.Warn("track of the catalog left out: too many", "track", d.Name)
		return nil
	}
	h, err := c.Header(d)
	if err != nil {
		// What else the broadcast has may well be fine.
		v.log.Warn("track of the catalog left out", "track", d.Name, "err", err)
		return nil
	}
	if t != nil {
		t.id = id
		t.addHeader(d.InitGroup, h)
		return nil
	}
	t = newViewTrack(d.Name, id, h)
	t.rising = before
	sink, err := v.out.AddTrack(t.name, *t.headers[0].header)
	if err != nil {
		return err
	}
	t.sink, t.current = sink, t.headers[0].header
	v.tracks[t.name] = t
	v.merger.add(t)
	v.running++
	v.wg.Go(func() { v.readTrack(ctx, t) })
	return nil
}

// room makes sure that another track has room, by forgetting those that are
// gone.
func (v *Viewer) room() bool {
	if len(v.tracks) >= maxTracks {
		maps.DeleteFunc(v.tracks, func(_ string, t *viewTrack) bool { return t.ended && t.unlisted && t.sink == nil })
	}
	return len(v.tracks) < maxTracks
}

// touch notes that something came, when the end is in sight.
func (v *Viewer) touch() {
	if v.complete || v.running == 0 {
		v.quiet = v.cfg.Now()
	}
}

// A catalogEnd says that the catalog's track has ended: err is nil or why.
type catalogEnd struct{ err error }

func (e catalogEnd) apply(_ context.Context, v *Viewer) error {
	v.complete = true
	v.fail(e.err)
	v.touch()
	return nil
}

// fail keeps the first error that ended a track.
func (v *Viewer) fail(err error) {
	if v.err == nil {
		v.err = err
	}
}

// A beginEvent says at which group a track can begin.
type beginEvent struct {
	t     *viewTrack
	group uint64
	rap   bool // and that it begins with a random access point
}

func (e beginEvent) apply(_ context.Context, v *Viewer) error {
	v.start.begin(v, e)
	return nil
}

// An objectEvent is one object.
type objectEvent struct {
	entry entry
	info  Object
}

func (e objectEvent) apply(_ context.Context, v *Viewer) error {
	v.touch()
	v.cfg.OnObject(e.info)
	e.entry.came = v.cfg.Now()
	v.merger.push(e.entry)
	return nil
}

// A gapEvent says what is missing.
type gapEvent struct{ gap Gap }

func (e gapEvent) apply(_ context.Context, v *Viewer) error {
	v.log.Info("gap", "track", e.gap.Track, "reason", string(e.gap.Reason),
		"group", e.gap.From.Group, "object", e.gap.From.Object, "to", e.gap.To)
	v.cfg.OnGap(e.gap)
	return nil
}

// An endEvent says that a track has ended.
type endEvent struct {
	t   *viewTrack
	err error // nil: cleanly
}

func (e endEvent) apply(_ context.Context, v *Viewer) error {
	v.running--
	e.t.ended = true
	v.merger.end(e.t)
	v.start.left(v)
	v.touch()
	if e.err == nil {
		return nil
	}
	err := fmt.Errorf("viewer: track %q: %w", e.t.name, e.err)
	if _, refused := errors.AsType[*track.RequestError](e.err); refused {
		return err // it will not come by waiting
	}
	v.fail(err)
	return nil
}

// A headerID tells one header of a track from another.
type headerID struct {
	ref, data string
	group     uint64
}

// A viewTrack is one track that is viewed.
type viewTrack struct {
	name   string
	credit chan struct{} // a slot for each object that waits to be handed on
	start  chan uint64   // one slot: the group to begin with

	mu      sync.Mutex // guards headers and newest
	headers []groupHeader
	newest  uint64 // group that was begun last

	// What follows belongs to the goroutine of Run.
	id       headerID
	sink     cmaf.Sink
	current  *cmaf.Header // of sink
	rising   trackRising
	asked    *beginEvent // waits for an answer on start
	reached  bool        // Duration
	ended    bool
	unlisted bool // a catalog came without it
}

// A groupHeader is the header of the groups from one on.
type groupHeader struct {
	from   uint64
	header *cmaf.Header
}

func newViewTrack(name string, id headerID, h cmaf.Header) *viewTrack {
	return &viewTrack{
		name: name, id: id,
		credit:  make(chan struct{}, maxQueued),
		start:   make(chan uint64, 1),
		headers: []groupHeader{{id.group, &h}},
	}
}

// maxHeaders is how many headers of a track are remembered.
const maxHeaders = 16

// addHeader adds the header of the groups from one on. Where the catalog does
// not say which, they are those that have not begun.
func (t *viewTrack) addHeader(from uint64, h cmaf.Header) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if from == 0 {
		from = t.newest + 1
	}
	t.insert(from, h)
}

// insert adds a header, in the order of the groups. The lock is held.
func (t *viewTrack) insert(from uint64, h cmaf.Header) {
	i := len(t.headers)
	for i > 0 && t.headers[i-1].from > from {
		i--
	}
	if i > 0 && bytes.Equal(t.headers[i-1].header.Init, h.Init) {
		return // known, from the media itself or from another catalog
	}
	t.headers = slices.Insert(t.headers, i, groupHeader{from, &h})
	if len(t.headers) > maxHeaders {
		t.headers = t.headers[1:] // nobody reads that far back
	}
}

// headerOf returns the header of a group that is begun, nil if none is known.
// props are those of its first object, which may bring one.
func (t *viewTrack) headerOf(group uint64, props track.Properties) (h *cmaf.Header) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.newest = max(t.newest, group)
	if init, ok := props.Bytes(propInitData); ok {
		if h, err := cmaf.ParseHeader(init); err == nil {
			t.insert(group, h)
		}
	}
	for _, g := range t.headers {
		if g.from <= group {
			h = g.header
		}
	}
	return h
}

func (t *viewTrack) closeSink() error {
	if t.sink == nil {
		return nil
	}
	sink := t.sink
	t.sink, t.current = nil, nil
	return sink.Close()
}

// startWait is how long the tracks of a lossless viewer wait for each other at
// the start.
const startWait = 2 * time.Second

// A startGate has all tracks of a lossless viewer start at the same group: the
// first that all have, and that begins with a random access point of video.
type startGate struct {
	wait  bool // until it is decided
	group uint64
	since time.Time // the first track asked
}

// begin takes what a track can begin with, and answers when it is decided.
func (s *startGate) begin(v *Viewer, e beginEvent) {
	if !s.wait {
		e.t.start <- max(s.group, e.group)
		return
	}
	if s.since.IsZero() {
		s.since = v.cfg.Now()
	}
	e.t.asked = &e
	s.left(v)
}

// left decides when no track is left to wait for.
func (s *startGate) left(v *Viewer) {
	for _, t := range v.tracks {
		if s.wait && t.asked == nil && !t.ended {
			return
		}
	}
	s.decide(v)
}

// decide answers all tracks that have asked.
func (s *startGate) decide(v *Viewer) {
	for _, t := range v.tracks {
		if e := t.asked; e != nil {
			s.group = max(s.group, e.group)
			if !e.rap {
				s.group = max(s.group, e.group+1)
			}
			s.wait = false
		}
	}
	for _, t := range v.tracks {
		if t.asked != nil {
			t.asked = nil
			t.start <- s.group
		}
	}
}

func (s *startGate) deadline() (time.Time, bool) {
	return s.since.Add(startWait), s.wait && !s.since.IsZero()
}

// expire decides with the tracks that have come.
func (s *startGate) expire(v *Viewer, now time.Time) {
	if at, ok := s.deadline(); ok && !now.Before(at) {
		s.decide(v)
	}
}

// readCatalog reads the catalog's track until it ends.
func (v *Viewer) readCatalog(ctx context.Context, sub *track.Subscription, parse func([]byte) (catalog.Catalog, error)) {
	r := sub.Track().NewReader(track.CurrentGroup)
	for {
		if newest, ok := r.Newest(); ok {
			r.SkipTo(newest) // only the newest catalog counts
		}
		g, err := r.NextGroup(ctx)
		if err != nil {
			if ctx.Err() == nil {
				v.send(ctx, catalogEnd{clean(err)})
			}
			return
		}
		o, err := g.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			continue // cut; the next one is whole
		}
		c, err := parse(o.Payload)
		if err != nil {
			v.log.Warn("catalog left out", "group", g.ID(), "err", err)
			v.send(ctx, badCatalog{err})
			continue
		}
		if !v.send(ctx, catalogEvent{c}) {
			return
		}
	}
}

// parsePlayback reads the catalog of simple players. Its tracks are the
// init-first views, under their own names.
func parsePlayback(b []byte) (catalog.Catalog, error) {
	p, err := catalog.ParsePlayback(b)
	c := catalog.Catalog{
		Version: catalog.Version, GeneratedAt: p.GeneratedAt, IsComplete: p.IsComplete, MediaTimeOrigin: p.MediaTimeOrigin,
	}
	for _, t := range p.Tracks {
		c.Tracks = append(c.Tracks, t.Track)
	}
	return c, err
}

// A badCatalog is a catalog that cannot be read: fatal when it is all there is.
type badCatalog struct{ err error }

func (e badCatalog) apply(_ context.Context, v *Viewer) error {
	if len(v.tracks) == 0 {
		return fmt.Errorf("viewer: %w", e.err)
	}
	return nil
}

// clean returns nil for the clean end of a track.
func clean(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
