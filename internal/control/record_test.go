package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/control/sealing"
	"github.com/broadcastd/broadcastd/internal/store"
	"github.com/broadcastd/broadcastd/internal/store/memstore"
)

func testSecrets() Secrets {
	return Secrets{Pepper: bytes.Repeat([]byte{1}, 32), Sealing: bytes.Repeat([]byte{2}, 32)}
}

func openTest(t testing.TB, st store.Store) (*Service, error) {
	t.Helper()
	return Open(t.Context(), Config{Store: st, Secrets: testSecrets()})
}

// TestMigration reads records of three versions: an older one becomes the
// present one, in the store too; a newer one is refused, by name.
func TestMigration(t *testing.T) {
	ctx, st := t.Context(), memstore.New(nil)
	s, err := openTest(t, st)
	if err != nil {
		t.Fatal(err)
	}
	// Version 1 had the time in seconds, version 2 had another name for it.
	orgs := newTable(kind[Org]{
		name: "org", prefix: "orgs/", schema: 3, id: s.orgs.id, org: s.orgs.org, check: s.orgs.check,
		migrations: []func(json.RawMessage) (json.RawMessage, error){
			func(old json.RawMessage) (json.RawMessage, error) {
				var v1 struct {
					ID   string
					Made int64
				}
				if err := json.Unmarshal(old, &v1); err != nil || v1.Made == 0 {
					return nil, errors.New("it has no time")
				}
				return json.Marshal(map[string]any{"id": v1.ID, "made": time.Unix(v1.Made, 0).UTC()})
			},
			func(old json.RawMessage) (json.RawMessage, error) {
				return bytes.Replace(old, []byte(`"made"`), []byte(`"created"`), 1), nil
			},
		},
	})
	s.tables, s.orgs = []anyTable{orgs}, orgs
	put := func(id, text string) {
		if _, err := st.Put(ctx, "orgs/"+id, []byte(text), store.AnyRevision); err != nil {
			t.Fatal(err)
		}
	}
	load := func() error {
		if _, err := st.Delete(ctx, "orgs/local", store.AnyRevision); err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		return s.load(ctx)
	}
	put("first", `{"schema":1,"record":{"ID":"first","Made":1000}}`)
	put("second", `{"schema":2,"record":{"id":"second","made":"2030-01-02T03:04:05Z"}}`)
	put("third", `{"schema":3,"record":{"id":"third","created":"2030-01-02T03:04:05Z"}}`)
	if err := load(); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]time.Time{
		"first": time.Unix(1000, 0), "second": time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), "third": time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	} {
		if o, err := s.Org(ctx, id); err != nil || !o.Created.Equal(want) {
			t.Errorf("Org(%s) = %+v, %v, want %v", id, o, err, want)
		}
		if e, err := st.Get(ctx, "orgs/"+id); err != nil || !strings.Contains(string(e.Value), `"schema":3`) {
			t.Errorf("%s is kept as %s, %v", id, e.Value, err)
		}
	}
	put("broken", `{"schema":1,"record":{"ID":"broken"}}`)
	if err := load(); err == nil || !strings.Contains(err.Error(), "orgs/broken cannot be brought from version 1 to 2: it has no time") {
		t.Errorf("a record that cannot be migrated: %v", err)
	}
	put("broken", `{"schema":4,"record":{"id":"broken","created":"2030-01-02T03:04:05Z"}}`)
	if err := load(); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "orgs/broken has version 4 of its records, this one reads up to 3") {
		t.Errorf("a newer record: %v", err)
	}
}

// TestBadRecords: what cannot be read is named, and none of it quoted.
func TestBadRecords(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":       `SECRET`,
		"no version":    `{"record":{"id":"x"}}`,
		"version 0":     `{"schema":0,"record":{"id":"x"}}`,
		"no record":     `{"schema":1}`,
		"newer":         `{"schema":2,"record":{"id":"x","SECRET":1}}`,
		"unknown field": `{"schema":1,"record":{"id":"x","created":"2030-01-02T03:04:05Z","SECRET":1}}`,
		"other id":      `{"schema":1,"record":{"id":"y","created":"2030-01-02T03:04:05Z"}}`,
		"other type":    `{"schema":1,"record":{"id":"x","created":"SECRET"}}`,
		"cut":           `{"schema":1,"record":{"id":"x","created":"2030-01-02T03:0`,
	} {
		t.Run(name, func(t *testing.T) {
			st := memstore.New(nil)
			if _, err := st.Put(t.Context(), "orgs/x", []byte(text), store.New); err != nil {
				t.Fatal(err)
			}
			_, err := openTest(t, st)
			if err == nil || !strings.Contains(err.Error(), "orgs/x") || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("Open = %v, want orgs/x to be named", err)
			}
		})
	}
}

