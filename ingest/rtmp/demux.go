package rtmp

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
)

// maxTracks bounds the tracks of one connection.
const maxTracks = 32

// A demuxer turns the messages of one connection into the tracks of a
// Broadcast. It has neither clock nor goroutine.
type demuxer struct {
	b            cmaf.Broadcast
	video, audio cmaf.ChunkPolicy
	maxGroup     int // bytes from one key frame to the next
	log          *slog.Logger

	clock  clock
	tracks []*track
	meta   metadata
	gate   gate
	events uint32
	stats  demuxStats

	packets []packet     // of the message at hand
	parts   []subMessage // of the aggregate at hand
}

// demuxStats count what a connection's log line says at its end.
type demuxStats struct {
	Frames  uint64 // handed on, or held
	Dropped uint64 // left out
	Late    uint64 // pictures whose decode time did not rise
	Jumps   uint64
}

// A clock unwraps timestamps.
type clock struct {
	begun bool
	last  uint32
	now   int64 // milliseconds, of last
}

func (c *clock) at(timestamp uint32) time.Duration {
	if !c.begun {
		c.begun, c.now = true, int64(timestamp)
	} else {
		c.now += int64(int32(timestamp - c.last))
	}
	c.last = timestamp
	return time.Duration(c.now) * time.Millisecond
}

// message takes a message that carries media or data; of others it says that
// it knows nothing.
func (d *demuxer) message(m message) (known bool, err error) {
	switch m.typ {
	case typeVideo, typeAudio:
		return true, d.media(m)
	case typeData, typeDataAMF3:
		return true, d.data(m)
	case typeAggregate:
		if d.parts, err = appendAggregate(d.parts[:0], m.body); err != nil {
			return true, err
		}
		for _, part := range d.parts {
			if part.typ == typeAggregate {
				return true, protocolError("an aggregate within an aggregate")
			}
			if _, err := d.message(message{part.typ, m.timestamp + part.offset, part.body}); err != nil {
				return true, err
			}
		}
		return true, nil
	}
	return false, nil
}

func (d *demuxer) media(m message) (err error) {
	if m.typ == typeVideo {
		d.packets, err = appendVideo(d.packets[:0], m.body)
	} else {
		d.packets, err = appendAudio(d.packets[:0], m.body)
	}
	if err != nil {
		return err
	}
	at := d.clock.at(m.timestamp)
	for i := range d.packets {
		p := &d.packets[i]
		t, err := d.track(p.media, p.track)
		if err != nil {
			return err
		}
		if err := t.packet(p, at+time.Duration(p.nanos)); err != nil {
			return err
		}
	}
	return nil
}

// track finds or makes a track.
func (d *demuxer) track(media mediaKind, id uint8) (*track, error) {
	for _, t := range d.tracks {
		if t.media == media && t.id == id {
			return t, nil
		}
	}
	if len(d.tracks) == maxTracks {
		return nil, fmt.Errorf("%w: at most %d", ingest.ErrTooManyTracks, maxTracks)
	}
	t := &track{d: d, media: media, id: id, name: string(media.cmaf()), waiting: media == video}
	if id > 0 {
		t.name = fmt.Sprint(t.name, int(id)+1)
	}
	d.tracks = append(d.tracks, t)
	return t, nil
}

// jump tells that a track's times have jumped. The other tracks tell the same
// jump in their turn, and whoever takes it knows that.
func (d *demuxer) jump(t *track, by time.Duration) error {
	if err := d.openGate(); err != nil {
		return err
	}
	d.stats.Jumps++
	d.b.Discontinuity(fmt.Sprintf("the timestamps of %s jumped by %v", t.name, by.Round(time.Millisecond)))
	return nil
}

// close hands on what waits and closes the tracks.
func (d *demuxer) close() error {
	var first error
	for _, t := range d.tracks {
		if err := t.flush(); err != nil && first == nil {
			first = err
		}
	}
	if err := d.openGate(); err != nil && first == nil {
		first = err
	}
	for _, t := range d.tracks {
		if err := t.end(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// A gate holds the first samples until all tracks can be added at once.
type gate struct {
	opened bool
	held   []heldSample
	bytes  int
}

type heldSample struct {
	t      *track
	dts    int64
	sample cmaf.Sample
	data   []byte
}

// Bounds on what waits at the gate.
const (
	maxHoldMedia   = 500 * time.Millisecond // less than a group, whose first viewer is to get it whole
	maxHoldBytes   = 16 << 20
	maxHoldSamples = 4096
)

// write hands on a sample of t, or holds it.
func (d *demuxer) write(t *track, dts int64, s cmaf.Sample, data []byte) error {
	s.Size = uint32(len(data))
	d.stats.Frames++
	if t.cutter != nil {
		return t.cutter.WriteSample(dts, s, data)
	}
	g := &d.gate
	if g.opened {
		if err := t.add(); err != nil {
			return err
		}
		return t.cutter.WriteSample(dts, s, data)
	}
	g.held = append(g.held, heldSample{t, dts, s, data})
	g.bytes += len(data)
	first := &g.held[0]
	span := cmaf.Time{Ticks: dts, Scale: t.set.header.Timescale}.Sub(cmaf.Time{Ticks: first.dts, Scale: first.t.set.header.Timescale})
	full := span.Duration().Abs() >= maxHoldMedia || g.bytes > maxHoldBytes || len(g.held) > maxHoldSamples
	if !full && !d.complete() {
		return nil
	}
	return d.openGate()
}

// complete reports whether all tracks that are to come are known.
func (d *demuxer) complete() bool {
	var have [2]int
	for _, t := range d.tracks {
		if !t.known {
			return false
		}
		have[t.media]++
	}
	want := d.meta.tracks
	if !d.meta.known {
		want = [2]int{1, 1}
	}
	return have[video] >= want[video] && have[audio] >= want[audio]
}

// openGate adds the tracks that are known and hands on what waits of them.
func (d *demuxer) openGate() error {
	if d.gate.opened {
		return nil
	}
	d.gate.opened = true
	for _, t := range d.tracks {
		if !t.known || t.cutter != nil {
			continue
		}
		if err := t.add(); err != nil {
			return err
		}
	}
	held := d.gate.held
	d.gate.held = nil
	for _, h := range held {
		if err := h.t.cutter.WriteSample(h.dts, h.sample, h.data); err != nil {
			return err
		}
	}
	return nil
}
