package viewer

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
	"github.com/broadcastd/broadcastd/moqt/track"
)

var (
	// ErrNotThere reports that the broadcast did not appear within Config.Wait.
	// It is wrapped together with the last refusal.
	ErrNotThere = errors.New("viewer: the broadcast is not there")
	// ErrNoTracks reports that the first catalogs had no track to view for
	// Config.Wait: none of packaging "cmaf" that Config.Select wants.
	ErrNoTracks = errors.New("viewer: the catalog has no track to view")
)

// A Mode says what a viewer does when media comes late.
type Mode uint8

// The modes.
const (
	// Live keeps up with the broadcast and skips groups that are late.
	Live Mode = iota
	// Lossless waits for every group that the relay still has.
	Lossless
)

const (
	// firstCatalog is the least that a catalog which was subscribed to may take.
	firstCatalog = 10 * time.Second
	// lastWords is how long tracks may go on after the catalog said that the
	// broadcast is complete, and how long a catalog may go on without tracks.
	lastWords = 3 * time.Second
)

// A Source is where a Viewer subscribes; *moqt.Session and *relay.Relay are
// ones.
type Source interface {
	Subscribe(ctx context.Context, name track.Name, opt track.SubscribeOptions) (*track.Subscription, error)
	Namespaces(ctx context.Context, prefix track.Namespace) iter.Seq2[track.NamespaceEvent, error]
}

