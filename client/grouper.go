package client

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/moqt/track"
)

const (
	// groupLeast is how much media time a group spans at least.
	groupLeast = time.Second
	// maxCached bounds what is kept for the relay to take, in bytes.
	maxCached = 64 << 20

	initSubgroup, mediaSubgroup = 0, 1
	initPriority, mediaPriority = 0, 1
	microseconds                = 1_000_000
)

// A grouper fills the single track of a broadcast: each group opens with the
// header in subgroup 0, and has the chunks in subgroup 1. A group begins at a
// random access point of video, or of audio where there is no video, at least
// groupLeast after the one before.
type grouper struct {
	track *track.Track

	header  []byte // nil: none yet
	changed bool   // since the group was opened
	look    glance
	group   uint64        // of the next group
	object  uint64        // ID of the next object
	start   time.Duration // media time at which the open group began
	writer  *track.SubgroupWriter
}

func newGrouper(name track.Name, now time.Time, cfg track.Config) *grouper {
	g := &grouper{
		track: track.New(name, track.Info{Local: true}, cfg),
		// Numbers rise also across publishers that remember nothing.
		group: uint64(now.UnixMilli()),
	}
	g.look.reset()
	return g
}

// write writes a header or a chunk, with the time that is to be stated for it.
func (g *grouper) write(data []byte, at *int64) error {
	header, err := checkChunk(data)
	if err != nil {
		return err
	}
	if header {
		if bytes.Equal(data, g.header) {
			return nil
		}
		g.look.reset()
		if err := g.look.take(data); err != nil {
			g.relook()
			return err
		}
		g.header, g.changed = bytes.Clone(data), true
		return nil
	}
	if g.header == nil {
		return fmt.Errorf("%w: a fragment before the header (ftyp, moov)", ErrChunk)
	}
	if err := g.look.take(data); err != nil {
		g.relook()
		return err
	}
	if g.writer == nil || g.changed || g.look.entry && g.look.at-g.start >= groupLeast {
		if err := g.open(at); err != nil {
			return err
		}
	}
	err = g.append(data, at)
	if errors.Is(err, track.ErrLimit) { // a group that never ends
		if err = g.open(at); err == nil {
			err = g.append(data, at)
		}
	}
	if err != nil {
		return err
	}
	g.object++
	return nil
}

// relook has the glance begin again, after something that it could not read.
func (g *grouper) relook() {
	g.look.reset()
	if g.header != nil {
		g.look.take(g.header) //nolint:errcheck // it was taken before
	}
}

// append writes a chunk into the open group, which an error cuts.
func (g *grouper) append(data []byte, at *int64) error {
	err := g.writer.WriteObject(track.Object{ID: g.object, Payload: data, Properties: stated(at)})
	if err == nil {
		return nil
	}
	g.writer.Abort(track.ResetInternalError)
	g.writer = nil
	return fmt.Errorf("client: %w", err)
}

// stated returns the properties that tell a presentation time.
func stated(at *int64) track.Properties {
	if at == nil {
		return track.Properties{}
	}
	return track.NewProperties(
		track.Property{Type: track.PropTimescale, Uint: microseconds},
		track.Property{Type: track.PropTimestamp, Uint: uint64(max(*at, 0))},
	)
}

// open begins the next group with the header.
func (g *grouper) open(at *int64) error {
	if err := g.close(); err != nil {
		return err
	}
	w, err := g.track.Subgroup(track.SubgroupHeader{
		Group: g.group, Subgroup: initSubgroup, Priority: initPriority, HasPriority: true,
		Properties: at != nil, FirstObject: true,
	})
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if err := w.WriteObject(track.Object{Payload: g.header, Properties: stated(at)}); err != nil {
		w.Abort(track.ResetInternalError)
		return fmt.Errorf("client: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	g.writer, err = g.track.Subgroup(track.SubgroupHeader{
		Group: g.group, Subgroup: mediaSubgroup, Priority: mediaPriority, HasPriority: true,
		Properties: true, FirstObject: true, EndOfGroup: true,
	})
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	g.group++
	g.object, g.start, g.changed = 1, g.look.at, false
	return nil
}

// close completes the open group.
func (g *grouper) close() error {
	if g.writer == nil {
		return nil
	}
	err := g.writer.Close()
	g.writer = nil
	if errors.Is(err, track.ErrClosed) || errors.Is(err, track.ErrTooOld) {
		return nil // nobody took it
	}
	return err
}

// finish ends the track in order.
func (g *grouper) finish() {
	if err := g.close(); err != nil {
		g.track.End(track.DoneInternalError, "the last group is cut")
		return
	}
	g.track.End(track.DoneTrackEnded, "the publisher has finished")
}

// abandon lets go of all that is left.
func (g *grouper) abandon() {
	g.track.End(track.DoneInternalError, "the publisher is gone")
	g.track.Drop()
	g.writer = nil
}

// A glance reads what goes by, to find where groups can begin.
type glance struct {
	demux *cmaf.Demuxer
	video bool // there is a track of video
	found bool // the chunk has a sample of the track that groups go by

	at    time.Duration // media time of that sample
	entry bool          // it is a random access point
}

func (l *glance) reset() {
	l.video = false
	l.demux = cmaf.NewDemuxer(glanceOut{l}, cmaf.DemuxerConfig{})
}

// take reads a header or a chunk.
func (l *glance) take(b []byte) error {
	l.found, l.entry = false, false
	if _, err := l.demux.Write(b); err != nil {
		return fmt.Errorf("%w: %w", ErrChunk, err)
	}
	return nil
}

// glanceOut is the cmaf.Broadcast of a glance.
type glanceOut struct{ l *glance }

func (o glanceOut) AddTrack(_ string, h cmaf.Header) (cmaf.Sink, error) {
	o.l.video = o.l.video || h.Kind == cmaf.KindVideo
	return glanceSink{o.l, h.Kind == cmaf.KindVideo, h.Timescale}, nil
}
func (glanceOut) Event(cmaf.Event) error      { return nil }
func (glanceOut) Discontinuity(string)        {}
func (glanceOut) Anchor(cmaf.Time, time.Time) {}
func (glanceOut) Close(error) error           { return nil }

type glanceSink struct {
	l     *glance
	video bool
	scale uint32
}

func (s glanceSink) WriteChunk(c cmaf.Chunk) error {
	l := s.l
	if l.found || s.video != l.video {
		return nil
	}
	l.found, l.entry = true, c.RAP
	l.at = cmaf.Time{Ticks: c.PTS(), Scale: s.scale}.Duration()
	return nil
}
func (glanceSink) Close() error { return nil }
