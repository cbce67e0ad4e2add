package track

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// Config bounds a track. The zero value is ready to use.
type Config struct {
	// MaxGroups is how many groups are cached. Zero means 256, which is 5 s of
	// groups of 20 ms; the least is 2.
	MaxGroups int
	// MaxAge is how long a group is cached after a newer one began. Zero means
	// 10 s. The current group and the last complete one stay longer.
	MaxAge time.Duration
	// MaxBytes is how much a track holds before its oldest groups go. Zero
	// means 128 MiB. The current group and the last complete one stay anyway.
	MaxBytes int64
	// MaxGroupBytes is what one group may hold. Zero means 64 MiB.
	MaxGroupBytes int64
	// MaxObject is the largest payload of an object, in bytes. Zero means
	// 16 MiB; the most is 1 GiB.
	MaxObject int64
	// MaxObjectsPerGroup counts objects and subgroups. Zero means 65536.
	MaxObjectsPerGroup int
	// Roll lets a subgroup that is filled from a stream go on beyond three
	// quarters of MaxGroupBytes or MaxObjectsPerGroup: at an object's start it is
	// cut, and another Subgroup of the same ID goes on, as one does after a loss.
	// The cut one is let go when there is no room for both. So a publisher may
	// stay in one group for ever, and readers that keep up miss nothing.
	Roll bool
	// MaxOpenSubgroups is how many subgroups may be open at a time. Zero means
	// 64.
	MaxOpenSubgroups int
	// Now tells the time. Nil means time.Now.
	Now func() time.Time
	// Charge, unless nil, is told by how many bytes the track grew or shrank.
	// It is called under the track's lock and must not block or call the track.
	Charge func(delta int64)
	// Budget, unless nil, caps what this and other tracks hold together.
	Budget *Budget
}

// withDefaults returns c with every field that is not above zero set to its
// default.
func (c Config) withDefaults() Config {
	c.MaxGroups = max(2, positive(c.MaxGroups, 256))
	c.MaxAge = positive(c.MaxAge, 10*time.Second)
	c.MaxBytes = positive(c.MaxBytes, 128<<20)
	c.MaxGroupBytes = positive(c.MaxGroupBytes, 64<<20)
	c.MaxObject = min(positive(c.MaxObject, 16<<20), 1<<30)
	c.MaxObjectsPerGroup = positive(c.MaxObjectsPerGroup, 65536)
	c.MaxOpenSubgroups = positive(c.MaxOpenSubgroups, 64)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Charge == nil {
		c.Charge = func(int64) {}
	}
	return c
}

func positive[T cmp.Ordered](v, or T) T {
	var zero T
	if v > zero {
		return v
	}
	return or
}

// Info is what is fixed about a track.
type Info struct {
	// Properties are the track's properties as on the wire. The track keeps
	// them; the caller must not change them afterwards.
	Properties Properties
	// Local: the track is written by its original publisher in this process, so
	// that what was never written does not exist.
	Local bool
}

// A Track is one live track in memory. Any number of goroutines may use it.
type Track struct {
	name        Name
	properties  atomic.Pointer[Properties] // never nil
	priority    uint8
	order       GroupOrder
	local       bool
	dynamic     bool // groups begin on request
	requests    groupRequests
	maxCache    time.Duration // MAX_CACHE_DURATION, if hasMaxCache
	cfg         Config
	epoch       time.Time
	hasMaxCache bool

	notifiers notifiers
	waiters   waitList
	arrived   atomic.Uint64 // Seq of the newest subgroup
	sent      atomic.Uint64 // how many datagrams there were
	ended     atomic.Pointer[EndError]
	stale     atomic.Uint64 // subgroups far behind
	malformed atomic.Pointer[error]

	mu         sync.Mutex
	groups     []*group    // cached, by ascending ID
	list       []*Subgroup // cached, by ascending Seq
	open       int         // subgroups that are open
	bytes      int64       // what the groups charge
	largest    Location
	hasLargest bool
	newest     Location // the largest that has come, unlike largest not from a report
	received   bool     // newest is valid
	tooOld     uint64   // groups below are gone
	end        Location
	hasEnd     bool // END_OF_TRACK: no object at or after end

	filled  []*filled // by ascending group ID
	missing missingGroups
	fillers []*Filler // that are not done
	readers []*FetchReader
	crowded bool // a Filler waits for readers to go on

	datagrams datagramRing
}

// New returns an empty live track.
func New(name Name, info Info, cfg Config) *Track {
	cfg = cfg.withDefaults()
	props := info.Properties.Track()
	t := &Track{
		name: name, priority: props.DefaultPriority, order: props.GroupOrder,
		local: info.Local, maxCache: props.MaxCacheDuration, hasMaxCache: props.HasMaxCacheDuration,
		dynamic: props.DynamicGroups,
		cfg:     cfg, epoch: cfg.Now(),
	}
	t.properties.Store(&info.Properties)
	return t
}

// Name returns the track's full name.
func (t *Track) Name() Name { return t.name }

// Info returns what New was given, with the properties of now.
func (t *Track) Info() Info { return Info{Properties: t.Properties(), Local: t.local} }

// Properties returns the track's properties as on the wire; never write to
// them.
func (t *Track) Properties() Properties { return *t.properties.Load() }

// Renew takes the properties that came with a later answer for the track, which
// keeps them: they replace those that it had (section 2.5), all at once. Those
// that the draft defines for tracks are fixed: with others than New was given,
// everything stays as it is, because subscribers were told of them, and a set is
// never put together from two. It reports whether p is what the track has now.
func (t *Track) Renew(p Properties) bool {
	if t.local || p.Track() != t.Properties().Track() {
		return false
	}
	t.properties.Store(&p)
	return true
}

