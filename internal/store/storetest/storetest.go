// Package storetest holds what every driver of internal/store must do.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/store"
)

// A Driver makes stores.
type Driver struct {
	// Open opens the store of a directory, which is empty the first time.
	Open func(tb testing.TB, dir string, now func() time.Time) store.Store
	// Forgets says that what was written is gone after Close.
	Forgets bool
}

// Run runs the suite.
func Run(t *testing.T, d Driver) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, Driver)
	}{
		{"CompareAndSet", testCompareAndSet},
		{"Names", testNames},
		{"Sizes", testSizes},
		{"Copies", testCopies},
		{"List", testList},
		{"Counter", testCounter},
		{"Canceled", testCanceled},
		{"Closed", testClosed},
		{"Reopen", testReopen},
		{"Model", testModel},
		{"Watch", testWatch},
		{"WatchPrefix", testWatchPrefix},
		{"WatchEnds", testWatchEnds},
		{"WatchFromThePast", testWatchFromThePast},
		{"WatchSlow", testWatchSlow},
		{"WatchConcurrent", testWatchConcurrent},
		{"Log", testLog},
		{"LogSince", testLogSince},
		{"LogClock", testLogClock},
		{"LogTrim", testLogTrim},
		{"LogConcurrent", testLogConcurrent},
		{"LogReopen", testLogReopen},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, d) })
	}
}

// open opens a new store.
func open(t *testing.T, d Driver) store.Store {
	t.Helper()
	return openAt(t, d, t.TempDir(), time.Now)
}

func openAt(t *testing.T, d Driver, dir string, now func() time.Time) store.Store {
	t.Helper()
	s := d.Open(t, dir, now)
	t.Cleanup(func() { _ = s.Close() }) // some tests close it themselves
	return s
}

