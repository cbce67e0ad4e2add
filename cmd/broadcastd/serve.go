package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/ingest/fmp4"
	"github.com/broadcastd/broadcastd/ingest/rtmp"
	"github.com/broadcastd/broadcastd/ingest/srt"
	"github.com/broadcastd/broadcastd/internal/api"
	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/certs"
	"github.com/broadcastd/broadcastd/internal/compat/streams"
	"github.com/broadcastd/broadcastd/internal/config"
	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/demo"
	"github.com/broadcastd/broadcastd/internal/directory"
	"github.com/broadcastd/broadcastd/internal/live"
	"github.com/broadcastd/broadcastd/internal/store"
	"github.com/broadcastd/broadcastd/internal/web"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/viewer"
)

func (p process) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve [--config FILE] [--demo]",
		Short: "Take broadcasts in and serve them to viewers",
		Long: `Starts the ingest, the relay and the web page. Nothing needs to be configured:
it prints where it listens and the lines to copy for an encoder and for viewers.

Without a key only this machine may publish and play, and only the broadcasts
stream/local/NAME. "broadcastd key create --stream" makes a key for an encoder
elsewhere, "broadcastd url sign" a URL for a viewer elsewhere.`,
		Example: `  broadcastd serve
  broadcastd serve --demo
  BROADCASTD_HTTP__LISTEN=127.0.0.1:8081 broadcastd serve`,
		Args: cobra.NoArgs,
	}
	flags := p.configFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := flags.load()
		if err != nil {
			return err
		}
		return p.serve(cmd.Context(), l)
	}
	return c
}

// A server is everything that `serve` runs.
type server struct {
	cfg   config.Config
	log   *slog.Logger
	on    listeners
	ready atomic.Bool

	certs      *certs.Store
	store      store.Store
	control    *control.Service
	adminKey   string
	gate       *auth.Gate
	relay      *relay.Relay
	directory  *directory.Directory
	broadcasts *broadcasts
	sessions   *ingest.Registry
	live       *live.Service
	bridge     *streams.Bridge
	api        *api.Handler
	moq        *transport.Server
	rtmp       *rtmp.Server
	srt        *srt.Server
	site       http.Handler
	tcpSite    http.Handler // the same behind trusted proxies
	admin      http.Handler
}

// serve starts the daemon and runs it until ctx ends.
func (p process) serve(ctx context.Context, l *config.Loaded) error {
	cfg := l.Config
	log := p.newLog(cfg.Log)
	for _, w := range l.Warnings {
		log.Warn(w)
	}
	for _, v := range l.Values {
		if v.Key.Later && v.Origin != "default" && v.Text != "" {
			log.Warn("setting has no effect yet", "key", v.Key.Name, "origin", v.Origin)
		}
	}
	p.limitMemory()
	warnFewFiles(log)
	if err := checkPulls(cfg.Pulls); err != nil {
		return err
	}
	if err := openState(cfg.StateDir); err != nil {
		return err
	}
	warnOpen(cfg.StateDir, log)
	key, made, err := adminKey(cfg.StateDir, cfg.AdminKey)
	if err != nil {
		return err
	}
	s, err := newServer(cfg, log)
	if err != nil {
		return err
	}
	defer s.store.Close() //nolint:errcheck // every write is on disk already
	s.adminKey = key
	if s.on, err = listen(cfg); err != nil {
		return err
	}
	defer s.on.close()
	if err := s.wire(); err != nil {
		return err
	}
	if !made {
		key = ""
	}
	p.greet(s, key, l.File)
	return s.run(ctx)
}

// newServer makes what needs no listener.
func newServer(cfg config.Config, log *slog.Logger) (*server, error) {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = ""
	}
	s := &server{cfg: cfg, log: log}
	s.certs, err = certs.Open(certs.Config{
		Dir:      filepath.Join(cfg.StateDir, "tls"),
		CertFile: cfg.TLS.Cert, KeyFile: cfg.TLS.Key,
		Hosts: own(cfg, hostname), Log: log,
	})
	if err != nil {
		return nil, err
	}
	s.store, err = openStore(cfg.StateDir)
	return s, err
}

