package mpegts

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/broadcastd/broadcastd/cmaf"
)

// Schemes of the events that data streams become. Payload is the
// splice_info_section, or the KLV of one access unit.
const (
	SchemeSCTE35 = "urn:scte:scte35:2013:bin"
	SchemeKLV    = "urn:misb:KLV:bin:1910.1"
)

const (
	typeMetadata = 0x15
	typeSCTE35   = 0x86
	formatKLV    = 0x4b4c5641 // "KLVA", as a registration has it

	tableSCTE35   = 0xfc
	maxEvent      = 64 << 10 // bytes
	maxDataStream = 8        // of one program
)

// A dataStream is a stream whose content becomes events.
type dataStream struct {
	listing
	d    *Demuxer
	cues sections // of SCTE-35
	pes  pes      // of KLV

	buf     []byte
	broken  bool // until the next PES packet
	stamped bool
	at      int64
}

// isData says whether a stream's content becomes events.
func isData(l listing) bool {
	return l.typ == typeSCTE35 || (l.typ == typePrivate || l.typ == typeMetadata) && l.registration == formatKLV
}

func newDataStream(d *Demuxer, l listing) *dataStream {
	s := &dataStream{listing: l, d: d, cues: sections{short: true}}
	s.pes = pes{clock: d.c.Clock, out: s}
	return s
}

// write takes the next packet of the stream.
func (s *dataStream) write(p packet) error {
	if s.typ == typeSCTE35 {
		return s.cues.write(p.payload, p.start, s.cue)
	}
	if p.start {
		if err := s.flush(); err != nil {
			return err
		}
		s.broken = false
	}
	lost, err := s.pes.write(p)
	if lost {
		s.d.stats.Gaps++
	}
	if err == nil && s.pes.state == pesData && s.pes.left == 0 {
		err = s.flush()
	}
	return err
}

// cue takes a splice_info_section (SCTE 35 section 9.6).
func (s *dataStream) cue(table byte, section []byte) error {
	if table != tableSCTE35 {
		return nil
	}
	now, ok := s.d.c.Clock.now()
	if !ok {
		s.d.stats.Dropped++
		return nil // there is no time yet that it could have
	}
	e := cmaf.Event{
		Scheme: SchemeSCTE35, ID: crc32.ChecksumIEEE(section), // a cue that is sent again is the same
		Time: cmaf.Time{Ticks: now, Scale: clockRate}, Payload: bytes.Clone(section),
	}
	if pts, duration, timed := spliceTime(section); timed {
		e.Time.Ticks = s.d.c.Clock.near(pts)
		if duration > 0 {
			e.Duration = cmaf.Time{Ticks: duration, Scale: clockRate}
		}
	}
	return s.d.b.Event(e)
}

// spliceTime returns when a cue takes effect and how long its break lasts, in
// ticks of 90 kHz, where it says that: splice_insert and time_signal (SCTE 35
// sections 9.7.3 and 9.7.4) may.
func spliceTime(section []byte) (pts, duration int64, ok bool) {
	const command = 14
	if len(section) < command || section[4]&0x80 != 0 { // encrypted
		return 0, 0, false
	}
	adjust := int64(section[4]&1)<<32 | int64(binary.BigEndian.Uint32(section[5:]))
	b := section[command:]
	breaks := false
	switch section[command-1] {
	case 5: // splice_insert
		if len(b) < 6 || b[4]&0x80 != 0 || b[5]&0x40 == 0 || b[5]&0x10 != 0 {
			return 0, 0, false // cancelled, of components, or at once
		}
		breaks = b[5]&0x20 != 0
		b = b[6:]
	case 6: // time_signal
	default:
		return 0, 0, false
	}
	if len(b) < 5 || b[0]&0x80 == 0 {
		return 0, 0, false
	}
	pts = (time33(b) + adjust) & (clockWrap - 1)
	if b = b[5:]; breaks && len(b) >= 5 {
		duration = time33(b)
	}
	return pts, duration, true
}

// time33 reads a time of 33 bits at the end of five bytes.
func time33(b []byte) int64 { return int64(b[0]&1)<<32 | int64(binary.BigEndian.Uint32(b[1:])) }

func (s *dataStream) begin(t stamp) error {
	s.stamped, s.at = true, t.pts
	return nil
}

func (s *dataStream) data(p []byte) error {
	if s.broken {
		return nil
	}
	if len(s.buf)+len(p) > maxEvent {
		s.lose()
		return nil
	}
	s.buf = append(s.buf, p...)
	return nil
}

func (s *dataStream) lose() {
	s.d.stats.Dropped++
	s.buf, s.stamped, s.broken = s.buf[:0], false, true
}

// flush hands on the KLV of the PES packet at hand.
func (s *dataStream) flush() error {
	payload := s.buf
	at, stamped := s.at, s.stamped
	s.buf, s.stamped = s.buf[:0], false
	if s.typ == typeMetadata {
		payload = accessUnit(payload)
	}
	if len(payload) == 0 {
		return nil
	}
	if !stamped { // KLV that is not in step with the media has no times
		var ok bool
		if at, ok = s.d.c.Clock.now(); !ok {
			s.d.stats.Dropped++
			return nil
		}
	}
	return s.d.b.Event(cmaf.Event{
		Scheme: SchemeKLV, ID: crc32.ChecksumIEEE(payload), Time: cmaf.Time{Ticks: at, Scale: clockRate}, Payload: bytes.Clone(payload),
	})
}

func (s *dataStream) close() error { return s.flush() }

// accessUnit joins the cells of a metadata access unit (section 2.12.4). It
// returns what comes before a cell that is broken.
func accessUnit(p []byte) (joined []byte) {
	const head = 5
	for len(p) >= head {
		n := int(binary.BigEndian.Uint16(p[3:]))
		if n > len(p)-head {
			break
		}
		joined = append(joined, p[head:head+n]...)
		p = p[head+n:]
	}
	return joined
}
