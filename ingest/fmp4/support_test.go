package fmp4

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is one second of H.264 and AAC as ffmpeg writes it; package cmaf's
// testdata says how each was made.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "cmaf", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An admission lets somebody send until its context ends.
type admission struct {
	name string
	ctx  context.Context
}

func (a admission) Name() string             { return a.name }
func (a admission) Context() context.Context { return a.ctx }
func (admission) Close()                     {}

func anybody(_ *http.Request, name string) (Admission, error) {
	return admission{name, context.Background()}, nil
}

// A store keeps the broadcasts that sessions open. Its mutex is for the tests,
// which look while inputs write.
type store struct {
	mu   sync.Mutex
	all  []*broadcast
	news chan struct{} // one slot: something changed
}

type broadcast struct {
	s      *store
	name   string
	tracks map[string]*sink
	order  []string
	jumps  int
	closed bool
}

type sink struct {
	b      *broadcast
	header cmaf.Header
	chunks int
	end    int64
	ends   []int64 // of each chunk
}

func (s *store) Open(_ context.Context, name string, _ ingest.Peer) (cmaf.Broadcast, error) {
	defer s.lock()()
	b := &broadcast{s: s, name: name, tracks: map[string]*sink{}}
	s.all = append(s.all, b)
	return b, nil
}

func (s *store) lock() (unlock func()) {
	s.mu.Lock()
	return func() {
		s.mu.Unlock()
		select {
		case s.news <- struct{}{}:
		default:
		}
	}
}

func (b *broadcast) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	defer b.s.lock()()
	t := &sink{b: b, header: h}
	b.tracks[name] = t
	b.order = append(b.order, name)
	return t, nil
}

func (b *broadcast) Event(cmaf.Event) error      { return nil }
func (b *broadcast) Anchor(cmaf.Time, time.Time) {}
func (b *broadcast) Discontinuity(reason string) { defer b.s.lock()(); b.jumps++ }
func (b *broadcast) Close(error) error           { defer b.s.lock()(); b.closed = true; return nil }
func (t *sink) Close() error                     { return nil }
func (t *sink) WriteChunk(c cmaf.Chunk) error {
	defer t.b.s.lock()()
	t.chunks++
	t.end = c.End()
	t.ends = append(t.ends, c.End())
	return nil
}

// wait waits until ok is true of what was stored.
func (s *store) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		if s.holds(ok) {
			return
		}
		select {
		case <-s.news:
		case <-timeout:
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func (s *store) holds(ok func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ok()
}

// A bench is a server with the handler, and what it stores.
type bench struct {
	*store
	t   *testing.T
	reg *ingest.Registry
	h   *Handler
	url string // of /ingest/
}

func newBench(t *testing.T, cfg Config, grace time.Duration) *bench {
	t.Helper()
	b := &bench{store: &store{news: make(chan struct{}, 1)}, t: t}
	reg, err := ingest.NewRegistry(ingest.Config{Opener: b.store, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	b.reg = reg
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- reg.Run(ctx) }()
	cfg.Sessions = reg
	if cfg.Allow == nil {
		cfg.Allow = anybody
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.h = h
	srv := httptest.NewServer(h)
	b.url = srv.URL + "/ingest/"
	t.Cleanup(func() {
		cancel()
		<-done
		srv.CloseClientConnections()
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return b
}

func (b *bench) do(method, path string, body io.Reader) (int, string) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.url+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(text))
}

func (b *bench) mustDo(method, path string, body []byte) {
	b.t.Helper()
	if code, text := b.do(method, path, bytes.NewReader(body)); code != 204 {
		b.t.Fatalf("%s %s = %d %s, want 204", method, path, code, text)
	}
}

// open starts an endless body and returns its writer, and its answer once there is one.
func (b *bench) open(path string) (io.WriteCloser, <-chan string) {
	r, w := io.Pipe()
	answer := make(chan string, 1)
	go func() {
		req, err := http.NewRequest(http.MethodPost, b.url+path, r)
		if err != nil {
			answer <- err.Error()
			return
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			answer <- err.Error()
			return
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		r.CloseWithError(io.ErrClosedPipe)
		answer <- fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(text)))
	}()
	return w, answer
}

// split cuts a file into its header and its fragments, each with its mdat.
func split(t testing.TB, file []byte) (header []byte, fragments [][]byte) {
	t.Helper()
	start := 0
	for off := 0; off+8 <= len(file); {
		size := int(binary.BigEndian.Uint32(file[off:]))
		switch typ := string(file[off+4 : off+8]); {
		case size < 8 || off+size > len(file):
			t.Fatalf("box %q at %d has size %d", typ, off, size)
		case typ == "moov":
			header = file[:off+size]
			start = off + size
		case typ == "mdat":
			fragments = append(fragments, file[start:off+size])
			start = off + size
		}
		off += int(binary.BigEndian.Uint32(file[off:]))
	}
	return header, fragments
}

// whole is what one fixture makes: 25 pictures, and AAC frames for a second.
func (b *bench) whole() bool {
	if len(b.all) == 0 {
		return false
	}
	video, audio := b.all[0].tracks["video"], b.all[0].tracks["audio"]
	return video != nil && video.chunks == 25 && audio != nil && audio.chunks >= 46
}
