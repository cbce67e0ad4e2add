package pull

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/cmaf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A capture is a Broadcast that keeps everything, and when it came.
type capture struct {
	mu      sync.Mutex
	tracks  []*captured
	log     []string // what happened besides chunks
	anchors []string
	began   time.Time
	fail    error // what sinks answer
}

type captured struct {
	c      *capture
	name   string
	header cmaf.Header
	chunks []cmaf.Chunk
	at     []time.Duration // when each came, since the first of all
	closed int
}

func (c *capture) note(format string, args ...any) {
	c.log = append(c.log, fmt.Sprintf(format, args...))
}

func (c *capture) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note("add %s %s", name, h.Codec)
	t := &captured{c: c, name: name, header: h}
	c.tracks = append(c.tracks, t)
	return t, nil
}

func (c *capture) Event(e cmaf.Event) error { c.note("event %s", e.Scheme); return nil }

func (c *capture) Discontinuity(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note("discontinuity: %s", reason)
}

func (c *capture) Anchor(media cmaf.Time, wall time.Time) {
	c.anchors = append(c.anchors, fmt.Sprintf("%.3f %s", media.Seconds(), wall.UTC().Format("15:04:05.000")))
}

func (c *capture) Close(error) error { return errors.New("a Source must not close it") }

func (t *captured) Close() error {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.closed++
	return nil
}

func (t *captured) WriteChunk(ch cmaf.Chunk) error {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	if t.closed > 0 {
		return errors.New("chunk after Close")
	}
	if t.c.began.IsZero() {
		t.c.began = time.Now()
	}
	t.chunks = append(t.chunks, ch)
	t.at = append(t.at, time.Since(t.c.began))
	return t.c.fail
}

// chunks returns how many chunks came on tracks of that name.
func (c *capture) count(name string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tracks {
		if t.name == name {
			n += len(t.chunks)
		}
	}
	return n
}

// track returns the only track of that name.
func (c *capture) track(t testing.TB, name string) *captured {
	t.Helper()
	var found *captured
	for _, tr := range c.tracks {
		if tr.name == name {
			if found != nil {
				t.Fatalf("two tracks %s: %q", name, c.log)
			}
			found = tr
		}
	}
	if found == nil {
		t.Fatalf("no track %s: %q", name, c.log)
	}
	return found
}

// starts returns the decode time of each chunk in seconds.
func (t *captured) starts() (s []float64) {
	for _, c := range t.chunks {
		s = append(s, cmaf.Time{Ticks: c.DecodeTime, Scale: t.header.Timescale}.Seconds())
	}
	return s
}

// write writes what was captured as an MP4 file.
func (c *capture) write(t testing.TB, path string) {
	t.Helper()
	type piece struct {
		id uint32
		c  cmaf.Chunk
		at cmaf.Time
	}
	var headers []cmaf.Header
	var pieces []piece
	for i, tr := range c.tracks {
		headers = append(headers, tr.header)
		for _, ch := range tr.chunks {
			ch.DecodeTime += 10 * int64(tr.header.Timescale) // encoder delay lies below 0
			pieces = append(pieces, piece{uint32(i + 1), ch, cmaf.Time{Ticks: ch.DecodeTime, Scale: tr.header.Timescale}})
		}
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return a.at.Compare(b.at) })
	out, err := cmaf.BuildInit(headers)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pieces {
		out = p.c.AppendTo(out, p.id, uint32(i+1))
	}
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
}

// An origin answers requests in memory: without a network, so that it can live
// in a synctest bubble.
type origin struct {
	mu    sync.Mutex
	files map[string][]byte
	hook  func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	log   []string                                          // paths that were asked for
}

func newOrigin(files map[string][]byte) *origin {
	return &origin{files: files}
}

// folder returns an origin that serves what is in dir.
func folder(t testing.TB, dir string) *origin {
	t.Helper()
	o := newOrigin(map[string][]byte{})
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		o.files["/"+rel] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *origin) set(path, body string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files[path] = []byte(body)
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.log = append(o.log, r.URL.Path)
	body, ok := o.files[r.URL.Path]
	hook := o.hook
	o.mu.Unlock()
	if hook != nil && hook(w, r) {
		return
	}
	if !ok {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	http.ServeContent(w, r, r.URL.Path, time.Time{}, strings.NewReader(string(body)))
}

// asked returns how often path was asked for.
func (o *origin) asked(path string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.log {
		if p == path {
			n++
		}
	}
	return n
}

// RoundTrip implements http.RoundTripper.
func (o *origin) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	o.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func (o *origin) client() *http.Client { return &http.Client{Transport: o} }

// puller returns a Puller of path at o.
func (o *origin) puller(t testing.TB, path string, cfg Config) *Puller {
	t.Helper()
	cfg.URL = "http://user:secret@origin.example" + path + "?tok=secret"
	cfg.Client = o.client()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
