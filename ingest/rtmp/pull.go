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
	"net/url"
	"strings"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"

	"github.com/broadcastd/broadcastd/cmaf"
)

// PullConfig configures a Puller.
type PullConfig struct {
	// URL is rtmp:// or rtmps://HOST[:PORT]/APP/STREAM[?QUERY]. What stands
	// before the last part of the path is the application.
	URL string
	// TLS is for rtmps. Nil trusts what the system does.
	TLS *tls.Config
	// Dial opens connections. Nil means net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Video and Audio say how tracks are cut; zero is one frame a chunk.
	Video, Audio cmaf.ChunkPolicy
	// Handshake is how long the server may take until it plays, Idle how long
	// nothing may come then. Zero means 10 s.
	Handshake, Idle time.Duration
	UserAgent       string       // goes out as flashVer; empty is one that every server takes
	Log             *slog.Logger // nil discards
}

// A Puller plays from an RTMP server. It is an ingest.Source.
type Puller struct {
	cfg         PullConfig
	addr        string
	host        string // for TLS
	secure      bool
	app, stream string
	tcURL       string
}

// NewPuller makes a Puller. The error is for a URL that is none.
func NewPuller(cfg PullConfig) (*Puller, error) {
	cfg.Handshake, cfg.Idle = cmp.Or(cfg.Handshake, 10*time.Second), cmp.Or(cfg.Idle, 10*time.Second)
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "LNX 9,0,124,2")
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("rtmp: the URL is none") // its text may hold a key
	}
	p := &Puller{cfg: cfg, host: u.Hostname(), secure: u.Scheme == "rtmps"}
	port := "1935"
	switch u.Scheme {
	case "rtmp":
	case "rtmps":
		port = "443"
	default:
		return nil, fmt.Errorf("rtmp: the URL begins with %q, want rtmp:// or rtmps://", u.Scheme)
	}
	if u.User != nil {
		return nil, errors.New("rtmp: user and password in a URL are not supported; put what the server wants into its query")
	}
	path := strings.Trim(u.Path, "/")
	at := strings.LastIndexByte(path, '/')
	if at < 1 {
		return nil, fmt.Errorf("rtmp: the URL's path is %q, want APP/STREAM", u.Path)
	}
	p.addr = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	p.app, p.stream = path[:at], path[at+1:]
	p.tcURL = u.Scheme + "://" + u.Host + "/" + p.app
	if u.RawQuery != "" {
		p.stream += "?" + u.RawQuery
	}
	return p, nil
}

// maxPullRate bounds what is read of a server, in bytes a second.
const maxPullRate = 25_000_000

// Run implements ingest.Source.
func (p *Puller) Run(ctx context.Context, b cmaf.Broadcast) error {
	dialing, cancel := context.WithTimeout(ctx, p.cfg.Handshake)
	nc, err := p.cfg.Dial(dialing, "tcp", p.addr)
	cancel()
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("rtmp: %w", err)
	}
	defer nc.Close()
	if p.secure {
		c := &tls.Config{}
		if p.cfg.TLS != nil {
			c = p.cfg.TLS.Clone()
		}
		c.ServerName = cmp.Or(c.ServerName, p.host)
		nc = tls.Client(nc, c)
	}
	l := newLink(nc, 0, maxPullRate)
	defer context.AfterFunc(ctx, func() { l.stop(context.Cause(ctx)) })()
	nc.SetDeadline(time.Now().Add(p.cfg.Handshake)) //nolint:errcheck // then reading fails
	if err := p.play(l); err != nil {
		if errors.Is(err, errIdle) {
			err = fmt.Errorf("rtmp: the server did not begin to play within %v", p.cfg.Handshake)
		}
		return err
	}
	l.idle = p.cfg.Idle
	if err := l.extend(l.idle); err != nil {
		return err
	}
	return p.feed(l, b)
}

// play asks for the stream, RTMP section 7.2.2.1.
func (p *Puller) play(l *link) error {
	if err := l.dial(); err != nil {
		return err
	}
	if err := l.open(); err != nil {
		return err
	}
	var list amf0.StrictArray
	for _, media := range fourCCs {
		for _, f := range media {
			list = append(list, f)
		}
	}
	err := l.send(0, "connect", 1, amf0.Object{
		{Key: "app", Value: p.app},
		{Key: "flashVer", Value: p.cfg.UserAgent},
		{Key: "tcUrl", Value: p.tcURL},
		{Key: "fpad", Value: false},
		{Key: "capabilities", Value: float64(239)},
		{Key: "audioCodecs", Value: float64(0x0400)},
		{Key: "videoCodecs", Value: float64(0x0080)},
		{Key: "videoFunction", Value: float64(1)},
		{Key: "objectEncoding", Value: float64(0)},
		{Key: "fourCcList", Value: list},
		{Key: "capsEx", Value: float64(capsEx)},
	})
	if err != nil {
		return err
	}
	if _, err := p.result(l, 1); err != nil {
		return err
	}
	if err := l.send(0, "createStream", 2, nil); err != nil {
		return err
	}
	c, err := p.result(l, 2)
	if err != nil {
		return err
	}
	stream, _ := c.arg(1).(float64)
	if stream < 1 || stream > 255 {
		return protocolError("createStream made the stream %v", stream)
	}
	return l.send(uint32(stream), "play", 3, nil, p.stream, float64(-2000))
}

// result waits for the answer to a command.
func (p *Puller) result(l *link, id float64) (command, error) {
	for {
		m, err := l.next()
		if err != nil {
			return command{}, err
		}
		if m.typ != typeCommand && m.typ != typeCommandAMF3 {
			continue
		}
		c, err := parseCommand(m)
		switch {
		case err != nil:
			return c, err
		case c.name == "_error" && c.id == id:
			return c, refusedBy(c)
		case c.name == "_result" && c.id == id:
			return c, nil
		}
	}
}

// refusedBy returns what a server said with an error.
func refusedBy(c command) error {
	info := object(c.arg(1))
	return fmt.Errorf("rtmp: the server refused: %.64s %.256s", text(info, "code"), text(info, "description"))
}

// feed reads media until the server ends it.
func (p *Puller) feed(l *link, b cmaf.Broadcast) (err error) {
	d := &demuxer{b: b, video: p.cfg.Video, audio: p.cfg.Audio, maxGroup: 64 << 20, log: p.cfg.Log}
	defer func() {
		if e := d.close(); err == nil {
			err = e
		}
	}()
	l.chunks.limit = 4 << 20
	for {
		m, err := l.next()
		if errors.Is(err, io.EOF) {
			return errors.New("rtmp: the server closed the connection")
		}
		if err != nil {
			return err
		}
		known, err := d.message(m)
		if err != nil {
			return err
		}
		if known || m.typ != typeCommand && m.typ != typeCommandAMF3 {
			continue
		}
		c, err := parseCommand(m)
		if err != nil {
			return err
		}
		if over, err := p.status(c); over || err != nil {
			return err
		}
	}
}

// status reads onStatus: over is true where the stream has ended.
func (p *Puller) status(c command) (over bool, err error) {
	if c.name != "onStatus" {
		return false, nil
	}
	info := object(c.arg(1))
	switch text(info, "code") {
	case "NetStream.Play.Stop", "NetStream.Play.Complete", "NetStream.Play.UnpublishNotify":
		return true, nil
	}
	if text(info, "level") == "error" {
		return true, refusedBy(c)
	}
	return false, nil
}
