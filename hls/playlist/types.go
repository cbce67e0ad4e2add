package playlist

import (
	"fmt"
	"net/url"
	"time"
)

// Bounds on what Parse takes.
const (
	// MaxSize is the most bytes that a playlist may have.
	MaxSize = 8 << 20
	// MaxSegments is the most segments that a media playlist may list.
	MaxSegments = 100_000
	// MaxURI is the most bytes that a URI may have.
	MaxURI = 8 << 10
	// MaxVariants is the most variants, and the most renditions, that a
	// multivariant playlist may list.
	MaxVariants = 256
)

// A Playlist is a multivariant or a media playlist: one of the two is set.
type Playlist struct {
	Multivariant *Multivariant
	Media        *Media
}

// A Multivariant lists the variants of a presentation (RFC 8216 section 4.3.4).
type Multivariant struct {
	Variants   []Variant // without those of I-frames alone
	Renditions []Rendition
}

// A Variant is one EXT-X-STREAM-INF with its media playlist.
type Variant struct {
	URI              *url.URL
	Bandwidth        int    // bits per second at most
	AverageBandwidth int    // bits per second; 0: not said
	Codecs           string // RFC 6381, separated by commas; empty: not said
	Width, Height    int    // pixels; 0: not said
	FrameRate        float64
	Name             string // NAME, which many packagers write
	StableID         string // STABLE-VARIANT-ID
	Audio, Video     string // GROUP-ID of its renditions; empty: none
}

// A RenditionType is the TYPE of EXT-X-MEDIA.
type RenditionType string

// The types of renditions.
const (
	Audio          RenditionType = "AUDIO"
	Video          RenditionType = "VIDEO"
	Subtitles      RenditionType = "SUBTITLES"
	ClosedCaptions RenditionType = "CLOSED-CAPTIONS"
)

// A Rendition is one EXT-X-MEDIA.
type Rendition struct {
	Type       RenditionType
	URI        *url.URL // nil: it is in the variant's own playlist
	Group      string
	Name       string
	Language   string // RFC 5646; empty: not said
	Channels   int    // 0: not said
	Default    bool
	Autoselect bool
}

// A Type is the EXT-X-PLAYLIST-TYPE of a media playlist.
type Type string

// The types of media playlists. Other values of the tag count as Live.
const (
	Live  Type = ""
	Event Type = "EVENT" // segments are only ever added
	VOD   Type = "VOD"   // never changes
)

// A Media lists segments (RFC 8216 section 4.3.3).
type Media struct {
	Version        int
	TargetDuration time.Duration // whole seconds; no segment is longer, rounded
	Type           Type
	Ended          bool // EXT-X-ENDLIST: nothing will be added
	Independent    bool // EXT-X-INDEPENDENT-SEGMENTS
	IFramesOnly    bool

	// Sequence and DiscontinuitySequence are the numbers of the first segment.
	Sequence              uint64
	DiscontinuitySequence uint64

	// HoldBack is how far from the end players should stay
	// (EXT-X-SERVER-CONTROL); 0: not said.
	HoldBack time.Duration
	// Start says where to begin; nil: not said.
	Start *Start

	Segments []Segment
}

// A Start is EXT-X-START.
type Start struct {
	Offset  time.Duration // from the start of the playlist, or below 0 from its end
	Precise bool
}

// A Segment is one media segment.
type Segment struct {
	URI           *url.URL
	Sequence      uint64 // media sequence number
	Duration      time.Duration
	Range         *Range // nil: all of the resource
	Map           *Map   // nil: none
	Keys          []Key  // none: not encrypted
	Gap           bool   // it is missing and must not be loaded
	Discontinuity uint64 // discontinuity sequence number
	Time          time.Time
	Line          int // of its URI in the playlist, counted from 1
}

// A Range is a part of a resource.
type Range struct {
	Offset, Length int64 // bytes
}

// End returns the offset after the last byte.
func (r Range) End() int64 { return r.Offset + r.Length }

// A Map is a media initialization section. Segments that share one share the
// pointer.
type Map struct {
	URI   *url.URL
	Range *Range // nil: all of the resource
	Keys  []Key  // in force where it stands; none: not encrypted
}

// A Key says how a segment is encrypted.
type Key struct {
	Method string   // AES-128, SAMPLE-AES, SAMPLE-AES-CTR
	URI    *url.URL // nil: none, as for unknown methods
	IV     string   // hexadecimal with 0x; empty: the sequence number
	Format string   // KEYFORMAT; empty: identity
}

// Duration returns the sum of the segments' durations.
func (m *Media) Duration() time.Duration {
	var d time.Duration
	for i := range m.Segments {
		d += m.Segments[i].Duration
	}
	return d
}

// Next returns the sequence number of the segment after the last one.
func (m *Media) Next() uint64 { return m.Sequence + uint64(len(m.Segments)) }

// A LineError says what is wrong with a playlist, and where.
type LineError struct {
	Line   int    // counted from 1; 0: the playlist as a whole
	Tag    string // without the leading #; empty: not a tag
	Reason string // for people; never match on it
}

func (e *LineError) Error() string {
	s := "playlist: "
	if e.Line > 0 {
		s += fmt.Sprintf("line %d: ", e.Line)
	}
	if e.Tag != "" {
		s += e.Tag + " "
	}
	return s + e.Reason
}
