// Package controltest makes services for the tests of those that use them.
package controltest

import (
	"bytes"
	"context"
	"testing"

	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/store/memstore"
)

// AdminKey is the admin key of the services that New makes.
const AdminKey = "admin-key-of-the-tests"

// Admin is who shows it.
var Admin = control.Principal{Admin: true, Orgs: []string{control.AnyOrg}, Scopes: []control.Scope{"*"}}

// New returns a service that keeps everything in memory, and runs it until the
// test ends. It has the organisation local.
func New(tb testing.TB) *control.Service {
	tb.Helper()
	return Open(tb, control.Config{})
}

// Open is New with the fields of cfg that are set.
func Open(tb testing.TB, cfg control.Config) *control.Service {
	tb.Helper()
	ctx, end := context.WithCancel(context.Background())
	if cfg.Store == nil {
		st := memstore.New(cfg.Now)
		cfg.Store = st
		tb.Cleanup(func() { _ = st.Close() }) // of memory
	}
	if cfg.Secrets.Pepper == nil {
		cfg.Secrets = Secrets()
	}
	if cfg.AdminKey == "" {
		cfg.AdminKey = AdminKey
	}
	s, err := control.Open(ctx, cfg)
	if err != nil {
		end()
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx) // ends with ctx
	}()
	tb.Cleanup(func() {
		end()
		<-done
	})
	return s
}

// Secrets returns secrets that are none.
func Secrets() control.Secrets {
	return control.Secrets{Pepper: bytes.Repeat([]byte{1}, 32), Sealing: bytes.Repeat([]byte{2}, 32)}
}
