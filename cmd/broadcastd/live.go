package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/internal/live"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// newLive makes the live side of the sessions.
func (s *server) newLive(reg *prometheus.Registry) (*live.Service, error) {
	return live.New(live.Config{
		Open: s.broadcasts.open, Namespace: namespaceOf, Name: inputOf, Sessions: records{},
		Relay: s.relay, Prefix: track.MustNamespace("stream"),
		End: func(name string) bool { return s.sessions.End(name) },
		Log: s.log, Metrics: reg, Gatherer: reg,
	})
}

// records are the sessions' of a daemon that keeps none.
type records struct{}

// Started implements live.Sessions.
func (records) Started(_ context.Context, name, _ string) (live.Record, error) {
	org, input, ok := strings.Cut(name, "/")
	if !ok {
		org, input = "local", name
	}
	return live.Record{ID: fmt.Sprintf("sess_%d_%s", time.Now().Unix(), strings.ToLower(rand.Text()[:10])), Org: org, Input: input}, nil
}

// Ended implements live.Sessions.
func (records) Ended(context.Context, string, string, int) error { return nil }
