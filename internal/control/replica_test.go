package control_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/store"
	"github.com/broadcastd/broadcastd/internal/store/memstore"
)

// TestReplica: what one service writes, another on the same store has at once,
// tells of it, and does not bring back what is deleted.
func TestReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(nil)
		a, b := controltest.Open(t, control.Config{Store: st}), controltest.Open(t, control.Config{Store: st})
		ctx := t.Context()
		var told []string
		var mu sync.Mutex
		stop := b.OnChange(func(c control.Change) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf("%s %s %t", c.Kind, c.Org, c.Deleted))
		})
		in, key := newInput(t, a, control.InputSettings{})
		synctest.Wait()
		if got, err := b.Input(ctx, in.ID); err != nil || !verify(b, key) || got.Revision != in.Revision {
			t.Errorf("the other has %+v, %v", got, err)
		}
		if _, _, err := b.RotateStreamKey(ctx, in.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if verify(a, key) {
			t.Error("a key that was rotated elsewhere is still right")
		}
		if err := a.DeleteInput(ctx, in.ID, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, err := b.Input(ctx, in.ID)
		wantCode(t, "an input that was deleted elsewhere", err, control.NotFound)
		stop()
		newInput(t, a, control.InputSettings{})
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"input local false", "input local false", "input local true"}; !slices.Equal(told, want) {
			t.Errorf("told of %q, want %q", told, want)
		}
	})
}

// A gappy store has missed changes when a watch asks.
type gappy struct {
	store.Store
	mu   sync.Mutex
	gaps int
	held chan struct{} // watches begin when it is closed
}

func (g *gappy) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		<-g.held
		g.mu.Lock()
		g.gaps--
		gap := g.gaps >= 0
		g.mu.Unlock()
		if gap {
			yield(store.Change{}, store.ErrCompacted)
			return
		}
		g.Store.Watch(ctx, prefix, after)(yield)
	}
}

// TestMissedChanges: whoever has missed changes reads everything again.
func TestMissedChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(nil)
		a := controltest.Open(t, control.Config{Store: st})
		gone, _ := newInput(t, a, control.InputSettings{})
		g := &gappy{Store: st, gaps: 2, held: make(chan struct{})}
		b := controltest.Open(t, control.Config{Store: g})
		if _, err := b.Input(t.Context(), gone.ID); err != nil {
			t.Fatal(err)
		}
		var deleted []string
		b.OnChange(func(c control.Change) {
			if c.Deleted {
				deleted = append(deleted, c.ID)
			}
		})
		kept, _ := newInput(t, a, control.InputSettings{})
		if err := a.DeleteInput(t.Context(), gone.ID, 0); err != nil {
			t.Fatal(err)
		}
		close(g.held)
		synctest.Wait()
		if _, err := b.Input(t.Context(), kept.ID); err != nil {
			t.Error(err)
		}
		_, err := b.Input(t.Context(), gone.ID)
		wantCode(t, "what was deleted meanwhile", err, control.NotFound)
		if !slices.Equal(deleted, []string{gone.ID}) {
			t.Errorf("told of the deletion of %v, want %s", deleted, gone.ID)
		}
	})
}

// TestConcurrentUpdates: of many who change one thing, each finds what the others
// did.
func TestConcurrentUpdates(t *testing.T) {
	st := memstore.New(nil)
	services := []*control.Service{controltest.Open(t, control.Config{Store: st}), controltest.Open(t, control.Config{Store: st})}
	ctx := t.Context()
	in, _ := newInput(t, services[0], control.InputSettings{})
	if err := services[1].DeleteInput(ctx, "li_none", 0); control.CodeOf(err) != control.NotFound {
		t.Error(err)
	}
	r, err := services[0].CreateSession(ctx, control.NewSession{Input: in.ID})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := waitSession(ctx, services[1], r.ID); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			patch := control.SessionPatch{Metadata: map[string]any{fmt.Sprint("k", i): i}}
			if _, err := services[i%2].PatchSession(ctx, r.ID, 0, patch); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	e, err := services[0].Session(ctx, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	final, err := services[1].PatchSession(ctx, r.ID, 0, control.SessionPatch{Metadata: map[string]any{"last": true}})
	if err != nil || len(final.Metadata) != 21 {
		t.Errorf("%d keys, %v, want 21 (%v)", len(final.Metadata), err, e.Metadata)
	}
}

// waitSession waits until a service has a session.
func waitSession(ctx context.Context, s *control.Service, id string) (control.Session, error) {
	news := make(chan struct{}, 1)
	defer s.OnChange(func(control.Change) {
		select {
		case news <- struct{}{}:
		default:
		}
	})()
	for {
		r, err := s.Session(ctx, id)
		if control.CodeOf(err) != control.NotFound {
			return r, err
		}
		select {
		case <-news:
		case <-time.After(5 * time.Second):
			return r, err
		}
	}
}
