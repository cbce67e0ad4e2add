package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A house is a relay behind a gate, whose keys are the control plane's, with
// one broadcast stream/local/cam.
type house struct {
	t       testing.TB
	ctx     context.Context
	control *control.Service
	gate    *auth.Gate
	relay   *relay.Relay
	wg      sync.WaitGroup
}

var cam = track.Name{Namespace: track.MustNamespace("stream", "local", "cam"), Name: "video"}

// open runs a house in a bubble until f returns.
func open(t *testing.T, cfg auth.Config, f func(*testing.T, *house)) {
	synctest.Test(t, func(t *testing.T) {
		h, end := newHouse(t, cfg)
		defer end()
		f(t, h)
	})
}

func newHouse(t testing.TB, cfg auth.Config) (h *house, end func()) {
	ctx, cancel := context.WithCancelCause(t.Context())
	h = &house{t: t, ctx: ctx, control: controltest.New(t)}
	cfg.Directory = h.control.Directory()
	var err error
	if h.gate, err = auth.NewGate(cfg); err != nil {
		t.Fatal(err)
	}
	if h.relay, err = relay.New(relay.Config{Authorizer: authorizer{h.gate}}); err != nil {
		t.Fatal(err)
	}
	h.wg.Go(func() { h.gate.Run(ctx) })
	h.wg.Go(func() { h.relay.Run(ctx) })
	feed := track.New(cam, track.Info{}, track.Config{})
	if _, err := h.relay.Announce(ctx, cam.Namespace, source{feed}); err != nil {
		t.Fatal(err)
	}
	return h, func() {
		cancel(errors.New("the test is over"))
		h.wg.Wait()
	}
}

type source struct{ t *track.Track }

func (s source) Track(name string) (*track.Track, bool) { return s.t, name == cam.Name }

