package matrix_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/abema/go-mp4"
	"github.com/bluenviron/gortmplib"
	"github.com/bluenviron/gortmplib/pkg/amf0"
	rtmpmsg "github.com/bluenviron/gortmplib/pkg/message"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/flac"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"

	"github.com/broadcastd/broadcastd/cmaf"
)

// sendEnhanced sends the clip as Enhanced RTMP has it, with gortmplib's
// messages: what ffmpeg 5.1 has no words for.
func sendEnhanced(w *world, name, file string) string {
	w.Helper()
	samples, err := readSamples(file)
	if err != nil {
		w.Fatal(err)
	}
	u := &url.URL{Scheme: "rtmp", Host: w.d.RTMP, Path: "/live", Fragment: name}
	c := &gortmplib.Client{URL: u, Publish: true}
	if err := c.Initialize(w.Context()); err != nil {
		w.Fatal(err)
	}
	defer c.Close()
	go func() { // what the server says is read, or its acknowledgements pile up
		for {
			if _, err := c.Read(); err != nil {
				return
			}
		}
	}()
	if err := c.Write(samples.metadata()); err != nil {
		w.Fatal(err)
	}
	for _, t := range samples.tracks {
		m, err := t.start()
		if err != nil {
			w.Fatal(err)
		}
		if err := c.Write(t.wrap(m)); err != nil {
			w.Fatal(err)
		}
	}
	began := time.Now()
	for _, s := range samples.list {
		time.Sleep(time.Until(began.Add(s.dts)))
		if err := c.Write(s.track.wrap(s.message())); err != nil {
			w.Fatalf("after %v: %v", s.dts, err)
		}
	}
	return file
}

// A sampleReader is a cmaf.Broadcast that keeps a file's samples.
type sampleReader struct {
	tracks []*sampleTrack
	list   []sample
	first  time.Duration // the least decode time
}

type sampleTrack struct {
	r      *sampleReader
	header cmaf.Header
	id     uint8 // among those of its kind
}

type sample struct {
	track    *sampleTrack
	dts, cts time.Duration
	key      bool
	data     []byte
}

