package publisher

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// viewIdle is how long a view is kept that nobody reads. A reader of this
// process counts while it waits, so it may be busy for as long.
const viewIdle = 10 * time.Second

// A view shows tracks of the broadcast in another form, on a track of its own.
// It is made when somebody asks for its name, with the current group in it, and
// forgotten when nobody reads it any more, so that a form that nobody wants
// costs nothing.
type view struct {
	name  string
	track *track.Track
	form  viewForm // nil until the Publisher has taken it up; under its lock
	used  atomic.Int64
}

// A viewForm is what fills a view, under the Publisher's lock.
type viewForm interface {
	fill()   // with the current group
	finish() // ends the group that is open, if any, with all its objects
}

// openView makes the view with this name. It does not wait for the
// Publisher's lock: the next step fills the view.
func (p *Publisher) openView(name string) (*track.Track, bool) {
	p.names.Lock()
	defer p.names.Unlock()
	if t, ok := p.byName[name]; ok {
		return t, true // another goroutine was faster
	}
	priority := uint8(prioritySingleMedia)
	if name != SingleTrack {
		plain, ok := catalog.PlainName(name)
		t := p.byName[plain]
		if !ok || t == nil || reserved(plain) {
			return nil, false
		}
		priority = t.PublisherPriority()
	}
	if p.over {
		return nil, false
	}
	v := &view{name: name, track: p.newTrack(name, priority)}
	p.use(v)
	p.byName[name], p.views[name] = v.track, v
	p.asked.Store(true)
	p.poke()
	return v.track, true
}

// use notes that v is wanted.
func (p *Publisher) use(v *view) { v.used.Store(p.cfg.Now().UnixNano()) }

// stepViews takes up the views that were asked for and forgets those that
// nobody reads.
func (p *Publisher) stepViews(now time.Time) {
	if p.asked.Swap(false) {
		p.names.RLock()
		var fresh []*view
		for _, v := range p.views {
			if v.form == nil {
				fresh = append(fresh, v)
			}
		}
		p.names.RUnlock()
		for _, v := range fresh {
			p.takeUp(v)
		}
	}
	for _, v := range p.taken {
		if v.track.Readers() > 0 {
			v.used.Store(now.UnixNano())
		} else if now.UnixNano()-v.used.Load() > int64(viewIdle) {
			p.dropView(v, now)
		}
	}
}

// takeUp begins to fill v.
func (p *Publisher) takeUp(v *view) {
	if v.name == SingleTrack {
		p.single = &single{p: p, track: v.track}
		v.form = p.single
	} else {
		plain, _ := catalog.PlainName(v.name)
		i := slices.IndexFunc(p.list, func(t *mediaTrack) bool { return t.name == plain })
		if i < 0 { // it has ended since it was asked for
			p.endView(v, track.DoneTrackEnded, "the track has ended")
			return
		}
		t := p.list[i]
		t.view = &initView{t: t, track: v.track}
		v.form = t.view
	}
	p.taken = append(slices.Clip(p.taken), v) // stepViews may walk it
	v.form.fill()
}

// dropView forgets v unless it was asked for just now.
func (p *Publisher) dropView(v *view, now time.Time) {
	p.names.Lock()
	if now.UnixNano()-v.used.Load() <= int64(viewIdle) {
		p.names.Unlock()
		return
	}
	delete(p.byName, v.name)
	delete(p.views, v.name)
	p.names.Unlock()
	p.release(v, track.DoneGoingAway, "nobody reads the track")
	v.track.Drop()
}

// endView ends v for good: its readers still get what is there.
func (p *Publisher) endView(v *view, code track.DoneCode, text string) {
	p.names.Lock()
	delete(p.byName, v.name)
	delete(p.views, v.name)
	p.names.Unlock()
	p.release(v, code, text)
}

// release lets go of v, which no name leads to any more.
func (p *Publisher) release(v *view, code track.DoneCode, text string) {
	if v.form != nil {
		v.form.finish()
	}
	switch f := v.form.(type) {
	case *single:
		p.single = nil
	case *initView:
		f.t.view = nil
	}
	p.taken = slices.DeleteFunc(slices.Clone(p.taken), func(u *view) bool { return u == v })
	v.track.End(code, text)
}

