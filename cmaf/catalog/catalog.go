// Package catalog writes and reads the catalogs of a broadcast: Catalog, which is
// MSF (version "draft-01") with CMSF's packaging of CMAF tracks, and Playback,
// which simple players read.
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
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// What stands in every catalog that we write.
const (
	Version       = "draft-01"
	PackagingCMAF = "cmaf"
	TypeInline    = "inline" // of InitData
	// TrackName is the name of the catalog's own track (MSF section 5).
	TrackName = "catalog"
)

// A Catalog is one whole catalog object.
type Catalog struct {
	Version     string `json:"version"`               // "draft-01"; "1" when MSF-00 was read
	GeneratedAt int64  `json:"generatedAt,omitempty"` // ms since 1970 UTC
	IsComplete  bool   `json:"isComplete,omitempty"`  // the broadcast has ended for good

	// MediaTimeOrigin is the UTC of media time 0 of every track, in ms since
	// 1970, fractions included: what has the media time t was captured at
	// MediaTimeOrigin + t. Nil: not known. A field of our own, which others
	// ignore as MSF section 5 wants it.
	MediaTimeOrigin *float64 `json:"mediaTimeOrigin,omitempty"`

	Tracks   []Track    `json:"tracks"`
	InitData []InitData `json:"initDataList,omitempty"` // after tracks, as MSF wants it
}

// A Track is one track object. Durations are in milliseconds.
type Track struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"` // empty: the catalog's; never written by New
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
	TrackDuration    int `json:"trackDuration,omitempty"` // only when not live

	Codec         string  `json:"codec,omitempty"` // RFC 6381
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
	// InitGroup is the first group of the track that this header describes; the
	// groups before it need the one from an earlier catalog. 0: it describes
	// all. A field of our own.
	InitGroup uint64 `json:"initGroup,omitempty"`
}

// An InitData is one entry of the initialization data list.
type InitData struct {
	ID   string `json:"id"`
	Type string `json:"type"` // "inline"
	Data string `json:"data"` // base64 of the CMAF header
}

// A Source is a track to describe in a catalog.
type Source struct {
	Name   string
	Header cmaf.Header
}

// Options are what a catalog says besides its tracks. Durations are rounded to
// milliseconds.
type Options struct {
	GeneratedAt      time.Time     // zero: not said
	MediaTimeOrigin  time.Time     // zero: not known
	MaxGroupDuration time.Duration // zero: not said
	TargetLatency    time.Duration // zero: not said
}

// New returns the catalog of a live broadcast with these tracks, in their
// order. All render together; tracks of one kind are alternatives.
func New(tracks []Source, o Options) Catalog {
	c := Catalog{Version: Version, Tracks: make([]Track, 0, len(tracks))}
	if !o.GeneratedAt.IsZero() {
		c.GeneratedAt = o.GeneratedAt.UnixMilli()
	}
	if !o.MediaTimeOrigin.IsZero() {
		ms := float64(o.MediaTimeOrigin.Unix())*1000 + float64(o.MediaTimeOrigin.Nanosecond())/1e6
		c.MediaTimeOrigin = &ms
	}
	for _, s := range tracks {
		t := newTrack(s)
		t.TargetLatency = int(o.TargetLatency.Round(time.Millisecond).Milliseconds())
		t.MaxGroupDuration = int(o.MaxGroupDuration.Round(time.Millisecond).Milliseconds())
		c.Tracks = append(c.Tracks, t)
		c.InitData = append(c.InitData, InitData{ID: t.InitRef, Type: TypeInline, Data: t.InitData})
	}
	return c
}

func newTrack(s Source) Track {
	h := s.Header
	t := Track{
		Name:        s.Name,
		Packaging:   PackagingCMAF,
		IsLive:      true,
		Role:        string(h.Kind),
		Lang:        bcp47(h.Language),
		RenderGroup: 1,
		Codec:       h.Codec,
		MIMEType:    h.MIMEType(),
		Timescale:   h.Timescale,
		Bitrate:     h.Bitrate,
		InitRef:     "init-" + s.Name,
		InitData:    base64.StdEncoding.EncodeToString(h.Init),
	}
	switch h.Kind {
	case cmaf.KindVideo:
		t.AltGroup, t.MaxGroupSAP = 1, 2
		t.Width, t.Height, t.FrameRate = h.Width, h.Height, h.FrameRate
	case cmaf.KindAudio:
		t.AltGroup, t.MaxGroupSAP = 2, 1
		t.SampleRate, t.ChannelConfig = h.SampleRate, strconv.Itoa(h.Channels)
	}
	return t
}

// Complete returns the catalog that ends a broadcast: isComplete, no tracks
// (MSF section 11.3).
func Complete(at time.Time) Catalog {
	return Catalog{Version: Version, GeneratedAt: at.UnixMilli(), IsComplete: true, Tracks: []Track{}}
}

// Origin returns MediaTimeOrigin as a time; ok is false when it is not known.
func (c Catalog) Origin() (origin time.Time, ok bool) {
	if c.MediaTimeOrigin == nil {
		return time.Time{}, false
	}
	sec, ms := math.Modf(*c.MediaTimeOrigin / 1000)
	return time.Unix(int64(sec), int64(math.Round(ms*1e9))).UTC(), true
}

// Marshal returns the catalog's JSON. It fails when a number is not finite.
func (c Catalog) Marshal() ([]byte, error) {
	if c.Tracks == nil {
		c.Tracks = []Track{}
	}
	return marshal(c)
}

// Track returns the first track of that name in the catalog's own namespace.
func (c Catalog) Track(name string) (Track, bool) {
	for _, t := range c.Tracks {
		if t.Name == name && t.Namespace == "" {
			return t, true
		}
	}
	return Track{}, false
}

// Header returns the CMAF header of a track of c, from its initData or from
// the list entry that it names, with what the catalog adds: bitrate and frame
// rate where the header has none. Faults in the header wrap *cmaf.BoxError.
func (c Catalog) Header(t Track) (cmaf.Header, error) {
	fail := func(err error) (cmaf.Header, error) {
		return cmaf.Header{}, fmt.Errorf("catalog: track %q: %w", t.Name, err)
	}
	if t.Packaging != PackagingCMAF {
		return fail(fmt.Errorf("packaging is %q, not %q", t.Packaging, PackagingCMAF))
	}
	data := t.InitData
	if data == "" {
		found := false
		for _, d := range c.InitData {
			if d.ID != t.InitRef {
				continue
			}
			if d.Type != TypeInline {
				return fail(fmt.Errorf("init data %q has the type %q, only %q is read", d.ID, d.Type, TypeInline))
			}
			data, found = d.Data, true
			break
		}
		if !found {
			return fail(fmt.Errorf("has no initData, and initRef %q names none", t.InitRef))
		}
	}
	init, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return fail(fmt.Errorf("init data: %w", err))
	}
	h, err := cmaf.ParseHeader(init)
	if err != nil {
		return fail(err)
	}
	if h.Bitrate == 0 {
		h.Bitrate = t.Bitrate
	}
	if h.FrameRate == 0 && h.Kind == cmaf.KindVideo {
		h.FrameRate = t.FrameRate
	}
	return h, nil
}
