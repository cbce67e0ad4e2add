package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/certs"
	"github.com/broadcastd/broadcastd/internal/config"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
	"github.com/broadcastd/broadcastd/viewer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errInterrupted, 0},
		{errors.New("boom"), 1},
		{fmt.Errorf("%w: %w", viewer.ErrNotThere, &track.RequestError{Code: track.RequestDoesNotExist}), 1},
		{usageError{errors.New("no flag")}, 2},
		{&transport.DialError{Target: "x", Err: errors.New("no URL")}, 2},
		{&transport.DialError{Target: "x", Kind: transport.ErrRefused}, 3},
		{fmt.Errorf("catalog: %w", &track.RequestError{Code: track.RequestUnauthorized}), 3},
		{&moqt.SessionError{Remote: true, Code: wire.SessionUnauthorized}, 3},
		{&transport.DialError{Target: "x", Kind: transport.ErrUnreachable}, 4},
		{hint(&transport.DialError{Target: "x", Kind: transport.ErrUntrusted}), 4},
		{&moqt.SessionError{Err: errors.New("timeout")}, 4},
		{&moqt.SessionError{Remote: true, Code: wire.SessionNoError}, 4},
		{&moqt.SessionError{Code: wire.SessionProtocolViolation}, 1},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("exitCode(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

// run runs a command line with nothing but env around it.
func run(t *testing.T, env []string, args ...string) (code int, out, err string) {
	t.Helper()
	t.Chdir(t.TempDir()) // no broadcastd.yaml of the developer's
	null, openErr := os.Open(os.DevNull)
	if openErr != nil {
		t.Fatal(openErr)
	}
	defer null.Close()
	var o, e bytes.Buffer
	code = process{in: null, out: &o, err: &e, env: env, start: now()}.run(t.Context(), args)
	return code, o.String(), e.String()
}

func TestUsage(t *testing.T) {
	moq := []string{"--relay", "moqt://localhost:1", "--namespace", "stream/local/x"}
	for _, tt := range []struct {
		args []string
		want string // in what it says
	}{
		{[]string{"--frobnicate"}, "unknown flag: --frobnicate"},
		{[]string{"frobnicate"}, `unknown command "frobnicate"`},
		{[]string{"serve", "now"}, "now"},
		{[]string{"serve", "--http.listen", "8080"}, `--http.listen: http.listen is "8080"`},
		{[]string{"serve", "--config", "none.yaml"}, "none.yaml"},
		{[]string{"config", "check", "--moq.join=maybe"}, "moq.join"},
		{[]string{"view"}, "--relay is missing"},
		{[]string{"view", "--relay", "http://localhost:1"}, "--relay is no URL"},
		{[]string{"view", "--relay", "moqt://localhost:1"}, "--namespace is missing"},
		{[]string{"view", "--relay", "moqt://localhost:1", "--namespace", "a//b"}, "--namespace"},
		{append([]string{"view", "--cert-sha256", "abc"}, moq...), "64 hexadecimal digits"},
		{append([]string{"view", "--wait", "-1s"}, moq...), "cannot be negative"},
		{append([]string{"record"}, moq...), "--output is missing"},
		{append([]string{"record", "--output", "x", "--duration", "-1s"}, moq...), "cannot be negative"},
		{append([]string{"publish", "none.mp4"}, moq...), "none.mp4"},
		{append([]string{"publish", "a", "b"}, moq...), "accepts at most 1 arg"},
		{append([]string{"publish"}, moq...), "standard input is a terminal"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			code, out, text := run(t, nil, tt.args...)
			if code != exitUsage || !strings.Contains(text, tt.want) || out != "" {
				t.Errorf("exit %d, output %q, error %q; want exit 2 and %q", code, out, text, tt.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"serve", "--help"}, {"publish", "-h"}, {"view", "-h"}, {"record", "-h"}, {"config"}, {"config", "print", "-h"}} {
		code, out, text := run(t, nil, args...)
		if code != 0 || !strings.Contains(out, "Usage:") || text != "" {
			t.Errorf("%q: exit %d, %q, %q; want the help", args, code, out, text)
		}
	}
	if _, out, _ := run(t, nil, "version"); !strings.HasPrefix(out, "broadcastd "+version) {
		t.Errorf("version = %q", out)
	}
}

func TestConfigCommands(t *testing.T) {
	env := []string{"HOME=/home/me", "BROADCASTD_ADMIN_KEY=0123456789abcdef", "BROADCASTD_LOG__LEVEL=debug", "BROADCASTD_LOGLEVEL=x", "BROADCASTD_LOG_LEVEL=x"}
	code, out, text := run(t, env, "config", "print", "--demo", "--group_duration", "2s")
	if code != 0 || text != "" {
		t.Fatalf("exit %d, %s", code, text)
	}
	for _, want := range []string{
		"state_dir: /home/me/.local/state/broadcastd # default", "demo: true # --demo",
		"level: debug # BROADCASTD_LOG__LEVEL", "group_duration: 2s # --group-duration", "admin_key: '********' # BROADCASTD_ADMIN_KEY",
	} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("config print lacks %q:\n%s", want, out)
		}
	}
	code, out, text = run(t, env, "config", "check")
	if code != 0 || !strings.Contains(out, "good (no config file)") || !strings.Contains(text, "did you mean BROADCASTD_LOG__LEVEL?") {
		t.Errorf("config check: exit %d, %q, %q", code, out, text)
	}
}

func TestStateDir(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		want string
	}{
		{[]string{"HOME=/home/me"}, "/home/me/.local/state/broadcastd"},
		{[]string{"HOME=/home/me", "XDG_STATE_HOME=/var/state"}, "/var/state/broadcastd"},
		{[]string{"HOME=/home/me", "XDG_STATE_HOME=relative"}, "/home/me/.local/state/broadcastd"},
		{nil, filepath.Join(os.TempDir(), "broadcastd")},
	} {
		if got := (process{env: tt.env}).stateDir(); got != tt.want {
			t.Errorf("stateDir with %q = %s, want %s", tt.env, got, tt.want)
		}
	}
}

