package track

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

var (
	someProps  = NewProperties(Property{Type: PropTimestamp, Uint: 90000})
	largeProps = NewProperties(Property{Type: 0x3801, Bytes: fill(60000)})
)

// TestLogIsTheStream writes the same objects in both ways and in many splits:
// the log is always the bytes of the stream.
func TestLogIsTheStream(t *testing.T) {
	for _, tt := range []struct {
		name       string
		properties bool
		objects    []Object
	}{
		{"small objects", false, []Object{{ID: 0, Payload: fill(10)}, {ID: 1, Payload: fill(200)}, {ID: 2, Payload: nil}}},
		{"gaps between IDs", false, []Object{{ID: 5, Payload: fill(3)}, {ID: 70000, Payload: fill(3)}, {ID: math.MaxUint64, Payload: fill(3)}}},
		{"properties", true, []Object{{ID: 0, Properties: someProps, Payload: fill(10)}, {ID: 1, Payload: fill(10)}}},
		{"large properties", true, []Object{{ID: 0, Payload: fill(3000)}, {ID: 1, Properties: largeProps, Payload: fill(10)}, {ID: 2, Properties: largeProps}}},
		{"a key frame", false, []Object{{ID: 0, Payload: fill(135 << 10)}, {ID: 1, Payload: fill(9000)}}},
		{"larger than one piece", false, []Object{{ID: 0, Payload: fill(10)}, {ID: 1, Payload: fill(700 << 10)}, {ID: 2, Payload: fill(10)}}},
		{"marks of the end", false, []Object{{ID: 0, Payload: fill(10)}, {ID: 1, Status: ObjectEndOfGroup}}},
		{"many", false, manyObjects(500)},
	} {
		want := stream(tt.properties, tt.objects...)
		header := SubgroupHeader{Properties: tt.properties, FirstObject: true}
		check := func(t *testing.T, tr *Track) {
			t.Helper()
			s := only(t, tr)
			if got := logOf(s); !bytes.Equal(got, want) {
				t.Fatalf("the log has %d bytes that differ from the stream's %d", len(got), len(want))
			}
			if s.Objects() != len(tt.objects) {
				t.Fatalf("%d objects in the index, want %d", s.Objects(), len(tt.objects))
			}
			var got []Object
			for i, w := range tt.objects {
				o, ok := s.Load(i)
				if !ok || o.Status != w.Status {
					t.Fatalf("Load(%d) = %v, %t", i, o.Status, ok)
				}
				got = append(got, o)
				if ref, _ := s.Object(i); len(w.Payload) <= 250<<10 && len(s.Bytes(ref.PayloadOff, len(w.Payload))) != len(w.Payload) {
					t.Errorf("the payload of object %d is not in one piece", i)
				}
				if j := s.SearchID(w.ID); j != i {
					t.Errorf("SearchID(%d) = %d, want %d", w.ID, j, i)
				}
			}
			sameObjects(t, got, tt.objects)
			if n := tr.Bytes(); n < int64(len(want)) {
				t.Errorf("%d bytes charged for %d", n, len(want))
			}
		}
		t.Run(tt.name+"/WriteObject", func(t *testing.T) {
			tr := newTestTrack(Config{})
			w, _ := tr.Subgroup(header)
			write(t, w, tt.objects...)
			closed(t, w)
			check(t, tr)
		})
		for _, size := range []int{1, 2, 7, 1000, 16 << 10, 1 << 20} {
			if len(want)/size > 100_000 {
				continue
			}
			t.Run(tt.name+"/Write", func(t *testing.T) {
				tr := newTestTrack(Config{})
				w, _ := tr.Subgroup(header)
				for b := want; len(b) > 0; {
					n := min(size, len(b))
					if took, err := w.Write(b[:n]); took != n || err != nil {
						t.Fatalf("Write(%d) = %d, %v", n, took, err)
					}
					b = b[n:]
				}
				closed(t, w)
				check(t, tr)
			})
		}
		for name, reader := range map[string]func(io.Reader) io.Reader{
			"ReadFrom": func(r io.Reader) io.Reader { return r }, "ReadFrom/halves": iotest.HalfReader, "ReadFrom/EOF with data": iotest.DataErrReader,
		} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				tr := newTestTrack(Config{})
				w, _ := tr.Subgroup(header)
				if n, err := w.ReadFrom(reader(bytes.NewReader(want))); n != int64(len(want)) || err != nil {
					t.Fatalf("ReadFrom = %d, %v, want %d", n, err, len(want))
				}
				closed(t, w)
				check(t, tr)
			})
		}
	}
}

