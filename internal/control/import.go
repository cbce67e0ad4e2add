package control

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control/sealing"
)

// Before there was a store, keys were files, one JSON object each in a folder of
// the state directory, with the key of their hashes beside them.
const (
	keyFolder   = "keys"
	oldPepper   = "hash.key"
	maxKeyFile  = 64 << 10 // bytes
	maxKeyFiles = 10_000
)

// A fileKey is a key as its file held it.
type fileKey struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"` // "signing" or "stream"
	Created time.Time `json:"created"`
	Revoked time.Time `json:"revoked"`

	// Of a signing key: PEM of PKCS #8 and PKIX.
	Algorithm auth.Algorithm `json:"alg"`
	Private   string         `json:"private"`
	Public    string         `json:"public"`

	// Of a stream key: what it may publish, and the keyed hash of its secret.
	Stream string `json:"stream"`
	Hash   string `json:"hash"`
}

// ImportKeys takes over the keys that are files in the folder keys of a state
// directory, and then renames the folder, so that it happens once. Keys that are
// there already stay as they are: an import that a crash cut short is done again.
func (s *Service) ImportKeys(ctx context.Context, stateDir string) (imported int, err error) {
	dir := filepath.Join(stateDir, keyFolder)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("control: import keys: %w", err)
	}
	var files []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".json" && e.Type().IsRegular() {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	if len(files) == 0 {
		return 0, nil
	}
	if len(files) > maxKeyFiles {
		return 0, fmt.Errorf("control: import keys: %s holds %d, at most %d are taken", dir, len(files), maxKeyFiles)
	}
	slices.SortStableFunc(files, func(a, b string) int { // signing keys first: their organisation needs no other then
		return signingFile(b) - signingFile(a)
	})
	pepper, _ := sealing.ReadFile(filepath.Join(dir, oldPepper)) // stream keys need it, others do not
	var faults []error
	for _, path := range files {
		made, err := s.importKey(ctx, path, bytes.Equal(pepper, s.cfg.Secrets.Pepper))
		if err != nil {
			faults = append(faults, fmt.Errorf("control: import %s: %w; mend it, or move it away", path, err))
		}
		if made {
			imported++
		}
	}
	if len(faults) > 0 {
		return imported, errors.Join(faults...)
	}
	done := dir + ".imported"
	if _, err := os.Lstat(done); err == nil {
		done = fmt.Sprintf("%s-%d", done, s.now().UnixNano())
	}
	if err := os.Rename(dir, done); err != nil {
		return imported, fmt.Errorf("control: import keys: %w", err)
	}
	s.cfg.Log.Info("keys imported into the store; remove the folder when no older version will need it", "keys", imported, "folder", done)
	return imported, sealing.SyncDir(stateDir)
}

// signingFile is 1 for the path of a signing key, and 0 for others.
func signingFile(path string) int {
	if strings.HasPrefix(filepath.Base(path), "k_") {
		return 1
	}
	return 0
}

// importKey takes over one file. samePepper says that its hash, if it has one, is
// of ours.
func (s *Service) importKey(ctx context.Context, path string, samePepper bool) (made bool, err error) {
	k, err := readKeyFile(path)
	if err != nil {
		return false, err
	}
	switch k.Kind {
	case "signing":
		rec, err := s.importSigning(k)
		if err != nil {
			return false, err
		}
		_, err = create(ctx, s, s.signing, rec)
		return err == nil, ignoreConflict(err)
	case "stream":
		org, name, err := parseNamespace(k.Stream)
		if err != nil {
			return false, err
		}
		if hash, err := hex.DecodeString(k.Hash); err != nil || len(hash) != sealing.Size {
			return false, errors.New("its hash is none")
		}
		if !samePepper {
			return false, fmt.Errorf("its hash was made with %s of its folder, which is not %s", oldPepper, sealing.PepperFile)
		}
		if err := s.makeOrg(ctx, org); err != nil {
			return false, err
		}
		_, err = create(ctx, s, s.streams, streamKeyRecord{
			ID: k.ID, Org: org, Name: name, Hash: k.Hash, Created: k.Created.UTC(), Revoked: k.Revoked.UTC(),
		})
		return err == nil, ignoreConflict(err)
	}
	return false, fmt.Errorf("it is of kind %.20q, want signing or stream", k.Kind)
}

func ignoreConflict(err error) error {
	if CodeOf(err) == Conflict {
		return nil
	}
	return err
}

func readKeyFile(path string) (fileKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileKey{}, err
	}
	if info.Size() > maxKeyFile {
		return fileKey{}, fmt.Errorf("it has %d bytes, at most %d are read", info.Size(), maxKeyFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fileKey{}, err
	}
	var k fileKey
	if err := json.Unmarshal(text, &k); err != nil { // err may quote it
		return fileKey{}, errors.New("it is no key file")
	}
	if !isID(k.ID) || k.ID != strings.TrimSuffix(filepath.Base(path), ".json") {
		return fileKey{}, errors.New("it holds a key of another id")
	}
	return k, nil
}

func (s *Service) importSigning(k fileKey) (signingKeyRecord, error) {
	public, _ := pem.Decode([]byte(k.Public))
	if public == nil {
		return signingKeyRecord{}, errors.New("its public key is not PEM")
	}
	rec := signingKeyRecord{
		ID: k.ID, Org: LocalOrg, Alg: k.Algorithm, Public: public.Bytes, Created: k.Created.UTC(), Deactivated: k.Revoked.UTC(),
	}
	if k.Private != "" && k.Revoked.IsZero() {
		private, _ := pem.Decode([]byte(k.Private))
		if private == nil {
			return signingKeyRecord{}, errors.New("its private key is not PEM")
		}
		rec.Private = s.cfg.Secrets.Seal(k.ID, "private", private.Bytes)
	}
	if err := s.openSigningKey(&rec); err != nil {
		return signingKeyRecord{}, err
	}
	if rec.Private != nil {
		if _, err := rec.private(); err != nil {
			return signingKeyRecord{}, err
		}
	}
	return rec, nil
}