func TestAdminKey(t *testing.T) {
	dir := t.TempDir()
	first, made, err := adminKey(dir, "")
	if err != nil || !made || len(first) < 20 {
		t.Fatalf("first start: %q, made %t, %v", first, made, err)
	}
	info, err := os.Stat(filepath.Join(dir, adminKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v, want mode 0600", info.Mode(), err)
	}
	if again, made, err := adminKey(dir, ""); again != first || made || err != nil {
		t.Errorf("second start: %q, made %t, %v; want the kept one", again, made, err)
	}
	if key, made, _ := adminKey(dir, "configured-by-someone"); key != "configured-by-someone" || made {
		t.Errorf("with a configured key: %q, made %t", key, made)
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	free := config.Config{
		HTTP:  config.Listener{Listen: "127.0.0.1:0"},
		Admin: config.Listener{Listen: "127.0.0.1:0"},
		MoQ:   config.MoQ{Listen: "127.0.0.1:0"},
	}
	l, err := listen(free)
	if err != nil {
		t.Fatal(err)
	}
	if portOf(l.moqTCP.Addr()) != portOf(l.moqUDP.LocalAddr()) {
		t.Errorf("MoQ at %v and %v, want one port", l.moqTCP.Addr(), l.moqUDP.LocalAddr())
	}
	l.close()
	for _, tt := range []struct {
		key, variable, network string
		addr                   string
		set                    func(*config.Config, string)
	}{
		{"http.listen", "BROADCASTD_HTTP__LISTEN", "TCP", taken.Addr().String(), func(c *config.Config, a string) { c.HTTP.Listen = a }},
		{"admin.listen", "BROADCASTD_ADMIN__LISTEN", "TCP", taken.Addr().String(), func(c *config.Config, a string) { c.Admin.Listen = a }},
		{"moq.listen", "BROADCASTD_MOQ__LISTEN", "TCP", taken.Addr().String(), func(c *config.Config, a string) { c.MoQ.Listen = a }},
		{"moq.listen", "BROADCASTD_MOQ__LISTEN", "UDP", udp.LocalAddr().String(), func(c *config.Config, a string) { c.MoQ.Listen = a }},
	} {
		c := free
		tt.set(&c, tt.addr)
		_, err := listen(c)
		if err == nil {
			t.Errorf("%s at a taken port = nil error", tt.key)
			continue
		}
		_, port, _ := net.SplitHostPort(tt.addr)
		for _, want := range []string{tt.network + " port " + port + " is in use", tt.key, tt.variable, "--" + tt.key} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q lacks %q", err, want)
			}
		}
	}
}

