package playlist

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Eyevinn/hls-m3u8/m3u8"
)

// Parse parses one whole playlist, which came from base. The result does not
// alias b. Errors are *LineError.
func Parse(base *url.URL, b []byte) (Playlist, error) {
	var s scan
	if err := s.run(b); err != nil {
		return Playlist{}, err
	}
	if s.multivariant {
		m, err := s.parseMultivariant(base)
		return Playlist{Multivariant: m}, err
	}
	m, err := s.parseMedia(base)
	return Playlist{Media: m}, err
}

// A lineCounter sees every line that the library reads, so that a fault which
// it finds can be given a line.
type lineCounter struct{ n int }

// The methods of m3u8.CustomDecoder and m3u8.CustomTag. The empty name is the
// beginning of every line.
func (c *lineCounter) TagName() string                       { return "" }
func (c *lineCounter) Decode(string) (m3u8.CustomTag, error) { c.n++; return c, nil }
func (c *lineCounter) SegmentTag() bool                      { return false }
func (c *lineCounter) Encode() *bytes.Buffer                 { return nil }
func (c *lineCounter) String() string                        { return "" }
func (c *lineCounter) decoders() []m3u8.CustomDecoder        { return []m3u8.CustomDecoder{c} }

// decode has the library read what the scan passed on.
func (s *scan) decode(p m3u8.Playlist) error {
	var c lineCounter
	err := p.WithCustomDecoders(c.decoders()).DecodeFrom(&s.out, true)
	if err == nil {
		return nil
	}
	e := &LineError{Reason: reasonOf(err)}
	if c.n > 0 && c.n <= len(s.lines) {
		e.Line = s.lines[c.n-1]
	}
	return e
}

// reasonOf returns the library's sentence without the text of the line, which
// may have a URI in it.
func reasonOf(err error) string {
	if n, ok := errors.AsType[*strconv.NumError](err); ok {
		return "has a number that is not one: " + n.Err.Error()
	}
	if _, ok := errors.AsType[*time.ParseError](err); ok {
		return "has a time that is not one"
	}
	if errors.Is(err, m3u8.ErrNotYesOrNo) {
		return "has a value other than YES and NO"
	}
	return "cannot be read"
}

func (s *scan) parseMultivariant(base *url.URL) (*Multivariant, error) {
	p := m3u8.NewMasterPlaylist()
	if err := s.decode(p); err != nil {
		return nil, err
	}
	m := &Multivariant{}
	known := make(map[*m3u8.Alternative]bool)
	if len(p.Variants) != len(s.variants) || len(p.Variants) == 0 {
		return nil, &LineError{Reason: fmt.Sprintf("has %d variants, of which %d can be read", len(s.variants), len(p.Variants))}
	}
	for i, v := range p.Variants {
		u, reason := resolve(base, v.URI)
		if reason != "" {
			return nil, &LineError{s.variants[i], "", reason}
		}
		width, height := parseResolution(v.Resolution)
		m.Variants = append(m.Variants, Variant{
			URI: u, Bandwidth: int(v.Bandwidth), AverageBandwidth: int(v.AverageBandwidth), Codecs: v.Codecs,
			Width: width, Height: height, FrameRate: v.FrameRate, Name: v.Name, StableID: v.StableVariantId,
			Audio: v.Audio, Video: v.Video,
		})
		for _, a := range v.Alternatives {
			if known[a] {
				continue
			}
			known[a] = true
			r := Rendition{
				Type: RenditionType(a.Type), Group: a.GroupId, Name: a.Name, Language: a.Language,
				Default: a.Default, Autoselect: a.Autoselect,
			}
			if a.Channels != nil {
				r.Channels = a.Channels.Amount
			}
			if a.URI != "" {
				if r.URI, reason = resolve(base, a.URI); reason != "" {
					return nil, &LineError{Tag: "EXT-X-MEDIA", Reason: fmt.Sprintf("with the name %.64q %s", a.Name, reason)}
				}
			}
			m.Renditions = append(m.Renditions, r)
		}
	}
	return m, nil
}

func parseResolution(s string) (width, height int) {
	w, h, _ := strings.Cut(s, "x")
	width, err := strconv.Atoi(w)
	if err != nil || width < 0 || width > 1<<16 {
		return 0, 0
	}
	height, err = strconv.Atoi(h)
	if err != nil || height < 0 || height > 1<<16 {
		return 0, 0
	}
	return width, height
}

