package streams_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/internal/compat/streams"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/publisher"
	"github.com/broadcastd/broadcastd/viewer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ns        = track.MustNamespace("stream", "local", "cam")
	broadcast = track.Name{Namespace: ns, Name: viewer.SingleTrack}
)

// A world is a relay with a bridge and an ingest, inside a bubble.
type world struct {
	t      *testing.T
	ctx    context.Context
	relay  *relay.Relay
	inputs *ingest.Registry
	wg     sync.WaitGroup
}

// run runs f in a bubble, and checks that everything ends.
func run(t *testing.T, f func(t *testing.T, w *world)) {
	runWith(t, relay.Config{}, f)
}

func runWith(t *testing.T, cfg relay.Config, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cfg.InputTrack = viewer.SingleTrack
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, ctx: ctx, relay: r}
		w.inputs, err = ingest.NewRegistry(ingest.Config{Opener: w})
		if err != nil {
			t.Fatal(err)
		}
		b, err := streams.New(streams.Config{
			Relay: r, Inputs: w.inputs, Prefix: track.MustNamespace("stream"),
			Name: func(ns track.Namespace) (string, bool) { f := ns.Fields(); return f[2], true },
		})
		if err != nil {
			t.Fatal(err)
		}
		w.wg.Go(func() { r.Run(ctx) })
		w.wg.Go(func() { w.inputs.Run(ctx) })
		w.wg.Go(func() { b.Run(ctx) })
		f(t, w)
		cancel(errors.New("the test is over"))
		w.wg.Wait()
	})
}

// Open implements ingest.Opener.
func (w *world) Open(context.Context, string, ingest.Peer) (cmaf.Broadcast, error) {
	p, err := publisher.New(ns, publisher.Config{})
	if err != nil {
		return nil, err
	}
	w.wg.Go(func() { p.Run(w.ctx, w.relay) })
	return publisher.NewTimeline(p, publisher.TimelineConfig{}), nil
}

