package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// namespace is one that a loopback client may publish without a key.
var namespace = track.MustNamespace("stream", "local", broadcast)

// A moqSession is a running session.
type moqSession struct {
	*moqt.Session
	end  context.CancelCauseFunc
	wait func() error
}

// dialMoQ opens a session. What it receives of a track is kept for keep. wrap,
// unless nil, puts something around the connection.
func dialMoQ(ctx context.Context, url string, keep time.Duration, wrap func(moqt.Conn) moqt.Conn) (*moqSession, error) {
	conn, err := transport.Dial(ctx, url, transport.DialConfig{Insecure: true})
	if err != nil {
		return nil, err
	}
	if wrap != nil {
		conn = wrap(conn)
	}
	authority, path, err := transport.SetupOptions(url)
	if err != nil {
		return nil, errors.Join(err, conn.CloseWithError(wire.SessionNoError, ""))
	}
	s, err := moqt.NewSession(conn, moqt.Config{
		Implementation: "broadcastd bench", Authority: authority, Path: path,
		TrackConfig: track.Config{MaxAge: keep},
	})
	if err != nil {
		return nil, errors.Join(err, conn.CloseWithError(wire.SessionNoError, ""))
	}
	running, end := context.WithCancelCause(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error { return s.Run(running) })
	return &moqSession{s, end, sync.OnceValue(g.Wait)}, nil
}

// close ends the session and waits until it has ended.
func (s *moqSession) close() {
	s.end(errDone)
	_ = s.wait() // says that it was ended
}

// A moqPublisher offers a profile's tracks.
type moqPublisher struct {
	*moqSession
	prof   Profile
	tracks []*track.Track
}

func dialMoQPublisher(ctx context.Context, url string, prof Profile) (*moqPublisher, error) {
	s, err := dialMoQ(ctx, url, 0, nil)
	if err != nil {
		return nil, err
	}
	p := &moqPublisher{moqSession: s, prof: prof}
	for _, t := range prof.Tracks {
		p.tracks = append(p.tracks, track.New(
			track.Name{Namespace: namespace, Name: t.Name},
			track.Info{Properties: track.NewProperties(track.Property{Type: track.PropDefaultPriority, Uint: uint64(t.Priority)})},
			track.Config{},
		))
	}
	if _, err := s.Announce(ctx, namespace, p); err != nil {
		s.close()
		return nil, err
	}
	return p, nil
}

// Track implements track.Source.
func (p *moqPublisher) Track(name string) (*track.Track, bool) {
	i := p.prof.Track(name)
	if i < 0 {
		return nil, false
	}
	return p.tracks[i], true
}

func (p *moqPublisher) close() error {
	p.moqSession.close()
	return nil
}

func (p *moqPublisher) group(i int, group uint64) (groupWriter, error) {
	w, err := p.tracks[i].Subgroup(track.SubgroupHeader{
		Group: group, Priority: p.prof.Tracks[i].Priority, HasPriority: true, EndOfGroup: true, FirstObject: true,
	})
	if err != nil {
		return nil, err
	}
	return &moqGroup{SubgroupWriter: w}, nil
}

// A moqGroup numbers a group's objects.
type moqGroup struct {
	*track.SubgroupWriter
	next uint64
}

func (g *moqGroup) WriteObject(payload []byte) error {
	g.next++
	return g.SubgroupWriter.WriteObject(track.Object{ID: g.next - 1, Payload: payload})
}

// broadcast is the name of what is published.
const broadcast = "bench"

// viewerKeeps is how late a group may be completed before a viewer has let go
// of it, so that its objects count as lost.
const viewerKeeps = 4 * time.Second

// A moqViewer can subscribe to a profile's tracks.
type moqViewer struct {
	*moqSession
	prof   Profile
	unpack unpack
	tap    *tap // nil: none
	subs   []*track.Subscription
}

func dialMoQViewer(ctx context.Context, url string, prof Profile, u unpack, tapped bool) (*moqViewer, error) {
	v := &moqViewer{prof: prof, unpack: u}
	var wrap func(moqt.Conn) moqt.Conn
	if tapped {
		wrap = func(c moqt.Conn) moqt.Conn {
			v.tap = newTap(c)
			return v.tap
		}
	}
	var err error
	if v.moqSession, err = dialMoQ(ctx, url, viewerKeeps, wrap); err != nil {
		return nil, err
	}
	select {
	case <-v.Ready():
		return v, nil
	case <-v.Done():
		return nil, fmt.Errorf("load: no SETUP: %w", v.wait())
	case <-ctx.Done():
		v.close()
		return nil, context.Cause(ctx)
	}
}

// Subscribe implements viewerConn. A track that is not there yet is asked for
// again, because a broadcast takes a moment to begin.
func (v *moqViewer) Subscribe(ctx context.Context) error {
	for _, t := range v.prof.Tracks {
		name := track.Name{Namespace: namespace, Name: t.Name}
		sub, err := v.moqSession.Subscribe(ctx, name, live)
		for err != nil && missing(err) && ctx.Err() == nil {
			wait(ctx, time.Now().Add(askAgain))
			sub, err = v.moqSession.Subscribe(ctx, name, live)
		}
		if err != nil {
			return fmt.Errorf("track %s: %w", t.Name, err)
		}
		v.subs = append(v.subs, sub)
	}
	return nil
}

// live is what a live viewer asks for: the newest group first.
var live = track.SubscribeOptions{GroupOrder: track.Descending}

const askAgain = 20 * time.Millisecond

// missing reports whether err says that there is no such track.
func missing(err error) bool {
	refusal, ok := errors.AsType[*track.RequestError](err)
	return ok && refusal.Code == track.RequestDoesNotExist
}

// Stall implements staller.
func (v *moqViewer) Stall() {
	if v.tap != nil {
		v.tap.stall()
	}
}

// Run implements viewerConn. Each group has a goroutine, so that an object is
// seen when it is whole, whatever became of the group before it.
func (v *moqViewer) Run(ctx context.Context, got func([]byte)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var g errgroup.Group
	stop := context.AfterFunc(ctx, func() { v.end(errDone) })
	for _, sub := range v.subs {
		r := sub.Track().NewReader(track.CurrentGroup)
		g.Go(func() error {
			for {
				group, err := r.NextGroup(ctx)
				if err != nil {
					return err
				}
				g.Go(func() error {
					readMoQGroup(ctx, group, func(p []byte) { v.unpack(p, got) })
					return nil
				})
			}
		})
	}
	err := v.wait() // whatever ends, ends the session
	stop()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(err)
	_ = g.Wait()
	return err
}

func readMoQGroup(ctx context.Context, group *track.GroupReader, got func([]byte)) {
	for {
		o, err := group.Next(ctx)
		if err != nil {
			return // the end, or a cut: the objects that are missing are counted as lost
		}
		got(o.Payload)
	}
}

// Received implements viewerConn.
func (v *moqViewer) Received() (packets, bytes uint64) {
	st := v.Conn().Stats()
	return st.PacketsReceived, st.BytesReceived
}

// Close implements viewerConn.
func (v *moqViewer) Close() error {
	v.close()
	return nil
}
