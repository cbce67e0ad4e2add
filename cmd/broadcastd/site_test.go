package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
)

// A slowCtx has ended without telling those who asked to be told.
type slowCtx struct{ context.Context }

func (slowCtx) Value(any) any                       { return nil }
func (slowCtx) AfterFunc(func()) (stop func() bool) { return func() bool { return true } }

// TestServeHTTPEnd: a listener that ends with the context may be faster than
// the context itself in saying so. That is no failure, or Ctrl-C would now and
// then end the daemon with exit code 1.
func TestServeHTTPEnd(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	gone := make(chan struct{})
	port := &sniffer{done: gone}
	served := make(chan error, 1)
	go func() {
		served <- serveHTTP(slowCtx{ctx}, newHTTPServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler)), port.Plain())
	}()
	end(errInterrupted)
	close(gone)
	// context.Cause finds none without Value, and falls back to this.
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Errorf("serveHTTP: %v, want the context's end", err)
	}
}
