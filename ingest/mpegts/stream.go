package mpegts

import (
	"bytes"
	"fmt"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A streamCodec is a kind of elementary stream that can be carried.
type streamCodec struct {
	kind cmaf.Kind
	make func(*stream) elementary
}

// codecOf is the table of what can be carried: stream types of section
// 2.4.4.10, or of private data (6) the registered format.
func codecOf(l listing) (streamCodec, bool) {
	switch l.typ {
	case typeAVC:
		return streamCodec{cmaf.KindVideo, func(s *stream) elementary { return newVideo(s, avc{}) }}, true
	case typeHEVC:
		return streamCodec{cmaf.KindVideo, func(s *stream) elementary { return newVideo(s, hevc{}) }}, true
	case typeADTS:
		return streamCodec{cmaf.KindAudio, newAAC}, true
	case typePrivate:
		if l.registration == formatOpus && l.opus <= 8 {
			return streamCodec{cmaf.KindAudio, newOpus}, true
		}
	}
	return streamCodec{}, false
}

const (
	typePrivate = 0x06
	typeADTS    = 0x0f
	typeAVC     = 0x1b
	typeHEVC    = 0x24
)

// String names the stream for people.
func (l listing) String() string {
	names := map[uint8]string{
		0x01: "MPEG-1 video", 0x02: "MPEG-2 video", 0x03: "MPEG-1 audio", 0x04: "MPEG-2 audio",
		0x10: "MPEG-4 video", 0x11: "AAC in LATM", 0x15: "timed metadata", typeADTS: "AAC", typeAVC: "H.264",
		typeHEVC: "HEVC", 0x81: "AC-3", 0x86: "SCTE-35", 0x87: "E-AC-3",
	}
	name := names[l.typ]
	switch {
	case l.typ == typePrivate && l.registration != 0:
		name = fmt.Sprintf("private data %q", []byte{
			byte(l.registration >> 24), byte(l.registration >> 16), byte(l.registration >> 8), byte(l.registration),
		})
	case name == "":
		name = fmt.Sprintf("stream type 0x%02x", l.typ)
	}
	return fmt.Sprintf("%s (PID %d)", name, l.pid)
}

// A stream is one elementary stream that is carried, and its track.
type stream struct {
	listing
	d    *Demuxer
	kind cmaf.Kind
	n    int // streams of the same kind before it
	pes  pes

	header cmaf.Header
	known  bool // header is valid
	sink   cmaf.Sink
	cutter *cmaf.Cutter
	jumps  int // how many of the Demuxer's jumps it showed or was told
}

func newStream(d *Demuxer, l listing, c streamCodec) *stream {
	s := &stream{listing: l, d: d, kind: c.kind, jumps: d.jumps.count}
	s.pes = pes{clock: d.c.Clock, out: c.make(s)}
	return s
}

// setHeader gives the stream the header that its next samples need.
func (s *stream) setHeader(h cmaf.Header) error {
	if h.Language == "" {
		h.Language = s.language
	}
	if s.known && bytes.Equal(h.Init, s.header.Init) {
		return nil
	}
	if s.known {
		// What waits needs the header from before.
		if err := s.d.openGate(); err != nil {
			return err
		}
		if err := s.end(); err != nil {
			return err
		}
		s.d.c.Log.Info("stream has a new configuration", "pid", s.pid, "codec", h.Codec)
	}
	s.header, s.known = h, true
	if s.d.gate.opened {
		return s.add()
	}
	return nil
}

// add adds the track.
func (s *stream) add() error {
	sink, err := s.d.b.AddTrack(s.d.c.Name(s.header, s.n), s.header)
	if err != nil {
		return err
	}
	policy := s.d.c.Audio
	if s.kind == cmaf.KindVideo {
		policy = s.d.c.Video
	}
	s.sink, s.cutter = sink, cmaf.NewCutter(sink, s.header, policy)
	return nil
}

// end closes the track, if it was added.
func (s *stream) end() error {
	if s.sink == nil {
		return nil
	}
	err := s.cutter.Flush()
	if e := s.sink.Close(); err == nil {
		err = e
	}
	s.sink, s.cutter = nil, nil
	return err
}

// sample hands on the next sample. dts is in ticks of the header's timescale.
func (s *stream) sample(dts int64, sample cmaf.Sample, data []byte) error {
	sample.Size = uint32(len(data))
	if s.cutter != nil {
		return s.cutter.WriteSample(dts, sample, data)
	}
	return s.d.hold(heldSample{s, dts, sample, data})
}

// drop counts something left out.
func (s *stream) drop() { s.d.stats.Dropped++ }

// A gate holds the first samples until all tracks can be added at once.
type gate struct {
	opened bool
	held   []heldSample
	bytes  int
}

type heldSample struct {
	s      *stream
	dts    int64
	sample cmaf.Sample
	data   []byte
}

// Bounds on what waits at the gate.
const (
	maxHoldMedia   = 2 // seconds
	maxHoldBytes   = 16 << 20
	maxHoldSamples = 8192
)

func (d *Demuxer) hold(h heldSample) error {
	g := &d.gate
	g.held = append(g.held, h)
	g.bytes += len(h.data)
	first := &g.held[0]
	at := cmaf.Time{Ticks: h.dts, Scale: h.s.header.Timescale}
	span := at.Sub(cmaf.Time{Ticks: first.dts, Scale: first.s.header.Timescale})
	ready := span.Seconds() >= maxHoldMedia || g.bytes > maxHoldBytes || len(g.held) > maxHoldSamples
	if !ready {
		for _, s := range d.list {
			if !s.known {
				return nil
			}
		}
	}
	return d.openGate()
}

// openGate adds the tracks that are known and hands on what waits of them.
func (d *Demuxer) openGate() error {
	if d.gate.opened {
		return nil
	}
	d.gate.opened = true
	for _, s := range d.list {
		if !s.known || s.sink != nil {
			continue
		}
		if err := s.add(); err != nil {
			return err
		}
	}
	held := d.gate.held
	d.gate.held, d.gate.bytes = nil, 0
	for _, h := range held {
		if h.s.cutter == nil {
			continue
		}
		if err := h.s.cutter.WriteSample(h.dts, h.sample, h.data); err != nil {
			return err
		}
	}
	return nil
}
