package client

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"

	moqclient "github.com/broadcastd/broadcastd/moqt/client"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/publisher"
)

// PublisherConfig configures a BroadcastPublisher. Input is required.
type PublisherConfig struct {
	// Input is the external id of a live input, lv_…, or the name of an ad-hoc
	// stream.
	Input string
	// StreamKey lets in. Empty: the relay takes streams of this name without.
	StreamKey string
}

// A BroadcastPublisher publishes one broadcast of fragmented MP4: Write takes the
// header and then chunk after chunk, while Run keeps the connection to the relay.
type BroadcastPublisher struct {
	line line
	ns   track.Namespace

	opened chan struct{} // closed when the relay first has accepted the stream
	ended  chan struct{} // closed when Run has returned; reason and err are set then
	reason CloseReason
	err    error

	closing context.Context // ends when Close was called; asked is set then
	close   context.CancelFunc

	mu    sync.Mutex
	begun bool        // Run was called
	asked CloseReason // by Close, which was called unless it is empty
	out   *grouper
}

// Publisher returns a publisher. It starts nothing; see Run and OpenPublisher.
func (s Streams) Publisher(cfg PublisherConfig) (*BroadcastPublisher, error) {
	s = s.checked()
	u, err := parseRelay(s.Relay)
	if err != nil {
		return nil, err
	}
	ns, err := track.NewNamespace("publish", cfg.Input)
	if err != nil || cfg.Input == "" {
		return nil, errors.New("client: Input is not the external id of a live input, such as lv_…")
	}
	u = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/publish/" + cfg.Input}
	if cfg.StreamKey != "" {
		u.RawQuery = url.Values{"sk": {cfg.StreamKey}}.Encode()
	}
	p := &BroadcastPublisher{
		line: line{s: s, url: u.String(), pins: s.CertSHA256}, ns: ns,
		opened: make(chan struct{}), ended: make(chan struct{}),
		out: newGrouper(track.Name{Namespace: ns, Name: publisher.SingleTrack}, time.Now(), track.Config{MaxBytes: maxCached}),
	}
	p.closing, p.close = context.WithCancel(context.Background())
	return p, nil
}

// OpenPublisher returns a publisher that the relay has accepted. It runs, in a
// goroutine that Close waits for, until Close is called or it fails; ctx bounds
// the opening alone.
func (s Streams) OpenPublisher(ctx context.Context, cfg PublisherConfig) (*BroadcastPublisher, error) {
	p, err := s.Publisher(cfg)
	if err != nil {
		return nil, err
	}
	go p.Run(context.Background()) //nolint:errcheck // Write and Close return it
	select {
	case <-p.opened:
		return p, nil
	case <-p.ended:
		return nil, p.err
	case <-ctx.Done():
		_, _ = p.Close(ClosedByCaller) // why is in ctx
		return nil, context.Cause(ctx)
	}
}

// A CloseError says why a publisher takes no more.
type CloseError struct {
	Reason CloseReason
	Err    error // nil: Close was called
}

// Error implements error.
func (e *CloseError) Error() string {
	if e.Err == nil {
		return "client: publisher closed: " + string(e.Reason)
	}
	return fmt.Sprintf("client: publisher closed: %s: %v", e.Reason, e.Err)
}

// Unwrap returns Err.
func (e *CloseError) Unwrap() error { return e.Err }

// Write publishes a header (ftyp, moov), which comes first, or a CMAF chunk: one
// or more whole fragments (moof, mdat). The data is copied.
//
// It never waits: what the relay has not taken is let go of, oldest first, after
// ten seconds or 64 MiB. The error is ErrChunk for data that is neither, and a
// *CloseError once the publisher has ended.
func (p *BroadcastPublisher) Write(data []byte) error { return p.write(data, nil) }

// WriteAt is Write with the presentation time in microseconds that viewers get
// with the chunk, in place of its media time: to replay, or to follow a clock.
func (p *BroadcastPublisher) WriteAt(data []byte, timestampUs int64) error {
	return p.write(data, &timestampUs)
}

func (p *BroadcastPublisher) write(data []byte, at *int64) error {
	select {
	case <-p.ended:
		return &CloseError{Reason: p.reason, Err: p.err}
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked != "" {
		return &CloseError{Reason: p.asked}
	}
	return p.out.write(data, at)
}

// ReadFrom publishes a stream of fragmented MP4, such as an encoder's output, as
// it comes, until its end. n counts what was published. It does not close.
func (p *BroadcastPublisher) ReadFrom(r io.Reader) (n int64, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		chunk, err := readChunk(in)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err == nil {
			err = p.Write(chunk)
		}
		if err != nil {
			return n, err
		}
		n += int64(len(chunk))
	}
}

