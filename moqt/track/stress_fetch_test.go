package track

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestStressSources has two sources, a filler, viewers, fetches, datagrams,
// Expire and a Budget at work on one track at the same time. It is for the race
// detector; what it checks is that whatever is read was written, and that
// nothing is left over.
func TestStressSources(t *testing.T) {
	const groups, perGroup = 40, 12
	budget := NewBudget(600_000)
	tr := newTestTrack(Config{MaxGroups: 6, MaxOpenSubgroups: 1000, Budget: budget})
	payload := fill(40_000)
	object := func(group, id uint64) Object {
		return Object{Group: group, ID: id, Priority: DefaultPriority, Payload: payload[:(group*31+id*997)%uint64(len(payload))]}
	}
	var read, whole atomic.Int64
	check := func(o Object) {
		read.Add(1)
		if want := object(o.Group, o.ID).Payload; !o.Datagram && !bytes.Equal(o.Payload, want) {
			t.Errorf("object %v has %d bytes, want %d", o.Location(), len(o.Payload), len(want))
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var writers, readers sync.WaitGroup
	for n := range uint64(2) {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(n, 1))
			for group := range uint64(groups) {
				if err := tr.WriteDatagram(Object{Group: group, ID: 50, Payload: payload[:100]}); err != nil && !errors.Is(err, ErrTooOld) {
					t.Error(err)
				}
				tr.Datagrams(0)
				w, err := tr.Subgroup(SubgroupHeader{Group: group, FirstObject: true})
				if err != nil {
					if !errors.Is(err, ErrTooOld) {
						t.Error(err)
					}
					continue
				}
				cut := rng.IntN(3) == 0
				b := stream(false, objectsOf(object, group, perGroup)...)
				if cut {
					b = b[:rng.IntN(len(b))]
				}
				err = nil
				for len(b) > 0 && err == nil {
					k := min(len(b), 1+rng.IntN(30_000))
					_, err = w.Write(b[:k])
					b = b[k:]
				}
				switch {
				case err != nil || cut:
					w.Abort(ResetCancelled)
				default:
					whole.Add(1)
					err = w.Close()
				}
				if err != nil && !errors.Is(err, ErrTooOld) {
					t.Error(err)
				}
			}
		})
	}
	for n := range uint64(2) {
		readers.Go(func() { // a fetch, and who fills what it finds missing
			for round := uint64(0); ctx.Err() == nil; round++ {
				all := upTo(groups, 0)
				for _, hole := range tr.Unknown(all, 3) {
					f := tr.Fill(hole)
					for id := uint64(0); id < perGroup && f.Range().Contains(Location{Group: hole.Start.Group, Object: id}); id++ {
						if err := f.WriteObject(object(hole.Start.Group, id)); err != nil {
							t.Error(err)
						}
					}
					if round%2 == 0 {
						f.Abort(ResetCancelled)
					} else {
						_ = f.Unknown(ahead(hole.End))
						f.Close()
					}
				}
				r := tr.Fetch(all, Ascending+GroupOrder(n))
				for {
					wait, done := context.WithTimeout(ctx, 5*time.Millisecond)
					item, err := r.Read(wait)
					done()
					if errors.Is(err, context.DeadlineExceeded) {
						r.GiveUp()
						if _, state := r.Next(); state == FetchWait {
							break // something is arriving
						}
						continue
					}
					if err != nil {
						break
					}
					if item.Kind == FetchObject {
						check(item.Object)
					}
				}
			}
		})
	}
	readers.Go(func() {
		r := tr.NewReader(CurrentGroup)
		for {
			g, err := r.NextGroup(ctx)
			if err != nil {
				return
			}
			for {
				o, err := g.Next(ctx)
				if err != nil {
					if _, cut := errors.AsType[*AbortError](err); !cut && err != io.EOF && ctx.Err() == nil {
						t.Error(err)
					}
					break
				}
				check(o)
			}
		}
	})
	readers.Go(func() {
		for ctx.Err() == nil {
			tr.Expire(time.Now())
			budget.reclaim()
		}
	})
	writers.Wait()
	stop()
	readers.Wait()
	if err := tr.Malformed(); err != nil {
		t.Error(err)
	}
	t.Logf("%d objects were read, %d subgroups whole", read.Load(), whole.Load())
	if read.Load() < perGroup || whole.Load() == 0 {
		t.Error("nothing was tried")
	}
	tr.End(DoneTrackEnded, "")
	tr.Drop()
	if tr.Bytes() != 0 || budget.Used() != 0 || tr.open != 0 || len(tr.fillers) != 0 {
		t.Errorf("%d bytes, %d of the budget, %d open subgroups and %d fillers are left", tr.Bytes(), budget.Used(), tr.open, len(tr.fillers))
	}
}

func objectsOf(object func(group, id uint64) Object, group, n uint64) (all []Object) {
	for id := range n {
		all = append(all, object(group, id))
	}
	return all
}
