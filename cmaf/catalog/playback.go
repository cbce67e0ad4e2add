package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// PlaybackTrackName is the name of the track with the Playback document.
const PlaybackTrackName = ".catalog"

const (
	playbackVersion = 1
	initPrefix      = "init/"
)

// InitName returns the name of a track's init-first view: the same objects
// behind the CMAF header as object 0 of every group. "video/720p" is viewed as
// "init/video/720p", any other name with the same prefix.
func InitName(track string) string { return initPrefix + track }

// PlainName returns the name of the track that an init-first view shows.
func PlainName(view string) (track string, ok bool) {
	track, ok = strings.CutPrefix(view, initPrefix)
	return track, ok && track != ""
}

// A Playback is the catalog for players that want little: the document of the
// track ".catalog". It names the init-first views of the broadcast's tracks, so
// that a player can append what it receives, without looking for a header.
//
// One document serves two kinds of reader. The fields of playback SDKs
// (version, live; name, kind, codec, mimeType, initData, width, height,
// bitrate, sampleRate, channels) stand beside those of MSF-00 with CMSF-00
// (version 1, generatedAt; packaging, isLive, role, initData, samplerate,
// channelConfig and so on), which agree where they share a name. MSF-00 has no
// list of init data, so each track has its own inline.
//
// Source: draft-ietf-moq-msf-00 section 5.
type Playback struct {
	Version         int             `json:"version"` // 1
	Live            bool            `json:"live"`
	GeneratedAt     int64           `json:"generatedAt,omitempty"`     // ms since 1970 UTC
	IsComplete      bool            `json:"isComplete,omitempty"`      // the broadcast has ended for good
	MediaTimeOrigin *float64        `json:"mediaTimeOrigin,omitempty"` // as in Catalog
	Tracks          []PlaybackTrack `json:"tracks"`
}

// A PlaybackTrack is one track of a Playback: MSF-00's fields, and what players'
// SDKs name otherwise.
type PlaybackTrack struct {
	Kind       cmaf.Kind `json:"kind,omitempty"`
	SampleRate int       `json:"sampleRate,omitempty"` // Hz
	Channels   int       `json:"channels,omitempty"`
	Track
}

// NewPlayback returns the document of a live broadcast with these tracks, in
// their order, each under its InitName.
func NewPlayback(tracks []Source, o Options) Playback {
	c := New(tracks, o)
	p := Playback{
		Version: playbackVersion, Live: true, GeneratedAt: c.GeneratedAt, MediaTimeOrigin: c.MediaTimeOrigin,
		Tracks: make([]PlaybackTrack, len(tracks)),
	}
	for i, s := range tracks {
		t := c.Tracks[i]
		t.Name, t.InitRef = InitName(t.Name), ""
		p.Tracks[i] = PlaybackTrack{Track: t, Kind: s.Header.Kind, SampleRate: s.Header.SampleRate, Channels: s.Header.Channels}
	}
	return p
}

// CompletePlayback returns the document that ends a broadcast.
func CompletePlayback(at time.Time) Playback {
	return Playback{Version: playbackVersion, GeneratedAt: at.UnixMilli(), IsComplete: true, Tracks: []PlaybackTrack{}}
}

// Marshal returns the document's JSON. It fails when a number is not finite.
func (p Playback) Marshal() ([]byte, error) {
	if p.Tracks == nil {
		p.Tracks = []PlaybackTrack{}
	}
	return marshal(p)
}

// VideoTrack returns the first video track.
func (p Playback) VideoTrack() (PlaybackTrack, bool) { return p.first(cmaf.KindVideo) }

// AudioTrack returns the first audio track.
func (p Playback) AudioTrack() (PlaybackTrack, bool) { return p.first(cmaf.KindAudio) }

func (p Playback) first(kind cmaf.Kind) (PlaybackTrack, bool) {
	for _, t := range p.Tracks {
		if t.Kind == kind {
			return t, true
		}
	}
	return PlaybackTrack{}, false
}