// wire makes the rest and connects the parts. It starts nothing.
func (s *server) wire() error {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = ""
	}
	rule := auth.Loopback{Enabled: s.cfg.Auth.Loopback, Own: own(s.cfg, hostname)}
	if s.control, err = s.openControl(); err != nil {
		return err
	}
	if s.gate, err = s.newGate(rule); err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	grace := s.cfg.Ingest.Grace
	if grace == 0 {
		grace = -1 // none; zero would be the default
	}
	s.relay, err = relay.New(relay.Config{
		Session: moqt.Config{
			Log: s.log, Registerer: reg,
			// Simple clients open one group, once.
			TrackConfig:    track.Config{Roll: true, Budget: track.NewBudget(cacheBytes(s.cfg.MoQ.CacheBytes))},
			Implementation: "broadcastd/" + version, JoinStrict: s.cfg.MoQ.Join == "strict",
		},
		Authorizer: authorizer{s.gate}, Grace: grace, Log: s.log, Registerer: reg,
		InputTrack: viewer.SingleTrack, Listings: []string{catalog.TrackName, catalog.PlaybackTrackName},
	})
	if err != nil {
		return err
	}
	s.directory = directory.New(s.relay, track.MustNamespace("stream"), s.log)
	s.broadcasts = &broadcasts{target: s.relay, group: s.groupOf, log: s.log}
	if s.live, err = s.newLive(reg); err != nil {
		return err
	}
	s.sessions, err = ingest.NewRegistry(ingest.Config{Opener: s.live, Limits: s.limits, Grace: grace, Log: s.log, Metrics: reg})
	if err != nil {
		return err
	}
	s.bridge, err = streams.New(streams.Config{
		Relay: s.relay, Inputs: s.sessions, Prefix: track.MustNamespace("stream"), Name: inputOf, Log: s.log,
	})
	if err != nil {
		return err
	}
	input, err := fmp4.New(fmp4.Config{
		Sessions: s.sessions, Log: s.log, Metrics: reg,
		Allow: s.allowPush, Stats: connStats,
	})
	if err != nil {
		return err
	}
	if s.rtmp, err = s.newRTMP(reg); err != nil {
		return err
	}
	if s.srt, err = s.newSRT(reg); err != nil {
		return err
	}
	pages, err := web.New(s.webConfig())
	if err != nil {
		return err
	}
	if s.api, err = s.newAPI(rule); err != nil {
		return err
	}
	compat, err := s.compatRoutes()
	if err != nil {
		return err
	}
	s.site, err = site(append(append(compat, routesOf(s.api)...),
		route{"/ingest/", itself, input},
		route{"GET /metrics", itself, keyedMetrics(s.control, reg)},
		route{"/certificate.sha256", public, s.certs},
		route{"/", public, pages},
	))
	if err != nil {
		return err
	}
	// Proxies speak TCP alone: over HTTP/3 a peer is who it is.
	s.tcpSite = auth.Proxies(s.cfg.TrustedProxies).Handler(s.site)
	if s.on.admin != nil {
		s.admin = admin(&s.ready, reg, s.on.admin.Addr())
	}
	if s.on.moqUDP == nil {
		return nil
	}
	s.moq, err = transport.NewServer(transport.Config{
		TLS:         s.certs.Config(),
		Handle:      s.session,
		HTTP:        s.site,
		CheckOrigin: func(r *http.Request) bool { return showsKey(r) || rule.Page(r) == nil },
		Log:         s.log,
	})
	return err
}

// showsKey says whether a page from anywhere may open this session: it shows a
// key or a token in its URL, so that the loopback rule will not be asked.
func showsKey(r *http.Request) bool {
	q := r.URL.Query()
	return q.Has("tok") || q.Has("sk")
}

func (s *server) webConfig() web.Config {
	c := web.Config{}
	if s.on.moqUDP != nil {
		c.MoQURL = moqURL(s.cfg, s.on.moqUDP.LocalAddr())
	}
	return c
}

// session serves one MoQ connection.
func (s *server) session(ctx context.Context, conn moqt.Conn) {
	err := s.relay.Serve(ctx, conn)
	if err != nil && ctx.Err() == nil {
		s.ended(conn, err)
	}
}

// ended is apart from session, whose stack lives as long as the connection.
//
//go:noinline
func (s *server) ended(conn moqt.Conn, err error) {
	s.log.Debug("session ended", "remote", conn.Info().Remote.String(), "err", err)
}

// The times of an orderly end, which takes less than two seconds in all.
const (
	goodbye     = 700 * time.Millisecond // for viewers to take the end of their broadcasts
	goodbyeLook = 10 * time.Millisecond
)

