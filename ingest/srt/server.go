package srt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	gosrt "github.com/datarhei/gosrt"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/ingest/mpegts"
)

// Config configures a Server.
type Config struct {
	// Sessions holds the sessions of the inputs. It must be set.
	Sessions *ingest.Registry
	// Lookup returns what an input asks of its publisher before any key is
	// looked at, false for an input that is not known. It must be set.
	Lookup func(name string) (Input, bool)
	// Allow decides on an encoder before its handshake completes. Its error is
	// logged, so that it must hold no secret; a *Refusal has the code that the
	// encoder gets, for any other it is Forbidden. It must be set.
	Allow func(context.Context, Attempt) (Admission, error)
	// Video and Audio say how tracks are cut; zero is one frame a chunk.
	Video, Audio cmaf.ChunkPolicy
	// Handshake is how long the decision about an encoder may take. Zero means
	// 2 s: callers wait for three.
	Handshake time.Duration
	// Idle ends a connection on which no media comes for so long. Zero means 10 s.
	Idle time.Duration
	// MaxRate is how many bytes a second one connection may bring, on average
	// over some seconds. Zero means 12.5 MB/s, 100 Mbit/s.
	MaxRate int
	// MaxConns bounds the connections at a time. Zero means 256.
	MaxConns int
	// MaxBuffer bounds what waits for its time in the receive buffer of a
	// connection, in bytes. Zero means 64 MiB.
	MaxBuffer int
	// MaxQueue bounds what waits to be written, in bytes. Zero means 8 MiB.
	MaxQueue int
	Log      *slog.Logger          // nil discards
	Metrics  prometheus.Registerer // nil registers none
}

// An Input is what an input asks of its publisher. The zero value asks nothing.
type Input struct {
	// AllowFrom is where it may come from; empty: from anywhere.
	AllowFrom []netip.Prefix
	// Passphrases are those that count. With any, it has to show one.
	Passphrases []string
	// RequireEncryption refuses it without a passphrase, also where there is none.
	RequireEncryption bool
}

// allows says whether the publisher may come from addr.
func (in Input) allows(addr netip.Addr) bool {
	for _, p := range in.AllowFrom {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return len(in.AllowFrom) == 0
}

// An Attempt is what an encoder shows that wants to publish.
type Attempt struct {
	Remote    netip.AddrPort
	Name      string // in its stream id
	User      string
	StreamKey string // empty: none
	Encrypted bool   // it knows a passphrase
}

// An Admission is a permission to publish.
type Admission interface {
	// Name is the input's in the ingest.Registry.
	Name() string
	// Context ends with the reason when the permission is withdrawn.
	Context() context.Context
	// Close is called once the connection has ended.
	Close()
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	c.Handshake = cmp.Or(c.Handshake, 2*time.Second)
	c.Idle = cmp.Or(c.Idle, 10*time.Second)
	c.MaxRate = cmp.Or(c.MaxRate, 12_500_000)
	c.MaxConns = cmp.Or(c.MaxConns, 256)
	c.MaxBuffer = cmp.Or(c.MaxBuffer, 64<<20)
	c.MaxQueue = cmp.Or(c.MaxQueue, 8<<20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var faults []error
	if c.Sessions == nil || c.Allow == nil || c.Lookup == nil {
		faults = append(faults, errors.New("srt: Config.Sessions, Config.Lookup or Config.Allow is nil"))
	}
	if c.Handshake < 0 || c.Idle < 0 || c.MaxRate < 0 || c.MaxConns < 0 || c.MaxBuffer < 0 || c.MaxQueue < 0 {
		faults = append(faults, fmt.Errorf("srt: Handshake %v, Idle %v, MaxRate %d, MaxConns %d, MaxBuffer %d, MaxQueue %d, want more than 0",
			c.Handshake, c.Idle, c.MaxRate, c.MaxConns, c.MaxBuffer, c.MaxQueue))
	}
	return c, errors.Join(faults...)
}

type metrics struct {
	conns         prometheus.Gauge
	refused       prometheus.Counter
	malformed     prometheus.Counter
	bytes         prometheus.Counter
	lost          prometheus.Counter
	retransmitted prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		conns:         f.NewGauge(prometheus.GaugeOpts{Name: "broadcastd_srt_connections", Help: "SRT connections that publish."}),
		refused:       counter("broadcastd_srt_refused_total", "SRT connections that were refused."),
		malformed:     counter("broadcastd_srt_malformed_total", "SRT handshakes that could not be read."),
		bytes:         counter("broadcastd_srt_received_bytes_total", "Bytes that came over SRT connections that have ended, with headers."),
		lost:          counter("broadcastd_srt_lost_packets_total", "Packets that were missing at first on SRT connections that have ended."),
		retransmitted: counter("broadcastd_srt_retransmitted_packets_total", "Packets that came again on SRT connections that have ended."),
	}
}

// A Server takes encoders that publish over SRT.
type Server struct {
	cfg     Config
	metrics *metrics
	slots   chan struct{}
}

// New makes a Server.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	return &Server{cfg: cfg, metrics: newMetrics(cfg.Metrics), slots: make(chan struct{}, cfg.MaxConns)}, nil
}

