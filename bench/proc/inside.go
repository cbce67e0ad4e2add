package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// An Inside is what a Go program says of itself under /debug/pprof/.
type Inside struct {
	Goroutines int
	Mallocs    uint64 // heap objects allocated so far
	Allocated  uint64 // bytes of heap allocated so far
	Heap       int64  // bytes in use by spans of the heap
	Stack      int64  // bytes in use by stacks
}

// maxPage bounds what is read of a page; a profile of many stacks is long, and
// the figures are at its begin and its end.
const maxPage = 64 << 20

// Heap asks the program whose pprof pages are at addr (host:port) for its
// memory. collect has it collect its garbage first, so that what is in use is
// what it needs.
func Heap(ctx context.Context, addr string, collect bool) (in Inside, err error) {
	gc := "0"
	if collect {
		gc = "1"
	}
	return in, get(ctx, addr, "heap?debug=1&gc="+gc, func(r io.Reader) error { return parseHeap(r, &in) })
}

// Look asks for the memory, and then for the number of goroutines.
func Look(ctx context.Context, addr string, collect bool) (Inside, error) {
	in, err := Heap(ctx, addr, collect)
	if err != nil {
		return in, err
	}
	return in, get(ctx, addr, "goroutine?debug=1", func(r io.Reader) error {
		in.Goroutines, err = parseGoroutines(r)
		return err
	})
}

// Profile writes to w the CPU profile of the next seconds.
func Profile(ctx context.Context, addr string, seconds int, w io.Writer) error {
	return get(ctx, addr, fmt.Sprintf("profile?seconds=%d", seconds), func(r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	})
}

func get(ctx context.Context, addr, page string, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/debug/pprof/"+page, nil)
	if err != nil {
		return err
	}
	req.Close = true // a connection that stays would be a goroutine of the server
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("proc: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("proc: /debug/pprof/%s: %s", page, res.Status)
	}
	return read(io.LimitReader(res.Body, maxPage))
}

// parseGoroutines reads the first line, "goroutine profile: total 12".
func parseGoroutines(r io.Reader) (int, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(line), "goroutine profile: total ")
	if !ok {
		return 0, fmt.Errorf("proc: a goroutine profile that begins %.40q", line)
	}
	return strconv.Atoi(text)
}

// parseHeap reads the runtime.MemStats at the end of a heap profile, lines such
// as "# Mallocs = 4711"; Stack is "in use / of the system".
func parseHeap(r io.Reader, in *Inside) error {
	seen := 0
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "# ")
		name, value, eq := strings.Cut(text, " = ")
		if !ok || !eq {
			continue
		}
		value, _, _ = strings.Cut(value, " ")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "Mallocs":
			in.Mallocs = n
		case "TotalAlloc":
			in.Allocated = n
		case "HeapInuse":
			in.Heap = int64(n)
		case "Stack":
			in.Stack = int64(n)
		default:
			continue
		}
		seen++
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if seen < 4 {
		return errors.New("proc: a heap profile without the runtime's figures")
	}
	return nil
}
