package mpegts

import "bytes"

const (
	packetSize = 188
	syncByte   = 0x47

	// maxUnsynced is how many bytes without a packet make an input one that is
	// not a transport stream. It counts only before the first packet.
	maxUnsynced = 64 << 10
)

// A packet is one transport packet (section 2.4.3.2).
type packet struct {
	pid           uint16
	start         bool // a PES packet or a section starts in it
	scrambled     bool
	discontinuity bool // the continuity counter may jump here
	counter       uint8
	payload       []byte // nil: it has none
}

// parsePacket parses b, whose first byte is the sync byte. It reports false for
// a packet that is marked as damaged or contradicts itself.
func parsePacket(b []byte) (packet, bool) {
	p := packet{
		pid:       uint16(b[1]&0x1f)<<8 | uint16(b[2]),
		start:     b[1]&0x40 != 0,
		scrambled: b[3]&0xc0 != 0,
		counter:   b[3] & 0x0f,
	}
	if b[1]&0x80 != 0 { // transport_error_indicator
		return p, false
	}
	at := 4
	if b[3]&0x20 != 0 { // adaptation field
		n := int(b[4])
		at += 1 + n
		if at > packetSize {
			return p, false
		}
		p.discontinuity = n > 0 && b[5]&0x80 != 0
	}
	if b[3]&0x10 != 0 {
		p.payload = b[at:packetSize]
	}
	return p, true
}

// A framer cuts a byte stream into packets. It locks on three sync bytes at a
// packet's distance and looks for them again when one is missing.
type framer struct {
	buf     []byte // from pos on: what is left of the input before
	pos     int
	locked  bool
	begun   bool  // it was locked before
	off     int64 // of the next byte, in the input
	skipped int64 // bytes that belong to no packet
}

const (
	framerSize = 64 * packetSize
	lookahead  = 2*packetSize + 1 // bytes that a lock needs from its start
)

// write calls packet for each packet that p completes; an error ends it.
func (f *framer) write(p []byte, packet func([]byte) error) error {
	if f.buf == nil {
		f.buf = make([]byte, 0, framerSize)
	}
	for len(p) > 0 {
		f.buf, f.pos = f.buf[:copy(f.buf, f.buf[f.pos:])], 0
		n := min(len(p), framerSize-len(f.buf))
		f.buf = append(f.buf, p[:n]...)
		p = p[n:]
		if err := f.cut(packet, false); err != nil {
			return err
		}
	}
	return nil
}

// end cuts what is left, after which the input may begin anew.
func (f *framer) end(packet func([]byte) error) error {
	err := f.cut(packet, true)
	f.skip(len(f.rest()))
	f.locked = false
	return err
}

func (f *framer) rest() []byte { return f.buf[f.pos:] }

// cut takes the packets from the front, and leaves less than lookahead.
func (f *framer) cut(packet func([]byte) error, last bool) error {
	for {
		if !f.locked && !f.lock(last) {
			return nil
		}
		b := f.rest()
		if len(b) < packetSize {
			return nil
		}
		if b[0] != syncByte {
			f.locked = false
			continue
		}
		err := packet(b[:packetSize])
		f.consume(packetSize)
		if err != nil {
			return err
		}
	}
}

// lock skips to where packets start, if that can be told.
func (f *framer) lock(last bool) bool {
	for {
		i := bytes.IndexByte(f.rest(), syncByte)
		if i < 0 {
			f.skip(len(f.rest()))
			return false
		}
		f.skip(i)
		n := len(f.rest())
		if n < packetSize || n < lookahead && !last {
			return false
		}
		if f.sync(packetSize) && f.sync(2*packetSize) {
			f.locked, f.begun = true, true
			return true
		}
		f.skip(1)
	}
}

// sync reports whether nothing speaks against a sync byte at i.
func (f *framer) sync(i int) bool { return i >= len(f.rest()) || f.rest()[i] == syncByte }

func (f *framer) skip(n int) {
	f.skipped += int64(n)
	f.consume(n)
}

func (f *framer) consume(n int) {
	f.off += int64(n)
	f.pos += n
}