// MaxLatency is the most that a handshake can say.
const MaxLatency = 60 * time.Second

// A Listener is a UDP port for SRT.
type Listener struct {
	l       gosrt.Listener
	watcher *watcher
}

// Listen binds addr, host:port. Packets are resent and held back for latency, or
// for what the encoder asks for where that is more. The socket is read from now
// on; Server.Serve takes the connections, Close ends it.
func Listen(addr string, latency time.Duration) (*Listener, error) {
	resolved, err := net.ResolveUDPAddr("udp", addr) // gosrt takes no names
	if err != nil {
		return nil, err
	}
	if latency < 0 || latency > MaxLatency {
		return nil, fmt.Errorf("srt: the latency is %v, want 0 to %v", latency, MaxLatency)
	}
	host := ""
	if len(resolved.IP) > 0 {
		host = resolved.IP.String()
	}
	l := &Listener{watcher: newWatcher()}
	c := gosrt.DefaultConfig()
	c.Latency, c.PeerIdleTimeout, c.Logger = latency, peerIdle, l.watcher
	l.l, err = gosrt.Listen("srt", net.JoinHostPort(host, fmt.Sprint(resolved.Port)), c)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Addr returns the address that is listened at.
func (l *Listener) Addr() net.Addr { return l.l.Addr() }

// Close ends the listener and its connections.
func (l *Listener) Close() { l.l.Close() }

// errMalformed reports a handshake that gosrt cannot read.
var errMalformed = errors.New("srt: malformed handshake")

// accept returns the next request, and the MTU in it. Handshakes are parsed on
// this goroutine, by code that trusts the lengths that it finds in them; nothing
// is locked then.
func (l *Listener) accept() (req gosrt.ConnRequest, mtu int, err error) {
	defer func() {
		if v := recover(); v != nil {
			req, err = nil, fmt.Errorf("%w: %v", errMalformed, v)
		}
	}()
	req, err = l.l.Accept2()
	return req, l.watcher.mtu, err
}

// maxPending bounds the requests that are being decided about.
const maxPending = 64

// Serve takes the connections of l until ctx ends, and returns its cause once
// all of them have ended. It closes l.
func (s *Server) Serve(ctx context.Context, l *Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, l.Close)
	defer stop()
	pending := make(chan struct{}, maxPending)
	attempts := newLimiter()
	for {
		req, mtu, err := l.accept()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errMalformed):
			s.metrics.malformed.Inc()
			s.cfg.Log.Debug("SRT handshake was not understood", "err", err)
			continue
		case err != nil:
			cancel(err)
			return err
		}
		remote := addrPort(req.RemoteAddr())
		if !attempts.take(time.Now(), remote.Addr()) {
			s.refuse(req, remote, "", refuse(Overload, "too many attempts from this network; try again in some seconds"))
			continue
		}
		if mtu >= 0 && mtu < minMTU {
			s.refuse(req, remote, "", refuse(Rogue, "an MTU of %d bytes, want %d or more", mtu, minMTU))
			continue
		}
		select {
		case pending <- struct{}{}:
		default:
			s.refuse(req, remote, "", refuse(Overload, "too many handshakes at a time"))
			continue
		}
		conns.Go(func() {
			a, err := s.admit(ctx, req, remote)
			<-pending
			if err != nil {
				s.refuse(req, remote, a.id.Name, err)
				return
			}
			defer a.Close()
			s.serve(ctx, l, req, a)
		})
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	udp, ok := a.(*net.UDPAddr)
	if !ok || udp == nil {
		return netip.AddrPort{}
	}
	p := udp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// refuse tells the caller and the log.
