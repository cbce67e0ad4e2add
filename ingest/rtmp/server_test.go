package rtmp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib"
	"github.com/bluenviron/gortmplib/pkg/codecs"
	rtmpmsg "github.com/bluenviron/gortmplib/pkg/message"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
)

// A world is a Server on loopback with a Registry behind it.
type world struct {
	addr string

	mu       sync.Mutex
	attempts []Attempt
	opened   []*fakeBroadcast
	revoke   context.CancelCauseFunc
	more     chan struct{} // a slot: something happened
}

type admission struct {
	name string
	ctx  context.Context
}

func (a admission) Name() string             { return a.name }
func (a admission) Context() context.Context { return a.ctx }
func (a admission) Close()                   {}

// Open implements ingest.Opener.
func (w *world) Open(context.Context, string, ingest.Peer) (cmaf.Broadcast, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := new(fakeBroadcast)
	w.opened = append(w.opened, b)
	return notifying{b, w}, nil
}

// notifying wakes whoever waits, and keeps the race detector content.
type notifying struct {
	b *fakeBroadcast
	w *world
}

func (n notifying) with(f func()) {
	n.w.mu.Lock()
	f()
	n.w.mu.Unlock()
	n.w.wake()
}

func (n notifying) AddTrack(name string, h cmaf.Header) (s cmaf.Sink, err error) {
	n.with(func() { s, err = n.b.AddTrack(name, h) })
	return notifyingSink{n, s}, err
}
func (n notifying) Event(e cmaf.Event) (err error) { n.with(func() { err = n.b.Event(e) }); return err }
func (n notifying) Discontinuity(reason string)    { n.with(func() { n.b.Discontinuity(reason) }) }
func (n notifying) Anchor(cmaf.Time, time.Time)    {}
func (n notifying) Close(error) error              { n.with(func() { n.b.note("end") }); return nil }

type notifyingSink struct {
	n notifying
	s cmaf.Sink
}

func (s notifyingSink) WriteChunk(c cmaf.Chunk) (err error) {
	s.n.with(func() { err = s.s.WriteChunk(c) })
	return err
}
func (s notifyingSink) Close() (err error) { s.n.with(func() { err = s.s.Close() }); return err }

func (w *world) wake() {
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// until waits until the broadcast that was opened as the nth has been told
// something with text in it.
func (w *world) until(t *testing.T, n int, text string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		w.mu.Lock()
		have := "nothing"
		if len(w.opened) > n {
			have = w.opened[n].String()
		}
		w.mu.Unlock()
		if strings.Contains(have, text) {
			return
		}
		select {
		case <-w.more:
		case <-limit:
			t.Fatalf("broadcast %d was told\n%s\nwant …%s…", n, have, text)
		}
	}
}

