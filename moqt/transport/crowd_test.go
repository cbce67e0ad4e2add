package transport

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// many answers SUBSCRIBE with one of its tracks.
type many struct {
	moqt.Handler
	tracks map[string]*track.Track
}

func (m many) HandleSubscribe(r *moqt.SubscribeRequest) { r.Accept(m.tracks[r.Name.Name]) }

// TestFewStreams has a peer that allows 16 unidirectional streams, of which the
// session and HTTP/3 need some, and is subscribed to 40 tracks. Each has a group
// of three objects every second, whose stream lives for 0.2 s.
func TestFewStreams(t *testing.T) {
	const tracks, groups = 40, 10
	both(t, func(t *testing.T, scheme string) {
		synctest.Test(t, func(t *testing.T) {
			b := newBottleneck(1e6, 100e3, 20*time.Millisecond)
			m := many{tracks: map[string]*track.Track{}}
			for i := range tracks {
				name := track.Name{Namespace: track.MustNamespace("live"), Name: fmt.Sprint(i)}
				m.tracks[name.Name] = track.New(name, track.Info{}, track.Config{})
			}
			b.serve(t, Config{Handle: func(ctx context.Context, conn moqt.Conn) {
				s, err := moqt.NewSession(conn, moqt.Config{Handler: m})
				if err != nil {
					t.Error(err)
					return
				}
				_ = s.Run(ctx)
			}})
			cfg := quicConfig()
			cfg.MaxIncomingUniStreams = 16
			s, err := moqt.NewSession(b.dial(t, scheme, cfg), moqt.Config{})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- s.Run(t.Context()) }()
			var mu sync.Mutex
			var delays []time.Duration
			got := make([][]uint64, tracks) // groups, of each track
			var readers sync.WaitGroup
			for i := range tracks {
				sub, err := s.Subscribe(t.Context(), track.Name{Namespace: track.MustNamespace("live"), Name: fmt.Sprint(i)}, track.SubscribeOptions{})
				if err != nil {
					t.Fatal(err)
				}
				r := sub.Track().NewReader(track.CurrentGroup)
				readers.Go(func() {
					for {
						g, err := r.NextGroup(t.Context())
						if err != nil {
							return
						}
						if o, err := g.Next(t.Context()); err == nil {
							mu.Lock()
							delays = append(delays, sinceStamp(o))
							got[i] = append(got[i], g.ID())
							mu.Unlock()
						}
					}
				})
			}
			for g := range uint64(groups) {
				var ws []*track.SubgroupWriter
				for i := range tracks {
					ws = append(ws, begin(t, m.tracks[fmt.Sprint(i)], g))
				}
				for id := range uint64(3) {
					for _, w := range ws {
						if err := w.WriteObject(track.Object{ID: id, Payload: stamped(300)}); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(100 * time.Millisecond)
				}
				for _, w := range ws {
					w.Close()
				}
				time.Sleep(700 * time.Millisecond)
			}
			s.Close(0, "")
			<-ended
			readers.Wait()
			for i, groups := range got {
				last := uint64(0)
				for _, g := range groups {
					if g > last+2 {
						t.Errorf("track %d: group %d came after %d", i, g, last)
					}
					last = g
				}
				if len(groups) < 8 {
					t.Errorf("track %d got the groups %v", i, groups)
				}
			}
			t.Logf("first objects of %d groups: p50 %v, p99 %v", len(delays), ms(percentile(delays, .5)), ms(percentile(delays, .99)))
			atMost(t, "first objects p99", percentile(delays, .99), time.Second)
		})
	})
}

// TestStalledViewer has one of many viewers stop reading for three seconds. The
// others do not notice, the server holds no more for it than its limits say, and
// it comes back at the newest group.
func TestStalledViewer(t *testing.T) {
	both(t, func(t *testing.T, scheme string) {
		viewers := 100
		if scheme == "https" || raceDetector {
			viewers = 20
		}
		calm := crowd{viewers: viewers}
		calm.play(t, scheme)
		c := crowd{viewers: viewers, stall: true}
		c.play(t, scheme)
		a, b := percentile(c.delays, .99), percentile(calm.delays, .99)
		t.Logf("%d viewers, p99 %v without, %v with a stalled one, for which the transport held %d bytes at most, the cache %d, without %d",
			viewers, ms(b), ms(a), c.unsent, c.cached, calm.cached)
		if float64(a) > 1.2*float64(b) {
			t.Errorf("the others' p99 is %v, %v without a stalled viewer", a, b)
		}
		if c.unsent > 48<<10 || c.cached > calm.cached {
			t.Errorf("up to %d bytes were with the transport, and %d cached, %d without a stalled viewer", c.unsent, c.cached, calm.cached)
		}
		// What it had received when it stopped comes first, then the newest.
		back := false
		for _, a := range c.stalled {
			newest := uint64(a.when / crowdGroup)
			if a.when < c.until() || !back && a.group+2 < newest {
				continue
			}
			back = true
			if a.group+2 < newest {
				t.Errorf("%v after the start, group %d came", a.when, a.group)
			}
		}
		if last := c.stalled[len(c.stalled)-1]; !back || last.group != crowdGroups-1 {
			t.Errorf("the stalled viewer got %v last", last)
		}
		if n := len(c.stalled); n > crowdGroups*crowdObjects*4/5 {
			t.Errorf("the stalled viewer got %d objects: it was not stalled", n)
		}
	})
}

