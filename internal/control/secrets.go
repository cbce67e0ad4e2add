package control

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/broadcastd/broadcastd/internal/store"
)

// Secrets are what the store's records are worth nothing without; they are kept
// apart from it. 32 bytes each.
type Secrets struct {
	// Pepper is the key of the hashes of what is only ever compared.
	Pepper []byte
	// Sealing encrypts what must be read back: private keys, passphrases, URLs
	// with passwords.
	Sealing []byte
}

const secretSize = 32

// Names of the files of Secrets.
const (
	pepperFile  = "pepper.key"
	sealingFile = "sealing.key"
)

// OpenSecrets reads the files pepper.key and sealing.key of a state directory,
// and makes those that are missing, mode 0600. Where keys were made as files
// before, their pepper is taken over.
func OpenSecrets(dir string) (s Secrets, err error) {
	if s.Pepper, err = openSecret(filepath.Join(dir, pepperFile), filepath.Join(dir, keyFolder, oldPepper)); err != nil {
		return s, err
	}
	s.Sealing, err = openSecret(filepath.Join(dir, sealingFile), "")
	return s, err
}

// openSecret reads a secret. If there is none, that of old becomes it, or else a
// new one.
func openSecret(path, old string) ([]byte, error) {
	secret, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if secret, err = readSecret(old); errors.Is(err, fs.ErrNotExist) {
		secret = make([]byte, secretSize)
		rand.Read(secret) // never fails
	} else if err != nil {
		return nil, err
	}
	return secret, writeSecret(path, secret)
}

func readSecret(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("control: read a secret: %w", err)
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(secret) != secretSize {
		return nil, fmt.Errorf("control: %s does not hold %d bytes in hexadecimal", path, secretSize)
	}
	return secret, nil
}

// writeSecret writes a file that is whole or not there, also after a crash.
func writeSecret(path string, secret []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("control: make a secret: %w", err)
	}
	_, err = fmt.Fprintln(f, hex.EncodeToString(secret))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("control: make a secret: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s Secrets) check() error {
	if len(s.Pepper) != secretSize || len(s.Sealing) != secretSize {
		return fmt.Errorf("control: Secrets of %d and %d bytes, want %d each", len(s.Pepper), len(s.Sealing), secretSize)
	}
	return nil
}

// hash returns the keyed hash of a secret that is used for purpose.
func (s Secrets) hash(purpose, secret string) []byte {
	mac := hmac.New(sha256.New, s.Pepper)
	fmt.Fprintf(mac, "%s\x00%s", purpose, secret)
	return mac.Sum(nil)
}

// sealed is something encrypted: AES-256-GCM under the sealing key, with what it
// belongs to as associated data, so that it opens nowhere else.
type sealed struct {
	Key  string `json:"key"`  // which sealing key; see keyID
	Data []byte `json:"data"` // nonce and ciphertext
}

// keyID tells sealing keys apart, and says nothing of them.
func keyID(sealing []byte) string {
	mac := hmac.New(sha256.New, sealing)
	mac.Write([]byte("key id"))
	return hex.EncodeToString(mac.Sum(nil)[:4])
}

func (s Secrets) gcm() cipher.AEAD {
	block, err := aes.NewCipher(s.Sealing)
	if err != nil {
		panic(err) // check has seen its size
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the block size that GCM wants
	}
	return gcm
}

// seal encrypts text for the field of a record.
func (s Secrets) seal(record, field string, text []byte) *sealed {
	return &sealed{keyID(s.Sealing), s.gcm().Seal(nil, nil, text, []byte(record+"#"+field))}
}

// unseal is the opposite of seal.
func (s Secrets) unseal(record, field string, box *sealed) ([]byte, error) {
	if box == nil {
		return nil, nil
	}
	if have := keyID(s.Sealing); box.Key != have {
		return nil, fmt.Errorf("control: %s of %s was encrypted with the key %.20q, %s holds %q", field, record, box.Key, sealingFile, have)
	}
	text, err := s.gcm().Open(nil, nil, box.Data, []byte(record+"#"+field))
	if err != nil {
		return nil, fmt.Errorf("control: %s of %s is damaged, or was made for another record", field, record)
	}
	return text, nil
}

// keySecrets is the record by which lost or swapped secrets are noticed.
const keySecrets = "meta/secrets"

type secretsRecord struct {
	Pepper  string `json:"pepper"`  // a hash made with it
	Sealing string `json:"sealing"` // its keyID
}

// checkSecrets makes sure that the store was written with the secrets at hand:
// with others, every key would be refused and nobody would know why.
func (s *Service) checkSecrets(ctx context.Context) error {
	want := secretsRecord{hex.EncodeToString(s.cfg.Secrets.hash("check", "")[:8]), keyID(s.cfg.Secrets.Sealing)}
	text, err := json.Marshal(want)
	if err != nil {
		return err
	}
	if _, err := s.cfg.Store.Put(ctx, keySecrets, text, store.New); !errors.Is(err, store.ErrConflict) {
		return err
	}
	e, err := s.cfg.Store.Get(ctx, keySecrets)
	if err != nil {
		return failed("read the state", err)
	}
	var have secretsRecord
	if err := json.Unmarshal(e.Value, &have); err != nil {
		return fmt.Errorf("control: %s is no record", keySecrets)
	}
	var wrong []string
	if have.Pepper != want.Pepper {
		wrong = append(wrong, pepperFile)
	}
	if have.Sealing != want.Sealing {
		wrong = append(wrong, sealingFile)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("control: %s in the state directory is not the one that the state was written with: restore it from the same copy as the store", strings.Join(wrong, " and "))
	}
	return nil
}

// randomText returns n random bytes as lower-case letters and digits.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// Sizes of ids and secrets in random bytes: the secrets have 200 bits.
const (
	idBytes     = 10
	secretBytes = 25
)