func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	w := &world{more: make(chan struct{}, 1)}
	revocable, revoke := context.WithCancelCause(t.Context())
	w.revoke = revoke
	sessions, err := ingest.NewRegistry(ingest.Config{Opener: w})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Sessions = sessions
	cfg.Allow = func(_ context.Context, a Attempt) (Admission, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.attempts = append(w.attempts, a)
		if a.StreamKey != "good" {
			return nil, errors.New("auth_failed: the stream key is not known")
		}
		return admission{a.Name, revocable}, nil
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
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

// publish connects gortmplib's client, whose URL has the stream's name behind #.
func (w *world) publish(t *testing.T, path string) (*gortmplib.Client, error) {
	t.Helper()
	u, err := url.Parse("rtmp://" + w.addr + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	c := &gortmplib.Client{URL: u, Publish: true}
	if err := c.Initialize(t.Context()); err != nil {
		return nil, err
	}
	t.Cleanup(c.Close)
	return c, nil
}

var aacTrack = &gortmplib.Track{Codec: &codecs.MPEG4Audio{Config: &mpeg4audio.AudioSpecificConfig{
	Type: mpeg4audio.ObjectTypeAACLC, SampleRate: 48000, ChannelConfig: 2, ChannelCount: 2,
}}}

// begin publishes two seconds of audio.
func (w *world) begin(t *testing.T, path string) *gortmplib.Client {
	t.Helper()
	c, err := w.publish(t, path)
	if err != nil {
		t.Fatal(err)
	}
	out := &gortmplib.Writer{Conn: c, Tracks: []*gortmplib.Track{aacTrack}}
	if err := out.Initialize(); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := out.WriteMPEG4Audio(aacTrack, time.Duration(i)*1024*time.Second/48000, []byte{0x21, byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestPublish(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.begin(t, "live#cam?sk=good")
	w.until(t, 0, fmt.Sprintf(" %d+1024", 99*1024))
	c.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := w.opened[0].String(); !strings.HasPrefix(got, "add audio mp4a.40.2\naudio 0+1024 1024+1024 2048+1024") {
		t.Errorf("got %.200s", got)
	}
}

// The forms in which encoders bring name and key.
func TestAttempts(t *testing.T) {
	w := newWorld(t, Config{})
	for _, tt := range []struct{ path, name, key, token string }{
		{"live#cam?sk=good", "cam", "good", ""},
		{"live?sk=good#cam", "cam", "good", ""},
		{"live#cam?user=me&pass=good", "cam", "good", ""},
		{"live?user=me&pass=other#cam?sk=good", "cam", "good", ""},
		{"cam?sk=good", "cam", "good", ""},
		{"live#a/b?sk=good&tok=j.w.t", "b", "good", "j.w.t"},
	} {
		c, err := w.publish(t, tt.path)
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		c.Close()
		w.mu.Lock()
		a := w.attempts[len(w.attempts)-1]
		w.mu.Unlock()
		if a.Name != tt.name || a.StreamKey != tt.key || a.Token != tt.token || a.UserAgent == "" || !a.Remote.IsValid() || a.Encrypted {
			t.Errorf("%s: %+v", tt.path, a)
		}
	}
}

// A refusal reaches the encoder with its reason.
func TestRefused(t *testing.T) {
	w := newWorld(t, Config{})
	_, err := w.publish(t, "live#cam?sk=bad")
	if err == nil || !strings.Contains(err.Error(), "auth_failed: the stream key is not known") || !strings.Contains(err.Error(), codeBadName) {
		t.Errorf("%v, want the reason", err)
	}
	u := &url.URL{Scheme: "rtmp", Host: w.addr, Path: "/live", Fragment: "cam"}
	player := &gortmplib.Client{URL: u}
	if err := player.Initialize(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing to play over RTMP") {
		t.Errorf("a player: %v", err)
	}
}

// lastStatus reads what the server says before it closes the connection.
func lastStatus(t *testing.T, c *gortmplib.Client) string {
	t.Helper()
	last := ""
	for {
		c.NetConn().SetReadDeadline(time.Now().Add(10 * time.Second))
		m, err := c.Read()
		if err != nil {
			if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
				t.Errorf("reading: %v", err)
			}
			return last
		}
		if cmd, ok := m.(*rtmpmsg.CommandAMF0); ok {
			last = fmt.Sprint(cmd.Arguments...)
		}
	}
}

// One that takes over, a revoked key, a codec that cannot be carried, silence:
// each ends the connection, and the encoder hears why.
func TestEnds(t *testing.T) {
	t.Run("takeover", func(t *testing.T) {
		w := newWorld(t, Config{})
		first := w.begin(t, "live#cam?sk=good")
		w.until(t, 0, " 1024+1024")
		w.begin(t, "live#cam?sk=good")
		if got := lastStatus(t, first); !strings.Contains(got, "a newer connection took over") {
			t.Errorf("%q", got)
		}
	})
	t.Run("revoked", func(t *testing.T) {
		w := newWorld(t, Config{})
		c := w.begin(t, "live#cam?sk=good")
		w.until(t, 0, " 1024+1024")
		w.revoke(errors.New("auth_failed: the key was revoked"))
		if got := lastStatus(t, c); !strings.Contains(got, "the key was revoked") {
			t.Errorf("%q", got)
		}
	})
	t.Run("MP3", func(t *testing.T) {
		w := newWorld(t, Config{})
		c, err := w.publish(t, "live#cam?sk=good")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Write(&rtmpmsg.Audio{ChunkStreamID: 4, MessageStreamID: 1 << 24, Codec: rtmpmsg.CodecMPEG1Audio, AU: []byte{1, 2, 3}}); err != nil {
			t.Fatal(err)
		}
		if got := lastStatus(t, c); !strings.Contains(got, "MP3 cannot be carried") {
			t.Errorf("%q", got)
		}
	})
	t.Run("silence", func(t *testing.T) {
		w := newWorld(t, Config{Idle: 100 * time.Millisecond})
		if got := lastStatus(t, w.begin(t, "live#cam?sk=good")); !strings.Contains(got, "nothing came for too long") {
			t.Errorf("%q", got)
		}
	})
}

// Who connects and says nothing, or nothing that is RTMP, is gone in time.
func TestHandshakeIsBounded(t *testing.T) {
	w := newWorld(t, Config{Handshake: 200 * time.Millisecond, MaxConns: 8})
	for name, first := range map[string]string{
		"nothing": "", "half a handshake": "\x03\x00\x00", "TLS": "\x16\x03\x01", "HTTP": "GET / HTTP/1.1\r\n\r\n", "RTMPE": "\x06",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, first)
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("the connection is not closed: %v", err)
			}
		})
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	w := newWorld(t, Config{MaxConns: 1})
	c := w.begin(t, "live#cam?sk=good")
	if _, err := w.publish(t, "live#other?sk=good"); err == nil {
		t.Error("a second connection was taken")
	}
	c.Close()
	for end := time.Now().Add(10 * time.Second); ; {
		if _, err := w.publish(t, "live#cam?sk=good"); err == nil {
			return
		} else if time.Now().After(end) {
			t.Fatalf("no connection is taken after the first has ended: %v", err)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{}, {MaxMessage: 1}, {MaxMessage: maxPartial + 1}, {Idle: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
