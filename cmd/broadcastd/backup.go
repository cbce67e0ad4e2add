package main

import (
	"context"
	"strings"

	"github.com/broadcastd/broadcastd/internal/control"
)

// backupOf returns the name, as the ingest knows it, of the live input that backs
// up the one called name. It has to be of the same organisation: what is published
// for one is not shown by another. A URL is told, and not fetched.
func (s *server) backupOf(name, backup string) string {
	if backup == "" {
		return ""
	}
	log := s.log.With("broadcast", name)
	if !strings.HasPrefix(backup, "lv_") {
		log.Warn("the backup is a URL, which is not fetched; pull it into a live input and name that")
		return ""
	}
	other, err := s.control.Input(context.Background(), backup)
	if err != nil {
		log.Warn("there is no such backup", "backup", backup)
		return ""
	}
	if own, ok := s.liveInput(name); !ok || own.Org != other.Org {
		log.Warn("the backup is of another organisation", "backup", backup)
		return ""
	}
	if org, _, ok := strings.Cut(name, "/"); ok {
		return org + "/" + other.External
	}
	return other.External
}

// liveInput returns the live input called name in the ingest; an ad-hoc one is none.
func (s *server) liveInput(name string) (control.LiveInput, bool) {
	_, external, ok := strings.Cut(name, "/")
	if !ok {
		external = name
	}
	in, err := s.control.Input(context.Background(), external)
	return in, err == nil
}
