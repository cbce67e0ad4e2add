package cmaf

import (
	"bytes"
	"encoding/binary"
	"time"
)

// A Prft is a producer reference time box: at Wall the input held what has
// the decode time MediaTime (ISO/IEC 14496-12 section 8.16.5).
type Prft struct {
	TrackID   uint32
	Flags     uint32    // 24: captured; 0: entered the encoder; 1: left it
	Wall      time.Time // to about a quarter of a nanosecond
	MediaTime uint64    // ticks of the track's timescale
}

const prftSize = 32

// ntpEpoch is 1900 in seconds of Unix time.
const ntpEpoch = -2208988800

// Append appends the box, version 1, to b.
func (p Prft) Append(b []byte) []byte {
	be := binary.BigEndian
	at := len(b)
	b = grow(b, prftSize)
	h := b[at:]
	be.PutUint32(h[0:], prftSize)
	be.PutUint32(h[4:], uint32(typePrft))
	be.PutUint32(h[8:], 1<<24|p.Flags&0xff_ffff)
	be.PutUint32(h[12:], p.TrackID)
	be.PutUint64(h[16:], toNTP(p.Wall))
	be.PutUint64(h[24:], p.MediaTime)
	return b
}

// ParsePrft parses one whole prft box of version 0 or 1.
func ParsePrft(b []byte) (Prft, error) {
	it := boxIter{b: b}
	p, ok, err := it.next()
	if err != nil {
		return Prft{}, err
	}
	if !ok || p.typ != typePrft || len(it.b) > 0 {
		return Prft{}, &BoxError{Box: "prft", Reason: "is not one whole prft box"}
	}
	return parsePrft(&p)
}

func parsePrft(b *box) (Prft, error) {
	version, flags, err := b.fullBox(20)
	if err != nil {
		return Prft{}, err
	}
	be := binary.BigEndian
	p := Prft{TrackID: be.Uint32(b.body[4:]), Flags: flags, Wall: fromNTP(be.Uint64(b.body[8:]))}
	if version == 0 {
		p.MediaTime = uint64(be.Uint32(b.body[16:]))
		return p, nil
	}
	if err := b.need(24); err != nil {
		return Prft{}, err
	}
	if p.MediaTime = be.Uint64(b.body[16:]); p.MediaTime > maxMediaTime {
		return Prft{}, b.fail("media time %d is beyond any limit", p.MediaTime)
	}
	return p, nil
}

// toNTP returns t as seconds since 1900 in 32.32 bits, which begin again in
// 2036.
func toNTP(t time.Time) uint64 {
	sec := uint64(t.Unix() - ntpEpoch)
	return sec<<32 | (uint64(t.Nanosecond())<<32+500_000_000)/1_000_000_000
}

// fromNTP is toNTP's inverse from 1968 to 2104 (RFC 4330 section 3).
func fromNTP(v uint64) time.Time {
	sec := int64(v>>32) + ntpEpoch
	if v>>63 == 0 {
		sec += 1 << 32
	}
	return time.Unix(sec, int64(((v&0xffff_ffff)*1_000_000_000+1<<31)>>32)).UTC()
}

// An emsg is an event message box (ISO/IEC 23009-1 section 5.10.3.3).
type emsg struct {
	Event
	delta bool // Time counts from the start of the segment (version 0)
}

func parseEmsg(b *box) (emsg, error) {
	version, _, err := b.fullBox(4)
	if err != nil {
		return emsg{}, err
	}
	be := binary.BigEndian
	var e emsg
	p := b.body[4:]
	switch version {
	case 0:
		if p, err = e.parseNames(b, p); err != nil {
			return e, err
		}
		if len(p) < 16 {
			return e, b.fail("ends inside its fixed fields")
		}
		e.delta = true
		e.Time = Time{int64(be.Uint32(p[4:])), be.Uint32(p)}
		p = p[8:]
	case 1:
		if len(p) < 20 {
			return e, b.fail("ends inside its fixed fields")
		}
		at := be.Uint64(p[4:])
		if at > maxMediaTime {
			return e, b.fail("presentation time %d is beyond any limit", at)
		}
		e.Time = Time{int64(at), be.Uint32(p)}
		p = p[12:]
	default:
		return e, b.fail("version %d is not known", version)
	}
	if e.Time.Scale == 0 {
		return e, b.fail("timescale is 0")
	}
	if d := be.Uint32(p); d != 0xffff_ffff {
		e.Duration = Time{int64(d), e.Time.Scale}
	}
	e.ID = be.Uint32(p[4:])
	p = p[8:]
	if version == 1 {
		if p, err = e.parseNames(b, p); err != nil {
			return e, err
		}
	}
	e.Payload = bytes.Clone(p)
	return e, nil
}

// parseNames reads scheme and value, each ended by a zero.
func (e *emsg) parseNames(b *box, p []byte) ([]byte, error) {
	for _, s := range []*string{&e.Scheme, &e.Value} {
		i := bytes.IndexByte(p, 0)
		if i < 0 || i > 1024 {
			return p, b.fail("a string does not end within 1024 bytes")
		}
		*s, p = string(p[:i]), p[i+1:]
	}
	return p, nil
}