// run runs all parts until ctx ends or one of them fails. They end in order:
// the inputs first, so that viewers are told of the end, the connections then,
// and what they stand on last.
func (s *server) run(ctx context.Context) error {
	core, coreCtx, endCore := group()
	net, netCtx, endNet := group()
	inputs, inputsCtx, endInputs := group()
	s.broadcasts.ctx = coreCtx

	core.Go(func() error { return s.relay.Run(coreCtx) })
	core.Go(func() error { return s.directory.Run(coreCtx) })
	core.Go(func() error { return s.live.Run(coreCtx) })
	core.Go(func() error { return s.certs.Run(coreCtx) })
	core.Go(func() error { return s.gate.Run(coreCtx) })
	core.Go(func() error { return s.control.Run(coreCtx) })
	if s.on.admin != nil {
		core.Go(func() error { return serveHTTP(coreCtx, newHTTPServer(s.admin, s.log), s.on.admin) })
	}
	inputs.Go(func() error { return s.sessions.Run(inputsCtx) })
	inputs.Go(func() error { return s.bridge.Run(inputsCtx) })
	if s.cfg.Demo {
		inputs.Go(func() error { return s.demo(inputsCtx) })
	}
	for _, p := range s.cfg.Pulls {
		inputs.Go(func() error { return s.pull(inputsCtx, p.Name, ofSettings(p, s.cfg.PullAllow)) })
	}
	inputs.Go(func() error { return s.pullInputs(inputsCtx) })
	s.serveRTMP(net, netCtx)
	s.serveSRT(net, netCtx)
	if s.on.http != nil {
		net.Go(func() error { return serveHTTP(netCtx, newHTTPServer(s.tcpSite, s.log), s.on.http) })
	}
	if s.on.moqUDP != nil {
		net.Go(func() error { return s.moq.Serve(netCtx, s.on.moqUDP) })
		s.serveMoQTCP(net, netCtx)
	}
	forget, err := s.announce()
	if err != nil {
		s.log.Warn("commands on this machine have to be told --server", "err", err)
	} else {
		defer forget()
	}
	defer context.AfterFunc(netCtx, s.api.Close)() // event streams would hold the end up
	s.ready.Store(true)

	var cause error
	select {
	case <-ctx.Done():
		cause = context.Cause(ctx)
	case <-coreCtx.Done():
		cause = context.Cause(coreCtx)
	case <-netCtx.Done():
		cause = context.Cause(netCtx)
	case <-inputsCtx.Done():
		cause = context.Cause(inputsCtx)
	}
	s.ready.Store(false)
	s.log.Info("stopping", "reason", cause)
	if s.cfg.MoQ.DrainURI != "" && ctx.Err() != nil && coreCtx.Err() == nil {
		s.relay.Drain(coreCtx, s.cfg.MoQ.DrainURI, s.cfg.MoQ.DrainTimeout)
	}
	endInputs(cause)
	failed := inputs.Wait()
	s.broadcasts.wg.Wait()
	s.waitForViewers()
	endNet(cause)
	failed = errors.Join(ignore(failed, cause), ignore(net.Wait(), cause))
	endCore(cause)
	failed = errors.Join(failed, ignore(core.Wait(), cause))
	if failed != nil {
		return failed
	}
	return cause
}

// group returns an errgroup with a context that can be ended with a cause.
func group() (*errgroup.Group, context.Context, context.CancelCauseFunc) {
	ctx, end := context.WithCancelCause(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	return g, ctx, end
}

// ignore returns nil for err if it only passes on cause.
func ignore(err, cause error) error {
	if errors.Is(err, cause) {
		return nil
	}
	return err
}

// serveMoQTCP serves the site at the TCP port beside MoQ's UDP port: over TLS,
// and the certificate's hash over plain HTTP too.
func (s *server) serveMoQTCP(g *errgroup.Group, ctx context.Context) { //nolint:revive // the context is the group's
	port := newSniffer(s.on.moqTCP)
	secure := newHTTPServer(s.tcpSite, s.log)
	secure.TLSConfig = s.certs.Config()
	g.Go(func() error { return port.Run(ctx) })
	g.Go(func() error { return serveHTTP(ctx, secure, port.TLS()) })
	g.Go(func() error { return serveHTTP(ctx, newHTTPServer(plainSite(s.certs), s.log), port.Plain()) })
}

// waitForViewers gives those who are connected the time to take the end of
// their broadcasts; most leave by themselves then.
func (s *server) waitForViewers() {
	if s.moq == nil {
		return
	}
	tick := time.NewTicker(goodbyeLook)
	defer tick.Stop()
	for end := time.Now().Add(goodbye); s.moq.Conns() > 0 && time.Now().Before(end); {
		<-tick.C
	}
}

// demo feeds the built-in clip, as an input like any other.
func (s *server) demo(ctx context.Context) error {
	conn := s.sessions.Connect("demo", ingest.Peer{Addr: "built-in clip", Protocol: "clip", Encrypted: true})
	err := (demo.Source{}).Run(ctx, conn)
	if errors.Is(err, ingest.ErrReplaced) || errors.Is(err, ingest.ErrEnded) {
		s.log.Info("demo ended", "reason", err)
		<-ctx.Done() // somebody else has the name now; the server goes on
		return context.Cause(ctx)
	}
	if ctx.Err() == nil {
		return fmt.Errorf("demo: %w", err)
	}
	return errors.Join(err, ignore(conn.Close(nil), ingest.ErrEnded))
}
