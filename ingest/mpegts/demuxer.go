package mpegts

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

var (
	// ErrPrograms reports an input with several programs. One of them has to be
	// chosen where the input is made.
	ErrPrograms = errors.New("mpegts: several programs")
	// ErrNoMedia reports a program without a stream that can be carried, or an
	// input that ended before any came.
	ErrNoMedia = errors.New("mpegts: nothing to carry")
	// ErrFormat reports an input that is not a transport stream.
	ErrFormat = errors.New("mpegts: not a transport stream")
	// ErrClosed reports a call after Close.
	ErrClosed = errors.New("mpegts: closed")
)

const maxStreams = 16 // carried of one program

// A Config configures a Demuxer. The zero value is ready to use.
type Config struct {
	// Video and Audio say how the tracks are cut; zero is one sample a chunk.
	Video, Audio cmaf.ChunkPolicy
	// Name names the tracks; it gets each track's header and how many streams
	// of the same kind the program lists before it. Nil means "video",
	// "video2", "audio" ….
	Name func(h cmaf.Header, n int) string
	// Clock unwraps the times. Nil means one of the Demuxer's own; demuxers of
	// one presentation share one.
	Clock *Clock
	// Log takes what is worth a line. Nil discards it.
	Log *slog.Logger
}

// Stats counts what a Demuxer tolerated.
type Stats struct {
	Packets int64 // transport packets taken
	Skipped int64 // bytes that belong to no packet
	Gaps    int64 // places where packets of a carried stream are missing
	Dropped int64 // pictures and audio frames left out: damaged, without a time, or before the first random access point
}

// A Demuxer reads one MPEG transport stream and feeds a Broadcast.
//
// Tracks are added when the configuration of every stream that can be carried
// is known, all at once in the program's order, or when 2 s of media or 16 MiB
// have waited for it. Discontinuity is called when a stream's times step by
// more than a second; the times stay as they are.
//
// Write and the other methods belong to one goroutine, on which the Broadcast
// and the Sinks are called. After an error from Write nothing more is read.
type Demuxer struct {
	b   cmaf.Broadcast
	c   Config
	err error // sticks

	framer framer
	pat    sections
	pmt    sections
	prog   program // number 0: none yet
	listed []listing
	list   []*stream
	data   []*dataStream
	gate   gate
	jumps  jumps
	stats  Stats
	hidden int64 // scrambled packets of carried streams
}

// NewDemuxer returns a Demuxer that feeds b. It never closes b.
func NewDemuxer(b cmaf.Broadcast, c Config) *Demuxer {
	if c.Clock == nil {
		c.Clock = new(Clock)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Name == nil {
		c.Name = func(h cmaf.Header, n int) string {
			if n == 0 {
				return string(h.Kind)
			}
			return fmt.Sprintf("%s%d", h.Kind, n+1)
		}
	}
	return &Demuxer{b: b, c: c}
}

// Stats returns what was counted so far.
func (d *Demuxer) Stats() Stats {
	s := d.stats
	s.Skipped = d.framer.skipped
	return s
}

// Write takes the next bytes of the stream and keeps none of p. The error
// wraps one of this package's, or is what the Broadcast or a Sink returned.
func (d *Demuxer) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if d.err = d.framer.write(p, d.packet); d.err == nil && !d.framer.begun && d.framer.skipped > maxUnsynced {
		d.err = fmt.Errorf("%w: no packet in the first %d bytes", ErrFormat, d.framer.skipped)
	}
	if d.err != nil {
		return 0, d.err
	}
	return len(p), nil
}

// EndBody tells that a body ended and that another may follow, as with the
// segments of HLS: what the body's last packets began is whole, and continuity
// counters begin anew. A body without any packet is an error.
func (d *Demuxer) EndBody() error {
	if d.err != nil {
		return d.err
	}
	d.err = d.endBody()
	return d.err
}