func (s *scan) parseMedia(base *url.URL) (*Media, error) {
	p, err := m3u8.NewMediaPlaylist(0, uint(len(s.segments)+1))
	if err != nil {
		return nil, &LineError{Reason: "cannot be read"}
	}
	if err := s.decode(p); err != nil {
		return nil, err
	}
	if int(p.Count()) != len(s.segments) {
		return nil, &LineError{Reason: fmt.Sprintf("has %d segments, of which %d can be read", len(s.segments), p.Count())}
	}
	m := &Media{
		Version: int(p.Version()), TargetDuration: time.Duration(min(p.TargetDuration, maxSeconds)) * time.Second,
		Type: typeOf(p.MediaType), Ended: p.Closed, Independent: p.IndependentSegments(), IFramesOnly: p.Iframe,
		Sequence: p.SeqNo, DiscontinuitySequence: p.DiscontinuitySeq,
	}
	if c := p.ServerControl; c != nil && validSeconds(c.HoldBack) {
		m.HoldBack = seconds(c.HoldBack)
	}
	if p.StartTime != 0 && validSeconds(max(p.StartTime, -p.StartTime)) {
		m.Start = &Start{seconds(p.StartTime), p.StartTimePrecise}
	}
	if m.Sequence > math.MaxInt64/2 {
		return nil, &LineError{Tag: "EXT-X-MEDIA-SEQUENCE", Reason: "is too large"}
	}
	if m.DiscontinuitySequence > math.MaxInt64/2 {
		return nil, &LineError{Tag: "EXT-X-DISCONTINUITY-SEQUENCE", Reason: "is too large"}
	}
	r := segmentReader{base: base, m: m, lastMap: p.Map, disc: p.DiscontinuitySeq}
	for i, at := range s.segments {
		if err := r.add(p.Segments[i], at); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func typeOf(t m3u8.MediaType) Type {
	switch t {
	case m3u8.EVENT:
		return Event
	case m3u8.VOD:
		return VOD
	}
	return Live
}

func seconds(v float64) time.Duration { return time.Duration(math.Round(v * 1e9)) }

// A segmentReader spells out at each segment what carries over from others.
type segmentReader struct {
	base    *url.URL
	m       *Media
	disc    uint64
	lastMap *m3u8.Map // as the library has it
	madeMap *m3u8.Map // what cur was made of
	cur     *Map
	keys    []Key // made of scannedKeys
	// scannedKeys are those that keysOf was asked for last.
	scannedKeys []scannedKey
	time        time.Time // of the next segment, if it is known
}

func (r *segmentReader) add(g *m3u8.MediaSegment, at scanned) error {
	fail := func(tag, reason string) error { return &LineError{at.line, tag, reason} }
	u, reason := resolve(r.base, g.URI)
	if reason != "" {
		return fail("", reason)
	}
	if !validSeconds(g.Duration) {
		return fail("EXTINF", fmt.Sprintf("has the duration %v", g.Duration))
	}
	seg := Segment{
		URI: u, Sequence: r.m.Next(), Duration: seconds(g.Duration), Gap: g.Gap, Line: at.line,
	}
	if g.Discontinuity {
		r.disc++
		r.time = time.Time{}
	}
	seg.Discontinuity = r.disc
	if at.rangeLine > 0 {
		if seg.Range, reason = r.byteRange(u, g, at); reason != "" {
			return &LineError{at.rangeLine, "EXT-X-BYTERANGE", reason}
		}
	}
	if g.Map != nil {
		r.lastMap = g.Map
	}
	known := r.cur
	if seg.Map, reason = r.mapOf(); reason != "" {
		return fail("EXT-X-MAP", reason)
	}
	if seg.Keys, reason = r.keysOf(at.keys); reason != "" {
		return fail("EXT-X-KEY", reason)
	}
	if seg.Map != known {
		if seg.Map.Keys, reason = r.keysOf(at.mapKeys); reason != "" {
			return fail("EXT-X-KEY", reason)
		}
	}
	if !g.ProgramDateTime.IsZero() {
		r.time = g.ProgramDateTime
	}
	if seg.Time = r.time; !r.time.IsZero() {
		r.time = r.time.Add(seg.Duration)
	}
	r.m.Segments = append(r.m.Segments, seg)
	return nil
}

// byteRange returns a segment's range. Without an offset it begins where that
// of the segment before ended, which must be of the same resource (RFC 8216
// section 4.3.2.2).
func (r *segmentReader) byteRange(u *url.URL, g *m3u8.MediaSegment, at scanned) (*Range, string) {
	b := &Range{Offset: g.Offset, Length: g.Limit}
	if !at.offset {
		n := len(r.m.Segments)
		if n == 0 || r.m.Segments[n-1].Range == nil || r.m.Segments[n-1].URI.String() != u.String() {
			return nil, "has no offset, and the segment before is not a range of the same resource"
		}
		b.Offset = r.m.Segments[n-1].Range.End()
	}
	return b, checkRange(*b)
}

func checkRange(r Range) string {
	if r.Length <= 0 || r.Offset < 0 || r.End() < 0 {
		return fmt.Sprintf("has the range %d@%d", r.Length, r.Offset)
	}
	return ""
}

// mapOf returns the map in force.
func (r *segmentReader) mapOf() (*Map, string) {
	if r.lastMap == nil || r.lastMap == r.madeMap {
		return r.cur, ""
	}
	u, reason := resolve(r.base, r.lastMap.URI)
	if reason != "" {
		return nil, reason
	}
	m := &Map{URI: u}
	if r.lastMap.Limit != 0 || r.lastMap.Offset != 0 {
		m.Range = &Range{Offset: r.lastMap.Offset, Length: r.lastMap.Limit}
		if reason := checkRange(*m.Range); reason != "" {
			return nil, reason
		}
	}
	r.madeMap, r.cur = r.lastMap, m
	return m, ""
}

// keysOf returns keys with absolute URIs. Segments of the same keys share them.
func (r *segmentReader) keysOf(keys []scannedKey) (out []Key, reason string) {
	switch {
	case len(keys) == 0:
		return nil, ""
	case len(r.scannedKeys) > 0 && &keys[0] == &r.scannedKeys[0]:
		return r.keys, ""
	}
	for _, k := range keys {
		key := Key{Method: k.method, IV: k.iv, Format: k.format}
		if k.uri != "" {
			u, err := r.base.Parse(k.uri) // may well be of another scheme: skd, urn
			if err != nil {
				return nil, "has a URI that cannot be read"
			}
			key.URI = u
		}
		out = append(out, key)
	}
	r.scannedKeys, r.keys = keys, out
	return out, ""
}
