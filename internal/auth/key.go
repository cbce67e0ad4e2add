package auth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
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