func (d *Demuxer) endBody() error {
	if err := d.framer.end(d.packet); err != nil {
		return err
	}
	if !d.framer.begun && d.framer.skipped > 0 {
		return fmt.Errorf("%w: no packet in %d bytes", ErrFormat, d.framer.skipped)
	}
	d.pat.reset()
	d.pmt.reset()
	for _, s := range d.list {
		if err := s.pes.restart(); err != nil {
			return err
		}
	}
	for _, s := range d.data {
		s.cues.reset()
		if err := s.pes.restart(); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the stream: it hands on what still waits and closes every Sink
// that the Demuxer added. Without any media before, it is ErrNoMedia.
func (d *Demuxer) Close() error {
	err := d.EndBody()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	for _, s := range d.list {
		if err == nil {
			err = s.pes.out.close()
		}
	}
	if err == nil {
		err = d.openGate()
	}
	sent := false
	for _, s := range d.list {
		sent = sent || s.sink != nil
		if e := s.end(); err == nil {
			err = e
		}
	}
	if err == nil && !sent && d.stats.Packets > 0 {
		err = d.noMedia()
	}
	d.list, d.err = nil, ErrClosed
	return err
}

func (d *Demuxer) noMedia() error {
	switch {
	case d.prog.number == 0:
		return fmt.Errorf("%w: no program was announced", ErrNoMedia)
	case len(d.listed) == 0:
		return fmt.Errorf("%w: program %d was not described", ErrNoMedia, d.prog.number)
	case d.hidden > 0:
		return fmt.Errorf("%w: program %d is scrambled", ErrNoMedia, d.prog.number)
	}
	return fmt.Errorf("%w: program %d ended before a picture or an audio frame was whole", ErrNoMedia, d.prog.number)
}

// packet takes one transport packet.
func (d *Demuxer) packet(b []byte) error {
	d.stats.Packets++
	p, ok := parsePacket(b)
	if !ok || p.payload == nil || p.pid == pidNull {
		return nil // of a damaged one not even the PID is sure: the counter tells
	}
	switch {
	case p.pid == pidPAT:
		return d.pat.write(p.payload, p.start, d.patSection)
	case d.prog.number != 0 && p.pid == d.prog.pid:
		return d.pmt.write(p.payload, p.start, d.pmtSection)
	}
	for _, s := range d.list {
		if s.pid != p.pid {
			continue
		}
		if p.scrambled {
			d.hidden++
			return nil
		}
		lost, err := s.pes.write(p)
		if lost {
			d.stats.Gaps++
		}
		return err
	}
	for _, s := range d.data {
		if s.pid == p.pid && !p.scrambled {
			return s.write(p)
		}
	}
	return nil
}

func (d *Demuxer) patSection(table byte, body []byte) error {
	if table != tablePAT {
		return nil
	}
	programs, last := parsePAT(body)
	if len(programs) > 1 || last > 0 && len(programs) > 0 {
		var numbers []string
		for _, p := range programs[:min(len(programs), 8)] {
			numbers = append(numbers, fmt.Sprint(p.number))
		}
		return fmt.Errorf("%w: the input carries programs %s; send one alone", ErrPrograms, strings.Join(numbers, ", "))
	}
	if len(programs) == 1 && programs[0] != d.prog {
		d.prog = programs[0]
		d.pmt.reset()
	}
	return nil
}

func (d *Demuxer) pmtSection(table byte, body []byte) error {
	if table != tablePMT {
		return nil
	}
	number, streams, ok := parsePMT(body)
	if !ok || number != d.prog.number || slices.Equal(streams, d.listed) {
		return nil
	}
	d.listed = streams
	return d.setStreams(streams)
}

// setStreams makes the streams of a program those that are read. One that is as
// it was goes on.
func (d *Demuxer) setStreams(listed []listing) error {
	if len(d.list) > 0 { // what waits may be of a stream that ends
		if err := d.openGate(); err != nil {
			return err
		}
	}
	var list []*stream
	count := map[cmaf.Kind]int{}
	var left []string
	var data []*dataStream
	for _, l := range listed {
		if isData(l) && len(data) < maxDataStream {
			i := slices.IndexFunc(d.data, func(s *dataStream) bool { return s.listing == l })
			if i < 0 {
				data = append(data, newDataStream(d, l))
			} else {
				data = append(data, d.data[i])
			}
			continue
		}
		codec, ok := codecOf(l)
		if !ok || len(list) == maxStreams {
			left = append(left, l.String())
			continue
		}
		i := slices.IndexFunc(d.list, func(s *stream) bool { return s.listing == l })
		if i >= 0 {
			list = append(list, d.list[i])
			d.list = slices.Delete(d.list, i, i+1)
		} else {
			list = append(list, newStream(d, l, codec))
		}
		list[len(list)-1].n = count[codec.kind]
		count[codec.kind]++
	}
	old := d.list
	d.list, d.data = list, data
	for _, s := range old {
		err := errors.Join(s.pes.restart(), s.pes.out.close(), s.end())
		if err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("%w: program %d has %s", ErrNoMedia, d.prog.number, strings.Join(left, ", "))
	}
	if len(left) > 0 {
		d.c.Log.Warn("streams are not carried", "program", d.prog.number, "streams", strings.Join(left, ", "))
	}
	return nil
}

// jumps tells each jump of the input's times once, whichever stream shows it
// first.
type jumps struct {
	count int
	delta int64 // of the last one, ticks of 90 kHz
}

// jumpThreshold is how far media time may step without being a jump.
const jumpThreshold = time.Second

// jump notes that s steps by delta.
func (d *Demuxer) jump(s *stream, delta int64) {
	same := (delta-d.jumps.delta) < clockRate && (d.jumps.delta-delta) < clockRate
	if s.jumps < d.jumps.count && same {
		s.jumps = d.jumps.count
		return
	}
	d.jumps = jumps{d.jumps.count + 1, delta}
	s.jumps = d.jumps.count
	d.b.Discontinuity(fmt.Sprintf("the times of PID %d step by %+.3f s", s.pid, float64(delta)/clockRate))
}