func manyObjects(n int) (objects []Object) {
	for i := range n {
		objects = append(objects, Object{ID: uint64(i), Payload: fill(i % 700)})
	}
	return objects
}

// TestCutThrough checks what is readable after each byte: headers only whole,
// payloads as far as they came.
func TestCutThrough(t *testing.T) {
	objects := []Object{{ID: 300, Properties: someProps, Payload: fill(20)}, {ID: 301, Payload: fill(5)}}
	b := stream(true, objects...)
	first := stream(true, objects[0])
	headers := map[int]bool{} // offsets inside a header
	for i := 1; i < len(first)-20; i++ {
		headers[i] = true
	}
	for i := len(first) + 1; i < len(b)-5; i++ {
		headers[i] = true
	}
	tr := newTestTrack(Config{})
	w, _ := tr.Subgroup(SubgroupHeader{Properties: true, FirstObject: true})
	s := only(t, tr)
	want := 0
	for i := range b {
		if _, err := w.Write(b[i : i+1]); err != nil {
			t.Fatal(err)
		}
		if !headers[i+1] {
			want = i + 1
		}
		if got := s.Committed(); got != int64(want) {
			t.Fatalf("after %d bytes %d are readable, want %d", i+1, got, want)
		}
		_, whole := s.Load(0)
		if whole != (i+1 >= len(first)) {
			t.Fatalf("after %d of %d bytes the first object is whole: %t", i+1, len(first), whole)
		}
	}
	if got := logOf(s); !bytes.Equal(got, b) {
		t.Error("the log differs from the stream")
	}
}

func TestLargeObjectIsPassedOnInPieces(t *testing.T) {
	tr := newTestTrack(Config{})
	w := open(t, tr, 0)
	s := only(t, tr)
	var seen []int64
	tr.Attach(notifyFunc(func() { seen = append(seen, s.Committed()) }))
	if _, err := w.Write(stream(false, Object{Payload: fill(100 << 10)})); err != nil {
		t.Fatal(err)
	}
	for i, at := range seen[1:] {
		if at-seen[i] > commitSize {
			t.Errorf("commits at %v are more than %d bytes apart", seen, commitSize)
		}
	}
	if len(seen) < 6 {
		t.Errorf("100 KiB took %d commits", len(seen))
	}
}

