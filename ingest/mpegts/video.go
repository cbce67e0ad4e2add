package mpegts

import (
	"github.com/broadcastd/broadcastd/cmaf"
)

const (
	maxAccessUnit = 8 << 20 // bytes
	maxCTS        = 10 * clockRate

	// defaultFrame is the duration of a picture alone, 1/30 s.
	defaultFrame = clockRate / 30
)

// A video turns a stream of H.264 or HEVC into samples of avc1 or hvc1: the
// access units with their lengths in front of the NAL units, parameter sets in
// the header.
//
// A PES packet with a time begins an access unit; packets without one go on
// with it, as where a muxer splits large pictures.
type video struct {
	s      *stream
	syntax syntax
	sets   sets

	at      stamp
	unit    []byte // the access unit at at, as it comes
	lost    bool   // unit has a hole, or its start did not come
	waiting bool   // no random access point came yet

	next     videoSample // waits for its duration
	pending  bool        // next is valid
	duration uint32      // of the sample before
}

type videoSample struct {
	stamp
	sync bool
	data []byte
}

func newVideo(s *stream, x syntax) elementary {
	return &video{s: s, syntax: x, sets: sets{syntax: x}, lost: true, waiting: true}
}

func (v *video) begin(t stamp) error {
	if err := v.finish(); err != nil {
		return err
	}
	if v.pending {
		if err := v.emit(t); err != nil {
			return err
		}
	}
	v.at, v.lost = t, false
	return nil
}

func (v *video) data(p []byte) error {
	if v.lost {
		return nil
	}
	if len(v.unit)+len(p) > maxAccessUnit {
		v.lose()
		return nil
	}
	v.unit = append(v.unit, p...)
	return nil
}

func (v *video) lose() {
	if !v.lost {
		v.s.drop()
	}
	v.unit, v.lost = v.unit[:0], true
}

func (v *video) flush() error {
	err := v.finish()
	v.lost = true
	return err
}

func (v *video) close() error {
	if err := v.flush(); err != nil || !v.pending {
		return err
	}
	v.pending = false
	return v.write(v.frame())
}

// frame returns the duration of a picture whose own is not known.
func (v *video) frame() uint32 {
	if v.duration == 0 {
		return defaultFrame
	}
	return v.duration
}

// finish makes the next sample of the access unit that came.
func (v *video) finish() error {
	if v.lost || len(v.unit) == 0 {
		return nil
	}
	defer func() { v.unit, v.lost = v.unit[:0], true }()
	u := parseUnit(v.syntax, v.unit)
	if cts := v.at.pts - v.at.dts; !u.picture || cts < -maxCTS || cts > maxCTS {
		v.sets.take(u.sets) // parameter sets may come in a packet of their own
		v.s.drop()
		return nil
	}
	changed := v.sets.take(u.sets)
	if u.sync && v.sets.dirty {
		if v.pending { // it needs the header from before
			if err := v.emit(v.at); err != nil {
				return err
			}
		}
		if err := v.setHeader(); err != nil {
			return err
		}
	}
	if v.waiting = v.waiting && !(u.sync && v.s.known); v.waiting {
		v.s.drop()
		return nil
	}
	if v.pending {
		if err := v.emit(v.at); err != nil {
			return err
		}
	}
	var inBand [][]byte
	if !u.sync {
		inBand = changed // between random access points only a sample can bring them
	}
	v.next = videoSample{v.at, u.sync, u.lengthPrefixed(inBand)}
	v.pending = true
	return nil
}

// setHeader describes the track by the parameter sets in force. Sets that make
// no sense leave the header as it is.
func (v *video) setHeader() error {
	h, err := v.sets.header()
	if err != nil {
		v.s.d.c.Log.Warn("parameter sets are not understood", "pid", v.s.pid, "err", err)
		return nil
	}
	v.sets.dirty = false
	return v.s.setHeader(h)
}

// emit hands on the sample that waits, which lasts until the next one at t.
func (v *video) emit(t stamp) error {
	v.pending = false
	step := t.dts - v.next.dts
	switch {
	case step > clockRate || step < -clockRate:
		err := v.write(v.frame())
		v.s.d.jump(v.s, step-int64(v.duration))
		return err
	case step <= 0:
		// The times of decoding do not rise. Only their order counts for a
		// player, and presentation times stay as they are.
		step = 1
	default:
		v.duration = uint32(step)
	}
	return v.write(uint32(step))
}

func (v *video) write(duration uint32) error {
	flags := cmaf.FlagsNonSync
	if v.next.sync {
		flags = cmaf.FlagsSync
	}
	n := &v.next
	return v.s.sample(n.dts, cmaf.Sample{Duration: duration, Flags: flags, CompositionOffset: int32(n.pts - n.dts)}, n.data)
}
