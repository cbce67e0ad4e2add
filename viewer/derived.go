package viewer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// A derived makes a broadcast of a single track, whose header stands in for the
// catalog. It is the Broadcast of its Demuxer, on the goroutine of Run.
type derived struct {
	v       *Viewer
	demux   *cmaf.Demuxer
	tracks  []*derivedTrack
	changed bool // the catalog is not told yet
}

// A derivedTrack is one track of it. It stays when its header changes.
type derivedTrack struct {
	name   string
	header cmaf.Header
	open   bool
	rising trackRising
	past   bool // Duration is reached
}

// viewSingle views a broadcast that has only a single track.
func (v *Viewer) viewSingle(ctx context.Context, sub *track.Subscription) error {
	d := &derived{v: v}
	d.demux = cmaf.NewDemuxer(d, cmaf.DemuxerConfig{})
	err := v.runSingle(ctx, sub, &singleRun{
		hand: d.hand,
		due:  func() (time.Time, bool) { return v.reached.Add(v.limitWait()), !v.reached.IsZero() },
		over: d.over,
	})
	closed := d.demux.Close() // the Sinks
	if _, cut := errors.AsType[*cmaf.BoxError](closed); err == nil && !cut {
		err = closed
	}
	return err
}

// hand takes one chunk.
func (d *derived) hand(c SingleChunk) error {
	d.v.cfg.OnObject(Object{
		Track: SingleTrack, Location: c.Location, Arrival: c.Arrival, Size: len(c.Data),
		Time: cmaf.Time{Ticks: c.Timestamp, Scale: microseconds},
	})
	_, err := d.demux.Write(c.Data)
	if bad, ok := errors.AsType[*cmaf.BoxError](err); ok {
		d.demux.EndBody() //nolint:errcheck // it repeats err
		at := c.Location
		d.v.log.Warn("fragment cannot be read", "track", SingleTrack, "group", at.Group, "object", at.Object, "err", bad)
		d.v.cfg.OnGap(Gap{Track: SingleTrack, Reason: GapInvalid, From: at, To: at.Group + 1})
		return nil
	}
	return err
}

// over reports whether Duration is reached: by all tracks, or by one while the
// others bring nothing.
func (d *derived) over(now time.Time) bool {
	v := d.v
	if v.reached.IsZero() {
		return false
	}
	waiting := slices.ContainsFunc(d.tracks, func(t *derivedTrack) bool { return t.open && !t.past })
	return !waiting || now.Sub(v.reached) >= v.limitWait()
}

// AddTrack implements cmaf.Broadcast.
func (d *derived) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	i := slices.IndexFunc(d.tracks, func(t *derivedTrack) bool { return t.name == name })
	if i < 0 {
		i = len(d.tracks)
		d.tracks = append(d.tracks, &derivedTrack{name: name})
	}
	t := d.tracks[i]
	t.header, t.open = h, true
	d.changed = true
	doc := catalog.New([]catalog.Source{{Name: name, Header: h}}, catalog.Options{GeneratedAt: d.v.cfg.Now()})
	if !d.v.cfg.Select(doc.Tracks[0]) {
		t.open = false // and in no catalog
		return noSink{}, nil
	}
	sink, err := d.v.out.AddTrack(name, h)
	if err != nil {
		return nil, err
	}
	return &derivedSink{d, t, sink}, nil
}

// tell tells the catalog that the header amounts to.
func (d *derived) tell() {
	d.changed = false
	var sources []catalog.Source
	for _, t := range d.tracks {
		if t.open {
			sources = append(sources, catalog.Source{Name: t.name, Header: t.header})
		}
	}
	d.v.cfg.OnCatalog(catalog.New(sources, catalog.Options{GeneratedAt: d.v.cfg.Now()}))
}

// Event implements cmaf.Broadcast.
func (d *derived) Event(e cmaf.Event) error { return d.v.out.Event(e) }

// Discontinuity implements cmaf.Broadcast. The receiver hears of one where time
// would go back.
func (d *derived) Discontinuity(reason string) { d.v.log.Debug("media time jumps", "reason", reason) }

// Anchor implements cmaf.Broadcast.
func (d *derived) Anchor(media cmaf.Time, wall time.Time) {
	d.v.out.Anchor(media.Add(cmaf.Time{Ticks: d.v.rising.shift, Scale: 1}), wall)
}

// Close implements cmaf.Broadcast; the Demuxer does not call it.
func (d *derived) Close(error) error { return nil }

type derivedSink struct {
	d    *derived
	t    *derivedTrack
	sink cmaf.Sink
}

// WriteChunk implements cmaf.Sink.
func (s *derivedSink) WriteChunk(c cmaf.Chunk) error {
	if s.d.changed {
		s.d.tell()
	}
	v, scale := s.d.v, s.t.header.Timescale
	if s.t.past {
		return nil
	}
	if reason := v.rising.move(&s.t.rising, &c, scale); reason != "" {
		v.log.Warn("media time went back", "track", s.t.name, "reason", reason)
		v.out.Discontinuity(reason)
	}
	if v.pastLimit(v.cfg.Now(), cmaf.Time{Ticks: c.DecodeTime, Scale: scale}) {
		s.t.past = true
		return nil
	}
	return s.sink.WriteChunk(c)
}

// Close implements cmaf.Sink.
func (s *derivedSink) Close() error {
	s.t.open = false
	s.d.changed = true
	return s.sink.Close()
}

// noSink is the Sink of a track that is not wanted.
type noSink struct{}

func (noSink) WriteChunk(cmaf.Chunk) error { return nil }
func (noSink) Close() error                { return nil }
