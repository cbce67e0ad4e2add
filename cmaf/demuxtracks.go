package cmaf

import (
	"bytes"
	"fmt"
)

// A demuxTrack is one track of the input. Its place in Demuxer.tracks is that
// of its fragTrack in Demuxer.frag.
type demuxTrack struct {
	trak
	name   string
	sink   Sink // nil: not added yet, or not carried
	cutter *Cutter

	begun    bool
	dts      int64 // of the last sample
	end      int64 // where it ends
	start    int64 // of the track's samples in this fragment
	inFrag   bool  // it has some
	flushEnd bool  // the chunk ends with this fragment
}

func (t *demuxTrack) close() error {
	if t.sink == nil {
		return nil
	}
	err := t.cutter.Flush()
	if e := t.sink.Close(); err == nil {
		err = e
	}
	t.sink = nil
	return err
}

// endMoof reads a fragment's metadata and prepares for its mdat.
func (d *Demuxer) endMoof(moof *box) error {
	d.repeats.leave(d.next)
	if err := d.useMoov(); err != nil {
		return err
	}
	d.next, d.got = 0, 0
	if err := d.fr.parse(moof, d.frag); err != nil {
		d.fr.samples = d.fr.samples[:0]
		return err
	}
	if !d.started {
		if err := d.start(); err != nil {
			return err
		}
	}
	d.skipRepeated(moof.body)
	d.watchTimes()
	if err := d.sendEvents(); err != nil {
		return err
	}
	return d.skipEmpty(d.fr.end)
}

// useMoov makes the latest moov's tracks the current ones. A track that is as
// it was keeps its Sink; the Sinks of the others are closed.
func (d *Demuxer) useMoov() error {
	if d.moov == nil {
		return nil
	}
	names, err := d.trackNames()
	if err != nil {
		return err
	}
	tracks := make([]demuxTrack, len(d.moov))
	frag := make([]fragTrack, len(d.moov))
	for i, t := range d.moov {
		tracks[i] = demuxTrack{trak: t}
		frag[i] = fragTrack{id: t.id, skip: !t.known, defaults: t.header.defaults, shift: t.header.shift}
		if !t.known {
			continue
		}
		tracks[i].name = names[i]
		for j := range d.tracks {
			old := &d.tracks[j]
			if old.sink != nil && old.name == tracks[i].name && bytes.Equal(old.header.Init, t.header.Init) {
				old.trak = t
				tracks[i], *old = *old, demuxTrack{}
				frag[i].next, frag[i].duration = d.frag[j].next, d.frag[j].duration
				break
			}
		}
	}
	for i := range d.tracks {
		if err := d.tracks[i].close(); err != nil {
			return err
		}
	}
	d.moov, d.tracks, d.frag, d.started = nil, tracks, frag, false
	return nil
}

// trackNames names the latest moov's tracks, each differently. One that goes on
// under its track ID and kind keeps its name, whatever came or went beside it.
func (d *Demuxer) trackNames() ([]string, error) {
	names := make([]string, len(d.moov))
	taken := map[string]bool{"": true}
	for i, t := range d.moov {
		for j := range d.tracks {
			old := &d.tracks[j]
			if t.known && old.known && old.id == t.id && old.header.Kind == t.header.Kind {
				names[i], taken[old.name] = old.name, true
			}
		}
	}
	for i, t := range d.moov {
		for n := 0; t.known && names[i] == ""; n++ {
			name := d.c.Name(t.header, n)
			switch {
			case !taken[name]:
				names[i], taken[name] = name, true
			case n == maxTracks:
				return nil, fmt.Errorf("cmaf: no name for track %d: %q is taken, and no other is given", t.id, name)
			}
		}
	}
	return names, nil
}

