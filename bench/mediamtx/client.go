package mediamtx

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A Track is what MediaMTX has to know of one: it reads media.
type Track struct {
	Video bool // H.264; otherwise AAC of 48 kHz
	// Count frames come in each Per.
	Count int
	Per   time.Duration
}

const (
	protocol     = "moqt-18"
	path         = "bench"
	catalogTrack = ".catalog"
	catalogAlias = 0
	timestamp    = 0x06 // property of LOC (draft-ietf-moq-loc section 2.3.1.1)
	maxMessage   = 64 << 10
	maxStream    = 32 << 20
)

// A client is what publisher and viewer have in common.
type client struct {
	conn moqt.Conn
	mu   sync.Mutex
	next uint64 // request ID
	open []moqt.Stream
}

// dial connects and sends SETUP.
func dial(ctx context.Context, addr string) (*client, error) {
	conn, err := transport.Dial(ctx, "moqt://"+addr+"/"+path, transport.DialConfig{
		Protocols: []string{protocol},
		TLS:       &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, //nolint:gosec // a server of our own, on this machine
	})
	if err != nil {
		return nil, fmt.Errorf("mediamtx: %w", err)
	}
	c := &client{conn: conn}
	p := "/" + path
	if err := c.sendSetup(wire.Setup{Path: &p}); err != nil {
		return nil, errors.Join(fmt.Errorf("mediamtx: SETUP: %w", err), c.close())
	}
	return c, nil
}

func (c *client) sendSetup(m wire.Setup) error {
	out, err := c.conn.OpenUniStream()
	if err != nil {
		return err
	}
	b, err := wire.AppendMessage(nil, m)
	if err != nil {
		return err
	}
	_, err = out.Write(b)
	return err
}

func (c *client) close() error { return c.conn.CloseWithError(wire.SessionNoError, "") }

// request sends a request on a stream of its own, which stays open, and returns
// the type and the body of the answer.
func (c *client) request(ctx context.Context, m wire.Message) (wire.MessageType, []byte, error) {
	s, err := c.conn.OpenStream(ctx)
	if err != nil {
		return 0, nil, err
	}
	c.open = append(c.open, s)
	b, err := wire.AppendMessage(nil, m)
	if err != nil {
		return 0, nil, err
	}
	if _, err := s.Write(b); err != nil {
		return 0, nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		if err := s.SetReadDeadline(end); err != nil {
			return 0, nil, err
		}
	}
	var answer []byte
	for buf := make([]byte, 4<<10); len(answer) < maxMessage; {
		n, err := s.Read(buf)
		answer = append(answer, buf[:n]...)
		if t, body, _, perr := wire.ParseFrame(answer); perr == nil {
			if t == (wire.RequestError{}).Type() {
				return t, body, refused(body, m.Type())
			}
			return t, body, nil
		}
		if err != nil {
			return 0, nil, fmt.Errorf("no answer: %w", err)
		}
	}
	return 0, nil, errors.New("an answer without an end")
}

func refused(body []byte, request wire.MessageType) error {
	m, err := wire.ParseRequestError(body, request)
	if err != nil {
		return err
	}
	return fmt.Errorf("refused: %s", m.Reason)
}

// id returns the next request ID.
func (c *client) id() uint64 {
	c.next += 2
	return c.next - 2
}

func named(name string) wire.FullTrackName { return wire.FullTrackName{Name: name} }

// A Publisher sends media to a MediaMTX.
type Publisher struct {
	*client
	tracks []*outbound
}

type outbound struct {
	Track
	frames uint64 // sent so far
}

// DialPublisher connects to addr and publishes tracks.
func DialPublisher(ctx context.Context, addr string, tracks []Track) (*Publisher, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	p := &Publisher{client: c}
	for _, t := range tracks {
		p.tracks = append(p.tracks, &outbound{Track: t})
	}
	if err := p.publish(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("mediamtx: publish: %w", err), c.close())
	}
	return p, nil
}

