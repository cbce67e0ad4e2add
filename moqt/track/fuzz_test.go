package track

import (
	"bytes"
	"math"
	"testing"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// FuzzSubgroupWrite feeds a stream in any split. What is committed is a prefix
// of it, the index fits the log, the splits make no difference, and memory
// stays bounded.
func FuzzSubgroupWrite(f *testing.F) {
	f.Add(stream(false, Object{ID: 0, Payload: fill(10)}, Object{ID: 5, Payload: fill(300)}), []byte{1, 200}, false)
	f.Add(stream(true, Object{ID: 0, Properties: someProps, Payload: fill(10)}, Object{ID: 1, Status: ObjectEndOfGroup}), []byte{3}, true)
	f.Add(stream(true, Object{ID: 0, Properties: NewProperties(Property{Type: 0x3801, Bytes: fill(400)}), Payload: fill(5000)}), []byte{100, 1, 1}, true)
	f.Add([]byte{0, 0, 7}, []byte{}, false)
	f.Add(wire.ObjectHeader{Length: math.MaxUint64}.Append(nil, false), []byte{1}, false)
	f.Fuzz(func(t *testing.T, b, splits []byte, properties bool) {
		cfg := Config{MaxObject: 1 << 20, MaxGroupBytes: 2 << 20}
		header := SubgroupHeader{Properties: properties, FirstObject: true}
		feed := func(splits []byte) (*Track, *Subgroup, int, error) {
			tr := newTestTrack(cfg)
			w, err := tr.Subgroup(header)
			if err != nil {
				t.Fatal(err)
			}
			rest, i := b, 0
			for len(rest) > 0 && err == nil {
				n := len(rest)
				if len(splits) > 0 {
					n = min(n, 1+int(splits[i%len(splits)]))
					i++
				}
				var took int
				took, err = w.Write(rest[:n])
				if err == nil && took != n {
					t.Fatalf("Write(%d) = %d without an error", n, took)
				}
				rest = rest[n:]
			}
			if err == nil {
				err = w.Close()
			} else {
				w.Abort(ResetMalformedTrack)
			}
			return tr, w.sub, len(b) - len(rest), err
		}
		tr, s, _, err := feed(splits)
		got := logOf(s)
		if !bytes.HasPrefix(b, got) {
			t.Fatalf("the log %x is not a prefix of the stream %x", got, b)
		}
		if tr.Bytes() > cfg.MaxGroupBytes || tr.Bytes() < int64(len(got)) {
			t.Fatalf("%d bytes charged for %d", tr.Bytes(), len(got))
		}
		at, prev := int64(0), uint64(0)
		for i := range s.Objects() {
			ref, ok := s.Object(i)
			if !ok || ref.Off != at || ref.PayloadOff <= ref.Off || i > 0 && ref.ID <= prev {
				t.Fatalf("object %d is %+v after offset %d", i, ref, at)
			}
			if o, whole := s.Load(i); whole != ref.Complete || whole && int64(len(o.Payload)) != ref.Length {
				t.Fatalf("Load(%d) = %d bytes, %t for %+v", i, len(o.Payload), whole, ref)
			}
			at, prev = ref.PayloadOff+ref.Length, ref.ID
		}
		if state, _ := s.State(); state == Complete && (at != int64(len(b)) || err != nil) {
			t.Fatalf("complete after %d of %d bytes, %v", at, len(b), err)
		}
		_, whole, _, errWhole := feed(nil)
		if again := logOf(whole); !bytes.Equal(got, again) || (err == nil) != (errWhole == nil) {
			t.Fatalf("split: %d bytes, %v; whole: %d bytes, %v", len(got), err, len(again), errWhole)
		}
		tr.Drop()
		if tr.Bytes() != 0 {
			t.Fatalf("%d bytes are left", tr.Bytes())
		}
	})
}
