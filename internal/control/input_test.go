package control_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/store/memstore"
)

func TestInput(t *testing.T) {
	s, ctx := controltest.New(t), t.Context()
	in, key := newInput(t, s, control.InputSettings{AllowFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	if in.Ingest != auth.FMP4 || in.Status != control.InputIdle || !verify(s, key) {
		t.Errorf("a new input: %+v, its key right: %t", in, verify(s, key))
	}
	for _, id := range []string{in.ID, in.External} {
		if got, err := s.Input(ctx, id); err != nil || got.ID != in.ID {
			t.Errorf("Input(%s) = %+v, %v", id, got, err)
		}
	}
	rotated, second, err := s.RotateStreamKey(ctx, in.External)
	if err != nil || verify(s, key) || !verify(s, second) || rotated.Revision <= in.Revision {
		t.Errorf("after the rotation: %v, old right %t, new right %t", err, verify(s, key), verify(s, second))
	}
	rename := func(set *control.InputSettings, name *string) error {
		*name, set.Takeover = "stage", "refuse"
		return nil
	}
	_, err = s.UpdateInput(ctx, in.ID, in.Revision, rename)
	wantCode(t, "UpdateInput of an old revision", err, control.Precondition)
	updated, err := s.UpdateInput(ctx, in.ID, rotated.Revision, rename)
	if err != nil || updated.Name != "stage" || updated.Settings.Takeover != "refuse" || len(updated.Settings.AllowFrom) != 1 {
		t.Errorf("UpdateInput = %+v, %v", updated, err)
	}
	same, err := s.UpdateInput(ctx, in.ID, 0, rename)
	if err != nil || same.Revision != updated.Revision || !same.Updated.Equal(updated.Updated) {
		t.Errorf("UpdateInput that changes nothing = %+v, %v, want revision %d", same, err, updated.Revision)
	}
	info, ok := s.Directory().Input(in.External)
	if !ok || info.Policy.Takeover != "refuse" || !slices.Equal(info.Namespace, in.Namespace()) {
		t.Errorf("the directory has %+v, %t", info, ok)
	}
	wantCode(t, "DeleteInput of an old revision", s.DeleteInput(ctx, in.ID, in.Revision), control.Precondition)
	wantCode(t, "DeleteInput", s.DeleteInput(ctx, in.External, 0), 0)
	_, err = s.Input(ctx, in.ID)
	wantCode(t, "Input after its deletion", err, control.NotFound)
	wantCode(t, "DeleteInput again", s.DeleteInput(ctx, in.ID, 0), control.NotFound)
	if _, ok := s.Directory().Input(in.External); ok || verify(s, second) {
		t.Error("a deleted input still lets in")
	}
}

func TestInputSettings(t *testing.T) {
	s, ctx := controltest.New(t), t.Context()
	many := make([]netip.Prefix, 65)
	for _, tt := range []struct {
		field  string
		ingest auth.Ingest
		set    control.InputSettings
	}{
		{"settings.allowFrom", "fmp4", control.InputSettings{AllowFrom: many}},
		{"settings.allowFrom", "fmp4", control.InputSettings{AllowFrom: make([]netip.Prefix, 1)}},
		{"settings.takeover", "fmp4", control.InputSettings{Takeover: "fight"}},
		{"settings.maxBitrate", "fmp4", control.InputSettings{MaxBitrate: 1}},
		{"settings.maxBitrate", "fmp4", control.InputSettings{MaxBitrate: -1}},
		{"settings.maxTracks", "fmp4", control.InputSettings{MaxTracks: 65}},
		{"settings.groupDuration", "fmp4", control.InputSettings{GroupDuration: time.Minute}},
		{"settings.startoverWindow", "fmp4", control.InputSettings{StartoverWindow: -1}},
		{"settings.pull", "fmp4", control.InputSettings{Pull: "https://a.example/x.m3u8"}},
		{"settings.pull", "hls", control.InputSettings{Pull: "file:///etc/passwd"}},
		{"settings.pull", "hls", control.InputSettings{Pull: "https://user:hunter2@" + strings.Repeat("a", 3000)}},
		{"settings.backup", "fmp4", control.InputSettings{Backup: "rtmp://a.example"}},
		{"ingest", "smtp", control.InputSettings{}},
	} {
		_, _, err := s.CreateInput(ctx, control.NewInput{Org: "local", Name: "x", Ingest: tt.ingest, Settings: tt.set})
		e, ok := errors.AsType[*control.Error](err)
		if !ok || e.Code != control.Invalid || e.Field != tt.field || strings.Contains(e.Error(), "hunter2") {
			t.Errorf("%+v: %v, want %s to be invalid", tt.set, err, tt.field)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 201), "a\nb", "\xff"} {
		_, _, err := s.CreateInput(ctx, control.NewInput{Org: "local", Name: name})
		wantCode(t, fmt.Sprintf("name %.10q", name), err, control.Invalid)
	}
	_, _, err := s.CreateInput(ctx, control.NewInput{Org: "nobody", Name: "x"})
	wantCode(t, "an input of no organisation", err, control.NotFound)
}

func TestPassphrases(t *testing.T) {
	s, ctx := controltest.New(t), t.Context()
	in, _ := newInput(t, s, control.InputSettings{})
	have := func() []string {
		info, _ := s.Directory().Input(in.External)
		return info.Policy.Passphrases
	}
	_, err := s.SetPassphrase(ctx, in.ID, "short")
	wantCode(t, "a short passphrase", err, control.Invalid)
	if _, err := s.SetPassphrase(ctx, in.ID, "correct horse"); err != nil || !slices.Equal(have(), []string{"correct horse"}) {
		t.Errorf("SetPassphrase: %v, %q", err, have())
	}
	_, second, err := s.RotatePassphrase(ctx, in.ID)
	if err != nil || !slices.Equal(have(), []string{second, "correct horse"}) {
		t.Errorf("RotatePassphrase: %v, %q", err, have())
	}
	now, third, err := s.RotatePassphrase(ctx, in.ID)
	if err != nil || !slices.Equal(have(), []string{third, second}) || now.Passphrases != 2 {
		t.Errorf("RotatePassphrase again: %v, %q", err, have())
	}
	if _, err := s.SetPassphrase(ctx, in.ID, ""); err != nil || len(have()) != 0 {
		t.Errorf("SetPassphrase of none: %v, %q", err, have())
	}
}

// TestAtRest looks at all that is kept: nothing that opens a door may be there.
func TestAtRest(t *testing.T) {
	st := memstore.New(nil)
	s, ctx := controltest.Open(t, control.Config{Store: st}), t.Context()
	in, key, err := s.CreateInput(ctx, control.NewInput{
		Org: "local", Name: "x", Ingest: auth.HLS, Settings: control.InputSettings{Pull: "https://user:hunter2@a.example/", Backup: "https://user:hunter3@b.example/"},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, key2, err2 := s.RotateStreamKey(ctx, in.ID)
	_, key3, err3 := s.CreateStreamKey(ctx, "stream/local/cam")
	_, api, err4 := s.CreateAPIKey(ctx, control.NewAPIKey{Name: "k", Orgs: []string{"*"}, Scopes: []control.Scope{"*"}})
	_, pass, err5 := s.RotatePassphrase(ctx, in.ID)
	token, err6 := s.MintPlaybackToken(ctx, in.ID, control.TokenOptions{})
	_, err7 := s.CreateSigningKey(ctx, "local", auth.RS256)
	if err := errors.Join(err2, err3, err4, err5, err6, err7); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Input(ctx, in.ID); err != nil || got.Settings.Pull != "https://user:hunter2@a.example/" || got.Settings.Backup != "https://user:hunter3@b.example/" {
		t.Errorf("what was encrypted reads %+v, %v", got.Settings, err)
	}
	secret := func(key string) string { return key[strings.LastIndexByte(key, '_')+1:] }
	entries, err := st.List(ctx, "", "", 0)
	if err != nil || len(entries) < 6 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	records, err := st.Read(ctx, "events", 0, 0)
	if err != nil || len(records) < 6 {
		t.Fatalf("%d events, %v", len(records), err)
	}
	var all strings.Builder
	for _, e := range entries {
		all.Write(e.Value)
	}
	for _, r := range records {
		all.Write(r.Data)
	}
	for name, text := range map[string]string{
		"stream key": secret(key), "rotated stream key": secret(key2), "ad-hoc stream key": secret(key3), "API key": secret(api),
		"passphrase": pass, "URL": "hunter", "token": token.Token, "admin key": controltest.AdminKey, "private key": "PRIVATE",
		"PKCS #8 of Ed25519": "MC4CAQAwBQYDK2Vw", "PKCS #8 of RSA": "BADANBgkqhkiG9w0BAQEFAASC",
	} {
		if strings.Contains(all.String(), text) {
			t.Errorf("the %s can be read in the store", name)
		}
	}
}