// MSEType returns the type for a SourceBuffer of Media Source Extensions, such
// as `video/mp4; codecs="avc1.64001f"`.
func (t PlaybackTrack) MSEType() string {
	mime := t.MIMEType
	if mime == "" {
		mime = cmaf.Header{Kind: t.Kind}.MIMEType()
	}
	if t.Codec == "" {
		return mime
	}
	return fmt.Sprintf("%s; codecs=%q", mime, t.Codec)
}

// Header returns the CMAF header in the track's initData. Faults in it wrap
// *cmaf.BoxError.
func (t PlaybackTrack) Header() (cmaf.Header, error) { return Catalog{}.Header(t.Track) }

// A wirePlaybackTrack is a PlaybackTrack as lenient as a wireTrack.
type wirePlaybackTrack struct {
	wireTrack
	Kind       cmaf.Kind `json:"kind"`
	SampleRate number    `json:"sampleRate"`
	Channels   number    `json:"channels"`
}

// playbackTrack fills what one kind of writer leaves out from what the other
// says.
func (w wirePlaybackTrack) playbackTrack() PlaybackTrack {
	t := PlaybackTrack{Track: w.track(), Kind: w.Kind, SampleRate: w.SampleRate.int(), Channels: w.Channels.int()}
	if t.Packaging == "" {
		t.Packaging = PackagingCMAF
	}
	if t.Kind == "" {
		t.Kind = cmaf.Kind(t.Role)
	}
	if t.SampleRate == 0 {
		t.SampleRate = t.Track.SampleRate
	}
	if n, err := strconv.Atoi(t.ChannelConfig); err == nil && t.Channels == 0 {
		t.Channels = number(n).int()
	}
	return t
}

// ParsePlayback reads one document of at most MaxSize bytes and MaxTracks
// tracks, with either kind of fields or both: version 1. Unknown fields are
// ignored. It fails with ErrVersion, ErrDelta, or an error that names the field.
func ParsePlayback(b []byte) (Playback, error) {
	if len(b) > MaxSize {
		return Playback{}, fmt.Errorf("catalog: %d bytes, at most %d are read", len(b), MaxSize)
	}
	var root struct {
		Version         json.RawMessage      `json:"version"`
		Live            *bool                `json:"live"`
		GeneratedAt     number               `json:"generatedAt"`
		IsComplete      bool                 `json:"isComplete"`
		MediaTimeOrigin *float64             `json:"mediaTimeOrigin"`
		Tracks          *[]wirePlaybackTrack `json:"tracks"`
		DeltaUpdate     json.RawMessage      `json:"deltaUpdate"`
	}
	if err := json.Unmarshal(b, &root); err != nil {
		return Playback{}, fmt.Errorf("catalog: %w", err)
	}
	switch v := string(root.Version); {
	case root.DeltaUpdate != nil:
		return Playback{}, ErrDelta
	case v != `1` && v != `"1"`:
		return Playback{}, fmt.Errorf("%w: %.40s", ErrVersion, v)
	case root.Tracks == nil:
		return Playback{}, errors.New("catalog: tracks is missing")
	case len(*root.Tracks) > MaxTracks:
		return Playback{}, fmt.Errorf("catalog: %d tracks, at most %d are read", len(*root.Tracks), MaxTracks)
	}
	p := Playback{
		Version: playbackVersion, GeneratedAt: int64(root.GeneratedAt), IsComplete: root.IsComplete,
		MediaTimeOrigin: root.MediaTimeOrigin, Tracks: make([]PlaybackTrack, len(*root.Tracks)),
	}
	c := Catalog{MediaTimeOrigin: p.MediaTimeOrigin, Tracks: make([]Track, len(p.Tracks))}
	for i, w := range *root.Tracks {
		p.Tracks[i] = w.playbackTrack()
		c.Tracks[i] = p.Tracks[i].Track
		p.Live = p.Live || p.Tracks[i].IsLive
		if k := p.Tracks[i].Kind; len(k) > maxString {
			return Playback{}, fmt.Errorf("catalog: tracks[%d] has a kind of %d bytes, at most %d are read", i, len(k), maxString)
		}
	}
	if root.Live != nil {
		p.Live = *root.Live
	}
	if err := c.check(); err != nil {
		return Playback{}, err
	}
	return p, nil
}

// marshal writes one document, without the escapes that only HTML needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}
