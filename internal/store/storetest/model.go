package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/broadcastd/broadcastd/internal/store"
)

// testModel holds a store against a map, over whatever calls come.
func testModel(t *testing.T, d Driver) {
	rapid.Check(t, func(rt *rapid.T) {
		s := d.Open(t, t.TempDir(), time.Now)
		defer shut(t, s)
		model, last := make(map[string]store.Entry), uint64(0)
		key := rapid.SampledFrom([]string{"a", "a/b", "a/c", "b", "b/1", "b/10", "b/2"})
		revision := func(key string) uint64 {
			return rapid.SampledFrom([]uint64{store.New, model[key].Revision, model[key].Revision + 1, store.AnyRevision}).Draw(rt, "revision")
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				k, v := key.Draw(rt, "key"), rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(rt, "value")
				rev := revision(k)
				got, err := s.Put(t.Context(), k, v, rev)
				if want := rev == store.AnyRevision || rev == model[k].Revision; want != (err == nil) || !want && !errors.Is(err, store.ErrConflict) {
					rt.Fatalf("Put(%q, %d) = %v over revision %d", k, rev, err, model[k].Revision)
				}
				if err == nil {
					last++
					model[k] = store.Entry{Key: k, Value: v, Revision: last}
					if got != last {
						rt.Fatalf("Put gives revision %d, want %d", got, last)
					}
				}
			},
			"delete": func(rt *rapid.T) {
				k := key.Draw(rt, "key")
				rev := revision(k)
				_, err := s.Delete(t.Context(), k, rev)
				_, there := model[k]
				switch {
				case !there && !errors.Is(err, store.ErrNotFound),
					there && rev != store.AnyRevision && rev != model[k].Revision && !errors.Is(err, store.ErrConflict):
					rt.Fatalf("Delete(%q, %d) = %v", k, rev, err)
				case err == nil:
					last++
					delete(model, k)
				}
			},
			"": func(rt *rapid.T) {
				prefix := rapid.SampledFrom([]string{"", "a", "a/", "b/", "c"}).Draw(rt, "prefix")
				var want []string
				for _, k := range slices.Sorted(maps.Keys(model)) {
					if strings.HasPrefix(k, prefix) {
						want = append(want, fmt.Sprintf("%s=%x@%d", k, model[k].Value, model[k].Revision))
					}
				}
				list, err := s.List(t.Context(), prefix, "", 0)
				var got []string
				for _, e := range list {
					got = append(got, fmt.Sprintf("%s=%x@%d", e.Key, e.Value, e.Revision))
				}
				if err != nil || !slices.Equal(got, want) {
					rt.Fatalf("List(%q) = %q, %v, want %q", prefix, got, err, want)
				}
			},
		})
	})
}