// readSamples reads a fragmented MP4 file, in the order of decoding, from 0 on.
func readSamples(file string) (*sampleReader, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := new(sampleReader)
	d := cmaf.NewDemuxer(r, cmaf.DemuxerConfig{})
	if _, err := d.Write(b); err != nil {
		return nil, err
	}
	if err := d.EndBody(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(r.list, func(a, b sample) int { return int(a.dts - b.dts) })
	for i := range r.list {
		r.list[i].dts -= r.first
	}
	return r, nil
}

// metadata says which tracks there are, as encoders do.
func (r *sampleReader) metadata() rtmpmsg.Message {
	var o amf0.ECMAArray
	more := map[bool]amf0.Object{}
	for _, t := range r.tracks {
		switch {
		case t.id > 0:
			more[t.video()] = append(more[t.video()], amf0.ObjectEntry{Key: fmt.Sprint(t.id), Value: amf0.Object{}})
		case t.video():
			o = append(o, amf0.ObjectEntry{Key: "videocodecid", Value: float64(t.fourCC())})
		default:
			o = append(o, amf0.ObjectEntry{Key: "audiocodecid", Value: float64(t.fourCC())})
		}
	}
	if list := more[true]; list != nil {
		o = append(o, amf0.ObjectEntry{Key: "videoTrackIdInfoMap", Value: list})
	}
	return &rtmpmsg.DataAMF0{ChunkStreamID: 4, MessageStreamID: mediaStream, Payload: amf0.Data{"@setDataFrame", "onMetaData", o}}
}

func (r *sampleReader) AddTrack(_ string, h cmaf.Header) (cmaf.Sink, error) {
	t := &sampleTrack{r: r, header: h}
	for _, other := range r.tracks {
		if other.header.Kind == h.Kind {
			t.id++
		}
	}
	r.tracks = append(r.tracks, t)
	return t, nil
}
func (*sampleReader) Event(cmaf.Event) error      { return nil }
func (*sampleReader) Discontinuity(string)        {}
func (*sampleReader) Anchor(cmaf.Time, time.Time) {}
func (*sampleReader) Close(error) error           { return nil }
func (*sampleTrack) Close() error                 { return nil }

func (t *sampleTrack) WriteChunk(c cmaf.Chunk) error {
	data, at := c.Data, c.DecodeTime
	for _, s := range c.Samples {
		in := func(ticks int64) time.Duration { return cmaf.Time{Ticks: ticks, Scale: t.header.Timescale}.Duration() }
		dts := in(at)
		t.r.first = min(t.r.first, dts)
		t.r.list = append(t.r.list, sample{t, dts, in(at+int64(s.CompositionOffset)) - dts, s.Sync(), data[:s.Size]})
		data, at = data[s.Size:], at+int64(s.Duration)
	}
	return nil
}

// config returns the content of a box of the header.
func (t *sampleTrack) config(typ string) []byte {
	i := bytes.Index(t.header.Init, []byte(typ))
	if i < 4 {
		return nil
	}
	size := binary.BigEndian.Uint32(t.header.Init[i-4:])
	return t.header.Init[i+4 : i-4+int(size)]
}

func (t *sampleTrack) video() bool { return t.header.Kind == cmaf.KindVideo }

// wrap makes the message one of multitrack for tracks but the first.
func (t *sampleTrack) wrap(m rtmpmsg.Message) rtmpmsg.Message {
	switch {
	case t.id == 0:
		return m
	case t.video():
		return &rtmpmsg.VideoExMultitrack{TrackID: t.id, Wrapped: m}
	}
	return &rtmpmsg.AudioExMultitrack{TrackID: t.id, Wrapped: m}
}

// The chunk and message streams that media goes on.
const (
	videoStream = rtmpmsg.VideoChunkStreamID
	audioStream = rtmpmsg.AudioChunkStreamID
	mediaStream = 0x1000000
)

// start returns the track's sequence start.
func (t *sampleTrack) start() (rtmpmsg.Message, error) {
	v := &rtmpmsg.VideoExSequenceStart{ChunkStreamID: videoStream, MessageStreamID: mediaStream, FourCC: t.fourCC()}
	a := &rtmpmsg.AudioExSequenceStart{ChunkStreamID: audioStream, MessageStreamID: mediaStream, FourCC: t.fourCC()}
	unmarshal := func(typ string, to mp4.IBox) error {
		b := t.config(typ)
		_, err := mp4.Unmarshal(bytes.NewReader(b), uint64(len(b)), to, mp4.Context{})
		return err
	}
	switch t.header.Codec[:4] {
	case "avc1":
		v.AVCConfig = new(mp4.AVCDecoderConfiguration)
		v.AVCConfig.SetType(mp4.BoxTypeAvcC())
		return v, unmarshal("avcC", v.AVCConfig)
	case "hvc1":
		v.HEVCConfig = new(mp4.HvcC)
		return v, unmarshal("hvcC", v.HEVCConfig)
	case "av01":
		v.AV1Config = new(mp4.Av1C)
		return v, unmarshal("av1C", v.AV1Config)
	case "vp09":
		v.VP9Config = new(mp4.VpcC)
		return v, unmarshal("vpcC", v.VP9Config)
	case "mp4a":
		a.AACConfig = &mpeg4audio.AudioSpecificConfig{
			Type: mpeg4audio.ObjectTypeAACLC, SampleRate: t.header.SampleRate, ChannelConfig: uint8(t.header.Channels), ChannelCount: t.header.Channels,
		}
	case "opus":
		b := t.config("dOps")
		a.OpusConfig = &opus.IDHeader{
			Version: 1, ChannelCount: b[1], PreSkip: binary.BigEndian.Uint16(b[2:]), InputSampleRate: binary.BigEndian.Uint32(b[4:]),
		}
	case "fLaC":
		a.FlacConfig = new(flac.StreamInfo)
		return a, a.FlacConfig.Unmarshal(t.config("dfLa")[8:])
	case "ac-3":
	default:
		return nil, fmt.Errorf("gortmplib cannot send %s", t.header.Codec)
	}
	return a, nil
}

func (t *sampleTrack) fourCC() rtmpmsg.FourCC {
	switch t.header.Codec[:4] {
	case "avc1":
		return rtmpmsg.FourCCAVC
	case "hvc1":
		return rtmpmsg.FourCCHEVC
	case "av01":
		return rtmpmsg.FourCCAV1
	case "vp09":
		return rtmpmsg.FourCCVP9
	case "opus":
		return rtmpmsg.FourCCOpus
	case "fLaC":
		return rtmpmsg.FourCCFLAC
	case "ac-3":
		return rtmpmsg.FourCCAC3
	}
	return rtmpmsg.FourCCMP4A
}

// message returns a sample as coded frames. gortmplib marks no key frames in
// Enhanced RTMP: H.264 goes in the old form, which does.
func (s sample) message() rtmpmsg.Message {
	if !s.track.video() {
		return &rtmpmsg.AudioExCodedFrames{
			ChunkStreamID: audioStream, MessageStreamID: mediaStream, DTS: s.dts, FourCC: s.track.fourCC(), Payload: s.data,
		}
	}
	if s.track.fourCC() == rtmpmsg.FourCCAVC && s.track.id == 0 {
		return &rtmpmsg.Video{
			ChunkStreamID: videoStream, MessageStreamID: mediaStream, Codec: rtmpmsg.CodecH264, IsKeyFrame: s.key, Type: rtmpmsg.VideoTypeAU,
			DTS: s.dts, PTSDelta: s.cts.Round(time.Millisecond), AU: s.data,
		}
	}
	return &rtmpmsg.VideoExCodedFrames{
		ChunkStreamID: videoStream, MessageStreamID: mediaStream, DTS: s.dts, FourCC: s.track.fourCC(),
		PTSDelta: s.cts.Round(time.Millisecond), Payload: s.data,
	}
}