// start adds the tracks that have no Sink yet.
func (d *Demuxer) start() error {
	for i := range d.tracks {
		t := &d.tracks[i]
		if !t.known || t.sink != nil {
			continue
		}
		h := t.header
		policy := d.c.Audio
		if h.Kind == KindVideo {
			policy = d.c.Video
			if h.FrameRate == 0 {
				h.FrameRate = d.fr.frameRate(i, h.Timescale)
			}
		}
		// The tracks' chunks are resolved already.
		h.trackID, h.defaults, h.shift = 0, sampleDefaults{}, 0
		sink, err := d.b.AddTrack(t.name, h)
		if err != nil {
			return err
		}
		t.sink, t.cutter = sink, NewCutter(sink, h, policy)
	}
	d.started = true
	if p := d.prft; p != nil {
		d.prft = nil
		d.anchor(*p)
	}
	return nil
}

// frameRate returns the rate of a track's samples in the fragment: 0 when
// they are not alike.
func (f *fragment) frameRate(track int, scale uint32) float64 {
	var duration uint32
	for i := range f.samples {
		s := &f.samples[i]
		if s.track != track {
			continue
		}
		if duration != 0 && s.Duration != duration {
			return 0
		}
		duration = s.Duration
	}
	if duration == 0 {
		return 0
	}
	return float64(scale) / float64(duration)
}

// watchTimes reports when media time jumps with this fragment, and notes which
// tracks end a chunk with it.
func (d *Demuxer) watchTimes() {
	said := false
	for i := d.next; i < len(d.fr.samples); i++ {
		s := &d.fr.samples[i]
		t := &d.tracks[s.track]
		if !t.inFrag {
			t.inFrag, t.start = true, s.dts
			step := Time{s.dts - t.end, t.header.Timescale}
			if t.begun && !said && (s.dts < t.dts || step.Compare(FromDuration(jumpThreshold, 1000)) > 0) {
				d.b.Discontinuity(fmt.Sprintf("the decode time of track %s steps by %+.3f s", t.name, step.Seconds()))
				said = true
			}
		}
		t.begun, t.dts, t.end = true, s.dts, s.dts+int64(s.Duration)
	}
	for i := range d.tracks {
		t := &d.tracks[i]
		t.flushEnd = t.inFrag && t.end-t.start > t.cutter.target
		t.inFrag = false
	}
}

// endEmsg takes an event. It is sent with the fragment that follows.
func (d *Demuxer) endEmsg(b *box) error {
	e, err := parseEmsg(b)
	if err != nil {
		return err
	}
	if len(d.events) == maxEvents {
		return b.fail("is the %dth with no fragment between", maxEvents+1)
	}
	d.events = append(d.events, e)
	return nil
}

// sendEvents sends the events that waited for this fragment.
func (d *Demuxer) sendEvents() error {
	if len(d.events) == 0 || len(d.fr.samples) == 0 {
		return nil
	}
	// Version 0 counts from the earliest presentation time of the segment.
	var first Time
	for i := range d.fr.samples {
		s := &d.fr.samples[i]
		t := Time{s.dts + int64(s.CompositionOffset), d.tracks[s.track].header.Timescale}
		if i == 0 || t.Before(first) {
			first = t
		}
	}
	events := d.events
	d.events = nil
	for _, e := range events {
		if e.delta {
			e.Time = e.Time.Add(first.In(e.Time.Scale))
		}
		if err := d.b.Event(e.Event); err != nil {
			return err
		}
	}
	return nil
}

// endPrft takes a producer reference time, at once or with the first fragment.
func (d *Demuxer) endPrft(b *box) error {
	p, err := parsePrft(b)
	if err != nil {
		return err
	}
	if d.started && d.moov == nil {
		d.anchor(p)
	} else {
		d.prft = &p
	}
	return nil
}

func (d *Demuxer) anchor(p Prft) {
	for i := range d.tracks {
		if t := &d.tracks[i]; t.id == p.TrackID && t.known {
			d.b.Anchor(Time{int64(p.MediaTime) + t.header.shift, t.header.Timescale}, p.Wall)
		}
	}
}
