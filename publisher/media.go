package publisher

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/moqt/track"
)

const (
	// propInitData is MSF's Initialization Data (section 12.2).
	propInitData    = 0x79
	maxInitProperty = 32 << 10 // bytes
)

// A mediaTrack is one track of a Publisher, under its lock.
type mediaTrack struct {
	p      *Publisher
	name   string
	header cmaf.Header  // of the groups so far, with what was measured
	stated cmaf.Header  // the same as the input gave it
	next   *cmaf.Header // of the groups to come; nil: the same
	track  *track.Track
	place  *groupTrack
	meter  cmaf.Meter

	sink     *sink     // nil: closed
	closedAt time.Time // when it was
	added    time.Time
	came     bool // a chunk has come
	listed   bool // in the catalog

	lastDTS int64 // of the last chunk that came
	hasLast bool  // lastDTS is valid

	// The group that is open, or the last one.
	writer   *track.SubgroupWriter
	group    uint64
	hasGroup bool
	gap      uint64 // how many numbers were skipped before it
	object   uint64 // ID of the next object

	view *initView // nil: nobody reads it

	headerGroup uint64 // the first group that header describes; 0: all
	showHeader  bool   // the open group is that one
}

// A sink feeds one track of a Publisher.
type sink struct {
	p *Publisher
	t *mediaTrack
}

// WriteChunk publishes c, as one object, once its group is known. It fails with
// ErrReplaced, ErrTimeBack, ErrClosed, or when c does not fit the limits of the
// track.
func (s *sink) WriteChunk(c cmaf.Chunk) error {
	p, t := s.p, s.t
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case t.sink != s:
		return fmt.Errorf("publisher: track %q: %w", t.name, ErrReplaced)
	case len(c.Samples) == 0:
		return fmt.Errorf("publisher: track %q: chunk without samples", t.name)
	case c.DecodeTime < 0:
		return fmt.Errorf("publisher: track %q: negative decode time %d", t.name, c.DecodeTime)
	case t.hasLast && c.DecodeTime < t.lastDTS:
		return fmt.Errorf("publisher: track %q: %w: %d after %d", t.name, ErrTimeBack, c.DecodeTime, t.lastDTS)
	}
	t.lastDTS, t.hasLast = c.DecodeTime, true
	now := p.cfg.Now()
	if !t.came {
		t.came = true
		p.poke() // the deadline of what waits
	}
	p.group.push(now, t.place, c)
	return p.step(now)
}

// Close ends the track for now. Unless it is added again soon, or the whole
// broadcast pauses, it ends for good.
func (s *sink) Close() error {
	p, t := s.p, s.t
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || t.sink != s {
		return nil
	}
	now := p.cfg.Now()
	t.sink, t.closedAt = nil, now
	p.group.close(t.place)
	err := p.step(now)
	t.finish()
	if p.single != nil && !p.anyOpen() {
		p.single.finish()
	}
	p.poke()
	return err
}

// anyOpen reports whether some track has a Sink that is open.
func (p *Publisher) anyOpen() bool {
	return slices.ContainsFunc(p.list, func(t *mediaTrack) bool { return t.sink != nil })
}

// removing reports whether tracks that are closed for long are to end. While
// all are closed they stay: the input is between two connections, and its
// owner closes the broadcast when it has waited enough.
func (p *Publisher) removing() bool { return p.catalog.published && p.anyOpen() }

// removeEnded ends the tracks that were closed and not added again.
func (p *Publisher) removeEnded(now time.Time) {
	if !p.removing() {
		return
	}
	p.list = slices.DeleteFunc(p.list, func(t *mediaTrack) bool {
		if t.sink != nil || now.Sub(t.closedAt) < removeAfter {
			return false
		}
		t.finish()
		t.track.End(track.DoneTrackEnded, "the track has ended")
		p.group.remove(t.place)
		p.dropName(t.track)
		p.endInitView(t)
		p.catalog.changed = p.catalog.changed || t.listed
		p.log.Info("track ended", "track", t.name)
		return true
	})
}

// write writes one chunk as the next object of its group.
func (p *Publisher) write(now time.Time, pl placement) error {
	t := pl.track.owner
	first := t.writer == nil || pl.group != t.group
	if first {
		if err := t.open(now, pl.group); err != nil {
			return err
		}
	}
	o := track.Object{ID: t.object}
	if first {
		o.Properties = t.properties()
	}
	b := p.scratch[:0]
	if first && !p.cfg.OmitReferenceTime && !p.anchor.IsZero() {
		b = t.referenceTime(pl.chunk).Append(b)
	}
	b = pl.chunk.AppendTo(b, 1, sequence(pl.chunk.DecodeTime, t.stated.Timescale))
	o.Payload, p.scratch = b, b
	if err := t.writer.WriteObject(o); err != nil {
		t.writer = nil
		return fmt.Errorf("publisher: track %q, group %d, object %d: %w", t.name, t.group, t.object, err)
	}
	t.object++
	if t.view != nil {
		t.view.write(b)
	}
	if p.single != nil {
		p.single.write(pl)
	}
	t.measure(pl.chunk)
	if p.cfg.Published != nil {
		p.cfg.Published(p.cfg.Now().Sub(pl.came))
	}
	return nil
}

