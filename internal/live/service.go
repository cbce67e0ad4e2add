package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// A Record is what the control plane has on a session that begins.
type Record struct {
	ID         string // sess_…
	Org, Input string
	Settings   Settings
}

// Settings are what may change while a session runs.
type Settings struct {
	Paused bool // nothing is passed on
	Ended  bool // the input is closed
	// TargetLatency is the delay that players are asked for. Zero: theirs.
	TargetLatency time.Duration
	// MaxBitrate is how many bits a second a viewer is sent. Zero: no cap.
	MaxBitrate int
}

// Sessions keeps the records of sessions.
type Sessions interface {
	// Started makes the record of a session of the input called name, or takes
	// the one that was made ahead of it.
	Started(ctx context.Context, name, protocol string) (Record, error)
	// Ended closes a record. peak is the most viewers that it had at a time.
	// reason is finished, lost, interrupted when the daemon stops, or error.
	Ended(ctx context.Context, id, reason string, peak int) error
}

// An Output is a broadcast that viewers get.
type Output interface {
	cmaf.Broadcast
	// SetTargetLatency changes the delay that players are asked for.
	SetTargetLatency(d time.Duration)
}

// An Opening is a broadcast that is to be made.
type Opening struct {
	Name          string // of the input
	Session       string // id, for the log
	TargetLatency time.Duration
	// Published is to be told how long after it came each chunk was published. It
	// does not block.
	Published func(time.Duration)
}

// A Relay is where viewers and MoQ publishers are. *relay.Relay is one.
type Relay interface {
	Publications
	// Readers returns how many sessions read tracks of each namespace.
	Readers() map[track.Namespace]int
}

// Config configures a Service. Open, Namespace and Sessions must be set.
type Config struct {
	// Open makes the broadcast that viewers get of an input.
	Open func(context.Context, Opening) (Output, error)
	// Namespace returns the namespace of an input, and Name the input of one.
	Namespace func(name string) (track.Namespace, error)
	Name      func(track.Namespace) (name string, ok bool)
	Sessions  Sessions
	// Relay has the viewers, and the publishers with catalogs of their own. Nil:
	// there are none.
	Relay Relay
	// Prefix is what the namespaces of inputs have in common.
	Prefix track.Namespace
	// Audience returns the viewers of a namespace beside those of the relay.
	Audience []func(track.Namespace) int
	// End ends an input, as ingest.Registry's does.
	End func(name string) bool
	// MaxEnded is how many sessions are remembered for an hour after their end.
	// Zero means 256.
	MaxEnded int
	// Log takes what happens to sessions. Nil discards.
	Log *slog.Logger
	// Metrics takes the metrics. Nil registers none.
	Metrics prometheus.Registerer
	// Gatherer has the relay's metrics, for RelayHealth. Nil: it stays zero.
	Gatherer prometheus.Gatherer
	// StreamLabel adds metrics by input, up to that many; what is beyond them is
	// counted as "other". Zero: none.
	StreamLabel int
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	c.MaxEnded = cmp.Or(c.MaxEnded, 256)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.End == nil {
		c.End = func(string) bool { return false }
	}
	var faults []error
	if c.Open == nil || c.Namespace == nil || c.Name == nil || c.Sessions == nil {
		faults = append(faults, errors.New("live: Config.Open, Namespace, Name or Sessions is nil"))
	}
	if c.MaxEnded < 1 || c.StreamLabel < 0 {
		faults = append(faults, fmt.Errorf("live: MaxEnded is %d and StreamLabel %d, want 1 or more, and 0 or more", c.MaxEnded, c.StreamLabel))
	}
	return c, errors.Join(faults...)
}

