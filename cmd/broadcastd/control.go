package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/store"
	"github.com/broadcastd/broadcastd/internal/store/boltstore"
)

// storeFile is the file of the store in the state directory.
const storeFile = "store.db"

// openStore opens the store of a state directory, which one process at a time
// has open.
func openStore(dir string) (store.Store, error) {
	st, err := boltstore.Open(boltstore.Config{Path: filepath.Join(dir, storeFile)})
	if errors.Is(err, store.ErrInUse) {
		return nil, fmt.Errorf("state directory %s is in use by another broadcastd: stop that, or choose another with state_dir, BROADCASTD_STATE_DIR or --state-dir (%w)", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return st, nil
}

// openControl opens the services on the store.
func (s *server) openControl() (*control.Service, error) {
	secrets, err := control.OpenSecrets(s.cfg.StateDir)
	if err != nil {
		return nil, err
	}
	return control.Open(context.Background(), control.Config{
		Store: s.store, Secrets: secrets, AdminKey: s.adminKey, PublicRelay: s.publicRelay(), ImportFrom: s.cfg.StateDir, Log: s.log,
	})
}

// publicRelay returns the base of the URLs that viewers play, which have the
// scheme of the streams contract: that of moq.public, or this machine at the
// port that is listened on.
func (s *server) publicRelay() string {
	if u, err := url.Parse(s.cfg.MoQ.Public); err == nil && u.Host != "" {
		return "moq://" + u.Host
	}
	if s.on.moqUDP == nil {
		return ""
	}
	return "moq://" + net.JoinHostPort("localhost", portOf(s.on.moqUDP.LocalAddr()))
}

// warnOpen says so when others of this machine may look into the state
// directory: one that was there before keeps its mode.
func warnOpen(dir string, log *slog.Logger) {
	if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warn("others on this machine may look into the state directory; chmod 700 keeps them out", "state_dir", dir, "mode", info.Mode().Perm().String())
	}
}
