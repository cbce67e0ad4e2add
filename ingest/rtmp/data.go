package rtmp

import (
	"encoding/base64"
	"strconv"

	"github.com/broadcastd/broadcastd/cmaf"

	"github.com/bluenviron/gortmplib/pkg/amf0"
)

// Schemes of the events that data messages become.
const (
	schemeSCTE35 = "urn:scte:scte35:2013:bin"
	// schemeData is of any other data message: Value is its name, Payload its
	// arguments as a JSON array.
	schemeData = "urn:broadcastd:rtmp:data"
	// maxEvent bounds an event's payload.
	maxEvent = 64 << 10
)

// metadata is what onMetaData says.
type metadata struct {
	known  bool
	tracks [2]int             // how many of each media are to come
	sizes  map[uint8][2]int32 // of pictures, by track
}

// size returns the size of a track's pictures, 0 for one that was not said.
func (m *metadata) size(track uint8) (width, height int) {
	s := m.sizes[track]
	return int(s[0]), int(s[1])
}

// data takes a data message: metadata, cues, captions.
func (d *demuxer) data(m message) error {
	body := m.body
	if m.typ == typeDataAMF3 && len(body) > 0 {
		body = body[1:] // AMF0 behind a byte of 0, as everybody has it
	}
	values, err := parseAMF(body)
	if err != nil {
		d.stats.Dropped++ // what a viewer would miss is no more than that
		d.log.Debug("data message is not understood", "err", err)
		return nil
	}
	name := shift(&values)
	if name == "@setDataFrame" {
		name = shift(&values)
	}
	switch name {
	case "", "|RtmpSampleAccess", "@clearDataFrame", "onStatus":
		return nil
	case "onMetaData":
		if len(values) > 0 {
			d.meta.read(object(values[0]))
		}
		return nil
	}
	return d.event(name, values, m.timestamp)
}

// shift takes a string off the front.
func shift(values *amf0.Data) string {
	if len(*values) == 0 {
		return ""
	}
	s, _ := (*values)[0].(string)
	*values = (*values)[1:]
	return s
}

// read reads metadata. The maps are those of Enhanced RTMP's multitrack.
func (m *metadata) read(o amf0.Object) {
	if o == nil {
		return
	}
	has := func(keys ...string) int {
		for _, k := range keys {
			if v, ok := o.Get(k); ok && v != nil && v != float64(0) && v != "" {
				return 1
			}
		}
		return 0
	}
	*m = metadata{sizes: make(map[uint8][2]int32)}
	m.tracks = [2]int{has("videocodecid", "width"), has("audiocodecid", "audiosamplerate")}
	m.known = m.tracks != [2]int{}
	m.setSize(0, o)
	for media, key := range []string{video: "videoTrackIdInfoMap", audio: "audioTrackIdInfoMap"} {
		v, _ := o.Get(key)
		for _, e := range object(v) {
			id, err := strconv.ParseUint(e.Key, 10, 8)
			if err != nil || len(m.sizes) > maxTracks {
				continue
			}
			if id > 0 {
				m.tracks[media]++
			}
			if mediaKind(media) == video {
				m.setSize(uint8(id), object(e.Value))
			}
		}
	}
}

func (m *metadata) setSize(track uint8, o amf0.Object) {
	w, h := number(o, "width"), number(o, "height")
	if w >= 1 && h >= 1 && w <= 65535 && h <= 65535 {
		m.sizes[track] = [2]int32{int32(w), int32(h)}
	}
}

// event passes a cue on.
func (d *demuxer) event(name string, values amf0.Data, timestamp uint32) error {
	d.events++
	e := cmaf.Event{
		Scheme: schemeData, Value: name, ID: d.events,
		Time: cmaf.Time{Ticks: d.clock.at(timestamp).Milliseconds(), Scale: 1000},
	}
	if section := scte35(values); section != nil {
		e.Scheme, e.Value, e.Payload = schemeSCTE35, "", section
	} else {
		e.Payload = amfJSON(values)
	}
	if len(e.Payload) > maxEvent || len(name) > 256 {
		d.stats.Dropped++
		return nil
	}
	return d.b.Event(e)
}

// scte35 returns the splice_info_section of a cue that has one, in base64 in
// its property cue, as encoders send it in onAdCue, onCuePoint and others.
func scte35(values amf0.Data) []byte {
	const tableID = 0xfc
	for _, v := range values {
		o := object(v)
		cue := text(o, "cue")
		if params, ok := o.Get("parameters"); ok && cue == "" {
			cue = text(object(params), "cue")
		}
		if section, err := base64.StdEncoding.DecodeString(cue); err == nil && len(section) > 10 && section[0] == tableID {
			return section
		}
	}
	return nil
}
