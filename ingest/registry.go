package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Config configures a Registry.
type Config struct {
	// Opener makes the broadcasts. It must be set.
	Opener Opener
	// Grace is how long a session waits for its input to return. Zero means
	// 5 s; negative means not at all.
	Grace time.Duration
	// MaxSessions bounds the broadcasts at a time. Zero means 256.
	MaxSessions int
	// MaxTracks bounds the tracks of one broadcast. Zero means 32.
	MaxTracks int
	// Limits returns what one input may do. It is asked once a connection. Nil:
	// there are no limits but those above.
	Limits  func(name string) Limits
	Log     *slog.Logger          // nil discards
	Metrics prometheus.Registerer // nil registers none
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	c.Grace = max(0, cmp.Or(c.Grace, 5*time.Second))
	c.MaxSessions = cmp.Or(c.MaxSessions, 256)
	c.MaxTracks = cmp.Or(c.MaxTracks, 32)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var faults []error
	if c.Opener == nil {
		faults = append(faults, errors.New("ingest: Config.Opener is nil"))
	}
	if c.MaxSessions < 1 || c.MaxTracks < 1 {
		faults = append(faults, fmt.Errorf("ingest: MaxSessions is %d and MaxTracks %d, want 1 or more", c.MaxSessions, c.MaxTracks))
	}
	return c, errors.Join(faults...)
}

// A Registry holds the sessions, one for each name. Run must run while it is
// used; the other methods may be called from any goroutine.
type Registry struct {
	cfg     Config
	metrics *metrics

	mu       sync.Mutex
	sessions map[string]*session
	backed   map[string][]*session // by the names of their backups
	stopped  bool
	backups  atomic.Int64  // how many sessions are in backed
	wake     chan struct{} // one slot: a deadline came nearer
}

type metrics struct {
	sessions    prometheus.Gauge
	connections prometheus.Counter
	takeovers   prometheus.Counter
	lost        prometheus.Counter
	switches    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		sessions: f.NewGauge(prometheus.GaugeOpts{
			Name: "broadcastd_ingest_sessions", Help: "Broadcasts that have an input, or wait for it to return.",
		}),
		connections: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_ingest_connections_total", Help: "Connections of inputs that brought a track.",
		}),
		takeovers: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_ingest_takeovers_total", Help: "Connections replaced by a newer one of the same name.",
		}),
		lost: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_ingest_lost_total", Help: "Broadcasts ended because their input did not return.",
		}),
		switches: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_ingest_backup_switches_total", Help: "Changes of broadcasts from their input to its backup, and back.",
		}),
	}
}

// NewRegistry makes a Registry.
func NewRegistry(cfg Config) (*Registry, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	return &Registry{
		cfg:      cfg,
		metrics:  newMetrics(cfg.Metrics),
		sessions: make(map[string]*session),
		backed:   make(map[string][]*session),
		wake:     make(chan struct{}, 1),
	}, nil
}

// Run ends the sessions whose input did not return, until ctx ends. Then it
// ends all of them and returns the cause.
func (r *Registry) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.stop()
			return context.Cause(ctx)
		case <-timer.C:
		case <-r.wake:
		}
		timer.Reset(r.expire(time.Now()))
	}
}

// expire ends what is due and returns how long it is until the next is.
func (r *Registry) expire(now time.Time) time.Duration {
	wait := time.Hour
	for _, s := range r.all() {
		s.mu.Lock()
		switch left := s.deadline.Sub(now); {
		case s.deadline.IsZero() || s.ended:
		case left > 0:
			wait = min(wait, left)
		default:
			r.metrics.lost.Inc()
			s.end(ErrLost)
		}
		s.mu.Unlock()
	}
	return wait
}

func (r *Registry) stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	for _, s := range r.all() {
		s.mu.Lock()
		s.end(ErrEnded)
		s.mu.Unlock()
	}
}

func (r *Registry) all() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*session, 0, len(r.sessions))
	for _, s := range r.sessions {
		list = append(list, s)
	}
	return list
}

// Connect returns a connection for the input called name. Nothing happens to
// the session before its first AddTrack, so that an input which sends no media
// replaces nobody and announces nothing.
func (r *Registry) Connect(name string, p Peer) *Conn {
	c := &Conn{
		r: r, name: name, peer: p, done: make(chan struct{}),
		log: r.cfg.Log.With("broadcast", name, "remote", p.Addr, "protocol", p.Protocol),
	}
	if r.cfg.Limits != nil {
		c.limits = r.cfg.Limits(name)
	}
	c.rate.bits = c.limits.MaxBitrate
	return c
}

// End ends the session called name now, without a grace. It reports whether
// there was one.
func (r *Registry) End(name string) bool {
	r.mu.Lock()
	s := r.sessions[name]
	r.mu.Unlock()
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.end(nil)
	return true
}

// A SessionInfo describes a session.
type SessionInfo struct {
	Name      string
	Since     time.Time
	Connected bool // false while it waits for its input to return
}

// Sessions lists the sessions by name.
func (r *Registry) Sessions() []SessionInfo {
	var list []SessionInfo
	for _, s := range r.all() {
		s.mu.Lock()
		if !s.ended {
			list = append(list, SessionInfo{s.name, s.since, s.owner != nil && s.deadline.IsZero()})
		}
		s.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b SessionInfo) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// session returns the session called name, locked, and makes it if need be.
func (r *Registry) session(name string) (*session, error) {
	for {
		r.mu.Lock()
		s := r.sessions[name]
		switch {
		case r.stopped:
			r.mu.Unlock()
			return nil, ErrEnded
		case s == nil && len(r.sessions) >= r.cfg.MaxSessions:
			r.mu.Unlock()
			return nil, fmt.Errorf("%w broadcasts: at most %d", ErrTooMany, r.cfg.MaxSessions)
		case s == nil:
			s = &session{r: r, name: name, tracks: make(map[string]*sessionTrack)}
			r.sessions[name] = s
			r.metrics.sessions.Inc()
		}
		r.mu.Unlock()
		s.mu.Lock()
		if !s.ended {
			return s, nil
		}
		s.mu.Unlock() // it ended just now, and is out of the map
	}
}

// remove takes an ended session out of the map.
func (r *Registry) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[s.name] == s {
		delete(r.sessions, s.name)
		r.metrics.sessions.Dec()
	}
	if s.backup == nil {
		return
	}
	list := slices.Clone(r.backed[s.backup.name]) // forOthers may read the old one
	list = slices.DeleteFunc(list, func(o *session) bool { return o == s })
	r.backed[s.backup.name] = list
	if len(list) == 0 {
		delete(r.backed, s.backup.name)
	}
	r.backups.Add(-1)
}

func (r *Registry) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
