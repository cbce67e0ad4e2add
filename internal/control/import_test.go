package control_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/store/memstore"
)

// What testdata/README.md says of the keys there.
const (
	fileEd25519  = "k_pxurfcayyawpg7pp"
	fileRS256    = "k_l2mdjgow45sy53mr"
	fileRevoked  = "k_isdakqjcgjcf7bpk"
	fileStream   = "sk_live_u6xzdfdjtzdcu2ut_aweuljqrvws5wdqe2jyv62mm34j6rwgrs5iksswh"
	fileStreamNo = "sk_live_qk2a7mw7reblg32h_aizfb2n2rzm4c76mkh67mvv4ckiyovbumky4vcn7"
)

// oldState returns a state directory with keys that are files.
func oldState(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "keys"), os.DirFS("testdata/keys")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// openState opens a service with the secrets of a state directory.
func openState(t *testing.T, dir string) *control.Service {
	t.Helper()
	secrets, err := control.OpenSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	return controltest.Open(t, control.Config{Secrets: secrets})
}

func verify(s *control.Service, cleartext string) bool {
	id, secret, _ := auth.ParseStreamKey(cleartext)
	return s.Directory().VerifyStreamKey(id, secret)
}

func TestImportKeys(t *testing.T) {
	dir := oldState(t)
	s, ctx := openState(t, dir), t.Context()
	if n, err := s.ImportKeys(ctx, dir); n != 5 || err != nil {
		t.Fatalf("ImportKeys = %d, %v, want 5", n, err)
	}
	for id, want := range map[string]string{fileEd25519: "active", fileRS256: "active", fileRevoked: "inactive"} {
		k, err := s.SigningKey(ctx, id)
		if err != nil || k.Status != want || k.Org != control.LocalOrg {
			t.Errorf("SigningKey(%s) = %+v, %v, want %s of local", id, k, err, want)
		}
		_, err = s.MintPlaybackToken(ctx, "stream/local/cam", control.TokenOptions{KeyID: id})
		if ok := want == "active"; (err == nil) != ok {
			t.Errorf("MintPlaybackToken with %s: %v, want success %t", id, err, ok)
		}
	}
	for cleartext, active := range map[string]bool{fileStream: true, fileStreamNo: false} {
		id, _, _ := auth.ParseStreamKey(cleartext)
		info, ok := s.Directory().StreamKey(id)
		if !ok || info.Active != active || !verify(s, cleartext) {
			t.Errorf("stream key %s: %+v, known %t, right %t; want active %t", id, info, ok, verify(s, cleartext), active)
		}
		if verify(s, cleartext+"x") {
			t.Errorf("stream key %s with another secret is right", id)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "keys")); err == nil {
		t.Error("the folder is still there")
	}
	if _, err := s.DeactivateSigningKey(ctx, fileEd25519); err != nil {
		t.Fatal(err)
	}
	// A crash between the last key and the new name of the folder has it all done
	// again: what was changed since stays.
	if err := os.Rename(filepath.Join(dir, "keys.imported"), filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.ImportKeys(ctx, dir); n != 0 || err != nil {
		t.Errorf("ImportKeys again = %d, %v, want 0", n, err)
	}
	if k, err := s.SigningKey(ctx, fileEd25519); err != nil || k.Status != control.KeyInactive {
		t.Errorf("a key revoked after the import is %s, %v", k.Status, err)
	}
	if n, err := s.ImportKeys(ctx, dir); n != 0 || err != nil {
		t.Errorf("ImportKeys of nothing = %d, %v", n, err)
	}
}

// TestImportedKeysSign: a state directory of an earlier version gets no signing
// key of its own on top, which would sign what holders of the old ones refuse.
func TestImportedKeysSign(t *testing.T) {
	for _, tt := range []struct {
		name    string
		without []string
		want    int // keys, and whether a new one signs
		fresh   bool
	}{
		{"keys that sign", nil, 3, false},
		{"none but a revoked one", []string{fileEd25519, fileRS256}, 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := oldState(t)
			for _, id := range tt.without {
				if err := os.Remove(filepath.Join(dir, "keys", id+".json")); err != nil {
					t.Fatal(err)
				}
			}
			secrets, err := control.OpenSecrets(dir)
			if err != nil {
				t.Fatal(err)
			}
			s := controltest.Open(t, control.Config{Secrets: secrets, ImportFrom: dir})
			keys, err := s.SigningKeys(t.Context(), control.LocalOrg, control.Page{})
			if err != nil || len(keys.Items) != tt.want {
				t.Errorf("SigningKeys = %+v, %v, want %d", keys.Items, err, tt.want)
			}
			tok, err := s.MintPlaybackToken(t.Context(), "stream/local/cam", control.TokenOptions{})
			if imported := tok.KeyID == fileEd25519 || tok.KeyID == fileRS256; err != nil || imported == tt.fresh {
				t.Errorf("MintPlaybackToken signs with %s, %v", tok.KeyID, err)
			}
		})
	}
}

// TestImportFaults: a file that cannot be taken over is named, keeps none of the
// others back, and the folder stays.
func TestImportFaults(t *testing.T) {
	valid, err := os.ReadFile("testdata/keys/" + fileRS256 + ".json")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, file, text, want string }{
		{"no JSON", "k_a.json", `{"id":"k_a","private":"SECRET`, "no key file"},
		{"other id", "k_a.json", `{"id":"k_b","kind":"signing"}`, "another id"},
		{"bad id", "k a.json", `{"id":"k a"}`, "another id"},
		{"other kind", "k_a.json", `{"id":"k_a","kind":"door"}`, `kind "door"`},
		{"no public", "k_a.json", `{"id":"k_a","kind":"signing","alg":"Ed25519"}`, "not PEM"},
		{"wrong algorithm", "k_a.json", strings.NewReplacer(fileRS256, "k_a", "RS256", "Ed25519").Replace(string(valid)), "does not sign"},
		{"bad private", "k_a.json", strings.NewReplacer(fileRS256, "k_a", "PRIVATE KEY-----\\nM", "PRIVATE KEY-----\\nA").Replace(string(valid)), "private half"},
		{"bad stream", "a.json", `{"id":"a","kind":"stream","stream":"elsewhere/x","hash":"00"}`, "namespace"},
		{"bad hash", "a.json", `{"id":"a","kind":"stream","stream":"stream/local/x","hash":"00"}`, "hash"},
		{"too large", "a.json", strings.Repeat(" ", 65<<10), "at most"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := oldState(t)
			if err := os.WriteFile(filepath.Join(dir, "keys", tt.file), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			s := openState(t, dir)
			n, err := s.ImportKeys(t.Context(), dir)
			if n != 5 || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.file) {
				t.Errorf("ImportKeys = %d, %v; want 5 and an error that names %s and says %q", n, err, tt.file, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "SECRET") {
				t.Errorf("the error quotes the key: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "keys")); err != nil {
				t.Error("the folder is gone")
			}
		})
	}
}

// TestImportOtherPepper: stream keys whose hashes were made with another pepper
// would be refused for ever, and the import says so.
func TestImportOtherPepper(t *testing.T) {
	dir := oldState(t)
	s := controltest.Open(t, control.Config{Store: memstore.New(nil)})
	if n, err := s.ImportKeys(t.Context(), dir); n != 3 || err == nil || !strings.Contains(err.Error(), "hash.key") {
		t.Errorf("ImportKeys = %d, %v; want the 3 signing keys and a complaint of hash.key", n, err)
	}
}
