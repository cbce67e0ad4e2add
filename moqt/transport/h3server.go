package transport

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/broadcastd/broadcastd/moqt"
)

// The SETTINGS that announce WebTransport. All values are 1: support, or one
// session for each connection.
const (
	settingDraft02     = 0x2b603742 // Chromium
	settingMaxSessions = 0x14e9cd29 // draft-13 and -14, Safari; above 1 would ask for flow control
	settingEnabled     = 0x2c7cf000 // draft-15 and later
)

// The values of :protocol, before draft-15 and since.
const (
	protocolLegacy = "webtransport"
	protocolH3     = "webtransport-h3"
)

// An h3Server serves one HTTP/3 connection: at most one WebTransport session,
// and other requests.
type h3Server struct {
	s     *Server
	qc    *quic.Conn
	demux *demux
	ctx   context.Context // Serve's

	mu      sync.Mutex
	claimed bool // a session has been accepted
	closing bool // Serve is ending
}

func newH3Server(s *Server, qc *quic.Conn) *h3Server { return &h3Server{s: s, qc: qc} }

// serve runs until the connection has ended and every request is done.
func (h *h3Server) serve(ctx context.Context) {
	h.ctx = ctx
	// No Logger: http3 would log the request's URI, and with it tokens.
	srv := &http3.Server{
		Handler:         h,
		EnableDatagrams: true,
		MaxHeaderBytes:  maxHeaderBytes,
		IdleTimeout:     idleTimeout,
		AdditionalSettings: map[uint64]uint64{
			settingDraft02: 1, settingMaxSessions: 1, settingEnabled: 1,
		},
	}
	raw, err := srv.NewRawServerConn(h.qc)
	if err != nil { // no stream for SETTINGS
		_ = h.qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeInternalError), "")
		return
	}
	h.demux = newDemux(h.qc, raw.HandleUnidirectionalStream, raw.HandleRequestStream)
	h.demux.wg.Go(func() { h.s.established(h.qc) })
	stop := context.AfterFunc(ctx, h.shutdown)
	defer stop()
	h.demux.run()
}

// shutdown closes a connection without a session. A session's Handle sees its
// context end and closes the session itself.
func (h *h3Server) shutdown() {
	h.mu.Lock()
	h.closing = true
	claimed := h.claimed
	h.mu.Unlock()
	if !claimed {
		_ = h.qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	}
}

// claim takes the connection for a session. If that cannot be, the result is the
// HTTP status that says so, else 0.
func (h *h3Server) claim() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closing:
		return http.StatusServiceUnavailable
	case h.claimed:
		return http.StatusTooManyRequests
	}
	h.claimed = true
	return 0
}

// ServeHTTP implements http.Handler.
func (h *h3Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect && (r.Proto == protocolLegacy || r.Proto == protocolH3) {
		h.serveWebTransport(w, r)
		return
	}
	h.s.cfg.HTTP.ServeHTTP(w, r)
}

// serveWebTransport answers an extended CONNECT and runs its session.
func (h *h3Server) serveWebTransport(w http.ResponseWriter, r *http.Request) {
	if !h.s.cfg.CheckOrigin(r) {
		http.Error(w, "this origin is not allowed", http.StatusForbidden)
		return
	}
	offered := offeredTokens(r.Header)
	token, ok := chooseToken(h.s.cfg.Protocols, offered)
	if !ok {
		http.Error(w, fmt.Sprintf("no MoQT version in common: WT-Available-Protocols offers %s, this server supports %s",
			quoted(offered), quoted(h.s.cfg.Protocols)), http.StatusNotAcceptable)
		return
	}
	if err := setChosen(w.Header(), token); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if !waitDatagrams(r.Context(), w.(http3.Settingser)) {
		http.Error(w, "HTTP/3 datagrams are required (SETTINGS_H3_DATAGRAM)", http.StatusBadRequest)
		return
	}
	if status := h.claim(); status != 0 {
		http.Error(w, "this connection takes no further session", status)
		return
	}
	str := w.(http3.HTTPStreamer).HTTPStream() // sends the response
	// Behind requests, so that the close capsule does not overtake the answer
	// that says why, and ahead of most media.
	str.SetPriority(requestUrgency+1, false)
	conn := newWTConn(h.qc, str, moqt.ConnInfo{
		Protocol:  token,
		Authority: r.Host,
		Path:      r.RequestURI,
	})
	h.demux.wg.Go(conn.run)
	h.demux.attach(conn)
	h.s.handle(h.ctx, conn)
}

// waitDatagrams waits for the peer's SETTINGS, which may come after its request,
// and reports whether they enable datagrams.
func waitDatagrams(ctx context.Context, peer http3.Settingser) bool {
	timeout := time.NewTimer(streamHeaderTimeout)
	defer timeout.Stop()
	select {
	case <-peer.ReceivedSettings():
		return peer.Settings().EnableDatagrams
	case <-ctx.Done():
	case <-timeout.C:
	}
	return false
}
