package track

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

var testName = Name{Namespace: MustNamespace("stream", "local", "cam"), Name: "video"}

// A fakeClock is a clock that stands still until it is moved.
type fakeClock struct{ now time.Time }

func newFakeClock() *fakeClock { return &fakeClock{now: time.Unix(1_800_000_000, 0)} }

func (c *fakeClock) Now() time.Time          { return c.now }
func (c *fakeClock) advance(d time.Duration) { c.now = c.now.Add(d) }

func newTestTrack(cfg Config) *Track { return New(testName, Info{}, cfg) }

// open opens subgroup 0 of a group as an original publisher would.
func open(t testing.TB, tr *Track, group uint64) *SubgroupWriter {
	t.Helper()
	w, err := tr.Subgroup(SubgroupHeader{Group: group, EndOfGroup: true, FirstObject: true})
	if err != nil {
		t.Fatalf("Subgroup(%d): %v", group, err)
	}
	return w
}

func write(t testing.TB, w *SubgroupWriter, objects ...Object) {
	t.Helper()
	for _, o := range objects {
		if err := w.WriteObject(o); err != nil {
			t.Fatalf("WriteObject(%d): %v", o.ID, err)
		}
	}
}

func closed(t testing.TB, w *SubgroupWriter) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// putGroup publishes a whole group of objects with this payload.
func putGroup(t testing.TB, tr *Track, id uint64, objects int, payload []byte) {
	t.Helper()
	w := open(t, tr, id)
	for i := range objects {
		write(t, w, Object{ID: uint64(i), Payload: payload})
	}
	closed(t, w)
}

// stream encodes objects as they stand on a subgroup stream.
func stream(properties bool, objects ...Object) (b []byte) {
	var ids wire.ObjectIDs
	for _, o := range objects {
		delta, ok := ids.Delta(o.ID)
		if !ok {
			panic("IDs must rise")
		}
		h := wire.ObjectHeader{IDDelta: delta, Properties: o.Properties, Length: uint64(len(o.Payload)), Status: o.Status}
		b = append(h.Append(b, properties), o.Payload...)
	}
	return b
}

// logOf returns all committed bytes of s.
func logOf(s *Subgroup) (b []byte) {
	for {
		p := s.Bytes(int64(len(b)), 1<<20)
		if len(p) == 0 {
			return b
		}
		b = append(b, p...)
	}
}

// only returns the one cached subgroup.
func only(t testing.TB, tr *Track) *Subgroup {
	t.Helper()
	subgroups, _ := tr.Since(0)
	if len(subgroups) != 1 {
		t.Fatalf("%d subgroups are cached, want 1", len(subgroups))
	}
	return subgroups[0]
}

func fill(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// readGroup reads all objects of a group that is closed already.
func readGroup(t testing.TB, g *GroupReader) (objects []Object, err error) {
	t.Helper()
	for {
		o, ok, err := g.poll()
		switch {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return objects, err
		case !ok:
			t.Fatalf("group %d: the next object after %d is not there", g.ID(), len(objects))
		}
		objects = append(objects, o)
	}
}

func sameObjects(t testing.TB, got, want []Object) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d objects, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].ID != want[i].ID || !bytes.Equal(got[i].Payload, want[i].Payload) || !bytes.Equal(got[i].Properties, want[i].Properties) {
			t.Errorf("object %d is %d with %d+%d bytes, want %d with %d+%d", i,
				got[i].ID, len(got[i].Properties), len(got[i].Payload), want[i].ID, len(want[i].Properties), len(want[i].Payload))
		}
	}
}
