package directory_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/internal/directory"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

type source map[string]*track.Track

func (s source) Track(name string) (*track.Track, bool) { t, ok := s[name]; return t, ok }

func publish(t *testing.T, tr *track.Track, group uint64, payload []byte) {
	t.Helper()
	w, err := tr.Subgroup(track.SubgroupHeader{Group: group, EndOfGroup: true, FirstObject: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteObject(track.Object{Payload: payload}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryFollowsCatalogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		r, err := relay.New(relay.Config{})
		if err != nil {
			t.Fatal(err)
		}
		d := directory.New(r, wire.MustNamespace("stream"), nil)
		wg.Go(func() { r.Run(ctx) })
		wg.Go(func() { d.Run(ctx) })

		ns := wire.MustNamespace("stream", "local", "cam")
		cat := track.New(track.Name{Namespace: ns, Name: "catalog"}, track.Info{}, track.Config{})
		withdraw, err := r.Announce(ctx, ns, source{"catalog": cat})
		if err != nil {
			t.Fatal(err)
		}
		silent, err := r.Announce(ctx, wire.MustNamespace("stream", "local", "silent"), source{})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got := d.List()
		if len(got) != 2 || got[0].Namespace != ns || got[0].Catalog != nil {
			t.Fatalf("before a catalog: %+v, want both broadcasts without one", got)
		}

		body, err := catalog.Complete(time.Now()).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		publish(t, cat, 1, body)
		synctest.Wait()
		if got := d.List(); got[0].Catalog == nil || !got[0].Catalog.IsComplete {
			t.Errorf("after a catalog: %+v, want it listed", got[0])
		}
		publish(t, cat, 2, []byte("{")) // one that cannot be read leaves the last
		synctest.Wait()
		if got := d.List(); got[0].Catalog == nil {
			t.Error("a bad catalog has removed the good one")
		}

		withdraw()
		silent()
		synctest.Wait()
		if got := d.List(); len(got) != 0 {
			t.Errorf("after the withdrawal: %+v, want none", got)
		}
		cancel(errors.New("over"))
		wg.Wait()
	})
}
