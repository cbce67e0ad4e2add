package storetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/store"
)

// modelCalls is how many calls testModel makes. Each may wait for a disk.
const modelCalls = 400

// testModel holds a store against a map, over whatever calls come.
func testModel(t *testing.T, d Driver) {
	s, ctx := open(t, d), t.Context()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	model, last := make(map[string]store.Entry), uint64(0)
	for range modelCalls {
		key := pick("a", "a/b", "a/c", "b", "b/1", "b/10", "b/2")
		have, there := model[key]
		rev := []uint64{store.New, have.Revision, have.Revision, have.Revision + 1, store.AnyRevision}[random.IntN(5)]
		fits := rev == store.AnyRevision || rev == have.Revision
		if random.IntN(3) > 0 {
			value := fmt.Appendf(nil, "%x", random.Uint64())[:random.IntN(9)]
			got, err := s.Put(ctx, key, value, rev)
			if fits != (err == nil) || !fits && !errors.Is(err, store.ErrConflict) {
				t.Fatalf("Put(%q, %d) = %v over revision %d", key, rev, err, have.Revision)
			}
			if err == nil {
				last++
				model[key] = store.Entry{Key: key, Value: value, Revision: last}
				if got != last {
					t.Fatalf("Put gives revision %d, want %d", got, last)
				}
			}
		} else {
			_, err := s.Delete(ctx, key, rev)
			switch {
			case !there && !errors.Is(err, store.ErrNotFound), there && !fits && !errors.Is(err, store.ErrConflict), there && fits && err != nil:
				t.Fatalf("Delete(%q, %d) = %v over revision %d", key, rev, err, have.Revision)
			case err == nil:
				last++
				delete(model, key)
			}
		}
		prefix := pick("", "a", "a/", "b/", "c")
		list, err := s.List(ctx, prefix, "", 0)
		if got, want := inWords(list), inWords(modelList(model, prefix)); err != nil || got != want {
			t.Fatalf("List(%q) = %s, %v, want %s", prefix, got, err, want)
		}
	}
}

func modelList(model map[string]store.Entry, prefix string) (out []store.Entry) {
	for _, key := range slices.Sorted(maps.Keys(model)) {
		if strings.HasPrefix(key, prefix) {
			out = append(out, model[key])
		}
	}
	return out
}

func inWords(entries []store.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%s=%s@%d ", e.Key, e.Value, e.Revision)
	}
	return b.String()
}