// Close ends the broadcast and Run with it, and returns how Run ended, for which
// it waits. Empty means ClosedByCaller. With Finished and ClosedByCaller the
// viewers are told that the broadcast is complete; with another reason the relay
// sees a publisher that is lost, and may come back.
func (p *BroadcastPublisher) Close(reason CloseReason) (CloseReason, error) {
	p.mu.Lock()
	if p.asked == "" {
		p.asked = cmp.Or(reason, ClosedByCaller)
		if p.whole() {
			p.out.finish()
		}
		p.close()
	}
	begun := p.begun
	p.mu.Unlock()
	if !begun {
		return p.asked, nil
	}
	<-p.ended
	return p.reason, p.err
}

// whole reports whether Close has ended the broadcast for good.
func (p *BroadcastPublisher) whole() bool { return p.asked == Finished || p.asked == ClosedByCaller }

// Run connects and publishes until Close is called, ctx ends, or it fails:
// AuthFailed if the key does not count, or no longer, and Network if the relay
// stays away for longer than Streams.Patience. After Close the reason is that of
// the caller and the error is nil. A connection that is lost comes back by itself.
func (p *BroadcastPublisher) Run(ctx context.Context) (CloseReason, error) {
	p.mu.Lock()
	if p.begun {
		p.mu.Unlock()
		return Network, errors.New("client: the publisher has run already")
	}
	p.begun = true
	p.mu.Unlock()
	reason, err := p.run(ctx)
	p.mu.Lock()
	p.asked = cmp.Or(p.asked, reason)
	p.out.abandon()
	p.mu.Unlock()
	p.reason, p.err = reason, err
	close(p.ended)
	return reason, err
}

func (p *BroadcastPublisher) run(ctx context.Context) (CloseReason, error) {
	trying, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	// What the relay has begun to take is ended in order, if that is soon.
	defer context.AfterFunc(p.closing, func() {
		if !p.isOpen() {
			giveUp(errClosed)
			return
		}
		time.AfterFunc(closePatience, func() { giveUp(errClosed) })
	})()
	err := p.line.keep(trying, func(ctx context.Context, progress func()) error {
		return p.line.with(ctx, func(ctx context.Context, c *moqclient.Client) error {
			return p.publish(ctx, c, progress)
		})
	})
	if p.closing.Err() != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.asked, nil
	}
	if ctx.Err() != nil {
		return ClosedByCaller, context.Cause(ctx)
	}
	return reasonOf(err), err
}

// isOpen reports whether the relay has accepted the stream at least once.
func (p *BroadcastPublisher) isOpen() bool {
	select {
	case <-p.opened:
		return true
	default:
		return false
	}
}

// closePatience bounds how long Close waits for what is still to be sent.
const closePatience = 3 * time.Second

// publish publishes over one session, until Close or the session's end.
func (p *BroadcastPublisher) publish(ctx context.Context, c *moqclient.Client, progress func()) error {
	withdraw, err := c.Announce(ctx, p.ns, p)
	if err != nil {
		return err
	}
	defer withdraw()
	progress()
	if !p.isOpen() {
		close(p.opened)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.closing.Done():
	}
	p.mu.Lock()
	whole := p.whole()
	p.mu.Unlock()
	if whole {
		settle(ctx, c)
	}
	return nil
}

// Track implements track.Source.
func (p *BroadcastPublisher) Track(name string) (*track.Track, bool) {
	return p.out.track, name == publisher.SingleTrack
}

// The times within which the end of a broadcast leaves. Nothing says when the
// peer has it all, so quiet is taken for it.
const (
	settleMost  = 1500 * time.Millisecond
	settleQuiet = 100 * time.Millisecond
	settleLook  = 10 * time.Millisecond
)

// settle waits until the session has nothing more to send.
func settle(ctx context.Context, c *moqclient.Client) {
	tick := time.NewTicker(settleLook)
	defer tick.Stop()
	began := time.Now()
	sent, since := c.Session().Conn().Stats().PacketsSent, began
	for time.Since(began) < settleMost && time.Since(since) < settleQuiet {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if n := c.Session().Conn().Stats().PacketsSent; n != sent {
			sent, since = n, time.Now()
		}
	}
}
