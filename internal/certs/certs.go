// Package certs gives the daemon its TLS certificate: a self-signed one that
// browsers accept by its hash, kept in the state directory and renewed while
// running, or one from files, read again when they change.
//
// Browsers take a certificate by hash (serverCertificateHashes) when it holds
// an ECDSA P-256 key and is valid for at most 14 days:
// W3C WebTransport, section 6.9 (custom certificate requirements).
package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Config configures a Store.
type Config struct {
	// Dir is where the self-signed certificates are kept. It is made when it
	// is not there. Empty is an error, unless CertFile is set.
	Dir string
	// CertFile and KeyFile name PEM files to use instead.
	CertFile, KeyFile string
	// Hosts are names and addresses for the self-signed certificate, beside
	// localhost and the loopback addresses.
	Hosts []string
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	Log *slog.Logger // nil discards
}

// A Store holds the certificate in use. Its methods may be called from several
// goroutines.
type Store struct {
	cfg Config

	mu      sync.Mutex
	current *tls.Certificate
	next    *tls.Certificate // self-signed: the one to change to, or nil
	stamp   [2]fileStamp     // files: what was read last
}

// fileStamp tells one version of a file from another.
type fileStamp struct {
	mod  time.Time
	size int64
}

// Open reads or makes the certificate.
func Open(cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg}
	if s.fromFiles() {
		if err := s.Reload(); err != nil {
			return nil, err
		}
		return s, nil
	}
	if cfg.Dir == "" {
		return nil, errors.New("certs: no directory to keep a certificate in")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	s.current, s.next = s.read(currentFile), s.read(nextFile)
	if err := s.renew(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) fromFiles() bool { return s.cfg.CertFile != "" }

// checkEvery is how often Run looks at the clock and at the files. It is not
// one long timer, because a suspended machine's timers stand still.
const checkEvery = 15 * time.Second

// Run renews or reloads the certificate until ctx ends, and returns its cause.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if s.fromFiles() {
			s.reloadChanged()
			continue
		}
		if err := s.renew(); err != nil { // the old one may be good for days yet
			s.cfg.Log.Error("certificate not renewed", "err", err)
		}
	}
}

// Config returns a TLS configuration for a listener with these ALPN names.
func (s *Store) Config(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     protocols,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.Certificate(), nil },
	}
}

// Certificate returns the certificate to present now.
func (s *Store) Certificate() *tls.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Hash returns the SHA-256 of the certificate in hexadecimal, or "" when
// browsers do not take it by its hash, which is so for those of an authority.
func (s *Store) Hash() string {
	c := s.Certificate()
	if !pinnable(c.Leaf) {
		return ""
	}
	return hash(c)
}

// Hashes returns the hashes of all certificates that a client should accept:
// the one in use and, around a change, the one that comes next. A page that
// holds both reconnects across the change.
func (s *Store) Hashes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, c := range []*tls.Certificate{s.current, s.next} {
		if c != nil && pinnable(c.Leaf) {
			list = append(list, hash(c))
		}
	}
	return list
}

// Leaf returns the certificate in use.
func (s *Store) Leaf() *x509.Certificate { return s.Certificate().Leaf }

// ServeHTTP answers /certificate.sha256: 64 hexadecimal digits and nothing
// else, because stock players (@moq/net) refuse even a line feed behind them.
// Any page may read it, for a player's page comes from anywhere.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		// Chromium's Private Network Access asks before a public page may read
		// from a private address.
		h.Set("Access-Control-Allow-Methods", "GET")
		h.Set("Access-Control-Allow-Private-Network", "true")
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "only GET is answered here", http.StatusMethodNotAllowed)
		return
	}
	sum := s.Hash()
	if sum == "" {
		http.Error(w, "this server's certificate is checked by its authority, not by its hash", http.StatusNotFound)
		return
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte(sum))
}

// Reload reads the files again, whether they changed or not. When that fails,
// the certificate in use stays. Without files it does nothing.
func (s *Store) Reload() error {
	if !s.fromFiles() {
		return nil
	}
	stamp := s.stat()
	c, err := tls.LoadX509KeyPair(s.cfg.CertFile, s.cfg.KeyFile)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stamp = stamp // also after a failure: complain once for each change
	if err != nil {
		return fmt.Errorf("certs: %s and %s: %w", s.cfg.CertFile, s.cfg.KeyFile, err)
	}
	s.current = &c
	return nil
}

func (s *Store) reloadChanged() {
	s.mu.Lock()
	old := s.stamp
	s.mu.Unlock()
	if s.stat() == old {
		return
	}
	if err := s.Reload(); err != nil {
		s.cfg.Log.Error("certificate not reloaded", "err", err)
		return
	}
	s.cfg.Log.Info("certificate reloaded", "file", s.cfg.CertFile, "until", s.Leaf().NotAfter)
}

func (s *Store) stat() (stamp [2]fileStamp) {
	for i, name := range []string{s.cfg.CertFile, s.cfg.KeyFile} {
		if info, err := os.Stat(name); err == nil {
			stamp[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return stamp
}

// pinnable reports whether browsers take c by its hash.
func pinnable(c *x509.Certificate) bool {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	return ok && key.Curve == elliptic.P256() && c.NotAfter.Sub(c.NotBefore) <= maxLife
}

func hash(c *tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return hex.EncodeToString(sum[:])
}

func (s *Store) path(name string) string { return filepath.Join(s.cfg.Dir, name) }
