package mpegts

import "encoding/binary"

const (
	pidPAT  = 0
	pidNull = 0x1fff

	tablePAT = 0
	tablePMT = 2

	maxSection = 1024 // of a PAT or PMT, section 2.4.4.4
	minPrivate = 14   // of a splice_info_section with its checksum
	maxPMTs    = 64   // elementary streams that one program may list
)

// sections assembles the sections of one PID (section 2.4.4.1).
type sections struct {
	buf  []byte // one section so far; at most maxSection bytes
	live bool   // buf began at the start of a section
	// short takes private sections, which have no version and may be longer, and
	// hands them on whole.
	short bool
}

// write takes a packet's payload and calls section for each section with a
// right checksum that it completes.
func (s *sections) write(p []byte, start bool, section func(table byte, body []byte) error) error {
	if start && len(p) > 0 {
		n := int(p[0]) // pointer_field
		if n > len(p)-1 {
			s.reset()
			return nil
		}
		tail := p[1 : 1+n]
		if s.live {
			if err := s.add(tail, section); err != nil {
				return err
			}
		}
		s.buf, s.live = s.buf[:0], true
		p = p[1+n:]
	}
	if !s.live {
		return nil
	}
	return s.add(p, section)
}

func (s *sections) reset() { s.buf, s.live = s.buf[:0], false }

func (s *sections) add(p []byte, section func(byte, []byte) error) error {
	for len(p) > 0 {
		if len(s.buf) == 0 && p[0] == 0xff { // stuffing up to the packet's end
			s.reset()
			return nil
		}
		want := 3
		if len(s.buf) >= 3 {
			want = 3 + int(binary.BigEndian.Uint16(s.buf[1:])&0x0fff)
		}
		if want > maxSection && !s.short {
			s.reset()
			return nil
		}
		n := min(want-len(s.buf), len(p))
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
		if len(s.buf) < want || want == 3 && (s.buf[1]&0x0f != 0 || s.buf[2] != 0) {
			continue
		}
		whole := s.buf
		s.buf = s.buf[:0]
		if s.short {
			if len(whole) >= minPrivate && crc32MPEG(whole) == 0 {
				if err := section(whole[0], whole); err != nil {
					return err
				}
			}
			continue
		}
		// Long form, in force now, with a right checksum.
		if len(whole) >= 12 && whole[1]&0x80 != 0 && whole[5]&1 != 0 && crc32MPEG(whole) == 0 {
			if err := section(whole[0], whole[3:len(whole)-4]); err != nil {
				return err
			}
		}
	}
	return nil
}

// crc32MPEG is the checksum of ISO/IEC 13818-1 Annex A: 0 over a section with
// its CRC_32.
func crc32MPEG(b []byte) uint32 {
	crc := ^uint32(0)
	for _, c := range b {
		crc ^= uint32(c) << 24
		for range 8 {
			if crc>>31 != 0 {
				crc = crc<<1 ^ 0x04c1_1db7
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// A program is an entry of the PAT.
type program struct{ number, pid uint16 }

// parsePAT parses the body of a program association section, without header
// and checksum. Number 0, the network PID, is left out. last is the number of
// the table's last section.
func parsePAT(body []byte) (programs []program, last int) {
	last = int(body[4])
	for p := body[5:]; len(p) >= 4; p = p[4:] {
		if n := binary.BigEndian.Uint16(p); n != 0 {
			programs = append(programs, program{n, binary.BigEndian.Uint16(p[2:]) & 0x1fff})
		}
	}
	return programs, last
}

// A listing is what a PMT says of one elementary stream.
type listing struct {
	pid          uint16
	typ          uint8  // stream_type, section 2.4.4.10
	registration uint32 // format_identifier of section 2.6.8; 0: none
	opus         uint8  // channel configuration of Opus, in its extension descriptor; see opusHeader
	language     string // ISO 639-2, section 2.6.18; empty: none
}

// parsePMT parses the body of a program map section. It reports false when
// lengths contradict each other.
func parsePMT(body []byte) (number uint16, streams []listing, ok bool) {
	if len(body) < 9 {
		return 0, nil, false
	}
	number = binary.BigEndian.Uint16(body)
	info := int(binary.BigEndian.Uint16(body[7:]) & 0x0fff)
	p := body[9:]
	if info > len(p) {
		return 0, nil, false
	}
	for p = p[info:]; len(p) > 0; {
		if len(p) < 5 || len(streams) == maxPMTs {
			return 0, nil, false
		}
		n := 5 + int(binary.BigEndian.Uint16(p[3:])&0x0fff)
		if n > len(p) {
			return 0, nil, false
		}
		l := listing{typ: p[0], pid: binary.BigEndian.Uint16(p[1:]) & 0x1fff}
		l.parseDescriptors(p[5:n])
		streams = append(streams, l)
		p = p[n:]
	}
	return number, streams, true
}

func (l *listing) parseDescriptors(p []byte) {
	for len(p) >= 2 {
		n := 2 + int(p[1])
		if n > len(p) {
			return
		}
		switch tag, body := p[0], p[2:n]; {
		case tag == 5 && len(body) >= 4:
			l.registration = binary.BigEndian.Uint32(body)
		case tag == 0x26 && len(body) >= 3 && l.registration == 0: // metadata, section 2.6.60
			l.registration = metadataFormat(body)
		case tag == 0x7f && len(body) >= 2 && body[0] == 0x80: // extension, of Opus
			l.opus = body[1]
		case tag == 10 && len(body) >= 3:
			l.language = language(body[:3])
		}
		p = p[n:]
	}
}

// metadataFormat returns the format_identifier in a metadata descriptor, 0 if it
// has none.
func metadataFormat(p []byte) uint32 {
	if binary.BigEndian.Uint16(p) == 0xffff { // an application format of its own
		if len(p) < 7 {
			return 0
		}
		p = p[4:]
	}
	if p = p[2:]; len(p) >= 5 && p[0] == 0xff {
		return binary.BigEndian.Uint32(p[1:])
	}
	return 0
}

// language returns a code of three lower-case letters, empty for anything else
// and for "und".
func language(p []byte) string {
	for _, c := range p {
		if c < 'a' || c > 'z' {
			return ""
		}
	}
	if s := string(p); s != "und" {
		return s
	}
	return ""
}
