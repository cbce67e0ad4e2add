package edge

import (
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(2, 3, 10, time.Now)
		for i := range 3 {
			if _, ok := l.Take("a", 1); !ok {
				t.Fatalf("request %d of a burst of 3 is refused", i)
			}
		}
		wait, ok := l.Take("a", 1)
		if ok || wait != 500*time.Millisecond {
			t.Fatalf("the fourth: %v, wait %v, want refused for 500ms", ok, wait)
		}
		if _, ok := l.Take("b", 1); !ok {
			t.Error("another client is refused for it")
		}
		time.Sleep(wait)
		if _, ok := l.Take("a", 0); !ok {
			t.Error("a look, after the wait, is refused")
		}
		if _, ok := l.Take("a", 1); !ok {
			t.Error("a request after the wait is refused")
		}
		if _, ok := l.Take("a", 0); ok {
			t.Error("a look without a token is not refused")
		}
		time.Sleep(time.Hour)
		for i := range 3 {
			if _, ok := l.Take("a", 1); !ok {
				t.Errorf("request %d after an hour is refused", i)
			}
		}
		if _, ok := l.Take("a", 1); ok {
			t.Error("an hour gave more than the burst")
		}
	})
}

func TestLimiterForgets(t *testing.T) {
	l := NewLimiter(0.001, 1, 10, time.Now)
	l.Take("first", 1)
	for i := range 1000 {
		l.Take(fmt.Sprint(i), 1)
		l.Take("busy", 1)
	}
	if n := len(l.clients); n != 10 || l.recent.Len() != 10 {
		t.Errorf("%d clients are kept, and %d in order, want 10", n, l.recent.Len())
	}
	if _, ok := l.Take("busy", 1); ok {
		t.Error("who never was quiet was forgotten")
	}
}

func TestAddress(t *testing.T) {
	for _, tt := range []struct{ remote, want string }{
		{"192.0.2.1:80", "192.0.2.1"},
		{"[::ffff:192.0.2.1]:80", "192.0.2.1"},
		{"[2001:db8:1:2:3::4]:80", "2001:db8:1:2::/64"},
		{"[fe80::1%eth0]:80", "fe80::/64"},
		{"rubbish", ""},
	} {
		if got := Address(tt.remote); got != tt.want {
			t.Errorf("Address(%q) = %q, want %q", tt.remote, got, tt.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for wait, want := range map[time.Duration]string{0: "1", time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2"} {
		if got := RetryAfter(wait); got != want {
			t.Errorf("RetryAfter(%v) = %s, want %s", wait, got, want)
		}
	}
}
