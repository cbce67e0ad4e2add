package auth

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func openKeyring(t testing.TB, cfg KeyringConfig) *Keyring {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	k, err := OpenKeyring(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func create(t testing.TB, k *Keyring, alg Algorithm) Key {
	t.Helper()
	key, err := k.Create(alg)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func wantCode(t *testing.T, err error, want Code) {
	t.Helper()
	refusal, ok := errors.AsType[*CredentialError](err)
	if !ok || refusal.Code != want {
		t.Errorf("error %v, want code %d", err, want)
	}
	if err != nil && !strings.HasPrefix(err.Error(), "auth") {
		t.Errorf("%q does not begin with auth", err)
	}
}

func TestSignedTokenIsGranted(t *testing.T) {
	for _, alg := range []Algorithm{Ed25519, RS256} {
		t.Run(string(alg), func(t *testing.T) {
			k := openKeyring(t, KeyringConfig{})
			key := create(t, k, alg)
			token, signer, err := k.Sign("stream/local/cam", "", time.Hour)
			if err != nil || signer.ID != key.ID {
				t.Fatalf("Sign: key %s, %v, want %s", signer.ID, err, key.ID)
			}
			g, err := openGate(t, Config{Directory: k}).check(token, attempt{})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if !g.Allows([]string{"stream", "local", "cam"}) || g.Allows([]string{"stream", "local", "camera"}) || g.Publish {
				t.Errorf("grant %+v, want stream/local/cam for playing alone", g)
			}
			g.Close()
			if g.Context().Err() == nil {
				t.Error("a closed grant goes on")
			}
		})
	}
}

func TestStreamKeys(t *testing.T) {
	k := openKeyring(t, KeyringConfig{})
	cleartext, key, err := k.CreateStream("stream/local/cam")
	if err != nil {
		t.Fatal(err)
	}
	gate := openGate(t, Config{Directory: k})
	g, err := gate.check(cleartext, attempt{})
	if err != nil {
		t.Fatal(err)
	}
	if !g.Publish || !g.Allows([]string{"stream", "local", "cam"}) || g.Allows([]string{"stream", "local", "other"}) {
		t.Errorf("grant %+v, want publishing stream/local/cam alone", g)
	}
	file, err := os.ReadFile(k.path(key.ID))
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := strings.Cut(strings.TrimPrefix(cleartext, streamKeyPrefix), "_")
	if strings.Contains(string(file), secret) {
		t.Error("the file holds the cleartext")
	}
	if info, err := os.Stat(k.path(key.ID)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	for _, tt := range []struct {
		name, key string
		want      Code
	}{
		{"not one", "hello", CodeMalformed},
		{"no secret", streamKeyPrefix + key.ID + "_", CodeMalformed},
		{"wrong secret", streamKeyPrefix + key.ID + "_" + strings.Repeat("a", 40), CodeUnknown},
		{"unknown id", streamKeyPrefix + "other_" + secret, CodeUnknown},
	} {
		_, err := gate.check(tt.key, attempt{})
		t.Run(tt.name, func(t *testing.T) { wantCode(t, err, tt.want) })
	}
	if err := k.Revoke(key.ID); err != nil {
		t.Fatal(err)
	}
	<-g.Context().Done()
	wantCode(t, context.Cause(g.Context()), CodeRevoked)
	_, err = gate.check(cleartext, attempt{})
	wantCode(t, err, CodeRevoked)
}

// A key that another process makes or revokes acts here without a restart.
func TestKeyringFollowsItsDirectory(t *testing.T) {
	dir := t.TempDir()
	serving := openKeyring(t, KeyringConfig{Dir: dir})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- serving.Run(ctx) }()
	defer func() { cancel(); <-done }()

	cli := openKeyring(t, KeyringConfig{Dir: dir})
	key := create(t, cli, Ed25519)
	token, _, err := cli.Sign("stream/local/cam", key.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	g, err := openGate(t, Config{Directory: serving}).check(token, attempt{}) // at once
	if err != nil {
		t.Fatalf("the new key does not count: %v", err)
	}
	start := time.Now()
	if err := cli.Revoke(key.ID); err != nil {
		t.Fatal(err)
	}
	<-g.Context().Done()
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("revoked after %v, want 2 s at most", d)
	}
	wantCode(t, context.Cause(g.Context()), CodeRevoked)
	if file, err := os.ReadFile(cli.path(key.ID)); err != nil || strings.Contains(string(file), "PRIVATE") {
		t.Errorf("a revoked key keeps its private half, or cannot be read: %v", err)
	}
}

func TestGrantEndsAtExpiry(t *testing.T) {
	now := time.Now()
	k := openKeyring(t, KeyringConfig{Now: func() time.Time { return now }})
	create(t, k, Ed25519)
	token, _, err := k.Sign("stream/local/cam", "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Truncate(time.Second).Add(time.Hour + leeway - 50*time.Millisecond)
	g, err := openGate(t, Config{Directory: k, Now: func() time.Time { return now }}).check(token, attempt{})
	if err != nil {
		t.Fatal(err) // within the leeway
	}
	<-g.Context().Done()
	wantCode(t, context.Cause(g.Context()), CodeExpired)
}
