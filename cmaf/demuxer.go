package cmaf

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

const (
	defaultMaxMoov = 4 << 20
	defaultMaxMoof = 1 << 20
	defaultMaxMdat = 64 << 20

	maxEvents     = 64 // emsg boxes that wait for their fragment
	maxEmsgSize   = 256 << 10
	jumpThreshold = time.Second // media time off by more is a discontinuity
)

// A DemuxerConfig configures a Demuxer. The zero value is ready to use.
type DemuxerConfig struct {
	// Video and Audio say how the tracks are cut; zero is one sample a chunk.
	// A fragment that lasts longer than the target also ends a chunk.
	Video, Audio ChunkPolicy
	// MaxMoov and MaxMoof bound the header and each fragment's metadata, in
	// bytes. Zero means 4 MiB and 1 MiB.
	MaxMoov, MaxMoof int
	// MaxMdat bounds one fragment's media, in bytes. Zero means 64 MiB.
	MaxMdat int64
	// Name names the tracks. It gets a track's header and is called with n = 0,
	// 1, … until the name is one that no other track has. Nil means "video",
	// "video2", "audio" ….
	Name func(h Header, n int) string
	// Repeated says that an encoder may send fragments again which came already,
	// whole or in part: what was handed on of one is left out, and Repeated is
	// called with how many samples that is. Nil: every fragment is media of its own.
	Repeated func(samples int)
}

// A Demuxer reads a fragmented MP4 byte stream and feeds a Broadcast. It is
// pushed: Write takes the next bytes in pieces of any size and hands on every
// sample that they complete, without waiting for the rest of its fragment.
//
// Tracks are added when the first fragment comes, all at once. A moov that
// comes again changes nothing if it says the same; otherwise the tracks that
// differ are closed and added anew under their names, by which a track ID goes
// on as long as it stays of its kind. Tracks that are neither
// video nor audio are left out. Discontinuity is called when a track's decode
// time steps back, or ahead by more than a second; the times stay as they are.
//
// Write and the other methods belong to one goroutine, on which the Broadcast
// and the Sinks are called. After an error from Write nothing more is read;
// what came before was handed on whole.
type Demuxer struct {
	b   Broadcast
	c   DemuxerConfig
	err error // sticks

	off  int64     // of the next byte in the body
	box  boxHeader // the one being read, once its header is whole
	at   int64     // where it starts
	left int64     // of its content, bytes to come
	mode demuxMode
	buf  []byte // header or content so far
	scan int    // how far a moov's children have been looked at
	trak int    // how many of them were traks

	moov    []trak // the latest, not yet taken into use
	started bool   // tracks were added
	tracks  []demuxTrack
	frag    []fragTrack // one for each of tracks
	fr      fragment
	next    int // in fr.samples: the one whose bytes come next
	got     int // how many of them came
	events  []emsg
	prft    *Prft
	repeats repeats
}

type demuxMode uint8

const (
	readHeader  demuxMode = iota
	readContent           // of a box that is read whole
	skipContent
	streamMdat
)

// NewDemuxer returns a Demuxer that feeds b. It never closes b.
func NewDemuxer(b Broadcast, c DemuxerConfig) *Demuxer {
	c.MaxMoov = cmp.Or(c.MaxMoov, defaultMaxMoov)
	c.MaxMoof = cmp.Or(c.MaxMoof, defaultMaxMoof)
	c.MaxMdat = cmp.Or(c.MaxMdat, defaultMaxMdat)
	if c.Name == nil {
		c.Name = func(h Header, n int) string {
			if n == 0 {
				return string(h.Kind)
			}
			return fmt.Sprintf("%s%d", h.Kind, n+1)
		}
	}
	return &Demuxer{b: b, c: c, fr: fragment{room: c.MaxMdat}}
}

// Write takes the next bytes of the stream and keeps none of p. The error is a
// *BoxError for what is wrong with the bytes, else what the Broadcast or a
// Sink returned.
func (d *Demuxer) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n := len(p)
	for len(p) > 0 {
		if p, d.err = d.step(p); d.err != nil {
			return n - len(p), d.err
		}
	}
	return n, nil
}

// EndBody tells that a body ended and that another may follow, as where an
// encoder sends a request per segment: offsets count from 0 again. A body
// that ended inside a box is a *BoxError that wraps io.ErrUnexpectedEOF; its
// whole samples were handed on. After a *BoxError, this one or one from Write,
// the next body starts afresh with the tracks as they are.
func (d *Demuxer) EndBody() error {
	err := d.err
	if err == nil {
		err = d.truncated()
	}
	d.dropPartial()
	d.repeats.leave(d.next)
	d.off, d.mode, d.buf = 0, readHeader, d.buf[:0]
	d.fr.samples, d.next = d.fr.samples[:0], 0
	if _, ok := errors.AsType[*BoxError](err); ok {
		d.err = nil
	}
	return err
}