// endInitView ends the view of a track that has ended.
func (p *Publisher) endInitView(t *mediaTrack) {
	p.names.RLock()
	v := p.views[catalog.InitName(t.name)]
	p.names.RUnlock()
	if v != nil {
		p.endView(v, track.DoneTrackEnded, "the track has ended")
	}
}

// endViews ends all views with the broadcast; their names still lead to them.
func (p *Publisher) endViews(code track.DoneCode, text string) {
	p.names.Lock()
	p.over = true
	views := make([]*view, 0, len(p.views))
	for _, v := range p.views {
		views = append(views, v)
	}
	p.names.Unlock()
	for _, v := range views {
		p.release(v, code, text)
	}
}

// reserved reports whether name is that of a track which is not media.
func reserved(name string) bool {
	_, view := catalog.PlainName(name)
	return view || name == catalog.TrackName || name == catalog.PlaybackTrackName || name == SingleTrack
}

// A group that opens with an init object has it in subgroup 0 and the media in
// subgroup 1, because one subgroup must not mix priorities.
const (
	initSubgroup  = 0
	mediaSubgroup = 1
	priorityInit  = 0
)

// openWithInit opens a group of tr with init as its object 0, and returns the
// writer of its media, whose objects count from 1.
func openWithInit(tr *track.Track, o track.Object, media track.SubgroupHeader) (*track.SubgroupWriter, error) {
	w, err := tr.Subgroup(track.SubgroupHeader{
		Group: media.Group, Subgroup: initSubgroup, Priority: priorityInit, HasPriority: true,
		Properties: len(o.Properties) > 0, FirstObject: true,
	})
	if err != nil {
		return nil, err
	}
	if err := w.WriteObject(o); err != nil {
		w.Abort(track.ResetInternalError)
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	media.Subgroup, media.HasPriority, media.EndOfGroup, media.FirstObject = mediaSubgroup, true, true, true
	return tr.Subgroup(media)
}

// An initView shows one track with its header as object 0 of every group.
type initView struct {
	t     *mediaTrack
	track *track.Track

	writer   *track.SubgroupWriter
	hasGroup bool
	object   uint64 // ID of the next object
}

// fill implements viewForm.
func (v *initView) fill() {
	t := v.t
	if !t.hasGroup {
		return
	}
	v.open(t.group)
	for o := range objects(t.track, t.group) {
		v.write(o.Payload)
	}
	if t.writer == nil {
		v.finish()
	}
}

// open begins the group that the plain track has begun.
func (v *initView) open(group uint64) {
	v.finish()
	o := track.Object{Payload: v.t.header.Init}
	if v.hasGroup && v.t.gap > 0 {
		o.Properties = track.NewProperties(track.Property{Type: track.PropPriorGroupIDGap, Uint: v.t.gap})
	}
	w, err := openWithInit(v.track, o, track.SubgroupHeader{Group: group, Priority: v.t.priority()})
	if err != nil {
		v.t.p.log.Warn("group of a view not opened", "track", v.track.Name().Name, "group", group, "err", err)
		return
	}
	v.writer, v.hasGroup, v.object = w, true, 1
}

// write writes what was written to the plain track.
func (v *initView) write(payload []byte) {
	if v.writer == nil {
		return
	}
	if err := v.writer.WriteObject(track.Object{ID: v.object, Payload: payload}); err != nil {
		v.t.p.log.Warn("group of a view cut", "track", v.track.Name().Name, "object", v.object, "err", err)
		v.writer.Abort(track.ResetInternalError)
		v.writer = nil
		return
	}
	v.object++
}

// finish implements viewForm.
func (v *initView) finish() { v.writer = v.t.p.closeGroup(v.track, v.writer) }

// closeGroup completes the group that w fills, and returns nil.
func (p *Publisher) closeGroup(tr *track.Track, w *track.SubgroupWriter) *track.SubgroupWriter {
	if w == nil {
		return nil
	}
	if err := w.Close(); err != nil && !errors.Is(err, track.ErrClosed) {
		p.log.Error("group not closed", "track", tr.Name().Name, "group", w.Header().Group, "err", err)
	}
	return nil
}
