package main

import (
	"net/http"
	"strings"

	"github.com/broadcastd/broadcastd/internal/compat/sessions"
	"github.com/broadcastd/broadcastd/internal/compat/trpc"
)

// compatRoutes are the HTTP surfaces of foreign contracts. The API bounds their
// clients together with its own.
func (s *server) compatRoutes() ([]route, error) {
	procedures, err := trpc.New(trpc.Config{Control: s.control, Analytics: s.live, Relay: s.relayFor, Limits: s.api, Log: s.log})
	if err != nil {
		return nil, err
	}
	streaming, err := sessions.New(sessions.Config{Control: s.control, Meter: s.live, Limits: s.api, Log: s.log})
	if err != nil {
		return nil, err
	}
	return []route{{trpc.Prefix, itself, procedures}, {sessions.Prefix, itself, streaming}}, nil
}

// relayFor returns where the client that sent a request finds the relay,
// moq://host:port: at the host that it asked for, unless the settings name
// another. It is empty without a relay.
func (s *server) relayFor(r *http.Request) string {
	if s.on.moqUDP == nil || s.cfg.MoQ.Public != "" {
		return s.publicRelay()
	}
	_, host, _ := strings.Cut(moqURL(s.cfg, s.on.moqUDP.LocalAddr())(r), "://")
	return "moq://" + host
}