// A Service is the live side of all sessions. Run must run while it is used;
// every other method may be called from any goroutine.
type Service struct {
	cfg     Config
	metrics *metrics
	streams *streams // nil: no metrics by input

	mu     sync.Mutex
	runs   map[string]*run // by the session's id
	byName map[string]*run // that run
	ended  []*run          // in the order of their ends
	totals map[place]*Totals
	wake   chan struct{} // one slot: something is to be carried out
	closes []func()      // what is to be carried out outside of all locks
}

// New makes a Service.
func New(cfg Config) (*Service, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	s := &Service{
		cfg:    cfg,
		runs:   make(map[string]*run),
		byName: make(map[string]*run),
		totals: make(map[place]*Totals),
		wake:   make(chan struct{}, 1),
	}
	if cfg.StreamLabel > 0 {
		s.streams = newStreams(cfg.StreamLabel)
	}
	s.metrics = newMetrics(cfg.Metrics, s)
	return s, nil
}

// Run meters the sessions once a second and follows MoQ publishers, until ctx
// ends, and returns its cause.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	if s.cfg.Relay != nil {
		wg.Go(func() { s.follow(ctx) })
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.carryOut()
			return context.Cause(ctx)
		case now := <-tick.C:
			s.tick(now)
		case <-s.wake:
		}
		s.carryOut()
	}
}

// Open implements ingest.Opener: it begins a session.
func (s *Service) Open(ctx context.Context, name string, p ingest.Peer) (cmaf.Broadcast, error) {
	r, err := s.begin(ctx, name, p)
	if err != nil {
		return nil, err
	}
	out, err := s.cfg.Open(ctx, Opening{Name: name, Session: r.rec.ID, TargetLatency: r.rec.Settings.TargetLatency, Published: r.published})
	if err != nil {
		s.end(r, err)
		return nil, err
	}
	r.mu.Lock()
	r.out = out
	r.mu.Unlock()
	return &broadcast{r, out}, nil
}

