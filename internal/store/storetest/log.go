package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/store"
)

func appendTo(t *testing.T, s store.Store, log, data string) uint64 {
	t.Helper()
	seq, err := s.Append(t.Context(), log, []byte(data))
	if err != nil {
		t.Fatalf("Append(%q, %q): %v", log, data, err)
	}
	return seq
}

// numbers returns the numbers of records.
func numbers(records []store.Record) (out []uint64) {
	for _, r := range records {
		out = append(out, r.Seq)
	}
	return out
}

func wantBounds(t *testing.T, s store.Store, log string, first, last uint64) {
	t.Helper()
	f, l, err := s.Bounds(t.Context(), log)
	if err != nil || f != first || l != last {
		t.Errorf("Bounds(%q) = %d, %d, %v, want %d, %d", log, f, l, err, first, last)
	}
}

func testLog(t *testing.T, d Driver) {
	s, ctx := open(t, d), t.Context()
	wantBounds(t, s, "a", 0, 0)
	if records, err := s.Read(ctx, "a", 0, 0); err != nil || len(records) != 0 {
		t.Errorf("Read of nothing = %v, %v", records, err)
	}
	for i := range uint64(5) {
		if seq := appendTo(t, s, "a", fmt.Sprint(i+1)); seq != i+1 {
			t.Errorf("number %d, want %d", seq, i+1)
		}
	}
	if seq := appendTo(t, s, "b", "other"); seq != 1 {
		t.Errorf("number %d in another log, want 1", seq)
	}
	wantBounds(t, s, "a", 1, 5)
	for _, tt := range []struct {
		after uint64
		limit int
		want  []uint64
	}{
		{0, 0, []uint64{1, 2, 3, 4, 5}},
		{0, 2, []uint64{1, 2}},
		{3, 0, []uint64{4, 5}},
		{5, 0, nil},
		{99, 0, nil},
		{1<<64 - 1, 0, nil},
	} {
		got, err := s.Read(ctx, "a", tt.after, tt.limit)
		if err != nil || !slices.Equal(numbers(got), tt.want) {
			t.Errorf("Read(%d, %d) = %v, %v, want %v", tt.after, tt.limit, numbers(got), err, tt.want)
		}
		for _, r := range got {
			if string(r.Data) != fmt.Sprint(r.Seq) {
				t.Errorf("record %d is %q", r.Seq, r.Data)
			}
		}
	}
	if rev, err := s.Revision(ctx); err != nil || rev != 0 {
		t.Errorf("Revision = %d, %v after records alone, want 0", rev, err)
	}
}

// clock is one that a test sets.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func start() *clock { return &clock{time.Date(2030, 1, 2, 3, 4, 5, 6_000_000, time.UTC)} }

func testLogSince(t *testing.T, d Driver) {
	c := start()
	began := c.at
	s := openAt(t, d, t.TempDir(), c.now)
	for range 5 { // at 0, 1, 2, 3 and 4 s, two each
		appendTo(t, s, "a", "x")
		appendTo(t, s, "a", "y")
		c.at = c.at.Add(time.Second)
	}
	for _, tt := range []struct {
		since time.Duration
		limit int
		want  []uint64
	}{
		{-time.Hour, 3, []uint64{1, 2, 3}},
		{0, 1, []uint64{1}},
		{2 * time.Second, 0, []uint64{5, 6, 7, 8, 9, 10}},
		{2*time.Second + 1, 0, []uint64{7, 8, 9, 10}},
		{4 * time.Second, 0, []uint64{9, 10}},
		{5 * time.Second, 0, nil},
	} {
		got, err := s.ReadSince(t.Context(), "a", began.Add(tt.since), tt.limit)
		if err != nil || !slices.Equal(numbers(got), tt.want) {
			t.Errorf("ReadSince(%v, %d) = %v, %v, want %v", tt.since, tt.limit, numbers(got), err, tt.want)
		}
		if len(got) > 0 && got[0].Time.Before(began.Add(tt.since)) {
			t.Errorf("ReadSince(%v) begins at %v", tt.since, got[0].Time)
		}
	}
	if got, err := s.ReadSince(t.Context(), "none", began, 0); err != nil || len(got) != 0 {
		t.Errorf("ReadSince of nothing = %v, %v", got, err)
	}
}

