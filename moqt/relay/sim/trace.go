package sim

import (
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"
)

// kept is how many of the last lines of a trace are kept to be printed.
const kept = 60

// A trace is what has happened in a run: a hash of all of it, and the end.
type trace struct {
	hash  uint64
	lines [kept]line
	n     int
	out   io.Writer // unless nil, takes every line
}

// A line is one thing that happened. It is put into words only when somebody
// wants to read it.
type line struct {
	at      time.Duration
	who     string
	what    string
	a, b, c uint64
}

func (l line) String() string {
	return fmt.Sprintf("%11.6f %-14s %-18s %d %d %x", l.at.Seconds(), l.who, l.what, l.a, l.b, l.c)
}

// note adds a line, which says that who did what, with three numbers that matter.
func (w *world) note(who, what string, a, b, c uint64) {
	t := &w.trace
	l := line{w.since(), who, what, a, b, c}
	t.mix(uint64(l.at))
	t.mix(sum(who))
	t.mix(sum(what))
	t.mix(a)
	t.mix(b)
	t.mix(c)
	t.lines[t.n%kept] = l
	t.n++
	if t.out != nil {
		fmt.Fprintln(t.out, l)
	}
}

// mix adds v to the hash.
func (t *trace) mix(v uint64) {
	h := (t.hash ^ v) * 0x9e3779b97f4a7c15
	t.hash = h ^ h>>29
}

func sum(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func digest(b []byte) uint64 { return uint64(crc32.Checksum(b, castagnoli)) }

// tail returns the last lines.
func (t *trace) tail() string {
	var b strings.Builder
	for i := max(0, t.n-kept); i < t.n; i++ {
		fmt.Fprintln(&b, t.lines[i%kept])
	}
	return b.String()
}
