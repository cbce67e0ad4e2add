package control

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control/sealing"
)

// A SigningKey signs playback tokens.
type SigningKey struct {
	ID           string // the kid of its tokens
	Org          string
	Alg          auth.Algorithm
	Use          string // "playback"
	PublicKeyPEM string // PKIX
	Status       string // "active" or "inactive"
	Created      time.Time
	Revision     uint64
}

// The states of a signing key.
const (
	KeyActive   = "active"
	KeyInactive = "inactive" // its tokens count no longer, and its private half is gone
)

// usePlayback is what signing keys are for.
const usePlayback = "playback"

type signingKeyRecord struct {
	ID          string         `json:"id"`
	Org         string         `json:"org"`
	Alg         auth.Algorithm `json:"alg"`
	Public      []byte         `json:"public"`            // PKIX, DER
	Private     *sealing.Box   `json:"private,omitempty"` // PKCS #8, DER
	Created     time.Time      `json:"created"`
	Deactivated time.Time      `json:"deactivated,omitzero"`
	// public is Public, parsed; private gives Private, which takes a while.
	public  crypto.PublicKey
	private func() (crypto.Signer, error)
}

// rsaBits is the size of a new RSA key: what RFC 7518 section 3.3 asks for and more.
const rsaBits = 3072

// CreateSigningKey makes a signing key; an empty alg means Ed25519. RS256 takes
// some tenths of a second.
func (s *Service) CreateSigningKey(ctx context.Context, org string, alg auth.Algorithm) (SigningKey, error) {
	if err := s.needOrg(ctx, org); err != nil {
		return SigningKey{}, err
	}
	release, err := s.reserve(KindSigningKey, org, s.limit.SigningKeys, func() int { return s.signing.ofOrg[org] })
	if err != nil {
		return SigningKey{}, err
	}
	defer release()
	var private crypto.Signer
	switch cmp.Or(alg, auth.Ed25519) {
	case auth.Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case auth.RS256:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return SigningKey{}, invalid("alg", "%.20q, want %s or %s", alg, auth.Ed25519, auth.RS256)
	}
	if err != nil {
		return SigningKey{}, fmt.Errorf("control: make a signing key: %w", err)
	}
	rec, err := s.signingRecord("k_"+randomText(idBytes), org, cmp.Or(alg, auth.Ed25519), private)
	if err != nil {
		return SigningKey{}, err
	}
	r, err := create(ctx, s, s.signing, rec)
	if err != nil {
		return SigningKey{}, err
	}
	return signingKey(r), s.emitKey(ctx, "signing-key.created", org, rec.ID)
}

func (s *Service) signingRecord(id, org string, alg auth.Algorithm, private crypto.Signer) (signingKeyRecord, error) {
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return signingKeyRecord{}, fmt.Errorf("control: make a signing key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return signingKeyRecord{}, fmt.Errorf("control: make a signing key: %w", err)
	}
	return signingKeyRecord{
		ID: id, Org: org, Alg: alg, Public: public, Private: s.cfg.Secrets.Seal(id, "private", secret), Created: s.now(),
	}, nil
}

// openSigningKey checks a record and parses its keys, the private one when it is
// needed.
func (s *Service) openSigningKey(rec *signingKeyRecord) error {
	var err error
	if rec.public, err = x509.ParsePKIXPublicKey(rec.Public); err != nil {
		return errors.New("its public key is none")
	}
	_, isEd := rec.public.(ed25519.PublicKey)
	_, isRSA := rec.public.(*rsa.PublicKey)
	if !(isEd && rec.Alg == auth.Ed25519) && !(isRSA && rec.Alg == auth.RS256) { // a token never chooses
		return fmt.Errorf("a %T does not sign %.20q", rec.public, rec.Alg)
	}
	id, box := rec.ID, rec.Private
	rec.private = sync.OnceValues(func() (crypto.Signer, error) { return s.openPrivate(id, box) })
	return nil
}

func (s *Service) openPrivate(id string, box *sealing.Box) (crypto.Signer, error) {
	if box == nil {
		return nil, fail(Conflict, "the signing key %s cannot sign: its private half is not here", id)
	}
	secret, err := s.cfg.Secrets.Unseal(id, "private", box)
	if err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS8PrivateKey(secret)
	signer, ok := private.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("control: the private half of %s is no key", id) // err may quote it
	}
	return signer, nil
}

// SigningKey returns a signing key.
func (s *Service) SigningKey(_ context.Context, id string) (SigningKey, error) {
	r, ok := get(s, s.signing, id)
	if !ok {
		return SigningKey{}, s.signing.missing(id)
	}
	return signingKey(r), nil
}

// SigningKeys lists the signing keys of an organisation, or all if org is empty.
func (s *Service) SigningKeys(_ context.Context, org string, p Page) (List[SigningKey], error) {
	return list(s, s.signing, p, func(k *signingKeyRecord) time.Time { return k.Created }, ofOrg(s.signing, org), signingKey)
}

// DeactivateSigningKey makes the tokens of a signing key count no longer. One
// that is inactive is left as it is.
func (s *Service) DeactivateSigningKey(ctx context.Context, id string) (SigningKey, error) {
	done := false
	r, err := update(ctx, s, s.signing, id, 0, func(k *signingKeyRecord) error {
		if done = k.Deactivated.IsZero(); done {
			k.Deactivated, k.Private = s.now(), nil
		}
		return nil
	})
	if err == nil && done {
		err = s.emitKey(ctx, "signing-key.deactivated", r.rec.Org, id)
	}
	return signingKey(r), err
}

func signingKey(r row[signingKeyRecord]) SigningKey {
	k := r.rec
	out := SigningKey{
		ID: k.ID, Org: k.Org, Alg: k.Alg, Use: usePlayback, Status: KeyActive, Created: k.Created, Revision: r.rev,
		PublicKeyPEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.Public})),
	}
	if !k.Deactivated.IsZero() {
		out.Status = KeyInactive
	}
	return out
}
