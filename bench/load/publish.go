package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/broadcastd/broadcastd/bench/stat"
)

// A Publication is what the publisher of a run did.
type Publication struct {
	// Late is by how much objects left after they were due. It is part of their
	// delay, because a viewer does not care whose fault it is.
	Late *stat.Histogram `json:"late"`
}

// A Publisher is connected to a server.
type Publisher struct {
	conn publisherConn
	prof Profile
}

// DialPublisher connects to t, to send prof.
func DialPublisher(ctx context.Context, t Target, prof Profile) (*Publisher, error) {
	conn, err := dialPublisher(ctx, t, prof)
	if err != nil {
		return nil, err
	}
	return &Publisher{conn, prof}, nil
}

// Close ends the connection.
func (p *Publisher) Close() error { return p.conn.close() }

// Publish sends the objects that are due before length, each at its time after
// began.
func (p *Publisher) Publish(ctx context.Context, began time.Time, length time.Duration) (Publication, error) {
	return publish(ctx, p.conn, p.prof, began, length)
}

func publish(ctx context.Context, conn publisherConn, prof Profile, began time.Time, length time.Duration) (Publication, error) {
	late := make([]stat.Histogram, len(prof.Tracks))
	g, ctx := errgroup.WithContext(ctx)
	for i := range prof.Tracks {
		g.Go(func() error { return publishTrack(ctx, conn, prof, i, began, length, &late[i]) })
	}
	err := g.Wait()
	done := Publication{Late: new(stat.Histogram)}
	for i := range late {
		done.Late.Merge(&late[i])
	}
	return done, err
}

func publishTrack(ctx context.Context, conn publisherConn, prof Profile, ti int, began time.Time, length time.Duration, late *stat.Histogram) (err error) {
	t := prof.Tracks[ti]
	payload := noise(max(t.First, t.Size, minObject))
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	var w groupWriter
	for i, group := 0, uint64(0); ; i++ {
		due := t.at(i)
		if due >= length {
			break
		}
		g, first := prof.group(t, i)
		if w != nil && g != group {
			err = errors.Join(err, w.Close())
			w = nil
		}
		s := stamp{due: began.Add(due), track: ti, index: i}
		timer.Reset(time.Until(s.due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if w == nil {
			if w, err = conn.group(ti, g); err != nil {
				return fmt.Errorf("track %s, group %d: %w", t.Name, g, err)
			}
			group = g
		}
		size := t.Size
		if i == first {
			size = t.First
		}
		s.put(payload[:size])
		late.Add(time.Since(s.due))
		if err := w.WriteObject(payload[:size]); err != nil {
			return fmt.Errorf("track %s, object %d: %w", t.Name, i, err)
		}
	}
	if w != nil {
		err = errors.Join(err, w.Close())
	}
	return err
}

// noise returns n bytes that do not compress, and hold no start code for those
// who look at H.264 (ISO/IEC 14496-10 section 7.4.1).
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(b) // never fails
	for i := range b {
		b[i] |= 1
	}
	return b
}