// begin makes the run of a session that starts.
func (s *Service) begin(ctx context.Context, name string, p ingest.Peer) (*run, error) {
	ns, err := s.cfg.Namespace(name)
	if err != nil {
		return nil, err
	}
	rec, err := s.cfg.Sessions.Started(ctx, name, p.Protocol)
	if err != nil {
		return nil, fmt.Errorf("live: session of %q: %w", name, err)
	}
	r := newRun(s, rec, name, ns, p, time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[rec.ID] = r
	s.byName[name] = r
	s.add(r.place(), func(t *Totals) {
		t.Sessions++
		t.Connections++
	})
	s.metrics.began(p.Protocol)
	return r, nil
}

// A place is whose counts are kept: an organisation's, or those of one of its inputs.
type place struct{ org, input string } // input is empty: the organisation's

func (r *run) place() place { return place{r.rec.Org, r.rec.Input} }

// add changes the counts of an input and of its organisation, under the lock. There
// are as many as the control plane has organisations with a session, and as there
// are inputs with one that is remembered: forget.
func (s *Service) add(p place, change func(*Totals)) {
	for _, p := range slices.Compact([]place{p, {org: p.org}}) {
		t := s.totals[p]
		if t == nil {
			t = &Totals{Errors: make(map[string]uint64)}
			s.totals[p] = t
		}
		change(t)
	}
}

// The reasons of an end.
const (
	endFinished    = "finished"    // by the encoder or by request
	endInterrupted = "interrupted" // the daemon stops
	endLost        = "lost"        // the input did not return
	endBitrate     = "bitrate"     // the input brought more than it may
	endFailed      = "error"       // anything else
)

func reasonOf(err error) string {
	switch {
	case err == nil:
		return endFinished
	case errors.Is(err, ingest.ErrEnded):
		return endInterrupted
	case errors.Is(err, ingest.ErrLost):
		return endLost
	case errors.Is(err, ingest.ErrBitrate):
		return endBitrate
	}
	return endFailed
}

// end closes the books of r.
func (s *Service) end(r *run, reason error) {
	now := time.Now()
	why := reasonOf(reason)
	if !r.close(now) {
		return
	}
	s.mu.Lock()
	delete(s.runs, r.rec.ID)
	if s.byName[r.name] == r {
		delete(s.byName, r.name)
	}
	s.ended = append(s.ended, r)
	s.forget(now)
	if why == endLost || why == endFailed || why == endBitrate {
		s.add(r.place(), func(t *Totals) { t.Errors[why]++ })
	}
	s.mu.Unlock()
	s.metrics.ended(why)
	r.mu.Lock()
	passed := r.moq != nil
	r.mu.Unlock()
	if passed {
		s.do(func() { s.cfg.Relay.Pause(r.ns, false) })
	}
	s.do(func() {
		if err := s.cfg.Sessions.Ended(context.Background(), r.rec.ID, why, r.peakViewers()); err != nil {
			s.cfg.Log.Error("the session's end was not kept", "session", r.rec.ID, "err", err)
		}
	})
}

// forget drops the sessions that ended too long ago, with the lock held.
func (s *Service) forget(now time.Time) {
	s.ended = slices.DeleteFunc(s.ended, func(r *run) bool { return now.Sub(r.endedAt()) > time.Hour })
	if n := len(s.ended) - s.cfg.MaxEnded; n > 0 {
		s.ended = slices.Delete(s.ended, 0, n)
	}
	remembered := make(map[place]bool, len(s.runs)+len(s.ended))
	for _, r := range s.runs {
		remembered[r.place()] = true
	}
	for _, r := range s.ended {
		remembered[r.place()] = true
	}
	maps.DeleteFunc(s.totals, func(p place, _ *Totals) bool { return p.input != "" && !remembered[p] })
}

// do has f carried out by Run, outside of all locks: it may write to the store, or
// call into the ingest.
func (s *Service) do(f func()) {
	s.mu.Lock()
	s.closes = append(s.closes, f)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Service) carryOut() {
	s.mu.Lock()
	list := s.closes
	s.closes = nil
	s.mu.Unlock()
	for _, f := range list {
		f()
	}
}

// Apply makes new settings of a session take effect. It does not block. A session that
// does not run is none of its.
func (s *Service) Apply(id string, set Settings) {
	s.mu.Lock()
	r := s.runs[id]
	s.mu.Unlock()
	if r == nil {
		return
	}
	was := r.apply(set)
	switch {
	case set.Ended:
		s.do(r.stop)
		return
	case was.Paused != set.Paused:
		s.cfg.Log.Info("session", "session", id, "paused", set.Paused)
	}
	s.do(r.carryOut)
}

// running returns the sessions that run.
func (s *Service) running() []*run {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*run, 0, len(s.runs))
	for _, r := range s.runs {
		list = append(list, r)
	}
	return list
}

// tick ends a second of all sessions.
func (s *Service) tick(now time.Time) {
	var readers map[track.Namespace]int
	if s.cfg.Relay != nil {
		readers = s.cfg.Relay.Readers()
	}
	var sum second
	for _, r := range s.running() {
		viewers := readers[r.ns]
		for _, count := range s.cfg.Audience {
			viewers += count(r.ns)
		}
		t := r.tick(now, viewers)
		s.count(r, t)
		sum.viewers += viewers
	}
	s.metrics.viewers.Set(float64(sum.viewers))
	s.mu.Lock()
	s.forget(now)
	s.mu.Unlock()
}

// A second is what a session did within one.
type second struct {
	bytes, frames, dropped uint64
	viewers                int
}

// count adds a second of r to the counts.
func (s *Service) count(r *run, t second) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(r.place(), func(total *Totals) {
		total.Bytes += t.bytes
		total.Frames += t.frames
		total.DroppedFrames += t.dropped
		total.Watched += time.Duration(t.viewers) * time.Second
	})
	s.metrics.count(t, r.peer().Protocol)
	if s.streams != nil {
		s.streams.count(r.rec.Input, t)
	}
}
