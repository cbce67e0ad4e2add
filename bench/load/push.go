package load

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/internal/demo"
)

// A picture is an access unit of one NAL unit behind its length: a slice, whose
// content nobody on the way looks at.
const (
	nalPrefix   = 4 + 1
	sliceIDR    = 0x65 // nal_ref_idc 3, type 5
	sliceNonIDR = 0x41 // nal_ref_idc 2, type 1
)

// appendPicture appends body as a picture (ISO/IEC 14496-15 section 4.3.3.1).
func appendPicture(b, body []byte, key bool) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(1+len(body)))
	if key {
		return append(append(b, sliceIDR), body...)
	}
	return append(append(b, sliceNonIDR), body...)
}

// pictureBody returns what appendPicture was given.
func pictureBody(p []byte) ([]byte, bool) {
	if len(p) < nalPrefix || int(binary.BigEndian.Uint32(p)) != len(p)-4 || p[4] != sliceIDR && p[4] != sliceNonIDR {
		return nil, false
	}
	return p[nalPrefix:], true
}

// unpackCMAF takes the samples out of a CMAF chunk. What is none counts as wrong.
func unpackCMAF(payload []byte, got func([]byte)) {
	chunks, err := cmaf.SplitChunks(payload)
	if err != nil {
		got(nil)
		return
	}
	for _, b := range chunks {
		c, err := cmaf.ParseChunk(b)
		if err != nil {
			got(nil)
			return
		}
		rest := c.Data
		for _, s := range c.Samples {
			n := min(int(s.Size), len(rest))
			body := rest[:n]
			if picture, ok := pictureBody(body); ok {
				body = picture
			}
			got(body)
			rest = rest[n:]
		}
	}
}

// A pusher sends CMAF chunks in one HTTP POST for each track, as an encoder does.
type pusher struct {
	prof  Profile
	posts []*post
}

// A post is one request. One goroutine writes it.
type post struct {
	track  Track
	scale  uint32
	body   *io.PipeWriter
	answer chan error
	seq    uint32
	buf    []byte
}

var errEnoughHeaders = errors.New("there are enough headers")

// A headers is a cmaf.Broadcast that keeps the headers of its tracks.
type headers map[string]cmaf.Header

func (h headers) AddTrack(name string, hd cmaf.Header) (cmaf.Sink, error) {
	h[name] = hd
	return headersSink{}, nil
}
func (headers) Event(cmaf.Event) error      { return nil }
func (headers) Discontinuity(string)        {}
func (headers) Anchor(cmaf.Time, time.Time) {}
func (headers) Close(error) error           { return nil }

type headersSink struct{}

func (headersSink) WriteChunk(cmaf.Chunk) error { return errEnoughHeaders }
func (headersSink) Close() error                { return nil }

// Headers returns the CMAF headers that a profile's tracks are sent with: those
// of the built-in clip, an H.264 and an AAC track.
func Headers(ctx context.Context, prof Profile) ([]cmaf.Header, error) {
	found := make(headers)
	if err := (demo.Source{}).Run(ctx, found); !errors.Is(err, errEnoughHeaders) {
		return nil, err
	}
	var list []cmaf.Header
	for _, t := range prof.Tracks {
		h, ok := found[t.Name]
		if !ok {
			return nil, fmt.Errorf("load: the profile %s has a track %q, which cannot be sent as CMAF", prof.Name, t.Name)
		}
		list = append(list, h)
	}
	return list, nil
}

// dialPush begins the requests to the input at addr.
func dialPush(ctx context.Context, addr string, prof Profile) (*pusher, error) {
	list, err := Headers(ctx, prof)
	if err != nil {
		return nil, err
	}
	p := &pusher{prof: prof}
	for i, t := range prof.Tracks {
		r, w := io.Pipe()
		o := &post{track: t, scale: list[i].Timescale, body: w, answer: make(chan error, 1)}
		p.posts = append(p.posts, o)
		go func() { // ends with its body
			err := send("http://"+addr+"/ingest/"+broadcast+"/"+t.Name, r)
			_ = r.CloseWithError(cmp.Or(err, io.ErrClosedPipe))
			o.answer <- err
		}()
		if _, err := w.Write(list[i].Init); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

func send(url string, body io.Reader) error {
	res, err := http.Post(url, "video/mp4", body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if res.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("POST: %s: %s", res.Status, bytes.TrimSpace(text))
	}
	return err
}

// close ends the requests and waits for their answers.
func (p *pusher) close() error {
	var faults []error
	for _, o := range p.posts {
		_ = o.body.Close() // never fails
	}
	for _, o := range p.posts {
		faults = append(faults, <-o.answer)
	}
	return errors.Join(faults...)
}

func (p *pusher) group(track int, _ uint64) (groupWriter, error) {
	return &postGroup{post: p.posts[track], key: true}, nil
}

// A postGroup writes the samples of one group.
type postGroup struct {
	post *post
	key  bool // the next one is a random access point
}

func (g *postGroup) WriteObject(payload []byte) error {
	o := g.post
	data := payload
	if o.track.Video {
		data = appendPicture(nil, payload, g.key)
	}
	c := o.track.Chunk(int(o.seq), o.scale, data, g.key)
	g.key = false
	o.seq++
	o.buf = c.AppendTo(o.buf[:0], 1, o.seq)
	_, err := o.body.Write(o.buf)
	return err
}

func (g *postGroup) Close() error { return nil }

// Chunk returns sample i of the track as a chunk, with data as its bytes.
func (t Track) Chunk(i int, scale uint32, data []byte, key bool) cmaf.Chunk {
	flags := cmaf.FlagsSync
	if t.Video && !key {
		flags = cmaf.FlagsNonSync
	}
	at := func(i int) int64 { return (int64(t.at(i))*int64(scale) + int64(time.Second/2)) / int64(time.Second) }
	begin, end := at(i), at(i+1)
	return cmaf.Chunk{
		DecodeTime: begin, RAP: key || !t.Video, Data: data,
		Samples: []cmaf.Sample{{Duration: uint32(end - begin), Size: uint32(len(data)), Flags: flags}},
	}
}