func TestMalformedStreams(t *testing.T) {
	gap := func(n uint64) Properties { return NewProperties(Property{Type: PropPriorObjectIDGap, Uint: n}) }
	good := stream(true, Object{ID: 5, Payload: fill(10)})
	with := func(b ...byte) []byte { return append(bytes.Clone(good), b...) }
	object := func(h wire.ObjectHeader) []byte { return h.Append(bytes.Clone(good), true) }
	for _, tt := range []struct {
		name   string
		stream []byte
		want   func(error) bool
		text   string
	}{
		{"unknown status", with(0, 0, 0, 7), isWireError(wire.SessionProtocolViolation), "status"},
		{"properties on a mark", with(0, 2, 0x10, 1, 0, 3), isWireError(wire.SessionProtocolViolation), "properties"},
		{"ID beyond 2^64-1", object(wire.ObjectHeader{IDDelta: math.MaxUint64 - 5}), isWireError(wire.SessionProtocolViolation), "2^64"},
		{"more properties than allowed", append(with(0), wire.AppendVarint(nil, wire.MaxObjectProperties+1)...), isWireError(wire.SessionInternalError), "properties"},
		{"properties cut off", with(0, 1, 0x10, 0), isWireError(wire.SessionKeyValueFormattingError), ""},
		{"mandatory property", object(wire.ObjectHeader{Properties: NewProperties(Property{Type: 0x4000})}), isMalformed, "mandatory"},
		{"gap over the object before", object(wire.ObjectHeader{Properties: gap(1)}), isMalformed, "gap"},
		{"object after the end of the group", append(with(0, 0, 0, 3), stream(true, Object{ID: 0, Payload: fill(1)})...), isMalformed, "end"},
		{"group ends before an object of it", nil, isMalformed, "ends"},
		{"payload of 2^63", object(wire.ObjectHeader{Length: 1 << 63}), isLimit, "bytes"},
		{"payload of 2^64-1", object(wire.ObjectHeader{Length: math.MaxUint64}), isLimit, "bytes"},
		{"payload one above the limit", object(wire.ObjectHeader{Length: 1<<20 + 1}), isLimit, "bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTestTrack(Config{MaxObject: 1 << 20})
			w, err := tr.Subgroup(SubgroupHeader{Properties: true, FirstObject: true})
			if err != nil {
				t.Fatal(err)
			}
			s, b := w.sub, tt.stream
			if b == nil {
				other, _ := tr.Subgroup(SubgroupHeader{Subgroup: 1, FirstObject: true})
				write(t, other, Object{ID: 10})
				b = with(0, 0, 0, 3)
			}
			before := tr.Bytes()
			_, err = w.Write(b)
			if !tt.want(err) || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("Write = %v, want %q", err, tt.text)
			}
			if _, again := w.Write([]byte{0}); !errors.Is(again, err) {
				t.Errorf("the next Write = %v, want the same", again)
			}
			if n := tr.Bytes() - before; n > 16<<10 {
				t.Errorf("%d bytes were allocated for a bad object", n)
			}
			if got := logOf(s); !bytes.HasPrefix(got, good) || len(got) > len(good)+6 {
				t.Errorf("the log has %d bytes, want the %d of what came before", len(got), len(good))
			}
			w.Abort(ResetMalformedTrack)
			if state, code := s.State(); state != Aborted || code != ResetMalformedTrack {
				t.Errorf("state %v, %v after Abort", state, code)
			}
		})
	}
}

func isWireError(code wire.SessionCode) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*wire.Error](err)
		return ok && e.Code == code
	}
}

func isMalformed(err error) bool { return errors.Is(err, wire.ErrMalformedTrack) }
func isLimit(err error) bool     { return errors.Is(err, ErrLimit) }

func TestCloseInsideAnObject(t *testing.T) {
	b := stream(true, Object{ID: 0, Properties: someProps, Payload: fill(10)})
	for n := 1; n < len(b); n++ {
		tr := newTestTrack(Config{})
		w, _ := tr.Subgroup(SubgroupHeader{Properties: true, FirstObject: true})
		if _, err := w.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); !isWireError(wire.SessionProtocolViolation)(err) {
			t.Fatalf("Close after %d of %d bytes = %v", n, len(b), err)
		}
		if state, _ := w.sub.State(); state != Aborted {
			t.Fatalf("the subgroup is %v after a cut at byte %d", state, n)
		}
	}
}

func TestSubgroupRules(t *testing.T) {
	header := SubgroupHeader{Group: 1, Subgroup: 2, FirstObject: true}
	again := header
	again.FirstObject = false
	other := header
	other.Priority, other.HasPriority = 7, true
	for _, tt := range []struct {
		name   string
		before func(*SubgroupWriter)
		header SubgroupHeader
		want   error
	}{
		{"open and starts again", func(*SubgroupWriter) {}, header, nil},
		{"complete and starts again", func(w *SubgroupWriter) { w.Close() }, header, nil},
		{"cut and starts again", func(w *SubgroupWriter) { w.Abort(ResetCancelled) }, header, nil},
		{"open and goes on elsewhere", func(*SubgroupWriter) {}, again, nil},
		{"another priority", func(*SubgroupWriter) {}, other, wire.ErrMalformedTrack},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTestTrack(Config{})
			w, err := tr.Subgroup(header)
			if err != nil {
				t.Fatal(err)
			}
			write(t, w, Object{ID: 1})
			tt.before(w)
			before, open := tr.Bytes(), tr.open
			_, err = tr.Subgroup(tt.header)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Subgroup = %v, want %v", err, tt.want)
			}
			if err != nil && (tr.Bytes() != before || tr.open != open-1 || tr.Malformed() == nil) {
				t.Error("a refused subgroup left a trace, or the track goes on")
			}
		})
	}
}