// dropPartial forgets the sample of which only some bytes came.
func (d *Demuxer) dropPartial() {
	if d.got > 0 {
		d.tracks[d.fr.samples[d.next].track].cutter.drop(d.got)
		d.got = 0
	}
}

// truncated returns the error for a body that ends here, if it may not.
func (d *Demuxer) truncated() error {
	switch {
	case d.mode == readHeader && len(d.buf) > 0:
		return &BoxError{
			Box: "header", Offset: d.at, Err: io.ErrUnexpectedEOF,
			Reason: fmt.Sprintf("the input ends after %d bytes of a box header", len(d.buf)),
		}
	case d.mode != readHeader:
		return &BoxError{
			Box: d.box.typ.String(), Offset: d.at, Err: io.ErrUnexpectedEOF,
			Reason: fmt.Sprintf("the input ends %d bytes short of the box's %d", d.left, d.box.size),
		}
	}
	return d.leftOver()
}

// Close ends the stream: it flushes and closes every Sink that the Demuxer
// added. Its error is EndBody's, or the Sinks'.
func (d *Demuxer) Close() error {
	err := d.EndBody()
	for i := range d.tracks {
		if e := d.tracks[i].close(); err == nil {
			err = e
		}
	}
	d.tracks, d.frag = nil, nil
	if d.err == nil {
		d.err = io.ErrClosedPipe
	}
	return err
}

// step reads on from p, which is not empty, and returns what is left of it.
func (d *Demuxer) step(p []byte) ([]byte, error) {
	switch d.mode {
	case readHeader:
		return d.stepHeader(p)
	case skipContent:
		n := int(min(d.left, int64(len(p))))
		d.advance(n)
		if d.left -= int64(n); d.left == 0 {
			d.mode = readHeader
		}
		return p[n:], nil
	case streamMdat:
		return d.stepMdat(p)
	}
	return d.stepContent(p)
}

func (d *Demuxer) advance(n int) { d.off += int64(n) }

// stepHeader collects a box header and decides what to do with the box.
func (d *Demuxer) stepHeader(p []byte) ([]byte, error) {
	if len(d.buf) == 0 {
		d.at = d.off
	}
	want := 8
	if len(d.buf) >= 8 {
		want = 16
	}
	n := min(want-len(d.buf), len(p))
	d.buf = append(d.buf, p[:n]...)
	d.advance(n)
	p = p[n:]
	h, need, err := parseBoxHeader(d.buf, "", d.at)
	if err != nil || need > 0 {
		return p, err
	}
	d.box, d.left, d.buf = h, h.size-int64(h.len), d.buf[:0]
	if err := d.startBox(); err != nil {
		return p, err
	}
	if d.left > 0 {
		return p, nil
	}
	if d.mode == readContent {
		return p, d.endContent(nil)
	}
	d.mode = readHeader
	return p, nil
}

// limit returns the most bytes that the box may have.
func (d *Demuxer) limit() int64 {
	switch d.box.typ {
	case typeMoov:
		// The moov's own limit is applied while it comes, after its traks were
		// counted, so that too many tracks are called that.
		return 4 * int64(d.c.MaxMoov)
	case typeMoof:
		return int64(d.c.MaxMoof)
	case typeEmsg, typePrft:
		return maxEmsgSize
	}
	return d.c.MaxMdat
}

// startBox checks size and place of a box whose header has come.
func (d *Demuxer) startBox() error {
	b := box{typ: d.box.typ, off: d.at, size: d.box.size}
	if limit := d.limit(); d.box.size > limit {
		return b.fail("size %d is over the limit of %d bytes", d.box.size, limit)
	}
	d.mode = skipContent
	switch b.typ {
	case typeMoov:
		d.mode, d.scan, d.trak = readContent, 0, 0
		return d.leftOver()
	case typeMoof:
		if d.moov == nil && !d.started {
			return b.fail("comes before any moov")
		}
		d.mode = readContent
		return d.leftOver()
	case typeMdat:
		if d.moov == nil && !d.started {
			return b.fail("comes before any moov; the input is not a fragmented MP4 stream")
		}
		d.mode = streamMdat
		return d.startMdat(&b)
	case typeEmsg, typePrft:
		d.mode = readContent
	case typeFtyp, typeStyp, typeFree, typeSkip, typeMfra:
	default:
		if !b.typ.printable() {
			return b.fail("is not a box type; the input is not an MP4 stream")
		}
	}
	return nil
}

// stepContent collects a box that is read whole. One that lies in p whole is
// read in place.
func (d *Demuxer) stepContent(p []byte) ([]byte, error) {
	n := int(min(d.left, int64(len(p))))
	d.advance(n)
	d.left -= int64(n)
	if len(d.buf) == 0 && d.left == 0 {
		if d.box.typ == typeMoov {
			if err := d.scanMoov(p[:n]); err != nil {
				return p[n:], err
			}
		}
		return p[n:], d.endContent(p[:n])
	}
	d.buf = append(d.buf, p[:n]...)
	if d.box.typ == typeMoov {
		if err := d.scanMoov(d.buf); err != nil {
			return p[n:], err
		}
	}
	if d.left > 0 {
		return p[n:], nil
	}
	body := d.buf
	d.buf = d.buf[:0]
	return p[n:], d.endContent(body)
}

