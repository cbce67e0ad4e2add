package srt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gosrt "github.com/datarhei/gosrt"
	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
)

// A caller of gosrt's that is refused leaves the goroutine behind that reads its
// socket. Here it stands for other people's programs.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/datarhei/gosrt.Dial.func1"))
}

// A world is a Server on loopback with a Registry behind it.
type world struct {
	addr   string
	log    lockedBuffer
	revoke context.CancelCauseFunc

	mu     sync.Mutex
	inputs map[string]Input
	asked  []Attempt
	lines  []string      // what the broadcasts were told, but for chunks
	chunks int           // that they got
	peers  []ingest.Peer // that opened one
	more   chan struct{} // a slot: something happened
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type admission struct {
	name string
	ctx  context.Context
}

func (a admission) Name() string             { return a.name }
func (a admission) Context() context.Context { return a.ctx }
func (a admission) Close()                   {}

func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	w := &world{more: make(chan struct{}, 1), inputs: make(map[string]Input)}
	revocable, revoke := context.WithCancelCause(t.Context())
	w.revoke = revoke
	cfg.Log = slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	sessions, err := ingest.NewRegistry(ingest.Config{Opener: w, Log: cfg.Log})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Sessions = sessions
	cfg.Lookup = func(name string) (Input, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		in, ok := w.inputs[name]
		return in, ok
	}
	cfg.Allow = func(_ context.Context, a Attempt) (Admission, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked = append(w.asked, a)
		switch a.StreamKey {
		case "good":
			return admission{a.Name, revocable}, nil
		case "other":
			return nil, errors.New("it takes rtmp, and this is srt")
		}
		return nil, &Refusal{Unauthorized, errors.New("auth_failed: the stream key is not known")}
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen("127.0.0.1:0", 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Serve(ctx, l) })
	running.Go(func() { sessions.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return w
}

func (w *world) set(name string, in Input) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inputs[name] = in
}

// Open implements ingest.Opener.
func (w *world) Open(_ context.Context, name string, p ingest.Peer) (cmaf.Broadcast, error) {
	w.mu.Lock()
	w.peers = append(w.peers, p)
	w.mu.Unlock()
	w.note("open " + name)
	return told{w}, nil
}

func (w *world) note(line string) {
	w.mu.Lock()
	w.lines = append(w.lines, line)
	w.mu.Unlock()
	w.wake()
}

func (w *world) wake() {
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// told notes what a broadcast is told.
type told struct{ w *world }

func (b told) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	b.w.note("add " + name + " " + h.Codec)
	return toldSink(b), nil
}
func (b told) Event(e cmaf.Event) error    { b.w.note("event " + e.Scheme); return nil }
func (b told) Discontinuity(reason string) { b.w.note("jump " + reason) }
func (told) Anchor(cmaf.Time, time.Time)   {}

func (told) Close(error) error { return nil }

type toldSink told

func (b toldSink) WriteChunk(cmaf.Chunk) error {
	b.w.mu.Lock()
	b.w.chunks++
	b.w.mu.Unlock()
	b.w.wake()
	return nil
}

func (toldSink) Close() error { return nil }

// until waits until ok, which is called with the world locked.
func (w *world) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(15 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond) // the log wakes nobody
	defer tick.Stop()
	for {
		w.mu.Lock()
		done := ok()
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-w.more:
		case <-tick.C:
		case <-limit:
			t.Fatalf("waiting for %s; told %q, %d chunks, log\n%s", what, w.lines, w.chunks, w.log.String())
		}
	}
}

func (w *world) untilLog(t *testing.T, text string) {
	t.Helper()
	w.until(t, "the log to say "+text, func() bool { return strings.Contains(w.log.String(), text) })
}

// call calls the server as gosrt's client does.
func (w *world) call(t *testing.T, streamID, passphrase string) (gosrt.Conn, Code) {
	t.Helper()
	c := gosrt.DefaultConfig()
	c.StreamId, c.Passphrase, c.Latency = streamID, passphrase, 300*time.Millisecond
	conn, err := gosrt.Dial("srt", w.addr, c)
	if err == nil {
		t.Cleanup(func() { reap(conn) })
		return conn, 0
	}
	_, text, ok := strings.Cut(err.Error(), "REJECT (")
	n, parseErr := strconv.ParseUint(strings.TrimSuffix(text, ")"), 32, 32)
	if !ok || parseErr != nil {
		t.Fatalf("call: %v", err)
	}
	return nil, Code(n)
}

// clip is a transport stream with H.264 and AAC.
func clip(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../mpegts/testdata/av.ts")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// send sends b in datagrams as encoders do.
func send(t testing.TB, conn gosrt.Conn, b []byte) {
	t.Helper()
	for i := 0; len(b) > 0; i++ {
		n := min(len(b), 7*188)
		if _, err := conn.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		if b = b[n:]; i%16 == 15 {
			time.Sleep(time.Millisecond) // gosrt's queues have no other brake
		}
	}
}

// acknowledged waits until the peer has n bytes. They wait for their time then,
// for the latency.
func acknowledged(t testing.TB, conn gosrt.Conn, n int) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		var s gosrt.Statistics
		conn.Stats(&s)
		if s.Accumulated.ByteSentUnique >= uint64(n) && s.Instantaneous.PktSendBuf == 0 {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-limit:
			t.Fatalf("%d bytes were sent, %+v", n, s)
		}
	}
}