// TestSniffer speaks TLS and plain HTTP to one port, and also nothing at all.
func TestSniffer(t *testing.T) {
	store, err := certs.Open(certs.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := newSniffer(l)
	ctx, cancel := context.WithCancel(t.Context())
	log := (process{err: io.Discard}).newLog(config.Log{Level: "error", Format: "text"})
	secure := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "secure "+r.Proto) }), log)
	secure.TLSConfig = store.Config()
	done := make(chan error, 3)
	go func() { done <- port.Run(ctx) }()
	go func() { done <- serveHTTP(ctx, secure, port.TLS()) }()
	go func() { done <- serveHTTP(ctx, newHTTPServer(plainSite(store), log), port.Plain()) }()

	silent, err := net.Dial("tcp", l.Addr().String()) // must not hold up the others, nor the end
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	client := &http.Client{Transport: tr}
	for _, tt := range []struct {
		url, want string
		status    int
	}{
		{"https://" + l.Addr().String() + "/x", "secure HTTP/2.0", 200},
		{"http://" + l.Addr().String() + "/certificate.sha256", store.Hash(), 200},
		{"http://" + l.Addr().String() + "/x", "this port speaks HTTPS", 400},
	} {
		res, err := client.Get(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != tt.status || !strings.HasPrefix(string(body), tt.want) {
			t.Errorf("GET %s = %d %q, want %d %q", tt.url, res.StatusCode, body, tt.status, tt.want)
		}
	}
	tr.CloseIdleConnections()
	cancel()
	for range 3 {
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("does not end")
		}
	}
}

// TestEveryRouteHasAPolicy walks the daemon's routes with a stranger: the pages
// themselves hold no secret, and what they show is refused with a sentence.
func TestEveryRouteHasAPolicy(t *testing.T) {
	if _, err := site([]route{{"/new", 0, http.NotFoundHandler()}}); err == nil {
		t.Error("a route without a policy was taken")
	}
	log := (process{err: io.Discard}).newLog(config.Log{Level: "error", Format: "text"})
	s, err := newServer(config.Config{StateDir: t.TempDir(), GroupDuration: time.Second, Auth: config.Auth{Loopback: true}}, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.wire(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"/": 200, "/watch/cam": 200, "/api/v1/broadcasts": 403, "/ingest/cam": 403, "/assets/x.js": 404, "/nothing": 404, "/api/x": 404,
		"/certificate.sha256": 200,
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			r := httptest.NewRequest(method, "http://localhost:8080"+path, nil)
			r.RemoteAddr = "192.0.2.1:1234"
			w := httptest.NewRecorder()
			s.site.ServeHTTP(w, r)
			if w.Code != want && (method == "GET" || w.Code != http.StatusMethodNotAllowed) {
				t.Errorf("%s %s from elsewhere = %d, want %d", method, path, w.Code, want)
			}
		}
	}
	r := httptest.NewRequest("GET", "http://localhost:8080/api/v1/broadcasts", nil)
	r.RemoteAddr = "127.0.0.1:1234"
	w := httptest.NewRecorder()
	s.site.ServeHTTP(w, r)
	if w.Code != 200 || !strings.Contains(w.Body.String(), s.certs.Hash()) {
		t.Errorf("GET /api/v1/broadcasts from here = %d %s", w.Code, w.Body)
	}
}

