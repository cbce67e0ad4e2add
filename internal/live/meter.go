package live

import (
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

const (
	// recent is over how many seconds rates are averaged: more than an encoder
	// needs that sends a request per segment of a few seconds.
	recent = 6
	// maxGap is the longest hole in media time that counts as missing frames.
	maxGap = 10 * time.Second
)

// A tally is what a track brought within one second.
type tally struct {
	bytes, frames uint64
	media         time.Duration
}

// A meter measures one track. It is a step function.
type meter struct {
	header cmaf.Header

	bytes, frames, dropped uint64 // since the start
	now                    tally  // of the second that runs
	last                   [recent]tally
	at                     int

	end     int64 // ticks, of the last chunk
	started bool  // end is valid
	came    time.Time

	rap         time.Duration // media time of the last random access point
	hasRAP      bool
	keyInterval time.Duration

	jitter time.Duration // of arrivals (RFC 3550 section 6.4.1), in place of packets chunks
	// offset is the least of arrival less media time within the second that
	// runs, lastOffset that of the last one that had a chunk.
	offset, lastOffset       time.Duration
	hasOffset, hasLastOffset bool
}

// arrival is what a chunk tells of the way here.
type arrival struct {
	offset time.Duration // wall time of its arrival less media time of its end
	lost   uint64        // frames that are missing ahead of it
}

// add takes a chunk that came at now.
func (m *meter) add(now time.Time, c cmaf.Chunk) arrival {
	scale := m.header.Timescale
	end := c.End()
	span := cmaf.Time{Ticks: end - c.DecodeTime, Scale: scale}.Duration()
	var a arrival
	if m.started {
		gap := cmaf.Time{Ticks: c.DecodeTime - m.end, Scale: scale}.Duration()
		if n := len(c.Samples); m.header.Kind == cmaf.KindVideo && n > 0 && span > 0 && gap < maxGap {
			frame := span / time.Duration(n)
			if frame > 0 && gap > frame/2 {
				a.lost = uint64((gap + frame/2) / frame)
			}
		}
		moved := cmaf.Time{Ticks: end - m.end, Scale: scale}.Duration()
		if moved > 0 && moved < maxGap {
			d := (now.Sub(m.came) - moved).Abs()
			m.jitter += (d - m.jitter) / 16
		}
	}
	m.dropped += a.lost
	m.end, m.came, m.started = end, now, true
	m.bytes += uint64(len(c.Data))
	m.frames += uint64(len(c.Samples))
	m.now.bytes += uint64(len(c.Data))
	m.now.frames += uint64(len(c.Samples))
	m.now.media += span

	media := cmaf.Time{Ticks: end, Scale: scale}.Duration()
	a.offset = time.Duration(now.UnixNano()) - media
	if !m.hasOffset || a.offset < m.offset {
		m.offset, m.hasOffset = a.offset, true
	}
	if m.header.Kind == cmaf.KindVideo && c.RAP {
		pts := cmaf.Time{Ticks: c.PTS(), Scale: scale}.Duration()
		if d := pts - m.rap; m.hasRAP && d > 0 && d < time.Minute {
			m.keyInterval = d
		}
		m.rap, m.hasRAP = pts, true
	}
	return a
}

// jump forgets the timeline, because it goes on elsewhere.
func (m *meter) jump() {
	m.started, m.hasRAP, m.hasOffset, m.hasLastOffset = false, false, false, false
}

// tick ends a second.
func (m *meter) tick() (second tally) {
	second = m.now
	m.last[m.at] = m.now
	m.at = (m.at + 1) % recent
	m.now = tally{}
	if m.hasOffset {
		m.lastOffset, m.hasLastOffset, m.hasOffset = m.offset, true, false
	}
	return second
}

// lately returns the sum over the last seconds.
func (m *meter) lately() (sum tally) {
	for _, t := range m.last {
		sum.bytes += t.bytes
		sum.frames += t.frames
		sum.media += t.media
	}
	return sum
}

// bitrate returns the bits per second of media that came lately.
func (m *meter) bitrate() float64 {
	sum := m.lately()
	if sum.media <= 0 {
		return 0
	}
	return float64(8*sum.bytes) / sum.media.Seconds()
}

// frameRate returns the pictures per second of media that came lately.
func (m *meter) frameRate() float64 {
	sum := m.lately()
	if sum.media <= 0 {
		return 0
	}
	return float64(sum.frames) / sum.media.Seconds()
}

// A schedule tells how late what comes is: later than the timeliest arrival of
// the last minute lets expect. It is a step function.
type schedule struct {
	slots [6]time.Duration // the least offset of each ten seconds
	begun [6]int64         // in which ten seconds since 1970; 0: none
}

// late takes the offset of an arrival and returns its lateness.
func (s *schedule) late(now time.Time, offset time.Duration) time.Duration {
	const n = int64(len(s.slots))
	slot := now.Unix() / 10
	i := slot % n
	if s.begun[i] != slot {
		s.begun[i], s.slots[i] = slot, offset
	}
	s.slots[i] = min(s.slots[i], offset)
	least := offset
	for j, at := range s.begun {
		if at > slot-n && at <= slot {
			least = min(least, s.slots[j])
		}
	}
	return offset - least
}
