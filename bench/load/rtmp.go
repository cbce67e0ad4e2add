package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/abema/go-mp4"
	"github.com/bluenviron/gortmplib"
	"github.com/bluenviron/gortmplib/pkg/amf0"
	rtmpmsg "github.com/bluenviron/gortmplib/pkg/message"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A rtmpPublisher sends H.264 and AAC over RTMP with gortmplib, as an encoder
// does.
type rtmpPublisher struct {
	prof    Profile
	conn    *gortmplib.Client
	drained chan struct{} // closed when nothing comes any more

	mu  sync.Mutex // guards writing, and seq
	seq []int      // of the next sample, by track
}

// The chunk and message streams that media goes on.
const (
	rtmpData  = 4
	rtmpMedia = 1 << 24 // 1, little-endian
)

// dialRTMP begins to publish to the input at addr.
func dialRTMP(ctx context.Context, addr string, prof Profile) (*rtmpPublisher, error) {
	list, err := Headers(ctx, prof)
	if err != nil {
		return nil, err
	}
	c := &gortmplib.Client{URL: &url.URL{Scheme: "rtmp", Host: addr, Path: "/live", Fragment: broadcast}, Publish: true}
	if err := c.Initialize(ctx); err != nil {
		return nil, fmt.Errorf("load: RTMP: %w", err)
	}
	p := &rtmpPublisher{prof: prof, conn: c, drained: make(chan struct{}), seq: make([]int, len(prof.Tracks))}
	go func() { // acknowledgements, until close
		defer close(p.drained)
		for {
			if _, err := c.Read(); err != nil {
				return
			}
		}
	}()
	var meta amf0.ECMAArray
	var configs []rtmpmsg.Message
	for i, t := range prof.Tracks {
		key, number := "audiocodecid", float64(rtmpmsg.CodecMPEG4Audio)
		if t.Video {
			key, number = "videocodecid", rtmpmsg.CodecH264
		}
		meta = append(meta, amf0.ObjectEntry{Key: key, Value: number})
		m, err := rtmpConfig(list[i])
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		configs = append(configs, m)
	}
	data := &rtmpmsg.DataAMF0{ChunkStreamID: rtmpData, MessageStreamID: rtmpMedia, Payload: amf0.Data{"@setDataFrame", "onMetaData", meta}}
	for _, m := range append([]rtmpmsg.Message{data}, configs...) {
		if err := c.Write(m); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

// rtmpConfig returns the sequence header of a track.
func rtmpConfig(h cmaf.Header) (rtmpmsg.Message, error) {
	if h.Kind == cmaf.KindAudio {
		return &rtmpmsg.Audio{
			ChunkStreamID: rtmpmsg.AudioChunkStreamID, MessageStreamID: rtmpMedia, Codec: rtmpmsg.CodecMPEG4Audio,
			Rate: rtmpmsg.AudioRate44100, Depth: rtmpmsg.AudioDepth16, IsStereo: true, AACType: rtmpmsg.AudioAACTypeConfig,
			AACConfig: &mpeg4audio.AudioSpecificConfig{
				Type: mpeg4audio.ObjectTypeAACLC, SampleRate: h.SampleRate, ChannelConfig: uint8(h.Channels), ChannelCount: h.Channels,
			},
		}, nil
	}
	i := bytes.Index(h.Init, []byte("avcC"))
	if i < 4 {
		return nil, fmt.Errorf("load: %s cannot be sent over RTMP here", h.Codec)
	}
	record := h.Init[i+4 : i-4+int(binary.BigEndian.Uint32(h.Init[i-4:]))]
	config := new(mp4.AVCDecoderConfiguration)
	config.SetType(mp4.BoxTypeAvcC())
	if _, err := mp4.Unmarshal(bytes.NewReader(record), uint64(len(record)), config, mp4.Context{}); err != nil {
		return nil, err
	}
	return &rtmpmsg.Video{
		ChunkStreamID: rtmpmsg.VideoChunkStreamID, MessageStreamID: rtmpMedia, Codec: rtmpmsg.CodecH264, IsKeyFrame: true,
		Type: rtmpmsg.VideoTypeConfig, AVCConfig: config,
	}, nil
}

func (p *rtmpPublisher) group(track int, _ uint64) (groupWriter, error) {
	return &rtmpGroup{p: p, track: track, key: true}, nil
}

// close ends the connection.
func (p *rtmpPublisher) close() error {
	p.conn.Close()
	<-p.drained
	return nil
}

// A rtmpGroup writes the samples of one group.
type rtmpGroup struct {
	p     *rtmpPublisher
	track int
	key   bool // the next one is a random access point
}

func (g *rtmpGroup) WriteObject(payload []byte) error {
	p := g.p
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.prof.Tracks[g.track]
	at := t.at(p.seq[g.track]).Round(time.Millisecond)
	p.seq[g.track]++
	if !t.Video {
		return p.conn.Write(&rtmpmsg.Audio{
			ChunkStreamID: rtmpmsg.AudioChunkStreamID, MessageStreamID: rtmpMedia, Codec: rtmpmsg.CodecMPEG4Audio,
			Rate: rtmpmsg.AudioRate44100, Depth: rtmpmsg.AudioDepth16, IsStereo: true, AACType: rtmpmsg.AudioAACTypeAU,
			DTS: at, AU: payload,
		})
	}
	key := g.key
	g.key = false
	return p.conn.Write(&rtmpmsg.Video{
		ChunkStreamID: rtmpmsg.VideoChunkStreamID, MessageStreamID: rtmpMedia, Codec: rtmpmsg.CodecH264, IsKeyFrame: key,
		Type: rtmpmsg.VideoTypeAU, DTS: at, AU: appendPicture(nil, payload, key),
	})
}

func (g *rtmpGroup) Close() error { return nil }
