// Package catalog writes and reads the catalog of a broadcast: MSF (version
// "draft-01") with CMSF's packaging of CMAF tracks.
//
// A catalog that we write carries each track's CMAF header twice, inline in
// the track (CMSF's text) and in the root's list (MSF), because clients differ
// in where they look. No track has a namespace: every track is in the
// catalog's own, and clients disagree about how to split a namespace string.
//
// Sources: draft-ietf-moq-msf-01 section 5 (catalog), draft-ietf-moq-cmsf-01
// section 3 (CMAF packaging).
package catalog

import (
	"errors"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// The values of Version and Packaging that this package knows.
const (
	Version       = "draft-01"
	PackagingCMAF = "cmaf"
	// TrackName is the name of the catalog's own track (MSF section 5).
	TrackName = "catalog"
)

// A Catalog is one whole catalog object. Fields that it lacks are ignored
// when read.
type Catalog struct {
	Version     string `json:"version"`               // "draft-01"
	GeneratedAt int64  `json:"generatedAt,omitempty"` // ms since 1970 UTC
	IsComplete  bool   `json:"isComplete,omitempty"`  // the broadcast has ended for good

	// MediaTimeOrigin is the UTC at which media time 0 of every track lay, in
	// ms since 1970, with fractions: a picture of media time t was captured at
	// MediaTimeOrigin + t. Nil: not known. It is a field of our own.
	MediaTimeOrigin *float64 `json:"mediaTimeOrigin,omitempty"`

	Tracks   []Track    `json:"tracks"`
	InitData []InitData `json:"initDataList,omitempty"` // after tracks, as MSF wants it
}

// A Track is one track object. Durations are in milliseconds.
type Track struct {
	Name      string `json:"name"`
	Packaging string `json:"packaging"`
	IsLive    bool   `json:"isLive"`
	Role      string `json:"role,omitempty"` // "video", "audio", …
	Lang      string `json:"lang,omitempty"` // BCP 47
	Label     string `json:"label,omitempty"`
	EventType string `json:"eventType,omitempty"`

	RenderGroup int      `json:"renderGroup,omitempty"` // tracks to play together
	AltGroup    int      `json:"altGroup,omitempty"`    // alternatives of each other
	Depends     []string `json:"depends,omitempty"`

	TargetLatency    int `json:"targetLatency,omitempty"`
	MaxGroupDuration int `json:"maxGroupDuration,omitempty"`
	MaxGroupSAP      int `json:"maxGrpSapStartingType,omitempty"`
	MaxObjectSAP     int `json:"maxObjSapStartingType,omitempty"`
	TrackDuration    int `json:"trackDuration,omitempty"` // only when not live

	Codec         string  `json:"codec,omitempty"`
	MIMEType      string  `json:"mimeType,omitempty"`
	Timescale     uint32  `json:"timescale,omitempty"`
	Width         int     `json:"width,omitempty"`
	Height        int     `json:"height,omitempty"`
	FrameRate     float64 `json:"framerate,omitempty"`
	Bitrate       int     `json:"bitrate,omitempty"` // bits per second, the maximum
	SampleRate    int     `json:"samplerate,omitempty"`
	ChannelConfig string  `json:"channelConfig,omitempty"`

	InitRef  string `json:"initRef,omitempty"`  // id in InitData
	InitData string `json:"initData,omitempty"` // base64 of the CMAF header
}

// An InitData is one entry of the initialization data list.
type InitData struct {
	ID   string `json:"id"`
	Type string `json:"type"` // "inline": base64 of the CMAF header
	Data string `json:"data"`
}

// A Source is a track to describe in a catalog.
type Source struct {
	Name   string
	Header cmaf.Header
}

// Options are what a catalog says besides its tracks.
type Options struct {
	GeneratedAt      time.Time
	MediaTimeOrigin  time.Time     // zero: not known
	MaxGroupDuration time.Duration // zero: not said
	TargetLatency    time.Duration // zero: not said
}

// New returns the catalog of a live broadcast with these tracks. All render
// together; all video tracks are alternatives, and so are all audio tracks.
func New(tracks []Source, o Options) Catalog { return Catalog{} }

// Complete returns the catalog that ends a broadcast: isComplete, no tracks
// (MSF section 11.3).
func Complete(at time.Time) Catalog { return Catalog{} }

// Marshal returns the catalog's JSON. It fails when a field holds what JSON
// cannot, such as an infinite frame rate.
func (c Catalog) Marshal() ([]byte, error) { return nil, errors.ErrUnsupported }

// ErrVersion reports a catalog of a version that this package cannot read.
var ErrVersion = errors.New("catalog: version not supported")

// ErrDelta reports a delta update where only whole catalogs are read.
var ErrDelta = errors.New("catalog: delta updates are not supported")

// Parse reads one whole catalog of at most 1 MiB and 64 tracks.
func Parse(b []byte) (Catalog, error) { return Catalog{}, errors.ErrUnsupported }

// Header returns the CMAF header of a track of c, from its initData or from
// the list entry that it names, with the bitrate, frame rate and language that
// the catalog adds.
func (c Catalog) Header(t Track) (cmaf.Header, error) { return cmaf.Header{}, errors.ErrUnsupported }
