package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is one relay inside a bubble, with a network that can be cut.
type world struct {
	t     *testing.T
	ctx   context.Context
	wg    sync.WaitGroup
	relay *relay.Relay
	gate  *gate

	mu    sync.Mutex
	away  bool
	dials int
	conns map[*moqttest.Conn]string // and the paths that they came by
}

func bubble(t *testing.T, f func(*testing.T, *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		w := &world{t: t, ctx: ctx, gate: &gate{}, conns: make(map[*moqttest.Conn]string)}
		defer w.wg.Wait()
		defer cancel(errors.New("the test is over"))
		r, err := relay.New(relay.Config{Authorizer: w.gate})
		if err != nil {
			t.Fatal(err)
		}
		w.relay = r
		w.wg.Go(func() { r.Run(ctx) })
		f(t, w)
	})
}

// streams returns how to reach the world's relay.
func (w *world) streams() Streams {
	return Streams{Relay: "moqt://relay.example", Token: "good", Dial: w.dial, Patience: 20 * time.Second}
}

func (w *world) dial(_ context.Context, to string, _ transport.DialConfig) (moqt.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dials++; w.away {
		return nil, &transport.DialError{Target: "relay.example", Kind: transport.ErrUnreachable, Err: errors.New("away")}
	}
	u, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	link := moqttest.Link{Delay: 20 * time.Millisecond}
	here, there := moqttest.Pair(moqttest.Config{Up: link, Down: link, Path: u.RequestURI(), Transport: moqt.WebTransport})
	w.conns[here] = u.Path
	w.wg.Go(func() { w.relay.Serve(w.ctx, there) })
	return here, nil
}

// cut loses every connection, and the network with them if away.
func (w *world) cut(away bool) { w.cutPaths("/", away) }

// cutPaths is cut for the connections whose path begins so.
func (w *world) cutPaths(prefix string, away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c, path := range w.conns {
		if strings.HasPrefix(path, prefix) {
			c.Cut()
			delete(w.conns, c)
		}
	}
	w.away = away
}

// A gate lets in who shows sk=good or tok=good, until it is told to revoke.
type gate struct {
	mu      sync.Mutex
	passes  []context.CancelCauseFunc
	revoked bool
}

type pass struct {
	ctx context.Context
}

func (g *gate) Admit(c relay.Credentials) (relay.Permit, error) {
	u, err := url.Parse(c.Path)
	if err != nil || u.Query().Get("sk") != "good" && u.Query().Get("tok") != "good" {
		return nil, &moqt.RequestError{Code: wire.RequestUnauthorized, Reason: "auth_failed: no"}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.revoked {
		return nil, &moqt.RequestError{Code: wire.RequestUnauthorized, Reason: "auth_failed: revoked"}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	g.passes = append(g.passes, cancel)
	return pass{ctx}, nil
}

func (g *gate) revoke() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, end := range g.passes {
		end(errors.New("auth_failed: revoked"))
	}
	g.passes, g.revoked = nil, true
}

func (p pass) Authorize(r relay.AuthRequest) (wire.Namespace, error) {
	return wire.NewNamespace("stream", "local", r.Namespace.Fields()[1])
}
func (pass) Visible(wire.Namespace) bool { return true }
func (p pass) Context() context.Context  { return p.ctx }
func (pass) Close()                      {}

// header returns the header of a file of cmaf/testdata.
func header(tb testing.TB, name string) []byte {
	tb.Helper()
	f, err := os.Open(filepath.Join("..", "cmaf", "testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	b, err := readChunk(bufio.NewReader(f))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Of video.mp4.
const ticks = 12800

// fragment returns a fragment of the track with the ID, at so many ticks.
func fragment(id uint32, at int64, rap bool, data string) []byte {
	flags := cmaf.FlagsNonSync
	if rap {
		flags = cmaf.FlagsSync
	}
	c := cmaf.Chunk{
		DecodeTime: at, RAP: rap, Data: []byte(data),
		Samples: []cmaf.Sample{{Duration: ticks / 10, Size: uint32(len(data)), Flags: flags}},
	}
	return c.AppendTo(nil, id, 1)
}

// A viewing is a viewer that runs in a bubble.
type viewing struct {
	t      *testing.T
	v      *BroadcastViewer
	done   chan struct{}
	reason CloseReason
	err    error

	mu    sync.Mutex
	lines []string
}

func (w *world) view(s Streams, cfg ViewerConfig) *viewing {
	w.t.Helper()
	v, err := s.Viewer(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	g := &viewing{t: w.t, v: v, done: make(chan struct{})}
	w.wg.Go(func() {
		defer close(g.done)
		g.reason, g.err = v.Run(w.ctx, g.take)
	})
	return g
}

func (g *viewing) take(c Chunk) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	line := "init"
	if !c.IsInit {
		line = string(c.Data[len(c.Data)-1:])
	}
	if c.IsInit != (c.Priority == 0) || !c.IsInit && c.Priority != 1 {
		line += fmt.Sprintf("(priority %d)", c.Priority)
	}
	g.lines = append(g.lines, line)
	return nil
}

// expect waits for d and compares what came.
func (g *viewing) expect(d time.Duration, want string) {
	g.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if got := strings.Join(g.lines, " "); got != want {
		g.t.Errorf("got  %q\nwant %q", got, want)
	}
	g.lines = nil
}

// ends waits for the end.
func (g *viewing) ends(want CloseReason, fails bool) {
	g.t.Helper()
	<-g.done
	if g.reason != want || (g.err != nil) != fails {
		g.t.Errorf("ended with %s, %v, want %s and an error %t", g.reason, g.err, want, fails)
	}
}
