package control

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/broadcastd/broadcastd/internal/control/sealing"
	"github.com/broadcastd/broadcastd/internal/store"
)

// Secrets are the keys that the store's records are worth nothing without.
type Secrets = sealing.Keys

// OpenSecrets reads the secrets of a state directory, and makes those that are
// missing. Where keys were made as files before, their pepper is taken over.
func OpenSecrets(dir string) (Secrets, error) {
	return sealing.Open(dir, filepath.Join(dir, keyFolder, oldPepper))
}

// keySecrets is the record by which lost or swapped secrets are noticed.
const keySecrets = "meta/secrets"

type secretsRecord struct {
	Pepper  string `json:"pepper"`  // a hash made with it
	Sealing string `json:"sealing"` // its KeyID
}

// checkSecrets makes sure that the store was written with the secrets at hand:
// with others, every key would be refused and nobody would know why.
func (s *Service) checkSecrets(ctx context.Context) error {
	want := secretsRecord{hex.EncodeToString(s.cfg.Secrets.Hash("check", "")[:8]), sealing.KeyID(s.cfg.Secrets.Sealing)}
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
		wrong = append(wrong, sealing.PepperFile)
	}
	if have.Sealing != want.Sealing {
		wrong = append(wrong, sealing.SealingFile)
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