// properties returns the properties of the open group's first object: the gap
// before it, and the header when it is the first group that needs it, because
// the catalog travels on a stream of its own.
func (t *mediaTrack) properties() track.Properties {
	var props []track.Property
	if t.gap > 0 {
		props = append(props, track.Property{Type: track.PropPriorGroupIDGap, Uint: t.gap})
	}
	if t.showHeader {
		props = append(props, track.Property{Type: propInitData, Bytes: t.header.Init})
	}
	return track.NewProperties(props...)
}

// sequence returns the sequence number of mfhd: milliseconds of media time.
// They rise with every chunk, and redundant publishers agree on them.
func sequence(dts int64, scale uint32) uint32 {
	return uint32(cmaf.Time{Ticks: dts, Scale: scale}.In(1000).Ticks)
}

// referenceTime returns the time at which the input had c.
func (t *mediaTrack) referenceTime(c cmaf.Chunk) cmaf.Prft {
	media := cmaf.Time{Ticks: c.DecodeTime, Scale: t.stated.Timescale}
	return cmaf.Prft{
		TrackID: 1, Flags: 24, Wall: t.p.anchor.Add(media.Duration()), MediaTime: uint64(c.DecodeTime),
	}
}

// measure fills in what the header did not say, once it is known.
func (t *mediaTrack) measure(c cmaf.Chunk) {
	if t.header.Bitrate != 0 && (t.header.FrameRate != 0 || t.header.Kind != cmaf.KindVideo) {
		return
	}
	t.meter.Add(t.stated, c)
	if t.meter.Fill(&t.header) {
		t.p.catalog.changed = true
	}
}

// open begins a group. It publishes the catalog first if the group needs a
// header that the catalog does not have yet.
func (t *mediaTrack) open(now time.Time, number uint64) error {
	t.finish()
	t.showHeader = false
	if t.next != nil {
		t.header, t.stated, t.next, t.headerGroup = *t.next, *t.next, nil, number
		t.showHeader = len(t.header.Init) <= maxInitProperty
		t.meter = cmaf.Meter{}
		if err := t.p.publishCatalog(now, false); err != nil {
			return err
		}
	}
	prior := t.group
	if !t.hasGroup {
		prior = t.p.cfg.NextGroup - 1 // wraps to the largest number for 0
	}
	gap := uint64(0)
	if prior < number {
		gap = number - prior - 1
	}
	w, err := t.track.Subgroup(track.SubgroupHeader{
		Group: number, Priority: t.priority(), HasPriority: true,
		Properties: gap > 0 || t.showHeader, EndOfGroup: true, FirstObject: true,
	})
	if err != nil {
		return fmt.Errorf("publisher: track %q, group %d: %w", t.name, number, err)
	}
	t.writer, t.gap, t.group, t.hasGroup, t.object = w, gap, number, true, 0
	if t.view != nil {
		t.view.open(number)
	}
	return nil
}

// finish ends the group that is open, if any, with all its objects.
func (t *mediaTrack) finish() {
	if t.writer == nil {
		return
	}
	if err := t.writer.Close(); err != nil && !errors.Is(err, track.ErrClosed) {
		t.p.log.Error("group not closed", "track", t.name, "group", t.group, "err", err)
	}
	t.writer = nil
	if t.view != nil {
		t.view.finish()
	}
}

// basePriority is the publisher priority of a kind's lowest rendition.
func basePriority(k cmaf.Kind) uint8 {
	switch k {
	case cmaf.KindVideo:
		return priorityVideo
	case cmaf.KindAudio:
		return priorityAudio
	}
	return priorityData
}

// priority returns the publisher priority of the track's next group.
func (t *mediaTrack) priority() uint8 {
	if t.header.Kind != cmaf.KindVideo {
		return basePriority(t.header.Kind)
	}
	above := 0
	for _, u := range t.p.list {
		if u != t && u.header.Kind == cmaf.KindVideo && lower(u.stated, t.stated) {
			above++
		}
	}
	return priorityVideo + uint8(8*min(above, 7))
}

// lower reports whether a is a lower rendition than b.
func lower(a, b cmaf.Header) bool {
	return cmp.Or(cmp.Compare(a.Width*a.Height, b.Width*b.Height), cmp.Compare(a.Bitrate, b.Bitrate)) < 0
}