// dial opens a session with the path of its URL.
func (h *house) dial(path string) *moqt.Session {
	client, server := moqttest.Pair(moqttest.Config{Transport: moqt.WebTransport, Path: path})
	s, err := moqt.NewSession(client, moqt.Config{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.wg.Go(func() { h.relay.Serve(h.ctx, server) })
	h.wg.Go(func() { s.Run(h.ctx) })
	<-s.Ready()
	return s
}

// token mints a token for stream/local/cam.
func (h *house) token() control.PlaybackToken {
	tok, err := h.control.MintPlaybackToken(h.ctx, "stream/local/cam", control.TokenOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return tok
}

func (h *house) subscribe(s *moqt.Session, tokens ...string) error {
	var opt track.SubscribeOptions
	for _, text := range tokens {
		opt.Tokens = append(opt.Tokens, track.Token{Value: []byte(text)})
	}
	_, err := s.Subscribe(h.ctx, cam, opt)
	return err
}

// wantClosed waits until a session is closed for want of a good credential.
func wantClosed(t testing.TB, s *moqt.Session) {
	t.Helper()
	<-s.Done()
	closed, ok := errors.AsType[*moqt.SessionError](context.Cause(s.Conn().Context()))
	if !ok || closed.Code != wire.SessionUnauthorized || !strings.HasPrefix(closed.Reason, "auth_failed: ") {
		t.Errorf("closed with %v, want UNAUTHORIZED and auth_failed", closed)
	}
}

func wantUnauthorized(t testing.TB, err error) {
	t.Helper()
	refused, ok := errors.AsType[*track.RequestError](err)
	if !ok || refused.Code != wire.RequestUnauthorized || !strings.HasPrefix(refused.Reason, "auth_failed: ") {
		t.Errorf("error %v, want UNAUTHORIZED and auth_failed", err)
	}
}

// A token may come with the path, or with a request of a session that has shown
// nothing; one that never shows any is closed.
func TestMoQTokens(t *testing.T) {
	open(t, auth.Config{}, func(t *testing.T, h *house) {
		tok := h.token().Token
		if err := h.subscribe(h.dial("/playback/cam?tok=" + tok)); err != nil {
			t.Errorf("with a token in the path: %v", err)
		}
		late := h.dial("/")
		if err := h.subscribe(late, tok); err != nil {
			t.Errorf("with a token in the request: %v", err)
		}
		start := time.Now()
		nothing, silent := h.dial("/"), h.dial("/playback/cam")
		wantUnauthorized(t, h.subscribe(nothing))
		wantClosed(t, nothing)
		if d := time.Since(start); d > time.Second {
			t.Errorf("who shows nothing was closed after %v", d)
		}
		wantClosed(t, silent)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("who asks nothing was closed after %v", d)
		}
		time.Sleep(10 * time.Second)
		select {
		case <-late.Done():
			t.Error("the session whose request had a token was closed too")
		default:
		}
		_, err := late.Subscribe(h.ctx, track.Name{Namespace: cam.Namespace, Name: "audio"}, track.SubscribeOptions{})
		if refused, ok := errors.AsType[*track.RequestError](err); !ok || refused.Code != wire.RequestUnauthorized {
			t.Errorf("a request without a token, in a session without one: %v, want UNAUTHORIZED", err)
		}
	})
}

// Those whose key has to be fetched wait for it, and nobody else does. In real
// time, because a bubble's stands still while somebody waits for a lock.
func TestSlowKeysHoldUpNobody(t *testing.T) {
	for _, name := range []string{"JWKS", "callback"} {
		t.Run(name, func(t *testing.T) {
			answer, asked := make(chan struct{}), make(chan struct{}, 16)
			cfg := auth.Config{JWKS: "https://keys.example/jwks", Transport: remote(func(r *http.Request) (*http.Response, error) {
				asked <- struct{}{}
				select {
				case <-answer:
				case <-r.Context().Done():
				}
				return nil, errors.New("no answer")
			})}
			if name == "callback" {
				cfg.JWKS, cfg.Callback.URL = "", "https://auth.example/"
			}
			h, end := newHouse(t, cfg)
			defer end()
			foreign, err := controltest.New(t).MintPlaybackToken(h.ctx, "stream/local/cam", control.TokenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 5 {
				s := h.dial("/playback/cam?tok=" + foreign.Token)
				wg.Go(func() {
					wantUnauthorized(t, h.subscribe(s))
					select {
					case <-answer:
					default:
						t.Error("it was answered before its key could be known")
					}
					wantClosed(t, s)
				})
			}
			<-asked
			if err := h.subscribe(h.dial("/playback/cam?tok=" + h.token().Token)); err != nil {
				t.Errorf("another session: %v", err)
			}
			close(answer) // only now
			wg.Wait()
		})
	}
}

// A remote stands in for what is asked over HTTP.
type remote func(*http.Request) (*http.Response, error)

func (f remote) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A callback lets sessions in, and what it says is what they hear of.
func TestMoQCallback(t *testing.T) {
	cfg := auth.Config{
		Callback: auth.Callback{URL: "https://auth.example/"},
		Transport: remote(func(r *http.Request) (*http.Response, error) {
			text, _ := io.ReadAll(r.Body)
			status, body := http.StatusForbidden, ""
			if strings.Contains(string(text), `"credential":"ticket"`) {
				status, body = http.StatusOK, `{"namespaces":["stream/local/*"]}`
			}
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
		}),
	}
	open(t, cfg, func(t *testing.T, h *house) {
		s := h.dial("/playback/cam?tok=ticket")
		if err := h.subscribe(s); err != nil {
			t.Error(err)
		}
		for ev, err := range s.Namespaces(h.ctx, track.MustNamespace("stream")) {
			if err != nil || fmt.Sprint(ev.Namespace) != fmt.Sprint(cam.Namespace) {
				t.Errorf("heard of %v, %v", ev, err)
			}
			break
		}
		other := h.dial("/playback/cam?tok=none")
		wantUnauthorized(t, h.subscribe(other))
		wantClosed(t, other)
	})
}

// What is taken back closes the sessions of its viewers within two seconds.
func TestB13_SessionsAreClosed(t *testing.T) {
	const viewers = 300
	for name, revoke := range map[string]func(*house, control.PlaybackToken) error{
		"signing key": func(h *house, tok control.PlaybackToken) error {
			_, err := h.control.DeactivateSigningKey(h.ctx, tok.KeyID)
			return err
		},
		"token": func(h *house, tok control.PlaybackToken) error {
			_, err := h.control.RevokeToken(h.ctx, "local", tok.ID, tok.Expires)
			return err
		},
		"sessions": func(h *house, tok control.PlaybackToken) error {
			if n := h.gate.Disconnect(auth.Selector{TokenID: tok.ID}, "thrown out"); n != viewers {
				return fmt.Errorf("%d were thrown out, want %d", n, viewers)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			open(t, auth.Config{}, func(t *testing.T, h *house) {
				tok := h.token()
				var all []*moqt.Session
				for range viewers {
					s := h.dial("/playback/cam?tok=" + tok.Token)
					if err := h.subscribe(s); err != nil {
						t.Fatal(err)
					}
					all = append(all, s)
				}
				synctest.Wait()
				start := time.Now()
				if err := revoke(h, tok); err != nil {
					t.Fatal(err)
				}
				for _, s := range all {
					wantClosed(t, s)
				}
				if d := time.Since(start); d > 2*time.Second {
					t.Errorf("closed within %v, want 2 s", d)
				}
			})
		})
	}
}

var remoteAddr = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 5000}

// Live, past and status go by one decision, for whatever is asked and however.
func TestB23_LiveAndPast(t *testing.T) {
	open(t, auth.Config{}, func(t *testing.T, h *house) {
		tok := h.token().Token
		_, sk, err := h.control.CreateStreamKey(h.ctx, "stream/local/cam")
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range []string{"?tok=" + tok, "?sk=" + sk} {
			permit, err := authorizer{h.gate}.Admit(relay.Credentials{Conn: moqt.ConnInfo{Remote: remoteAddr}, Path: "/" + shown})
			if err != nil {
				t.Fatal(err)
			}
			for _, ns := range [][]string{{"stream", "local", "cam"}, {"playback", "cam"}, {"stream", "local", "other"}, {"stream", "acme", "cam"}, {"vod", "cam"}} {
				var verdicts []string
				for _, action := range []relay.Action{relay.SubscribeTrack, relay.FetchTrack, relay.TrackStatus} {
					_, err := permit.Authorize(relay.AuthRequest{Action: action, Namespace: track.MustNamespace(ns...), Track: "video"})
					verdicts = append(verdicts, fmt.Sprint(err))
				}
				r, err := http.NewRequest(http.MethodGet, "http://localhost/hls/cam/index.m3u8", nil)
				if err != nil {
					t.Fatal(err)
				}
				r.RemoteAddr = remoteAddr.String()
				_, credential, _ := strings.Cut(shown, "=")
				r.Header.Set("Authorization", "Bearer "+credential)
				a, playErr := h.gate.Play(r, ns)
				if playErr == nil {
					a.Close()
				}
				wanted := ns[len(ns)-1] == "cam" && ns[0] != "vod" && !(ns[0] == "stream" && ns[1] == "acme")
				for _, v := range verdicts {
					if v != verdicts[0] || (v == "<nil>") != wanted || (playErr == nil) != wanted {
						t.Errorf("%.5s… on %q: %q, over HTTP %v, want all of them %t", shown, ns, verdicts, playErr, wanted)
					}
				}
			}
			permit.Close()
		}
	})
}

// One subscribe of a new session, from the connection to the answer: with a
// token, and at a relay that asks nobody.
func BenchmarkSubscribe(b *testing.B) {
	h, end := newHouse(b, auth.Config{})
	defer end()
	open, err := relay.New(relay.Config{})
	if err != nil {
		b.Fatal(err)
	}
	h.wg.Go(func() { open.Run(h.ctx) })
	if _, err := open.Announce(h.ctx, cam.Namespace, source{track.New(cam, track.Info{}, track.Config{})}); err != nil {
		b.Fatal(err)
	}
	path := "/playback/cam?tok=" + h.token().Token
	one := func(r *relay.Relay, path string) time.Duration {
		client, server := moqttest.Pair(moqttest.Config{Transport: moqt.WebTransport, Path: path})
		s, err := moqt.NewSession(client, moqt.Config{})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(h.ctx)
		defer cancel()
		start := time.Now()
		h.wg.Go(func() { r.Serve(ctx, server) })
		h.wg.Go(func() { s.Run(ctx) })
		if err := h.subscribe(s); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	var authorized, anonymous time.Duration
	n := 0
	for b.Loop() { // in turns, so that both meet the same machine
		authorized += one(h.relay, path)
		anonymous += one(open, "/")
		n++
	}
	b.ReportMetric(float64(authorized.Microseconds())/float64(n), "µs/authorized")
	b.ReportMetric(float64(anonymous.Microseconds())/float64(n), "µs/anonymous")
	b.ReportMetric(float64(authorized)/float64(anonymous), "authorized/anonymous")
}
