package live

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// Publications are what MoQ sessions publish at a relay.
type Publications interface {
	SessionNamespaces(ctx context.Context, prefix track.Namespace) iter.Seq2[track.NamespaceEvent, error]
	SubscribeSession(ctx context.Context, name track.Name, opt track.SubscribeOptions) (*track.Subscription, error)
	// Publisher returns the newest connection that publishes a namespace.
	Publisher(ns track.Namespace) (conn.Conn, bool)
	// Pause has the publishers of a namespace send no objects, or go on.
	Pause(ns track.Namespace, paused bool)
	// Evict closes the sessions that publish a namespace.
	Evict(ns track.Namespace, reason string)
}

const (
	// maxPublications bounds the MoQ publishers that are looked at.
	maxPublications = 1024
	// grace is how long the session of a MoQ publisher waits for it to return, as
	// the relay keeps its tracks.
	grace = 5 * time.Second
	// The waits before a publisher is asked again for its catalog.
	retry     = time.Second
	retryMost = 10 * time.Second
)

// A publication is a MoQ publisher with a catalog of its own, whose media the
// relay passes on as it is. What is known of it is what its catalog and its
// connection tell.
type publication struct {
	s    *Service
	ns   track.Namespace
	name string
	gone chan struct{} // closed when no session publishes the namespace any more
	came chan struct{} // one slot: another one has come

	conn conn.Conn // of the publisher; nil: not known
	run  *run      // nil: there is no session yet

	// Under the run's lock.
	catalog *catalog.Catalog
	base    uint64 // of the connection's bytes, when it came
	heard   uint64 // bytes of the connection that were counted
	bitrate float64
}

// follow follows what MoQ sessions publish, until ctx ends.
func (s *Service) follow(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	known := make(map[track.Namespace]*publication)
	for ev, err := range s.cfg.Relay.SessionNamespaces(ctx, s.cfg.Prefix) {
		if err != nil {
			return // ctx has ended, or the relay
		}
		p := known[ev.Namespace]
		switch {
		case !ev.Active && p != nil:
			delete(known, ev.Namespace)
			close(p.gone)
		case ev.Active && p != nil:
			select {
			case p.came <- struct{}{}:
			default:
			}
		case ev.Active:
			name, ok := s.cfg.Name(ev.Namespace)
			if !ok || len(known) >= maxPublications {
				continue
			}
			p = &publication{s: s, ns: ev.Namespace, name: name, gone: make(chan struct{}), came: make(chan struct{}, 1)}
			known[ev.Namespace] = p
			wg.Go(func() { p.follow(ctx) })
		}
	}
}

// follow keeps the session of one publisher.
func (p *publication) follow(ctx context.Context) {
	wait := retry
	for {
		heard, complete := p.read(ctx)
		switch {
		case complete:
			p.end(nil)
		case heard:
			p.setLost(true)
			wait = retry
		}
		select {
		case <-ctx.Done():
			p.end(ingest.ErrEnded)
			return
		case <-p.gone:
			p.leave(ctx)
			return
		case <-p.came:
			wait = retry
		case <-time.After(wait):
			wait = min(2*wait, retryMost)
		}
	}
}

// leave ends the session, unless the publisher returns within the grace: then
// another publication has taken it.
func (p *publication) leave(ctx context.Context) {
	if p.run == nil {
		return
	}
	p.setLost(true)
	select {
	case <-time.After(grace):
	case <-ctx.Done():
	}
	p.run.mu.Lock()
	mine := p.run.moq == p
	p.run.mu.Unlock()
	if mine {
		p.end(ingest.ErrLost)
	}
}

func (p *publication) setLost(lost bool) {
	if p.run != nil {
		p.run.mu.Lock()
		p.run.lost = lost
		p.run.mu.Unlock()
	}
}

func (p *publication) end(reason error) {
	if p.run != nil {
		p.s.end(p.run, reason)
		p.run = nil
	}
}

