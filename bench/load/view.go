package load

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/broadcastd/broadcastd/bench/link"
)

const (
	// JoinTimeout is how long a viewer may take to connect and subscribe.
	JoinTimeout = 15 * time.Second
	// JoinAtOnce is how many viewers are in their handshake at a time.
	JoinAtOnce = 16
	maxErrors  = 3 // that a result quotes
)

// An AudienceConfig says who watches, and how.
type AudienceConfig struct {
	Target  Target
	Profile Profile
	Window  Window
	Viewers int
	// Stalled of them stop reading when the window begins.
	Stalled int
	// Idle: they connect and ask for nothing.
	Idle bool
	// Link lies before each viewer, with seeds that follow its own.
	Link link.Config
}

// An Audience is the viewers of one process.
type Audience struct {
	cfg     AudienceConfig
	viewers []*viewer
	links   *errgroup.Group
	cut     context.CancelCauseFunc // of the links
}

// Join connects the viewers. Those that fail stay in the audience.
func Join(ctx context.Context, cfg AudienceConfig) *Audience {
	links, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	a := &Audience{cfg: cfg, viewers: make([]*viewer, cfg.Viewers), links: new(errgroup.Group), cut: cut}
	g := new(errgroup.Group)
	g.SetLimit(JoinAtOnce)
	for i := range a.viewers {
		v := newViewer(cfg.Profile, cfg.Window)
		v.stalls = i < cfg.Stalled
		a.viewers[i] = v
		g.Go(func() error {
			joining, cancel := context.WithTimeout(ctx, JoinTimeout)
			defer cancel()
			v.err = a.connect(joining, links, v, i)
			return nil
		})
	}
	_ = g.Wait() // returns nil: failures are the viewers'
	return a
}

// connect connects viewer i; links ends the link that it may get.
func (a *Audience) connect(ctx, links context.Context, v *viewer, i int) error {
	target := a.cfg.Target
	if cfg := a.cfg.Link; !cfg.Direct() {
		cfg.Seed += uint64(i)
		l, err := link.New(target.Addr, cfg)
		if err != nil {
			return err
		}
		a.links.Go(func() error { return l.Run(links) })
		target.Addr = l.Addr()
	}
	conn, err := dialViewer(ctx, target, a.cfg.Profile, v.stalls)
	if err != nil {
		return err
	}
	v.conn = conn
	if !a.cfg.Idle {
		if err := conn.Subscribe(ctx); err != nil {
			return err
		}
	}
	v.packets, v.wireBytes = conn.Received()
	return nil
}

// Joined returns how many are connected.
func (a *Audience) Joined() (n int) {
	for _, v := range a.viewers {
		if v.err == nil {
			n++
		}
	}
	return n
}

// Watch has everybody watch a schedule that begins at began until they have what
// they expect, and at least until stay, or until ctx ends, and returns what they
// saw. It ends the connections.
func (a *Audience) Watch(ctx context.Context, began, stay time.Time) Viewing {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, v := range a.viewers {
		if v.err != nil {
			v.finish() // there is nothing to wait for
			continue
		}
		v.ctx = ctx
		wg.Go(func() {
			err := v.conn.Run(ctx, v.got)
			if ctx.Err() == nil {
				v.mu.Lock()
				v.err = err
				v.mu.Unlock()
				v.finish()
			}
		})
		if v.stalls {
			wg.Go(func() { v.stall(ctx, began.Add(a.cfg.Window.From)) })
		}
	}
	if !a.cfg.Idle {
		for _, v := range a.viewers {
			select {
			case <-v.whole:
			case <-ctx.Done():
			}
		}
	}
	wait(ctx, stay)
	for _, v := range a.viewers { // before they leave
		if v.conn != nil {
			packets, bytes := v.conn.Received()
			v.packets, v.wireBytes = packets-v.packets, bytes-v.wireBytes
		}
	}
	cancel()
	_ = a.Leave()
	wg.Wait()
	return a.sum(began)
}

// wait waits until t, or until ctx ends.
func wait(ctx context.Context, t time.Time) {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Leave ends the connections and the links.
func (a *Audience) Leave() error {
	var err error
	for _, v := range a.viewers {
		if v.conn != nil {
			err = errors.Join(err, v.conn.Close())
		}
	}
	a.cut(errDone)
	_ = a.links.Wait() // says that they were cut
	return err
}

func (a *Audience) sum(began time.Time) Viewing {
	var sum Viewing
	objects, bytes := a.cfg.Window.Expected(a.cfg.Profile)
	for _, v := range a.viewers {
		if v.stalls && v.err == nil {
			sum.Stalled++
			continue
		}
		sum.Viewers++
		if a.cfg.Idle {
			objects, bytes = 0, 0
		}
		sum.Expected += objects
		sum.ExpectedBytes += bytes
		v.sum(&sum, began)
	}
	return sum
}

// A viewer counts what one connection brings.
type viewer struct {
	conn   viewerConn
	ctx    context.Context // while it watches
	stalls bool
	prof   Profile
	// packets and wireBytes are first what came while joining, then what came
	// after it.
	packets, wireBytes uint64
	whole              chan struct{} // closed when nothing is missing
	complete           sync.Once

	mu       sync.Mutex
	stopped  bool  // reading, for good
	err      error // why it has no connection, or lost it
	counters []*counter
	missing  int64
	bytes    int64
	wrong    int64
	payload  uint64
}

func newViewer(prof Profile, win Window) *viewer {
	v := &viewer{prof: prof, whole: make(chan struct{})}
	for _, t := range prof.Tracks {
		c := newCounter(prof, t, win)
		v.counters = append(v.counters, c)
		v.missing += int64(len(c.seen))
	}
	return v
}

// finish says that there is nothing to wait for.
func (v *viewer) finish() { v.complete.Do(func() { close(v.whole) }) }

// stall stops reading at a time.
func (v *viewer) stall(ctx context.Context, at time.Time) {
	wait(ctx, at)
	v.mu.Lock()
	v.stopped = true
	v.mu.Unlock()
	if s, ok := v.conn.(staller); ok {
		s.Stall()
	}
	v.finish()
}

// got takes one payload.
func (v *viewer) got(payload []byte) {
	now := time.Now()
	s, ok := readStamp(payload)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stopped { // holds up the stream that it came from
		v.mu.Unlock()
		<-v.ctx.Done()
		v.mu.Lock()
		return
	}
	v.payload += uint64(len(payload))
	if !ok || s.track >= len(v.prof.Tracks) || len(payload) != v.prof.Size(v.prof.Tracks[s.track], s.index) {
		v.wrong++
		return
	}
	switch v.counters[s.track].take(s.index, s.due, now) {
	case counted:
		v.bytes += int64(len(payload))
		if v.missing--; v.missing == 0 {
			v.finish()
		}
	case twice:
		v.wrong++
	case outside:
	}
}

// sum adds what the viewer saw to s.
func (v *viewer) sum(s *Viewing, began time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	one := Viewing{
		Bytes: v.bytes, Wrong: v.wrong, PayloadBytes: v.payload,
		Packets: v.packets, WireBytes: v.wireBytes,
	}
	if v.err != nil {
		one.Failed, one.Errors = 1, []string{v.err.Error()}
	} else if v.missing > 0 {
		one.Incomplete = 1
	}
	for _, c := range v.counters {
		t := c.done(began)
		one.Objects += t.Objects
		one.Tracks = append(one.Tracks, t)
	}
	s.Add(one)
}
