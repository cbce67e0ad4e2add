package mpegts

// A stamp is the times of a PES packet, in ticks of 90 kHz, unwrapped. Without
// a DTS in the packet dts is the PTS.
type stamp struct{ pts, dts int64 }

// An elementary turns the PES packets of one stream into samples. It keeps
// nothing of what it is given.
type elementary interface {
	// begin starts what has these times.
	begin(stamp) error
	// data adds bytes.
	data([]byte) error
	// lose says that bytes are missing here.
	lose()
	// flush completes what is under way: a body of the input ends.
	flush() error
	// close hands on what still waits.
	close() error
}

// maxPESHeader is the most that a PES header has: its fixed part and as many
// bytes as one byte can count.
const maxPESHeader = 9 + 255

// A pes reads the PES packets of one PID (section 2.4.3.6).
type pes struct {
	clock *Clock
	out   elementary

	counter uint8 // of the packet before
	seen    bool  // counter is valid
	header  []byte
	state   pesState
	left    int // bytes to come of a packet that says its length; -1: it does not
}

type pesState uint8

const (
	pesIdle   pesState = iota // nothing before the next start
	pesHeader                 // header so far is in header
	pesData
)

// write takes the next packet of the PID and reports whether packets are
// missing before it.
func (s *pes) write(p packet) (lost bool, err error) {
	if s.seen && !p.discontinuity {
		if p.counter == s.counter {
			return false, nil // a duplicate, section 2.4.3.3
		}
		lost = p.counter != (s.counter+1)&0x0f
	}
	s.seen, s.counter = true, p.counter
	if lost && s.state != pesIdle {
		s.state = pesIdle
		s.out.lose()
	}
	if p.start {
		s.state, s.header = pesHeader, s.header[:0]
	}
	return lost, s.add(p.payload)
}

func (s *pes) add(p []byte) error {
	switch s.state {
	case pesIdle:
		return nil
	case pesHeader:
		n := min(len(p), maxPESHeader-len(s.header))
		s.header = append(s.header, p[:n]...)
		used, err := s.parse()
		if err != nil || s.state != pesData {
			return err
		}
		// What follows the header is in p: the header was not whole before it.
		p = p[n-(len(s.header)-used):]
	}
	if s.left >= 0 {
		p = p[:min(len(p), s.left)]
		s.left -= len(p)
	}
	if len(p) == 0 {
		return nil
	}
	return s.out.data(p)
}

// parse reads the header if it is whole, and returns its length.
func (s *pes) parse() (int, error) {
	h := s.header
	if len(h) < 9 {
		return 0, nil
	}
	size := 9 + int(h[8])
	if h[0] != 0 || h[1] != 0 || h[2] != 1 || h[6]&0xc0 != 0x80 {
		s.state = pesIdle
		s.out.lose()
		return 0, nil
	}
	if len(h) < size {
		return 0, nil
	}
	s.state, s.left = pesData, -1
	if n := int(h[4])<<8 | int(h[5]); n > 0 {
		s.left = max(0, 6+n-size)
	}
	if h[7]&0x80 == 0 || h[8] < 5 {
		return size, nil // it goes on with what the packet before began
	}
	t := stamp{pts: s.clock.unwrap(clock33(h[9:]))}
	t.dts = t.pts
	if h[7]&0x40 != 0 && h[8] >= 10 {
		t.dts = s.clock.unwrap(clock33(h[14:]))
	}
	return size, s.out.begin(t)
}

// clock33 reads a PTS or DTS of 33 bits in five bytes.
func clock33(b []byte) int64 {
	return int64(b[0]>>1&7)<<30 | int64(b[1])<<22 | int64(b[2]>>1)<<15 | int64(b[3])<<7 | int64(b[4]>>1)
}

// restart forgets the continuity counter and completes what is under way.
func (s *pes) restart() error {
	s.seen, s.state = false, pesIdle
	return s.out.flush()
}
