package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSelfSignedIsWhatBrowsersTake(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), Hosts: []string{"live.example", "192.0.2.1"}})
	leaf := s.Leaf()
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 14*24*time.Hour || life < 13*24*time.Hour {
		t.Errorf("life = %v, want just below 14 days", life)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "live.example", "192.0.2.1"} {
		if err := leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	sum := sha256.Sum256(leaf.Raw)
	if got, want := s.Hash(), hex.EncodeToString(sum[:]); got != want {
		t.Errorf("Hash() = %s, want %s", got, want)
	}
	if got := s.Hashes(); !slices.Equal(got, []string{s.Hash()}) {
		t.Errorf("Hashes() = %v, want the one", got)
	}
}

func TestSelfSignedIsKept(t *testing.T) {
	dir := t.TempDir()
	first := open(t, Config{Dir: dir}).Hash()
	if again := open(t, Config{Dir: dir}).Hash(); again != first {
		t.Errorf("hash after a restart = %s, want %s", again, first)
	}
	info, err := os.Stat(filepath.Join(dir, currentFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file has mode %v, want 0600", info.Mode().Perm())
	}
	if err := os.WriteFile(filepath.Join(dir, currentFile), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := open(t, Config{Dir: dir}).Hash(); again == first || again == "" {
		t.Errorf("hash after the file was spoilt = %q, want a new one", again)
	}
}

func TestPlan(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	in := func(d time.Duration) time.Time { return now.Add(d) }
	for _, tt := range []struct {
		name          string
		current, next time.Time
		want          step
	}{
		{"nothing there", time.Time{}, time.Time{}, replace},
		{"fresh", in(13 * day), time.Time{}, keep},
		{"four days left", in(4 * day), time.Time{}, announce},
		{"four days left, announced", in(4 * day), in(13 * day), keep},
		{"two days left", in(2 * day), in(11 * day), change},
		{"two days left, nothing announced", in(2 * day), time.Time{}, replace},
		{"ended while asleep", in(-day), in(9 * day), change},
		{"both ended", in(-20 * day), in(-day), replace},
		{"first lost, next there", time.Time{}, in(9 * day), change},
		{"announced long ago", in(3 * day), in(day), announce},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := plan(now, tt.current, tt.next); got != tt.want {
				t.Errorf("plan = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestRenewal runs for 40 days: whatever hashes a page holds, they are enough
// at least until a day later.
func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Dir: dir})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		changes, last := 0, s.Hash()
		held := s.Hashes()
		for range 40 {
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			now := s.Hash()
			if !slices.Contains(held, now) {
				t.Fatalf("the hashes of a day ago are %v, the certificate is %s", held, now)
			}
			if leaf := s.Leaf(); time.Now().After(leaf.NotAfter.Add(-24*time.Hour)) || time.Now().Before(leaf.NotBefore) {
				t.Fatalf("at %v the certificate is valid from %v to %v", time.Now(), leaf.NotBefore, leaf.NotAfter)
			}
			if now != last {
				changes++
			}
			last, held = now, s.Hashes()
		}
		if changes != 3 && changes != 4 {
			t.Errorf("changes in 40 days = %d, want 3 or 4", changes)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
	})
}

func writePair(t *testing.T, cert, key string) (leafHash string) {
	t.Helper()
	c, text, err := selfSigned(time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{cert, key} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return hash(c)
}

func TestFilesAreReloaded(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := Open(Config{CertFile: cert, KeyFile: key}); err == nil {
		t.Fatal("Open without the files = nil error")
	}
	first := writePair(t, cert, key)
	s := open(t, Config{CertFile: cert, KeyFile: key})
	if s.Hash() != first {
		t.Fatalf("hash = %s, want %s", s.Hash(), first)
	}
	later := time.Now().Add(time.Second) // mtime may be too coarse to tell two writes apart
	if err := os.WriteFile(cert, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chtimes(cert, later, later)
	s.reloadChanged()
	if s.Hash() != first {
		t.Error("a broken file replaced the good certificate")
	}
	second := writePair(t, cert, key)
	later = later.Add(time.Second)
	os.Chtimes(cert, later, later)
	s.reloadChanged()
	if s.Hash() != second {
		t.Errorf("hash after the change = %s, want %s", s.Hash(), second)
	}
}

func TestHandshake(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Server(server, s.Config("h3")).Handshake() }()
	c := tls.Client(client, &tls.Config{NextProtos: []string{"h3"}, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	state := c.ConnectionState()
	sum := sha256.Sum256(state.PeerCertificates[0].Raw)
	if hex.EncodeToString(sum[:]) != s.Hash() || state.NegotiatedProtocol != "h3" {
		t.Errorf("peer got %x with %q", sum, state.NegotiatedProtocol)
	}
}

func TestServeHTTP(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	for _, tt := range []struct {
		method string
		status int
		body   string
	}{
		{"GET", 200, s.Hash()},
		{"OPTIONS", 204, ""},
		{"POST", 405, "only GET is answered here\n"},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(tt.method, "/certificate.sha256", nil))
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s = %d %q, want %d %q", tt.method, w.Code, w.Body, tt.status, tt.body)
		}
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != "*" {
			t.Errorf("%s: Access-Control-Allow-Origin = %q", tt.method, got)
		}
	}
}

func TestAuthorityCertificateHasNoHash(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.StartTLS()
	defer srv.Close()
	c := srv.TLS.Certificates[0] // RSA, valid for decades
	c.Leaf = srv.Certificate()
	s := &Store{current: &c}
	if got := s.Hash(); got != "" {
		t.Errorf("Hash() = %q, want none", got)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/certificate.sha256", nil))
	if w.Code != 404 || !strings.Contains(w.Body.String(), "authority") {
		t.Errorf("GET = %d %q, want 404 with the reason", w.Code, w.Body)
	}
}
