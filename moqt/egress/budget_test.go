package egress

import (
	"testing"
	"time"
	"unsafe"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// A rangeConn keeps where in memory each write lies.
type rangeConn struct {
	nullConn
	writes [][]byte
}

type rangeStream struct {
	conn.SendStream
	c *rangeConn
}

func (c *rangeConn) OpenUniStream() (conn.SendStream, error) {
	return rangeStream{theNullStream, c}, nil
}

func (s rangeStream) TryWrite(p []byte) error {
	s.c.writes = append(s.c.writes, p)
	return nil
}

// TestPayloadsAreNotCopied: every viewer's transport is handed the same memory, but
// for the header of each stream.
func TestPayloadsAreNotCopied(t *testing.T) {
	const objects, size, maxHeader = 30, 1000, 32
	tr := track.New(track.Name{Name: "video"}, track.Info{}, track.Config{})
	var conns []*rangeConn
	var es []*Scheduler
	for range 3 {
		c := &rangeConn{}
		e := New(c, Config{}, nil, nil)
		e.Add(subTo(tr))
		conns, es = append(conns, c), append(es, e)
	}
	w := subgroup(t, tr, 0, 0)
	for id := range uint64(objects) {
		if err := w.WriteObject(track.Object{ID: id, Payload: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			if _, err := e.step(time.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	place := func(p []byte) (*byte, int) { return unsafe.SliceData(p), len(p) }
	shared := make(map[*byte]int)
	for _, p := range conns[0].writes {
		at, n := place(p)
		shared[at] = n
	}
	for i, c := range conns[1:] {
		same, own := 0, 0
		for _, p := range c.writes {
			if at, n := place(p); shared[at] == n {
				same += n
			} else {
				own += n
			}
		}
		if same < objects*size || own > maxHeader {
			t.Errorf("viewer %d was sent %d bytes of its own and %d that the first was sent too, want at most %d and at least %d",
				i+1, own, same, maxHeader, objects*size)
		}
	}
}

// TestWakesAreShared: what came on several tracks since the last look is sent at
// once, in one write for each stream, and leaves nothing to wake up for.
func TestWakesAreShared(t *testing.T) {
	c := &rangeConn{}
	e := New(c, Config{}, nil, nil)
	var ws []*track.SubgroupWriter
	for _, name := range []string{"video", "audio"} {
		tr := track.New(track.Name{Name: name}, track.Info{}, track.Config{})
		e.Add(subTo(tr))
		ws = append(ws, subgroup(t, tr, 0, 0))
	}
	step := func() {
		t.Helper()
		if _, err := e.step(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range ws {
		objects(t, w, 0, 0, 100)
	}
	step() // opens the streams
	for len(e.wake) > 0 {
		<-e.wake
	}
	c.writes = nil
	const each = 5
	for _, w := range ws {
		objects(t, w, 1, each, 100)
	}
	if n := len(e.wake); n != 1 {
		t.Errorf("%d wake-ups for %d objects, want 1", n, 2*each)
	}
	<-e.wake
	step()
	if len(c.writes) != 2 {
		t.Errorf("%d writes for %d objects of two streams, want 2", len(c.writes), 2*each)
	}
	if e.Pending() {
		t.Error("woken again, though everything was sent")
	}
}
