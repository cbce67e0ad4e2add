package publisher

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

var (
	// ErrClosed reports a call on a Publisher, or on a Sink of it, after Close.
	ErrClosed = errors.New("publisher: closed")
	// ErrReplaced reports a write to a Sink whose track has been added again,
	// by another connection of the same input.
	ErrReplaced = errors.New("publisher: another connection has taken over")
	// ErrTooManyTracks reports more than 32 tracks in one broadcast.
	ErrTooManyTracks = errors.New("publisher: more than 32 tracks")
	// ErrTimeBack reports a chunk that lies before the one ahead of it on its
	// track, with no Discontinuity between them. A Timeline prevents it.
	ErrTimeBack = errors.New("publisher: decode time goes back")
)

const (
	maxTracks = 32
	// removeAfter is how long a track whose Sink was closed stays, while others
	// go on: a codec change adds it again at once.
	removeAfter = 2 * time.Second
	// maxBacklog bounds the media that waits for the first catalog.
	maxBacklog = 32 << 20
)

// Publisher priorities (DESIGN.md): lower goes first.
const (
	priorityCatalog = 0
	priorityAudio   = 16
	priorityData    = 24
	priorityVideo   = 64 // plus 8 per rendition above the lowest
)

// A Config configures a Publisher. The zero value is ready to use.
type Config struct {
	// GroupDuration is D, which numbers the groups and below which none ends.
	// Zero means 1 s; the range is 100 ms to 60 s. Never change it within a
	// broadcast.
	GroupDuration time.Duration
	// UTCLocked numbers every group floor(PTS/D), for redundant publishers
	// whose media times are locked to UTC. D must be the GOP duration.
	UTCLocked bool
	// NextGroup and NextCatalogGroup are one more than the last group that an
	// earlier run of the same broadcast used. Zero: there was none, or nothing
	// is known of it.
	NextGroup, NextCatalogGroup uint64

	// CatalogInterval is how often the catalog is published again. Zero means 2 s.
	CatalogInterval time.Duration
	// CatalogWait is how long the first catalog waits for tracks that have not
	// brought a chunk yet. Zero means 2 s.
	CatalogWait time.Duration
	// TargetLatency is the delay that the catalog asks players for. Zero: none.
	TargetLatency time.Duration
	// OmitReferenceTime leaves out the prft box that otherwise precedes the
	// first chunk of each group once the input's clock is known. Redundant
	// publishers need it, because their objects must be equal byte for byte.
	OmitReferenceTime bool

	// Published, unless nil, is told how long it took from a chunk's arrival
	// until subscribers may have it. It must not block, or call the Publisher.
	Published func(time.Duration)

	// Track bounds each track's cache.
	Track track.Config
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Log takes what is worth a line. Nil discards it.
	Log *slog.Logger
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	c.GroupDuration = cmp.Or(c.GroupDuration, time.Second)
	c.CatalogInterval = cmp.Or(c.CatalogInterval, 2*time.Second)
	c.CatalogWait = cmp.Or(c.CatalogWait, 2*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Track.Now == nil {
		c.Track.Now = c.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var faults []error
	check := func(name string, d, least, most time.Duration) {
		if d < least || d > most {
			faults = append(faults, fmt.Errorf("publisher: %s is %v, want %v to %v", name, d, least, most))
		}
	}
	check("GroupDuration", c.GroupDuration, 100*time.Millisecond, time.Minute)
	check("CatalogInterval", c.CatalogInterval, 100*time.Millisecond, time.Minute)
	check("CatalogWait", c.CatalogWait, time.Millisecond, 10*time.Second)
	check("TargetLatency", c.TargetLatency, 0, time.Minute)
	return c, errors.Join(faults...)
}

// A Target is where a Publisher announces its namespace; *moqt.Session and
// *relay.Relay are ones.
type Target interface {
	Announce(ctx context.Context, ns track.Namespace, src track.Source) (withdraw func(), err error)
}

// A Publisher publishes one broadcast. It is a cmaf.Broadcast for the input and
// a track.Source for sessions and the relay, whose calls may come from any
// goroutine.
//
// A connection that returns to the same broadcast adds its tracks again, under
// the same names, whether or not the Sinks from before were closed: with an
// equal header a track goes on; with another one it goes on with a new group
// and a new catalog.
type Publisher struct {
	ns  track.Namespace
	cfg Config
	log *slog.Logger

	wake chan struct{} // one slot: Run looks again
	done chan struct{} // closed by Close

	mu      sync.Mutex
	group   *grouper
	catalog catalogTrack
	list    []*mediaTrack // in the order in which they were added
	backlog []placement   // media that waits for the first catalog
	waiting int           // bytes of it
	anchor  time.Time     // UTC of media time 0; zero: unknown
	closed  bool
	reason  error
	scratch []byte
	schemes map[string]bool // of events that were left out
	taken   []*view         // the views that are filled
	single  *single         // one of them; nil: nobody reads it

	asked atomic.Bool // some view waits to be taken up

	names  sync.RWMutex // guards what follows, so that Track does not wait for mu
	byName map[string]*track.Track
	views  map[string]*view
	over   bool // no further view is made
	// listed are the tracks of byName that are no views, in the order in which
	// they came, and listeners who hears of them.
	listed    []*track.Track
	listeners []*listener
}

// New returns a Publisher of the broadcast ns. It starts nothing; see Run.
func New(ns track.Namespace, cfg Config) (*Publisher, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	if ns.IsEmpty() {
		return nil, errors.New("publisher: empty namespace")
	}
	p := &Publisher{
		ns: ns, cfg: cfg, log: cfg.Log.With("namespace", ns.String()),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		group:  newGrouper(cfg.GroupDuration, cfg.UTCLocked, cfg.NextGroup),
		byName: make(map[string]*track.Track), schemes: make(map[string]bool), views: make(map[string]*view),
	}
	p.catalog.playback = p.newTrack(catalog.PlaybackTrackName, priorityCatalog)
	p.catalog.track = p.newTrack(catalog.TrackName, priorityCatalog)
	// Milliseconds since 1970 lie above what any earlier run used that did not
	// publish more than a catalog per millisecond (MSF section 6).
	p.catalog.next = max(cfg.NextCatalogGroup, uint64(max(cfg.Now().UnixMilli(), 0)))
	p.setName(p.catalog.track)
	p.setName(p.catalog.playback)
	return p, nil
}

// Namespace returns the namespace of the broadcast.
func (p *Publisher) Namespace() track.Namespace { return p.ns }

// newTrack makes a track whose newest group goes first to whoever does not ask
// for another order: on a connection that is too slow, a live viewer loses the
// ends of groups, and does not fall behind.
func (p *Publisher) newTrack(name string, priority uint8) *track.Track {
	return track.New(track.Name{Namespace: p.ns, Name: name}, track.Info{
		Properties: track.NewProperties(
			track.Property{Type: track.PropDefaultPriority, Uint: uint64(priority)},
			track.Property{Type: track.PropDefaultGroupOrder, Uint: uint64(track.Descending)},
		),
		Local: true,
	}, p.cfg.Track)
}

// Track returns the track with this name: the catalogs and SingleTrack from the
// start, others and their init-first views (catalog.InitName) once they were
// added.
func (p *Publisher) Track(name string) (*track.Track, bool) {
	p.names.RLock()
	t, ok := p.byName[name]
	if v := p.views[name]; v != nil {
		p.use(v)
	}
	p.names.RUnlock()
	if ok {
		return t, true
	}
	return p.openView(name)
}

// Run announces the broadcast to the targets, publishes the catalog again and
// again, and withdraws when it returns: nil after Close(nil), the reason after
// Close with one, context.Cause(ctx) when ctx ended, or a target's refusal. The
// tracks outlive it, so that what is under way to subscribers still arrives.
func (p *Publisher) Run(ctx context.Context, targets ...Target) error {
	for _, target := range targets {
		withdraw, err := target.Announce(ctx, p.ns, p)
		if err != nil {
			return fmt.Errorf("publisher: announce %v: %w", p.ns, err)
		}
		defer withdraw()
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(p.tick())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.done:
			return p.reason
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// tick does what the clock asks for and returns how long until it asks again.
func (p *Publisher) tick() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	if p.closed {
		return time.Hour
	}
	if err := p.step(now); err != nil {
		p.log.Error("publishing failed", "err", err)
	}
	return max(p.deadline().Sub(now), time.Millisecond)
}

// step does everything that is due at now.
func (p *Publisher) step(now time.Time) error {
	p.group.step(now)
	p.removeEnded(now)
	placed := p.group.take()
	for i := range placed {
		p.backlog = append(p.backlog, placed[i])
		p.waiting += len(placed[i].chunk.Data)
	}
	clear(placed) // what is written need not be kept
	if err := p.stepCatalog(now); err != nil {
		return err
	}
	if !p.catalog.published {
		return nil
	}
	p.stepViews(now)
	return p.writeBacklog(now)
}

// writeBacklog writes what was placed.
func (p *Publisher) writeBacklog(now time.Time) error {
	var faults []error
	for i, pl := range p.backlog {
		if err := p.write(now, pl); err != nil {
			faults = append(faults, err)
		}
		p.backlog[i] = placement{}
	}
	p.backlog, p.waiting = p.backlog[:0], 0
	for _, t := range p.list {
		if t.writer != nil && t.place.min > t.group {
			t.finish() // it has brought nothing for long; see grouper.closeIdle
		}
	}
	return errors.Join(faults...)
}

// deadline returns when step has something to do even if nothing happens.
func (p *Publisher) deadline() time.Time {
	at := p.catalog.due(p)
	if d, ok := p.group.deadline(); ok && d.Before(at) {
		at = d
	}
	for _, t := range p.list {
		if d := t.closedAt.Add(removeAfter); t.sink == nil && p.removing() && d.Before(at) {
			at = d
		}
	}
	return at
}

func (p *Publisher) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// AddTrack starts a track with its CMAF header, or continues the one that had
// this name.
func (p *Publisher) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case name == "" || reserved(name):
		return nil, fmt.Errorf("publisher: %q is no name for a media track", name)
	case h.Timescale == 0:
		return nil, fmt.Errorf("publisher: track %q has a timescale of 0", name)
	}
	now := p.cfg.Now()
	i := slices.IndexFunc(p.list, func(t *mediaTrack) bool { return t.name == name })
	if i < 0 {
		return p.addTrack(now, name, h)
	}
	t := p.list[i]
	if t.header.Kind != h.Kind {
		return nil, fmt.Errorf("publisher: track %q was %s and cannot become %s", name, t.header.Kind, h.Kind)
	}
	changed := !bytes.Equal(t.stated.Init, h.Init)
	p.group.close(t.place)
	p.catalog.force = p.catalog.force || changed // all that waits needs the header from before
	if err := p.step(now); err != nil {
		return nil, err
	}
	p.group.reopen(t.place, changed)
	t.next = nil
	if changed {
		t.finish()
		t.next, t.place.scale = &h, h.Timescale
		p.log.Info("track has a new header", "track", name, "codec", h.Codec)
	}
	t.sink = &sink{p: p, t: t}
	p.poke()
	return t.sink, nil
}

func (p *Publisher) addTrack(now time.Time, name string, h cmaf.Header) (cmaf.Sink, error) {
	if len(p.list) >= maxTracks {
		return nil, fmt.Errorf("publisher: track %q: %w", name, ErrTooManyTracks)
	}
	t := &mediaTrack{
		p: p, name: name, header: h, stated: h, added: now,
		place: &groupTrack{kind: h.Kind, scale: h.Timescale},
	}
	t.place.owner = t
	t.track = p.newTrack(name, basePriority(h.Kind))
	t.sink = &sink{p: p, t: t}
	p.list = append(p.list, t)
	p.group.add(t.place)
	p.setName(t.track)
	p.poke()
	return t.sink, nil
}

// SetTargetLatency changes Config.TargetLatency. Players hear of it with the next
// catalog, which goes out at once. What Config would not take is left out.
func (p *Publisher) SetTargetLatency(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d < 0 || d > time.Minute || d == p.cfg.TargetLatency {
		return
	}
	p.cfg.TargetLatency = d
	p.catalog.changed = true
	p.poke()
}

// Event takes a timed event, for which there is no track yet: it is left out,
// and the log says so once for each scheme.
func (p *Publisher) Event(e cmaf.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.schemes) < maxTracks && !p.schemes[e.Scheme] {
		p.schemes[e.Scheme] = true
		p.log.Warn("events of this scheme are not published", "scheme", e.Scheme)
	}
	return nil
}