func shut(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func put(t *testing.T, s store.Store, key, value string, rev uint64) uint64 {
	t.Helper()
	next, err := s.Put(t.Context(), key, []byte(value), rev)
	if err != nil {
		t.Fatalf("Put(%q, %q, %d): %v", key, value, rev, err)
	}
	return next
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func wantEntry(t *testing.T, s store.Store, key, value string, rev uint64) {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if err != nil || e.Key != key || string(e.Value) != value || e.Revision != rev {
		t.Errorf("Get(%q) = %q %q %d, %v; want %q of revision %d", key, e.Key, e.Value, e.Revision, err, value, rev)
	}
}

func testCompareAndSet(t *testing.T, d Driver) {
	s, ctx := open(t, d), t.Context()
	_, err := s.Get(ctx, "a")
	wantErr(t, "Get of nothing", err, store.ErrNotFound)
	_, err = s.Put(ctx, "a", nil, 7)
	wantErr(t, "Put of revision 7 over nothing", err, store.ErrConflict)
	_, err = s.Delete(ctx, "a", store.AnyRevision)
	wantErr(t, "Delete of nothing", err, store.ErrNotFound)

	first := put(t, s, "a", "1", store.New)
	wantEntry(t, s, "a", "1", first)
	_, err = s.Put(ctx, "a", []byte("2"), store.New)
	wantErr(t, "Put of a new key over another", err, store.ErrConflict)
	_, err = s.Put(ctx, "a", []byte("2"), first+1)
	wantErr(t, "Put with another revision", err, store.ErrConflict)
	_, err = s.Delete(ctx, "a", first+1)
	wantErr(t, "Delete with another revision", err, store.ErrConflict)
	wantEntry(t, s, "a", "1", first)

	second := put(t, s, "a", "", first)
	if second <= first {
		t.Errorf("revision %d after %d", second, first)
	}
	wantEntry(t, s, "a", "", second)
	third := put(t, s, "a", "3", store.AnyRevision)
	gone, err := s.Delete(ctx, "a", third)
	if err != nil || gone <= third {
		t.Errorf("Delete = %d, %v after revision %d", gone, err, third)
	}
	_, err = s.Get(ctx, "a")
	wantErr(t, "Get of what was deleted", err, store.ErrNotFound)
	if again := put(t, s, "a", "4", store.New); again <= gone {
		t.Errorf("revision %d after %d", again, gone)
	}
	if fresh := put(t, s, "b", "5", store.AnyRevision); fresh <= gone {
		t.Errorf("revision %d after %d", fresh, gone)
	} else if last, err := s.Revision(ctx); err != nil || last != fresh {
		t.Errorf("Revision = %d, %v, want %d", last, err, fresh)
	}
	if _, err := s.Delete(ctx, "b", store.AnyRevision); err != nil {
		t.Errorf("Delete of any revision: %v", err)
	}
}

func testNames(t *testing.T, d Driver) {
	s, ctx := open(t, d), t.Context()
	long := strings.Repeat("k", store.MaxName)
	for _, good := range []string{"a", "a/b-c_d.e/F9", long, ".hidden", "a..b"} {
		if _, err := s.Put(ctx, good, nil, store.New); err != nil {
			t.Errorf("Put(%.20q): %v", good, err)
		}
		if _, err := s.Append(ctx, good, nil); err != nil {
			t.Errorf("Append(%.20q): %v", good, err)
		}
	}
	for _, bad := range []string{"", "/", "a/", "/a", "a//b", "a/../b", ".", "..", "a b", "a\x00", "ä", "a~b", "a*", long + "k"} {
		_, err := s.Put(ctx, bad, nil, store.New)
		wantErr(t, fmt.Sprintf("Put(%.20q)", bad), err, store.ErrBadName)
		_, err = s.Get(ctx, bad)
		wantErr(t, fmt.Sprintf("Get(%.20q)", bad), err, store.ErrBadName)
		_, err = s.Delete(ctx, bad, store.AnyRevision)
		wantErr(t, fmt.Sprintf("Delete(%.20q)", bad), err, store.ErrBadName)
		_, err = s.Append(ctx, bad, nil)
		wantErr(t, fmt.Sprintf("Append(%.20q)", bad), err, store.ErrBadName)
		_, err = s.Read(ctx, bad, 0, 0)
		wantErr(t, fmt.Sprintf("Read(%.20q)", bad), err, store.ErrBadName)
		_, err = s.ReadSince(ctx, bad, time.Time{}, 0)
		wantErr(t, fmt.Sprintf("ReadSince(%.20q)", bad), err, store.ErrBadName)
		_, _, err = s.Bounds(ctx, bad)
		wantErr(t, fmt.Sprintf("Bounds(%.20q)", bad), err, store.ErrBadName)
		_, err = s.Trim(ctx, bad, 1, 0)
		wantErr(t, fmt.Sprintf("Trim(%.20q)", bad), err, store.ErrBadName)
	}
	_, err := s.List(ctx, "a b", "", 0)
	wantErr(t, "List of a bad prefix", err, store.ErrBadName)
	for _, err := range s.Watch(ctx, "ä", 0) {
		wantErr(t, "Watch of a bad prefix", err, store.ErrBadName)
	}
}

func testSizes(t *testing.T, d Driver) {
	s, ctx := open(t, d), t.Context()
	most := make([]byte, store.MaxValue)
	most[len(most)-1] = 1
	rev := put(t, s, "most", string(most), store.New)
	wantEntry(t, s, "most", string(most), rev)
	if _, err := s.Append(ctx, "log", most); err != nil {
		t.Errorf("Append of the most: %v", err)
	}
	more := slices.Concat(most, []byte{0})
	_, err := s.Put(ctx, "more", more, store.New)
	wantErr(t, "Put of too much", err, store.ErrTooLarge)
	_, err = s.Append(ctx, "log", more)
	wantErr(t, "Append of too much", err, store.ErrTooLarge)
}

func testCopies(t *testing.T, d Driver) {
	s, ctx := open(t, d), t.Context()
	value := []byte("value")
	rev, err := s.Put(ctx, "a", value, store.New)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(ctx, "log", value); err != nil {
		t.Fatal(err)
	}
	value[0] = 'X'
	spoil := func() {
		e, _ := s.Get(ctx, "a")
		e.Value[0] = 'Y'
		list, _ := s.List(ctx, "", "", 0)
		list[0].Value[0] = 'Y'
		records, _ := s.Read(ctx, "log", 0, 0)
		records[0].Data[0] = 'Y'
		for c := range s.Watch(ctx, "", 0) {
			c.Value[0] = 'Y'
			break
		}
	}
	spoil()
	wantEntry(t, s, "a", "value", rev)
	records, err := s.Read(ctx, "log", 0, 0)
	if err != nil || string(records[0].Data) != "value" {
		t.Errorf("Read = %v, %v", records, err)
	}
	for c := range s.Watch(ctx, "", 0) {
		if string(c.Value) != "value" {
			t.Errorf("Watch yields %q", c.Value)
		}
		break
	}
}

func keys(entries []store.Entry) (out []string) {
	for _, e := range entries {
		out = append(out, e.Key)
	}
	return out
}

func testList(t *testing.T, d Driver) {
	s, ctx := open(t, d), t.Context()
	for _, key := range []string{"b/2", "a", "b", "b/1", "b/10", "b.x", "c/1", "b-x"} {
		put(t, s, key, "of "+key, store.New)
	}
	for _, tt := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "", 0, []string{"a", "b", "b-x", "b.x", "b/1", "b/10", "b/2", "c/1"}},
		{"b/", "", 0, []string{"b/1", "b/10", "b/2"}},
		{"b/", "", 2, []string{"b/1", "b/10"}},
		{"b/", "b/10", 2, []string{"b/2"}},
		{"b/", "b/11", 0, []string{"b/2"}},
		{"b/", "a", 0, []string{"b/1", "b/10", "b/2"}},
		{"b/", "b/2", 0, nil},
		{"b/", "z", 0, nil},
		{"b", "", -1, []string{"b", "b-x", "b.x", "b/1", "b/10", "b/2"}},
		{"d", "", 0, nil},
	} {
		got, err := s.List(ctx, tt.prefix, tt.after, tt.limit)
		if err != nil || !slices.Equal(keys(got), tt.want) {
			t.Errorf("List(%q, %q, %d) = %v, %v, want %v", tt.prefix, tt.after, tt.limit, keys(got), err, tt.want)
		}
		for _, e := range got {
			wantEntry(t, s, e.Key, "of "+e.Key, e.Revision)
		}
	}
	inParallel(t, 67, func(ctx context.Context, w int) error { // together they wait less
		for i := range (store.MaxPage + 5) / 67 {
			if _, err := s.Put(ctx, fmt.Sprintf("many/%02d-%02d", w, i), nil, store.New); err != nil {
				return err
			}
		}
		return nil
	})
	page, err := s.List(ctx, "many/", "", store.MaxPage+3)
	if err != nil || len(page) != store.MaxPage {
		t.Fatalf("List of too many: %d entries, %v, want %d", len(page), err, store.MaxPage)
	}
	rest, err := s.List(ctx, "many/", page[len(page)-1].Key, 0)
	if err != nil || len(rest) != 5 {
		t.Errorf("the rest of the list: %d entries, %v, want 5", len(rest), err)
	}
}

