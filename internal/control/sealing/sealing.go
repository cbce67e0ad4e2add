// Package sealing keeps the two keys beside the store of a state directory: one
// hashes what is only ever compared, the other encrypts what must be read back.
package sealing

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Keys are what the store's records are worth nothing without; they are kept
// apart from it. 32 bytes each.
type Keys struct {
	// Pepper is the key of the hashes of what is only ever compared.
	Pepper []byte
	// Sealing encrypts what must be read back: private keys, passphrases, URLs
	// with passwords.
	Sealing []byte
}

// Size is that of each key, in bytes.
const Size = 32

// Names of the files.
const (
	PepperFile  = "pepper.key"
	SealingFile = "sealing.key"
)

// Open reads the files pepper.key and sealing.key of a state directory, and makes
// those that are missing, mode 0600. The file oldPepper, if there is one, becomes
// the pepper of a directory that has none.
func Open(dir, oldPepper string) (k Keys, err error) {
	if k.Pepper, err = openSecret(filepath.Join(dir, PepperFile), oldPepper); err != nil {
		return k, err
	}
	k.Sealing, err = openSecret(filepath.Join(dir, SealingFile), "")
	return k, err
}

// openSecret reads a secret. If there is none, that of old becomes it, or else a
// new one.
func openSecret(path, old string) ([]byte, error) {
	secret, err := ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if secret, err = ReadFile(old); errors.Is(err, fs.ErrNotExist) {
		secret = make([]byte, Size)
		rand.Read(secret) // never fails
	} else if err != nil {
		return nil, err
	}
	return secret, writeSecret(path, secret)
}

// ReadFile reads the file of one key.
func ReadFile(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("control: read a secret: %w", err)
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(secret) != Size {
		return nil, fmt.Errorf("control: %s does not hold %d bytes in hexadecimal", path, Size)
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
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Check says whether they are of their size.
func (k Keys) Check() error {
	if len(k.Pepper) != Size || len(k.Sealing) != Size {
		return fmt.Errorf("control: Secrets of %d and %d bytes, want %d each", len(k.Pepper), len(k.Sealing), Size)
	}
	return nil
}

// Hash returns the keyed hash of a secret that is used for purpose.
func (k Keys) Hash(purpose, secret string) []byte {
	mac := hmac.New(sha256.New, k.Pepper)
	fmt.Fprintf(mac, "%s\x00%s", purpose, secret)
	return mac.Sum(nil)
}

// A Box is something encrypted: AES-256-GCM under the sealing key, with what it
// belongs to as associated data, so that it opens nowhere else.
type Box struct {
	Key  string `json:"key"`  // which sealing key; see KeyID
	Data []byte `json:"data"` // nonce and ciphertext
}

// KeyID tells sealing keys apart, and says nothing of them.
func KeyID(sealing []byte) string {
	mac := hmac.New(sha256.New, sealing)
	mac.Write([]byte("key id"))
	return hex.EncodeToString(mac.Sum(nil)[:4])
}

func (k Keys) gcm() cipher.AEAD {
	block, err := aes.NewCipher(k.Sealing)
	if err != nil {
		panic(err) // Check has seen its size
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the block size that GCM wants
	}
	return gcm
}

// Seal encrypts text for the field of a record.
func (k Keys) Seal(record, field string, text []byte) *Box {
	return &Box{KeyID(k.Sealing), k.gcm().Seal(nil, nil, text, []byte(record+"#"+field))}
}

// Unseal is the opposite of Seal; of nil it is nil.
func (k Keys) Unseal(record, field string, box *Box) ([]byte, error) {
	if box == nil {
		return nil, nil
	}
	if have := KeyID(k.Sealing); box.Key != have {
		return nil, fmt.Errorf("control: %s of %s was encrypted with the key %.20q, %s holds %q", field, record, box.Key, SealingFile, have)
	}
	text, err := k.gcm().Open(nil, nil, box.Data, []byte(record+"#"+field))
	if err != nil {
		return nil, fmt.Errorf("control: %s of %s is damaged, or was made for another record", field, record)
	}
	return text, nil
}
