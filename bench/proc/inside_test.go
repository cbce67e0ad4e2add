package proc

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"runtime"
	"strings"
	"testing"
)

func TestLook(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	s := httptest.NewServer(mux)
	defer s.Close()
	addr := strings.TrimPrefix(s.URL, "http://")
	before, err := Look(t.Context(), addr, true)
	if err != nil {
		t.Fatal(err)
	}
	if n := runtime.NumGoroutine(); before.Goroutines < 2 || before.Goroutines > n+10 {
		t.Errorf("%d goroutines, want about %d", before.Goroutines, n)
	}
	keep := make([][]byte, 1000)
	for i := range keep {
		keep[i] = make([]byte, 1000)
	}
	after, err := Look(t.Context(), addr, false)
	if err != nil {
		t.Fatal(err)
	}
	if n, b := after.Mallocs-before.Mallocs, after.Allocated-before.Allocated; n < 1000 || b < 1e6 {
		t.Errorf("%d allocations of %d bytes, want at least 1000 and 1 MB", n, b)
	}
	if after.Heap <= 0 || after.Stack <= 0 {
		t.Errorf("heap %d, stack %d, want more than 0", after.Heap, after.Stack)
	}
	runtime.KeepAlive(keep)
	var prof bytes.Buffer
	if err := Profile(t.Context(), addr, 1, &prof); err != nil || prof.Len() == 0 {
		t.Errorf("Profile: %d bytes, %v", prof.Len(), err)
	}
	if _, err := Look(t.Context(), "127.0.0.1:1", false); err == nil {
		t.Error("Look found something where nobody listens")
	}
}

func TestParseFaults(t *testing.T) {
	for _, text := range []string{"", "hello\n", "goroutine profile: total many\n"} {
		if n, err := parseGoroutines(strings.NewReader(text)); err == nil {
			t.Errorf("parseGoroutines(%q) = %d", text, n)
		}
	}
	if err := parseHeap(strings.NewReader("# Mallocs = 5\n# Stack = x / y\n"), new(Inside)); err == nil {
		t.Error("parseHeap took a page without figures")
	}
	var in Inside
	page := "heap profile: 1: 2 [3: 4]\n# TotalAlloc = 10\n# Mallocs = 20\n# Stack = 30 / 40\n# HeapInuse = 50\n# PauseNs = [1 2]\n"
	if err := parseHeap(strings.NewReader(page), &in); err != nil || (in != Inside{Mallocs: 20, Allocated: 10, Heap: 50, Stack: 30}) {
		t.Errorf("parseHeap = %+v, %v", in, err)
	}
}