const (
	crowdGroups  = 12
	crowdObjects = 5 // of each group
	crowdEvery   = 100 * time.Millisecond
	crowdGroup   = crowdObjects * crowdEvery
)

// A crowd watches one track of 240 kbit/s. One of it may stop to read from 1 s to
// 4 s after the start.
type crowd struct {
	viewers int
	stall   bool

	delays  []time.Duration // of the others
	stalled []arrival
	unsent  int   // the most that the server's transport held for the stalled one
	cached  int64 // the most that the track held
}

type arrival struct {
	when  time.Duration
	group uint64
}

func (*crowd) until() time.Duration { return 4 * time.Second }

func (c *crowd) play(t *testing.T, scheme string) {
	synctest.Test(t, func(t *testing.T) {
		b := newBottleneck(4e6, 400e3, 20*time.Millisecond)
		p := newProgramme(0, true)
		probes := make(chan *probeConn, c.viewers)
		b.serve(t, Config{Handle: func(ctx context.Context, conn moqt.Conn) {
			probe := &probeConn{Conn: conn}
			s, err := moqt.NewSession(probe, moqt.Config{Handler: serving{programme: p}})
			if err != nil {
				t.Error(err)
				return
			}
			probes <- probe
			_ = s.Run(ctx)
		}})
		cfg := quicConfig()
		cfg.InitialStreamReceiveWindow, cfg.MaxStreamReceiveWindow = 16<<10, 16<<10
		cfg.InitialConnectionReceiveWindow, cfg.MaxConnectionReceiveWindow = 32<<10, 32<<10
		lazy := new(lazyConn)
		var start time.Time
		var mu sync.Mutex
		var held *probeConn
		var leave []func()
		for i := range c.viewers {
			client := b.dial(t, scheme, cfg)
			if probe := <-probes; i == 0 {
				held = probe
				lazy.Conn = client
				client = lazy
			}
			leave = append(leave, follow(t, client, p.video.Name(), func(o track.Object) {
				mu.Lock()
				defer mu.Unlock()
				if i == 0 {
					c.stalled = append(c.stalled, arrival{time.Since(start), o.Group})
				} else {
					c.delays = append(c.delays, sinceStamp(o))
				}
			}))
		}
		start = time.Now()
		if c.stall {
			lazy.stop(start.Add(time.Second), start.Add(c.until()))
		}
		for g := range uint64(crowdGroups) {
			w := begin(t, p.video, g)
			for id := range uint64(crowdObjects) {
				if err := w.WriteObject(track.Object{ID: id, Payload: stamped(3000)}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(crowdEvery)
				c.unsent, c.cached = max(c.unsent, held.unsent()), max(c.cached, p.video.Bytes())
			}
			w.Close()
		}
		time.Sleep(time.Second)
		for _, f := range leave {
			f()
		}
	})
}

// follow subscribes to a track and reads whatever comes, until leave is called.
func follow(t *testing.T, client moqt.Conn, name track.Name, seen func(track.Object)) (leave func()) {
	t.Helper()
	s, err := moqt.NewSession(client, moqt.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	sub, err := s.Subscribe(t.Context(), name, track.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := sub.Track().NewReader(track.CurrentGroup)
	var readers sync.WaitGroup
	readers.Go(func() {
		for {
			g, err := r.NextGroup(t.Context())
			if err != nil {
				return
			}
			readers.Go(func() {
				for {
					o, err := g.Next(t.Context())
					if err != nil {
						return
					}
					seen(o)
				}
			})
		}
	})
	return func() {
		s.Close(0, "")
		<-ended
		readers.Wait()
	}
}

// A lazyConn is a viewer's connection whose data streams nobody reads for a
// while.
type lazyConn struct {
	moqt.Conn
	mu       sync.Mutex
	from, to time.Time
}

func (c *lazyConn) stop(from, to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from, c.to = from, to
}

func (c *lazyConn) AcceptUniStream(ctx context.Context) (moqt.ReceiveStream, error) {
	s, err := c.Conn.AcceptUniStream(ctx)
	if err != nil {
		return nil, err
	}
	return lazyStream{s, c}, nil
}

type lazyStream struct {
	moqt.ReceiveStream
	c *lazyConn
}

func (s lazyStream) Read(p []byte) (int, error) {
	s.c.mu.Lock()
	from, to := s.c.from, s.c.to
	s.c.mu.Unlock()
	if now := time.Now(); now.After(from) && now.Before(to) {
		time.Sleep(time.Until(to))
	}
	return s.ReceiveStream.Read(p)
}
