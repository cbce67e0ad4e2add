package proc

import (
	"crypto/sha256"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const after = " S 1 2 3 0 -1 4194560 10 0 0 0 123 45 0 0 20 0 8 0 99 1000 200 18446744073709551615"
	for _, name := range []string{"(plain)", "(with space)", "(a) S 1 (b)"} {
		user, system, err := parseStat([]byte("77 " + name + after))
		if err != nil || user != 1230*time.Millisecond || system != 450*time.Millisecond {
			t.Errorf("%s: %v, %v, %v, want 1.23s, 450ms", name, user, system, err)
		}
	}
	for _, bad := range []string{"", "77 (x)", "77 (x) S 1", "77 (x) S 1 2 3 0 -1 4194560 10 0 0 0 a b"} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestStatusField(t *testing.T) {
	status := []byte("Name:\tx\nVmHWM:\t   200 kB\nVmRSS:\t   123 kB\nVoid:\n")
	for name, want := range map[string]int64{"VmRSS": 123, "VmHWM": 200, "Rss": 0, "Void": 0} {
		if got := statusField(status, name); got != want {
			t.Errorf("statusField(%s) = %d, want %d", name, got, want)
		}
	}
}

func TestSince(t *testing.T) {
	const second = time.Second
	for _, tt := range []struct {
		name    string
		was, is Usage
		want    time.Duration
	}{
		{"exact", Usage{User: second, OnCPU: second + 3}, Usage{User: second + tick, OnCPU: second + 3 + tick/2}, tick / 2},
		{"a thread has ended", Usage{User: second, OnCPU: second}, Usage{User: 3 * second, OnCPU: second / 2}, 2 * second},
		{"the kernel does not say", Usage{User: second}, Usage{User: 2 * second, System: second}, 2 * second},
	} {
		if got := tt.is.Since(tt.was); got != tt.want {
			t.Errorf("%s: Since = %v, want %v", tt.name, got, tt.want)
		}
	}
	for text, want := range map[string]time.Duration{"123 4 5\n": 123, "": 0, "-1 2 3": 0, "x": 0} {
		if got := parseSchedstat([]byte(text)); got != want {
			t.Errorf("parseSchedstat(%q) = %v, want %v", text, got, want)
		}
	}
}

// TestReadUsage burns CPU and sees it in this process's figures.
func TestReadUsage(t *testing.T) {
	before, err := Read(os.Getpid())
	if runtime.GOOS != "linux" {
		if err == nil {
			t.Error("no error without /proc")
		}
		t.Skip("needs Linux's /proc")
	}
	if err != nil {
		t.Fatal(err)
	}
	for end := before; end.CPU() < before.CPU()+2*tick; {
		burn()
		if end, err = Read(os.Getpid()); err != nil {
			t.Fatal(err)
		}
		if end.Resident <= 0 || end.Peak < end.Resident/2 || end.Switches == 0 || end.Threads == 0 {
			t.Fatalf("usage = %+v", end)
		}
		if time.Since(before.At) > 10*time.Second {
			t.Fatal("10 s of work did not count as 20 ms of CPU")
		}
	}
}

// burn works for some milliseconds.
func burn() {
	b := make([]byte, 1<<20)
	for range 4 {
		sha256.Sum256(b)
	}
}
