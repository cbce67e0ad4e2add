package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

// A publication is what the publisher of a run did.
type publication struct {
	// Late is by how much objects left after they were due. It is part of their
	// delay, because a viewer does not care whose fault it is.
	Late *Histogram `json:"late"`
}

// publish sends the objects of prof that are due before length, each at its
// time after began.
func publish(ctx context.Context, conn publisherConn, prof Profile, began time.Time, length time.Duration) (publication, error) {
	late := make([]Histogram, len(prof.Tracks))
	g, ctx := errgroup.WithContext(ctx)
	for i := range prof.Tracks {
		g.Go(func() error { return publishTrack(ctx, conn, prof, i, began, length, &late[i]) })
	}
	err := g.Wait()
	done := publication{Late: new(Histogram)}
	for i := range late {
		done.Late.Merge(&late[i])
	}
	return done, err
}

func publishTrack(ctx context.Context, conn publisherConn, prof Profile, ti int, began time.Time, length time.Duration, late *Histogram) (err error) {
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

// noise returns n bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(b) // never fails
	return b
}
