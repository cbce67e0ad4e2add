package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/broadcastd/broadcastd/internal/store"
	"github.com/broadcastd/broadcastd/internal/store/storetest"
)

func open(tb testing.TB, dir string, now func() time.Time) *Store {
	tb.Helper()
	s, err := Open(Config{Path: dir + "/store.db", Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Driver{
		Open: func(tb testing.TB, dir string, now func() time.Time) store.Store { return open(tb, dir, now) },
	})
}

// TestGroupCommit: those who wait for the same commit share it.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), nil)
		before := commits(t, s)
		s.turn <- struct{}{} // somebody commits
		errs := make(chan error, 50)
		for i := range cap(errs) {
			go func() {
				_, err := s.Put(t.Context(), fmt.Sprintf("k/%d", i), nil, store.New)
				errs <- err
			}()
		}
		synctest.Wait()
		<-s.turn
		for range cap(errs) {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := commits(t, s) - before; n != 1 {
			t.Errorf("%d writers that wait made %d commits, want 1", cap(errs), n)
		}
	})
}

// commits returns how many transactions were committed.
func commits(tb testing.TB, s *Store) (n int) {
	tb.Helper()
	err := s.db.View(func(tx *bolt.Tx) error {
		n = tx.ID()
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// TestCanceledInQueue: whoever gives up before its commit has written nothing,
// and holds up nobody.
func TestCanceledInQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), nil)
		gone := errors.New("nobody waits any more")
		ctx, end := context.WithCancelCause(t.Context())
		errs := make(chan error, 2)
		s.turn <- struct{}{}
		go func() {
			_, err := s.Put(ctx, "canceled", nil, store.New)
			errs <- err
		}()
		synctest.Wait()
		end(gone)
		if err := <-errs; !errors.Is(err, gone) {
			t.Errorf("Put = %v, want %v", err, gone)
		}
		go func() {
			_, err := s.Put(t.Context(), "other", nil, store.New)
			errs <- err
		}()
		synctest.Wait()
		<-s.turn
		if err := <-errs; err != nil {
			t.Error(err)
		}
		if _, err := s.Get(t.Context(), "canceled"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get of what was canceled = %v", err)
		}
	})
}

// TestConflictInBatch: one write that is refused in a commit takes no other with
// it.
func TestConflictInBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), nil)
		s.turn <- struct{}{}
		errs := make(chan error, 10)
		for range cap(errs) {
			go func() {
				_, err := s.Put(t.Context(), "one", nil, store.New)
				errs <- err
			}()
		}
		synctest.Wait()
		<-s.turn
		written := 0
		for range cap(errs) {
			if err := <-errs; err == nil {
				written++
			} else if !errors.Is(err, store.ErrConflict) {
				t.Error(err)
			}
		}
		if written != 1 {
			t.Errorf("%d of %d made the same key, want 1", written, cap(errs))
		}
		if rev, err := s.Revision(t.Context()); rev != 1 || err != nil {
			t.Errorf("Revision = %d, %v, want 1", rev, err)
		}
	})
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	if _, err := Open(Config{Path: dir + "/store.db", LockTimeout: time.Millisecond}); !errors.Is(err, store.ErrInUse) {
		t.Errorf("Open of an open store = %v, want ErrInUse", err)
	}
	s.Close()
	open(t, dir, nil)
}

func TestModes(t *testing.T) {
	dir := t.TempDir() + "/state"
	s := open(t, dir, nil)
	check := func(path string, want os.FileMode) {
		t.Helper()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v, want %v", path, info.Mode().Perm(), err, want)
		}
	}
	check(dir, 0o700)
	check(dir+"/store.db", 0o600)
	s.Close()
	if err := os.Chmod(dir+"/store.db", 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, dir, nil)
	check(dir+"/store.db", 0o600)
}

// TestDamage flips one bit of what is kept: nobody may get other bytes than were
// written.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/store.db"
	s := open(t, dir, nil)
	if _, err := s.Put(t.Context(), "a", []byte("a value to be found"), store.New); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), "log", []byte("a record to be found")); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Errorf("Check of a good store: %v", err)
	}
	s.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := 0
	for i := 0; ; flipped++ { // the pages of older versions are there too
		at := bytes.Index(text[i:], []byte("to be found"))
		if at < 0 {
			break
		}
		text[i+at] ^= 4
		i += at + 1
	}
	if err := os.WriteFile(path, text, 0o600); err != nil || flipped < 2 {
		t.Fatalf("%d bits flipped, %v", flipped, err)
	}
	s = open(t, dir, nil)
	_, err = s.Get(t.Context(), "a")
	for what, err := range map[string]error{"Get": err, "Check": s.Check()} {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s of a damaged store = %v, want ErrCorrupt", what, err)
		}
	}
	if _, err := s.List(t.Context(), "", "", 0); !errors.Is(err, ErrCorrupt) {
		t.Errorf("List = %v, want ErrCorrupt", err)
	}
	if _, err := s.Read(t.Context(), "log", 0, 0); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Read = %v, want ErrCorrupt", err)
	}
}

func TestFormat(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyFormat, []byte("2")) })
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(Config{Path: dir + "/store.db"}); !errors.Is(err, ErrFormat) {
		t.Errorf("Open of a newer format = %v, want ErrFormat", err)
	}
	for name, text := range map[string]string{"text": strings.Repeat("no database ", 1000), "short": "x"} {
		path := dir + "/" + name
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(Config{Path: path}); err == nil {
			s.Close()
			t.Errorf("Open of %s succeeds", name)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("Open has changed %s", name)
		}
	}
}

// BenchmarkPut writes from several at once, each waiting for the disk.
func BenchmarkPut(b *testing.B) {
	value := make([]byte, 500) // a live input
	for _, writers := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := open(b, b.TempDir(), nil)
			before := commits(b, s)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for w := range writers {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if _, err := s.Put(b.Context(), fmt.Sprintf("k/%d", w), value, store.AnyRevision); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(commits(b, s)-before)/float64(b.N), "fsyncs/write")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}
