package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"
)

// The life of a self-signed certificate. The next one is made, and its hash
// announced, two days before the change; the change comes two days before the
// end, so that a machine that slept over it comes back with a valid one.
const (
	maxLife    = 14 * 24 * time.Hour
	life       = maxLife - time.Hour // counted from notBefore
	backdate   = time.Hour           // for clients whose clock is behind
	announceAt = 4 * 24 * time.Hour  // this long before the end
	changeAt   = 2 * 24 * time.Hour
)

// The files in Config.Dir: certificate and key, both PEM.
const (
	currentFile = "self-signed.pem"
	nextFile    = "self-signed-next.pem"
)

// A step is what has to happen to a pair of certificates.
type step int

const (
	keep     step = iota
	announce      // make the next one
	change        // the next one becomes the current one
	replace       // make a current one at once: there is none, or it has ended
)

// plan decides the next step. A zero end time is a certificate that is not there.
func plan(now, currentEnd, nextEnd time.Time) step {
	left := func(end time.Time) time.Duration { return end.Sub(now) }
	switch {
	case currentEnd.IsZero() || left(currentEnd) <= changeAt:
		if !nextEnd.IsZero() && left(nextEnd) > changeAt {
			return change
		}
		return replace
	case left(currentEnd) <= announceAt && (nextEnd.IsZero() || left(nextEnd) <= announceAt):
		return announce
	}
	return keep
}

// renew does all that is due by now.
func (s *Store) renew() error {
	for {
		s.mu.Lock()
		current, next := s.current, s.next
		s.mu.Unlock()
		switch plan(s.cfg.Now(), end(current), end(next)) {
		case keep:
			return nil
		case announce:
			c, err := s.make(nextFile)
			if err != nil {
				return err
			}
			s.set(current, c)
			s.cfg.Log.Info("next certificate made", "hash", hash(c), "until", c.Leaf.NotAfter)
		case change:
			if err := os.Rename(s.path(nextFile), s.path(currentFile)); err != nil {
				return fmt.Errorf("certs: %w", err)
			}
			s.set(next, nil)
			s.cfg.Log.Info("certificate changed", "hash", hash(next), "until", next.Leaf.NotAfter)
		case replace:
			c, err := s.make(currentFile)
			if err != nil {
				return err
			}
			s.set(c, nil)
			s.cfg.Log.Debug("certificate made", "hash", hash(c), "until", c.Leaf.NotAfter)
		}
	}
}

func (s *Store) set(current, next *tls.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.next = current, next
}

func end(c *tls.Certificate) time.Time {
	if c == nil {
		return time.Time{}
	}
	return c.Leaf.NotAfter
}

// read returns the certificate of a file, or nil when there is none that
// browsers would take; the caller then makes another.
func (s *Store) read(name string) *tls.Certificate {
	text, err := os.ReadFile(s.path(name))
	if err == nil {
		var c tls.Certificate
		if c, err = tls.X509KeyPair(text, text); err == nil {
			if pinnable(c.Leaf) && !s.cfg.Now().Before(c.Leaf.NotBefore) {
				return &c
			}
			err = errors.New("lives too long, begins later, or has no P-256 key")
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Log.Warn("kept certificate not usable", "file", s.path(name), "err", err)
	}
	return nil
}

// make makes a certificate and keeps it under name.
func (s *Store) make(name string) (*tls.Certificate, error) {
	c, text, err := selfSigned(s.cfg.Now(), s.cfg.Hosts)
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	// Through another name, so that a crash leaves the old file or the new one.
	tmp := s.path(name + ".tmp")
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	if err := os.Rename(tmp, s.path(name)); err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	return c, nil
}

// selfSigned makes a certificate and its PEM form, which holds the key too.
func selfSigned(now time.Time, hosts []string) (*tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	begin := now.Add(-backdate).UTC().Truncate(time.Second)
	template := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "broadcastd self-signed"},
		NotBefore:    begin,
		NotAfter:     begin.Add(life),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if h != "" && h != "localhost" {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	var text bytes.Buffer
	for _, b := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := pem.Encode(&text, b); err != nil {
			return nil, nil, err
		}
	}
	c, err := tls.X509KeyPair(text.Bytes(), text.Bytes())
	if err != nil {
		return nil, nil, err
	}
	return &c, text.Bytes(), nil
}