const passphrase = "a passphrase of the tests"

// TestRefusals: who may not publish gets the code that says why, the log has the
// reason, and neither the key nor the passphrase.
func TestRefusals(t *testing.T) {
	w := newWorld(t, Config{})
	w.set("locked", Input{Passphrases: []string{passphrase, "the passphrase before"}})
	w.set("strict", Input{RequireEncryption: true})
	w.set("elsewhere", Input{AllowFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	for _, tt := range []struct {
		name, id, passphrase string
		code                 Code
		says                 string
	}{
		{"no stream id", "", "", BadRequest, "no stream id"},
		{"a path", "#!::r=../../etc,m=publish,s=good", "", BadRequest, "the stream id's name"},
		{"no key", "cam", "", Unauthorized, "auth_failed"},
		{"wrong key", "cam:wrong-key", "", Unauthorized, "auth_failed"},
		{"stolen stream id, wrong protocol", "cam:other", "", Forbidden, "it takes rtmp"},
		{"playing", "read:cam:me:good", "", BadMode, "playing over SRT is not offered"},
		{"playing, standard", "#!::r=cam,s=good", "", BadMode, "playing over SRT is not offered"},
		{"wrong passphrase", "locked:good", "not the passphrase", BadSecret, "the passphrase is wrong"},
		{"no passphrase", "locked:good", "", Unsecure, "has to encrypt"},
		{"no passphrase yet", "strict:good", "", Unsecure, "there is no passphrase yet"},
		{"a passphrase that nobody knows", "cam:good", passphrase, Unsecure, "the input has none"},
		{"address", "elsewhere:good", "", Forbidden, "may not come from this address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(w.log.String())
			conn, code := w.call(t, tt.id, tt.passphrase)
			if conn != nil || code != tt.code {
				t.Fatalf("code %d, want %d", code, tt.code)
			}
			w.until(t, "a line about it", func() bool { return strings.Contains(w.log.String()[before:], "SRT connection refused") })
			if line := w.log.String()[before:]; !strings.Contains(line, tt.says) || !strings.Contains(line, fmt.Sprintf("code=%d", tt.code)) {
				t.Errorf("the log says %s, want %q and the code", line, tt.says)
			}
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.asked {
		if a.Name == "elsewhere" || a.Name == "locked" || a.Name == "strict" {
			t.Errorf("the key of %s was looked at before its address and passphrase", a.Name)
		}
	}
	for _, secret := range []string{"wrong-key", "not the passphrase", passphrase, "good"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// TestPublish: media arrives whole, to the last picture, in each form of the
// stream id, in clear and encrypted with either passphrase.
func TestPublish(t *testing.T) {
	in := clip(t)
	for _, tt := range []struct {
		name, id, passphrase string
	}{
		{"simple", "cam:good", ""},
		{"standard", "#!::r=cam,m=publish,u=me,s=good", ""},
		{"widespread", "publish:cam:me:good", ""},
		{"encrypted", "locked:good", passphrase},
		{"encrypted with the passphrase before", "locked:good", "the passphrase before"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Config{})
			w.set("locked", Input{Passphrases: []string{passphrase, "the passphrase before"}, RequireEncryption: true})
			conn, code := w.call(t, tt.id, tt.passphrase)
			if code != 0 {
				t.Fatalf("refused with %d: %s", code, w.log.String())
			}
			send(t, conn, in)
			acknowledged(t, conn, len(in))
			conn.Close()
			w.untilLog(t, "SRT connection over")
			w.mu.Lock()
			defer w.mu.Unlock()
			if want := chunksOf(t, in); w.chunks != want {
				t.Errorf("%d chunks, want %d", w.chunks, want)
			}
			if p := w.peers[0]; p.Protocol != "srt" || p.Encrypted != (tt.passphrase != "") {
				t.Errorf("peer %+v", p)
			} else if s := p.Stats(); s.Bytes < uint64(len(in)) || s.Received == 0 || s.RTT == 0 {
				t.Errorf("stats %+v, want %d bytes or more", s, len(in))
			}
		})
	}
}

// TestPolicyWhileRunning: a connection ends when its input asks for what it has
// not, or when its permission is withdrawn.
func TestPolicyWhileRunning(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		change     func(*world)
	}{
		{"passphrase rotated twice", "its passphrase counts no longer", func(w *world) { w.set("locked", Input{Passphrases: []string{"one that is new", "another one, too"}}) }},
		{"address taken away", "from this address no longer", func(w *world) {
			w.set("locked", Input{Passphrases: []string{passphrase}, AllowFrom: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}})
		}},
		{"key revoked", "revoked", func(w *world) { w.revoke(errors.New("the stream key was revoked")) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Config{})
			w.set("locked", Input{Passphrases: []string{passphrase}})
			conn, code := w.call(t, "locked:good", passphrase)
			if code != 0 {
				t.Fatalf("refused with %d", code)
			}
			send(t, conn, clip(t))
			w.until(t, "media", func() bool { return w.chunks > 0 })
			tt.change(w)
			w.untilLog(t, tt.says)
			w.untilLog(t, "SRT connection over")
		})
	}
}