// Discontinuity ends the groups of all tracks; what follows starts a new one.
func (p *Publisher) Discontinuity(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.group.discontinuity()
	if err := p.step(p.cfg.Now()); err != nil {
		p.log.Error("publishing failed", "err", err)
	}
	for _, t := range p.list {
		t.hasLast = false // times may jump
		t.finish()
	}
	if p.single != nil {
		p.single.finish()
	}
	p.log.Info("discontinuity", "reason", reason)
}

// Anchor says when the input had what has the decode time media. The catalog
// and the next groups carry it.
func (p *Publisher) Anchor(media cmaf.Time, wall time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.anchor = wall.Add(-media.Duration())
}

// Close ends the broadcast: with nil for good, with every group whole, the
// catalog complete, and TRACK_ENDED on all tracks; with a reason as what it is,
// a publisher that went away.
func (p *Publisher) Close(reason error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	now := p.cfg.Now()
	p.group.flush()
	p.catalog.force = true
	err := p.step(now)
	code, text := track.DoneTrackEnded, "the broadcast is complete"
	if reason != nil {
		// The reason itself stays here: it may name addresses or paths.
		code, text = track.DoneInternalError, "the input was lost"
	}
	for _, t := range p.list {
		t.finish()
		t.track.End(code, text)
	}
	if reason == nil {
		err = errors.Join(err, p.publishCatalog(now, true))
	}
	p.catalog.track.End(code, text)
	p.catalog.playback.End(code, text)
	p.endViews(code, text)
	p.closed, p.reason = true, reason
	close(p.done)
	return err
}
