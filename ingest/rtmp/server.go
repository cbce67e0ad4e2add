package rtmp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
)

// Config configures a Server.
type Config struct {
	// Sessions holds the sessions of the inputs. It must be set.
	Sessions *ingest.Registry
	// Allow decides on an encoder before it may send media. Its error is shown
	// to the encoder and logged, so that it must hold no secret. It must be set.
	Allow func(context.Context, Attempt) (Admission, error)
	// Video and Audio say how tracks are cut; zero is one frame a chunk.
	Video, Audio cmaf.ChunkPolicy
	// Handshake is how long an encoder may take until it publishes. Zero means
	// 5 s.
	Handshake time.Duration
	// Idle ends a connection on which nothing comes for so long. Zero means 10 s.
	Idle time.Duration
	// MaxRate is how many bytes a second are read of one connection, on average:
	// a faster encoder waits. Zero means 12.5 MB/s, 100 Mbit/s.
	MaxRate int
	// MaxConns bounds the connections at a time. Zero means 256.
	MaxConns int
	// MaxMessage bounds a message, which is a frame, in bytes. Zero means 4 MiB,
	// the most is 16 MiB.
	MaxMessage int
	// MaxGroup bounds the video from one key frame to the next, in bytes. Zero
	// means 64 MiB.
	MaxGroup int
	Log      *slog.Logger          // nil discards
	Metrics  prometheus.Registerer // nil registers none
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	c.Handshake = cmp.Or(c.Handshake, 5*time.Second)
	c.Idle = cmp.Or(c.Idle, 10*time.Second)
	c.MaxRate = cmp.Or(c.MaxRate, 12_500_000)
	c.MaxConns = cmp.Or(c.MaxConns, 256)
	c.MaxMessage = cmp.Or(c.MaxMessage, 4<<20)
	c.MaxGroup = cmp.Or(c.MaxGroup, 64<<20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var faults []error
	if c.Sessions == nil || c.Allow == nil {
		faults = append(faults, errors.New("rtmp: Config.Sessions or Config.Allow is nil"))
	}
	if c.Handshake < 0 || c.Idle < 0 || c.MaxRate < 0 || c.MaxConns < 0 || c.MaxGroup < 0 {
		faults = append(faults, fmt.Errorf("rtmp: Handshake %v, Idle %v, MaxRate %d, MaxConns %d, MaxGroup %d, want more than 0",
			c.Handshake, c.Idle, c.MaxRate, c.MaxConns, c.MaxGroup))
	}
	if c.MaxMessage < maxCommand || c.MaxMessage > maxPartial {
		faults = append(faults, fmt.Errorf("rtmp: MaxMessage is %d, want %d to %d", c.MaxMessage, maxCommand, maxPartial))
	}
	return c, errors.Join(faults...)
}

type metrics struct {
	conns   prometheus.Gauge
	refused prometheus.Counter
	bytes   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		conns: f.NewGauge(prometheus.GaugeOpts{
			Name: "broadcastd_rtmp_connections", Help: "RTMP connections, also those that do not publish yet.",
		}),
		refused: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_rtmp_refused_total", Help: "RTMP connections that ended before they might publish.",
		}),
		bytes: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_rtmp_received_bytes_total", Help: "Bytes that came over RTMP connections that have ended.",
		}),
	}
}

// A Server takes encoders that publish over RTMP.
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

// acceptPause is how long no connection is taken after one could not be.
const acceptPause = 50 * time.Millisecond

// Serve takes the connections of l, of TLS where l makes them so, until ctx
// ends, and returns its cause once all of them have ended. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return context.Cause(ctx)
		}
		if ne, ok := errors.AsType[net.Error](err); ok && !errors.Is(err, net.ErrClosed) {
			s.cfg.Log.Warn("RTMP connection was not taken", "err", ne)
			time.Sleep(acceptPause)
			continue
		}
		if err != nil {
			cancel(err)
			return err
		}
		select {
		case s.slots <- struct{}{}:
		default:
			s.metrics.refused.Inc()
			s.cfg.Log.Warn("RTMP connection refused: too many", "max", s.cfg.MaxConns, "remote", nc.RemoteAddr().String())
			nc.Close()
			continue
		}
		conns.Go(func() {
			defer func() { <-s.slots }()
			defer nc.Close()
			s.metrics.conns.Inc()
			defer s.metrics.conns.Dec()
			s.serve(ctx, nc)
		})
	}
}