// scanMoov looks at the headers of a moov's children while it comes: got is
// what came of its content.
func (d *Demuxer) scanMoov(got []byte) error {
	for d.scan < len(got) {
		off := d.at + int64(d.box.len+d.scan)
		h, need, err := parseBoxHeader(got[d.scan:], "moov", off)
		if err != nil {
			return err
		}
		if need > 0 {
			break
		}
		if h.typ == typeTrak {
			if d.trak++; d.trak > maxTracks {
				b := box{typ: typeTrak, parent: "moov", off: off}
				return b.fail("is track %d, at most %d are taken", d.trak, maxTracks)
			}
		}
		d.scan = int(min(int64(d.scan)+h.size, d.box.size))
	}
	if len(got) > d.c.MaxMoov {
		b := box{typ: typeMoov, off: d.at}
		return b.fail("size %d is over the limit of %d bytes", d.box.size, d.c.MaxMoov)
	}
	return nil
}

// endContent handles a box that was read whole. It keeps nothing of body.
func (d *Demuxer) endContent(body []byte) error {
	d.mode = readHeader
	b := box{typ: d.box.typ, off: d.at, size: d.box.size, body: body}
	switch b.typ {
	case typeMoov:
		b.body = bytes.Clone(body) // the traks alias it
		traks, err := parseMoov(&b)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(traks, func(t trak) bool { return t.known }) {
			return b.fail("has no video or audio track")
		}
		for i := range traks {
			traks[i].entry, traks[i].box.body = nil, nil // or the whole moov stays
		}
		d.moov = traks
		return nil
	case typeMoof:
		return d.endMoof(&b)
	case typeEmsg:
		return d.endEmsg(&b)
	default:
		return d.endPrft(&b)
	}
}

// startMdat checks that the samples lie in this mdat, whose header has come.
func (d *Demuxer) startMdat(mdat *box) error {
	from, to := d.off, mdat.off+mdat.size
	for i := d.next; i < len(d.fr.samples); i++ {
		s := &d.fr.samples[i]
		end := s.off + int64(s.Size)
		if s.off >= to && end > to {
			break // of another mdat
		}
		if s.off < from || end > to {
			return d.fr.fail(s, "sample %d has bytes %d to %d, the mdat has %d to %d", i+1, s.off, end, from, to)
		}
	}
	return d.skipEmpty(from)
}

// leftOver returns an error if samples of the last moof had no bytes.
func (d *Demuxer) leftOver() error {
	if d.next < len(d.fr.samples) {
		s := &d.fr.samples[d.next]
		return d.fr.fail(s, "sample %d has bytes %d to %d, which no mdat brought", d.next+1, s.off, s.off+int64(s.Size))
	}
	return nil
}

// stepMdat streams samples out of p.
func (d *Demuxer) stepMdat(p []byte) ([]byte, error) {
	n := int(min(d.left, int64(len(p))))
	in, rest := p[:n], p[n:]
	d.left -= int64(n)
	if d.left == 0 {
		d.mode = readHeader
	}
	for len(in) > 0 && d.next < len(d.fr.samples) {
		s := &d.fr.samples[d.next]
		if gap := s.off - d.off; d.got == 0 && gap > 0 {
			skip := int(min(gap, int64(len(in))))
			d.advance(skip)
			in = in[skip:]
			continue
		}
		c := d.tracks[s.track].cutter
		if d.got == 0 {
			if err := c.beginSample(s.dts, s.Sample); err != nil {
				return rest, err
			}
		}
		take := min(int(s.Size)-d.got, len(in))
		c.write(in[:take])
		d.advance(take)
		in = in[take:]
		if d.got += take; d.got == int(s.Size) {
			if err := d.endSample(s); err != nil {
				return rest, err
			}
			if err := d.skipEmpty(d.off); err != nil {
				return rest, err
			}
		}
	}
	d.advance(len(in))
	return rest, nil
}

// skipEmpty hands on samples without bytes that are due at offset off.
func (d *Demuxer) skipEmpty(off int64) error {
	for d.next < len(d.fr.samples) {
		s := &d.fr.samples[d.next]
		if s.Size > 0 || s.off > off {
			return nil
		}
		if err := d.tracks[s.track].cutter.beginSample(s.dts, s.Sample); err != nil {
			return err
		}
		if err := d.endSample(s); err != nil {
			return err
		}
	}
	return nil
}

// endSample completes the current sample, and with the last one the fragment.
func (d *Demuxer) endSample(s *fragSample) error {
	d.next++
	d.got = 0
	if err := d.tracks[s.track].cutter.endSample(s.Sample); err != nil {
		return err
	}
	if d.next < len(d.fr.samples) {
		return nil
	}
	for i := range d.tracks {
		if t := &d.tracks[i]; t.flushEnd {
			t.flushEnd = false
			if err := t.cutter.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}
