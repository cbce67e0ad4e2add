package rtmp

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/codec"
)

// What is more than this from the frame before is another time, not a late or
// a missing frame.
const (
	jumpAhead = 10 * time.Second
	jumpBack  = time.Second
	// audioSlack is how far a timestamp may lie from the time that counting
	// samples gives: timestamps are rounded, and come from clocks that jitter.
	audioSlack = 30 * time.Millisecond
	// maxOffset is how far a picture may be shown from where it is decoded.
	maxOffset = 10 * time.Second
)

// errGroup reports that no key frame came for too long.
var errGroup = errors.New("rtmp: too much video without a key frame")

// A track is one track of a connection.
type track struct {
	d     *demuxer
	media mediaKind
	id    uint8
	name  string

	entry  string // the sample entry, and
	config []byte // the configuration, as they came last;
	dirty  bool   // set is from others
	set    setup
	known  bool // set is valid
	sink   cmaf.Sink
	cutter *cmaf.Cutter

	// Video.
	keyFrames codec.KeyFrames
	waiting   bool // for a key frame
	group     int  // bytes since the last one
	next      picture
	pending   bool   // next waits for its duration
	duration  uint32 // ticks, of the picture before; 0: none yet

	// Audio.
	begun bool
	tick  int64 // where the next frame begins
}

// A picture is a frame of video whose duration the next one tells.
type picture struct {
	dts, pts int64 // ticks
	key      bool
	data     []byte
}

// packet takes the next packet, whose message has the time at.
func (t *track) packet(p *packet, at time.Duration) error {
	switch {
	case p.kind == packetConfig:
		return t.configure(p)
	case p.kind == packetEnd:
		return t.flush()
	case len(p.data) == 0:
		return nil
	}
	if t.entry != p.codec && needsFrame(p.codec) { // it may go without a configuration
		t.entry, t.config, t.dirty = p.codec, nil, true
	}
	if t.entry != p.codec {
		return t.drop() // frames whose configuration is yet to come
	}
	if t.media == audio {
		return t.audio(p, at)
	}
	if p.mute {
		p.key = t.keyFrames.Is(p.data)
	}
	return t.video(p, at)
}

// drop counts a frame left out.
func (t *track) drop() error {
	t.d.stats.Dropped++
	return nil
}

// configure takes the decoder's configuration. Encoders repeat it.
func (t *track) configure(p *packet) error {
	if p.codec == t.entry && bytes.Equal(p.data, t.config) || len(p.data) == 0 && !needsFrame(p.codec) {
		return nil
	}
	t.entry, t.config, t.dirty = p.codec, bytes.Clone(p.data), true
	t.keyFrames = keyFrames(t.entry, t.config)
	if t.known || needsFrame(p.codec) {
		return nil // it holds from the next frame where decoding can start
	}
	return t.setup(nil)
}

// setup puts the configuration that came last in force, from frame on.
func (t *track) setup(frame []byte) error {
	if !t.dirty {
		return nil
	}
	width, height := t.d.meta.size(t.id)
	s, err := newSetup(t.entry, t.config, frame, width, height)
	if err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	t.dirty = false
	if t.known && bytes.Equal(s.header.Init, t.set.header.Init) {
		return nil
	}
	if t.known {
		// What waits needs the header from before.
		if err := t.d.openGate(); err != nil {
			return err
		}
		if err := t.end(); err != nil {
			return err
		}
		t.d.log.Info("track has a new configuration", "track", t.name, "codec", s.header.Codec)
		if t.begun {
			t.tick = cmaf.Time{Ticks: t.tick, Scale: t.set.header.Timescale}.In(s.header.Timescale).Ticks
		}
	}
	t.set, t.known = s, true
	return nil
}

// add adds the track.
func (t *track) add() error {
	sink, err := t.d.b.AddTrack(t.name, t.set.header)
	if err != nil {
		return err
	}
	policy := t.d.audio
	if t.media == video {
		policy = t.d.video
	}
	t.sink, t.cutter = sink, cmaf.NewCutter(sink, t.set.header, policy)
	return nil
}