func TestEndsOfGroupAndTrack(t *testing.T) {
	obj := func(id uint64) Object { return Object{ID: id, Payload: fill(1)} }
	for _, tt := range []struct {
		name string
		do   func(tr *Track, sub func(group, id uint64, eog bool) *SubgroupWriter) error
		ok   bool
	}{
		{"object of another subgroup after the FIN that ends the group", func(tr *Track, sub func(uint64, uint64, bool) *SubgroupWriter) error {
			a, b := sub(0, 0, true), sub(0, 1, false)
			a.WriteObject(obj(4))
			a.Close()
			return b.WriteObject(obj(5))
		}, false},
		{"object of another subgroup before it", func(tr *Track, sub func(uint64, uint64, bool) *SubgroupWriter) error {
			a, b := sub(0, 0, true), sub(0, 1, false)
			a.WriteObject(obj(4))
			a.Close()
			return b.WriteObject(obj(3))
		}, true},
		{"the FIN comes after a larger object", func(tr *Track, sub func(uint64, uint64, bool) *SubgroupWriter) error {
			a, b := sub(0, 0, true), sub(0, 1, false)
			a.WriteObject(obj(4))
			b.WriteObject(obj(5))
			return a.Close()
		}, false},
		{"a reset ends nothing", func(tr *Track, sub func(uint64, uint64, bool) *SubgroupWriter) error {
			a, b := sub(0, 0, true), sub(0, 1, false)
			a.WriteObject(obj(4))
			a.Abort(ResetCancelled)
			return b.WriteObject(obj(5))
		}, true},
		{"the end is marked twice", func(tr *Track, sub func(uint64, uint64, bool) *SubgroupWriter) error {
			a, b := sub(0, 0, true), sub(0, 1, false)
			a.WriteObject(obj(4))
			a.WriteObject(Object{ID: 5, Status: ObjectEndOfGroup})
			b.WriteObject(Object{ID: 5, Status: ObjectEndOfGroup})
			if err := b.Close(); err != nil {
				return err
			}
			return a.Close()
		}, true},
		{"group after the end of the track", func(tr *Track, sub func(uint64, uint64, bool) *SubgroupWriter) error {
			a := sub(3, 0, false)
			a.WriteObject(obj(0))
			a.WriteObject(Object{ID: 1, Status: ObjectEndOfTrack})
			_, err := tr.Subgroup(SubgroupHeader{Group: 4})
			return err
		}, false},
		{"late group after the end of the track", func(tr *Track, sub func(uint64, uint64, bool) *SubgroupWriter) error {
			a := sub(3, 0, false)
			a.WriteObject(Object{ID: 1, Status: ObjectEndOfTrack})
			return sub(2, 0, false).WriteObject(obj(9))
		}, true},
		{"track ends before an object that came", func(tr *Track, sub func(uint64, uint64, bool) *SubgroupWriter) error {
			sub(3, 0, false).WriteObject(obj(0))
			return sub(2, 0, false).WriteObject(Object{ID: 0, Status: ObjectEndOfTrack})
		}, false},
		{"gap over a group that came", func(tr *Track, sub func(uint64, uint64, bool) *SubgroupWriter) error {
			sub(3, 0, false).WriteObject(obj(0))
			o := obj(0)
			o.Properties = NewProperties(Property{Type: PropPriorGroupIDGap, Uint: 2})
			return sub(5, 0, false).WriteObject(o)
		}, false},
		{"gap up to a group that came", func(tr *Track, sub func(uint64, uint64, bool) *SubgroupWriter) error {
			sub(3, 0, false).WriteObject(obj(0))
			o := obj(0)
			o.Properties = NewProperties(Property{Type: PropPriorGroupIDGap, Uint: 1})
			return sub(5, 0, false).WriteObject(o)
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTestTrack(Config{})
			err := tt.do(tr, func(group, id uint64, eog bool) *SubgroupWriter {
				w, err := tr.Subgroup(SubgroupHeader{Group: group, Subgroup: id, EndOfGroup: eog, FirstObject: true, Properties: true})
				if err != nil {
					t.Fatal(err)
				}
				return w
			})
			if tt.ok && err != nil || !tt.ok && !isMalformed(err) {
				t.Errorf("got %v, want malformed: %t", err, !tt.ok)
			}
		})
	}
}