func TestAuthorizer(t *testing.T) {
	here, away := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	for _, tt := range []struct {
		name   string
		remote net.Addr
		action relay.Action
		ns     []string
		ok     bool
	}{
		{"publish from here", here, relay.PublishNamespace, []string{"stream", "local", "cam"}, true},
		{"subscribe from here", here, relay.SubscribeTrack, []string{"stream", "local", "cam"}, true},
		{"watch from here", here, relay.SubscribeNamespace, []string{"stream"}, true},
		{"another organisation", here, relay.SubscribeTrack, []string{"stream", "acme", "cam"}, false},
		{"watch another organisation", here, relay.SubscribeNamespace, []string{"stream", "acme"}, false},
		{"a bad name", here, relay.PublishTrack, []string{"stream", "local", "../x"}, false},
		{"from elsewhere", away, relay.SubscribeTrack, []string{"stream", "local", "cam"}, false},
		{"watch from elsewhere", away, relay.SubscribeNamespace, []string{"stream", "local"}, false},
	} {
		gate, err := auth.NewGate(auth.Config{Loopback: auth.Loopback{Enabled: true}})
		if err != nil {
			t.Fatal(err)
		}
		door := authorizer{gate}
		permit, err := door.Admit(relay.Credentials{Conn: moqt.ConnInfo{Remote: tt.remote}})
		if err == nil {
			_, err = permit.Authorize(relay.AuthRequest{Action: tt.action, Namespace: track.MustNamespace(tt.ns...)})
			permit.Close()
		}
		refused, isRefused := errors.AsType[*track.RequestError](err)
		if (err == nil) != tt.ok || !tt.ok && (!isRefused || refused.Code != track.RequestUnauthorized || refused.Reason == "") {
			t.Errorf("%s: %v, want ok %t", tt.name, err, tt.ok)
		}
	}
}

func TestAdmin(t *testing.T) {
	var ready atomic.Bool
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	h := admin(&ready, prometheus.NewRegistry(), loopback)
	get := func(h http.Handler, host, path string) int {
		r := httptest.NewRequest("GET", "http://"+host+path, nil)
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for _, tt := range []struct {
		ready bool
		path  string
		want  int
	}{
		{false, "/healthz", 200}, {false, "/readyz", 503}, {true, "/readyz", 200}, {true, "/metrics", 200}, {true, "/debug/pprof/", 200}, {true, "/x", 404},
	} {
		ready.Store(tt.ready)
		if got := get(h, "127.0.0.1:1", tt.path); got != tt.want {
			t.Errorf("GET %s, ready %t = %d, want %d", tt.path, tt.ready, got, tt.want)
		}
	}
	if got := get(h, "evil.example", "/metrics"); got != 403 {
		t.Errorf("a rebound name on a loopback listener = %d, want 403", got)
	}
	if got := get(admin(&ready, prometheus.NewRegistry(), &net.TCPAddr{IP: net.IPv4zero}), "pod-1:9998", "/metrics"); got != 200 {
		t.Errorf("a scrape of an open listener = %d, want 200", got)
	}
}

func TestMoQURL(t *testing.T) {
	for _, tt := range []struct {
		public, listen, host, want string
	}{
		{"", "0.0.0.0:4443", "localhost:8080", "https://localhost:4443"},
		{"", "[::]:4443", "192.0.2.1:8080", "https://192.0.2.1:4443"},
		{"", "[::]:4443", "[2001:db8::1]:8080", "https://[2001:db8::1]:4443"},
		{"", "127.0.0.1:4443", "localhost:8080", "https://127.0.0.1:4443"},
		{"https://live.example:443", "0.0.0.0:4443", "localhost", "https://live.example:443"},
	} {
		addr, err := net.ResolveUDPAddr("udp", tt.listen)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "http://"+tt.host+"/", nil)
		if got := moqURL(config.Config{MoQ: config.MoQ{Public: tt.public}}, addr)(r); got != tt.want {
			t.Errorf("moqURL(%+v) = %s, want %s", tt, got, tt.want)
		}
	}
}

// TestGreeting checks the lines that people copy.
func TestGreeting(t *testing.T) {
	log := (process{err: io.Discard}).newLog(config.Log{Level: "error", Format: "text"})
	cfg := config.Config{StateDir: t.TempDir(), Demo: true}
	s, err := newServer(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	s.on, err = listen(config.Config{HTTP: config.Listener{Listen: "127.0.0.1:0"}, MoQ: config.MoQ{Listen: ":0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.on.close()
	text := s.greeting("the-admin-key", "")
	for _, want := range []string{
		version, cfg.StateDir, "the-admin-key", s.certs.Hash(),
		"-send_expect_100 1 http://" + s.on.http.Addr().String() + "/ingest/cam",
		"http://" + s.on.http.Addr().String() + "/watch/demo",
		"broadcastd record --relay moqt://localhost:" + portOf(s.on.moqTCP.Addr()) + " --cert-sha256 " + s.certs.Hash(),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the greeting lacks %q:\n%s", want, text)
		}
	}
	if again := s.greeting("", ""); strings.Contains(again, "admin key") {
		t.Errorf("the greeting of a later start shows a key:\n%s", again)
	}
}
