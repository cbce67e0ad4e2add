package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/broadcastd/broadcastd/client"
	"github.com/broadcastd/broadcastd/internal/api"
	"github.com/broadcastd/broadcastd/internal/config"
	"github.com/broadcastd/broadcastd/internal/store"
)

const (
	// answerTime is how long the daemon of a state directory may take to answer;
	// one that was killed leaves an address at which nobody does.
	answerTime = 2 * time.Second
	// startTime is how long a daemon may take from when it has the state directory
	// open to when it can be asked.
	startTime = 5 * time.Second
	startLook = 50 * time.Millisecond
)

// localAPI returns the API of the daemon that runs on the state directory or, if
// none does, the API in this process on the state itself.
func (p process) localAPI(ctx context.Context, cfg config.Config, c client.Config) (*apiSession, error) {
	if c.Key == "" {
		c.Key = cfg.AdminKey
	}
	for began := time.Now(); ; {
		s, err := runningAPI(ctx, cfg, c)
		if err == nil || !errors.Is(err, client.ErrNoServer) {
			return s, err
		}
		s, inUse := p.ownAPI(ctx, cfg, c)
		if !errors.Is(inUse, store.ErrInUse) {
			return s, inUse
		}
		if time.Since(began) > startTime {
			return nil, fmt.Errorf("a broadcastd has the state directory %s open, but does not answer, as without http.listen; name it with --server: %w", cfg.StateDir, err)
		}
		select {
		case <-time.After(startLook):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// runningAPI returns the API of the daemon that runs on the state directory. The
// error is client.ErrNoServer if none answers.
func runningAPI(ctx context.Context, cfg config.Config, c client.Config) (*apiSession, error) {
	c, err := client.FromStateDir(cfg.StateDir, c)
	if err != nil {
		return nil, err
	}
	look := c
	look.Retries, look.Timeout, look.Key = -1, answerTime, ""
	probe, err := client.New(look)
	if err != nil {
		return nil, fmt.Errorf("server.json in %s: %w", cfg.StateDir, err)
	}
	if _, err := probe.Version(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", client.ErrNoServer, err)
	}
	api, err := client.New(c)
	if err != nil {
		return nil, err
	}
	return &apiSession{Client: api, cfg: cfg, done: func() error { return nil }}, nil
}

// ownAPI serves the API in this process, on the state directory. The error wraps
// store.ErrInUse while another process has it open.
func (p process) ownAPI(ctx context.Context, cfg config.Config, c client.Config) (*apiSession, error) {
	if err := openState(cfg.StateDir); err != nil {
		return nil, err
	}
	state, err := openStore(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	// The key is for this process alone: that of the daemon is shown when it is
	// first made.
	s := &server{cfg: cfg, log: p.newLog(config.Log{Level: "warn", Format: "text"}), store: state, adminKey: rand.Text()}
	if s.control, err = s.openControl(); err != nil {
		return nil, errors.Join(err, state.Close())
	}
	handler, err := api.New(api.Config{Control: s.control, Publish: s.publishURLs, Version: version, Log: s.log})
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	c.URL, c.Key, c.HTTPClient = "http://localhost", s.adminKey, &http.Client{Transport: inProcess{handler}}
	if _, port, ok := cutLast(cfg.HTTP.Listen, ':'); ok {
		c.URL += ":" + port
	}
	api, err := client.New(c)
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	return &apiSession{Client: api, cfg: cfg, done: func() error {
		handler.Close()
		return state.Close()
	}}, nil
}

// inProcess is the http.RoundTripper to a handler in this process.
type inProcess struct{ h http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RemoteAddr, in.RequestURI, in.Host = "127.0.0.1:0", r.URL.RequestURI(), r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	out := &answer{header: http.Header{}}
	t.h.ServeHTTP(out, in)
	if out.status == 0 {
		out.status = http.StatusOK
	}
	return &http.Response{
		Status: http.StatusText(out.status), StatusCode: out.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: out.header, Body: io.NopCloser(&out.body), ContentLength: int64(out.body.Len()), Request: r,
	}, nil
}

// An answer is an http.ResponseWriter that keeps what is written.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}