// publish sends the catalog and offers it and the tracks.
func (p *Publisher) publish(ctx context.Context) error {
	cat, err := catalog(p.tracks)
	if err != nil {
		return err
	}
	if err := p.send(catalogAlias, 0, nil, cat); err != nil {
		return err
	}
	if _, _, err := p.request(ctx, wire.Publish{RequestID: p.id(), Track: named(catalogTrack), TrackAlias: catalogAlias}); err != nil {
		return err
	}
	for i := range p.tracks {
		m := wire.Publish{RequestID: p.id(), Track: named(strconv.Itoa(i)), TrackAlias: alias(i)}
		if _, _, err := p.request(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// alias is the one that MediaMTX expects of track i.
func alias(i int) uint64 { return uint64(i + 1) }

// catalog is the JSON of the tracks (draft-ietf-moq-msf-00).
func catalog(tracks []*outbound) ([]byte, error) {
	type entry struct {
		Name       string `json:"name"`
		Packaging  string `json:"packaging"`
		IsLive     bool   `json:"isLive"`
		Codec      string `json:"codec"`
		Samplerate int    `json:"samplerate,omitempty"`
		Channels   int    `json:"channels,omitempty"`
	}
	var list []entry
	for i, t := range tracks {
		e := entry{Name: strconv.Itoa(i), Packaging: "loc", IsLive: true, Codec: "avc3.64001f"}
		if !t.Video {
			e.Codec, e.Samplerate, e.Channels = "mp4a.40.2", audioClock, 2
		}
		list = append(list, e)
	}
	return json.Marshal(map[string]any{"version": 1, "tracks": list})
}

// The units of LOC timestamps in MediaMTX.
const (
	videoClock = 90_000
	audioClock = 48_000
)

// Group begins a group of a track. For MediaMTX each frame is one.
func (p *Publisher) Group(track int) *Group {
	return &Group{p: p, track: track, key: true}
}

// A Group sends the frames of one group. One goroutine uses it.
type Group struct {
	p     *Publisher
	track int
	key   bool // the next frame is one
	buf   []byte
}

// The NAL units of pictures (ISO/IEC 14496-10 table 7-1), behind their lengths.
const (
	sliceIDR    = 0x65
	sliceNonIDR = 0x41
	nalPrefix   = 4 + 1
)

// WriteObject sends one frame.
func (g *Group) WriteObject(payload []byte) error {
	t := g.p.tracks[g.track]
	clock := uint64(audioClock)
	body := payload
	if t.Video {
		clock = videoClock
		nal := byte(sliceNonIDR)
		if g.key {
			nal = sliceIDR
		}
		n := uint32(1 + len(payload))
		g.buf = append(g.buf[:0], byte(n>>24), byte(n>>16), byte(n>>8), byte(n), nal)
		g.buf = append(g.buf, payload...)
		body = g.buf
	}
	g.key = false
	at := clock * t.frames * uint64(t.Per) / uint64(t.Count) / uint64(time.Second)
	props := wire.NewProperties(wire.KeyValue{Type: timestamp, Uint: at})
	err := g.p.send(alias(g.track), t.frames, props, body)
	t.frames++
	return err
}

// Close ends the group, which needs no word.
func (g *Group) Close() error { return nil }

// send sends one object as a group and a stream of its own.
func (c *client) send(alias, group uint64, props wire.Properties, payload []byte) error {
	out, err := c.conn.OpenUniStream()
	if err != nil {
		return err
	}
	has := props != nil
	b := wire.SubgroupHeader{Alias: alias, Group: group, DefaultPriority: true, FirstObject: true, Properties: has}.Append(nil)
	b = wire.ObjectHeader{Properties: props, Length: uint64(len(payload))}.Append(b, has)
	b = append(b, payload...)
	b = wire.ObjectHeader{Status: wire.ObjectEndOfGroup}.Append(b, has)
	if _, err := out.Write(b); err != nil {
		return err
	}
	return out.Close()
}

// Close ends the connection.
func (p *Publisher) Close() error { return p.close() }

// A Viewer receives what a MediaMTX hands out.
type Viewer struct {
	*client
	tracks  []Track
	catalog uint64          // its alias
	video   map[uint64]bool // by alias
}

// DialViewer connects to addr.
func DialViewer(ctx context.Context, addr string, tracks []Track) (*Viewer, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &Viewer{client: c, tracks: tracks, video: make(map[uint64]bool)}, nil
}

// Subscribe asks for the catalog, and then for all tracks.
func (v *Viewer) Subscribe(ctx context.Context) error {
	ok, err := v.subscribe(ctx, catalogTrack)
	if err != nil {
		return err
	}
	v.catalog = ok.TrackAlias
	for i, t := range v.tracks {
		ok, err := v.subscribe(ctx, strconv.Itoa(i))
		if err != nil {
			return err
		}
		v.mu.Lock()
		v.video[ok.TrackAlias] = t.Video
		v.mu.Unlock()
	}
	return nil
}

func (v *Viewer) subscribe(ctx context.Context, name string) (wire.SubscribeOK, error) {
	_, body, err := v.request(ctx, wire.Subscribe{RequestID: v.id(), Track: named(name)})
	if err != nil {
		return wire.SubscribeOK{}, fmt.Errorf("mediamtx: track %s: %w", name, err)
	}
	return wire.ParseSubscribeOK(body)
}

// Run hands each frame to got until ctx or the connection ends, and returns the
// cause. got is called from one goroutine for each frame.
func (v *Viewer) Run(ctx context.Context, got func(payload []byte)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = v.close() }) // ends those that read
	defer stop()
	for {
		in, err := v.conn.AcceptUniStream(ctx)
		if err != nil {
			_ = v.close()
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		wg.Go(func() { v.read(in, got) })
	}
}

// read reads one stream.
func (v *Viewer) read(in moqt.ReceiveStream, got func([]byte)) {
	r := bufio.NewReader(in)
	first, err := r.Peek(1)
	if err != nil || !isSubgroup(first[0]) {
		return // the server's SETUP, and nothing behind it
	}
	b, err := io.ReadAll(io.LimitReader(r, maxStream))
	if err != nil {
		return // a cut: the object counts as lost
	}
	alias, payload, err := parse(b)
	if err != nil || alias == v.catalog {
		return
	}
	v.mu.Lock()
	video := v.video[alias]
	v.mu.Unlock()
	if video {
		payload = payload[min(nalPrefix, len(payload)):]
	}
	got(payload)
}

// isSubgroup tells streams of objects from others by their first byte.
func isSubgroup(b byte) bool { return b&0x90 == 0x10 }

// parse reads a stream of one object and an end of group.
func parse(b []byte) (alias uint64, payload []byte, err error) {
	h, n, err := wire.ParseSubgroupHeader(b)
	if err != nil {
		return 0, nil, err
	}
	o, k, err := wire.ParseObjectHeader(b[n:], h.Properties)
	if err != nil {
		return 0, nil, err
	}
	rest := b[n+k:]
	if o.Length > uint64(len(rest)) {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return h.Alias, bytes.Clone(rest[:o.Length]), nil
}

// Received returns what has arrived so far, in packets and in bytes of UDP
// payload.
func (v *Viewer) Received() (packets, bytes uint64) {
	st := v.conn.Stats()
	return st.PacketsReceived, st.BytesReceived
}

// Close ends the connection.
func (v *Viewer) Close() error { return v.close() }
