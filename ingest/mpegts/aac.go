package mpegts

import (
	"bytes"

	"github.com/broadcastd/broadcastd/cmaf"
)

const (
	aacSamples = 1024      // in a frame
	maxADTS    = 1<<13 - 1 // bytes of a frame with its header
)

// An aac turns one stream of AAC in ADTS into samples. Frames need not begin
// where PES packets do.
type aac struct {
	s      *stream
	config [2]byte // AudioSpecificConfig of the header

	buf     []byte // what is left of the frames so far
	stamped bool   // at is that of the first frame that begins at stampAt or later
	stampAt int
	at      int64

	counted
}

func newAAC(s *stream) elementary { return &aac{s: s} }

func (a *aac) begin(t stamp) error {
	a.stamped, a.stampAt, a.at = true, len(a.buf), t.pts
	return nil
}

func (a *aac) data(p []byte) error {
	a.buf = append(a.buf, p...)
	return a.frames(false)
}

func (a *aac) lose() {
	if len(a.buf) > 0 {
		a.s.drop()
	}
	// Until the next PTS it is not known when a frame is.
	a.buf, a.stamped, a.begun = a.buf[:0], false, false
}

func (a *aac) flush() error {
	err := a.frames(true)
	if len(a.buf) > 0 {
		a.s.drop()
	}
	a.buf, a.stamped = a.buf[:0], false
	return err
}

func (a *aac) close() error { return a.flush() }

// frames hands on the whole frames of buf. At the end of a body a frame may
// stand alone.
func (a *aac) frames(last bool) error {
	p := a.buf
	at := 0
	for {
		skip, h, ok := findADTS(p[at:], last)
		at += skip
		if !ok {
			break
		}
		if err := a.frame(at, h, p[at+h.head:at+h.size]); err != nil {
			return err
		}
		at += h.size
	}
	a.stampAt -= at
	a.buf = p[:copy(p, p[at:])]
	return nil
}

// frame hands on one frame, which began at in buf.
func (a *aac) frame(at int, h adts, body []byte) error {
	if h.config != a.config {
		if err := a.configure(h); err != nil {
			return err
		}
	}
	if !a.s.known {
		a.s.drop()
		return nil
	}
	if a.stamped && at >= a.stampAt {
		a.stamped = false
		a.restamp(a.s, a.at, aacSamples)
	}
	if !a.begun {
		a.s.drop()
		return nil
	}
	if a.skip > 0 {
		a.skip--
		a.s.drop()
		return nil
	}
	dts := a.next
	a.next += aacSamples
	return a.s.sample(dts, cmaf.Sample{Duration: aacSamples, Flags: cmaf.FlagsSync}, bytes.Clone(body))
}

func (a *aac) configure(h adts) error {
	a.config = h.config
	header, err := cmaf.NewHeader(cmaf.HeaderConfig{Entry: "mp4a", Config: h.config[:], Timescale: uint32(h.rate)})
	if err != nil {
		a.s.d.c.Log.Warn("audio configuration is not understood", "pid", a.s.pid, "err", err)
		return nil
	}
	a.rescale(header.Timescale)
	return a.s.setHeader(header)
}

// An adts is a header of ADTS, ISO/IEC 14496-3 section 1.A.2.2.
type adts struct {
	head, size int // bytes of the header, and of the frame with it
	config     [2]byte
	rate       int
	channels   int
}

// findADTS finds the first whole frame in p: how many bytes to skip to it, and
// its header. A frame counts if another follows it, or if p ends with it.
// Without one skip is what cannot belong to any.
func findADTS(p []byte, last bool) (skip int, h adts, ok bool) {
	for ; len(p)-skip >= 7; skip++ {
		b := p[skip:]
		if b[0] != 0xff || b[1]&0xf6 != 0xf0 {
			continue
		}
		h, ok := parseADTS(b)
		if !ok {
			continue
		}
		if len(b) < h.size {
			if last {
				continue
			}
			return skip, h, false
		}
		if rest := b[h.size:]; len(rest) >= 2 && (rest[0] != 0xff || rest[1]&0xf6 != 0xf0) {
			continue
		}
		return skip, h, true
	}
	return skip, adts{}, false
}

var adtsRates = [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

// parseADTS reads a header whose sync word was checked. It takes frames of one
// block whose channels the header says.
func parseADTS(b []byte) (adts, bool) {
	rate, channels := int(b[2]>>2&15), int(b[2]&1<<2|b[3]>>6)
	h := adts{head: 7, size: int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5]>>5), channels: channels}
	if b[1]&1 == 0 { // with a CRC
		h.head = 9
	}
	if rate >= len(adtsRates) || channels == 0 || b[6]&3 != 0 || h.size <= h.head {
		return h, false
	}
	if channels == 7 {
		h.channels = 8
	}
	h.rate = adtsRates[rate]
	object := b[2]>>6 + 1
	h.config = [2]byte{object<<3 | byte(rate>>1), byte(rate)<<7 | byte(channels)<<3}
	return h, true
}