// read reads the catalogs until they end or cannot be had. It says whether one
// came, and whether the last one said that all is over.
func (p *publication) read(ctx context.Context) (heard, complete bool) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-p.gone:
			stop()
		case <-reading.Done():
		}
	}()
	sub, err := p.s.cfg.Relay.SubscribeSession(reading, track.Name{Namespace: p.ns, Name: catalog.TrackName}, track.SubscribeOptions{})
	if err != nil {
		return false, false
	}
	defer sub.Close()
	r := sub.Track().NewReader(track.CurrentGroup)
	for {
		g, err := r.NextGroup(reading)
		if err != nil {
			return heard, complete
		}
		o, err := g.Next(reading)
		if _, cut := errors.AsType[*track.AbortError](err); cut || errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return heard, complete
		}
		c, err := catalog.Parse(o.Payload)
		if err != nil {
			continue // a delta, or none of ours
		}
		if !p.take(ctx, &c) {
			return heard, complete
		}
		heard, complete = true, c.IsComplete
	}
}

// take takes a catalog. The first one begins the session, or continues the one
// that the publisher had. It reports whether there is a session.
func (p *publication) take(ctx context.Context, c *catalog.Catalog) bool {
	if p.run == nil && !c.IsComplete && !p.begin(ctx) {
		return false
	}
	if p.run == nil {
		return true
	}
	p.run.mu.Lock()
	defer p.run.mu.Unlock()
	p.catalog, p.run.lost = c, false
	return true
}

func (p *publication) begin(ctx context.Context) bool {
	peer := p.peer()
	p.s.mu.Lock()
	r := p.s.byName[p.name]
	p.s.mu.Unlock()
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.moq == nil {
			return false // the input comes another way
		}
		r.moq, p.run = p, r
		r.connected(peer, time.Now())
		return true
	}
	r, err := p.s.begin(ctx, p.name, peer)
	if err != nil {
		p.s.cfg.Log.Warn("no session for a MoQ publisher", "namespace", p.ns.Path(), "err", err)
		return false
	}
	r.mu.Lock()
	r.moq, p.run = p, r
	r.mu.Unlock()
	p.s.cfg.Log.Info("MoQ publisher", "session", r.rec.ID, "namespace", p.ns.Path(), "remote", peer.Addr)
	p.s.do(r.carryOut)
	return true
}

// peer returns who publishes.
func (p *publication) peer() ingest.Peer {
	peer := ingest.Peer{Addr: "MoQ session", Protocol: "moqt", Encrypted: true}
	c, ok := p.s.cfg.Relay.Publisher(p.ns)
	if !ok {
		return peer
	}
	p.conn, p.base, p.heard = c, c.Stats().BytesReceived, 0
	peer.Addr = c.Info().Remote.String()
	peer.Stats = func() ingest.PeerStats {
		st := c.Stats()
		return ingest.PeerStats{RTT: st.SmoothedRTT, Bytes: st.BytesReceived, Received: st.PacketsReceived}
	}
	return peer
}

// tick counts what came over the connection within a second, under the run's
// lock: with what else it carries, and only what subscribers had it send.
func (p *publication) tick(r *run) {
	if p.conn == nil {
		return
	}
	heard := r.stats.Bytes - min(p.base, r.stats.Bytes)
	n := heard - min(p.heard, heard)
	p.heard = heard
	r.retired.bytes += n
	p.bitrate += (float64(8*n) - p.bitrate) / recent
}

// describe fills in what the catalog states, under the run's lock.
func (p *publication) describe(st *State) {
	if p.catalog == nil {
		return
	}
	for _, t := range p.catalog.Tracks {
		st.Tracks = append(st.Tracks, Track{Name: t.Name, Kind: t.Role, Codec: t.Codec, Bitrate: float64(t.Bitrate)})
		switch {
		case t.Role == "video" && (st.Video == nil || t.Width*t.Height > st.Video.Width*st.Video.Height):
			st.Video = &Video{Bitrate: float64(t.Bitrate), FrameRate: t.FrameRate, Width: t.Width, Height: t.Height, Codec: t.Codec}
		case t.Role == "audio" && st.Audio == nil:
			st.Audio = &Audio{Bitrate: float64(t.Bitrate), SampleRate: t.SampleRate, Codec: t.Codec}
		}
	}
}