// testCounter has many add to one value: none of them may be lost.
func testCounter(t *testing.T, d Driver) {
	s := open(t, d)
	put(t, s, "counter", "", store.New)
	const writers, each = 16, 20
	inParallel(t, writers, func(ctx context.Context, _ int) error {
		for range each {
			for {
				e, err := s.Get(ctx, "counter")
				if err != nil {
					return err
				}
				_, err = s.Put(ctx, "counter", append(e.Value, 'x'), e.Revision)
				if err == nil {
					break
				}
				if !errors.Is(err, store.ErrConflict) {
					return err
				}
			}
		}
		return nil
	})
	if e, err := s.Get(t.Context(), "counter"); err != nil || len(e.Value) != writers*each {
		t.Errorf("counted %d, %v, want %d", len(e.Value), err, writers*each)
	}
}

// inParallel runs f n times at once.
func inParallel(t *testing.T, n int, f func(ctx context.Context, i int) error) {
	t.Helper()
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- f(t.Context(), i) }()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func testCanceled(t *testing.T, d Driver) {
	s := open(t, d)
	put(t, s, "a", "1", store.New)
	gone := errors.New("nobody waits any more")
	ctx, end := context.WithCancelCause(t.Context())
	end(gone)
	_, err := s.Get(ctx, "a")
	wantErr(t, "Get", err, gone)
	_, err = s.List(ctx, "", "", 0)
	wantErr(t, "List", err, gone)
	_, err = s.Put(ctx, "a", nil, store.AnyRevision)
	wantErr(t, "Put", err, gone)
	_, err = s.Delete(ctx, "a", store.AnyRevision)
	wantErr(t, "Delete", err, gone)
	_, err = s.Append(ctx, "log", nil)
	wantErr(t, "Append", err, gone)
	_, err = s.Trim(ctx, "log", 1, 0)
	wantErr(t, "Trim", err, gone)
	wantEntry(t, s, "a", "1", 1)
	if _, last, err := s.Bounds(t.Context(), "log"); last != 0 || err != nil {
		t.Errorf("the log goes to %d, %v, want 0", last, err)
	}
}

func testClosed(t *testing.T, d Driver) {
	s, ctx := open(t, d), t.Context()
	put(t, s, "a", "1", store.New)
	shut(t, s)
	_, err := s.Get(ctx, "a")
	wantErr(t, "Get", err, store.ErrClosed)
	_, err = s.List(ctx, "", "", 0)
	wantErr(t, "List", err, store.ErrClosed)
	_, err = s.Revision(ctx)
	wantErr(t, "Revision", err, store.ErrClosed)
	_, err = s.Put(ctx, "a", nil, store.AnyRevision)
	wantErr(t, "Put", err, store.ErrClosed)
	_, err = s.Delete(ctx, "a", store.AnyRevision)
	wantErr(t, "Delete", err, store.ErrClosed)
	_, err = s.Append(ctx, "log", nil)
	wantErr(t, "Append", err, store.ErrClosed)
	_, err = s.Read(ctx, "log", 0, 0)
	wantErr(t, "Read", err, store.ErrClosed)
	_, err = s.Trim(ctx, "log", 1, 0)
	wantErr(t, "Trim", err, store.ErrClosed)
}

func testReopen(t *testing.T, d Driver) {
	if d.Forgets {
		t.Skip("this driver forgets")
	}
	dir, ctx := t.TempDir(), t.Context()
	s := openAt(t, d, dir, time.Now)
	kept := put(t, s, "kept", "1", store.New)
	put(t, s, "gone", "2", store.New)
	last, err := s.Delete(ctx, "gone", store.AnyRevision)
	if err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	s = openAt(t, d, dir, time.Now)
	wantEntry(t, s, "kept", "1", kept)
	_, err = s.Get(ctx, "gone")
	wantErr(t, "Get of what was deleted", err, store.ErrNotFound)
	if rev, err := s.Revision(ctx); err != nil || rev != last {
		t.Errorf("Revision = %d, %v, want %d", rev, err, last)
	}
	if next := put(t, s, "next", "", store.New); next <= last {
		t.Errorf("revision %d after %d", next, last)
	}
}
