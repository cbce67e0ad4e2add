package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/internal/auth"
)

// A policy says who may use a route. There is no route without one.
type policy int

const (
	public policy = iota + 1
	itself        // the handler asks auth, because its refusal has to come at a certain point
)

// A route is one pattern of the site.
type route struct {
	pattern string
	policy  policy
	handler http.Handler
}

// site makes the handler of all listeners but the administrator's.
func site(routes []route) (http.Handler, error) {
	mux := http.NewServeMux()
	for _, r := range routes {
		if r.policy != public && r.policy != itself {
			return nil, errors.New("route " + r.pattern + " has no policy")
		}
		mux.Handle(r.pattern, r.handler)
	}
	return mux, nil
}

func guard(rule auth.Loopback, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := rule.Request(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// plainSite answers plain HTTP at the port that speaks TLS.
func plainSite(certificate http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/certificate.sha256", certificate)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "this port speaks HTTPS; only /certificate.sha256 is answered over HTTP", http.StatusBadRequest)
	})
	return mux
}

// admin makes the administrator's handler. On a loopback address it answers
// only to this machine's names, so that no page from elsewhere reads it.
func admin(ready *atomic.Bool, reg prometheus.Gatherer, addr net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		return guard(auth.Loopback{Enabled: true}, mux)
	}
	return mux
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connStats returns what reads the statistics of the connection of r.
func connStats(r *http.Request) func() ingest.PeerStats {
	c, ok := r.Context().Value(connKey{}).(net.Conn)
	if !ok {
		return nil
	}
	return ingest.TCPStats(c)
}

// newHTTPServer bounds what a client can hold. There is no time limit on
// bodies, because an encoder's never ends; the ingest has its own.
func newHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// httpGoodbye is how long requests under way may take when the server ends.
const httpGoodbye = 500 * time.Millisecond

// serveHTTP serves l, over TLS if srv has a configuration for it, until ctx
// ends, and returns its cause.
func serveHTTP(ctx context.Context, srv *http.Server, l net.Listener) error {
	closed := make(chan struct{})
	shutdown := func() {
		defer close(closed)
		bye, cancel := context.WithTimeout(context.Background(), httpGoodbye)
		defer cancel()
		if srv.Shutdown(bye) != nil {
			srv.Close()
		}
	}
	stop := context.AfterFunc(ctx, shutdown)
	var err error
	if srv.TLSConfig != nil {
		err = srv.ServeTLS(l, "", "")
	} else {
		err = srv.Serve(l)
	}
	if ctx.Err() == nil {
		stop()
		return err
	}
	if stop() { // l ends with ctx too, and was faster: that is no failure of ours
		shutdown()
	}
	<-closed
	return context.Cause(ctx)
}
