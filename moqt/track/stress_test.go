package track

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestStress has several writers and readers of all kinds at work on one track
// whose groups are evicted under them. It is for the race detector; what it
// checks is that whatever is read was written.
func TestStress(t *testing.T) {
	const groups, subgroups = 30, 3
	tr := newTestTrack(Config{MaxGroups: 4})
	payload := fill(70_000) // object i of any subgroup is the first i*997%len bytes
	size := func(id uint64) int { return int(id*997) % len(payload) }

	var readers sync.WaitGroup
	for range 3 { // viewers
		readers.Go(func() {
			r := tr.NewReader(CurrentGroup)
			for {
				g, err := r.NextGroup(t.Context())
				if err == io.EOF {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				for {
					o, err := g.Next(t.Context())
					if _, cut := errors.AsType[*AbortError](err); err == io.EOF || cut {
						break
					}
					if err != nil || !bytes.Equal(o.Payload, payload[:size(o.ID)]) {
						t.Errorf("object %v of %d bytes, %v", o.Location(), len(o.Payload), err)
						return
					}
				}
			}
		})
	}
	for range 3 { // cursors over the raw logs
		f := &flagged{wake: make(chan struct{}, 1)}
		detach := tr.Attach(f)
		readers.Go(func() {
			defer detach()
			var seq uint64
			at := map[*Subgroup]int64{}
			for {
				_, _, ended := tr.Ended()
				more, next := tr.Since(seq)
				seq = next
				for _, s := range more {
					at[s] = 0
				}
				for s, off := range at {
					state, _ := s.State()
					for b := s.Bytes(off, 16<<10); len(b) > 0; b = s.Bytes(off, 16<<10) {
						off += int64(len(b))
					}
					if at[s] = off; state != Open {
						if state == Complete && off != s.Committed() {
							if state, _ := s.State(); state == Complete {
								t.Errorf("the cursor stands at %d of %d complete bytes", off, s.Committed())
							}
						}
						delete(at, s)
					}
				}
				if ended && len(at) == 0 {
					return
				}
				select {
				case <-f.wake:
					f.dirty.Store(false)
				case <-time.After(10 * time.Second):
					t.Error("a wake-up was lost")
					return
				}
			}
		})
	}

	var writers sync.WaitGroup
	for i := range uint64(subgroups) {
		writers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, i))
			for g := range uint64(groups) {
				w, err := tr.Subgroup(SubgroupHeader{Group: g, Subgroup: i, FirstObject: true})
				if errors.Is(err, ErrTooOld) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				var objects []Object
				for id := range uint64(20) {
					id = id*subgroups + i
					objects = append(objects, Object{ID: id, Payload: payload[:size(id)]})
				}
				for b := stream(false, objects...); len(b) > 0 && err == nil; {
					n := min(len(b), 1+rnd.IntN(30_000))
					_, err = w.Write(b[:n])
					b = b[n:]
				}
				if err == nil && rnd.IntN(10) > 0 {
					err = w.Close()
				} else {
					w.Abort(ResetCancelled)
				}
				if err != nil && !errors.Is(err, ErrTooOld) {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	tr.End(DoneTrackEnded, "")
	readers.Wait()
	tr.Drop()
	if tr.Bytes() != 0 {
		t.Errorf("%d bytes are left", tr.Bytes())
	}
}
