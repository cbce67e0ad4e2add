package srt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	gosrt "github.com/datarhei/gosrt"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest/mpegts"
)

// PullConfig configures a Puller.
type PullConfig struct {
	// URL is srt://HOST:PORT[?streamid=…&passphrase=…&latency=MS&pbkeylen=16|24|32].
	// mode=caller may stand in it, other modes may not.
	URL string
	// Video and Audio say how tracks are cut; zero is one frame a chunk.
	Video, Audio cmaf.ChunkPolicy
	// Handshake is how long the server may take to answer. Zero means 5 s. Idle is
	// how long nothing may come then. Zero means 10 s.
	Handshake, Idle time.Duration
	Log             *slog.Logger // nil discards
}

// A Puller plays from an SRT listener. It is an ingest.Source.
type Puller struct {
	cfg  PullConfig
	addr string
	srt  gosrt.Config
}

// NewPuller makes a Puller. The error is for a URL that is none; it holds
// nothing of the URL's query.
func NewPuller(cfg PullConfig) (*Puller, error) {
	cfg.Handshake, cfg.Idle = cmp.Or(cfg.Handshake, 5*time.Second), cmp.Or(cfg.Idle, 10*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Hostname() == "" || u.Port() == "" || u.Scheme != "srt" {
		return nil, errors.New("srt: the URL is none; want srt://HOST:PORT?streamid=…") // its text may hold a key
	}
	if u.User != nil || u.Path != "" && u.Path != "/" {
		return nil, errors.New("srt: the URL has a user or a path; what the server wants goes into streamid")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("srt: the query of the URL cannot be read")
	}
	p := &Puller{cfg: cfg, addr: u.Host, srt: gosrt.DefaultConfig()}
	p.srt.ConnectionTimeout, p.srt.PeerIdleTimeout = cfg.Handshake, peerIdle
	for key, values := range query {
		if err := p.set(key, values[0]); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// set takes a parameter of the URL. Those of ffmpeg and srt-live-transmit that
// mean nothing here are passed over.
func (p *Puller) set(key, v string) error {
	switch key {
	case "streamid":
		if len(v) > maxStreamID {
			return fmt.Errorf("srt: streamid has %d bytes, at most %d are allowed", len(v), maxStreamID)
		}
		p.srt.StreamId = v
	case "passphrase":
		if len(v) < gosrt.MIN_PASSPHRASE_SIZE || len(v) > maxPassphrase {
			return fmt.Errorf("srt: passphrase has %d bytes, want %d to %d", len(v), gosrt.MIN_PASSPHRASE_SIZE, maxPassphrase)
		}
		p.srt.Passphrase = v
	case "pbkeylen":
		n, err := strconv.Atoi(v)
		if err != nil || n != 0 && n != 16 && n != 24 && n != 32 {
			return errors.New("srt: pbkeylen is not 16, 24 or 32")
		}
		p.srt.PBKeylen = cmp.Or(n, 16)
	case "latency", "rcvlatency":
		n, err := strconv.Atoi(v)
		d := time.Duration(n) * time.Millisecond
		if err != nil || d < 0 || d > MaxLatency {
			return fmt.Errorf("srt: %s is not of milliseconds up to %d", key, MaxLatency.Milliseconds())
		}
		p.srt.Latency = d
	case "mode":
		if v != "caller" {
			return errors.New("srt: mode is not caller, which is the only one that pulls")
		}
	case "transtype":
		if v != "live" {
			return errors.New("srt: transtype is not live")
		}
	}
	return nil
}

// maxPassphrase is the most that libsrt takes, in bytes.
const maxPassphrase = 79

// Bounds on what is read of a server.
const (
	maxPullRate   = 25_000_000 // bytes a second
	maxPullBuffer = 128 << 20
	maxPullQueue  = 8 << 20
)

// Run implements ingest.Source.
func (p *Puller) Run(ctx context.Context, b cmaf.Broadcast) error {
	g, err := newGuard(ctx, p.addr)
	if err != nil {
		return fmt.Errorf("srt: %w", err)
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	defer g.close()
	wait.Go(g.run)
	if err := g.probe(ctx, p.cfg.Handshake); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	c, w := p.srt, newWatcher()
	c.Logger = w
	unabort := context.AfterFunc(ctx, g.abort)
	conn, err := gosrt.Dial("srt", g.addr(), c)
	unabort()
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if code := g.refusal(); code != 0 {
			return fmt.Errorf("srt: the server refused: %s", codeText(code))
		}
		return fmt.Errorf("srt: no connection: %s", strings.TrimSpace(err.Error()))
	}
	g.established()
	defer reap(conn)
	k := newLink(conn, c.Passphrase != "", limits{p.cfg.Idle, maxPullRate, maxPullBuffer, maxPullQueue})
	defer w.add(k)()
	defer context.AfterFunc(ctx, func() { k.stop(context.Cause(ctx)) })()
	err = read(k, b, mpegts.Config{Video: p.cfg.Video, Audio: p.cfg.Audio, Log: p.cfg.Log}, func() error { return nil })
	if errors.Is(err, io.EOF) {
		return errors.New("srt: the server closed the connection")
	}
	return err
}

// reap ends a connection that was dialled. gosrt's goroutine that reads its
// socket waits, at its end, for somebody who asks for the reason.
func reap(conn gosrt.Conn) {
	conn.Close() //nolint:errcheck // it has no error
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		if _, err := conn.ReadPacket(); errors.Is(err, gosrt.ErrClientClosed) || errors.Is(err, net.ErrClosed) {
			return
		}
		<-tick.C
	}
}