// testLogClock: a clock that is set back does not turn the order around.
func testLogClock(t *testing.T, d Driver) {
	c := start()
	s := openAt(t, d, t.TempDir(), c.now)
	first := c.at
	appendTo(t, s, "a", "1")
	c.at = c.at.Add(-time.Hour)
	appendTo(t, s, "a", "2")
	c.at = first.Add(time.Second)
	appendTo(t, s, "a", "3")
	records, err := s.Read(t.Context(), "a", 0, 0)
	if err != nil || len(records) != 3 {
		t.Fatalf("Read = %v, %v", records, err)
	}
	for i, want := range []time.Time{first, first, first.Add(time.Second)} {
		if !records[i].Time.Equal(want) {
			t.Errorf("record %d is of %v, want %v", i+1, records[i].Time, want)
		}
	}
}

func testLogTrim(t *testing.T, d Driver) {
	c := start()
	s, ctx := openAt(t, d, t.TempDir(), c.now), t.Context()
	trim := func(keep int, age time.Duration, want int) {
		t.Helper()
		if n, err := s.Trim(ctx, "a", keep, age); err != nil || n != want {
			t.Errorf("Trim(%d, %v) = %d, %v, want %d", keep, age, n, err, want)
		}
	}
	trim(1, time.Second, 0) // of nothing
	for range 10 {
		appendTo(t, s, "a", "x")
		c.at = c.at.Add(time.Second)
	}
	trim(0, 0, 0)
	trim(20, time.Hour, 0)
	trim(8, 0, 2)
	wantBounds(t, s, "a", 3, 10)
	trim(0, 6500*time.Millisecond, 2) // record 5 is 6 s old
	wantBounds(t, s, "a", 5, 10)
	trim(2, time.Hour, 4)
	wantBounds(t, s, "a", 9, 10)
	records, err := s.Read(ctx, "a", 0, 0)
	if err != nil || !slices.Equal(numbers(records), []uint64{9, 10}) {
		t.Errorf("Read = %v, %v, want 9 and 10", numbers(records), err)
	}
	trim(1, time.Millisecond, 2)
	wantBounds(t, s, "a", 11, 10)
	if seq := appendTo(t, s, "a", "next"); seq != 11 {
		t.Errorf("number %d after all were trimmed, want 11", seq)
	}
	wantBounds(t, s, "a", 11, 11)
}

func testLogConcurrent(t *testing.T, d Driver) {
	s := open(t, d)
	const writers, each = 10, 20
	got := make(chan uint64, writers*each)
	inParallel(t, writers, func(ctx context.Context, w int) error {
		for range each {
			seq, err := s.Append(ctx, "a", fmt.Append(nil, w))
			if err != nil {
				return err
			}
			got <- seq
		}
		return nil
	})
	close(got)
	seen := make(map[uint64]bool)
	for seq := range got {
		seen[seq] = true
	}
	wantBounds(t, s, "a", 1, writers*each)
	if len(seen) != writers*each {
		t.Errorf("%d numbers for %d records", len(seen), writers*each)
	}
}

func testLogReopen(t *testing.T, d Driver) {
	if d.Forgets {
		t.Skip("this driver forgets")
	}
	c, dir := start(), t.TempDir()
	s := openAt(t, d, dir, c.now)
	for range 4 {
		appendTo(t, s, "a", "x")
	}
	if _, err := s.Trim(t.Context(), "a", 1, 0); err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	s = openAt(t, d, dir, c.now)
	wantBounds(t, s, "a", 4, 4)
	if seq := appendTo(t, s, "a", "y"); seq != 5 {
		t.Errorf("number %d, want 5", seq)
	}
	if records, err := s.Read(t.Context(), "a", 0, 0); err != nil || len(records) != 2 || !records[0].Time.Equal(c.at) {
		t.Errorf("Read = %v, %v", records, err)
	}
}