func TestWriteObjectRefusals(t *testing.T) {
	tr := newTestTrack(Config{})
	w := open(t, tr, 0)
	write(t, w, Object{ID: 3, Payload: fill(5)})
	for _, o := range []Object{
		{ID: 3},
		{ID: 0},
		{ID: 4, Properties: someProps},
		{ID: 4, Status: ObjectEndOfGroup, Payload: fill(1)},
	} {
		if err := w.WriteObject(o); err == nil {
			t.Errorf("WriteObject(%+v) was accepted", o)
		}
	}
	write(t, w, Object{ID: 4}) // the subgroup is as it was
	closed(t, w)
	if err := w.WriteObject(Object{ID: 5}); !errors.Is(err, ErrClosed) {
		t.Errorf("WriteObject after Close = %v, want ErrClosed", err)
	}
	if err := w.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("the second Close = %v, want ErrClosed", err)
	}
	w.Abort(ResetCancelled)
	if state, _ := w.sub.State(); state != Complete {
		t.Errorf("Abort after Close made the subgroup %v", state)
	}
}

func TestGroupLimits(t *testing.T) {
	t.Run("objects", func(t *testing.T) {
		tr := newTestTrack(Config{MaxObjectsPerGroup: 10})
		w := open(t, tr, 0)
		var err error
		n := uint64(0)
		for ; err == nil; n++ {
			err = w.WriteObject(Object{ID: n})
		}
		if !isLimit(err) || n != 10 { // the subgroup counts as well
			t.Errorf("object %d: %v, want ErrLimit for the tenth", n, err)
		}
	})
	t.Run("subgroups", func(t *testing.T) {
		tr := newTestTrack(Config{MaxObjectsPerGroup: 10})
		var err error
		n := uint64(0)
		for ; err == nil; n++ {
			var w *SubgroupWriter
			if w, err = tr.Subgroup(SubgroupHeader{Subgroup: n, FirstObject: true}); err == nil {
				closed(t, w)
			}
		}
		if !isLimit(err) || n != 11 {
			t.Errorf("subgroup %d: %v, want ErrLimit for the eleventh", n, err)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		tr := newTestTrack(Config{MaxGroupBytes: 1 << 20})
		w := open(t, tr, 0)
		var err error
		for n := uint64(0); err == nil; n++ {
			err = w.WriteObject(Object{ID: n, Payload: fill(10 << 10)})
		}
		if !isLimit(err) {
			t.Errorf("got %v, want ErrLimit", err)
		}
		if n := tr.Bytes(); n > 1<<20 || n < 900<<10 {
			t.Errorf("%d bytes charged at the limit of 1 MiB", n)
		}
	})
}

func TestFirstIDMode(t *testing.T) {
	tr := newTestTrack(Config{})
	notified := countNotify(tr)
	w, err := tr.Subgroup(SubgroupHeader{Group: 1, FirstIDMode: true, FirstObject: true})
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := tr.Since(0); len(all) != 0 || *notified != 0 {
		t.Fatal("the subgroup is there before its ID is known")
	}
	write(t, w, Object{ID: 42, Payload: fill(5)})
	s := only(t, tr)
	if h := s.Header(); h.Subgroup != 42 || h.FirstIDMode || !h.FirstObject {
		t.Errorf("the header is %+v, want subgroup 42", h)
	}
	if *notified == 0 {
		t.Error("nobody was notified")
	}
	// The same subgroup once more, which is known only with its first object.
	w2, err := tr.Subgroup(SubgroupHeader{Group: 1, FirstIDMode: true, FirstObject: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w2.Write(stream(false, Object{ID: 42, Payload: fill(5)})); err != nil {
		t.Errorf("the same subgroup from another source: %v", err)
	}
	w2.Abort(ResetCancelled)
	only(t, tr)
	// And one that ends without any object.
	w3, _ := tr.Subgroup(SubgroupHeader{Group: 1, FirstIDMode: true})
	closed(t, w3)
	only(t, tr)
	if tr.open != 1 {
		t.Errorf("%d subgroups are open, want 1", tr.open)
	}
}
