package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/hls/playlist"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/ingest/mpegts"
)

var (
	// ErrStale reports a live playlist that no longer changes.
	ErrStale = errors.New("hls: the playlist does not change any more")
	// ErrNoRendition reports a presentation without what was asked for.
	ErrNoRendition = errors.New("hls: no such rendition")
	// ErrUnsupported reports what is not read, such as encrypted segments.
	ErrUnsupported = errors.New("hls: not supported")
)

// A Config configures a Puller. Only URL is needed.
type Config struct {
	// URL is the playlist, multivariant or media, of http or https. Userinfo and
	// query are sent, and never logged.
	URL string
	// Renditions says which renditions of a multivariant playlist are taken. The
	// zero value takes the variant of the highest bandwidth whose codecs can be
	// carried, and its default audio.
	Renditions Selection
	// EdgeDistance is how far before the end of a live playlist to begin. Zero
	// means what the playlist asks for, at least three target durations.
	EdgeDistance time.Duration

	// Client sends the requests; it is not closed. Nil means one of the Puller's
	// own, which takes proxies from nowhere.
	Client *http.Client
	// Dial opens the connections where Client is nil; nil means net.Dialer's. An
	// error of it with a method Permanent that returns true is not tried again.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Headers go out with every request to the host of URL, and to no other host
	// that playlists or redirects lead to. They are never logged.
	Headers http.Header
	// UserAgent is the header of that name. Empty means "broadcastd".
	UserAgent string
	// RequestTimeout is how long a playlist may take; a segment may take twice
	// its duration longer. Zero means 10 s.
	RequestTimeout time.Duration
	// RetryFor is how long a request that fails is repeated. Zero means 30 s.
	RetryFor time.Duration
	// StaleAfter is how long a live playlist may stay as it is. Zero means 1 min.
	StaleAfter time.Duration
	// MaxSegment bounds one segment, and MaxBuffer what waits for its time to go
	// out, in bytes; of the latter each rendition may have one segment more. Zero
	// means 256 MiB and 128 MiB.
	MaxSegment, MaxBuffer int64

	// Video and Audio say how the tracks are cut; zero is one sample a chunk.
	Video, Audio cmaf.ChunkPolicy
	// Log takes what is worth a line. Nil discards it.
	Log *slog.Logger
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, *url.URL, error) {
	c.UserAgent = cmp.Or(c.UserAgent, "broadcastd")
	c.RequestTimeout = cmp.Or(c.RequestTimeout, 10*time.Second)
	c.RetryFor = cmp.Or(c.RetryFor, 30*time.Second)
	c.StaleAfter = cmp.Or(c.StaleAfter, time.Minute)
	c.MaxSegment = cmp.Or(c.MaxSegment, 256<<20)
	c.MaxBuffer = cmp.Or(c.MaxBuffer, 128<<20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("hls: "+format, args...)) }
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		fault("URL is not one of http or https") // not quoted: it may hold a secret
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"RequestTimeout", c.RequestTimeout}, {"RetryFor", c.RetryFor}, {"StaleAfter", c.StaleAfter}} {
		if d.d < time.Millisecond || d.d > time.Hour {
			fault("%s is %v, want 1ms to 1h", d.name, d.d)
		}
	}
	if err := checkHeaders(c.Headers); err != nil {
		fault("%w", err)
	}
	if c.EdgeDistance < 0 || c.EdgeDistance > 24*time.Hour {
		fault("EdgeDistance is %v, want 0 to 24h", c.EdgeDistance)
	}
	if c.MaxSegment < 1 || c.MaxBuffer < 1 || c.Renditions.MaxHeight < 0 {
		fault("MaxSegment, MaxBuffer and MaxHeight must not be below 0")
	}
	return c, u, errors.Join(faults...)
}

// A Puller pulls one presentation. It is an ingest.Source.
type Puller struct {
	cfg  Config
	from *url.URL
	log  *slog.Logger
}

var _ ingest.Source = (*Puller)(nil)