func (s *Server) refuse(req gosrt.ConnRequest, remote netip.AddrPort, name string, err error) {
	code := Forbidden
	if r, ok := errors.AsType[*Refusal](err); ok {
		code = r.Code
	}
	s.metrics.refused.Inc()
	s.cfg.Log.Info("SRT connection refused", "broadcast", name, "remote", remote.String(), "code", uint32(code), "err", err)
	req.Reject(gosrt.RejectionReason(code))
}

// admitted is a request that may publish.
type admitted struct {
	Admission
	id         StreamID
	remote     netip.AddrPort
	passphrase string // that it knows; empty: it does not encrypt
}

// admit decides about a request.
func (s *Server) admit(ctx context.Context, req gosrt.ConnRequest, remote netip.AddrPort) (admitted, error) {
	a := admitted{remote: remote}
	if req.Version() != 5 {
		return a, refuse(OldVersion, "the handshake is of version %d, which has no stream id; SRT 1.4.1 or later is needed", req.Version())
	}
	var err error
	if a.id, err = ParseStreamID(req.StreamId()); err != nil {
		return a, err
	}
	if a.id.Play {
		return a, refuse(BadMode, "playing over SRT is not offered, only publishing (m=publish, publish:NAME)")
	}
	in, _ := s.cfg.Lookup(a.id.Name)
	if !in.allows(remote.Addr()) {
		return a, refuse(Forbidden, "its publisher may not come from this address")
	}
	if a.passphrase, err = unlock(req, in); err != nil {
		return a, err
	}
	deciding, cancel := context.WithTimeout(ctx, s.cfg.Handshake)
	defer cancel()
	a.Admission, err = s.cfg.Allow(deciding, Attempt{
		Remote: remote, Name: a.id.Name, User: a.id.User, StreamKey: a.id.Key, Encrypted: a.passphrase != "",
	})
	return a, err
}

// unlock finds the passphrase that a request knows.
func unlock(req gosrt.ConnRequest, in Input) (passphrase string, err error) {
	switch {
	case !req.IsEncrypted() && len(in.Passphrases) > 0:
		return "", refuse(Unsecure, "its publisher has to encrypt with the input's passphrase")
	case !req.IsEncrypted() && in.RequireEncryption:
		return "", refuse(Unsecure, `its publisher has to encrypt, and there is no passphrase yet: "broadcastd input passphrase" makes one`)
	case !req.IsEncrypted():
		return "", nil
	case len(in.Passphrases) == 0:
		return "", refuse(Unsecure, `it encrypts with a passphrase, and the input has none: "broadcastd input passphrase" makes one`)
	}
	for _, p := range in.Passphrases {
		if req.SetPassphrase(p) == nil {
			return p, nil
		}
	}
	return "", refuse(BadSecret, "the passphrase is wrong")
}

