package main

import (
	"io"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/config"
	"github.com/broadcastd/broadcastd/internal/control"
)

// A backup is a live input of the same organisation.
func TestBackupOf(t *testing.T) {
	log := (process{err: io.Discard}).newLog(config.Log{Level: "error", Format: "text"})
	s, err := newServer(config.Config{StateDir: t.TempDir(), GroupDuration: time.Second}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.store.Close()
	if err := s.wire(); err != nil {
		t.Fatal(err)
	}
	create := func(org string) string {
		if err := s.control.EnsureOrg(t.Context(), control.Principal{Admin: true}, org); err != nil {
			t.Fatal(err)
		}
		in, _, err := s.control.CreateInput(t.Context(), control.NewInput{Org: org, Name: "cam"})
		if err != nil {
			t.Fatal(err)
		}
		return in.External
	}
	here, here2, there, there2 := create("local"), create("local"), create("acme"), create("acme")
	for _, tt := range []struct{ name, backup, want string }{
		{here, "", ""},
		{here, here2, here2},
		{"acme/" + there, there2, "acme/" + there2},
		{here, there, ""},
		{"acme/" + there, here, ""},
		{here, "lv_nobody", ""},
		{here, "https://example.com/live.m3u8", ""},
		{"cam", here, ""}, // an ad-hoc name has no settings
	} {
		if got := s.backupOf(tt.name, tt.backup); got != tt.want {
			t.Errorf("backupOf(%q, %q) = %q, want %q", tt.name, tt.backup, got, tt.want)
		}
	}
}
