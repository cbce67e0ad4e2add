package transport

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

var errPin = errors.New("transport: the certificate does not match")

// clientTLS returns cfg.TLS with ALPN, name and certificate checks as cfg says.
func clientTLS(cfg DialConfig, host string, alpn ...string) *tls.Config {
	c := &tls.Config{}
	if cfg.TLS != nil {
		c = cfg.TLS.Clone()
	}
	c.NextProtos = alpn
	c.MinVersion = tls.VersionTLS13
	if c.ServerName == "" {
		c.ServerName = host
	}
	if cfg.Insecure {
		c.InsecureSkipVerify = true
	}
	if len(cfg.CertSHA256) > 0 {
		c.InsecureSkipVerify = true // the pin takes its place
		verify := c.VerifyConnection
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if err := checkPin(s, cfg.CertSHA256, time.Now()); err != nil {
				return err
			}
			if verify != nil {
				return verify(s)
			}
			return nil
		}
	}
	return c
}

// checkPin compares the leaf certificate with the pins.
func checkPin(s tls.ConnectionState, pins [][]byte, now time.Time) error {
	if len(s.PeerCertificates) == 0 {
		return fmt.Errorf("%w: the server sent none", errPin)
	}
	leaf := s.PeerCertificates[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("%w: it is valid from %v to %v", errPin,
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	sum := sha256.Sum256(leaf.Raw)
	for _, pin := range pins {
		if subtle.ConstantTimeCompare(sum[:], pin) == 1 {
			return nil
		}
	}
	return fmt.Errorf("%w: its SHA-256 is %x", errPin, sum)
}