// dial opens a session. cut ends its connection without a word.
func (w *world) dial() (s *moqt.Session, cut func()) {
	link := moqttest.Link{Delay: 5 * time.Millisecond}
	client, server := moqttest.Pair(moqttest.Config{Up: link, Down: link})
	s, err := moqt.NewSession(client, moqt.Config{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.wg.Go(func() { w.relay.Serve(w.ctx, server) })
	w.wg.Go(func() { s.Run(w.ctx) })
	<-s.Ready()
	return s, client.Cut
}

// An sdk publishes as simple clients do: each box is an object, the first one
// of priority 0 and the others of priority 1, and a group goes on until it is
// told otherwise.
type sdk struct {
	t     *testing.T
	tr    *track.Track
	group uint64
	first bool
	w     *track.SubgroupWriter
	sub   uint64
	next  uint64
}

func newSDK(t *testing.T) *sdk {
	return &sdk{t: t, tr: track.New(broadcast, track.Info{}, track.Config{}), first: true}
}

// Track implements track.Source.
func (s *sdk) Track(name string) (*track.Track, bool) { return s.tr, name == viewer.SingleTrack }

func (s *sdk) object(b []byte) {
	s.t.Helper()
	if s.w == nil || s.next == 1 && s.sub == 0 {
		if s.w != nil {
			s.close()
			s.sub = 1
		}
		var err error
		priority := uint8(1)
		if s.first {
			priority, s.first = 0, false
		}
		s.w, err = s.tr.Subgroup(track.SubgroupHeader{Group: s.group, Subgroup: s.sub, Priority: priority, HasPriority: true, FirstObject: true})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.w.WriteObject(track.Object{ID: s.next, Payload: b}); err != nil {
		s.t.Fatal(err)
	}
	s.next++
}

func (s *sdk) close() {
	s.t.Helper()
	if err := s.w.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.w = nil
}

// cut begins a new group.
func (s *sdk) cut() {
	s.close()
	s.group, s.sub, s.next = s.group+1, 0, 0
}

// boxes cuts a stream at its boxes.
func boxes(t testing.TB, b []byte) (out [][]byte) {
	t.Helper()
	for len(b) > 0 {
		n := binary.BigEndian.Uint32(b)
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return out
}

// media is what a fixture has: hashes of each track's samples, and its boxes.
type media struct {
	mu     sync.Mutex
	hashes map[string][]string
}

func (m *media) AddTrack(name string, _ cmaf.Header) (cmaf.Sink, error) {
	return mediaSink{m, name}, nil
}
func (*media) Event(cmaf.Event) error      { return nil }
func (*media) Discontinuity(string)        {}
func (*media) Anchor(cmaf.Time, time.Time) {}
func (*media) Close(error) error           { return nil }

type mediaSink struct {
	m    *media
	name string
}

func (s mediaSink) WriteChunk(c cmaf.Chunk) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.hashes == nil {
		s.m.hashes = map[string][]string{}
	}
	data := c.Data
	for _, sample := range c.Samples {
		s.m.hashes[s.name] = append(s.m.hashes[s.name], fmt.Sprintf("%x", sha256.Sum256(data[:sample.Size])))
		data = data[sample.Size:]
	}
	return nil
}
func (mediaSink) Close() error { return nil }

func (m *media) count() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.hashes {
		n += len(h)
	}
	return n
}

func fixture(t testing.TB, name string) (pieces [][]byte, want *media) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "cmaf", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	want = &media{}
	d := cmaf.NewDemuxer(want, cmaf.DemuxerConfig{})
	if _, err := d.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return boxes(t, data), want
}

// send writes boxes, a tenth of a second for each mdat. A group ends with every
// fourth, as where a client cuts them by count.
func (s *sdk) send(pieces [][]byte) {
	mdats := 0
	for i, b := range pieces {
		s.object(b)
		if string(b[4:8]) != "mdat" {
			continue
		}
		time.Sleep(100 * time.Millisecond)
		if mdats++; mdats%4 == 0 && i < len(pieces)-1 {
			s.cut()
		}
	}
}

// A watching is a viewer on a session of its own.
type watching struct {
	media
	done  chan error
	kinds []string
}

// record views the broadcast by its catalog, as `record` does.
func (w *world) record() *watching {
	s, _ := w.dial()
	x := &watching{done: make(chan error, 1)}
	v, err := viewer.New(s, ns, viewer.Config{Mode: viewer.Lossless, Wait: time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	w.wg.Go(func() { x.done <- v.Run(w.ctx, x) })
	return x
}

// read reads the single track.
func (w *world) read() *watching {
	s, _ := w.dial()
	x := &watching{done: make(chan error, 1)}
	v, err := viewer.NewSingle(s, ns, viewer.Config{Mode: viewer.Lossless, Wait: time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	d := cmaf.NewDemuxer(x, cmaf.DemuxerConfig{})
	w.wg.Go(func() {
		x.done <- v.Run(w.ctx, func(c viewer.SingleChunk) error {
			x.mu.Lock()
			x.kinds = append(x.kinds, fmt.Sprintf("%t/%d", c.Init, c.Priority))
			x.mu.Unlock()
			_, err := d.Write(c.Data)
			return err
		})
	})
	return x
}

// wantAll checks that got has what want has; with late, what came last.
func wantAll(t *testing.T, who string, got, want *media, late bool) {
	t.Helper()
	for name, hashes := range want.hashes {
		g := got.hashes[name]
		if late && len(g) > 0 && len(g) <= len(hashes) {
			hashes = hashes[len(hashes)-len(g):]
		}
		if !slices.Equal(g, hashes) {
			t.Errorf("%s: %s has %d samples, which are not the %d that were published", who, name, len(g), len(hashes))
		}
	}
}

// state tells what the ingest knows of the broadcast.
func (w *world) state() string {
	synctest.Wait()
	var out []string
	for _, s := range w.inputs.Sessions() {
		out = append(out, fmt.Sprintf("%s connected=%t", s.Name, s.Connected))
	}
	return strings.Join(out, " ")
}

func (w *world) want(state string) {
	w.t.Helper()
	if got := w.state(); got != state {
		w.t.Errorf("the ingest has %q, want %q", got, state)
	}
}