// serve runs one connection.
func (s *Server) serve(ctx context.Context, l *Listener, req gosrt.ConnRequest, a admitted) {
	log := s.cfg.Log.With("broadcast", a.Name(), "remote", a.remote.String())
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.refuse(req, a.remote, a.Name(), refuse(Overload, "too many connections: %d", s.cfg.MaxConns))
		return
	}
	conn, err := req.Accept()
	if err != nil {
		log.Warn("SRT connection was not taken", "err", err)
		return
	}
	s.metrics.conns.Inc()
	defer s.metrics.conns.Dec()
	log.Info("SRT connection accepted", "encrypted", a.passphrase != "")
	k := newLink(conn, a.passphrase != "", limits{s.cfg.Idle, s.cfg.MaxRate, s.cfg.MaxBuffer, s.cfg.MaxQueue})
	defer l.watcher.add(k)()
	to := s.cfg.Sessions.Connect(a.Name(), ingest.Peer{
		Addr: a.remote.String(), Protocol: "srt", Encrypted: k.encrypted, Stats: k.stats,
	})
	err = s.feed(ctx, k, a, to, log)
	to.Pause(0)
	st := k.stats()
	s.metrics.bytes.Add(float64(st.Bytes))
	s.metrics.lost.Add(float64(st.Lost))
	s.metrics.retransmitted.Add(float64(st.Retransmitted))
	switch {
	case err == nil:
	case errors.Is(err, ingest.ErrReplaced), errors.Is(err, ingest.ErrEnded):
		log.Info("SRT input ended", "err", err)
	default:
		log.Warn("SRT input ended", "err", err)
	}
}

// feed reads media into to until the encoder ends it, which is nil, or it has to
// end.
func (s *Server) feed(ctx context.Context, k *link, a admitted, to *ingest.Conn, log *slog.Logger) error {
	running, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-to.Done():
			k.stop(to.Err())
		case <-a.Context().Done():
			k.stop(context.Cause(a.Context()))
		case <-running.Done():
			k.stop(ingest.ErrEnded) // unless it has ended
		}
	})
	defer watch.Wait()
	defer stop()
	err := read(k, to, mpegts.Config{Video: s.cfg.Video, Audio: s.cfg.Audio, Log: log}, func() error { return s.still(a) })
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// still says why a connection may go on no longer: what its input asks for has
// changed.
func (s *Server) still(a admitted) error {
	in, _ := s.cfg.Lookup(a.id.Name)
	switch {
	case !in.allows(a.remote.Addr()):
		return refuse(Forbidden, "its publisher may come from this address no longer")
	case a.passphrase == "" && (in.RequireEncryption || len(in.Passphrases) > 0):
		return refuse(Unsecure, "its publisher has to encrypt now")
	case a.passphrase == "":
		return nil
	}
	for _, p := range in.Passphrases {
		if p == a.passphrase {
			return nil
		}
	}
	return refuse(BadSecret, "its passphrase counts no longer")
}

// read reads the transport stream of k into b. What the stream carries ends with
// k, the broadcast does not.
func read(k *link, b cmaf.Broadcast, c mpegts.Config, still func() error) (err error) {
	d := mpegts.NewDemuxer(b, c)
	err = k.run(func(p []byte) error {
		_, err := d.Write(p)
		return err
	}, still)
	e := d.Close()
	if errors.Is(err, io.EOF) && e != nil && !errors.Is(e, ingest.ErrEnded) && !errors.Is(e, ingest.ErrReplaced) {
		err = e
	}
	t, n := d.Stats(), k.stats()
	if c.Log != nil {
		c.Log.Info("SRT connection over", "bytes", n.Bytes, "packets", n.Received, "lost", n.Lost, "retransmitted", n.Retransmitted,
			"rtt", n.RTT.Round(time.Microsecond), "gaps", t.Gaps, "dropped", t.Dropped, "skipped", t.Skipped, "in_clear", k.clear.Load())
	}
	return err
}

// codeText names a code for people, as far as callers of us need it.
func codeText(code Code) string {
	names := map[Code]string{
		1001: "system error", Closed: "the peer refused", 1003: "no resources", Rogue: "a malformed handshake", 1005: "its backlog is full",
		OldVersion: "this version of SRT is too old for it", BadSecret: "the passphrase is wrong", Unsecure: "a passphrase is missing, or one that it did not ask for",
		BadRequest: "it does not understand the stream id", Unauthorized: "unauthorized", Overload: "overloaded", Forbidden: "forbidden",
		1404: "not found", BadMode: "it does not offer that mode", 1407: "somebody else has it",
	}
	text := names[code]
	if text == "" {
		text = "no reason that is known"
	}
	return strings.TrimSpace(fmt.Sprintf("%s (code %d)", text, code))
}