// A Config configures a Viewer. The zero value views live.
type Config struct {
	Mode Mode
	// Select says which tracks of the catalog to view. Nil means all. Tracks of
	// another packaging than "cmaf" are never viewed.
	Select func(catalog.Track) bool
	// Wait is how long to wait for a broadcast that is not there yet. Zero
	// means not at all.
	Wait time.Duration
	// Duration ends the viewing once so much media time has been handed on,
	// counted from the first chunk: each track ends with the last chunk that
	// starts before. Zero means no limit.
	Duration time.Duration
	// Target is how long after the start of a newer group a live viewer still
	// waits for an older one. Zero means 1 s; the least is 50 ms.
	Target time.Duration
	// GapWait is how long a lossless viewer waits for a group whose number is
	// missing while newer ones come. Zero means 3 s.
	GapWait time.Duration
	// Interleave is how long the chunks of one track may wait for those of
	// another, so that they are handed on in order of time. Zero means 200 ms
	// live and 2 s lossless.
	Interleave time.Duration
	// Priority is the subscriber's priority, lower first; it needs HasPriority.
	Priority    uint8
	HasPriority bool

	// Callbacks come from the goroutine of Run, one at a time. Nil ones are
	// left out.
	OnCatalog func(catalog.Catalog)
	OnObject  func(Object) // as soon as an object is read, before it waits for other tracks
	OnGap     func(Gap)

	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Log takes what is worth a line. Nil discards it.
	Log *slog.Logger
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	interleave := 200 * time.Millisecond
	if c.Mode == Lossless {
		interleave = 2 * time.Second
	}
	c.Interleave = cmp.Or(c.Interleave, interleave)
	c.Target = cmp.Or(c.Target, time.Second)
	c.GapWait = cmp.Or(c.GapWait, 3*time.Second)
	if c.Select == nil {
		c.Select = func(catalog.Track) bool { return true }
	}
	if c.OnCatalog == nil {
		c.OnCatalog = func(catalog.Catalog) {}
	}
	if c.OnObject == nil {
		c.OnObject = func(Object) {}
	}
	if c.OnGap == nil {
		c.OnGap = func(Gap) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var faults []error
	for _, f := range []struct {
		name  string
		d     time.Duration
		least time.Duration
	}{
		{"Wait", c.Wait, 0},
		{"Duration", c.Duration, 0},
		{"GapWait", c.GapWait, 0},
		{"Interleave", c.Interleave, 0},
		{"Target", c.Target, 50 * time.Millisecond},
	} {
		if f.d < f.least {
			faults = append(faults, fmt.Errorf("viewer: %s is %v, want %v or more", f.name, f.d, f.least))
		}
	}
	return c, errors.Join(faults...)
}

// An Object is what OnObject gets.
type Object struct {
	Track    string
	Location track.Location
	Arrival  time.Time // when its first byte came
	Time     cmaf.Time // decode time of its first sample, as the publisher sent it
	Size     int       // bytes of payload
}

// A GapReason says why something is missing.
type GapReason string

// The reasons.
const (
	GapMissing GapReason = "missing" // the groups never came
	GapCut     GapReason = "cut"     // the end of a group is missing
	GapLate    GapReason = "late"    // we skipped it; a newer one was there
	GapInvalid GapReason = "invalid" // it could not be read
)

// A Gap says what of a track is missing: everything from From on that comes
// before the group To.
type Gap struct {
	Track  string
	Reason GapReason
	From   track.Location
	To     uint64
	Code   track.ResetCode // of GapCut
}

// A Viewer views one broadcast, once.
type Viewer struct {
	src Source
	ns  track.Namespace
	cfg Config
	log *slog.Logger

	events chan event
	wg     sync.WaitGroup // the goroutines that send events

	// What follows belongs to the goroutine of Run.
	out      cmaf.Broadcast
	tracks   map[string]*viewTrack // by name; those that run, or that ended as long as the catalog lists them
	running  int                   // goroutines of tracks
	merger   *merger
	rising   rising
	start    startGate
	limit    cmaf.Time // Duration ends here; zero: not known yet
	reached  time.Time // when the first track came to limit
	complete bool      // no catalog will add tracks any more
	origin   time.Time
	patience time.Time // until when the catalog may name no tracks
	quiet    time.Time // when something came last while the end was in sight
	err      error     // why a track or the catalog ended, unless cleanly
	single   *singleRun
}

// New returns a Viewer of the broadcast ns. It starts nothing; see Run.
func New(src Source, ns track.Namespace, cfg Config) (*Viewer, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	return &Viewer{
		src: src, ns: ns, cfg: cfg, log: cfg.Log.With("namespace", ns.String()),
		events: make(chan event), tracks: make(map[string]*viewTrack),
		merger: newMerger(cfg.Interleave),
		start:  startGate{wait: cfg.Mode == Lossless},
	}, nil
}

// Run views the broadcast, by its catalog (of either kind) or else its single
// track, into out, from this goroutine, until it ends or
// Duration is reached: nil. Otherwise the error is ErrNotThere or ErrNoTracks, a
// *track.RequestError, the *track.EndError of a publisher that went away, what
// out returned, or context.Cause(ctx). It closes the Sinks that it got from out,
// but not out, and returns after every goroutine that it started has.
func (v *Viewer) Run(ctx context.Context, out cmaf.Broadcast) error {
	v.out = out
	inner, cancel := context.WithCancel(ctx)
	err := v.run(inner)
	cancel()
	v.wg.Wait()
	for _, t := range v.tracks {
		if fault := t.closeSink(); err == nil {
			err = fault
		}
	}
	return err
}

func (v *Viewer) run(ctx context.Context) error {
	sub, name, err := v.find(ctx, catalog.TrackName, catalog.PlaybackTrackName, SingleTrack)
	if err != nil {
		return err
	}
	if name == SingleTrack {
		return v.viewSingle(ctx, sub)
	}
	defer sub.Close()
	parse := catalog.Parse
	if name == catalog.PlaybackTrackName {
		parse = parsePlayback
	}
	v.wg.Go(func() { v.readCatalog(ctx, sub, parse) })
	v.patience = v.cfg.Now().Add(v.cfg.Wait + firstCatalog)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := v.cfg.Now()
		v.start.expire(v, now)
		if err := v.emit(now); err != nil {
			return err
		}
		if done, err := v.finished(now); done {
			return err
		}
		timer.Reset(max(v.deadline(now).Sub(now), time.Millisecond))
		select {
		case e := <-v.events:
			if err := e.apply(ctx, v); err != nil {
				return err
			}
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// finished reports whether nothing more will come, and how it ended.
func (v *Viewer) finished(now time.Time) (bool, error) {
	switch {
	case v.limited(now):
		return true, nil
	case !v.merger.empty():
		return false, nil
	case v.complete && v.running == 0:
		return true, v.err
	case len(v.tracks) == 0 && !v.complete:
		if now.Before(v.patience) {
			return false, nil
		}
		return true, fmt.Errorf("%w: %v", ErrNoTracks, v.ns)
	}
	return v.ending() && now.Sub(v.quiet) >= lastWords, v.err
}

// ending reports whether the end is in sight: the catalog or all tracks have
// ended.
func (v *Viewer) ending() bool { return v.complete || v.running == 0 && len(v.tracks) > 0 }

// deadline returns when run has something to do even if nothing comes.
func (v *Viewer) deadline(now time.Time) time.Time {
	at := now.Add(time.Hour)
	earliest := func(t time.Time, ok bool) {
		if ok && t.Before(at) {
			at = t
		}
	}
	earliest(v.merger.deadline())
	earliest(v.start.deadline())
	earliest(v.quiet.Add(lastWords), v.ending())
	earliest(v.patience, len(v.tracks) == 0)
	earliest(v.reached.Add(v.limitWait()), !v.reached.IsZero())
	return at
}

// emit hands on what is in order.
func (v *Viewer) emit(now time.Time) error {
	for {
		e, ok := v.merger.next(now)
		if !ok {
			break
		}
		if err := v.hand(now, e); err != nil {
			return err
		}
		e.release()
	}
	for _, t := range v.tracks {
		if t.ended && v.merger.remove(t) {
			if err := t.closeSink(); err != nil {
				return err
			}
		}
	}
	return nil
}

// hand hands one object on.
func (v *Viewer) hand(now time.Time, e entry) error {
	t := e.track
	if e.header != t.current && !t.reached {
		if err := t.closeSink(); err != nil {
			return err
		}
		sink, err := v.out.AddTrack(t.name, *e.header)
		if err != nil {
			return err
		}
		t.sink, t.current = sink, e.header
	}
	for _, c := range e.chunks {
		if t.reached {
			return nil
		}
		if reason := v.rising.move(&t.rising, &c, e.header.Timescale); reason != "" {
			v.log.Warn("media time went back", "track", t.name, "reason", reason)
			v.out.Discontinuity(reason)
			v.tellOrigin()
		}
		at := cmaf.Time{Ticks: c.DecodeTime, Scale: e.header.Timescale}
		if v.pastLimit(now, at) {
			t.reached = true
			return nil
		}
		if err := t.sink.WriteChunk(c); err != nil {
			return err
		}
	}
	return nil
}

// pastLimit reports whether at lies beyond Duration.
func (v *Viewer) pastLimit(now time.Time, at cmaf.Time) bool {
	if v.cfg.Duration == 0 {
		return false
	}
	if v.limit.Scale == 0 {
		v.limit = at.Add(cmaf.FromDuration(v.cfg.Duration, at.Scale))
	}
	past := !at.Before(v.limit)
	if past && v.reached.IsZero() {
		v.reached = now
	}
	return past
}

// limitWait is how long tracks that bring nothing may hold up the end of a
// viewing that has reached Duration.
func (v *Viewer) limitWait() time.Duration {
	if v.cfg.Mode == Lossless {
		return max(v.cfg.Interleave, v.cfg.GapWait)
	}
	return v.cfg.Interleave
}

// limited reports whether Duration is reached: by all tracks that come.
func (v *Viewer) limited(now time.Time) bool {
	if v.reached.IsZero() {
		return false
	}
	patient := now.Sub(v.reached) < v.limitWait()
	for _, t := range v.tracks {
		if t.reached || t.ended && v.merger.idle(t) {
			continue
		}
		if !v.merger.idle(t) || patient && !v.merger.passed(t, v.limit) {
			return false
		}
	}
	return true
}

// tellOrigin tells the receiver what UTC media time 0 was.
func (v *Viewer) tellOrigin() {
	if !v.origin.IsZero() {
		v.out.Anchor(cmaf.Time{Ticks: v.rising.shift, Scale: 1}, v.origin)
	}
}
