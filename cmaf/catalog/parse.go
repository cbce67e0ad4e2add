package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// The bounds of what Parse takes.
const (
	MaxSize   = 1 << 20 // bytes of JSON
	MaxTracks = 64
	maxString = 4096 // bytes, except of init data, which MaxSize bounds
)

var (
	// ErrVersion reports a catalog of a version that this package cannot read.
	ErrVersion = errors.New("catalog: version not supported")
	// ErrDelta reports a delta update where only whole catalogs are read.
	ErrDelta = errors.New("catalog: delta updates are not supported")
)

// Parse reads one whole catalog of at most MaxSize bytes and MaxTracks tracks:
// version "draft-01", or MSF-00's number 1. Unknown fields are ignored. It
// fails with ErrVersion, ErrDelta, or an error that names the field.
func Parse(b []byte) (Catalog, error) {
	if len(b) > MaxSize {
		return Catalog{}, fmt.Errorf("catalog: %d bytes, at most %d are read", len(b), MaxSize)
	}
	var root struct {
		Version         json.RawMessage `json:"version"`
		GeneratedAt     number          `json:"generatedAt"`
		IsComplete      bool            `json:"isComplete"`
		MediaTimeOrigin *float64        `json:"mediaTimeOrigin"`
		Tracks          *[]wireTrack    `json:"tracks"`
		DeltaUpdate     json.RawMessage `json:"deltaUpdate"`
		InitData        []InitData      `json:"initDataList"`
	}
	if err := json.Unmarshal(b, &root); err != nil {
		return Catalog{}, fmt.Errorf("catalog: %w", err)
	}
	if root.DeltaUpdate != nil {
		return Catalog{}, ErrDelta
	}
	c := Catalog{
		GeneratedAt:     int64(root.GeneratedAt),
		IsComplete:      root.IsComplete,
		MediaTimeOrigin: root.MediaTimeOrigin,
		InitData:        root.InitData,
	}
	switch v := string(root.Version); v {
	case `"draft-01"`:
		c.Version = Version
	case `1`, `"1"`, `"draft-00"`:
		c.Version = "1"
	default:
		return Catalog{}, fmt.Errorf("%w: %.40s", ErrVersion, v)
	}
	if root.Tracks == nil {
		return Catalog{}, errors.New("catalog: tracks is missing")
	}
	if len(*root.Tracks) > MaxTracks || len(root.InitData) > MaxTracks {
		return Catalog{}, fmt.Errorf("catalog: %d tracks and %d init data, at most %d of each are read",
			len(*root.Tracks), len(root.InitData), MaxTracks)
	}
	c.Tracks = make([]Track, len(*root.Tracks))
	for i, t := range *root.Tracks {
		c.Tracks[i] = t.track()
	}
	if err := c.check(); err != nil {
		return Catalog{}, err
	}
	return c, nil
}

// check fails for what no reader could use.
func (c Catalog) check() error {
	if o := c.MediaTimeOrigin; o != nil && math.Abs(*o) > 1e15 {
		return fmt.Errorf("catalog: mediaTimeOrigin is %g", *o)
	}
	type name struct{ namespace, name string }
	seen := map[name]bool{}
	for i, t := range c.Tracks {
		if t.Name == "" || t.Packaging == "" {
			return fmt.Errorf("catalog: tracks[%d] lacks a name or a packaging", i)
		}
		for _, s := range append([]string{
			t.Name, t.Namespace, t.Packaging, t.Role, t.Lang, t.Label, t.EventType,
			t.Codec, t.MIMEType, t.ChannelConfig, t.InitRef,
		}, t.Depends...) {
			if len(s) > maxString {
				return fmt.Errorf("catalog: tracks[%d] has a string of %d bytes, at most %d are read", i, len(s), maxString)
			}
		}
		if len(t.Depends) > MaxTracks {
			return fmt.Errorf("catalog: tracks[%d] depends on %d tracks", i, len(t.Depends))
		}
		n := name{t.Namespace, t.Name}
		if seen[n] {
			return fmt.Errorf("catalog: tracks[%d] has the name %.80q of another", i, t.Name)
		}
		seen[n] = true
	}
	for i, d := range c.InitData {
		if len(d.ID) > maxString || len(d.Type) > maxString {
			return fmt.Errorf("catalog: initDataList[%d] has an id or type of over %d bytes", i, maxString)
		}
	}
	return nil
}

// A number reads any JSON number as a whole one, to the nearest: MSF says
// Number, and publishers compute rates in floating point.
type number int64

func (n *number) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*n = number(math.Round(max(-1<<53, min(f, 1<<53))))
	return nil
}

func (n number) int() int { return int(max(0, min(n, math.MaxInt32))) }

// A text reads a JSON string, or a number as the string of it.
type text string

func (s *text) UnmarshalJSON(b []byte) error {
	var n number
	if len(b) > 0 && b[0] != '"' {
		if err := n.UnmarshalJSON(b); err != nil {
			return err
		}
		if !bytes.Equal(b, []byte("null")) {
			*s = text(strconv.FormatInt(int64(n), 10))
		}
		return nil
	}
	return json.Unmarshal(b, (*string)(s))
}

// A wireTrack is a Track whose numbers are read leniently: its fields stand in
// front of the embedded ones of the same name.
type wireTrack struct {
	Track
	RenderGroup      number `json:"renderGroup"`
	AltGroup         number `json:"altGroup"`
	TargetLatency    number `json:"targetLatency"`
	MaxGroupDuration number `json:"maxGroupDuration"`
	MaxGroupSAP      number `json:"maxGrpSapStartingType"`
	TrackDuration    number `json:"trackDuration"`
	Timescale        number `json:"timescale"`
	Width            number `json:"width"`
	Height           number `json:"height"`
	Bitrate          number `json:"bitrate"`
	SampleRate       number `json:"samplerate"`
	ChannelConfig    text   `json:"channelConfig"`
}

func (w wireTrack) track() Track {
	t := w.Track
	t.RenderGroup, t.AltGroup = w.RenderGroup.int(), w.AltGroup.int()
	t.TargetLatency, t.MaxGroupDuration = w.TargetLatency.int(), w.MaxGroupDuration.int()
	t.MaxGroupSAP, t.TrackDuration = w.MaxGroupSAP.int(), w.TrackDuration.int()
	t.Timescale = uint32(w.Timescale.int())
	t.Width, t.Height = w.Width.int(), w.Height.int()
	t.Bitrate, t.SampleRate = w.Bitrate.int(), w.SampleRate.int()
	t.ChannelConfig = string(w.ChannelConfig)
	return t
}