// PublisherPriority returns the priority of subgroups that state none.
func (t *Track) PublisherPriority() uint8 { return t.priority }

// GroupOrder returns the publisher's group order, which counts for subscribers
// that state none.
func (t *Track) GroupOrder() GroupOrder { return t.order }

// since returns the time since the track's epoch.
func (t *Track) since() time.Duration { return t.cfg.Now().Sub(t.epoch) }

// Largest returns the largest location of which something has arrived (section
// 5.1.2), or that there is none yet. It never goes back.
func (t *Track) Largest() (Location, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.largest, t.hasLargest
}

// Resolve returns the location at which s starts now.
func (t *Track) Resolve(s Start) Location {
	largest, some := t.Largest()
	return s.Resolve(largest, some)
}

// Bytes returns how many bytes the track charges: slabs with their unused ends,
// index and bookkeeping of the cached groups.
func (t *Track) Bytes() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes
}

// Attach has n told of every change until detach is called. A call that is
// under way may still come while detach returns.
func (t *Track) Attach(n Notifier) (detach func()) { return t.notifiers.attach(n) }

// Readers returns how many notifiers are attached and how many readers wait, for
// a source that builds a track only while somebody reads it. A reader of this
// process that is busy at the moment does not count.
func (t *Track) Readers() int { return t.notifiers.len() + int(t.waiters.waiting.Load()) }

func (t *Track) notify() {
	t.notifiers.notify()
	t.waiters.wakeAll()
}

// Since returns the cached subgroups that arrived after those that an earlier
// call covered, in order of arrival, and what to pass to the next call. From
// seq 0 these are all that are cached. Asking in vain takes no lock. The result
// is shared; never write to it.
func (t *Track) Since(seq uint64) (subgroups []*Subgroup, next uint64) {
	if t.arrived.Load() == seq {
		return nil, seq
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearchFunc(t.list, seq+1, func(s *Subgroup, seq uint64) int { return cmp.Compare(s.seq, seq) })
	return t.list[i:len(t.list):len(t.list)], t.arrived.Load()
}

// Ended returns why the track ended, once it has.
func (t *Track) Ended() (code DoneCode, reason string, ok bool) {
	if e := t.ended.Load(); e != nil {
		return e.Code, e.Reason, true
	}
	return 0, "", false
}

// End ends the track for good. Subgroups that are still open are aborted. What
// is cached stays readable until Drop. Only the first call has an effect.
func (t *Track) End(code DoneCode, reason string) {
	t.mu.Lock()
	first := t.ended.CompareAndSwap(nil, &EndError{Code: code, Reason: reason})
	if first {
		t.abortOpen(endResets(code))
	}
	t.mu.Unlock()
	if first {
		t.notify()
	}
}

// Malformed returns what made the track malformed, nil if nothing has (section
// 2.4.2). It wraps wire.ErrMalformedTrack and never goes away: the track has
// ended with DoneMalformedTrack, whoever writes to it gets this error, and
// fetches of it are reset with ResetMalformedTrack.
func (t *Track) Malformed() error {
	if p := t.malformed.Load(); p != nil {
		return *p
	}
	return nil
}

// judge ends the track if err says that it is malformed. It returns err.
func (t *Track) judge(err error) error {
	if errors.Is(err, wire.ErrMalformedTrack) && t.malformed.CompareAndSwap(nil, &err) {
		t.End(DoneMalformedTrack, err.Error())
	}
	return err
}

// writable returns why nothing can be written any more, if so.
func (t *Track) writable() error {
	switch {
	case t.Malformed() != nil:
		return t.Malformed()
	case t.ended.Load() != nil:
		return fmt.Errorf("%w: the track has ended", ErrClosed)
	}
	return nil
}

// endResets returns what open subgroups are reset with when a track ends.
func endResets(code DoneCode) ResetCode {
	switch code {
	case DoneGoingAway:
		return ResetGoingAway
	case DoneTooFarBehind:
		return ResetTooFarBehind
	case DoneExcessiveLoad:
		return ResetExcessiveLoad
	case DoneMalformedTrack:
		return ResetMalformedTrack
	case DoneInternalError:
		return ResetInternalError
	}
	return ResetCancelled
}

// AbortOpen aborts every open subgroup, as when the source is lost or replaced.
func (t *Track) AbortOpen(code ResetCode) {
	t.mu.Lock()
	t.abortOpen(code)
	t.mu.Unlock()
	t.notify()
}

// abortOpen is AbortOpen under the lock.
func (t *Track) abortOpen(code ResetCode) {
	for _, g := range t.groups {
		for _, w := range slices.Clone(g.standbys) {
			t.dismiss(w, code)
		}
		for _, s := range g.subgroups {
			if s.finish(Aborted, code) {
				g.closed(t, false)
			}
		}
	}
}

// Drop lets go of everything that is cached, so that Bytes returns to zero.
// Open subgroups are aborted. It is called once the track has ended and nobody
// is expected to read it any more; readers that still do find their groups cut.
func (t *Track) Drop() {
	t.mu.Lock()
	for len(t.groups) > 0 {
		t.evict(0)
	}
	for len(t.filled) > 0 {
		t.evictFilled(0)
	}
	t.chargeTrack(-t.missing.bytes)
	t.missing = missingGroups{}
	t.readers = nil
	t.mu.Unlock()
	t.notify()
}