// serve runs one connection.
func (s *Server) serve(ctx context.Context, nc net.Conn) {
	l := newLink(nc, 0, s.cfg.MaxRate)
	defer func() { s.metrics.bytes.Add(float64(l.received.Load())) }()
	log := s.cfg.Log.With("remote", nc.RemoteAddr().String())
	unwatch := context.AfterFunc(ctx, func() { l.stop(ingest.ErrEnded) })
	defer unwatch()
	nc.SetDeadline(time.Now().Add(s.cfg.Handshake)) //nolint:errcheck // then reading fails
	admission, attempt, err := s.admit(ctx, l)
	if errors.Is(err, errIdle) {
		err = errHandshake
	}
	if err != nil {
		s.metrics.refused.Inc()
		if !errors.Is(err, io.EOF) { // a look at the port
			log.Info("RTMP connection refused", "broadcast", attempt.Name, "err", err)
		}
		s.tell(l, err)
		return
	}
	defer admission.Close()
	below := ingest.TCPStats(nc)
	stats := func() (st ingest.PeerStats) {
		if below != nil {
			st = below()
		}
		st.Bytes = l.received.Load()
		return st
	}
	conn := s.cfg.Sessions.Connect(admission.Name(), ingest.Peer{
		Addr: nc.RemoteAddr().String(), Protocol: "rtmp", UserAgent: attempt.UserAgent, Encrypted: attempt.Encrypted,
		Stats: stats,
	})
	err = s.feed(ctx, l, admission, conn)
	conn.Pause(0)
	if err != nil {
		level := slog.LevelWarn
		if errors.Is(err, ingest.ErrReplaced) || errors.Is(err, ingest.ErrEnded) {
			level = slog.LevelInfo
		}
		log.Log(ctx, level, "RTMP input ended", "broadcast", admission.Name(), "err", err)
		s.tell(l, err)
	}
}

// tell tells the encoder why it is over, if it can still hear that.
func (s *Server) tell(l *link, err error) {
	if _, gone := errors.AsType[net.Error](err); gone || !l.connected || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return
	}
	code := codeBadName
	if r, ok := errors.AsType[*refusal](err); ok {
		code = r.code
	}
	if l.status(mediaStream, "error", code, err.Error()) == nil {
		l.linger()
	}
}

// admit negotiates until the encoder wants to publish, and decides on that.
func (s *Server) admit(ctx context.Context, l *link) (Admission, Attempt, error) {
	_, encrypted := l.nc.(*tls.Conn)
	if err := l.accept(); err != nil {
		return nil, Attempt{}, err
	}
	n := negotiation{l: l}
	for {
		m, err := l.next()
		if err != nil {
			return nil, Attempt{}, err
		}
		if m.typ != typeCommand && m.typ != typeCommandAMF3 {
			continue // metadata may be early
		}
		c, err := parseCommand(m)
		if err != nil {
			return nil, Attempt{}, err
		}
		done, err := n.command(c)
		if err != nil {
			return nil, Attempt{}, err
		}
		if !done {
			continue
		}
		a := n.attempt()
		a.Encrypted = encrypted
		a.Remote, _ = netip.ParseAddrPort(l.nc.RemoteAddr().String())
		admission, err := s.cfg.Allow(ctx, a)
		if err != nil {
			return nil, a, &refusal{codeBadName, err}
		}
		return admission, a, l.status(mediaStream, "status", codeStart, "Publishing "+a.Name+".")
	}
}

// feed reads media into conn until the encoder ends it, which is nil, or it
// has to end.
func (s *Server) feed(ctx context.Context, l *link, admission Admission, conn *ingest.Conn) (err error) {
	running, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-conn.Done():
			l.stop(conn.Err())
		case <-admission.Context().Done():
			l.stop(context.Cause(admission.Context()))
		case <-running.Done():
		}
	})
	defer watch.Wait()
	defer stop()

	d := &demuxer{b: conn, video: s.cfg.Video, audio: s.cfg.Audio, maxGroup: s.cfg.MaxGroup, log: s.cfg.Log.With("broadcast", admission.Name())}
	defer func() {
		if e := d.close(); err == nil && !errors.Is(e, ingest.ErrEnded) && !errors.Is(e, ingest.ErrReplaced) {
			err = e
		}
		d.log.Info("RTMP connection over", "bytes", l.received.Load(), "frames", d.stats.Frames, "dropped", d.stats.Dropped,
			"late", d.stats.Late, "jumps", d.stats.Jumps)
	}()
	l.chunks.limit, l.idle = s.cfg.MaxMessage, s.cfg.Idle
	if err := l.extend(l.idle); err != nil {
		return err
	}
	for {
		m, err := l.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		known, err := d.message(m)
		if err != nil {
			return err
		}
		if !known && ends(m) {
			return nil
		}
	}
}

// ends reports whether a message says that the encoder is done.
func ends(m message) bool {
	if m.typ != typeCommand && m.typ != typeCommandAMF3 {
		return false
	}
	c, err := parseCommand(m)
	if err != nil {
		return false
	}
	switch c.name {
	case "FCUnpublish", "deleteStream", "closeStream":
		return true
	}
	return false
}
