package auth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base32"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A KeyKind says what a key is for.
type KeyKind string

// The kinds of key.
const (
	SigningKey KeyKind = "signing" // signs playback tokens
	StreamKey  KeyKind = "stream"  // lets an encoder publish one stream
)

// An Algorithm names how a signing key signs, as the API shows it. In a token's
// header Ed25519 reads "EdDSA" (RFC 8037).
type Algorithm string

// The algorithms of signing keys.
const (
	Ed25519 Algorithm = "Ed25519"
	RS256   Algorithm = "RS256"
)

// header returns the algorithm as it stands in a token's header.
func (a Algorithm) header() string {
	if a == Ed25519 {
		return "EdDSA"
	}
	return string(a)
}

// rsaBits is the size of a new RSA key: what RFC 7518 section 3.3 asks for and more.
const rsaBits = 3072

// A Key is one key as its file holds it. The file is JSON, one key each.
type Key struct {
	// ID is a token's kid, or the public part of a stream key.
	ID      string    `json:"id"`
	Kind    KeyKind   `json:"kind"`
	Created time.Time `json:"created"`
	Revoked time.Time `json:"revoked,omitzero"`

	// Of a signing key: PEM of PKCS #8 and PKIX.
	Algorithm Algorithm `json:"alg,omitempty"`
	Private   string    `json:"private,omitempty"`
	Public    string    `json:"public,omitempty"`

	// Of a stream key: the namespace that it may publish, its fields joined by
	// "/", and the keyed hash of its secret, in hexadecimal.
	Stream string `json:"stream,omitempty"`
	Hash   string `json:"hash,omitempty"`

	public  crypto.PublicKey
	private crypto.Signer
}

// Active says whether the key still counts.
func (k Key) Active() bool { return k.Revoked.IsZero() }

// newSigningKey makes a key for signing playback tokens.
func newSigningKey(alg Algorithm, now time.Time) (*Key, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("auth: algorithm %.20q, want %s or %s", alg, Ed25519, RS256)
	}
	if err != nil {
		return nil, err
	}
	k := &Key{
		ID: "k_" + randomText(10), Kind: SigningKey, Created: now.UTC().Truncate(time.Second), Algorithm: alg,
		public: private.Public(), private: private,
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	k.Private = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if der, err = x509.MarshalPKIXPublicKey(private.Public()); err != nil {
		return nil, err
	}
	k.Public = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return k, nil
}

// resolve checks a key that was read and parses what it holds.
func (k *Key) resolve() error {
	switch k.Kind {
	case StreamKey:
		if k.Stream == "" || k.Hash == "" {
			return errors.New("a stream key without stream or hash")
		}
		return nil
	case SigningKey:
	default:
		return fmt.Errorf("kind %.20q, want %s or %s", k.Kind, SigningKey, StreamKey)
	}
	block, _ := pem.Decode([]byte(k.Public))
	if block == nil {
		return errors.New("public is not PEM")
	}
	var err error
	if k.public, err = x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		return fmt.Errorf("public: %w", err)
	}
	if k.Private != "" {
		if block, _ = pem.Decode([]byte(k.Private)); block == nil {
			return errors.New("private is not PEM")
		}
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return errors.New("private is no PKCS #8 key") // says nothing of what it holds
		}
		k.private, _ = private.(crypto.Signer)
	}
	return pin(k.Algorithm, k.public)
}

// RSA keys of these sizes in bits are taken.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// pin checks that a public key is one of its algorithm, which a token never
// chooses, and not one with which anybody can sign.
func pin(alg Algorithm, public crypto.PublicKey) error {
	switch k := public.(type) {
	case ed25519.PublicKey:
		switch {
		case alg != Ed25519 || len(k) != ed25519.PublicKeySize:
		case lowOrder(k):
			return errors.New("an Ed25519 key of low order, which verifies anything")
		default:
			return nil
		}
	case *rsa.PublicKey:
		switch bits := k.N.BitLen(); {
		case alg != RS256:
		case bits < minRSABits || bits > maxRSABits || k.E < 65537:
			return fmt.Errorf("an RSA key of %d bits and exponent %d, want %d to %d bits and 65537 or more", bits, k.E, minRSABits, maxRSABits)
		default:
			return nil
		}
	}
	return fmt.Errorf("a %T does not sign %.20q", public, alg)
}

// lowOrder says whether a public key is one of the points of order 8 or less,
// in any of their encodings (RFC 8032 section 5.1; "Taming the many EdDSAs",
// 2020, table 1). Signatures of such a key can be made without a private one.
func lowOrder(k ed25519.PublicKey) bool {
	y := [ed25519.PublicKeySize]byte(k)
	y[31] &= 0x7f // without the sign of x
	return slices.Contains(lowOrderPoints, hex.EncodeToString(y[:]))
}

var lowOrderPoints = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// randomText returns n random bytes as lower-case letters and digits.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}