// end closes the track, if it was added.
func (t *track) end() error {
	if t.sink == nil {
		return nil
	}
	err := t.cutter.Flush()
	if e := t.sink.Close(); err == nil {
		err = e
	}
	t.sink, t.cutter = nil, nil
	return err
}

// flush hands on the picture that waits, with the duration of the one before.
func (t *track) flush() error {
	if !t.pending {
		return nil
	}
	t.pending = false
	return t.show(t.frame())
}

// video takes a frame of video.
func (t *track) video(p *packet, at time.Duration) error {
	dts := cmaf.FromDuration(at, videoScale).Ticks
	pts := cmaf.FromDuration(at+time.Duration(p.cts)*time.Millisecond, videoScale).Ticks
	if t.waiting && !p.key || t.known && t.dirty && !p.key {
		return t.drop()
	}
	if t.pending {
		var err error
		if dts, err = t.follow(dts); err != nil {
			return err
		}
	}
	if t.group += len(p.data); p.key {
		t.group = len(p.data)
		if err := t.setup(p.data); err != nil {
			return err
		}
	}
	if t.group > t.d.maxGroup {
		return fmt.Errorf("%w: %d bytes; set the encoder's key frame interval to 1 or 2 s", errGroup, t.group)
	}
	if off := pts - dts; off > maxOffset.Milliseconds()*videoScale/1000 || -off > maxOffset.Milliseconds()*videoScale/1000 {
		return t.drop()
	}
	t.waiting = false
	data := p.data
	if t.entry == "av01" && len(data) > 2 && data[0] == 0x12 && data[1] == 0 {
		data = data[2:] // a temporal delimiter, which a sample has none of
	}
	t.next, t.pending = picture{dts, pts, p.key, data}, true
	return nil
}

// videoScale is the timescale of video: newSetup leaves it to cmaf.
const videoScale = 90_000

// follow hands on the picture that waits, which lasts until the one at dts, and
// returns the decode time of that one.
func (t *track) follow(dts int64) (int64, error) {
	step := dts - t.next.dts
	t.pending = false
	switch by := (cmaf.Time{Ticks: step, Scale: videoScale}).Duration(); {
	case by > jumpAhead || by < -jumpBack:
		if err := t.show(t.frame()); err != nil {
			return dts, err
		}
		return dts, t.d.jump(t, by)
	case step <= 0:
		// Only the order of decoding counts for a player; when it is shown, what
		// the encoder said, does not change.
		t.d.stats.Late++
		return t.next.dts + 1, t.show(1)
	}
	t.duration = uint32(step)
	return dts, t.show(t.duration)
}

// frame returns the duration of a picture whose own is not known.
func (t *track) frame() uint32 {
	switch rate := t.set.header.FrameRate; {
	case t.duration > 0:
		return t.duration
	case rate > 0:
		return uint32(videoScale / rate)
	}
	return videoScale / 30
}

func (t *track) show(duration uint32) error {
	flags := cmaf.FlagsNonSync
	if t.next.key {
		flags = cmaf.FlagsSync
	}
	n := &t.next
	return t.d.write(t, n.dts, cmaf.Sample{Duration: duration, Flags: flags, CompositionOffset: int32(n.pts - n.dts)}, n.data)
}

// audio takes a frame of audio. Its time is counted in samples; where the
// timestamps lie ahead of that there is a hole, and where they lie back, frames
// are left out until the count fits again.
func (t *track) audio(p *packet, at time.Duration) error {
	if err := t.setup(p.data); err != nil {
		return err
	}
	samples := t.set.frameSamples(p.data)
	if samples == 0 {
		return t.drop()
	}
	want := cmaf.FromDuration(at, t.set.header.Timescale).Ticks
	off := cmaf.Time{Ticks: want - t.tick, Scale: t.set.header.Timescale}.Duration()
	switch {
	case !t.begun:
		t.begun, t.tick = true, want
	case off > jumpAhead || off < -jumpBack:
		if err := t.d.jump(t, off); err != nil {
			return err
		}
		t.tick = want
	case off > audioSlack:
		t.tick = want
	case off < -audioSlack:
		return t.drop()
	}
	dts := t.tick
	t.tick += int64(samples)
	return t.d.write(t, dts, cmaf.Sample{Duration: uint32(samples), Flags: cmaf.FlagsSync}, p.data)
}
