// Package directory knows which broadcasts there are and what their catalogs
// say, for whoever lists them.
package directory

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// maxBroadcasts bounds the list; further broadcasts are carried but not listed.
const maxBroadcasts = 1024

// The waits before a catalog is asked for again that was refused or has ended
// while its namespace is still there.
const (
	retry     = time.Second
	retryMost = 30 * time.Second
)

// A Relay is where broadcasts are published. *relay.Relay and *moqt.Session are.
type Relay interface {
	Namespaces(ctx context.Context, prefix track.Namespace) iter.Seq2[track.NamespaceEvent, error]
	Subscribe(ctx context.Context, name track.Name, opt track.SubscribeOptions) (*track.Subscription, error)
}

// An Entry is one broadcast.
type Entry struct {
	Namespace track.Namespace
	Since     time.Time
	// Catalog is the newest one; nil while none has come. It is shared: read only.
	Catalog *catalog.Catalog
}

// A Directory follows the broadcasts of a relay. List may be called from any
// goroutine, also while Run does not run.
type Directory struct {
	relay  Relay
	prefix track.Namespace
	log    *slog.Logger

	mu      sync.Mutex
	entries map[track.Namespace]*Entry
}

// New makes a directory of the broadcasts under prefix. A nil log discards.
func New(relay Relay, prefix track.Namespace, log *slog.Logger) *Directory {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Directory{relay: relay, prefix: prefix, log: log, entries: make(map[track.Namespace]*Entry)}
}

// List returns the broadcasts, by namespace.
func (d *Directory) List() []Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]Entry, 0, len(d.entries))
	for _, e := range d.entries {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Compare(a.Namespace.Path(), b.Namespace.Path())
	})
	return out
}

// Run follows the relay until ctx ends, and returns its cause, or until the
// relay ends the list.
func (d *Directory) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(map[track.Namespace]context.CancelFunc)
	for ev, err := range d.relay.Namespaces(ctx, d.prefix) {
		if err != nil {
			return err
		}
		end, known := stop[ev.Namespace]
		switch {
		case ev.Active && !known && len(stop) < maxBroadcasts:
			follow, end := context.WithCancel(ctx)
			stop[ev.Namespace] = end
			d.set(ev.Namespace, &Entry{Namespace: ev.Namespace, Since: time.Now()})
			wg.Go(func() { d.follow(follow, ev.Namespace) })
		case ev.Active && !known:
			d.log.Warn("broadcast not listed: too many", "namespace", ev.Namespace, "most", maxBroadcasts)
		case !ev.Active && known:
			end()
			delete(stop, ev.Namespace)
			d.set(ev.Namespace, nil)
		}
	}
	return context.Cause(ctx)
}

func (d *Directory) set(ns track.Namespace, e *Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e == nil {
		delete(d.entries, ns)
		return
	}
	d.entries[ns] = e
}

// follow reads the catalogs of one broadcast until ctx ends.
func (d *Directory) follow(ctx context.Context, ns track.Namespace) {
	wait := retry
	for ctx.Err() == nil {
		some, err := d.read(ctx, ns)
		if err != nil && ctx.Err() == nil {
			d.log.Debug("catalog not read", "namespace", ns, "err", err)
		}
		if some {
			wait = retry
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, retryMost)
	}
}

// read reads the catalog track until it ends, and says whether a catalog came.
func (d *Directory) read(ctx context.Context, ns track.Namespace) (some bool, err error) {
	sub, err := d.relay.Subscribe(ctx, track.Name{Namespace: ns, Name: "catalog"}, track.SubscribeOptions{})
	if err != nil {
		return some, err
	}
	defer sub.Close()
	r := sub.Track().NewReader(track.CurrentGroup)
	for {
		g, err := r.NextGroup(ctx)
		if errors.Is(err, io.EOF) {
			return some, nil
		}
		if err != nil {
			return some, err
		}
		o, err := g.Next(ctx)
		if cut, ok := errors.AsType[*track.AbortError](err); ok {
			d.log.Debug("catalog cut", "namespace", ns, "err", cut)
			continue
		}
		if err != nil {
			return some, err
		}
		c, err := catalog.Parse(o.Payload)
		if err != nil {
			return some, err
		}
		d.update(ns, &c)
		some = true
	}
}

func (d *Directory) update(ns track.Namespace, c *catalog.Catalog) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.entries[ns]; e != nil {
		d.entries[ns] = &Entry{Namespace: ns, Since: e.Since, Catalog: c}
	}
}
