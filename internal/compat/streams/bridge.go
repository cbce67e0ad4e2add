package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/viewer"
)

// Sessions are the sessions of a relay, apart from what this process publishes
// through it. *relay.Relay has these methods.
type Sessions interface {
	SessionNamespaces(ctx context.Context, prefix track.Namespace) iter.Seq2[track.NamespaceEvent, error]
	SubscribeSession(ctx context.Context, name track.Name, opt track.SubscribeOptions) (*track.Subscription, error)
}

// A Config configures a Bridge.
type Config struct {
	Relay  Sessions         // must be set
	Inputs *ingest.Registry // must be set
	// Prefix is that of the namespaces that are watched.
	Prefix track.Namespace
	// Name returns the input's name for a namespace, or that it has none and is
	// left alone. It must be set.
	Name func(track.Namespace) (name string, ok bool)
	// Max bounds the namespaces that are watched at a time. Zero means 256.
	Max int
	Log *slog.Logger // nil discards
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	c.Max = cmp.Or(c.Max, 256)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var faults []error
	if c.Relay == nil || c.Inputs == nil || c.Name == nil {
		faults = append(faults, errors.New("streams: Relay, Inputs and Name must be set"))
	}
	if c.Max < 1 {
		faults = append(faults, fmt.Errorf("streams: Max is %d, want 1 or more", c.Max))
	}
	return c, errors.Join(faults...)
}

// A Bridge feeds single-track publishers to the ingest.
type Bridge struct{ cfg Config }

// New makes a Bridge. It starts nothing; see Run.
func New(cfg Config) (*Bridge, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	return &Bridge{cfg}, nil
}

// Run takes publishers in until ctx ends, and returns its cause.
func (b *Bridge) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followed := make(map[track.Namespace]*follower)
	for ev, err := range b.cfg.Relay.SessionNamespaces(ctx, b.cfg.Prefix) {
		if err != nil {
			return err
		}
		f := followed[ev.Namespace]
		switch {
		case !ev.Active && f != nil:
			delete(followed, ev.Namespace)
			close(f.gone)
		case ev.Active && f != nil:
			f.poke()
		case ev.Active:
			name, ok := b.cfg.Name(ev.Namespace)
			if !ok {
				continue
			}
			if len(followed) >= b.cfg.Max {
				b.cfg.Log.Warn("publisher not looked at: too many", "namespace", ev.Namespace.Path(), "most", b.cfg.Max)
				continue
			}
			f = &follower{
				b: b, ns: ev.Namespace, name: name, log: b.cfg.Log.With("namespace", ev.Namespace.Path()),
				came: make(chan struct{}, 1), gone: make(chan struct{}),
			}
			followed[ev.Namespace] = f
			wg.Go(func() { f.run(ctx) })
		}
	}
	return context.Cause(ctx)
}

// How often a publisher is looked at again that had neither a catalog nor a
// single track.
const (
	lookFirst = time.Second
	lookLast  = 10 * time.Second
	looks     = 8
)

// A follower follows the sessions of one namespace, as long as there are some.
type follower struct {
	b    *Bridge
	ns   track.Namespace
	name string
	log  *slog.Logger

	came chan struct{} // one slot: another session has come
	gone chan struct{} // closed when the last one has left
}

func (f *follower) poke() {
	select {
	case f.came <- struct{}{}:
	default:
	}
}

// An outcome says what there is left to do with a publisher.
type outcome int

const (
	notThere outcome = iota // it has no single track yet
	lost                    // the track broke off
	settled                 // nothing, before another session comes
)

// run takes in what the sessions publish, one after the other.
func (f *follower) run(ctx context.Context) {
	backoff, left := lookFirst, looks
	for {
		var again <-chan time.Time
		switch f.look(ctx) {
		case settled:
		case lost:
			backoff, left = lookFirst, looks
			again = time.After(lookFirst)
		case notThere:
			if left--; left > 0 {
				again = time.After(backoff)
				backoff = min(2*backoff, lookLast)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-f.gone:
			return
		case <-again:
		case <-f.came:
			backoff, left = lookFirst, looks
		}
	}
}

// look feeds the single track of the newest session, if there is no catalog.
func (f *follower) look(ctx context.Context) outcome {
	name := track.Name{Namespace: f.ns, Name: catalog.TrackName}
	sub, err := f.b.cfg.Relay.SubscribeSession(ctx, name, track.SubscribeOptions{})
	if err == nil {
		sub.Close()
		return settled
	}
	if _, refused := errors.AsType[*track.RequestError](err); !refused {
		return notThere // the session went away, or the relay
	}
	err = f.feed(ctx)
	switch {
	case err == nil:
		return settled
	case errors.Is(err, viewer.ErrNotThere):
		return notThere
	case errors.Is(err, ingest.ErrReplaced), errors.Is(err, ingest.ErrEnded):
		f.log.Info("single track left alone", "reason", err)
		return settled
	}
	if _, refused := errors.AsType[*track.RequestError](err); refused {
		return notThere
	}
	if ctx.Err() == nil && !errors.Is(err, viewer.ErrNoTracks) {
		f.log.Info("single track broke off", "err", err)
	}
	return lost
}

// feed feeds one run of the single track to the ingest. It returns nil when the
// publisher has ended it, viewer.ErrNotThere when there is none, what took the
// input's place, or why it broke off.
func (f *follower) feed(ctx context.Context) error {
	reader, err := viewer.NewSingle(sessionSource{f.b.cfg.Relay}, f.ns, viewer.Config{Mode: viewer.Lossless, Log: f.log})
	if err != nil {
		return err
	}
	conn := f.b.cfg.Inputs.Connect(f.name, ingest.Peer{Addr: "MoQ session", Protocol: "moqt", Encrypted: true})
	reading, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop(nil)
	wg.Go(func() {
		select {
		case <-conn.Done():
			stop(conn.Err())
		case <-reading.Done():
		}
	})
	demux := cmaf.NewDemuxer(conn, cmaf.DemuxerConfig{})
	err = reader.Run(reading, func(c viewer.SingleChunk) error { return f.write(demux, c) })
	closed := demux.Close()
	if _, broken := errors.AsType[*cmaf.BoxError](closed); err == nil && !broken {
		err = closed
	}
	if err == nil {
		f.log.Info("single track ended")
		if err := conn.Close(nil); !errors.Is(err, ingest.ErrEnded) {
			return err
		}
		return nil
	}
	conn.Pause(0)
	return err
}

// write hands one chunk on. What cannot be read of it is left out.
func (f *follower) write(demux *cmaf.Demuxer, c viewer.SingleChunk) error {
	_, err := demux.Write(c.Data)
	if bad, ok := errors.AsType[*cmaf.BoxError](err); ok {
		f.log.Warn("fragment cannot be read", "group", c.Location.Group, "object", c.Location.Object, "err", bad)
		demux.EndBody() //nolint:errcheck // it repeats bad
		return nil
	}
	return err
}

// A sessionSource lets a viewer subscribe at sessions.
type sessionSource struct{ r Sessions }

// Subscribe implements viewer.Source.
func (s sessionSource) Subscribe(ctx context.Context, name track.Name, opt track.SubscribeOptions) (*track.Subscription, error) {
	return s.r.SubscribeSession(ctx, name, opt)
}

// Namespaces implements viewer.Source.
func (s sessionSource) Namespaces(ctx context.Context, prefix track.Namespace) iter.Seq2[track.NamespaceEvent, error] {
	return s.r.SessionNamespaces(ctx, prefix)
}