// New returns a Puller. It starts nothing; see Run.
func New(cfg Config) (*Puller, error) {
	cfg, from, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	return &Puller{cfg: cfg, from: from, log: cfg.Log.With("url", redact(from))}, nil
}

// Run pulls the presentation until it ends, which is nil once all of it has
// gone out, or ctx ends, or it fails: a *RequestError for what a server
// answered or did not, a *playlist.LineError, an error of this package, or what
// b or a Sink returned. After a failure what had come by then still goes out.
//
// It calls b on the goroutine that called it, and does not close it.
func (p *Puller) Run(ctx context.Context, b cmaf.Broadcast) error {
	client := p.cfg.Client
	if client == nil {
		transport := &http.Transport{
			ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
			DialContext: p.cfg.Dial, DisableCompression: true,
			TLSHandshakeTimeout: p.cfg.RequestTimeout, ResponseHeaderTimeout: p.cfg.RequestTimeout,
		}
		defer transport.CloseIdleConnections()
		client = &http.Client{Transport: transport}
	}
	f := &fetcher{agent: p.cfg.UserAgent, retryFor: p.cfg.RetryFor, log: p.log, from: p.from, headers: canonical(p.cfg.Headers)}
	f.client = f.guarded(client)
	renditions, err := p.open(ctx, f)
	if err != nil {
		return err
	}
	return p.run(ctx, b, renditions)
}

// open loads the playlist and returns what is to be pulled of it.
func (p *Puller) open(ctx context.Context, f *fetcher) ([]*rendition, error) {
	began := time.Now()
	list, err := f.playlist(ctx, p.from, p.cfg.RequestTimeout, true)
	if err != nil {
		return nil, err
	}
	var chosen []choice
	if list.Multivariant == nil {
		chosen = []choice{{uri: p.from, media: list.Media}}
	} else if chosen, err = p.cfg.Renditions.choose(list.Multivariant); err != nil {
		return nil, err
	}
	clock := new(mpegts.Clock)
	renditions := make([]*rendition, len(chosen))
	for i, c := range chosen {
		log := p.log
		if len(chosen) > 1 {
			log = log.With("rendition", c.name)
		}
		log.Info("pulling", "bandwidth", c.bandwidth)
		renditions[i] = &rendition{choice: c, p: p, f: f, log: log, clock: clock, loaded: began}
	}
	return renditions, nil
}

// run pulls the renditions and sends what they bring.
func (p *Puller) run(ctx context.Context, b cmaf.Broadcast, renditions []*rendition) error {
	pulling, stop := context.WithCancel(ctx)
	defer stop()
	out := newOutput(p.cfg.MaxBuffer)
	for i, r := range renditions {
		r.feed = out.feed(i)
		r.feed.noAudio, r.feed.language = r.noAudio, iso639(r.language)
	}
	var wg sync.WaitGroup
	var failed firstError
	for _, r := range renditions {
		wg.Go(func() {
			err := r.run(pulling)
			if err != nil && pulling.Err() == nil {
				failed.set(err)
				stop() // the others have nothing to go on for
			}
			_ = r.closeDemuxer() // what came goes out; what was wrong was said
			r.feed.end()
		})
	}
	err := out.send(ctx, b, p.log)
	stop()
	wg.Wait()
	if err == nil {
		err = failed.err
	}
	return err
}

// firstError keeps the first error of several goroutines. err is read after
// they have ended.
type firstError struct {
	once sync.Once
	err  error
}

func (f *firstError) set(err error) { f.once.Do(func() { f.err = err }) }

// media returns the media playlist of list.
func media(list playlist.Playlist, u *url.URL) (*playlist.Media, error) {
	switch {
	case list.Media == nil:
		return nil, &RequestError{URL: redact(u), Err: errors.New("is a multivariant playlist where a media playlist should be")}
	case list.Media.IFramesOnly:
		return nil, fmt.Errorf("%w: %s lists I-frames alone", ErrUnsupported, redact(u))
	}
	return list.Media, nil
}
