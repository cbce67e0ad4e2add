package edge

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// once answers a request with a text, unless it was answered before.
func once(t *testing.T, s *Replays, key, body string, make func() *Answer) (text string, fresh bool) {
	t.Helper()
	a, mine, p := s.Begin(t.Context(), ReplayID("ak_1", "POST /x", key), []byte(body))
	if p != nil {
		return fmt.Sprint(p.Status), false
	}
	if a == nil {
		a = make()
		s.End(mine, a)
		return a.body.String(), true
	}
	return a.body.String(), false
}

func text(s string) func() *Answer {
	return func() *Answer {
		a := NewAnswer()
		_, _ = a.Write([]byte(s))
		return a
	}
}

func TestReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewReplays(100, 1<<20, time.Now)
		for _, tt := range []struct {
			name, key, body string
			wait            time.Duration
			want            string
			fresh           bool
		}{
			{"first", "a", "1", 0, "one", true},
			{"again", "a", "1", time.Hour, "one", false},
			{"another body", "a", "2", 0, "422", false},
			{"another key", "b", "2", 0, "four", true},
			{"just under a day", "a", "1", 23*time.Hour - time.Second, "one", false},
			{"after a day", "a", "2", time.Second, "six", true},
		} {
			time.Sleep(tt.wait)
			made := map[string]string{"first": "one", "another key": "four", "after a day": "six"}[tt.name]
			got, fresh := once(t, s, tt.key, tt.body, text(made))
			if got != tt.want || fresh != tt.fresh {
				t.Errorf("%s: %q, fresh %t, want %q, %t", tt.name, got, fresh, tt.want, tt.fresh)
			}
		}
	})
}

// Of many requests with one key at a time, one is carried out, and all get its
// answer; when it is refused, the next is.
func TestReplaysAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewReplays(100, 1<<20, time.Now)
		var tries, refusals atomic.Int32
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				a, mine, p := s.Begin(t.Context(), ReplayID("", "", "k"), nil)
				switch {
				case p != nil:
					t.Errorf("problem %+v", p)
					return
				case mine == nil:
					if got := a.body.String(); got != "done" {
						t.Errorf("got %q", got)
					}
					return
				}
				time.Sleep(time.Second)
				if tries.Add(1) <= 3 {
					refusals.Add(1)
					s.End(mine, nil)
					return
				}
				s.End(mine, text("done")())
			})
		}
		wg.Wait()
		if tries.Load() != 4 || refusals.Load() != 3 {
			t.Errorf("%d were carried out, want 3 that were refused and one", tries.Load())
		}
	})
}

func TestReplaysGiveUp(t *testing.T) {
	s := NewReplays(100, 1<<20, time.Now)
	id := ReplayID("", "", "k")
	_, mine, _ := s.Begin(t.Context(), id, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, p := s.Begin(ctx, id, nil); p == nil || p.Status != 503 {
		t.Errorf("who gives up gets %+v, want 503", p)
	}
	s.End(mine, nil)
	if len(s.of) != 0 {
		t.Errorf("%d are kept of what was refused", len(s.of))
	}
}

func TestReplaysAreBounded(t *testing.T) {
	s := NewReplays(10, 100, time.Now)
	for i := range 50 {
		once(t, s, fmt.Sprint(i), "", text("x"))
	}
	if len(s.of) != 10 || s.kept.Len() != 10 || s.bytes != 10 {
		t.Errorf("%d are kept with %d bytes, want 10 and 10", len(s.of), s.bytes)
	}
	once(t, s, "long", "", text(string(make([]byte, 95))))
	if s.bytes > 100 || len(s.of) != 6 {
		t.Errorf("%d are kept with %d bytes, want 6 and 100 at most", len(s.of), s.bytes)
	}
	once(t, s, "too long", "", text(string(make([]byte, 101))))
	if _, fresh := once(t, s, "too long", "", text("")); !fresh {
		t.Error("an answer that is too long was kept")
	}
	if _, fresh := once(t, s, "long", "", text("")); fresh {
		t.Error("one that fits was not")
	}
}

// Whose request it was, and for what, are part of its identity.
func TestReplayID(t *testing.T) {
	seen := map[[32]byte]string{}
	for _, p := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"a", "bc", ""}, {"", "ab", "c"}, {"a", "b", "d"}, {"", "", "abc"}} {
		id := ReplayID(p[0], p[1], p[2])
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %s are one", p, other)
		}
		seen[id] = fmt.Sprint(p)
	}
}