// TestHeal: an organisation that a crash left without a signing key gets one.
func TestHeal(t *testing.T) {
	st := memstore.New(nil)
	if _, err := st.Put(t.Context(), "orgs/x", []byte(`{"schema":1,"record":{"id":"x","created":"2030-01-02T03:04:05Z"}}`), store.New); err != nil {
		t.Fatal(err)
	}
	s, err := openTest(t, st)
	if err != nil {
		t.Fatal(err)
	}
	for _, org := range []string{"x", LocalOrg} {
		if l, err := s.SigningKeys(t.Context(), org, Page{}); err != nil || len(l.Items) != 1 {
			t.Errorf("%s has %d signing keys, %v, want 1", org, len(l.Items), err)
		}
	}
}

// TestLateChange: a change that a watch brings after the thing was deleted here
// does not bring it back.
func TestLateChange(t *testing.T) {
	st := memstore.New(nil)
	s, err := openTest(t, st)
	if err != nil {
		t.Fatal(err)
	}
	in, _, err := s.CreateInput(t.Context(), NewInput{Org: LocalOrg, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	made, err := st.Get(t.Context(), "inputs/"+in.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteInput(t.Context(), in.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.apply(store.Change{Entry: made}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Input(t.Context(), in.ID); CodeOf(err) != NotFound {
		t.Errorf("Input = %v after a change from before its deletion", err)
	}
	if len(s.inputs.gone) != 1 {
		t.Fatalf("%d deletions are remembered, want 1", len(s.inputs.gone))
	}
	last := s.inputs.gone[in.ID]
	if err := s.apply(store.Change{Entry: store.Entry{Key: "inputs/" + in.ID, Revision: last}, Deleted: true}); err != nil || len(s.inputs.gone) != 0 {
		t.Errorf("%d deletions are remembered after the watch came to them, %v, want 0", len(s.inputs.gone), err)
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	first, err := OpenSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{sealing.PepperFile, sealing.SealingFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v, want 0600", name, info.Mode(), err)
		}
	}
	second, err := OpenSecrets(dir)
	if err != nil || !bytes.Equal(first.Pepper, second.Pepper) || !bytes.Equal(first.Sealing, second.Sealing) || bytes.Equal(first.Pepper, first.Sealing) {
		t.Errorf("read again: %v, and the two are the same or others than before", err)
	}
	if err := os.WriteFile(filepath.Join(dir, sealing.SealingFile), []byte("abcd\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSecrets(dir); err == nil || !strings.Contains(err.Error(), sealing.SealingFile) || strings.Contains(err.Error(), "abcd") {
		t.Errorf("a secret that is too short: %v", err)
	}
}

// TestSwappedSecrets: a store with the secrets of another is refused at once, not
// key by key.
func TestSwappedSecrets(t *testing.T) {
	st := memstore.New(nil)
	if _, err := openTest(t, st); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{sealing.PepperFile, sealing.SealingFile} {
		secrets := testSecrets()
		if file == sealing.PepperFile {
			secrets.Pepper = bytes.Repeat([]byte{3}, 32)
		} else {
			secrets.Sealing = bytes.Repeat([]byte{3}, 32)
		}
		_, err := Open(t.Context(), Config{Store: st, Secrets: secrets})
		if err == nil || !strings.Contains(err.Error(), file+" in the state directory is not the one") {
			t.Errorf("with another %s: %v", file, err)
		}
	}
}

// FuzzRecords reads whatever stands in the store as each kind of record: it is
// refused, or it is written as something that reads the same.
func FuzzRecords(f *testing.F) {
	st := memstore.New(nil)
	s, err := Open(context.Background(), Config{Store: st, Secrets: testSecrets()})
	if err != nil {
		f.Fatal(err)
	}
	ctx := context.Background()
	in, _, err1 := s.CreateInput(ctx, NewInput{Org: "local", Name: "x", Ingest: "hls", Settings: InputSettings{Pull: "https://a.example"}})
	_, err2 := s.SetPassphrase(ctx, in.ID, "correct horse")
	_, _, err3 := s.CreateStreamKey(ctx, "stream/local/a")
	_, _, err4 := s.CreateAPIKey(ctx, NewAPIKey{Name: "x", Orgs: []string{"*"}, Scopes: []Scope{"*"}})
	_, err5 := s.CreateSession(ctx, NewSession{Metadata: map[string]any{"a": []any{1, nil}}, Quality: Quality{Adaptive: new(true)}})
	_, err6 := s.RevokeToken(ctx, "local", "a", time.Now().Add(time.Hour))
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		f.Fatal(err)
	}
	entries, err := st.List(ctx, "", "", 0)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		f.Add(e.Key, e.Value)
	}
	f.Add("orgs/x", []byte(`{"schema":1,"record":{"id":"x","created":"2030-01-02T03:04:05Z"}}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		e := store.Entry{Key: key, Value: value}
		reads(t, s.orgs, e)
		reads(t, s.apiKeys, e)
		reads(t, s.inputs, e)
		reads(t, s.streams, e)
		reads(t, s.signing, e)
		reads(t, s.tokens, e)
		reads(t, s.sessions, e)
	})
}

func reads[R any](t *testing.T, k *table[R], e store.Entry) {
	rec, err := k.decode(e)
	if err != nil {
		return
	}
	text, err := k.encode(rec)
	if err != nil {
		return // larger than may be written
	}
	again, err := k.decode(store.Entry{Key: e.Key, Value: text})
	if err != nil {
		t.Fatalf("%s reads as %s, which does not read: %v", e.Value, text, err)
	}
	if second, err := k.encode(again); err != nil || !bytes.Equal(second, text) {
		t.Fatalf("%s is written as %s, then as %s, %v", e.Value, text, second, err)
	}
	for n := range text {
		if _, err := k.decode(store.Entry{Key: e.Key, Value: text[:n]}); err == nil {
			t.Fatalf("a part of a record reads: %s", text[:n])
		}
	}
}

// BenchmarkOpen starts with as many inputs as a large installation has.
func BenchmarkOpen(b *testing.B) {
	for _, inputs := range []int{0, 1000, 10_000} {
		b.Run(fmt.Sprintf("inputs=%d", inputs), func(b *testing.B) {
			st := memstore.New(nil)
			s, err := Open(b.Context(), Config{Store: st, Secrets: testSecrets()})
			if err != nil {
				b.Fatal(err)
			}
			for range inputs {
				if _, _, err := s.CreateInput(b.Context(), NewInput{Org: "local", Name: "x"}); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if _, err := Open(b.Context(), Config{Store: st, Secrets: testSecrets()}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAuthenticate is what each request of the API costs.
func BenchmarkAuthenticate(b *testing.B) {
	s, err := Open(b.Context(), Config{Store: memstore.New(nil), Secrets: testSecrets(), AdminKey: "the-key-of-the-admin"})
	if err != nil {
		b.Fatal(err)
	}
	_, key, err := s.CreateAPIKey(b.Context(), NewAPIKey{Name: "x", Orgs: []string{"*"}, Scopes: []Scope{"*"}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInputs is a page of the live inputs of a large organisation.
func BenchmarkInputs(b *testing.B) {
	s, err := Open(b.Context(), Config{Store: memstore.New(nil), Secrets: testSecrets()})
	if err != nil {
		b.Fatal(err)
	}
	for range 10_000 {
		if _, _, err := s.CreateInput(b.Context(), NewInput{Org: "local", Name: "x"}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.Inputs(b.Context(), "local", Page{}); err != nil {
			b.Fatal(err)
		}
	}
}

// What is counted of each organisation is what there is, however it came and went.
func TestCountsByOrganisation(t *testing.T) {
	st := memstore.New(nil)
	s, err := Open(t.Context(), Config{Store: st, Secrets: testSecrets()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.makeOrg(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	var last LiveInput
	for _, org := range []string{"local", "acme", "acme", "acme"} {
		if last, _, err = s.CreateInput(t.Context(), NewInput{Org: org, Name: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.RotateStreamKey(t.Context(), last.ID); err != nil { // another revision of the same
		t.Fatal(err)
	}
	if err := s.DeleteInput(t.Context(), last.ID, 0); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), Config{Store: st, Secrets: testSecrets()})
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Service{"written": s, "read": again} {
		if got := fmt.Sprint(s.inputs.ofOrg, s.signing.ofOrg); got != "map[acme:2 local:1] map[acme:1 local:1]" {
			t.Errorf("%s: inputs and signing keys of organisations are %s", name, got)
		}
	}
}
