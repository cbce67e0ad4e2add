package mpegts

import (
	"bytes"
	"encoding/binary"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/codec"
)

const (
	formatOpus = 0x4f707573 // "Opus", as a registration has it
	opusRate   = 48000
	// maxOpus bounds an Opus packet with its control header, in bytes.
	maxOpus = 64 << 10
)

// An opus turns one stream of Opus into samples. Each packet has a control
// header; a PES packet has whole ones.
type opus struct {
	s       *stream
	buf     []byte // of the PES packet at hand, from the next control header on
	broken  bool   // until the next PES packet
	stamped bool   // at is that of the next packet
	at      int64

	counted
}

func newOpus(s *stream) elementary { return &opus{s: s} }

// opusHeader makes the header of a stream from the channel configuration in its
// descriptor: 1 to 8 channels in Vorbis's order, 0 for two that are apart.
func opusHeader(channels uint8) (cmaf.Header, error) {
	dOps := []byte{0, max(1, channels)}
	if channels == 0 {
		dOps[1] = 2
	}
	dOps = binary.BigEndian.AppendUint16(dOps, 0) // PreSkip: the input's times say when sound begins
	dOps = binary.BigEndian.AppendUint32(dOps, opusRate)
	dOps = binary.BigEndian.AppendUint16(dOps, 0) // gain
	dOps = append(dOps, opusMapping(channels)...)
	return cmaf.NewHeader(cmaf.HeaderConfig{Entry: "Opus", Config: dOps, Timescale: opusRate})
}

// opusMapping returns the mapping family and, where it has one, the table: of
// streams, coupled ones among them, and where each channel is (RFC 7845 section
// 5.1.1).
func opusMapping(channels uint8) []byte {
	switch channels {
	case 0: // dual mono: two streams
		return []byte{255, 2, 0, 0, 1}
	case 1, 2:
		return []byte{0}
	}
	tables := map[uint8][]byte{
		3: {2, 1, 0, 2, 1},
		4: {2, 2, 0, 1, 2, 3},
		5: {3, 2, 0, 4, 1, 2, 3},
		6: {4, 2, 0, 4, 1, 2, 3, 5},
		7: {4, 3, 0, 4, 1, 2, 3, 5, 6},
		8: {5, 3, 0, 6, 1, 2, 3, 4, 5, 7},
	}
	return append([]byte{1}, tables[channels]...)
}

func (o *opus) begin(t stamp) error {
	o.end()
	o.broken, o.stamped, o.at = false, true, t.pts
	return nil
}

// end counts what is left of a PES packet.
func (o *opus) end() {
	if len(o.buf) > 0 {
		o.s.drop()
	}
	o.buf = o.buf[:0]
}

func (o *opus) lose() {
	o.end()
	o.broken, o.stamped, o.begun = true, false, false
}

func (o *opus) flush() error {
	o.end()
	o.stamped = false
	return nil
}

func (o *opus) close() error { return o.flush() }

func (o *opus) data(p []byte) error {
	if o.broken {
		return nil
	}
	o.buf = append(o.buf, p...)
	at := 0
	for {
		head, size, ok := opusControl(o.buf[at:])
		if !ok {
			o.lose()
			return nil
		}
		if head == 0 || len(o.buf)-at < head+size {
			break
		}
		if err := o.packet(o.buf[at+head : at+head+size]); err != nil {
			return err
		}
		at += head + size
	}
	o.buf = o.buf[:copy(o.buf, o.buf[at:])]
	return nil
}

// opusControl reads a control header: its length, 0 where it is not whole yet,
// and that of the packet behind it. It reports false for what is none.
func opusControl(p []byte) (head, size int, ok bool) {
	if len(p) < 2 {
		return 0, 0, len(p) == 0 || p[0] == 0x7f
	}
	if p[0] != 0x7f || p[1]&0xe0 != 0xe0 {
		return 0, 0, false
	}
	start, end, extension := p[1]&0x10 != 0, p[1]&0x08 != 0, p[1]&0x04 != 0
	head = 2
	for {
		if head == len(p) {
			return 0, 0, true
		}
		c := int(p[head])
		size += c
		head++
		if size > maxOpus {
			return 0, 0, false
		}
		if c != 0xff {
			break
		}
	}
	if start {
		head += 2
	}
	if end {
		head += 2
	}
	if extension {
		if head >= len(p) {
			return 0, 0, true
		}
		head += 1 + int(p[head])
	}
	return head, size, true
}

// packet hands on one Opus packet.
func (o *opus) packet(p []byte) error {
	samples := int64(codec.OpusSamples(p))
	if samples == 0 {
		o.s.drop()
		return nil
	}
	if !o.s.known {
		h, err := opusHeader(o.s.opus)
		if err != nil {
			o.s.d.c.Log.Warn("audio configuration is not understood", "pid", o.s.pid, "err", err)
			o.broken = true
			return nil
		}
		o.rescale(h.Timescale)
		if err := o.s.setHeader(h); err != nil {
			return err
		}
	}
	if o.stamped {
		o.stamped = false
		o.restamp(o.s, o.at, samples)
	}
	if !o.begun || o.skip > 0 {
		o.skip = max(0, o.skip-1)
		o.s.drop()
		return nil
	}
	dts := o.next
	o.next += samples
	return o.s.sample(dts, cmaf.Sample{Duration: uint32(samples), Flags: cmaf.FlagsSync}, bytes.Clone(p))
}
